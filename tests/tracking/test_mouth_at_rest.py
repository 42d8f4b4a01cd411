"""What a mouth does all the time is no expression.

Faults planted, each seen red: the mean instead of the median, doubted frames believed, the whole face laid to rest,
frames of most opening instead of least, the jaw left out, pauses with an open mouth taken for rest.
"""

from dataclasses import replace

import pytest
import torch

from mango.tracking.rest import with_mouth_at_rest
from mango.types import MotionClip

FRAMES = 120


@pytest.fixture(scope="module")
def talking(head) -> MotionClip:
    """Half silent, half with a mouth that opens and closes; blinks and brows all the time."""
    time = torch.arange(FRAMES)
    opened = (time >= 60) * (0.5 - 0.5 * torch.cos(time * 0.7))
    expr = torch.zeros(FRAMES, head.expressions)
    for name, curve in {"mouthFunnel": 0.3 * opened, "eyeBlinkLeft": (time % 20 < 4).float(), "browInnerUp": 0.2 + 0 * opened}.items():
        expr[:, head.expression_names.index(name)] = curve
    still = torch.zeros(FRAMES, 3)
    jaw = 0.2 * opened[:, None] * torch.tensor([1.0, 0.0, 0.0])
    return MotionClip(expr, still, still, jaw, torch.zeros(FRAMES, 6), still, torch.zeros(head.identities), head.digest, 25.0)


def biased(clip: MotionClip, head) -> MotionClip:
    """Everywhere the mouth is pushed out and the jaw hangs and is turned; three frames are wild."""
    expr, jaw = clip.expr.clone(), clip.jaw_pose + torch.tensor([0.05, 0.01, 0.0])
    expr[:, head.expression_names.index("mouthPucker")] += 0.4
    expr[10:13] += 5.0
    return replace(clip, expr=expr, jaw_pose=jaw)


def assert_is(found: MotionClip, clip: MotionClip, head, atol: float) -> None:
    calm = torch.cat([torch.arange(10), torch.arange(13, FRAMES)])
    torch.testing.assert_close(found.expr[calm], clip.expr[calm], atol=atol, rtol=0)
    torch.testing.assert_close(found.jaw_pose[calm], clip.jaw_pose[calm], atol=atol, rtol=0)


def test_silent_frames_say_what_rest_is(head, talking):
    silent, keep = torch.arange(FRAMES) < 60, torch.ones(FRAMES, dtype=torch.bool)
    assert_is(with_mouth_at_rest(head, biased(talking, head), silent, keep), talking, head, atol=1e-6)


def test_doubted_frames_say_nothing(head, talking):
    silent, keep = torch.arange(FRAMES) < 60, torch.arange(FRAMES) >= 35
    wrong = biased(talking, head)
    wrong.expr[:35, head.expression_names.index("mouthPucker")] += 3.0
    found = with_mouth_at_rest(head, wrong, silent, keep)
    torch.testing.assert_close(found.expr[35:], talking.expr[35:])


def test_who_is_never_silent_closes_the_lips_at_times(head, talking):
    always, few = slice(60, FRAMES), FRAMES - 60
    found = with_mouth_at_rest(
        head, biased(talking, head).frames(always), torch.zeros(few, dtype=torch.bool), torch.ones(few, dtype=torch.bool)
    )
    torch.testing.assert_close(found.expr, talking.expr[always], atol=0.03, rtol=0)
    torch.testing.assert_close(found.jaw_pose, talking.jaw_pose[always], atol=0.02, rtol=0)


def test_a_pause_with_an_open_mouth_is_no_rest(head, talking):
    """A speaker who takes breath: silent for more than a second in all, lips apart."""
    spoken = biased(talking, head).frames(slice(60, FRAMES))
    keep = torch.ones(len(spoken), dtype=torch.bool)
    breaths = talking.jaw_pose[60:, 0] > 0.08
    assert breaths.sum() > 25
    found, unheard = (with_mouth_at_rest(head, spoken, silent, keep) for silent in (breaths, ~keep))
    torch.testing.assert_close(found.jaw_pose, unheard.jaw_pose)
    torch.testing.assert_close(found.expr, unheard.expr)


def test_half_of_the_pauses_with_an_open_mouth(head, talking):
    """Noticed: all of silence taken for rest, whose median of every channel is between open and closed."""
    clip = biased(talking, head)
    silent = torch.arange(FRAMES) < 60
    clip.jaw_pose[15:45, 0] += 0.15
    found = with_mouth_at_rest(head, clip, silent, torch.ones(FRAMES, dtype=torch.bool))
    torch.testing.assert_close(found.jaw_pose[45:60], talking.jaw_pose[45:60])
    torch.testing.assert_close(found.expr[45:60], talking.expr[45:60])
