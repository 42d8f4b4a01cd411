"""Cameras, Gaussians and renderings. The conventions of the whole package are stated here, once.

World: metres, right-handed. Cameras: OpenCV (x right, y down, z forward), ``camera_from_world`` maps world points to
camera points, the centre of the first pixel is at (0.5, 0.5). Quaternions are wxyz. Scales and opacities are plain
values (not log, not logit). Colours are linear in [0, 1] as far as this package is concerned.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """Pinhole cameras without distortion."""

    camera_from_world: Float[Tensor, "*batch 4 4"]
    intrinsics: Float[Tensor, "*batch 3 3"]  # pixels
    width: int
    height: int


@dataclass(frozen=True)
class Gaussians:
    """3D Gaussians in the world. Covariance = R diag(scales)^2 R^T with R from the quaternion."""

    means: Float[Tensor, "*batch gaussians 3"]
    quats: Float[Tensor, "*batch gaussians 4"]  # wxyz, need not be normalised
    scales: Float[Tensor, "*batch gaussians 3"]  # standard deviations, metres
    opacities: Float[Tensor, "*batch gaussians"]  # [0, 1]
    colors: Float[Tensor, "*batch gaussians channels"]


@dataclass(frozen=True)
class Rendering:
    """What one call drew."""

    colors: Float[Tensor, "*batch rows cols channels"]
    alphas: Float[Tensor, "*batch rows cols 1"]
    # Where the Gaussians fell, pixels. For `renderer.density`: the very tensors that were blended, so that
    # ``means2d.retain_grad()`` works; their pictures are those of the batch in its order, but not always in its axes.
    means2d: Float[Tensor, "*pictures gaussians 2"] | None = None
    radii: Int[Tensor, "*pictures gaussians 2"] | None = None
