"""Gaussians that ride on the triangles of a moving mesh.

The local frame of a triangle and the meaning of a bound Gaussian are those of GaussianAvatars (Qian et al., CVPR 2024, sec. 3.2),
except that a Gaussian sits at its own barycentric point and not at the centroid:

    position = barycentric point + s R local        rotation = R (x) q        scale = s exp(log_scale)

`placed` is what to call: the compiled form where there is one, several times as fast, else `placed_plainly`, the definition. That is
computed coordinate by coordinate on planes of shape ``*batch gaussians``: on a CPU that is several times as fast, forward and backward,
as small matrices in the last two axes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from renderer.types import Gaussians

TINY = 1e-12  # square metres: a side of less than a thousandth of a millimetre tells nothing
Plane = Float[Tensor, "*batch gaussians"]
Vector = tuple[Tensor, Tensor, Tensor]  # three planes: x, y, z


@dataclass(frozen=True)
class TriangleFrames:
    """Local frames of triangles. Column ``along`` is the first edge, ``normal`` the normal, ``across`` minus their cross product."""

    corners: tuple[Vector, Vector, Vector]
    along: Vector
    normal: Vector
    across: Vector
    scale: Plane  # metres: mean of base and height

    def rotation(self) -> Float[Tensor, "*batch gaussians 3 3"]:
        """The frames as matrices, for those who want them so."""
        return torch.stack([torch.stack(axis, dim=-1) for axis in (self.along, self.normal, self.across)], dim=-1)

    def normals(self) -> Float[Tensor, "*batch gaussians 3"]:
        return torch.stack(self.normal, dim=-1)


def triangle_frames(vertices: Float[Tensor, "*batch verts 3"], faces: Int[Tensor, "gaussians 3"]) -> TriangleFrames:
    """The frame of each triangle in ``faces`` (one row per Gaussian).

    A triangle without area has no normal of its own: zeros or any direction, never NaN. Its scale is half its first side.
    """
    planes = vertices.movedim(-1, 0)
    corners = tuple(tuple(plane[..., faces[:, corner]] for plane in planes) for corner in range(3))
    base, side = _minus(corners[1], corners[0]), _minus(corners[2], corners[0])
    along = _unit(base)
    normal = _unit(_cross(along, side))
    across = _cross(along, normal)
    return TriangleFrames(corners, along, normal, across, scale=0.5 * (_dot(base, along) + _dot(across, side).abs()))


def squared_sides(frames: TriangleFrames) -> Float[Tensor, "*batch gaussians 3"]:
    """Square metres, of the sides from the first corner to the second, from the first to the third, from the second to the third."""
    first, second, third = frames.corners
    sides = (_minus(second, first), _minus(third, first), _minus(third, second))
    return torch.stack([_dot(side, side) for side in sides], dim=-1)


def strains(sides: Float[Tensor, "*batch gaussians 3"], rest: Float[Tensor, "gaussians 3"]) -> Float[Tensor, "*batch gaussians 3"]:
    """How much longer each side of a triangle is than at rest, tanh(log(length / length at rest)); both are `squared_sides`.

    0 at rest, within -1 and 1 always. They stay as they are when a head turns and moves: what they tell is its expression, and of that
    what happens near by.
    """
    return (sides - rest) / (sides + rest).clamp_min(TINY)


@dataclass(frozen=True)
class Places:
    """Where bound Gaussians are in the world: what the mesh alone decides."""

    means: Float[Tensor, "*batch gaussians 3"]
    quats: Float[Tensor, "*batch gaussians 4"]  # wxyz, not normalised
    scales: Float[Tensor, "*batch gaussians 3"]
    normals: Float[Tensor, "*batch gaussians 3"]  # of their triangles, length 1 (or 0 where there is no area)
    sides: Float[Tensor, "*batch gaussians 3"]  # of their triangles: `squared_sides`

    def gaussians(self, opacities: Float[Tensor, "*#batch gaussians"], colors: Float[Tensor, "*#batch gaussians channels"]) -> Gaussians:
        """With looks; ``opacities`` are plain."""
        batch = self.means.shape[:-1]
        colors = colors.expand(*batch, colors.shape[-1])
        return Gaussians(means=self.means, quats=self.quats, scales=self.scales, opacities=opacities.expand(batch), colors=colors)


def placed(
    vertices: Float[Tensor, "*batch verts 3"],
    triangles: Int[Tensor, "gaussians 3"],
    barycentrics: Float[Tensor, "gaussians 3"],
    offsets: Float[Tensor, "gaussians 3"],
    quats: Float[Tensor, "gaussians 4"],
    log_scales: Float[Tensor, "gaussians 3"],
) -> Places:
    """Where Gaussians on ``triangles`` (vertex numbers) are. ``offsets`` and scales are in units of the triangle's scale.

    Compiled for float32 on a CPU with a compiler, plain PyTorch elsewhere. Errors: ValueError for triangles of other vertices, and for
    what does not have a row for each of them.
    """
    from renderer.backends import cpu

    triangles = triangles.to(torch.int64)
    check_rows(len(triangles), barycentrics=barycentrics, offsets=offsets, quats=quats, log_scales=log_scales)
    on_mesh = (barycentrics, offsets, quats, log_scales)
    tensors = (vertices, *on_mesh)
    if any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors) or cpu.obstacle() is not None:
        return placed_plainly(triangle_frames(vertices, triangles), *on_mesh)
    from renderer.backends.cpu_binding import bind_op

    batch = vertices.shape[:-2]
    results = bind_op(vertices.reshape(-1, *vertices.shape[-2:]), triangles, barycentrics, offsets, quats, log_scales.exp())
    return Places(*(result.reshape(*batch, *result.shape[1:]) for result in results))


def check_rows(count: int, **values: Tensor) -> None:
    """A row for each of ``count`` triangles: memory beyond would be read."""
    for name, tensor in values.items():
        expected = (count, 4 if name == "quats" else 3)
        if tensor.shape != expected:
            raise ValueError(f"{name}: expected shape {expected}, a row for each triangle, found {tuple(tensor.shape)}; repeat its rows")


def placed_plainly(
    frames: TriangleFrames,
    barycentrics: Float[Tensor, "gaussians 3"],
    offsets: Float[Tensor, "gaussians 3"],
    quats: Float[Tensor, "gaussians 4"],
    log_scales: Float[Tensor, "gaussians 3"],
) -> Places:
    """`placed` in plain PyTorch: the definition."""
    weights, pushes = barycentrics.unbind(-1), offsets.unbind(-1)
    along, normal, across = ([frames.scale * x for x in axis] for axis in (frames.along, frames.normal, frames.across))
    means = [
        sum(w * corner[i] for w, corner in zip(weights, frames.corners, strict=True))
        + along[i] * pushes[0] + normal[i] * pushes[1] + across[i] * pushes[2]
        for i in range(3)
    ]  # fmt: skip
    return Places(
        means=torch.stack(means, dim=-1),
        quats=torch.stack(quaternion_product(frame_quaternion(frames), quats.unbind(-1)), dim=-1),
        scales=frames.scale[..., None] * log_scales.exp(),
        normals=frames.normals(),
        sides=squared_sides(frames),
    )


def bound_gaussians(
    frames: TriangleFrames,
    barycentrics: Float[Tensor, "gaussians 3"],
    offsets: Float[Tensor, "gaussians 3"],
    quats: Float[Tensor, "gaussians 4"],
    log_scales: Float[Tensor, "gaussians 3"],
    opacities: Float[Tensor, "gaussians"],
    colors: Float[Tensor, "*#batch gaussians channels"],
) -> Gaussians:
    """Gaussians in the world, for those who need the frames too. ``opacities`` are plain."""
    return placed_plainly(frames, barycentrics, offsets, quats, log_scales).gaussians(opacities, colors)


def frame_quaternion(frames: TriangleFrames) -> tuple[Plane, Plane, Plane, Plane]:
    """The frames as quaternions wxyz, not normalised, for every rotation.

    ``4 q q^T`` is linear in R (Bar-Itzhack, "New method for extracting the quaternion from a rotation matrix", 2000): any of its columns
    is q times a factor. The column with the largest diagonal is taken, so the factor is at least 2 and gradients are tame.
    """
    (r00, r10, r20), (r01, r11, r21), (r02, r12, r22) = frames.along, frames.normal, frames.across
    ww, xx, yy, zz = 1 + r00 + r11 + r22, 1 + r00 - r11 - r22, 1 - r00 + r11 - r22, 1 - r00 - r11 + r22
    wx, wy, wz = r21 - r12, r02 - r20, r10 - r01
    xy, xz, yz = r01 + r10, r02 + r20, r12 + r21
    columns = ((ww, wx, wy, wz), (wx, xx, xy, xz), (wy, xy, yy, yz), (wz, xz, yz, zz))
    with torch.no_grad():
        largest = torch.maximum(torch.maximum(ww, xx), torch.maximum(yy, zz))
    chosen = columns[3]
    for diagonal, column in ((yy, columns[2]), (xx, columns[1]), (ww, columns[0])):
        take = diagonal.detach() >= largest
        chosen = tuple(torch.where(take, new, old) for new, old in zip(column, chosen, strict=True))
    return chosen


def quaternion_product(left: tuple[Plane, ...], right: tuple[Tensor, ...]) -> tuple[Plane, Plane, Plane, Plane]:
    """Hamilton product of quaternions given as planes wxyz."""
    (a, b, c, d), (w, x, y, z) = left, right
    return (
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    )


def _minus(left: Vector, right: Vector) -> Vector:
    return left[0] - right[0], left[1] - right[1], left[2] - right[2]


def _dot(left: Vector, right: Vector) -> Plane:
    return left[0] * right[0] + left[1] * right[1] + left[2] * right[2]


def _cross(left: Vector, right: Vector) -> Vector:
    return (
        left[1] * right[2] - left[2] * right[1],
        left[2] * right[0] - left[0] * right[2],
        left[0] * right[1] - left[1] * right[0],
    )


def _unit(vector: Vector) -> Vector:
    factor = _dot(vector, vector).clamp_min(1e-24).rsqrt()
    return vector[0] * factor, vector[1] * factor, vector[2] * factor
