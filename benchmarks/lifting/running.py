"""Rows trained and scored in processes of their own, as soon as what they start from is there."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import redirect_stderr, redirect_stdout
from shutil import rmtree

from rich.console import Console

from benchmarks.lifting import digests
from benchmarks.lifting.rows import ROWS
from benchmarks.lifting.scoring import LABELS, scored, trained_digest, write_cost
from benchmarks.lifting.training import Bench
from mango.worker_processes import worker_pool

console = Console(width=170)


def train(bench: Bench, rows: Sequence[str], at_once: int, started: float) -> None:
    """Every row that is not there yet, as soon as what it starts from is."""
    digest = {row: digests.of_row(bench, row) for row in rows}
    missing = [row for row in rows if trained_digest(bench, row) != digest[row]]
    done, running = set(rows) - set(missing), {}
    with workers(at_once) as pool:
        while missing or running:
            ready = [row for row in missing if done.issuperset(ROWS[row].after)]
            for row in ready[: at_once - len(running)]:
                missing.remove(row)
                running[pool.submit(trained, bench, row, digest[row])] = row
                say(started, f"{row} begins")
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                row = running.pop(future)
                say(started, f"{row} is trained, {future.result() / 60:.1f} minutes of processor time")
                done.add(row)


def trained(bench: Bench, row: str, digest: str) -> float:
    """In a process of its own: train one row; what it prints goes to its log."""
    folder = bench.rows / row
    begun = folder / "digest"
    if folder.exists() and (not begun.exists() or begun.read_text() != digest):
        rmtree(folder)  # begun by other code, or from other rows: it cannot be gone on with
        rmtree(bench.rows / f"labels-{row}", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    begun.write_text(digest)
    with (folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        cost = ROWS[row].train(bench, row)
    write_cost(bench, row, cost, digest)
    return cost.cpu_seconds


def score(bench: Bench, rows: Sequence[str], split: str, at_once: int) -> dict[str, dict]:
    """Row -> what it scored. Under "training labels" stands what became of the labels themselves."""
    jobs = {name: (name, split) for name in (*rows, LABELS, "truth")}
    jobs["training labels: tracker"] = (LABELS, "train")
    jobs |= {f"training labels: {row}": (row, "train") for row in ("stage2",) if row in rows}
    with workers(at_once) as pool:
        futures: dict[str, Future] = {}
        for title, (row, of) in jobs.items():
            futures[title] = pool.submit(scored, bench, row, of, digests.of_scores(bench, row))
        return {title: future.result() for title, future in futures.items()}


def workers(at_once: int) -> ProcessPoolExecutor:
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**30))  # big tensors come and go every step: keep their memory
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**30))
    return worker_pool(at_once, heeds_ctrl_c=True)  # runs save, and say so


def say(started: float, text: str) -> None:
    console.print(f"{(time.monotonic() - started) / 60:6.1f} min  {text}", highlight=False)
