"""What the steps of training learn from, made one step ahead by a thread, and how much of their time goes into waiting for it."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Feed(Generic[Item]):
    """``at(step)`` is ``make(step)``; the next step's is made meanwhile. ``make`` is a pure function of the step.

    What ``make`` raises is raised by ``at`` of the step it was for, with its own traceback.
    """

    def __init__(self, make: Callable[[int], Item]):
        self._make = make
        self._thread = ThreadPoolExecutor(1, "feed")
        self._ahead: dict[int, Future[Item]] = {}
        self._forget()

    def at(self, step: int) -> Item:
        self._begun = perf_counter()
        now = self._ahead.pop(step, None) or self._thread.submit(self._make, step)
        self._ahead = {step + 1: self._thread.submit(self._make, step + 1)}
        item = now.result()
        self._waited += perf_counter() - self._begun
        return item

    def learnt(self, samples: int) -> None:
        """The step that was fed last is done; what follows until the next (validation, saving) is not its time."""
        self._samples += samples
        self._seconds += perf_counter() - self._begun

    def speeds(self) -> dict[str, float]:
        """Since the last time this was asked: samples learnt a second, and the share of that time spent waiting."""
        seconds = max(self._seconds, 1e-9)
        speeds = {"samples_per_second": self._samples / seconds, "waiting_for_data": self._waited / seconds}
        self._forget()
        return speeds

    def _forget(self) -> None:
        self._samples, self._seconds, self._waited = 0, 0.0, 0.0
