"""How far long work is: a bar with rate and remaining time on a terminal, a line a minute anywhere else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

Told = Callable[[int, int], None]  # hears of (finished, all)


def silent(done: int, total: int) -> None:
    """Where nobody wants to hear it."""


LINE_EVERY = 60.0  # seconds, in a log file; what is done before writes none


class Progress:
    """Of one thing, as a context. Without ``shown`` it is silent: other processes say the same."""

    def __init__(self, doing: str, unit: str = "", *, done: int = 0, total: int | None = None, stderr: bool = False, shown: bool = True):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        class Rate(ProgressColumn):
            def render(self, task):
                return f"{task.speed:.3g} {unit}/s" if task.speed and unit else ""

        self.console = Console(stderr=stderr)
        self._doing, self._unit, self._note, self._shown = doing, unit, "", shown
        self._begun, self._began_with, self._said = monotonic(), done, monotonic()
        columns = (
            TextColumn(doing, markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        self._bar = Bar(*columns, console=self.console, transient=True, disable=not (shown and self.console.is_terminal))
        self._task = self._bar.add_task(doing, completed=done, total=total, note="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop()

    def stop(self) -> None:
        self._bar.stop()

    def update(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)
        now = monotonic()
        if self._shown and not self.console.is_terminal and now - self._said >= LINE_EVERY and done < total:
            self._said = now
            rate = (done - self._began_with) / (now - self._begun)
            left = f", {_time((total - done) / rate)} remaining" if rate else ""
            self.say(f"{self._doing}: {done} of {total}{self._unit and ' '}{self._unit}{left}{self._note and '; '}{self._note}")

    def note(self, text: str) -> None:
        """What stands behind the bar from now on, e.g. the loss."""
        self._note = text
        self._bar.update(self._task, note=text)

    def say(self, text: str) -> None:
        """A line above the bar."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(doing: str, unit: str, *, shown: bool = True) -> Iterator[Told]:
    """On stderr."""
    with Progress(doing, unit, stderr=True, shown=shown) as progress:
        yield progress.update


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
