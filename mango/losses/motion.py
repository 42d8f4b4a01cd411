"""Losses between predicted and target motion, unreduced: one value per person and frame, and where it is defined.

The names here are the names in the config, in the logs and in the totals: ``MotionLossWeights`` and ``motion_losses`` are checked to agree.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mango.head.layout import MotionLayout

# Flat motion ["batch person time width"] -> points ["batch person time points 3"] whose distances are millimetres.
Surface = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class MotionLossWeights:
    """Weight of each loss in the total; 0 leaves it out. OPEN: the paper gives none; ours balance the terms at the start of training."""

    parameters: float = 1.0
    velocity: float = 0.5
    acceleration: float = 0.0
    vertices: float = 0.1
    vertex_velocity: float = 0.1
    neck_velocity: float = 0.1


@dataclass(frozen=True)
class FrameLoss:
    """A loss per person and frame; only ``valid`` frames count."""

    values: Float[Tensor, "batch person time"]
    valid: Bool[Tensor, "batch person time"]
    whole: Int[Tensor, ""] | None = None  # valid frames of the batch that these windows are a share of; None: they are all of it

    def mean(self) -> Float[Tensor, ""]:
        """Over valid frames; zero (with a gradient of zero) where there are none. Of a share: what it adds to the whole batch's mean."""
        frames = self.valid.sum() if self.whole is None else self.whole
        return self.per_dialogue_sum().sum() / frames.clamp(min=1)

    def per_dialogue_sum(self) -> Float[Tensor, "batch"]:
        # where, not a product: a NaN outside the valid frames must not spread
        return torch.where(self.valid, self.values, 0.0).sum(dim=(1, 2))


def motion_losses(
    predicted: Float[Tensor, "batch person time width"],
    target: Float[Tensor, "batch person time width"],
    counted: Bool[Tensor, "batch person time"],
    keep: Bool[Tensor, "batch person time"],
    *,
    layout: MotionLayout,
    std: Float[Tensor, "width"],
    surface: Surface | None = None,
    weights: MotionLossWeights = MotionLossWeights(),
) -> dict[str, FrameLoss]:
    """The losses whose weight is not zero. ``predicted`` and ``target`` are normalised (divided by ``std``).

    parameters: mean squared error; velocity, acceleration: of first and second differences (per frame, per frame squared);
    vertices: mean squared distance of the surface's points in square millimetres, vertex_velocity: of their first differences;
    neck_velocity: squared error of the neck rotation's first difference in square degrees. A difference counts where all its
    frames are kept and its last frame is ``counted`` (so that a window is also judged on how it continues its context).
    """
    predicted, target = (torch.where(keep[..., None], motion, 0.0) for motion in (predicted, target))  # what is padded cannot spread
    error = predicted - target
    wanted = {name for name, weight in asdict(weights).items() if weight}
    losses: dict[str, FrameLoss] = {}

    def add(name: str, order: int, values: Callable[[], Tensor]) -> None:
        if name in wanted:
            losses[name] = _frame_loss(values(), counted, keep, order)

    add("parameters", 0, lambda: error.square().mean(-1))
    add("velocity", 1, lambda: error.diff(dim=2).square().mean(-1))
    add("acceleration", 2, lambda: error.diff(n=2, dim=2).square().mean(-1))
    neck = layout.where("neck_pose")
    add("neck_velocity", 1, lambda: torch.rad2deg(error[..., neck] * std[neck]).diff(dim=2).square().sum(-1))
    if wanted & {"vertices", "vertex_velocity"}:
        assert surface is not None, "vertex losses have a weight but there is no surface to measure on"
        apart = surface(predicted * std) - surface(target * std)
        add("vertices", 0, lambda: apart.square().sum(-1).mean(-1))
        add("vertex_velocity", 1, lambda: apart.diff(dim=2).square().sum(-1).mean(-1))
    assert set(losses) == wanted, f"losses without a formula: {wanted - set(losses)}"
    return losses


def shares(losses: Mapping[str, FrameLoss], summed: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> dict[str, FrameLoss]:
    """Losses of a share of a batch, as parts of the whole batch's. ``summed`` adds each count over all shares."""
    frames = summed({name: loss.valid.sum() for name, loss in losses.items()})
    return {name: replace(loss, whole=frames[name]) for name, loss in losses.items()}


def total(losses: Mapping[str, FrameLoss], weights: MotionLossWeights) -> Float[Tensor, ""]:
    known = {field.name for field in fields(weights)}
    assert set(losses) <= known, f"losses without a weight: {set(losses) - known}"
    return sum(getattr(weights, name) * loss.mean() for name, loss in losses.items())


def _frame_loss(
    values: Float[Tensor, "batch person frames"],
    counted: Bool[Tensor, "batch person time"],
    keep: Bool[Tensor, "batch person time"],
    order: int,
) -> FrameLoss:
    """A difference over ``order`` steps belongs to its last frame."""
    valid = counted.clone()
    for back in range(1, order + 1):
        valid[:, :, back:] &= keep[:, :, :-back]
        valid[:, :, :back] = False
    return FrameLoss(torch.nn.functional.pad(values, (order, 0)), valid)
