"""Cameras from plain words. OpenCV axes in the camera (x right, y down, z forward); in the world y is up."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from renderer.types import Camera

Number = float | int


def look_at(eye: Sequence[Number], target: Sequence[Number], up: Sequence[Number] = (0.0, 1.0, 0.0)) -> Float[Tensor, "4 4"]:
    """``camera_from_world`` of a camera at ``eye`` that sees ``target`` in its centre and ``up`` upwards. Metres."""
    eye, target, up = (torch.as_tensor(v, dtype=torch.float64) for v in (eye, target, up))
    forward = target - eye
    if float(forward.norm()) == 0:
        raise ValueError(f"look_at: expected eye and target apart, found both at {eye.tolist()}; move one of them")
    forward = forward / forward.norm()
    right = torch.linalg.cross(forward, up)
    if float(right.norm()) < 1e-9:
        raise ValueError(f"look_at: expected up across the line of sight, found up {up.tolist()} along it; choose another up")
    right = right / right.norm()
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = rotation, -rotation @ eye
    return matrix.to(torch.float32)


def pinhole(width: int, height: int, field_of_view_degrees: Number) -> Float[Tensor, "3 3"]:
    """Intrinsics with the principal point in the middle; the angle spans the height of the picture."""
    focal = 0.5 * height / math.tan(math.radians(field_of_view_degrees) / 2)
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]], dtype=torch.float32)


def portrait_camera(
    size_px: int,
    *,
    target: Sequence[Number] = (0.0, -0.02, 0.0),
    distance: Number = 0.9,
    field_of_view_degrees: Number = 22.0,
    yaw_degrees: Number = 0.0,
    pitch_degrees: Number = 0.0,
) -> Camera:
    """A square portrait of a head at the origin of FLAME's axes: the whole head and some of the neck.

    Yaw moves the camera to the person's left (+x), pitch upwards. Distances in metres.
    """
    yaw, pitch = math.radians(yaw_degrees), math.radians(pitch_degrees)
    toward = (math.cos(pitch) * math.sin(yaw), math.sin(pitch), math.cos(pitch) * math.cos(yaw))
    eye = [t + distance * d for t, d in zip(target, toward, strict=True)]
    intrinsics = pinhole(size_px, size_px, field_of_view_degrees)
    return Camera(camera_from_world=look_at(eye, target), intrinsics=intrinsics, width=size_px, height=size_px)
