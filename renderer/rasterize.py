"""The public entry: gsplat's `rasterization` by signature and meaning, on whichever backend can run here."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from renderer.pipeline import Request
from renderer.spherical_harmonics import MAX_DEGREE
from renderer.types import Camera, Gaussians, Rendering

log = logging.getLogger("renderer")
MAX_CHANNELS = 32


@dataclass(frozen=True)
class Backend:
    """A module with ``rasterize(request)`` and ``obstacle()``, which says in words why it cannot run here, or None."""

    module: str

    def obstacle(self) -> str | None:
        return import_module(self.module).obstacle()

    @property
    def rasterize(self) -> Callable[[Request], tuple[Tensor, Tensor, dict]]:
        return import_module(self.module).rasterize


BACKENDS = {
    "reference": Backend("renderer.backends.reference"),
    "cpu": Backend("renderer.backends.cpu"),
    "gsplat": Backend("renderer.backends.gsplat"),
}


class NoBackend(ValueError):
    """No backend can draw tensors of this kind here. ``reasons``: why not, backend by backend."""

    def __init__(self, device: str, dtype: torch.dtype, reasons: str):
        self.device, self.dtype, self.reasons = device, dtype, reasons
        super().__init__(f"no renderer backend for {dtype} on {device}: {reasons}; or move the tensors to the CPU")

    def __reduce__(self):  # exceptions cross process borders
        return NoBackend, (self.device, self.dtype, self.reasons)


def rasterize(
    means: Float[Tensor, "*batch gaussians 3"],
    quats: Float[Tensor, "*batch gaussians 4"],
    scales: Float[Tensor, "*batch gaussians 3"],
    opacities: Float[Tensor, "*batch gaussians"],
    colors: Float[Tensor, "..."],
    viewmats: Float[Tensor, "*batch cameras 4 4"],
    Ks: Float[Tensor, "*batch cameras 3 3"],
    width: int,
    height: int,
    near_plane: float | int = 0.01,
    far_plane: float | int = 1e10,
    radius_clip: float | int = 0.0,
    eps2d: float | int = 0.3,
    sh_degree: int | None = None,
    packed: bool | None = None,
    tile_size: int = 16,
    backgrounds: Float[Tensor, "*batch cameras channels"] | None = None,
    render_mode: Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"] = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: Literal["classic", "antialiased"] = "classic",
    channel_chunk: int = 32,
    distributed: bool = False,
    camera_model: Literal["pinhole", "ortho", "fisheye", "ftheta"] = "pinhole",
    segmented: bool = False,
    covars: Tensor | None = None,
    with_ut: bool = False,
    with_eval3d: bool = False,
    radial_coeffs: Tensor | None = None,
    tangential_coeffs: Tensor | None = None,
    thin_prism_coeffs: Tensor | None = None,
    ftheta_coeffs: object | None = None,
    rolling_shutter: object | None = None,
    viewmats_rs: Tensor | None = None,
    *,
    backend: Literal["auto", "reference", "cpu", "gsplat"] = "auto",
) -> tuple[Float[Tensor, "*batch cameras {height} {width} _"], Float[Tensor, "*batch cameras {height} {width} 1"], dict]:
    """Draws every scene of the batch as each of its cameras sees it. Arguments and meaning are gsplat 1.5's `rasterization`.

    Args:
        means, quats, scales, opacities: as in `renderer.Gaussians`.
        colors: ``[*batch, (cameras,) gaussians, channels]``, 1 to 32 channels; with ``sh_degree`` spherical harmonics
            ``[*batch, (cameras,) gaussians, bases, 3]``.
        viewmats: ``camera_from_world``, OpenCV axes. Ks: intrinsics in pixels; they carry no gradient.
        near_plane, far_plane: Gaussians with their centre outside are left out.
        radius_clip: Gaussians whose radius is at most so many pixels are left out.
        eps2d: blur added to every 2D covariance, square pixels.
        packed: a layout of gsplat's; the backends here use the unpacked one, and so does gsplat unless this is True, which it can
            be for one scene.
        backgrounds: colour behind everything, per camera.
        render_mode: colours, accumulated depth (D), expected depth (ED), or both, depth last.
        rasterize_mode: "antialiased" scales opacities by how much the blur widened each Gaussian (Mip-Splatting).
        backend: "auto" takes the fastest that can run for the tensors' device and type, and logs its choice once.

    Returns:
        colors, alphas and ``meta``: radii, means2d (call ``retain_grad()`` on it for its gradient), depths, conics,
        opacities, all with axes ``*batch cameras gaussians``, and the sizes.

    Gradients reach means, quats, scales, opacities, colors, backgrounds and viewmats.
    """
    refuse_unsupported(
        sparse_grad=sparse_grad,
        absgrad=absgrad,
        distributed=distributed,
        with_ut=with_ut,
        with_eval3d=with_eval3d,
        covars=covars,
        radial_coeffs=radial_coeffs,
        tangential_coeffs=tangential_coeffs,
        thin_prism_coeffs=thin_prism_coeffs,
        ftheta_coeffs=ftheta_coeffs,
        rolling_shutter=None if getattr(rolling_shutter, "name", "") == "GLOBAL" else rolling_shutter,  # gsplat's word for none
        viewmats_rs=viewmats_rs,
    )
    check_choice("camera_model", camera_model, ("pinhole",))
    check_choice("tile_size", tile_size, (16,))
    check_choice("render_mode", render_mode, ("RGB", "D", "ED", "RGB+D", "RGB+ED"))
    check_choice("rasterize_mode", rasterize_mode, ("classic", "antialiased"))
    request = Request(
        means=means,
        quats=quats,
        scales=scales,
        opacities=opacities,
        colors=colors,
        viewmats=viewmats,
        Ks=Ks,
        width=width,
        height=height,
        near_plane=float(near_plane),
        far_plane=float(far_plane),
        radius_clip=float(radius_clip),
        eps2d=float(eps2d),
        sh_degree=sh_degree,
        backgrounds=backgrounds,
        render_mode=render_mode,
        rasterize_mode=rasterize_mode,
        packed=packed,
        segmented=segmented,
        channel_chunk=channel_chunk,
    )
    check_shapes(request)
    name = resolve(means.device.type, means.dtype) if backend == "auto" else backend
    if name != "gsplat":
        warn_ignored(name, packed=packed, segmented=segmented, channel_chunk=None if channel_chunk == 32 else channel_chunk)
    with torch.autocast(means.device.type, enabled=False):  # kernels take float32 as float32, and depths want all of it
        return usable(name).rasterize(request)


def draw(
    gaussians: Gaussians,
    camera: Camera,
    background: Float[Tensor, "channels"] | None = None,
    backend: str = "auto",
    eps2d: float = 0.3,
) -> Rendering:
    """One picture per batch element. The batches of Gaussians and camera broadcast against each other.

    ``eps2d``: as in `rasterize`. A picture of half the size shows the same blur with a quarter of it.
    """
    batch = torch.broadcast_shapes(gaussians.means.shape[:-2], camera.camera_from_world.shape[:-2], camera.intrinsics.shape[:-2])
    # One scene seen by many cameras is projected once per camera without being copied.
    alone = gaussians.means.shape[:-2].numel() == 1
    lead = torch.Size() if alone else batch
    cameras = batch.numel() if alone else 1

    def scene(values: Tensor, trailing: int) -> Tensor:
        return values.reshape(values.shape[values.dim() - trailing :]) if alone else values.expand(*batch, *values.shape[-trailing:])

    def view(values: Tensor) -> Tensor:
        return values.expand(*batch, *values.shape[-2:]).reshape(*lead, cameras, *values.shape[-2:])

    colors, alphas, meta = rasterize(
        scene(gaussians.means, 2),
        scene(gaussians.quats, 2),
        scene(gaussians.scales, 2),
        scene(gaussians.opacities, 1),
        scene(gaussians.colors, 2),
        view(camera.camera_from_world),
        view(camera.intrinsics),
        camera.width,
        camera.height,
        backgrounds=None if background is None else background.expand(*lead, cameras, background.shape[-1]),
        backend=backend,
        eps2d=eps2d,
    )
    return Rendering(
        colors=colors.reshape(*batch, *colors.shape[-3:]),
        alphas=alphas.reshape(*batch, *alphas.shape[-3:]),
        means2d=meta["means2d"],
        radii=meta["radii"],
    )


@lru_cache
def resolve(device: str, dtype: torch.dtype) -> str:
    """The backend that "auto" means for tensors of this device and type: the first that can run. Logged once. Raises `NoBackend`."""
    preferred = {"cuda": ("gsplat",), "cpu": ("cpu", "reference")}.get(device, ("reference",))
    if dtype != torch.float32:  # the others compute in float32 only
        preferred = ("reference",)
    reasons = []
    for name in preferred:
        reason = BACKENDS[name].obstacle()
        if reason is None:
            log.log(logging.WARNING if reasons else logging.INFO, "renderer: backend %s%s", name, "".join(f" ({r})" for r in reasons))
            return name
        reasons.append(f"{name} cannot run: {reason}")
    raise NoBackend(device, dtype, "; ".join(reasons))


def usable(name: str) -> Backend:
    check_choice("backend", name, ("auto", *BACKENDS))
    reason = BACKENDS[name].obstacle()
    if reason is not None:
        raise ValueError(f"renderer backend {name!r} cannot run here: {reason}; backend='auto' picks one that can")
    return BACKENDS[name]


def check_choice(name: str, found: object, choices: tuple) -> None:
    if found not in choices:
        raise ValueError(f"{name}: expected {' or '.join(repr(c) for c in choices)}, found {found!r}; nothing else is supported")


def refuse_unsupported(**options: object) -> None:
    for name, value in options.items():
        if value is not None and value is not False:
            raise ValueError(f"{name} is an option of gsplat's that renderer.rasterize does not support yet; leave it out")


def warn_ignored(backend: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None and value is not False:
            warnings.warn(f"{name}={value!r} has no meaning on the {backend} backend and is ignored", stacklevel=3)


def check_shapes(request: Request) -> None:
    """ValueErrors for shapes, types and devices that do not fit together."""
    if request.means.dim() < 2 or request.viewmats.dim() < 3:
        raise ValueError("means: expected [*batch, gaussians, 3] and viewmats [*batch, cameras, 4, 4]; found "
                         f"{list(request.means.shape)} and {list(request.viewmats.shape)}")  # fmt: skip
    if request.means.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"means: expected float32 or float64, found {request.means.dtype}; convert with .float()")
    batch, gaussians, cameras = request.batch, request.means.shape[-2], request.cameras
    expected = {
        "means": (*batch, gaussians, 3),
        "quats": (*batch, gaussians, 4),
        "scales": (*batch, gaussians, 3),
        "opacities": (*batch, gaussians),
        "viewmats": (*batch, cameras, 4, 4),
        "Ks": (*batch, cameras, 3, 3),
    }
    for name, shape in expected.items():
        check_shape(name, getattr(request, name), [shape])
    if request.width < 1 or request.height < 1:
        raise ValueError(f"width and height: expected at least one pixel, found {request.width} x {request.height}")
    channels = check_colors(request)
    if request.backgrounds is not None and request.render_mode not in ("D", "ED"):
        check_shape("backgrounds", request.backgrounds, [(*batch, cameras, channels)])
    for name in (*expected, "colors", "backgrounds"):
        tensor = getattr(request, name)
        if tensor is not None and (tensor.device != request.means.device or tensor.dtype != request.means.dtype):
            raise ValueError(f"{name}: expected {request.means.dtype} on {request.means.device} like means, "
                             f"found {tensor.dtype} on {tensor.device}; convert it")  # fmt: skip


def check_colors(request: Request) -> int:
    colors, degree = request.colors, request.sh_degree
    if degree is None:
        tail = colors.shape[-1:]
        if not 1 <= tail.numel() <= MAX_CHANNELS:
            raise ValueError(f"colors: expected 1 to {MAX_CHANNELS} channels, found {tail.numel()}; draw them in several calls")
    else:
        check_choice("sh_degree", degree, tuple(range(MAX_DEGREE + 1)))
        tail = colors.shape[-2:]
        if len(tail) < 2 or tail[0] < (degree + 1) ** 2 or tail[1] != 3:
            raise ValueError(f"colors: expected at least {(degree + 1) ** 2} harmonics of 3 channels for sh_degree={degree}, "
                             f"found shape {list(colors.shape)}")  # fmt: skip
    plain = (*request.batch, request.means.shape[-2], *tail)
    check_shape("colors", colors, [plain, (*request.batch, request.cameras, request.means.shape[-2], *tail)])
    return tail[-1]


def check_shape(name: str, tensor: Tensor, allowed: list[tuple[int, ...]]) -> None:
    if tuple(tensor.shape) not in allowed:
        raise ValueError(f"{name}: expected shape {' or '.join(str(list(s)) for s in allowed)}, found {list(tensor.shape)}; "
                         "all scenes of a batch have the same number of Gaussians and cameras")  # fmt: skip
