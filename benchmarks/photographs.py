"""Photographs of a thing that stands still, with known cameras, and the points that several of them agree on.

FOLDER/cameras.json    image_size [width, height]; P_3x4 {name: projection matrix to pixels whose centres are integers}
FOLDER/<name>.jpg
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.linalg import rq
from torch import Tensor

from mango.data.json_files import read_json
from mango.errors import InputError
from renderer.types import Camera

SIFT_POINTS = 4000  # a photograph
CONTRAST = 0.02  # of SIFT's points; its default of 0.04 finds a third as many on stone
DISTINCT = 0.8  # a match is at most so far from its point as the second best (Lowe 2004, sec. 7.1)
CLOSE_PX = 1.5  # in the file's pixels, of the point that two photographs agree on from both
NEAREST = 0.15  # of the mean distance of cameras: what is nearer to one than that is a mistake


@dataclass(frozen=True)
class Photographs:
    """In units of the cameras' mean distance from where they look, which is the origin."""

    names: tuple[str, ...]
    pictures: Float[Tensor, "views rows cols 3"]
    camera: Camera  # of all views

    def __len__(self) -> int:
        return len(self.names)

    def chosen(self, views: Sequence[int]) -> "Photographs":
        rows = list(views)
        camera = Camera(self.camera.camera_from_world[rows], self.camera.intrinsics[rows], self.camera.width, self.camera.height)
        return Photographs(tuple(self.names[view] for view in rows), self.pictures[rows], camera)


@dataclass(frozen=True)
class Features:
    """SIFT's points of a photograph, and the square roots of their descriptors (Arandjelovic and Zisserman 2012): of length 1."""

    where: Float[Tensor, "points 2"]  # pixels of the photograph
    like: Float[Tensor, "points 128"]


@dataclass(frozen=True)
class Agreement:
    """Points that two photographs agree on, and by how many pixels they miss (the worse of both)."""

    views: tuple[int, int]
    points: Float[Tensor, "points 3"]
    missed_px: Float[Tensor, "points"]


def read_photographs(folder: Path, width: int | None = None) -> Photographs:
    """All of them, ``width`` pixels wide (None: as they are).

    Errors: InputError for a folder without cameras, and for photographs that are missing or of another size.
    """
    described = read_json(folder / "cameras.json")
    try:
        (full_width, full_height), projections = described["image_size"], described["P_3x4"]
        names = tuple(sorted(projections))
        matrices = [np.asarray(projections[name], np.float64).reshape(3, 4) for name in names]
    except (KeyError, TypeError, ValueError) as error:
        found, remedy = f"something else ({error})", "point to buddha_head_multiview of the sample data"
        raise InputError(folder / "cameras.json", expected="image_size and P_3x4", found=found, remedy=remedy) from error
    width = full_width if width is None else width
    height = round(width * full_height / full_width)
    cameras = [camera_of_projection(matrix, (full_width, full_height), (width, height)) for matrix in matrices]
    poses, intrinsics = normalised(torch.stack([pose for pose, _ in cameras])), torch.stack([matrix for _, matrix in cameras])
    pictures = torch.stack([_picture(folder / f"{name}.jpg", (full_width, full_height), (width, height)) for name in names])
    return Photographs(names, pictures, Camera(poses.float(), intrinsics.float(), width, height))


def camera_of_projection(
    projection: Float[np.ndarray, "3 4"], full: tuple[int, int], size: tuple[int, int]
) -> tuple[Float[Tensor, "4 4"], Float[Tensor, "3 3"]]:
    """``camera_from_world`` and intrinsics for a picture of ``size`` (width, height) of one of ``full``, float64.

    A projection matrix has a scale of its own and counts pixels from the centre of the first; ours from its corner.
    """
    upper, rotation = rq(projection[:, :3])
    signs = np.diag(np.sign(np.diag(upper)))  # a focal length is positive
    upper, rotation = upper @ signs, signs @ rotation
    sign = np.sign(np.linalg.det(rotation))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = sign * rotation, sign * np.linalg.solve(upper, projection[:, 3])
    intrinsics = upper / upper[2, 2]
    intrinsics[:2, 2] += 0.5
    intrinsics[:2] *= np.array(size)[:, None] / np.array(full)[:, None]
    return torch.from_numpy(pose), torch.from_numpy(intrinsics)


