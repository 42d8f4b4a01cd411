"""Avatars by file: one of ours, bound to the parametric head; a LAM avatar, driven through ARKit's weights; one of GaussianAvatars."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mango.errors import InputError
from mango.head.arkit import ARKIT_NAMES, arkit_from_motion
from mango.head.model import Head
from mango.inference.splat_avatars import load_splat_avatar
from mango.types import MotionClip
from renderer.head import HeadAvatar
from renderer.lam import LamHead, load_lam
from renderer.types import Gaussians


@runtime_checkable
class Avatar(Protocol):
    """Somebody who can be drawn in motion, with the head at the origin of FLAME's axes."""

    identity: Float[Tensor, "identity"] | None  # the shape that a motion model is told; None: it is told of nobody in particular
    whose: str | None  # the person's name, where the file says it
    pixels_per_metre: float | None  # of the finest pictures that it learnt from, where that is known
    remarks: tuple[str, ...]  # what whoever sees it drawn should know

    def gaussians(self, clip: MotionClip, eye: Float[Tensor, "3"] | None = None) -> Gaussians:
        """One scene a frame, on the avatar's device. The clip's own shape and its placement in the world are left out.

        ``eye``: where it is seen from, for avatars whose colours depend on it (without, they have their mean colours).
        """

    def to(self, device: torch.device) -> "Avatar":
        """The same avatar, its Gaussians there. Motion and the parametric head stay where they are: they are small."""


@dataclass(frozen=True)
class BoundAvatar:
    """Of stage two or fine-tuning: Gaussians on the head's triangles, in the avatar's own shape."""

    head: Head
    avatar: HeadAvatar
    remarks: ClassVar[tuple[str, ...]] = ()

    @property
    def identity(self) -> Float[Tensor, "identity"]:
        return self.avatar.identity.cpu()

    @property
    def whose(self) -> str:
        return self.avatar.person

    @property
    def pixels_per_metre(self) -> float | None:
        return self.avatar.pixels_per_metre

    def gaussians(self, clip: MotionClip, eye: Float[Tensor, "3"] | None = None) -> Gaussians:
        person = self.head.with_shape(self.identity)
        vertices = person.vertices(clip.expr, clip.neck_pose, clip.jaw_pose, clip.eyes_pose)
        return self.avatar(vertices.to(self.avatar.triangles.device))

    def to(self, device: torch.device) -> "BoundAvatar":
        return replace(self, avatar=self.avatar.to(device))


@dataclass(frozen=True)
class LamAvatar:
    """A LAM avatar, which knows ARKit's 51 shapes and a turn of the head. Weights are held to ARKit's range, 0 to 1."""

    head: Head
    lam: LamHead
    identity: ClassVar[None] = None  # its shape is not in the head's terms
    whose: ClassVar[None] = None
    pixels_per_metre: ClassVar[None] = None
    remarks: ClassVar[tuple[str, ...]] = ()

    def gaussians(self, clip: MotionClip, eye: Float[Tensor, "3"] | None = None) -> Gaussians:
        weights = arkit_from_motion(self.head, clip.expr, clip.jaw_pose, clip.eyes_pose).clamp(0, 1)
        device = self.lam.offsets.device
        return self.lam.gaussians(weights.to(device), ARKIT_NAMES, head=clip.neck_pose.to(device))

    def to(self, device: torch.device) -> "LamAvatar":
        return replace(self, lam=self.lam.to(device))


def load_avatar(path: Path, head: Head) -> Avatar:
    """``avatar.safetensors`` fitted on this head, a LAM zip for a head with ARKit's expressions, a GaussianAvatars .ply for FLAME."""
    path = Path(path)
    ours = "give the avatar.safetensors of a stage-two or fine-tuning run, a LAM zip, or point_cloud.ply of GaussianAvatars"
    if not path.is_file():
        within = next(iter(sorted(path.rglob("point_cloud.ply"), reverse=True)), None) if path.is_dir() else None
        found = "none" if not path.is_dir() else "a folder" if within is None else f"a folder with {within}"
        raise InputError(path, expected="an avatar file", found=found, remedy=ours)
    with path.open("rb"):  # what may not be read is said; safetensors calls it missing
        pass
    load = {".zip": _lam_avatar, ".ply": load_splat_avatar}.get(path.suffix.lower(), _bound_avatar)
    try:
        return load(path, head)
    except InputError:
        raise
    except (ValueError, KeyError, RuntimeError) as error:  # the renderer's own words, or tensors missing or of other shapes
        raise InputError(path, expected="an avatar file", found=f"something else ({error})", remedy=ours) from error


def _lam_avatar(path: Path, head: Head) -> LamAvatar:
    lam = load_lam(path)
    if not head.joint_expressions:
        remedy = "use the built-in head, or an avatar fitted on this head"
        raise InputError(path, expected="a head with ARKit's expressions for a LAM avatar", found=head.name, remedy=remedy)
    return LamAvatar(head, lam)


def _bound_avatar(path: Path, head: Head) -> BoundAvatar:
    avatar = HeadAvatar.load(path)
    if avatar.head != head.digest:
        found, remedy = f"one on head {avatar.head[:12]}", "give --head the file it was fitted with"
        raise InputError(path, expected=f"an avatar on head {head.digest[:12]} ({head.name})", found=found, remedy=remedy)
    if (avatar.triangles < 0).any() or (avatar.triangles >= len(head.template)).any():
        raise ValueError("Gaussians on vertices that the head does not have")
    return BoundAvatar(head, avatar.eval().requires_grad_(False))
