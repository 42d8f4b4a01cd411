"""From any frame rate to 25 a second, exactly: frame k of the result lies at k / 25 s of the source, whatever the rate."""

import math
from fractions import Fraction

import numpy as np
from jaxtyping import Float

from mango.types import FRAME_RATE


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
    before, after, share = _neighbours(len(values), fps, frames)
    if not share.any():
        return values[before]
    return (values[before] * (1 - share[:, None]) + values[after] * share[:, None]).astype(np.float32)


def turned_between(rotations: Float[np.ndarray, "time 3"], fps: Fraction, frames: int) -> Float[np.ndarray, "frames 3"]:
    """The same for axis-angle rotations, along the shortest turn between two frames."""
    before, after, share = _neighbours(len(rotations), fps, frames)
    if not share.any():
        return rotations[before]
    from scipy.spatial.transform import Rotation

    first, second = (Rotation.from_rotvec(rotations[which].astype(np.float64)) for which in (before, after))
    step = (first.inv() * second).as_rotvec() * share[:, None]
    return (first * Rotation.from_rotvec(step)).as_rotvec().astype(np.float32)


def _neighbours(source_frames: int, fps: Fraction, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    places = [fps * k / FRAME_RATE for k in range(frames)]  # exact: a long film does not drift
    before = np.array([min(math.floor(place), source_frames - 1) for place in places], dtype=np.int64)
    share = np.array([float(place - math.floor(place)) for place in places])
    after = np.minimum(before + 1, source_frames - 1)
    return before, after, share
