"""The square of a film that is written: where the head is in most of the frames, within what was filmed."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from mango.tracking.films import Picture

ABOVE, BESIDE = 0.75, 0.85  # of the face's size, wanted above and beside the points: hair, ears, neck
HAIR = 0.6  # of it above the points: where the square holds not all that is wanted, hair comes before the neck
HEAD_BEFORE, HEAD_AFTER = (0.2, 0.45), (0.2, 0.1)  # columns and rows, of the face's size, that a head is larger than its points
SLACK = 0.5  # of the room that a square leaves about a face may be its head; in the rest it may move
PLACES = 65  # of the square along the picture that are tried


@dataclass(frozen=True)
class Square:
    """A part of upright pictures that is written: its first column and row, its side, and how large it becomes."""

    left: int
    top: int
    side: int
    px: int

    def intrinsics(self, whole: Float[Tensor, "3 3"]) -> Float[Tensor, "3 3"]:
        """Of the written pictures; the corner of the first pixel is the origin, so a change of size shifts nothing."""
        moved = whole.clone()
        moved[:2, 2] -= torch.tensor([float(self.left), float(self.top)])
        moved[:2] *= self.px / self.side
        return moved

    def cut(self, picture: Picture) -> UInt8[np.ndarray, "px px 3"]:
        import cv2

        part = np.ascontiguousarray(picture[self.top : self.top + self.side, self.left : self.left + self.side])
        if self.px == self.side:
            return part
        return cv2.resize(part, (self.px, self.px), interpolation=cv2.INTER_AREA if self.px < self.side else cv2.INTER_LINEAR)

    def holds(self, points: Float[Tensor, "time points 2"], size: tuple[int, int]) -> Bool[Tensor, "time"]:
        """Whether the heads of these points do not leave it where the picture, of ``size`` (rows, columns), goes on."""
        low, high = heads(points, self.side)
        sides = zip((self.left, self.top), (size[1], size[0]), (0, 1), strict=True)
        return torch.stack([_held(low[:, k], high[:, k], first, self.side, extent) for first, extent, k in sides]).all(0)

    def room_above(self, points: Float[Tensor, "time points 2"]) -> float:
        """Above the points, of the face's size: the median frame's."""
        low, high = points.amin(1), points.amax(1)
        return float(((low[:, 1] - self.top) / (high - low).amax(1)).median())


def about_the_head(points: Float[Tensor, "time points 2"], size: tuple[int, int], px: int) -> Square:
    """One square for a whole film whose pictures are of ``size`` (rows, columns), at most ``px`` pixels wide; ``points`` of frames to keep.

    It lies within the picture: what was not filmed would be learnt as the person, or as their end. Where that makes it smaller than heads
    move, it lies where it holds the most of them.
    """
    rows, cols = size
    low, high = points.amin(1), points.amax(1)
    face = float((high - low).amax(1).median())
    left, highest = (float(value) for value in low.quantile(0.02, dim=0))
    right, bottom = (float(value) for value in high.quantile(0.98, dim=0) + BESIDE * face)
    left, top = left - BESIDE * face, highest - ABOVE * face
    side = min(int(np.ceil(max(right - left, bottom - top) / 2) * 2), min(size) // 2 * 2)
    wanted = (left + right - side) / 2, min((top + bottom - side) / 2, highest - HAIR * face)
    heads_low, heads_high = heads(points, side)
    first_col, first_row = (_first(heads_low[:, k], heads_high[:, k], wanted[k], side, extent) for k, extent in enumerate((cols, rows)))
    return Square(first_col, first_row, side, min(px, side) // 2 * 2)


def heads(points: Float[Tensor, "time points 2"], side: int) -> tuple[Float[Tensor, "time 2"], Float[Tensor, "time 2"]]:
    """First and last column and row of the heads about points, of so much of them as a square of ``side`` can hold with ease."""
    low, high = points.amin(1), points.amax(1)
    face = (high - low).amax(1, keepdim=True)
    beyond = (high - low - side).clamp(min=0)  # of faces larger than it: it may cut either end
    before, after = (face * points.new_tensor(margin) for margin in (HEAD_BEFORE, HEAD_AFTER))
    share = (SLACK * (side - (high - low)) / (before + after)).clamp(0, 1)
    return low + beyond - share * before, high - beyond + share * after


def _held(low: Float[Tensor, "..."], high: Float[Tensor, "..."], first, side: int, extent: int) -> Bool[Tensor, "..."]:
    """Whether a square from ``first`` on holds what lies between, as far as the picture's ``extent`` does."""
    first = torch.as_tensor(first)
    return ((low >= first - 1) | (first <= 0)) & ((high <= first + side + 1) | (first + side >= extent - 1))  # a pixel is nothing


def _first(low: Float[Tensor, "time"], high: Float[Tensor, "time"], wanted: float, side: int, extent: int) -> int:
    """Where the square begins that holds the most heads; of several the nearest to where it is ``wanted``."""
    wanted = min(max(round(wanted), 0), extent - side)
    places = torch.cat([torch.linspace(0, extent - side, PLACES).round().long(), torch.tensor([wanted])])
    held = _held(low[:, None], high[:, None], places, side, extent).sum(0)
    best = places[held == held.max()]
    return int(best[(best - wanted).abs().argmin()])
