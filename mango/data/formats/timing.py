"""From any frame rate to 25 a second, exactly: frame k of the result lies at k / 25 s of the source, whatever the rate."""

import math
from fractions import Fraction

import numpy as np
from jaxtyping import Float

from mango.types import FRAME_RATE

Neighbours = tuple[np.ndarray, np.ndarray, np.ndarray]  # of each frame the row before, the row after, and the share of the latter


def num_frames(source_frames: int, fps: Fraction) -> int:
    """How many frames of 25 a second lie within the source, whose last frame lasts as long as the others."""
    return math.floor(source_frames * FRAME_RATE / fps)


def nearest_frames(source_frames: int, fps: Fraction, frames: int) -> list[int]:
    """The source's frame nearest in time to each frame; halves go to the later."""
    return [nearest_frame(source_frames, fps, Fraction(k, FRAME_RATE)) for k in range(frames)]


def nearest_frame(source_frames: int, fps: Fraction, moment: Fraction) -> int:
    """The source's frame nearest to a moment in seconds; halves go to the later."""
    return min(math.floor(fps * moment + Fraction(1, 2)), source_frames - 1)


def between(values: Float[np.ndarray, "time width"], fps: Fraction, frames: int) -> Float[np.ndarray, "frames width"]:
    """Linear between neighbouring frames. At 25 fps the same numbers."""
    return blended(values, _neighbours(len(values), fps, frames))


def turned_between(rotations: Float[np.ndarray, "time 3"], fps: Fraction, frames: int) -> Float[np.ndarray, "frames 3"]:
    """The same for axis-angle rotations, along the shortest turn between two frames."""
    return turned(rotations, _neighbours(len(rotations), fps, frames))


def evenly(seconds: Float[np.ndarray, "time"], fps: Fraction) -> Neighbours:
    """Of rows with time stamps: those between which the frames of an even rate lie, the first at the first row."""
    places = (seconds - seconds[0]) * float(fps)
    frames = np.arange(round(places[-1]) + 1)
    before = np.clip(np.searchsorted(places, frames, side="right") - 1, 0, len(places) - 2)
    return before, before + 1, np.clip((frames - places[before]) / np.diff(places)[before], 0, 1)


def blended(values: Float[np.ndarray, "time width"], where: Neighbours) -> Float[np.ndarray, "frames width"]:
    """On straight lines between rows."""
    before, after, share = where
    if not share.any():
        return values[before]
    return (values[before] * (1 - share[:, None]) + values[after] * share[:, None]).astype(np.float32)


def turned(rotations: Float[np.ndarray, "time 3"], where: Neighbours) -> Float[np.ndarray, "frames 3"]:
    """Axis-angle rotations, on the shortest turns between rows."""
    before, after, share = where
    if not share.any():
        return rotations[before]
    from scipy.spatial.transform import Rotation

    first, second = (Rotation.from_rotvec(rotations[which].astype(np.float64)) for which in (before, after))
    step = (first.inv() * second).as_rotvec() * share[:, None]
    return (first * Rotation.from_rotvec(step)).as_rotvec().astype(np.float32)


def _neighbours(source_frames: int, fps: Fraction, frames: int) -> Neighbours:
    places = [fps * k / FRAME_RATE for k in range(frames)]  # exact: a long film does not drift
    before = np.array([min(math.floor(place), source_frames - 1) for place in places], dtype=np.int64)
    share = np.array([float(place - math.floor(place)) for place in places])
    after = np.minimum(before + 1, source_frames - 1)
    return before, after, share
