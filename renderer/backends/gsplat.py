"""gsplat's CUDA kernels. The only file that imports gsplat."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache, partial
from importlib.util import find_spec

import torch
from torch import Tensor

from renderer.backends.compilation import BuildError, cache_folder
from renderer.pipeline import TILE, Request, Result, compose
from renderer.projection import Projection

WARP = 32  # threads of a GPU that go together


@lru_cache
def obstacle() -> str | None:
    """Why gsplat cannot rasterize here, or None."""
    if find_spec("gsplat") is None:
        return "the gsplat package is not installed (pip install gsplat)"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA (install a CUDA build of torch)"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device (nvidia-smi -L lists what the driver sees)"
    try:
        with alone():
            from gsplat.cuda._backend import _C  # compiles on first use unless a wheel brought the kernels
    except Exception as error:  # whatever went wrong in somebody else's build is the reason to tell
        return f"gsplat's kernels do not load ({type(error).__name__}: {error})"
    if _C is None:
        compiler = "" if shutil.which("nvcc") else "; nvcc is not on the PATH"
        return f"gsplat found no CUDA toolkit to compile its kernels with{compiler} (install one that matches CUDA {torch.version.cuda})"
    return None


@contextmanager
def alone() -> Iterator[None]:
    """One process of this user at a time: gsplat's first import empties its build folder, whoever is building there.

    Where no lock can be had, that is no reason not to draw: most installations have nothing to build.
    """
    with ExitStack() as held:
        with suppress(ImportError, OSError, BuildError):  # not on Windows; or nowhere to write to
            import fcntl

            folder = cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context(open(folder / f"gsplat-{os.getuid()}.lock", "w"))
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed, or its process ends
        yield


def rasterize(request: Request) -> Result:
    if request.packed and request.batch.numel() > 1:
        raise ValueError(f"packed: expected one scene, found {request.batch.numel()}; gsplat's packed kernel culls all scenes by the "
                         "opacities of the first: leave packed out, or draw them in several calls")  # fmt: skip
    if request.means.device.type != "cuda" or request.means.dtype != torch.float32:
        raise ValueError(f"backend 'gsplat': expected float32 tensors on a CUDA device, found {request.means.dtype} on "
                         f"{request.means.device}; convert them, or use backend='cpu' or 'reference'")  # fmt: skip
    if request.packed:
        return packed(request)
    return compose(request, project, partial(blend, segmented=request.segmented, channel_chunk=request.channel_chunk))


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    eps2d: float,
    near_plane: float,
    far_plane: float,
    radius_clip: float,
    antialiased: bool,
) -> Projection:
    """`renderer.projection.project`, by gsplat. What is culled has radius 0 and holds anything else.

    gsplat 1.5.3 adds up gradients within each warp by the numbers of camera and Gaussian, not by the scene's (the end of
    ProjectionEWA3DGSFused.cu): of a warp that holds the end of one scene and the start of the next, one gets the other's. So scenes
    are filled up to whole warps with Gaussians that nobody sees. gsplat's `rasterization` would hand those out with the rest, which is
    why only its parts are called.
    """
    from gsplat import fully_fused_projection

    count = means.shape[1]
    spare = -count % WARP if len(means) > 1 else 0
    radii, means2d, depths, conics, compensations = fully_fused_projection(
        filled(means, spare),
        None,
        filled(quats, spare),
        filled(scales, spare),
        viewmats,
        Ks.detach(),
        width,
        height,
        eps2d=eps2d,
        near_plane=near_plane,
        far_plane=far_plane,
        radius_clip=radius_clip,
        calc_compensations=antialiased,
        opacities=torch.nn.functional.pad(opacities.detach(), (0, spare)),
    )
    if compensations is None:
        compensations = torch.ones_like(depths)
    return Projection(*(values[:, :, :count] for values in (radii, means2d, depths, conics, compensations)))


def filled(values: Tensor, spare: int) -> Tensor:
    """Ones behind the scenes' Gaussians."""
    return torch.nn.functional.pad(values, (0, 0, 0, spare), value=1.0)


def blend(
    projection: Projection,
    colors: Tensor,
    opacities: Tensor,
    backgrounds: Tensor | None,
    width: int,
    height: int,
    *,
    segmented: bool,
    channel_chunk: int,
) -> tuple[Tensor, Tensor]:
    """`renderer.backends.reference.blend`, by gsplat; so many channels at a time."""
    from gsplat import isect_offset_encode, isect_tiles, rasterize_to_pixels

    seen, tiles = projection, (-(-width // TILE), -(-height // TILE))
    _, order, gaussians = isect_tiles(seen.means2d, seen.radii, seen.depths, TILE, *tiles, segmented=segmented)
    starts = isect_offset_encode(order, len(colors), *tiles)
    parts = colors.split(channel_chunk, dim=-1)
    behind = [None] * len(parts) if backgrounds is None else backgrounds.split(channel_chunk, dim=-1)
    drawn = [
        rasterize_to_pixels(seen.means2d, seen.conics, part, opacities, width, height, TILE, starts, gaussians, backgrounds=background)
        for part, background in zip(parts, behind, strict=True)
    ]
    return torch.cat([part for part, _ in drawn], dim=-1), drawn[0][1]


def packed(request: Request) -> Result:
    """One scene, by gsplat's own composition; ``meta`` has gsplat's packed layout."""
    from gsplat import rasterization

    return rasterization(
        request.means,
        request.quats,
        request.scales,
        request.opacities,
        request.colors,
        request.viewmats,
        request.Ks.detach(),
        request.width,
        request.height,
        near_plane=request.near_plane,
        far_plane=request.far_plane,
        radius_clip=request.radius_clip,
        eps2d=request.eps2d,
        sh_degree=request.sh_degree,
        packed=True,
        backgrounds=request.backgrounds,
        render_mode=request.render_mode,
        rasterize_mode=request.rasterize_mode,
        channel_chunk=request.channel_chunk,
        segmented=request.segmented,
    )
