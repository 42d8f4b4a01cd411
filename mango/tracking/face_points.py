"""Points of a face: where they lie on a head's surface, and where a detector sees them in pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mango.errors import InputError
from mango.head.conventions import axis_angle_to_matrix
from mango.head.model import Head

MEASURED = Path(__file__).parent / "assets" / "face_points.npz"  # tools/build_face_points.py
IBUG, MEDIAPIPE = 68, 468
NECK, JAW = 1, 2  # joints
IBUG_SPREAD = 0.02  # of the face's size; not measured: detectors of these points differ


@dataclass(frozen=True)
class SeenPoints:
    """A detector's points over a film. N is 468 (MediaPipe's face mesh) or 68 (iBUG's)."""

    points: Float[Tensor, "time points 2"]  # pixels, centre of the first pixel at 0.5; anything where confidence is 0
    confidence: Float[Tensor, "time"]  # [0, 1], of a face being there

    def __len__(self) -> int:
        return len(self.points)

    def first(self, frames: int) -> "SeenPoints":
        return SeenPoints(self.points[:frames], self.confidence[:frames])


@dataclass(frozen=True)
class Places:
    """Where points lie on a surface: barycentric coordinates in triangles."""

    faces: Int[Tensor, "points"]
    barycentrics: Float[Tensor, "points 3"]
    spread: Float[Tensor, "points"]  # how far detectors miss the point, root mean square, as a share of the face's size


def places_on(head: Head, points: int) -> Places:
    """Of 468 or 68 points on this head.

    Errors: InputError when the number is another, or the head is not the built-in one and there are 468.
    """
    if points == IBUG:
        head.landmarks(head.template)  # computes them where the file brings none
        return Places(head.landmark_faces, head.landmark_barycentrics, torch.full((IBUG,), IBUG_SPREAD))
    if points != MEDIAPIPE:
        remedy = "use MediaPipe's face mesh (irises may follow and are ignored) or iBUG's 68 points"
        raise InputError("landmarks", expected=f"{MEDIAPIPE} or {IBUG} points a frame", found=str(points), remedy=remedy)
    with np.load(MEASURED) as known:
        if str(known["head"]) != head.digest:
            remedy = "give iBUG's 68 points (--landmarks), or track with the built-in head"
            raise InputError(
                head.name, expected="the built-in head: where the 468 points lie is known for it alone", found="another head", remedy=remedy
            )
        return Places(
            *(
                torch.from_numpy(known[name].astype(kind))
                for name, kind in (("faces", np.int64), ("barycentrics", np.float32), ("spread", np.float32))
            )
        )


class PointedHead:
    """A head reduced to some points of its face, which are so few numbers that derivatives are cheap.

    Skin of the face turns with the neck and a share w of it with the jaw too. A point is a mean of vertices with weights b:

        p = N (A + J B + w (j - J j) - n) + n + t,     A = sum b (1 - w) X,   B = sum b w X,   X = rest + bases * coefficients

    with rotations N, J of neck and jaw about their joints n and j. A and B are linear in all coefficients, so both are kept as bases.
    """

    def __init__(self, head: Head, places: Places):
        corners = head.faces[places.faces]
        of_jaw = head.skin_weights[:, JAW][corners] * places.barycentrics
        of_skull = places.barycentrics - of_jaw
        self.head, self.jaw_share = head, of_jaw.sum(1)[:, None]

        def reduced(basis: Float[Tensor, "rows coordinates"], shares: Tensor) -> Float[Tensor, "rows _"]:
            return torch.einsum("rpcx,pc->rpx", basis.unflatten(1, (-1, 3))[:, corners], shares).flatten(1)

        bases = {"template": head.template.flatten()[None], "shape": head.shape_basis, "motion": head.motion_basis}
        self.skull, self.jaw = ({name: reduced(basis, shares) for name, basis in bases.items()} for shares in (of_skull, of_jaw))
        self.joints = head.joint_regressor @ head.template
        self.joint_basis = torch.einsum("jv,vcs->sjc", head.joint_regressor, head.shape_directions)

    def points(
        self,
        shape: Float[Tensor, "identity"],
        expr: Float[Tensor, "*rows expressions"],
        jaw_pose: Float[Tensor, "*rows 3"],
        neck_pose: Float[Tensor, "*rows 3"],
        translation: Float[Tensor, "*rows 3"],
    ) -> Float[Tensor, "*rows points 3"]:
        """Metres, in the frame of `ShapedHead.vertices`."""
        neck, jaw = axis_angle_to_matrix(neck_pose), axis_angle_to_matrix(jaw_pose)
        still = torch.zeros_like(neck)
        turned = torch.stack([neck - torch.eye(3), jaw - torch.eye(3), still, still], dim=-3).flatten(-3)[..., self.head.used_correctives]
        coefficients = torch.cat([expr, turned], dim=-1)
        of_skull, of_jaw = (
            (bases["template"][0] + shape @ bases["shape"] + coefficients @ bases["motion"]).unflatten(-1, (-1, 3))
            for bases in (self.skull, self.jaw)
        )
        joints = self.joints + torch.einsum("s,sjc->jc", shape, self.joint_basis)
        if self.head.joint_basis is not None:
            joints = joints + (expr @ self.head.joint_basis).unflatten(-1, (-1, 3))
        hinge, pivot = joints[..., JAW, :], joints[..., NECK, :]
        swung = of_jaw @ jaw.mT + self.jaw_share * (hinge - (jaw @ hinge[..., None])[..., 0])[..., None, :]
        return (of_skull + swung - pivot[..., None, :]) @ neck.mT + (pivot + translation)[..., None, :]

    def per_expression(
        self, jaw_pose: Float[Tensor, "rows 3"], neck_pose: Float[Tensor, "rows 3"]
    ) -> Float[Tensor, "rows points 3 expressions"]:
        """How the points move with each expression; that FLAME's expressions move its joints a little is left out."""
        neck, jaw = axis_angle_to_matrix(neck_pose), axis_angle_to_matrix(jaw_pose)
        of_skull, of_jaw = (bases["motion"][: self.head.expressions].unflatten(1, (-1, 3)) for bases in (self.skull, self.jaw))
        return torch.einsum("fxy,epy->fpxe", neck, of_skull) + torch.einsum("fxy,epy->fpxe", neck @ jaw, of_jaw)
