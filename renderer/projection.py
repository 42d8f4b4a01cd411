"""3D Gaussians to 2D ones: the EWA projection in plain PyTorch, float32 and float64, differentiable except in the intrinsics.

Zwicker et al., "EWA volume splatting" (2001), as 3D Gaussian splatting and gsplat use it: the covariance goes through the
Jacobian of the pinhole projection at the Gaussian's centre, and ``eps2d`` square pixels of blur are added.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ALPHA_CUT = 1 / 255  # a Gaussian fainter than this at a pixel does not touch the pixel
MAX_EXTENT = 3.33  # standard deviations; just above sqrt(2 ln 255), where even an opaque Gaussian falls under the cut
MAX_RADIUS = 1 << 24  # pixels; keeps the integer radii of monstrous Gaussians in range


@dataclass(frozen=True)
class Projection:
    """Gaussians as a camera sees them. What is culled has radius 0 and zeros everywhere else."""

    radii: Int[Tensor, "*batch gaussians 2"]  # pixels, half the box outside of which alpha is below the cut; not differentiable
    means2d: Float[Tensor, "*batch gaussians 2"]  # pixels
    depths: Float[Tensor, "*batch gaussians"]  # z in the camera
    conics: Float[Tensor, "*batch gaussians 3"]  # inverse of the blurred 2D covariance: xx, xy, yy
    compensations: Float[Tensor, "*batch gaussians"]  # sqrt(det before blur / det after), the antialiased mode's opacity factor


def project(
    means: Float[Tensor, "batch gaussians 3"],
    quats: Float[Tensor, "batch gaussians 4"],
    scales: Float[Tensor, "batch gaussians 3"],
    opacities: Float[Tensor, "batch gaussians"],
    viewmats: Float[Tensor, "batch cameras 4 4"],
    Ks: Float[Tensor, "batch cameras 3 3"],
    width: int,
    height: int,
    *,
    eps2d: float = 0.3,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    antialiased: bool = False,
) -> Projection:
    """Every Gaussian seen by every camera of its scene: all results have axes ``batch cameras gaussians``.

    ``opacities`` only tighten the radii. A Gaussian is culled when it lies outside [near_plane, far_plane], off the
    image, below the alpha cut, at most ``radius_clip`` pixels in both radii, or when the type cannot hold its numbers.
    """
    rotation, translation = viewmats[..., :3, :3], viewmats[..., :3, 3]
    centre = torch.einsum("bcij,bnj->bcni", rotation, means) + translation[:, :, None]
    depth = centre[..., 2]
    seen = (depth >= near_plane) & (depth <= far_plane) & (depth > 0) & centre.isfinite().all(-1)
    x, y, z = torch.where(seen[..., None], centre, centre.new_tensor([0.0, 0.0, 1.0])).unbind(-1)

    K = Ks.detach()[:, :, None]  # as in gsplat, intrinsics carry no gradient
    fx, fy, cx, cy = K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2]
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)

    half = (quaternion_to_matrix(quats) * scales[..., None, :])[:, None]  # covariance = half half^T, in the world
    slope_x, slope_y = frustum_slope(x / z, fx, cx, width), frustum_slope(y / z, fy, cy, height)
    toward_x = (fx / z)[..., None] * (rotation[:, :, None, 0] - slope_x[..., None] * rotation[:, :, None, 2])
    toward_y = (fy / z)[..., None] * (rotation[:, :, None, 1] - slope_y[..., None] * rotation[:, :, None, 2])
    with torch.no_grad():  # whose numbers overflow must be known beforehand: masking them afterwards leaves NaN gradients
        det, conics, _, _ = footprint(toward_x, toward_y, half, eps2d)
        seen = seen & (det > 0) & det.isfinite() & means2d.isfinite().all(-1) & conics.isfinite().all(-1)
    half = torch.where(seen[..., None, None], half, 0)
    det, conics, variances, area = footprint(toward_x, toward_y, half, eps2d)
    compensations = area / torch.where(det > 0, det, 1).sqrt()

    with torch.no_grad():
        faded = opacities[:, None] * compensations if antialiased else opacities[:, None].expand_as(area)
        radii = extents(variances, faded)
        seen = seen & (radii > radius_clip).any(-1) & on_image(means2d, radii, width, height)
    hide = ~seen[..., None]
    return Projection(
        radii=radii.masked_fill(hide, 0).clamp(max=MAX_RADIUS).to(torch.int32),
        means2d=means2d.masked_fill(hide, 0),
        depths=z.masked_fill(~seen, 0),
        conics=conics.masked_fill(hide, 0),
        compensations=compensations.masked_fill(~seen, 0),
    )


def quaternion_to_matrix(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a wxyz quaternion of any length; the zero quaternion is the identity and has no gradient."""
    square = (quats * quats).sum(-1, keepdim=True)
    usable = (square > 1e-30) & square.isfinite()
    unit = torch.where(usable, quats, quats.new_tensor([1.0, 0.0, 0.0, 0.0])) / torch.where(usable, square, 1).sqrt()
    w, x, y, z = unit.unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def frustum_slope(
    slope: Float[Tensor, "*batch gaussians"], focal: Float[Tensor, "*batch 1"], centre: Float[Tensor, "*batch 1"], size: int
) -> Float[Tensor, "*batch gaussians"]:
    """x/z, held to the field of view plus 30 % on each side: the Jacobian is no use far outside of it."""
    margin = 0.3 * 0.5 * size / focal
    return torch.minimum(torch.maximum(slope, -(centre / focal + margin)), (size - centre) / focal + margin)