def normalised(poses: Float[Tensor, "views 4 4"]) -> Float[Tensor, "views 4 4"]:
    """The same cameras in a world whose origin is the point nearest to all their axes, their mean distance from it 1."""
    rotations, forward = poses[:, :3, :3], poses[:, 2, :3]
    centres = -(rotations.mT @ poses[:, :3, 3:])[..., 0]
    across = torch.eye(3, dtype=poses.dtype) - forward[:, :, None] * forward[:, None]
    middle = torch.linalg.solve(across.sum(0), (across @ centres[..., None]).sum(0)[:, 0])
    unit = (centres - middle).norm(dim=1).mean()
    moved = poses.clone()
    moved[:, :3, 3] = (poses[:, :3, 3] + rotations @ middle) / unit
    return moved


def features(photographs: Photographs) -> list[Features]:
    """SIFT's points of each."""
    sift, found = cv2.SIFT_create(SIFT_POINTS, contrastThreshold=CONTRAST), []
    for picture in photographs.pictures:
        grey = cv2.cvtColor((picture.numpy() * 255).round().astype(np.uint8), cv2.COLOR_RGB2GRAY)
        points, descriptors = sift.detectAndCompute(grey, None)
        like = torch.nn.functional.normalize(torch.from_numpy(descriptors), p=1, dim=1).sqrt()
        found.append(Features(torch.tensor([point.pt for point in points]) + 0.5, like))  # OpenCV's first pixel is at (0, 0)
    return found


def agreements(camera: Camera, found: Sequence[Features]) -> list[Agreement]:
    """Of every two photographs: where their matched points meet."""
    whole = (camera.intrinsics.double() @ camera.camera_from_world[:, :3].double()).numpy()
    pairs = [(one, other) for one in range(len(found)) for other in range(one + 1, len(found))]
    return [_agreement(pair, [found[view] for view in pair], [whole[view] for view in pair]) for pair in pairs]


def _agreement(views: tuple[int, int], found: Sequence[Features], projections: Sequence[np.ndarray]) -> Agreement:
    rows = _matches(*found)
    if not len(rows):
        return Agreement(views, torch.zeros(0, 3), torch.zeros(0))
    seen = [points.where[rows[:, k]] for k, points in enumerate(found)]
    met = cv2.triangulatePoints(*projections, *(where.double().numpy().T for where in seen))
    met = (met[:3] / met[3]).T
    missed, ahead = zip(*(_seen(matrix, met, where) for matrix, where in zip(projections, seen, strict=True)), strict=True)
    kept = (np.maximum(*missed) < CLOSE_PX) & (np.minimum(*ahead) > NEAREST)
    return Agreement(views, torch.from_numpy(met[kept]).float(), torch.from_numpy(np.maximum(*missed)[kept]).float())


def _seen(
    projection: Float[np.ndarray, "3 4"], points: Float[np.ndarray, "points 3"], where: Float[Tensor, "points 2"]
) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]:
    """How many pixels points are from where they were seen, and how far ahead of the camera they are."""
    drawn = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ projection.T
    return np.linalg.norm(drawn[:, :2] / drawn[:, 2:] - where.numpy(), axis=1), drawn[:, 2]


def _matches(one: Features, other: Features) -> Int[Tensor, "pairs 2"]:
    """Points that are each other's likest, by far."""
    likeness = one.like @ other.like.T
    best, second = likeness.topk(2, dim=1).values.unbind(1)
    there, back = likeness.argmax(1), likeness.argmax(0)
    mutual = back[there] == torch.arange(len(there))
    distinct = (1 - best).clamp_min(0).sqrt() < DISTINCT * (1 - second).clamp_min(0).sqrt()  # distances of unit vectors, but for root 2
    rows = (mutual & distinct).nonzero()[:, 0]
    return torch.stack([rows, there[rows]], dim=1)


def degrees_to_nearest(camera: Camera, view: int, others: Sequence[int]) -> float:
    """Between the directions from the origin to a view and to the nearest of the others."""
    poses = camera.camera_from_world
    towards = torch.nn.functional.normalize(-(poses[:, :3, :3].mT @ poses[:, :3, 3:])[..., 0], dim=1)
    return math.degrees(math.acos(min(1.0, float((towards[list(others)] @ towards[view]).max()))))


def _picture(path: Path, full: tuple[int, int], size: tuple[int, int]) -> Float[Tensor, "rows cols 3"]:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    found = "none" if picture is None else f"one of {picture.shape[1]} x {picture.shape[0]}"
    if picture is None or picture.shape[1::-1] != full:
        raise InputError(path, expected=f"a photograph of {full[0]} x {full[1]}", found=found, remedy="copy the sample data again")
    small = picture if size == full else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(cv2.cvtColor(small, cv2.COLOR_BGR2RGB).astype(np.float32) / 255)
