"""Differentiable Gaussian splatting with gsplat's meaning, on CPU and CUDA. Conventions: `renderer.types`.

Backends are loaded when they are first used; importing this package costs no more than torch.
"""

# Not lazy: `rasterize` names both a module and the function in it, and whoever binds the name last wins.
from renderer.rasterize import draw, rasterize
from renderer.types import Camera, Gaussians, Rendering

__all__ = ["Camera", "Gaussians", "Rendering", "draw", "rasterize"]
