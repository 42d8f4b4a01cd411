"""Avatars of GaussianAvatars (Qian et al., CVPR 2024): splats bound to FLAME's triangles, moved by FLAME.

NAME/point_cloud.ply     splats local to triangles, `renderer.io`; binding_0 is the triangle's number
NAME/flame_param.npz     whose face that is: shape and static_offset (the rest of it is the motion of its recording)
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.formats.guarded import npz_of, numbers
from mango.errors import InputError
from mango.head.model import Head, ShapedHead
from mango.types import MotionClip
from renderer.io import Splats, load_ply, posed_gaussians
from renderer.types import Gaussians

# GaussianAvatars appends teeth to FLAME's mesh: 120 vertices, 168 triangles.
FLAME_VERTICES, FLAME_FACES = 5023, 9976
TOOTHED_VERTICES, TOOTHED_FACES = FLAME_VERTICES + 120, FLAME_FACES + 168
RECORDING = ("expr", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "translation", "dynamic_offset")
REMEDY = (
    "give --head the FLAME file that it was made with (GaussianAvatars' own is 2023; `mango head convert` makes it state that); "
    "`mango render --source-head` retargets motion of another head"
)


@dataclass(frozen=True)
class SplatAvatar:
    """Splats on one person's FLAME mesh."""

    head: Head
    splats: Splats
    person: ShapedHead  # in the avatar's own shape, its static offsets included
    shape: Float[Tensor, "identity"]
    remarks: tuple[str, ...] = ()
    whose: ClassVar[None] = None
    pixels_per_metre: ClassVar[None] = None

    @property
    def identity(self) -> Float[Tensor, "identity"]:
        return self.shape

    def gaussians(self, clip: MotionClip, eye: Float[Tensor, "3"] | None = None) -> Gaussians:
        vertices = self.person.vertices(clip.expr, clip.neck_pose, clip.jaw_pose, clip.eyes_pose)
        device = self.splats.means.device
        eye = None if eye is None else eye.to(device)
        return posed_gaussians(self.splats, vertices.to(device), self.head.faces.to(device), eye)

    def to(self, device: torch.device) -> "SplatAvatar":
        return replace(self, splats=self.splats.to(device))


def load_splat_avatar(path: Path, head: Head) -> SplatAvatar:
    """On ``head``, which must be the FLAME that the avatar was made with: the file does not say which one that is.

    Without flame_param.npz beside it the face is FLAME's average one. On FLAME without teeth the splats of the teeth are left out, which
    `remarks` says. Errors: ValueError for files that hold no splats, InputError for splats bound to nothing and for another mesh.
    """
    splats = load_ply(path)
    if splats.faces is None:
        remedy = "give an avatar: a scene in the world cannot move (`mango data inspect` says what a file is)"
        raise InputError(path, expected="splats bound to triangles (binding_0)", found="splats in the world", remedy=remedy)
    if head.kind != "flame":
        raise InputError(path, expected="a FLAME head, on whose triangles it rides", found=f"the head {head.name}", remedy=REMEDY)
    splats, remarks = _on_mesh(path, splats, len(head.faces))
    beside = path.with_name("flame_param.npz")
    if beside.is_file():
        shape, offsets = _person(beside, head)
    else:
        shape, offsets = head.template.new_zeros(head.identities), torch.zeros_like(head.template)
        remarks += (f"{path}: no flame_param.npz beside it, so the face is FLAME's average one",)
    rest = head.with_shape(shape).template + offsets
    return SplatAvatar(head, splats, ShapedHead(head, rest, head.joint_regressor @ rest), shape, remarks)


def _on_mesh(path: Path, splats: Splats, faces: int) -> tuple[Splats, tuple[str, ...]]:
    """Those that this mesh carries, and what is missing of them."""
    beyond = splats.faces >= faces
    if not beyond.any():
        return splats, ()
    last = int(splats.faces.max())
    if faces != FLAME_FACES or last >= TOOTHED_FACES:
        found = f"one of {faces}, and {int(beyond.sum())} of {len(beyond)} Gaussians beyond"
        raise InputError(path, expected=f"a head of more than {last} triangles", found=found, remedy=REMEDY)
    told = (
        f"{path}: {int(beyond.sum())} of {len(beyond)} Gaussians are left out: they ride on the teeth that GaussianAvatars adds to FLAME, "
        f"which this head lacks (a head of {TOOTHED_VERTICES} vertices and {TOOTHED_FACES} triangles would have them)"
    )
    return splats.chosen(~beyond), (told,)


def _person(path: Path, head: Head) -> tuple[Float[Tensor, "identity"], Float[Tensor, "verts 3"]]:
    """Shape coefficients, and offsets of single vertices in metres."""
    arrays = npz_of(path, without=RECORDING)
    if "shape" not in arrays:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise InputError(path, expected="shape in it", found=found, remedy="copy the flame_param.npz of this avatar again")
    shape = numbers(path, "shape", np.ravel(arrays["shape"]), (None,))
    if len(shape) > head.identities:
        expected = f"at most the {head.identities} shape coefficients of {head.name}"
        raise InputError(path, expected=expected, found=f"{len(shape)}", remedy=REMEDY)
    offsets = arrays.get("static_offset", np.zeros((len(head.template), 3)))
    offsets = numbers(path, "static_offset", offsets[0] if offsets.ndim == 3 and len(offsets) == 1 else offsets, (None, 3))
    if {len(offsets), len(head.template)} == {FLAME_VERTICES, TOOTHED_VERTICES}:  # nobody's teeth have offsets
        offsets = np.pad(offsets[:FLAME_VERTICES], ((0, len(head.template) - FLAME_VERTICES), (0, 0)))
    if len(offsets) != len(head.template):
        expected = f"offsets of the {len(head.template)} vertices of {head.name}"
        raise InputError(path, expected=expected, found=f"{len(offsets)}", remedy=REMEDY)
    return torch.from_numpy(shape), torch.from_numpy(offsets)
