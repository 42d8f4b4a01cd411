"""Motion at another frame rate. Faults these tests notice, each planted once: frames that show the beginning of their time instead of its
middle; an interpolation that overshoots; seconds lost at the end; a channel left as it was."""

import pytest
import torch

from mango.inference.retiming import at_rate
from mango.types import MOVING, MotionClip


def clip(values: torch.Tensor, fps: float = 25.0) -> MotionClip:
    """One number per frame in every channel."""
    widths = {"expr": 4, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
    return MotionClip(**{name: values[:, None].repeat(1, width) for name, width in widths.items()}, shape=torch.zeros(2), head="h", fps=fps)


@pytest.mark.parametrize("fps", [12.5, 30.0, 50.0, 60.0])
def test_a_steady_movement_stays_steady_in_time(fps):
    """x = t at the middle of every frame, but for the ends, beyond which nothing is known."""
    made = at_rate(clip((torch.arange(100) + 0.5) / 25), fps)
    assert len(made) == round(100 * fps / 25) and made.fps == fps
    middle = ((torch.arange(len(made)) + 0.5) / fps).clamp(0.5 / 25, 99.5 / 25)
    for name in MOVING:
        torch.testing.assert_close(getattr(made, name), middle[:, None].expand_as(getattr(made, name)), atol=1e-5, rtol=0)


def test_lips_that_touch_do_not_pass_through_each_other():
    """Between samples of a sudden closure nothing leaves the range of the samples."""
    opening = torch.tensor([5.0, 5.0, 0.0, 0.0, 0.0, 5.0, 1.0, 5.0])
    made = at_rate(clip(opening), 100.0).jaw_pose
    assert made.min() >= 0 and made.max() <= 5


def test_the_same_rate_changes_nothing():
    original = clip(torch.rand(7))
    assert torch.equal(at_rate(original, 25.0).expr, original.expr)


def test_one_frame_is_one_frame():
    assert len(at_rate(clip(torch.rand(1)), 50.0)) == 1
