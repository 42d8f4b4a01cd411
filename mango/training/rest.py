"""Lips are closed at rest: a static error of a tracker that no picture shows.

An offset that all frames of a person share is absorbed by their avatar, whose Gaussians simply sit elsewhere on the mesh. Only
knowledge about faces can tell it. We use one piece: while somebody is silent their lips mostly touch, so that the median lip opening over
the silent frames of a clip is zero. Of all offsets that close it the most likely is taken, given how labels vary:

    offset = -opening * C g / (g^T C g),     g = d opening / d motion,  C = covariance of the labels
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.head.model import Head

ENOUGH = 10  # silent frames, below which a clip's labels stay as they are


def closing_direction(head: Head, covariance: Float[Tensor, "width width"], step: float = 1e-3) -> Float[Tensor, "width"]:
    """The change of motion (head's units) that opens the lips by one metre, as likely as can be. The head's pose has no part in it."""
    each = torch.eye(head.layout.width) * step
    gradient = (lip_opening(head, each, torch.zeros(head.identities)) - lip_opening(head, -each, torch.zeros(head.identities))) / (2 * step)
    gradient[head.layout.where("neck_pose")] = 0.0
    direction = covariance.to(gradient) @ gradient
    direction[head.layout.where("neck_pose")] = 0.0
    return direction / (gradient @ direction).clamp_min(1e-12)


def closed_at_rest(
    head: Head,
    motion: Float[Tensor, "time width"],
    shape: Float[Tensor, "identity"],
    silent: Bool[Tensor, "time"],
    direction: Float[Tensor, "width"],
) -> Float[Tensor, "time width"]:
    """``motion`` of one clip with one offset added to all frames, so that lips touch in the median silent frame."""
    if silent.sum() < ENOUGH:
        return motion
    return motion - lip_opening(head, motion[silent], shape).median() * direction


def lip_opening(head: Head, motion: Float[Tensor, "time width"], shape: Float[Tensor, "identity"]) -> Float[Tensor, "time"]:
    """Metres; see `Head.lip_opening`."""
    parts = head.layout.unpack(motion)
    return head.lip_opening(head.with_shape(shape).vertices(**{**parts, "neck_pose": torch.zeros_like(parts["neck_pose"])}))
