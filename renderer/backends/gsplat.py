"""gsplat's CUDA kernels. The only file that imports gsplat."""

import shutil
from functools import lru_cache
from importlib.util import find_spec

import torch

from renderer.pipeline import Request, Result


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
        from gsplat.cuda._backend import _C  # compiles on first use unless a wheel brought the kernels
    except Exception as error:  # whatever went wrong in somebody else's build is the reason to tell
        return f"gsplat's kernels do not load ({type(error).__name__}: {error})"
    if _C is None:
        compiler = "" if shutil.which("nvcc") else "; nvcc is not on the PATH"
        return f"gsplat found no CUDA toolkit to compile its kernels with{compiler} (install one that matches CUDA {torch.version.cuda})"
    return None


def rasterize(request: Request) -> Result:
    from gsplat import rasterization

    if request.means.device.type != "cuda" or request.means.dtype != torch.float32:
        raise ValueError(f"backend 'gsplat': expected float32 tensors on a CUDA device, found {request.means.dtype} on "
                         f"{request.means.device}; convert them, or use backend='cpu' or 'reference'")  # fmt: skip
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
        packed=bool(request.packed),  # unpacked unless asked for: meta has one layout on every backend
        backgrounds=request.backgrounds,
        render_mode=request.render_mode,
        rasterize_mode=request.rasterize_mode,
        channel_chunk=request.channel_chunk,
        segmented=request.segmented,
    )
