"""A tracked face at rest.

Lips of a shape that no fitted identity has are explained by an expression, the same in every frame: of films of unseen people that was a
third of the error. What a person's mouth does all the time is their face, not an expression.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from mango.head.closed_lips import resting_frames
from mango.head.model import Head
from mango.types import FRAME_RATE, MotionClip

ENOUGH = FRAME_RATE  # silent frames: a second
ALIKE = 1 / 3  # of the resting frames are like the median one


def with_mouth_at_rest(head: Head, clip: MotionClip, silent: Bool[Tensor, "time"], keep: Bool[Tensor, "time"]) -> MotionClip:
    """Expressions of the lower face and the jaw as changes from what they are in the median resting frame (`resting_frames`).

    ``silent``: by the sound; ``keep``: to be believed. Some resting mouths may be open, and a median by channel of open and closed ones
    is nobody's face: it is taken of those about as open as the median one.
    """
    person = head.with_shape(torch.zeros(head.identities))
    opening = head.lip_opening(person.vertices(clip.expr, clip.neck_pose, clip.jaw_pose, clip.eyes_pose))
    rest = resting_frames(opening, silent, keep, enough=ENOUGH)
    unlike = (opening - opening[rest].median()).abs()
    rest = rest & (unlike <= unlike[rest].quantile(ALIKE))
    usual = torch.where(head.expressions_of("lower_face"), clip.expr[rest].median(0).values, 0.0)
    return replace(clip, expr=clip.expr - usual, jaw_pose=clip.jaw_pose - clip.jaw_pose[rest].median(0).values)
