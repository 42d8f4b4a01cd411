"""A detector's points through a film: one face followed from picture to picture; cuts and second faces noticed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.errors import InputError
from mango.tracking.eyes import looked_at
from mango.tracking.face_filters import FaceFilters
from mango.tracking.face_models import Candidate, FaceModels, Picture
from mango.tracking.face_points import MEDIAPIPE, SeenPoints

RIGHT_CORNER, LEFT_CORNER = 33, 263  # outer corners of the eyes
MARGIN = 1.5  # of the square that the network sees, over the extent of the points
# A picture is looked at in squares of these sizes, the second in a mirror, and the points are averaged: they tremble less, and what a
# network or filter does to one side of faces it does to the other.
LOOKS = ((1.0, False), (1.12, True))
SURE = 0.5
AGAIN_EVERY = 25  # pictures after which faces are counted anew
LIKE = 2.0  # times as large or as small: a face elsewhere of another size is somebody else's
GONE = 25  # pictures after which a lost face is looked for elsewhere
FORGOTTEN = 100  # pictures after which its size says nothing any more: somebody has sat down farther away
CUT = 0.16  # mean change of a small grey picture, of 1, beyond which the film was cut
SAME = 1.5 / 255  # change of a pixel of that picture, up to which all are as before: a face is a small part of a recorded call
SMALL = 96  # pixels of its sides

Square = tuple[np.ndarray, float, float]  # middle, side, roll: pixels and radians


@dataclass(frozen=True)
class Seen:
    """What a detector sees in a film's pictures."""

    points: SeenPoints
    irises: Float[Tensor, "time 2 2"]  # middles of the left and the right one, pixels; NaN where an eye is closed
    cuts: tuple[int, ...]  # first pictures after a cut, or of a face that was lost and found elsewhere
    crowded: tuple[int, ...]  # pictures, of those that were looked at for it, with another face at least half as large
    repeats: tuple[int, ...] = ()  # pictures that are the ones before them again


@dataclass(frozen=True)
class Box:
    """Where the face is in the first picture, in pixels."""

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self):
        numbers = (self.x, self.y, self.width, self.height)
        if not np.isfinite(numbers).all() or min(self.width, self.height) < 8:
            found = ",".join(f"{number:g}" for number in numbers)
            raise InputError("--box", expected="x,y,width,height of a face of at least 8 pixels", found=found, remedy="measure it again")

    def holds(self, face: Candidate) -> bool:
        return bool(self.x <= face.centre[0] <= self.x + self.width and self.y <= face.centre[1] <= self.y + self.height)


