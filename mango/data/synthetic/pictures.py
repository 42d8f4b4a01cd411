"""Pictures of true people: another camera than the tracker believes, a background, a sensor's noise."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mango.data.synthetic.people import TruePerson
from mango.data.synthetic.seeding import stream
from mango.types import MotionClip
from renderer.types import Camera

CHUNK = 25  # frames posed and drawn together
BACKGROUNDS = ((0.62, 0.70, 0.76), (0.74, 0.70, 0.64), (0.56, 0.64, 0.58), (0.70, 0.66, 0.74), (0.80, 0.80, 0.78), (0.45, 0.50, 0.58))


@dataclass(frozen=True)
class Shooting:
    """How clips are filmed, and how far the tracker's idea of the camera is off."""

    size_px: int = 128  # a side of the square pictures
    distance_m: float = 0.95  # from camera to head
    field_of_view_degrees: float = 19.5  # of the camera
    view_degrees: tuple[float, float] = (9.0, 4.0)  # largest yaw and pitch of a clip's camera
    focal_error: float = 0.008  # of the tracked camera, relative; standard deviation over clips
    shift_error_m: float = 0.0008  # of the tracked camera; standard deviation over clips
    turn_error_degrees: float = 0.15  # of the tracked camera; standard deviation over clips
    noise: float = 0.010  # of the sensor, standard deviation at half brightness

    def __post_init__(self):
        assert self.size_px % 2 == 0, f"H.264 wants an even picture size, not {self.size_px}"


def cameras(shooting: Shooting, seed: int) -> tuple[Camera, Camera]:
    """The camera as the tracker believes it, and as it was."""
    import roma

    from renderer.cameras import portrait_camera

    rng = stream(seed, "camera")
    yaw, pitch = rng.uniform(-1, 1, 2) * shooting.view_degrees
    target = (rng.uniform(-0.006, 0.006), 0.004 + rng.uniform(-0.006, 0.006), -0.02)
    believed = portrait_camera(
        shooting.size_px, target=target, distance=shooting.distance_m * rng.uniform(0.98, 1.04), yaw_degrees=yaw, pitch_degrees=pitch,
        field_of_view_degrees=shooting.field_of_view_degrees,
    )  # fmt: skip
    wrong = torch.eye(4)
    wrong[:3, :3] = roma.rotvec_to_rotmat(torch.from_numpy(np.radians(shooting.turn_error_degrees) * rng.normal(size=3)).float())
    wrong[:3, 3] = torch.from_numpy(shooting.shift_error_m * rng.normal(size=3)).float()
    middle = torch.eye(4)  # the wrong turn is about the head, or it would mostly be a shift
    middle[2, 3] = shooting.distance_m
    intrinsics = believed.intrinsics.clone()
    intrinsics[:2, :2] *= 1 + shooting.focal_error * float(rng.normal())
    extrinsics = middle @ wrong @ torch.linalg.inv(middle) @ believed.camera_from_world
    return believed, replace(believed, camera_from_world=extrinsics, intrinsics=intrinsics)


def background(size_px: int, seed: int) -> Float[np.ndarray, "rows cols 3"]:
    """A wall out of focus: two tones and a broad patch of light."""
    rng = stream(seed, "background")
    rows, cols = np.meshgrid(np.linspace(0, 1, size_px), np.linspace(0, 1, size_px), indexing="ij")
    tone = np.array(BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]) * rng.uniform(0.9, 1.05)
    slope = rng.normal(0, 0.08, 2)
    across = slope[0] * (rows - 0.5) + slope[1] * (cols - 0.5)
    patch = 0.10 * np.exp(-(((rows - rng.uniform(0, 0.6)) / 0.35) ** 2 + ((cols - rng.uniform(0, 1)) / 0.3) ** 2))
    return np.clip(tone + (across + patch)[..., None], 0, 1).astype(np.float32)


def filmed(
    person: TruePerson, head, clip: MotionClip, camera: Camera, shooting: Shooting, seed: int
) -> Iterator[tuple[UInt8[np.ndarray, "rows cols 3"], UInt8[np.ndarray, "rows cols 3"]]]:
    """Frame by frame: the picture, and the foreground matte as a grey picture."""
    from renderer import draw

    wall, rng = background(camera.height, seed), stream(seed, "sensor")
    for start in range(0, len(clip), CHUNK):
        with torch.inference_mode():
            vertices = person.vertices(head, clip.frames(slice(start, start + CHUNK)))
            drawn = draw(person.gaussians(vertices), camera)
        alphas = drawn.alphas.numpy()
        clean = drawn.colors.numpy() + (1 - alphas) * wall
        grain = rng.standard_normal(clean.shape, dtype=np.float32) * np.sqrt(0.3 + 1.4 * clean.clip(0, 1)) * shooting.noise
        for picture, matte in zip(_bytes(clean + grain), _bytes(alphas), strict=True):
            yield picture, np.repeat(matte, 3, axis=-1)


def _bytes(values: Float[np.ndarray, "time rows cols channels"]) -> UInt8[np.ndarray, "time rows cols channels"]:
    return (values * 255 + 0.5).clip(0, 255).astype(np.uint8)
