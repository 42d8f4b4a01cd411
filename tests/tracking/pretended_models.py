"""Networks that know where the faces are: what they answer is computed from a known head, by the number that is written in the picture."""

import numpy as np
import torch
from coded_films import coded, number_of
from jaxtyping import Bool, Float
from moving_head import SIZE, Filmed, points_of
from torch import Tensor

from mango.head.model import Head
from mango.tracking.face_models import LIDS, Candidate, FaceModels

STRIP = 32  # rows at the top of a picture with its number; small beside the picture, so that numbers make no cut
Points = Float[np.ndarray, "time 468 2"]


def pictures(frames: int, brightness=lambda number: 120, first: int = 0, spots: "Points | None" = None) -> list[np.ndarray]:
    """Grey, with a number; and with a spot at each of somebody's points, so that flow sees them move."""
    made = []
    for number in range(first, first + frames):
        picture = np.full((*SIZE, 3), brightness(number), np.uint8)
        if spots is not None:
            draw_spots(picture, spots[number])
        picture[:STRIP] = coded(number, STRIP, SIZE[1])
        made.append(picture)
    return made


def draw_spots(picture: np.ndarray, points: Float[np.ndarray, "468 2"]) -> None:
    import cv2

    grey = np.random.default_rng(0).integers(0, 255, len(points)).tolist()
    for (across, down), shade in zip(points - 0.5, grey, strict=True):
        cv2.circle(picture, (round(16 * across), round(16 * down)), 16 * 3, [shade] * 3, -1, cv2.LINE_AA, shift=4)


def face_points(head: Head, film: Filmed) -> Points:
    """Pixels, centre of the first at 0.5."""
    return film.seen(points_of(head, film.clip)).numpy().astype(np.float64)


class PretendedModels(FaceModels):
    """Several people's points; ``there`` (people, time): whose face can be seen. Counts what it is asked."""

    def __init__(self, people: list[Points], there: Bool[Tensor, "people time"] | None = None):
        self.people = people
        self.there = torch.ones(len(people), len(people[0]), dtype=torch.bool) if there is None else there
        self.asked: list[int] = []  # numbers of the pictures whose mesh was asked for
        self.squares: list[tuple[float, ...]] = []  # and where it was looked for
        self.interrupt_at: int | None = None

    def faces(self, picture, least=0.5, also=None):
        number = number_of(picture[:STRIP])
        return [_candidate(points[number]) for points, there in zip(self.people, self.there, strict=True) if there[number]]

    def mesh(self, picture, centre, size, roll, *, mirrored=False):
        number = number_of(picture[:STRIP])
        if number == self.interrupt_at:
            self.interrupt_at = None
            raise KeyboardInterrupt
        self.asked.append(number)
        self.squares.append((*centre, size, roll))
        seen = [points[number] for points, there in zip(self.people, self.there, strict=True) if there[number]]
        near = [points for points in seen if np.linalg.norm(_middle(points) - centre) < size / 4]
        return (near[0] - 0.5, 0.99) if near else (np.zeros((468, 2)) + centre, 0.01)

    def eye(self, picture, outer, inner, *, mirrored):
        number = number_of(picture[:STRIP])
        of = min((points[number] - 0.5 for points in self.people), key=lambda points: np.linalg.norm(points[33] - outer) * (not mirrored)
                 + np.linalg.norm(points[263] - outer) * mirrored)  # fmt: skip
        lids = of[list(LIDS["left" if mirrored else "right"])]
        return lids.mean(0), lids

    def matte(self, picture):
        rows, cols = picture.shape[:2]
        down, across = np.mgrid[:rows, :cols]
        return ((down / rows - 0.5) ** 2 + (across / cols - 0.5) ** 2 < 0.16).astype(np.float32)


def _middle(points):
    return (points.min(0) + points.max(0)) / 2


def _candidate(points) -> Candidate:
    marks = points[[33, 263, 1, 13, 234, 454]]
    return Candidate(0.9, _middle(points), float((points.max(0) - points.min(0)).max()), marks)
