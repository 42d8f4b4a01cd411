"""Motion at another frame rate: smooth between the frames it has, and never beyond them."""

from dataclasses import replace

import numpy as np
import torch

from mango.types import MOVING, MotionClip


def frames_at_rate(clip: MotionClip, fps: float) -> int:
    """How many `at_rate` makes of a clip."""
    return len(clip) if len(clip) < 2 else max(1, round(len(clip) * fps / clip.fps))


def at_rate(clip: MotionClip, fps: float) -> MotionClip:
    """The same seconds at ``fps`` frames a second. A frame shows the middle of its time.

    Every channel is interpolated by a monotone cubic (Fritsch and Carlson, PCHIP): lips that close between two frames do not pass through
    each other. Rotations are interpolated as vectors, which is exact about one axis and close to it for the angles between two frames.
    """
    from scipy.interpolate import PchipInterpolator

    if fps == clip.fps or len(clip) < 2:
        return replace(clip, fps=float(fps))
    seconds = (np.arange(len(clip)) + 0.5) / clip.fps
    wanted = ((np.arange(frames_at_rate(clip, fps)) + 0.5) / fps).clip(seconds[0], seconds[-1])
    moving = {name: PchipInterpolator(seconds, getattr(clip, name).double().numpy(), axis=0)(wanted) for name in MOVING}
    return replace(clip, **{name: torch.from_numpy(values).float() for name, values in moving.items()}, fps=float(fps))