def footprint(
    toward_x: Float[Tensor, "batch cameras gaussians 3"],
    toward_y: Float[Tensor, "batch cameras gaussians 3"],
    half: Float[Tensor, "batch any gaussians 3 3"],
    eps2d: float,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3"], Float[Tensor, "*batch 2"], Float[Tensor, "*batch"]]:
    """Of the blurred 2D covariance: determinant, inverse (xx, xy, yy) and variances along x and y; and sqrt(det) before the blur."""
    row_x = torch.einsum("bcni,bcnik->bcnk", toward_x, half.expand(*toward_x.shape, 3))
    row_y = torch.einsum("bcni,bcnik->bcnk", toward_y, half.expand(*toward_y.shape, 3))
    xx, xy, yy = (row_x * row_x).sum(-1), (row_x * row_y).sum(-1), (row_y * row_y).sum(-1)
    # det(M M^T) = |m1 x m2|^2: unlike xx * yy - xy^2 it never comes out negative, however thin the Gaussian.
    area = torch.linalg.vector_norm(torch.linalg.cross(row_x, row_y), dim=-1)
    det = area * area + eps2d * (xx + yy) + eps2d * eps2d
    conics = torch.stack([(yy + eps2d), -xy, (xx + eps2d)], dim=-1) / torch.where(det > 0, det, 1)[..., None]
    return det, conics, torch.stack([xx + eps2d, yy + eps2d], dim=-1), area


def extents(variances: Float[Tensor, "*batch 2"], opacities: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 2"]:
    """Half the sides, in whole pixels, of the tight box around where alpha reaches the cut (arXiv 2402.00525, B.2)."""
    reach = (2 * torch.log((opacities / ALPHA_CUT).clamp(min=1))).sqrt().clamp(max=MAX_EXTENT)
    radii = torch.ceil(reach[..., None] * variances.sqrt())
    return torch.where((opacities >= ALPHA_CUT)[..., None], radii, 0)


def on_image(means2d: Float[Tensor, "*batch 2"], radii: Float[Tensor, "*batch 2"], width: int, height: int) -> Bool[Tensor, "*batch"]:
    size = means2d.new_tensor([width, height])
    return ((means2d + radii > 0) & (means2d - radii < size)).all(-1)
