"""A talking head whose motion, identity and camera are known: where its points are in the picture, as a detector would see them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.head.conventions import axis_angle_to_matrix
from mango.head.model import Head
from mango.tracking.face_points import SeenPoints, places_on
from mango.types import MotionClip

SIZE = (480, 640)  # rows, columns
FOCAL = 1.1  # of the longer side: a telephone's, and not what the fit begins with
FAR = 0.55  # metres from the camera


@dataclass(frozen=True)
class Filmed:
    """What is true."""

    clip: MotionClip
    camera_from_world: Float[Tensor, "4 4"]
    intrinsics: Float[Tensor, "3 3"]

    def seen(self, points: Float[Tensor, "*rows points 3"]) -> Float[Tensor, "*rows points 2"]:
        """Pixels of points in the world."""
        camera = self.camera_from_world
        pixels = (points @ camera[:3, :3].T + camera[:3, 3]) @ self.intrinsics.T
        return pixels[..., :2] / pixels[..., 2:]


def talking(head: Head, frames: int, seed: int = 0, *, turn_degrees: float = 14.0) -> Filmed:
    """Jaw, lips, brows and lids move; the head turns, nods and sways."""
    rng = torch.Generator().manual_seed(seed)
    seconds = torch.arange(frames) / 25
    wave = lambda hertz, phase=0.0: torch.sin(2 * torch.pi * hertz * seconds + phase)  # noqa: E731
    expr, names = torch.zeros(frames, head.expressions), list(head.expression_names)
    weights = {"mouthSmile": 0.25 + 0.2 * wave(0.4), "mouthStretch": 0.1 + 0.1 * wave(2.1), "browOuterUp": 0.2 + 0.2 * wave(0.5, 1.0)}
    weights |= {"mouthUpperUp": 0.1 + 0.1 * wave(1.7), "mouthPucker": 0.15 + 0.15 * wave(1.3, 2.0)}
    weights |= {"eyeBlink": (wave(0.7, 0.5) - 0.97).clamp_min(0) * 30}
    for name, curve in weights.items():
        for column in (name, f"{name}Left", f"{name}Right"):
            if column in names:
                expr[:, names.index(column)] = curve
    nothing = torch.zeros(frames)
    jaw = torch.stack([0.09 + 0.08 * wave(2.6) * wave(0.9, 0.3), nothing, nothing], dim=1)
    neck = torch.stack([0.6 * wave(0.45, 0.4), wave(0.3), 0.3 * wave(0.25, 1.0)], dim=1) * torch.deg2rad(torch.tensor(turn_degrees))
    place = torch.stack([0.02 * wave(0.2), 0.01 * wave(0.35), 0.02 * wave(0.15, 1.0)], dim=1)
    shape = 0.6 * torch.randn(head.identities, generator=rng)
    clip = MotionClip(expr=expr, rotation=torch.zeros(frames, 3), neck_pose=neck, jaw_pose=jaw, eyes_pose=torch.zeros(frames, 6),
                      translation=place, shape=shape, head=head.digest)  # fmt: skip
    middle = head.landmarks(head.template)[27:36].mean(0)  # the nose
    camera = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    camera[:3, 3] = torch.tensor([0.0, 0.0, FAR]) - camera[:3, :3] @ middle
    rows, cols = SIZE
    intrinsics = torch.tensor([[FOCAL * cols, 0.0, cols / 2], [0.0, FOCAL * cols, rows / 2], [0.0, 0.0, 1.0]])
    return Filmed(clip, camera, intrinsics)


def points_of(head: Head, clip: MotionClip, points: int = 468) -> Float[Tensor, "time points 3"]:
    """Of the whole surface, skinned: nothing that the fit computes is used."""
    places = places_on(head, points)
    with torch.inference_mode():
        vertices = torch.cat([head.vertices(clip.frames(slice(k, k + 50))) for k in range(0, len(clip), 50)])
        return (vertices[:, head.faces[places.faces]] * places.barycentrics[..., None]).sum(-2)


def detected(head: Head, film: Filmed, *, points: int = 468, noise: float = 0.0, lost: Bool[Tensor, "time"] | None = None,
             wild: float = 0.0, seed: int = 0) -> SeenPoints:  # fmt: skip
    """With noise of so much of the face's size at every point, a share of points that are ``wild``, and frames without a face."""
    rng = torch.Generator().manual_seed(seed)
    exact = film.seen(points_of(head, film.clip, points))
    face = (exact.amax(1) - exact.amin(1)).amax(1)[:, None, None]
    off = noise * face * torch.randn(exact.shape, generator=rng)
    leaps = 0.3 * face * torch.randn(exact.shape, generator=rng)
    seen = exact + torch.where(torch.rand(exact.shape[:2], generator=rng)[..., None] < wild, leaps, off)
    sure = torch.ones(len(exact))
    if lost is not None:
        seen[lost], sure[lost] = 0.0, 0.0
    return SeenPoints(seen, sure)


def lip_opening_mm(head: Head, clip: MotionClip) -> Float[Tensor, "time"]:
    with torch.inference_mode():
        return 1000 * torch.cat([head.lip_opening(head.vertices(clip.frames(slice(k, k + 50)))) for k in range(0, len(clip), 50)])


def turns_degrees(clip: MotionClip, other: MotionClip, keep: Bool[Tensor, "time"]) -> Float[Tensor, "kept"]:
    """Angle between the heads' turns of two clips, after the constant one between them is taken out."""
    first, second = (axis_angle_to_matrix(each.neck_pose[keep]) for each in (clip, other))
    u, _, v = torch.linalg.svd((first @ second.mT).sum(0))
    between = u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ v))])) @ v
    off = (between @ second).mT @ first
    return torch.rad2deg(2 * torch.asin(((off - torch.eye(3)).square().sum((-1, -2)) / 8).sqrt().clamp(0, 1)))
