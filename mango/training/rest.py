"""Faces at rest: what is known of a tracker's static errors and of its tremble, which no picture shows.

An offset that all frames of a person share is absorbed by their avatar, whose Gaussians simply sit elsewhere on the mesh. Only
knowledge about faces can tell it. We use two pieces. Silent faces are as often lopsided to one side as to the other: what is asymmetric in
the mean of all clips' silent faces is the tracker's. And while somebody is silent their lips mostly touch, so that the median lip opening
over the silent frames of a clip is zero. Of all offsets that close it the most likely is taken, given how labels vary:

    offset = -opening * C g / (g^T C g),     g = d opening / d motion,  C = covariance of the labels

Lip opening is taken as linear in the motion, which it nearly is while lips are near each other.

And open eyes are still: what eyelids do within the size of the labels' tremble is tremble.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.head.closed_lips import lip_openings
from mango.head.mirroring import mirrored_expressions
from mango.head.model import Head

ENOUGH = 10  # silent frames, below which a clip stays as it is
TREMBLE = 4.0  # standard deviations of a label's noise from frame to frame: half of a movement of that size is believed


@dataclass(frozen=True)
class Rest:
    """How lips open and how they are closed, for motion in some units."""

    gap: Float[Tensor, ""]  # lip opening of zero motion, metres
    opens: Float[Tensor, "width"]  # metres of lip opening per unit of motion
    direction: Float[Tensor, "width"]  # the likeliest change of motion that opens the lips by a metre

    def closed(self, motion: Float[Tensor, "time width"], silent: Bool[Tensor, "time"]) -> Float[Tensor, "time width"]:
        """``motion`` of one clip with one offset added to all frames, so that lips touch in the median silent frame."""
        if silent.sum() < ENOUGH:
            return motion
        return motion - self.opening(motion[silent]).median() * self.direction

    def opening(self, motion: Float[Tensor, "time width"]) -> Float[Tensor, "time"]:
        """Metres."""
        return self.gap + motion @ self.opens

    def touching(self, motion: Float[Tensor, "time width"]) -> Float[Tensor, "time width"]:
        """``motion`` with lips that touch in every frame; those that are pressed stay so."""
        return motion - self.opening(motion).clamp_min(0)[:, None] * self.direction

    def to(self, device: torch.device) -> "Rest":
        return Rest(self.gap.to(device), self.opens.to(device), self.direction.to(device))


def lopsided(head: Head, resting: Float[Tensor, "clips width"]) -> Float[Tensor, "width"]:
    """The asymmetric half of the mean of silent faces; expression and jaw alone. In the head's units."""
    mean, layout = resting.mean(0).cpu(), head.layout
    off, expr, jaw = torch.zeros_like(mean), layout.where("expr"), layout.where("jaw_pose")
    off[expr] = (mean[expr] - mirrored_expressions(head).cpu() @ mean[expr]) / 2
    off[jaw.start + 1 : jaw.stop] = mean[jaw.start + 1 : jaw.stop]  # turns about y and z change sign in the mirror
    return off.to(resting)


def filled(motion: Float[Tensor, "time width"], keep: Bool[Tensor, "time"]) -> Float[Tensor, "time width"]:
    """``motion`` with that of the nearest kept frame where there is none: a jump to nothing and back would be taken for a movement."""
    kept = keep.nonzero()[:, 0]
    if not len(kept):
        return motion
    frames = torch.arange(len(keep), device=keep.device)
    after = torch.searchsorted(kept, frames).clamp(max=len(kept) - 1)
    before = (after - 1).clamp(min=0)
    nearest = torch.where((frames - kept[before]).abs() <= (kept[after] - frames).abs(), kept[before], kept[after])
    return motion[nearest]


def stilled(curves: Float[Tensor, "time columns"]) -> Float[Tensor, "time columns"]:
    """Without the tremble about the median; large movements, as blinks are, stay as they are: x^3 / (x^2 + (4 s)^2) of each deviation x.

    s, the noise, is told by second differences, which are large for noise and small for whatever moves smoothly; by their median, for
    blinks are rare. (Noise suppression calls this coring.)
    """
    if len(curves) < 3:
        return curves
    rest = curves.median(0).values
    away = curves - rest
    noise = curves.diff(n=2, dim=0).abs().median(0).values / (0.6745 * 6**0.5)  # of a normal distribution; 6 = 1 + 4 + 1
    size = (TREMBLE * noise).clamp_min(1e-9)
    return rest + away * away.square() / (away.square() + size.square())


def lips_at_rest(
    head: Head,
    mean: Float[Tensor, "width"],
    std: Float[Tensor, "width"],
    covariance: Float[Tensor, "width width"],
    held: Bool[Tensor, "width"],
    step: float = 1e-3,
) -> Rest:
    """For motion normalised by ``mean`` and ``std``; ``covariance`` of labels in the head's units. What is ``held`` has no part in it."""
    each = torch.eye(head.layout.width) * step
    opens = (lip_openings(head, each) - lip_openings(head, -each)) / (2 * step)
    opens[held] = 0.0
    likely = covariance @ opens
    likely[held] = 0.0
    direction = likely / (opens @ likely).clamp_min(1e-12)
    return Rest(lip_openings(head, torch.zeros(1, head.layout.width))[0] + mean @ opens, opens * std, direction / std)
