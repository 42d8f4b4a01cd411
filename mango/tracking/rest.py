"""A tracked face at rest.

Lips of a shape that no fitted identity has are explained by an expression, the same in every frame: of films of unseen people that was a
third of the error. What a person's mouth does all the time is their face, not an expression.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from mango.head.closed_lips import lip_openings, resting_frames
from mango.head.model import Head
from mango.types import MotionClip

ENOUGH = 10  # silent frames with closed lips


def with_mouth_at_rest(head: Head, clip: MotionClip, silent: Bool[Tensor, "time"], keep: Bool[Tensor, "time"]) -> MotionClip:
    """Expressions of the lower face and the jaw as changes from what they are in the median resting frame (`resting_frames`).

    ``silent``: by the sound; ``keep``: to be believed.
    """
    rest = resting_frames(lip_openings(head, head.layout.pack(clip)), silent, keep, enough=ENOUGH)
    usual = torch.where(head.expressions_of("lower_face"), clip.expr[rest].median(0).values, 0.0)
    return replace(clip, expr=clip.expr - usual, jaw_pose=clip.jaw_pose - clip.jaw_pose[rest].median(0).values)
