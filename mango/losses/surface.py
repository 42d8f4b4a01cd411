"""What of the face the motion losses look at, in millimetres: points, and how far lips and eyes are open. Linear stand-ins that cost
a small matrix product.

A head's vertices are almost linear in the motion over the range of talking (a jaw opens by 0.2 rad: the cosine errs by 2 %), and a
loss on differences of vertices needs only that linear part. The exact surface is for whoever can pay for skinning every frame.

Points that move linearly with ``width`` numbers span ``width`` dimensions, however many they are. `condensed` turns them into as few as
have the same mean squared distances: of the 578 points of the built-in head's lips and face remain 18, which lie on no face.

Openings are measured from the face at rest, whose lips touch: an excess over closed lips, whatever the person's shape. The distance of lids
grows again once they have met (from 0.8 of the built-in head's eyeBlinkLeft on); its stand-in goes on falling, as a loss needs it.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mango.head.layout import MotionLayout

MILLIMETRES = 1000.0


class LinearSurface(nn.Module):
    """Displacement of points, linear in the motion: ``points = motion @ directions``; and openings, likewise."""

    directions: Float[Tensor, "width coordinates"]
    openings: Float[Tensor, "width 2"]  # of lips and eyes

    def __init__(self, directions: Float[Tensor, "width coordinates"], openings: Float[Tensor, "width 2"]):
        super().__init__()
        self.register_buffer("directions", directions, persistent=False)
        self.register_buffer("openings", openings, persistent=False)

    def forward(self, motion: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch points 3"]:
        with torch.autocast(motion.device.type, enabled=False):  # bfloat16 knows 10 mm to 0.03 mm: too coarse for differences of points
            return (motion @ self.directions).unflatten(-1, (-1, 3))

    def lip_opening(self, motion: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch"]:
        """Millimetres by which lips are further apart than at rest."""
        return self._opening(motion, 0)

    def eye_opening(self, motion: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch"]:
        """Millimetres by which lids are further apart than at rest; negative where eyes close."""
        return self._opening(motion, 1)

    def _opening(self, motion: Float[Tensor, "*batch width"], which: int) -> Float[Tensor, "*batch"]:
        with torch.autocast(motion.device.type, enabled=False):
            return motion @ self.openings[:, which]


def lip_surface(head, layout: MotionLayout, *, lips: float, every: int = 8) -> LinearSurface:
    """The face without head pose; see `lip_points` for its points, which mean nothing one by one, and `openings`."""
    return LinearSurface(condensed(lip_points(head, layout, lips=lips, every=every)).flatten(1).float(), openings(head, layout))


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
    directions = derivative_at_rest(head, layout, lambda vertices: vertices[..., points, :]) * MILLIMETRES * weight[:, None]
    directions[layout.where("neck_pose")] = 0.0
    return directions


def openings(head, layout: MotionLayout) -> Float[Tensor, "width 2"]:
    """How far lips and eyes open with each channel of the motion but head pose, millimetres: `Head.lip_opening`, `Head.eye_opening`."""
    both = derivative_at_rest(head, layout, lambda vertices: torch.stack([head.lip_opening(vertices), head.eye_opening(vertices)], -1))
    both[layout.where("neck_pose")] = 0.0
    return both * MILLIMETRES


def condensed(directions: Float[Tensor, "width points 3"]) -> Float[Tensor, "width fewer 3"]:
    """The fewest points whose mean squared distance is, for any two motions, that of the given ones. Float64.

    With D^T = Q R, |e D|^2 = |e R^T|^2 for every difference e of motions.
    """
    triangle = torch.linalg.qr(directions.flatten(1).double().T, mode="r").R
    coordinates = torch.nn.functional.pad(triangle.T, (0, -len(triangle) % 3)).unflatten(1, (-1, 3))
    return coordinates * (coordinates.shape[1] / directions.shape[1]) ** 0.5


def derivative_at_rest(
    head, layout: MotionLayout, measure: Callable[[Tensor], Tensor], step: float = 1e-2
) -> Float[Tensor, "width *measured"]:
    """d measure / d motion of the mean person: one frame per channel and sign. ``measure``: vertices ["frames verts 3"] -> ["frames *"]."""
    each = torch.eye(layout.width) * step
    neutral = head.with_shape(torch.zeros(head.identities))
    moved = measure(neutral.vertices(**_vertex_arguments(layout.unpack(torch.cat([each, -each])))))
    forward, backward = moved.chunk(2)
    return (forward - backward) / (2 * step)


def _vertex_arguments(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"expr": parts["expr"], "neck_pose": parts["neck_pose"], "jaw_pose": parts["jaw_pose"], "eyes_pose": parts["eyes_pose"]}
