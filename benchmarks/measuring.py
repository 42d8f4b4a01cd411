"""Clocks and yardsticks. Machines are noisy, so every figure comes from several tries; on a CPU it stands beside one of the same run."""

import ctypes
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

SGEMM_SIZE = 1024


def best_seconds(*works: Callable[[], object], tries: int = 15, least: float = 0.3) -> list[float]:
    """The fastest of at least ``tries`` tries of each work, and at least ``least`` seconds of trying; in turn, so that a
    disturbance meets them all. One unmeasured try each comes first."""
    for work in works:
        work()
    best, began, done = [float("inf")] * len(works), time.perf_counter(), 0
    while done < tries or time.perf_counter() - began < least * len(works):
        for k, work in enumerate(works):
            start = time.perf_counter()
            work()
            best[k] = min(best[k], time.perf_counter() - start)
        done += 1
    return best


@dataclass(frozen=True)
class Timing:
    """Seconds of one piece of work, each time from an idle device to an idle device."""

    median: float
    best: float
    peak_bytes: int | None  # most that was allocated on the device meanwhile; None on the CPU


def timed(work: Callable[[], object], device: torch.device, *, tries: int, warm_up: int, most: float = 10.0) -> Timing:
    """``work`` after ``warm_up`` unmeasured tries; ``tries`` times, or fewer (three at least) once ``most`` seconds have passed."""
    for _ in range(warm_up):
        work()
    on_card = device.type == "cuda"
    if on_card:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    seconds: list[float] = []
    while len(seconds) < 3 or (len(seconds) < tries and sum(seconds) < most):
        start = time.perf_counter()
        work()
        if on_card:
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return Timing(median(seconds), min(seconds), torch.cuda.max_memory_allocated(device) if on_card else None)


def sgemm_flops(threads: int = 1) -> float:
    """Floating-point operations a second in float32 matrix products of 1024 x 1024, two for each multiplication and addition."""
    a, b = torch.randn(2, SGEMM_SIZE, SGEMM_SIZE)
    out = torch.empty_like(a)
    with threads_set(threads):
        (seconds,) = best_seconds(lambda: torch.mm(a, b, out=out), tries=10)
    return 2 * SGEMM_SIZE**3 / seconds


class threads_set:
    """``with threads_set(2):`` torch uses two threads inside."""

    def __init__(self, threads: int):
        self.threads = threads

    def __enter__(self) -> None:
        self.before = torch.get_num_threads()
        torch.set_num_threads(self.threads)

    def __exit__(self, *_) -> None:
        torch.set_num_threads(self.before)


def peak_bytes(work: Callable[[], object]) -> int | None:
    """How far the process's memory rises above where it stands while ``work`` runs. None where the system does not tell (not Linux)."""
    with suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)  # what is free but kept would hide what the work takes
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from now
        before = _resident("VmHWM")
        work()
        return _resident("VmHWM") - before
    except OSError:
        return None


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024
