"""What the backends share: project, shade, blend, and the layout of ``meta``.

means, quats, scales, viewmats, Ks --project--> 2D Gaussians (means2d carries a gradient) --+
colors or harmonics --shade--> channels, depth appended if asked for -----------------------+--blend--> colors, alphas
opacities (x compensation when antialiased) ------------------------------------------------+
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from renderer.projection import Projection
from renderer.spherical_harmonics import shade

Result = tuple[Tensor, Tensor, dict]
TILE = 16


@dataclass(frozen=True)
class Request:
    """The checked arguments of one `renderer.rasterize` call; names and shapes as there."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int
    near_plane: float
    far_plane: float
    radius_clip: float
    eps2d: float
    sh_degree: int | None
    backgrounds: Tensor | None
    render_mode: str
    rasterize_mode: str
    packed: bool | None  # these three are the gsplat backend's business only
    segmented: bool
    channel_chunk: int

    @property
    def batch(self) -> torch.Size:
        return self.means.shape[:-2]

    @property
    def cameras(self) -> int:
        return self.viewmats.shape[-3]

    @property
    def antialiased(self) -> bool:
        return self.rasterize_mode == "antialiased"


def compose(request: Request, project: Callable[..., Projection], blend: Callable[..., tuple[Tensor, Tensor]]) -> Result:
    """One call, by a backend's own projection and blending, both of which see flat batches only."""
    scenes, gaussians, cameras = request.batch.numel(), request.means.shape[-2], request.cameras
    images = scenes * cameras
    projection = project(
        shaped(request.means, (scenes, gaussians, 3)),
        shaped(request.quats, (scenes, gaussians, 4)),
        shaped(request.scales, (scenes, gaussians, 3)),
        shaped(request.opacities, (scenes, gaussians)),
        shaped(request.viewmats, (scenes, cameras, 4, 4)),
        shaped(request.Ks, (scenes, cameras, 3, 3)),
        request.width,
        request.height,
        eps2d=request.eps2d,
        near_plane=request.near_plane,
        far_plane=request.far_plane,
        radius_clip=request.radius_clip,
        antialiased=request.antialiased,
    )
    meta = metadata(request, projection)
    seen = Projection(*(shaped(meta[name], (images, gaussians, *tail)) for name, tail in FIELDS.items()))
    opacities = shaped(meta["opacities"], (images, gaussians))
    channels = channels_to_blend(request, meta["depths"])
    channels = shaped(channels, (images, gaussians, channels.shape[-1]))
    backgrounds = backgrounds_to_blend(request)
    backgrounds = None if backgrounds is None else shaped(backgrounds, (images, channels.shape[-1]))
    colors, alphas = blend(seen, channels, opacities, backgrounds, request.width, request.height)
    colors = shaped(colors, (*request.batch, cameras, *colors.shape[1:]))
    alphas = shaped(alphas, (*request.batch, cameras, *alphas.shape[1:]))
    if request.render_mode in ("ED", "RGB+ED"):  # expected depth: divided by how much there is to expect
        colors = torch.cat([colors[..., :-1], colors[..., -1:] / alphas.clamp(min=1e-10)], dim=-1)
    return colors, alphas, meta


def shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``reshape`` that leaves alone what has the shape already: a view of the same shape is one more node of the graph."""
    return tensor if tensor.shape == shape else tensor.reshape(shape)


FIELDS = {"radii": (2,), "means2d": (2,), "depths": (), "conics": (3,), "compensations": ()}


def metadata(request: Request, projection: Projection) -> dict:
    """gsplat's keys, in the layout of its unpacked mode: axes ``*batch cameras gaussians``.

    The blending reads its 2D Gaussians from here, so that ``meta["means2d"].retain_grad()`` works.
    """
    lead = (*request.batch, request.cameras, request.means.shape[-2])
    meta = {name: shaped(getattr(projection, name), (*lead, *tail)) for name, tail in FIELDS.items()}
    opacities = request.opacities[..., None, :].expand(lead)
    meta["opacities"] = opacities * meta["compensations"] if request.antialiased else opacities
    meta |= {"width": request.width, "height": request.height, "tile_size": TILE}
    meta |= {"tile_width": -(-request.width // TILE), "tile_height": -(-request.height // TILE)}
    meta |= {"n_batches": request.batch.numel(), "n_cameras": request.cameras}
    meta |= {"batch_ids": None, "camera_ids": None, "gaussian_ids": None}  # of the packed layout
    return meta


def channels_to_blend(request: Request, depths: Tensor) -> Tensor:
    """Colours per camera (``*batch cameras gaussians channels``), with depth as the last channel where it is asked for."""
    if request.render_mode in ("D", "ED"):
        return depths[..., None]
    colors, lead = request.colors, (*request.batch, request.cameras, request.means.shape[-2])
    per_camera = colors.dim() - (1 if request.sh_degree is None else 2) == len(lead)
    if not per_camera:
        colors = colors.unsqueeze(len(request.batch)).expand(*lead, *colors.shape[len(lead) - 1 :])
    if request.sh_degree is not None:
        # gsplat's formula, not -R^T t: the two agree where cameras are rigid, but not in the gradient of all twelve numbers.
        eyes = torch.inverse(request.viewmats)[..., :3, 3]
        colors = shade(request.sh_degree, request.means[..., None, :, :] - eyes[..., None, :], colors)
    return torch.cat([colors, depths[..., None]], dim=-1) if request.render_mode.startswith("RGB+") else colors


def backgrounds_to_blend(request: Request) -> Tensor | None:
    """There is no depth behind everything: the background's depth is 0."""
    if request.backgrounds is None or request.render_mode in ("D", "ED"):
        return None
    if request.render_mode == "RGB":
        return request.backgrounds
    return torch.nn.functional.pad(request.backgrounds, (0, 1))
