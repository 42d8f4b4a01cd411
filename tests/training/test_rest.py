"""Lips that the tracker holds open while nobody speaks are closed, and nothing else of the motion changes."""

import pytest
import torch

from mango.training.rest import closed_at_rest, closing_direction, lip_opening


@pytest.fixture(scope="module")
def clip(head):
    """Somebody who speaks in the second half, seen by a tracker that always opens the lips by some millimetres more."""
    random = torch.Generator().manual_seed(0)
    motion = torch.zeros(60, head.layout.width)
    motion[:, head.layout.where("expr")] = 0.2 + 0.02 * torch.randn(60, head.expressions, generator=random)
    motion[:, head.layout.where("neck_pose")] = 0.1 * torch.randn(60, 3, generator=random)
    motion[30:, head.layout.where("jaw_pose").start] = 0.15 * torch.rand(30, generator=random)
    motion[:, head.layout.where("jaw_pose").start] += 0.08
    return motion, torch.arange(60) < 30


def test_the_median_silent_frame_is_closed_by_one_offset(head, clip):
    """Noticed: an offset by the mean over speech too, one that turns the head, another sign, a shape that is not the person's."""
    motion, silent = clip
    shape = torch.linspace(-1, 1, head.identities)
    direction = closing_direction(head, torch.cov(motion.T))
    assert lip_opening(head, motion[silent], shape).median() > 1e-3
    closed = closed_at_rest(head, motion, shape, silent, direction)
    assert lip_opening(head, closed[silent], shape).median().abs() < 1e-4  # to first order
    offset = closed - motion
    torch.testing.assert_close(offset, offset[:1].expand_as(offset))
    assert not offset[:, head.layout.where("neck_pose")].any()


def test_the_offset_is_along_what_labels_do(head, clip):
    """A channel that labels never move closes no mouth."""
    motion, _ = clip
    direction = closing_direction(head, torch.cov(motion.T))
    jaw = head.layout.where("jaw_pose")
    assert direction[jaw.start] != 0 and not direction[jaw.start + 1 : jaw.stop].any()


def test_too_little_silence_says_nothing(head, clip):
    motion, _ = clip
    direction = closing_direction(head, torch.cov(motion.T))
    assert torch.equal(closed_at_rest(head, motion, torch.zeros(head.identities), torch.arange(60) < 9, direction), motion)
