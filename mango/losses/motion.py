"""Losses between predicted and target motion, unreduced: one value per person and frame, and where it is defined.

The names here are the names in the config, in the logs and in the totals: ``MotionLossWeights`` and ``motion_losses`` are checked to agree.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.config import check_ranges
from mango.head.layout import MotionLayout


@runtime_checkable
class Surface(Protocol):
    """What is seen of flat motion ["batch person time width"], in millimetres; openings from the face at rest on."""

    def __call__(self, motion: Tensor) -> Tensor: ...  # points ["batch person time points 3"]

    def lip_opening(self, motion: Tensor) -> Tensor: ...  # ["batch person time"]

    def eye_opening(self, motion: Tensor) -> Tensor: ...  # ["batch person time"]


@dataclass(frozen=True)
class MotionLossWeights:
    """Weight of each loss in the total; 0 leaves it out. OPEN: the paper gives none; ours balance the terms at the start of training."""

    parameters: float = 1.0  # of motion in its standard deviations
    velocity: float = 0.5  # of their first differences
    acceleration: float = 0.0  # of their second differences
    vertices: float = 0.1  # of points of the face, millimetres
    vertex_velocity: float = 0.1  # of their first differences
    neck_velocity: float = 0.1  # of first differences of head pose
    closure: float = 0.0  # of lips that stay open at p, b and m: needs phones (docs/data.md); 0.02 is strong
    blink: float = 0.06  # of eyes that are more or less open than the label's

    def __post_init__(self):
        check_ranges(self, **{field.name: "[0, inf)" for field in fields(self)})


# The order of difference that each loss looks at: a difference over so many steps belongs to its last frame.
ORDERS = {
    "parameters": 0,
    "velocity": 1,
    "acceleration": 2,
    "vertices": 0,
    "vertex_velocity": 1,
    "neck_velocity": 1,
    "closure": 0,
    "blink": 0,
}


@dataclass(frozen=True)
class FrameLoss:
    """A loss per person and frame; only ``valid`` frames count."""

    values: Float[Tensor, "batch person time"]
    valid: Bool[Tensor, "batch person time"]
    whole: int | None = None  # valid frames of the batch that these windows are a part of; None: they are all of it

    def mean(self) -> Float[Tensor, ""]:
        """Over valid frames; zero (with a gradient of zero) where there are none. Of a part: what it adds to the whole batch's mean."""
        frames = self.valid.sum().clamp(min=1) if self.whole is None else max(1, self.whole)
        return self.per_dialogue_sum().sum() / frames

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
    mean: Float[Tensor, "width"] | None = None,
    bilabial: Bool[Tensor, "batch person time"] | None = None,
    surface: Surface | None = None,
    weights: MotionLossWeights = MotionLossWeights(),
    whole: Mapping[str, int] | None = None,
) -> dict[str, FrameLoss]:
    """The losses whose weight is not zero. ``predicted`` and ``target`` are normalised: ``mean`` subtracted, divided by ``std``.

    parameters: mean squared error; velocity, acceleration: of first and second differences (per frame, per frame squared);
    vertices: mean squared distance of the surface's points in square millimetres, vertex_velocity: of their first differences;
    neck_velocity: squared error of the neck rotation's first difference in square degrees; closure: squared distance of the lips in
    ``bilabial`` frames (p, b, m), square millimetres; blink: squared error of the eye opening, square millimetres.

    closure asks for lips that touch, as those of the face at rest do, and not for the target's opening: a tracker's smooth labels
    miss most closures (those of the synthetic set by 5 mm in the mean). Lips pressed together are no error.

    A difference counts where all its frames are kept and its last frame is ``counted`` (so that a window is also judged on how it
    continues its context). ``whole``: `frame_counts` of the batch that these windows are a part of.
    """
    predicted, target = (torch.where(keep[..., None], motion, 0.0) for motion in (predicted, target))  # what is padded cannot spread
    error = predicted - target
    wanted = {name for name, weight in asdict(weights).items() if weight}
    losses: dict[str, FrameLoss] = {}

    def add(name: str, compute: Callable[[], Tensor]) -> None:
        if name in wanted:
            values = torch.nn.functional.pad(compute(), (ORDERS[name], 0))
            losses[name] = FrameLoss(values, valid_frames(name, counted, keep, bilabial), None if whole is None else whole[name])

    add("parameters", lambda: error.square().mean(-1))
    add("velocity", lambda: error.diff(dim=2).square().mean(-1))
    add("acceleration", lambda: error.diff(n=2, dim=2).square().mean(-1))
    neck = layout.where("neck_pose")
    add("neck_velocity", lambda: torch.rad2deg(error[..., neck] * std[neck]).diff(dim=2).square().sum(-1))
    if wanted & {"vertices", "vertex_velocity", "closure", "blink"}:
        assert surface is not None, "losses of the surface have a weight but there is none to measure on"
    if wanted & {"vertices", "vertex_velocity"}:
        apart = surface(predicted * std) - surface(target * std)
        add("vertices", lambda: apart.square().sum(-1).mean(-1))
        add("vertex_velocity", lambda: apart.diff(dim=2).square().sum(-1).mean(-1))
    if "closure" in wanted:
        assert mean is not None and bilabial is not None, "closure has a weight: it needs the mean motion and the bilabial frames"
        add("closure", lambda: surface.lip_opening(predicted * std + mean).clamp(min=0).square())
    add("blink", lambda: (surface.eye_opening(predicted * std) - surface.eye_opening(target * std)).square())
    assert set(losses) == wanted, f"losses without a formula: {wanted - set(losses)}"
    return losses


def frame_counts(
    weights: MotionLossWeights,
    counted: Bool[Tensor, "batch person time"],
    keep: Bool[Tensor, "batch person time"],
    bilabial: Bool[Tensor, "batch person time"],
) -> dict[str, int]:
    """How many frames each loss will count, known before anything is computed: what makes parts of a batch add up to its means."""
    wanted = (name for name, weight in asdict(weights).items() if weight)
    return {name: int(valid_frames(name, counted, keep, bilabial).sum()) for name in wanted}


def valid_frames(
    name: str,
    counted: Bool[Tensor, "batch person time"],
    keep: Bool[Tensor, "batch person time"],
    bilabial: Bool[Tensor, "batch person time"] | None = None,
) -> Bool[Tensor, "batch person time"]:
    """Where a loss is defined."""
    valid = counted & bilabial if name == "closure" else counted.clone()
    for back in range(1, ORDERS[name] + 1):
        valid[:, :, back:] &= keep[:, :, :-back]
        valid[:, :, :back] = False
    return valid


def total(losses: Mapping[str, FrameLoss], weights: MotionLossWeights) -> Float[Tensor, ""]:
    known = {field.name for field in fields(weights)}
    assert set(losses) <= known, f"losses without a weight: {set(losses) - known}"
    return sum(getattr(weights, name) * loss.mean() for name, loss in losses.items())


def added(parts: Iterable[Mapping[str, Float[Tensor, ""]]]) -> dict[str, Float[Tensor, ""]]:
    """Losses of the parts of a batch, put together."""
    whole: dict[str, Tensor] = {}
    for part in parts:
        whole = {name: whole[name] + value if name in whole else value for name, value in part.items()}
    return whole
