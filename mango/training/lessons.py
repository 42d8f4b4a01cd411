"""What one step of stage two learns from: windows of both people, and recorded pictures of some of their frames."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from mango.data.pictures import PictureBatch, Pictures
from mango.data.windows import WindowBatch, Windows
from mango.seeds import torch_generator
from mango.types import PERSONS


@dataclass(frozen=True)
class Lesson:
    """Of one step."""

    windows: WindowBatch
    recorded: PictureBatch
    places: tuple[list[int], list[int], list[int]]  # of each picture: window, person, frame within the window

    def to(self, device: torch.device) -> "Lesson":
        return Lesson(self.windows.to(device), self.recorded.to(device), self.places)


class Supply:
    """Lessons by step, a pure function of (seed, step); the next step's pictures are read while this one learns."""

    def __init__(self, windows: Windows, pictures: Pictures, *, seed: int, num_windows: int, each: int):
        """``num_windows`` of both people per step, ``each`` pictures per window."""
        self.windows, self.pictures = windows, pictures
        self.seed, self.num_windows, self.each = seed, num_windows, each
        self._reader = ThreadPoolExecutor(1, "pictures")
        self._ahead: dict[int, Future[Lesson]] = {}

    def at(self, step: int) -> Lesson:
        now = self._ahead.pop(step, None) or self._reader.submit(self._read, step)
        self._ahead = {step + 1: self._reader.submit(self._read, step + 1)}
        return now.result()

    def _read(self, step: int) -> Lesson:
        batch = self.windows.batch(self.seed, step, self.num_windows)
        places = shown(batch, self.windows.context, self.each, torch_generator(self.seed, step, "pictures"))
        shots = [(batch.dialogues[row], PERSONS[side], batch.starts[row] + frame) for row, side, frame in zip(*places, strict=True)]
        return Lesson(batch, self.pictures.read(shots), places)


def shown(batch: WindowBatch, context: int, each: int, random: torch.Generator) -> tuple[list[int], list[int], list[int]]:
    """Windows, persons and frames to look at: ``each`` kept frames per window, of either person, none of them context."""
    choice = batch.keep.clone()
    choice[:, :, :context] = False
    places: tuple[list[int], list[int], list[int]] = ([], [], [])
    for row in range(len(batch)):
        frames = choice[row].nonzero()
        for side, frame in frames[torch.randperm(len(frames), generator=random)[:each].sort().values].tolist():
            for column, value in zip(places, (row, side, frame), strict=True):
                column.append(value)
    return places
