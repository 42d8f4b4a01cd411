"""Many independent tasks on an existing engine: this process, processes of this machine, or Ray.

    tasks --> started while the engine has slots --> finished in any order --> Outcome
                 ^---- tried again: the task was lost, or failed in a way that need not last ----'

A task is a picklable callable without arguments. It leaves its result where it belongs, atomically, so that a kill at any moment loses
what is in hand and nothing else; what it returns is small.
"""

import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from mango.errors import InputError

Task = Callable[[], Any]
PATIENCE_SECONDS = 5.0  # for a process to clear away what it has in hand


class TaskError(Exception):
    """What went wrong in a task, where it was not the input: a fault, a crash, a machine that is gone."""

    def __init__(self, words: str, trace: str = ""):
        super().__init__(words, trace)
        self.words, self.trace = words, trace

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Answer:
    """Of one attempt at a task."""

    number: int  # of the task
    value: Any
    error: InputError | TaskError | None
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """Of a task: what it returned, or why it failed."""

    number: int
    value: Any
    error: InputError | TaskError | None
    attempts: int
    seconds: float  # of the last attempt


class Engine:
    """Somewhere to do tasks, as a context: on leaving, what is unfinished is given up."""

    slots: int = 1  # how many tasks may be started at once

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def start(self, number: int, task: Task) -> None:
        raise NotImplementedError

    def finished(self) -> Answer:
        """The next answer of a started task; waits for it. A task that was lost with its process is answered with an error."""
        raise NotImplementedError


def carried_out(tasks: Sequence[Task], engine: Engine, *, retries: int) -> Iterator[Outcome]:
    """Outcomes as they come. What fails is tried ``retries`` times more, after the others; but wrong input stays wrong."""
    waiting, attempts, running = deque(range(len(tasks))), [0] * len(tasks), 0
    if not tasks:
        return
    with engine:
        while waiting or running:
            while waiting and running < engine.slots:
                number = waiting.popleft()
                attempts[number] += 1
                engine.start(number, tasks[number])
                running += 1
            answer = engine.finished()
            running -= 1
            if isinstance(answer.error, TaskError) and attempts[answer.number] <= retries:
                waiting.append(answer.number)
                continue
            yield Outcome(answer.number, answer.value, answer.error, attempts[answer.number], answer.seconds)


def engine_for(tasks: int, workers: int | None, ray: str | None) -> Engine:
    """As the command line asks for it: ``ray`` is None, "auto" (the cluster that is there), "local" or an address."""
    if workers is not None and workers < 1:
        raise InputError("--workers", expected="at least 1", found=str(workers), remedy="leave it away to use every core")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if ray is not None:
        return Ray(ray, workers)
    workers = min(workers or cores, tasks)
    return Processes(workers) if workers > 1 else ThisProcess()


def attempted(number: int, task: Task) -> Answer:
    """Every fault is an answer."""
    start, value, error = time.monotonic(), None, None
    try:
        value = task()
    except InputError as wrong:
        error = wrong
    except Exception as fault:
        error = TaskError(" ".join(f"{type(fault).__name__}: {fault}".split()), traceback.format_exc())
    return Answer(number, value, error, time.monotonic() - start)


class ThisProcess(Engine):
    """One task at a time, here."""

    def start(self, number: int, task: Task) -> None:
        self._next = number, task

    def finished(self) -> Answer:
        return attempted(*self._next)


class Processes(Engine):
    """Processes of this machine, one thread each. One that dies takes only its own task along, and another takes its place."""

    def __init__(self, workers: int):
        self.slots = workers
        self._idle: list[Connection] = []
        self._busy: dict[Connection, int] = {}
        self._processes: dict[Connection, BaseProcess] = {}

    def __exit__(self, *error: object) -> None:
        for pipe, process in self._processes.items():
            pipe.close()  # who waits for a task ends
            if pipe in self._busy:
                process.terminate()
        until = time.monotonic() + PATIENCE_SECONDS
        for process in self._processes.values():
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self._idle, self._busy, self._processes = [], {}, {}

    def start(self, number: int, task: Task) -> None:
        pipe = self._idle.pop() if self._idle else self._hired()
        self._busy[pipe] = number
        with suppress(BrokenPipeError):  # it died in the meantime: `finished` will find the pipe at its end
            pipe.send((number, task))

    def finished(self) -> Answer:
        pipe = connection.wait(list(self._busy))[0]
        number = self._busy.pop(pipe)
        try:
            answer = pipe.recv()
        except (EOFError, ConnectionResetError):
            process = self._processes.pop(pipe)
            process.join()
            pipe.close()
            return Answer(number, None, TaskError(f"the process that did it ended ({_ending(process.exitcode)})"), 0.0)
        self._idle.append(pipe)
        return answer

    def _hired(self) -> Connection:
        context = get_context("spawn")  # a fork of a process with threads may hang
        pipe, far_end = context.Pipe()
        process = context.Process(target=_serve, args=(far_end,), daemon=True)
        process.start()
        far_end.close()  # so that its end is the pipe's end
        self._processes[pipe] = process
        return pipe


def _serve(pipe: Connection) -> None:
    """A worker: ends when nobody asks any more, also when whoever asked was killed."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all: the one who asks decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # clears away what is half written
    torch.set_num_threads(1)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            pipe.send(attempted(*pipe.recv()))


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}; perhaps memory ran out: fewer --workers need less" if name == "SIGKILL" else name


class Ray(Engine):
    """A Ray cluster whose machines see the same files under the same paths and have this project installed; a CPU for each task."""

    def __init__(self, address: str, workers: int | None = None):
        try:
            import ray
        except ImportError as error:
            remedy = "pip install 'mango-heads[ray]', or leave --ray away to use this machine's cores"
            raise InputError("--ray", expected="the package ray", found=str(error), remedy=remedy) from error
        self._ray, self._address, self._workers = ray, address, workers
        self._numbers: dict[Any, int] = {}
        self._leaving = ExitStack()

    def __enter__(self) -> "Ray":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        more = {"num_cpus": self._workers} if self._address == "local" and self._workers else {}
        try:
            self._ray.init(address=self._address, log_to_driver=False, logging_level="warning", **more)
        except (ConnectionError, ValueError, RuntimeError) as error:
            found = " ".join(str(error).split())[:160]
            remedy = "start one with `ray start --head`, or use --ray local"
            raise InputError(f"--ray {self._address}", expected="a Ray cluster", found=found, remedy=remedy) from error
        self._leaving.callback(self._ray.shutdown)
        self._attempted = self._ray.remote(attempted).options(num_cpus=1, max_retries=0)
        return self

    def __exit__(self, *error: object) -> None:
        for reference in self._numbers:
            self._ray.cancel(reference, force=True)
        self._numbers = {}
        self._leaving.close()

    @property
    def slots(self) -> int:
        """A task more than there are CPUs, so that none waits for us; asked anew, for clusters grow."""
        return self._workers or int(self._ray.cluster_resources().get("CPU", 1)) + 1

    def start(self, number: int, task: Task) -> None:
        self._numbers[self._attempted.remote(number, task)] = number

    def finished(self) -> Answer:
        (reference, *_), _ = self._ray.wait(list(self._numbers), num_returns=1)
        number = self._numbers.pop(reference)
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            return Answer(number, None, TaskError(f"{type(error).__name__}: {lines[-1].strip() if lines else ''}", str(error)), 0.0)
