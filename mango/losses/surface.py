"""Which points of the face the motion loss looks at, in millimetres, and a linear stand-in that costs a small matrix product.

A head's vertices are almost linear in the motion over the range of talking (a jaw opens by 0.2 rad: the cosine errs by 2 %), and a
loss on differences of vertices needs only that linear part. The exact surface is for whoever can pay for skinning every frame.

Points that move linearly with ``width`` numbers span ``width`` dimensions, however many they are. `condensed` turns them into as few as
have the same mean squared distances: of the 578 points of the built-in head's lips and face remain 18, which lie on no face.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mango.head.layout import MotionLayout

MILLIMETRES = 1000.0


class LinearSurface(nn.Module):
    """Displacement of points, linear in the motion: ``points = motion @ directions``."""

    directions: Float[Tensor, "width coordinates"]

    def __init__(self, directions: Float[Tensor, "width coordinates"]):
        super().__init__()
        self.register_buffer("directions", directions, persistent=False)

    def forward(self, motion: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch points 3"]:
        with torch.autocast(motion.device.type, enabled=False):  # bfloat16 knows 10 mm to 0.03 mm: too coarse for differences of points
            return (motion @ self.directions).unflatten(-1, (-1, 3))


def lip_surface(head, layout: MotionLayout, *, lips: float, every: int = 8) -> LinearSurface:
    """Distances of the face's points in millimetres, without head pose; see `lip_points`. Its own points mean nothing one by one."""
    return LinearSurface(condensed(lip_points(head, layout, lips=lips, every=every)).flatten(1).float())


def lip_points(head, layout: MotionLayout, *, lips: float, every: int) -> Float[Tensor, "width points 3"]:
    """How the points of the lips, and one in ``every`` other points of the face, move with each channel of the motion but head pose.

    Millimetres, times the root of a point's weight (the mean weight is 1; a lip point has ``lips`` times that of another): the loss
    squares it. The derivative at rest, by central differences.
    """
    chosen = head.region("lips")
    face = head.region("face")
    others = face[~torch.isin(face, chosen)][::every]
    points = torch.cat([chosen, others])
    weight = torch.cat([torch.full((len(chosen),), lips), torch.ones(len(others))])
    weight = (weight / weight.mean()).sqrt()
    directions = derivative_at_rest(head, layout, points) * MILLIMETRES * weight[:, None]
    directions[layout.where("neck_pose")] = 0.0
    return directions


def condensed(directions: Float[Tensor, "width points 3"]) -> Float[Tensor, "width fewer 3"]:
    """The fewest points whose mean squared distance is, for any two motions, that of the given ones. Float64.

    With D^T = Q R, |e D|^2 = |e R^T|^2 for every difference e of motions.
    """
    triangle = torch.linalg.qr(directions.flatten(1).double().T, mode="r").R
    coordinates = torch.nn.functional.pad(triangle.T, (0, -len(triangle) % 3)).unflatten(1, (-1, 3))
    return coordinates * (coordinates.shape[1] / directions.shape[1]) ** 0.5


def derivative_at_rest(head, layout: MotionLayout, points: Tensor, step: float = 1e-2) -> Float[Tensor, "width points 3"]:
    """d vertices / d motion of the mean person: one frame per channel and sign."""
    each = torch.eye(layout.width) * step
    neutral = head.with_shape(torch.zeros(head.identities))
    moved = neutral.vertices(**_vertex_arguments(layout.unpack(torch.cat([each, -each]))))[..., points, :]
    forward, backward = moved.chunk(2)
    return (forward - backward) / (2 * step)


def _vertex_arguments(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"expr": parts["expr"], "neck_pose": parts["neck_pose"], "jaw_pose": parts["jaw_pose"], "eyes_pose": parts["eyes_pose"]}
