"""What pictures say about a rendering: per-picture losses, and where on a face they look closest."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from mango.config import check_ranges
from mango.data.pictures import PictureBatch
from mango.losses.image import l1, lpips, ssim

MOUTH, RIGHT_EYE, LEFT_EYE = slice(48, 68), slice(36, 42), slice(42, 48)  # of iBUG's 68 points
NO_PIXEL = 1e-6  # weight of a picture in which nothing counts


@dataclass(frozen=True)
class PictureLossWeights:
    """Weight of each picture loss; 0 leaves it out. OPEN: the paper gives none."""

    l1: float = 1.0  # of absolute differences of colours, weighted by region
    ssim: float = 0.1  # of 1 - SSIM
    silhouette: float = 0.1  # of the drawing's alpha against the matte
    lpips: float = 0.0  # needs weight files, see mango.losses.perceptual

    def __post_init__(self):
        check_ranges(self, **{field.name: "[0, inf)" for field in fields(self)})


@dataclass(frozen=True)
class RegionWeights:
    """How much a pixel counts in the L1 loss. The mouth is one pixel in fifty: unweighted, hair and neck would teach the lips."""

    background: float = 0.5  # outside of the matte
    head: float = 1.0  # the person but for the next two
    mouth: float = 5.0  # a box about the lips
    eyes: float = 5.0  # boxes about the eyes
    margin: float = 0.5  # of a part's box, on each side: closed lips and lids have flat boxes

    def __post_init__(self):
        check_ranges(self, **{field.name: "[0, inf)" for field in fields(self)})


def picture_losses(
    colors: Float[Tensor, "pictures rows cols 3"],
    alphas: Float[Tensor, "pictures rows cols 1"],
    recorded: PictureBatch,
    pixel_weights: Float[Tensor, "pictures rows cols 1"],
    weights: PictureLossWeights,
) -> dict[str, Float[Tensor, "pictures"]]:
    """The losses whose weight is not zero, one value a picture; names as in the weights. Where no pixel counts, L1 is zero."""
    every = (1, 2, 3)
    losses = {}
    if weights.l1:
        losses["l1"] = (pixel_weights * l1(colors, recorded.colors)).sum(every) / (3 * pixel_weights.sum(every)).clamp_min(NO_PIXEL)
    if weights.ssim:
        losses["ssim"] = 1 - ssim(colors, recorded.colors).mean(every)
    if weights.silhouette:
        losses["silhouette"] = (alphas - recorded.mattes).abs().mean(every)
    if weights.lpips:
        losses["lpips"] = lpips(colors, recorded.colors)
    return losses


def pixel_weights(recorded: PictureBatch, regions: RegionWeights) -> Float[Tensor, "pictures rows cols 1"]:
    """The matte, and boxes around the tracker's mouth and eye landmarks. Nothing learned: a weight must not be worth moving for."""
    weights = regions.background + (regions.head - regions.background) * recorded.mattes
    for landmarks, weight in ((MOUTH, regions.mouth), (RIGHT_EYE, regions.eyes), (LEFT_EYE, regions.eyes)):
        inside = _box(recorded.landmarks[:, landmarks], recorded.size, regions.margin)
        weights = torch.where(inside, weight, weights)
    return weights


def _box(points: Float[Tensor, "pictures points 2"], size: tuple[int, int], margin: float) -> Tensor:
    low, high = points.amin(1), points.amax(1)
    around = margin * (high - low).amax(-1, keepdim=True)
    low, high = low - around, high + around
    x = torch.arange(size[1], device=points.device) + 0.5
    y = torch.arange(size[0], device=points.device) + 0.5
    across = (x >= low[:, :1]) & (x <= high[:, :1])
    down = (y >= low[:, 1:]) & (y <= high[:, 1:])
    return (down[:, :, None] & across[:, None, :])[..., None]
