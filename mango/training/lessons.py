"""What one step of stage two learns from: windows of both people, and recorded pictures of some of their frames.

Every process knows the windows of the whole batch and which of their frames are shown; it reads the pictures of its own share.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.pictures import PictureBatch, Pictures, Shot
from mango.data.windows import WindowBatch, Windows
from mango.seeds import torch_generator
from mango.training.feed import Feed
from mango.types import PERSONS

SHUT = 0.75  # weight of ARKit's eyeBlink at which lids meet


@dataclass(frozen=True)
class Lesson:
    """Of one step. With one process its share is the whole."""

    windows: WindowBatch  # this process's
    recorded: PictureBatch  # pictures of them, one at least: in every window there is something to learn
    places: tuple[list[int], list[int], list[int]]  # of each picture: window, person, frame within the window
    whole: WindowBatch  # everybody's windows, on the CPU
    share: Sequence[int]  # which of them are this process's
    shots: tuple[Shot, ...]  # everybody's pictures
    share_of_shots: Sequence[int]
    people: tuple[str, ...]  # who is in everybody's pictures, each once

    def to(self, device: torch.device) -> "Lesson":
        return replace(self, windows=self.windows.to(device), recorded=self.recorded.to(device))


class Supply:
    """Lessons by step, a pure function of (seed, step); the next step's pictures are read while this one learns."""

    def __init__(
        self,
        windows: Windows,
        pictures: Pictures,
        *,
        seed: int,
        num_windows: int,
        each: int,
        share: Sequence[int] | None = None,
        lids: Sequence[int] = (),
        shut_eyes: float = 0.0,
    ):
        """``num_windows`` of both people per step, ``each`` pictures per window. ``share``: which windows are this process's; None: all.
        ``lids``, ``shut_eyes``: see `oftener`.
        """
        self.windows, self.pictures = windows, pictures
        self.seed, self.num_windows, self.each = seed, num_windows, each
        self.lids, self.shut_eyes = list(lids), shut_eyes
        self._persons = windows.clips
        self.share = list(range(num_windows) if share is None else share)
        self.feed = Feed(self._read)

    def at(self, step: int) -> Lesson:
        return self.feed.at(step)

    def _read(self, step: int) -> Lesson:
        whole = self.windows.batch(self.seed, step, self.num_windows)
        random = torch_generator(self.seed, step, "pictures")
        places = shown(whole, self.windows.context, self.each, random, oftener(whole, self.lids, self.shut_eyes))
        shots = [(whole.dialogues[row], PERSONS[side], whole.starts[row] + frame) for row, side, frame in zip(*places, strict=True)]
        own = [number for row in self.share for number, of in enumerate(places[0]) if of == row]
        rows, sides, frames = ([column[number] for number in own] for column in places)
        return Lesson(
            windows=whole.rows(self.share),
            recorded=self.pictures.read([shots[number] for number in own]),
            places=([self.share.index(row) for row in rows], sides, frames),
            whole=whole,
            share=self.share,
            shots=tuple(shots),
            share_of_shots=own,
            people=tuple(sorted({self._persons[shot[:2]] for shot in shots})),
        )


def oftener(batch: WindowBatch, lids: Sequence[int], shut_eyes: float) -> Float[Tensor, "batch person time"]:
    """How often frames are looked at: of shut eyes (the labels' columns ``lids``) 1 + ``shut_eyes`` times as often as of open ones.

    A blink is a few frames of a hundred: avatars hardly learned what lids look like.
    """
    shut = batch.motion[..., list(lids)].mean(-1).div(SHUT).clamp(0, 1) if lids else torch.zeros_like(batch.speaking)
    return 1 + shut_eyes * shut.square()


def shown(
    batch: WindowBatch, context: int, each: int, random: torch.Generator, often: Float[Tensor, "batch person time"]
) -> tuple[list[int], list[int], list[int]]:
    """Windows, persons and frames to look at: ``each`` kept frames per window, of either person, none of them context."""
    choice = batch.keep.clone()
    choice[:, :, :context] = False
    places: tuple[list[int], list[int], list[int]] = ([], [], [])
    for row in range(len(batch)):
        frames = choice[row].nonzero()
        drawn = torch.multinomial(often[row][choice[row]], min(each, len(frames)), generator=random) if len(frames) else frames[:, 0]
        for side, frame in frames[drawn.sort().values].tolist():
            for column, value in zip(places, (row, side, frame), strict=True):
                column.append(value)
    return places