class Following:
    """One face followed from picture to picture: the largest, or the one in ``box``.

    What it remembers is `content`, so that a run that was stopped goes on where it was: `Following(models, box, content)`.
    """

    def __init__(self, models: FaceModels | FaceFilters, box: Box | None = None, content: Mapping[str, np.ndarray] | None = None):
        self.models, self.box = models, box
        self.points, self.sure, self.irises = [], [], []
        self.cuts, self.crowded, self.repeats = [], [], []
        self.square: Square | None = None  # about the face of the picture before
        self.place: Square | None = None  # where it was last seen
        self.before: np.ndarray | None = None  # the picture before, small
        if content is not None:
            self.points, self.sure, self.irises = (list(content[name]) for name in ("points", "confidence", "irises"))
            self.cuts, self.crowded, self.repeats = (content[name].tolist() for name in ("cuts", "crowded", "repeats"))
            self.square, self.place = (_as_square(numbers) for numbers in content["squares"])
            self.before = content["before"] if content["before"].size else None

    def __len__(self) -> int:
        return len(self.points)

    def content(self) -> dict[str, np.ndarray]:
        squares = [np.full(4, np.nan) if square is None else [*square[0], *square[1:]] for square in (self.square, self.place)]
        return {
            "points": np.array(self.points, np.float32).reshape(-1, MEDIAPIPE, 2),
            "confidence": np.array(self.sure, np.float32),
            "irises": np.array(self.irises, np.float32).reshape(-1, 2, 2),
            "cuts": np.array(self.cuts, int),
            "crowded": np.array(self.crowded, int),
            "repeats": np.array(self.repeats, int),
            "squares": np.array(squares),
            "before": np.zeros(0, np.float32) if self.before is None else self.before,
        }

    def seen(self) -> Seen:
        known = {name: torch.from_numpy(values) for name, values in self.content().items() if name in ("points", "confidence", "irises")}
        points = SeenPoints(known["points"], known["confidence"])
        return Seen(points, known["irises"], tuple(self.cuts), tuple(self.crowded), tuple(self.repeats))

    def look(self, picture: Picture) -> None:
        """At the next picture."""
        self._compare(picture)
        if self.square is None or len(self) % AGAIN_EVERY == 0:
            self._look_around(picture)
        found, irises, confidence = np.zeros((MEDIAPIPE, 2)), np.full((2, 2), np.nan), 0.0
        if self.square is not None:
            found, confidence = face_in(self.models, picture, self.square)
            self.square = square_about(found) if confidence > SURE else None
            self.place = self.square or self.place
            found, irises = looked_at(self.models, picture, found)
        self.points.append((found + 0.5).astype(np.float32))
        self.sure.append(confidence)
        self.irises.append((irises + 0.5).astype(np.float32))

    def _compare(self, picture: Picture) -> None:
        """With the one before."""
        small = _small(picture)
        if _repeats(self.before, small):
            self.repeats.append(len(self))
        if _cut(self.before, small):
            self.cuts.append(len(self))
            self.square = None
            self.place = None if self.box is None else self.place  # who was asked for is looked for where they were
        self.before = small

    def _look_around(self, picture: Picture) -> None:
        faces = self.models.faces(picture, also=self._where())
        chosen = self._chosen(faces)
        if chosen is None:
            return
        if any(other.size > 0.5 * chosen.size for other in faces if other is not chosen):
            self.crowded.append(len(self))
        if self.square is None:
            self.square = chosen.centre, MARGIN * chosen.size, chosen.roll
            if self.place is not None and self._away(chosen) >= self.place[1] / 2:
                self.cuts.append(len(self))

    def _where(self) -> tuple[Float[np.ndarray, "2"], float] | None:
        """Middle and size of the face that was asked for, as far as known: it may be too small to be found in the whole picture."""
        if self.box is None or self.place is not None:
            return None if self.box is None else (self.place[0], self.place[1] / MARGIN)
        box = self.box
        return np.array([box.x + box.width / 2, box.y + box.height / 2]), max(box.width, box.height)

    def _away(self, face: Candidate) -> float:
        """From where the face was, pixels."""
        return float(np.linalg.norm(face.centre - self.place[0]))

    def _chosen(self, faces: list[Candidate]) -> Candidate | None:
        """The one where the face was. With a box no other will do; without, when it has been gone for long, the largest of like size.

        When it has been gone for longer, the largest of all.
        """
        if self.place is not None:
            near = [face for face in faces if self._away(face) < self.place[1] / 2]  # people sit farther apart than that
            if near or self.box is not None or any(sure > SURE for sure in self.sure[-GONE:]):
                return min(near, key=self._away, default=None)
            if any(sure > SURE for sure in self.sure[-FORGOTTEN:]):
                faces = [face for face in faces if 1 / LIKE < MARGIN * face.size / self.place[1] < LIKE]
        elif self.box is not None:
            faces = [face for face in faces if self.box.holds(face)]
        return max(faces, key=lambda face: face.size, default=None)


def compared(pictures: Iterable[Picture], told: Callable[[int], None]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First pictures after a cut, and pictures that repeat the one before. ``told`` hears how many have been seen."""
    cuts, repeats, before = [], [], None
    for number, picture in enumerate(pictures):
        small = _small(picture)
        if _cut(before, small):
            cuts.append(number)
        if _repeats(before, small):
            repeats.append(number)
        before = small
        told(number + 1)
    return tuple(cuts), tuple(repeats)


def face_in(models: FaceModels | FaceFilters, picture: Picture, square: Square) -> tuple[np.ndarray, float]:
    """Points as the mean of `LOOKS`."""
    centre, size, roll = square
    found = [models.mesh(picture, centre, size * times, roll, mirrored=mirrored) for times, mirrored in LOOKS]
    return np.mean([points for points, _ in found], axis=0), min(confidence for _, confidence in found)


def square_about(points: Float[np.ndarray, "points 2"]) -> Square:
    low, high = points.min(0), points.max(0)
    across = points[LEFT_CORNER] - points[RIGHT_CORNER]
    return (low + high) / 2, MARGIN * float((high - low).max()), float(np.arctan2(across[1], across[0]))


def _as_square(numbers: Float[np.ndarray, "4"]) -> Square | None:
    return None if np.isnan(numbers).any() else (numbers[:2], float(numbers[2]), float(numbers[3]))


def _cut(before: np.ndarray | None, after: np.ndarray) -> bool:
    """Between small pictures; of the first one nothing is known."""
    return before is not None and float(np.abs(after - before).mean()) > CUT


def _repeats(before: np.ndarray | None, after: np.ndarray) -> bool:
    return before is not None and float(np.abs(after - before).max()) <= SAME


def _small(picture: Picture) -> np.ndarray:
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SMALL, SMALL), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
