"""MediaPipe's points through a film: one face followed from picture to picture; cuts and second faces noticed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.errors import InputError
from mango.tracking.eyes import looked_at
from mango.tracking.face_models import Candidate, FaceModels, Picture
from mango.tracking.face_points import MEDIAPIPE, SeenPoints

RIGHT_CORNER, LEFT_CORNER = 33, 263  # outer corners of the eyes
MARGIN = 1.5  # of the square that the network sees, over the extent of the points
LOOKS = (1.0, 1.12)  # a picture is looked at in squares of these sizes, and the points averaged: they tremble less
SURE = 0.5
AGAIN_EVERY = 25  # pictures after which faces are counted anew
CUT = 0.16  # mean change of a small grey picture, of 1, beyond which the film was cut
SMALL = 48  # pixels of that picture


@dataclass(frozen=True)
class Seen:
    """What networks see in a film's pictures."""

    points: SeenPoints
    irises: Float[Tensor, "time 2 2"]  # middles of the left and the right one, pixels; NaN where an eye is closed
    cuts: tuple[int, ...]  # first pictures after a cut
    crowded: tuple[int, ...]  # pictures, of those that were looked at for it, with another face at least half as large


@dataclass(frozen=True)
class Box:
    """Where the face is in the first picture, in pixels."""

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self):
        if min(self.width, self.height) < 8:
            raise InputError(
                "--box", expected="x,y,width,height of a face of at least 8 pixels", found=str(self), remedy="measure it again"
            )

    def holds(self, face: Candidate) -> bool:
        return self.x <= face.centre[0] <= self.x + self.width and self.y <= face.centre[1] <= self.y + self.height


def detect(pictures: Iterable[Picture], models: FaceModels, *, box: Box | None = None, told: Callable[[], None] = lambda: None) -> Seen:
    """Follow one face: the largest, or the one in ``box``. ``told`` is called after every picture."""
    points, sure, cuts, crowded, eyes = [], [], [], [], []
    last: tuple[np.ndarray, float, float] | None = None  # square about the face of the picture before
    before, wanted = None, box
    for number, picture in enumerate(pictures):
        small = _small(picture)
        if before is not None and float(np.abs(small - before).mean()) > CUT:
            cuts.append(number)
            last = None
        before = small
        if last is None or number % AGAIN_EVERY == 0:
            faces = models.faces(picture)
            chosen = _chosen(faces, wanted, last)
            if chosen is not None:
                wanted = None
                if any(other.size > 0.5 * chosen.size for other in faces if other is not chosen):
                    crowded.append(number)
                if last is None:
                    last = chosen.centre, MARGIN * chosen.size, chosen.roll
        found, irises, confidence = np.zeros((MEDIAPIPE, 2)), np.full((2, 2), np.nan), 0.0
        if last is not None:
            found, confidence = face_in(models, picture, last)
            last = square_about(found) if confidence > SURE else None
            found, irises = looked_at(models, picture, found)
        points.append(found + 0.5)
        sure.append(confidence)
        eyes.append(irises + 0.5)
        told()
    seen = SeenPoints(torch.from_numpy(np.stack(points)).float(), torch.tensor(sure, dtype=torch.float32))
    return Seen(seen, torch.from_numpy(np.stack(eyes)).float(), tuple(cuts), tuple(crowded))


def face_in(models: FaceModels, picture: Picture, square: tuple[np.ndarray, float, float]) -> tuple[np.ndarray, float]:
    """Points as the mean of several looks: what the square's place does to them averages out."""
    centre, size, roll = square
    found = [models.mesh(picture, centre, size * times, roll) for times in LOOKS]
    return np.mean([points for points, _ in found], axis=0), min(confidence for _, confidence in found)


def square_about(points: Float[np.ndarray, "points 2"]) -> tuple[np.ndarray, float, float]:
    low, high = points.min(0), points.max(0)
    across = points[LEFT_CORNER] - points[RIGHT_CORNER]
    return (low + high) / 2, MARGIN * float((high - low).max()), float(np.arctan2(across[1], across[0]))


def _chosen(faces: list[Candidate], box: Box | None, last) -> Candidate | None:
    if box is not None:
        faces = [face for face in faces if box.holds(face)]
    if last is not None:
        return min(faces, key=lambda face: float(np.linalg.norm(face.centre - last[0])), default=None)
    return max(faces, key=lambda face: face.size, default=None)


def _small(picture: Picture) -> np.ndarray:
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SMALL, SMALL), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
