"""The parametric head: load -> with_shape -> vertices. FLAME's layout, whatever the file.

v = skin( template + shape directions s + expression directions e + pose correctives (R - I) )
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from mango.errors import InputError
from mango.head.annotation import annotation
from mango.head.assets import HeadArrays, read_head
from mango.head.conventions import axis_angle_to_matrix
from mango.head.flame import Generation
from mango.head.layout import MotionLayout
from mango.head.regions import REGIONS
from mango.head.skinning import Skin, joint_transforms
from mango.types import MotionClip

EYELIDS = ((37, 41), (38, 40), (43, 47), (44, 46))  # upper and lower lid, of iBUG's 68 points


class Head(nn.Module):
    """A head without a person. Buffers are non-persistent: checkpoints carry the digest, never the licensed arrays."""

    def __init__(self, arrays: HeadArrays):
        super().__init__()
        self.name, self.digest = arrays.name, arrays.digest
        self.kind, self.generation = arrays.kind, arrays.generation  # whose expressions: "arkit" by name, or "flame" of a generation
        self.expression_names = arrays.expression_names
        self.identities = arrays.shape_directions.shape[-1]
        self.expressions = arrays.expression_directions.shape[-1]
        self.layout = MotionLayout(self.expressions)
        for name in ("template", "joint_regressor", "skin_weights", "faces", "uvs", "uv_faces", "landmark_faces", "landmark_barycentrics"):
            self.register_buffer(name, torch.tensor(getattr(arrays, name)), persistent=False)
        self.register_buffer("mirror", torch.tensor(arrays.mirror), persistent=False)
        flat = lambda directions: torch.tensor(directions).flatten(0, 1).T.contiguous()  # noqa: E731  (coefficients, 3 V): one matmul
        correctives = torch.tensor(arrays.pose_correctives)
        used = torch.nonzero(correctives.abs().amax(dim=1))[:, 0]  # the built-in head uses 14 of the 36
        self.register_buffer("shape_basis", flat(arrays.shape_directions), persistent=False)
        self.register_buffer("motion_basis", torch.cat([flat(arrays.expression_directions), correctives[used]]), persistent=False)
        self.register_buffer("used_correctives", used, persistent=False)
        directions = torch.einsum("jv,vce->jce", self.joint_regressor, torch.tensor(arrays.expression_directions))
        carried = directions.flatten(0, 1).T.contiguous() if arrays.kind == "flame" else None
        self.register_buffer("joint_basis", carried, persistent=False)  # FLAME's expressions carry its joints, a little; None: they stay
        self.skin = Skin(self.skin_weights)
        self._regions = {name: torch.tensor(indices) for name, indices in arrays.regions.items()}
        self.joint_expressions = {name: torch.tensor(pose) for name, pose in arrays.joint_expressions.items()}

    @property
    def shape_directions(self) -> Float[Tensor, "verts 3 identities"]:
        """Metres per unit of a shape coefficient (one standard deviation of people)."""
        return self.shape_basis.unflatten(1, (-1, 3)).permute(1, 2, 0)

    @property
    def expression_directions(self) -> Float[Tensor, "verts 3 expressions"]:
        return self.motion_basis[: self.expressions].unflatten(1, (-1, 3)).permute(1, 2, 0)

    @property
    def pose_correctives(self) -> Float[Tensor, "36 coordinates"]:
        full = self.motion_basis.new_zeros(36, self.motion_basis.shape[1])
        return full.index_copy(0, self.used_correctives, self.motion_basis[self.expressions :])

    def with_shape(self, shape: Float[Tensor, "*batch identity"]) -> "ShapedHead":
        """A person: ``shape`` may be shorter than the basis, the rest is zero."""
        offsets = (shape @ self.shape_basis[: shape.shape[-1]]).unflatten(-1, (-1, 3))
        rest = self.template + offsets
        return ShapedHead(self, rest, self.joint_regressor @ rest)

    def vertices(self, clip: MotionClip) -> Float[Tensor, "time verts 3"]:
        """A whole clip, placed in the world."""
        if clip.head != self.digest:
            remedy = "load the head that the clip was made with; coefficients of one head mean nothing to another"
            raise InputError("motion clip", expected=f"head {self.digest[:12]} ({self.name})", found=f"{clip.head[:12]}", remedy=remedy)
        person = self.with_shape(clip.shape)
        return person.vertices(clip.expr, clip.neck_pose, clip.jaw_pose, clip.eyes_pose, clip.rotation, clip.translation)

    def region(self, name: str) -> Int[Tensor, "verts"]:
        """Vertex indices of a named region (``mango.head.regions.REGIONS``); none where this head has no such thing, as FLAME no teeth."""
        assert name in REGIONS, f"no region {name!r}; there are {', '.join(REGIONS)}"
        if name not in self._regions:
            self._annotate()
        return self._regions[name].to(self.faces.device)

    def expressions_of(self, region: str) -> Bool[Tensor, "expressions"]:
        """Those that move the region more than all the rest of the head (by squared displacement)."""
        moved = self.expression_directions.square().sum(1)
        return moved[self.region(region)].sum(0) > 0.5 * moved.sum(0)

    def landmarks(self, vertices: Float[Tensor, "*batch verts 3"]) -> Float[Tensor, "*batch landmarks 3"]:
        """iBUG's 68 points on the surface."""
        return self._between(vertices[..., self.landmark_corners, :])

    @property
    def landmark_corners(self) -> Int[Tensor, "landmarks 3"]:
        """The vertices that landmarks lie between."""
        if not len(self.landmark_faces):
            self._annotate()
        return self.faces[self.landmark_faces]

    def _between(self, corners: Float[Tensor, "*batch landmarks 3 3"]) -> Float[Tensor, "*batch landmarks 3"]:
        return (corners * self.landmark_barycentrics[:, :, None]).sum(-2)

    def _annotate(self) -> None:
        """Regions and landmarks of a file that brings none: by likeness with the built-in head, some seconds, once for each head file."""
        arrays = (getattr(self, name).detach().cpu().numpy() for name in ("template", "faces", "joint_regressor", "skin_weights"))
        found = annotation(self.name, self.digest, *arrays)
        self._regions = {name: torch.tensor(indices) for name, indices in found.regions.items()} | self._regions
        if not len(self.landmark_faces):
            self.landmark_faces = torch.tensor(found.landmark_faces, device=self.faces.device)
            self.landmark_barycentrics = torch.tensor(found.landmark_barycentrics).to(self.template)

    def lip_opening(self, vertices: Float[Tensor, "*batch verts 3"]) -> Float[Tensor, "*batch"]:
        """Height of the middle of the inner upper lip over that of the inner lower lip, in the head's own frame: metres, negative where
        the lips overlap. A projection, not a distance: smooth at closed lips and unmoved by the head's pose.
        """
        return self.lip_opening_of(self.landmarks(vertices))

    def lip_opening_of(self, points: Float[Tensor, "*batch landmarks 3"]) -> Float[Tensor, "*batch"]:
        """`lip_opening` by the landmarks alone."""
        up = skull_frame(points) @ (skull_frame(self.landmarks(self.template)).mT @ self.template.new_tensor([0.0, 1.0, 0.0]))
        return ((points[..., 62, :] - points[..., 66, :]) * up).sum(-1)

    def eye_opening(self, vertices: Float[Tensor, "*batch verts 3"]) -> Float[Tensor, "*batch"]:
        """Mean distance of upper and lower lids, both eyes': metres."""
        points = self.landmarks(vertices)
        return torch.stack([(points[..., upper, :] - points[..., lower, :]).norm(dim=-1) for upper, lower in EYELIDS]).mean(0)


