"""The definition: every Gaussian at every pixel, front to back, in plain PyTorch, float32 and float64. Slow on purpose."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from renderer.pipeline import Request, Result, compose
from renderer.projection import ALPHA_CUT, Projection, project

ALPHA_CAP = 0.999
TRANSMITTANCE_STOP = 1e-4
PAIRS_AT_ONCE = 1 << 21  # pixel x Gaussian numbers held at a time


def obstacle() -> None:
    """Runs everywhere."""
    return None


def rasterize(request: Request) -> Result:
    return compose(request, project, blend)


def blend(
    projection: Projection,
    colors: Float[Tensor, "images gaussians channels"],
    opacities: Float[Tensor, "images gaussians"],
    backgrounds: Float[Tensor, "images channels"] | None,
    width: int,
    height: int,
) -> tuple[Float[Tensor, "images {height} {width} channels"], Float[Tensor, "images {height} {width} 1"]]:
    """Alpha-composites the 2D Gaussians at the centres of all pixels.

    alpha = min(0.999, opacity exp(-sigma)), skipped below 1/255; the Gaussian that would push a pixel's transmittance
    to 1e-4 or below, and all behind it, are left out. Gaussians at equal depth keep their order.
    """
    rows = []
    for image in range(colors.shape[0]):
        background = None if backgrounds is None else backgrounds[image]
        visible = (projection.radii[image] > 0).all(-1).nonzero()[:, 0]
        order = visible[projection.depths[image][visible].detach().argsort(stable=True)]
        flat = (projection.means2d[image][order], projection.conics[image][order], colors[image][order], opacities[image][order])
        rows.append(blend_image(flat, background, width, height))
    nothing = colors.new_zeros(0, height, width, colors.shape[-1] + 1) * colors.sum()  # still a function of the colours
    images = torch.stack(rows) if rows else nothing
    return images[..., :-1], images[..., -1:]


def blend_image(gaussians: tuple[Tensor, ...], background: Tensor | None, width: int, height: int) -> Tensor:
    """One image, colours and then alpha, in runs of pixels that are forgotten and computed again going backwards."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = (torch.stack([x, y], -1).reshape(-1, 2) + 0.5).to(gaussians[0])
    run = max(1, PAIRS_AT_ONCE // max(1, gaussians[0].shape[0]))
    blended = [checkpoint(blend_pixels, part, *gaussians, background, use_reentrant=False) for part in pixels.split(run)]
    return torch.cat(blended).reshape(height, width, -1)


def blend_pixels(
    pixels: Float[Tensor, "pixels 2"],
    means2d: Float[Tensor, "gaussians 2"],
    conics: Float[Tensor, "gaussians 3"],
    colors: Float[Tensor, "gaussians channels"],
    opacities: Float[Tensor, "gaussians"],
    background: Float[Tensor, "channels"] | None,
) -> Float[Tensor, "pixels channels_and_alpha"]:
    dx, dy = (means2d - pixels[:, None]).unbind(-1)
    xx, xy, yy = conics.unbind(-1)
    sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    alphas = (opacities * torch.exp(-sigma.clamp(min=0))).clamp(max=ALPHA_CAP)
    alphas = torch.where(alphas >= ALPHA_CUT, alphas, 0)
    after = torch.cumprod(1 - alphas, dim=-1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=-1)
    weights = torch.where(after > TRANSMITTANCE_STOP, alphas * before, 0)
    opaque = weights.sum(-1, keepdim=True)
    blended = weights @ colors
    if background is not None:
        blended = blended + (1 - opaque) * background
    return torch.cat([blended, opaque], dim=-1)