def skull_frame(landmarks: Float[Tensor, "*batch landmarks 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Axes (columns) of the skull by landmarks that expressions hardly move: the outer corners of the eyes and the line of the nose."""
    across = normalize(landmarks[..., 45, :] - landmarks[..., 36, :], dim=-1)
    along = landmarks[..., 27, :] - landmarks[..., 33, :]
    along = normalize(along - (along * across).sum(-1, keepdim=True) * across, dim=-1)
    return torch.stack([across, along, torch.linalg.cross(across, along)], dim=-1)


@dataclass(frozen=True)
class ShapedHead:
    """A person's head at rest; ``joints`` are root, neck, jaw, left eye, right eye, of a face without expression."""

    head: Head
    template: Float[Tensor, "*batch verts 3"]
    joints: Float[Tensor, "*batch joints 3"]

    def vertices(
        self,
        expr: Float[Tensor, "*batch time expressions"],
        neck_pose: Float[Tensor, "*batch time 3"],
        jaw_pose: Float[Tensor, "*batch time 3"],
        eyes_pose: Float[Tensor, "*batch time 6"],
        rotation: Float[Tensor, "*batch time 3"] | None = None,
        translation: Float[Tensor, "*batch time 3"] | None = None,
    ) -> Float[Tensor, "*batch time verts 3"]:
        """The head in motion, metres. ``rotation`` turns about the root joint; ``translation`` is added last."""
        root = torch.zeros_like(neck_pose) if rotation is None else rotation
        coefficients, transforms = self._posed(expr, root, neck_pose, jaw_pose, eyes_pose)
        rest = self.template.unsqueeze(-3) + (coefficients @ self.head.motion_basis).unflatten(-1, (-1, 3))
        moved = self.head.skin(rest, *transforms, root_moves=rotation is not None)
        return moved if translation is None else moved + translation.unsqueeze(-2)

    def landmarks(
        self,
        expr: Float[Tensor, "*batch time expressions"],
        neck_pose: Float[Tensor, "*batch time 3"],
        jaw_pose: Float[Tensor, "*batch time 3"],
        eyes_pose: Float[Tensor, "*batch time 6"],
    ) -> Float[Tensor, "*batch time landmarks 3"]:
        """iBUG's 68 points of the head in motion, where nothing else of it is asked for: tens of times cheaper than all vertices."""
        coefficients, transforms = self._posed(expr, torch.zeros_like(neck_pose), neck_pose, jaw_pose, eyes_pose)
        corners = self.head.landmark_corners.flatten()
        basis = self.head.motion_basis.unflatten(1, (-1, 3))[:, corners].flatten(1)
        rest = self.template[..., corners, :].unsqueeze(-3) + (coefficients @ basis).unflatten(-1, (-1, 3))
        return self.head._between(self.head.skin.blended(rest, *transforms, corners).unflatten(-2, (-1, 3)))

    def _posed(self, expr: Tensor, *poses: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Weights of the head's ``motion_basis``, and what carries each joint. ``poses``: rotation vectors from the root to the eyes."""
        rotations = axis_angle_to_matrix(torch.cat(poses, dim=-1).unflatten(-1, (5, 3)))
        turned = (rotations[..., 1:, :, :] - torch.eye(3, dtype=rotations.dtype, device=rotations.device)).flatten(-3)
        joints = self.joints.unsqueeze(-3)
        if self.head.joint_basis is not None:
            joints = joints + (expr @ self.head.joint_basis).unflatten(-1, (-1, 3))
        return torch.cat([expr, turned[..., self.head.used_correctives]], dim=-1), joint_transforms(rotations, joints)


def load_head(source: str | Path = "builtin", *, generation: Generation | None = None, without_expressions: bool = False) -> Head:
    """A head from a file, or the one that comes with the package (read once, but a new module each time: move it as you like).

    ``generation`` and ``without_expressions`` as in `read_head`.
    """
    if str(source) == "builtin":
        return Head(_builtin())
    return Head(read_head(source, generation=generation, without_expressions=without_expressions))


@lru_cache(maxsize=1)
def _builtin() -> HeadArrays:
    return read_head("builtin")
