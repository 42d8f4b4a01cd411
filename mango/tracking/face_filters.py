"""Faces found without networks: filters that `tools/build_face_filters.py` learned from pictures of made-up people.

    picture --window filter, every place and size--> candidates --corrections of a mean face, then of its mouth--> 468 points
                                                                                             `--judge--> how sure

What is seen of a picture is how much it brightens in eight directions about some points (after Dalal and Triggs 2005); how far a face's
points are off follows linearly from that, better from closer by (the supervised descent of Xiong and De la Torre 2013). The mouth is
corrected from what is seen about the mouth alone: else hair and walls, which differ most from what was learned, move lips.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from mango.tracking.face_models import Candidate, Picture, apart, out_of_mirror, square

LEARNT = Path(__file__).parent / "assets" / "face_filters.npz"
POINTS = 468
MARKS = (33, 263, 1, 13, 234, 454)  # eyes, nose, mouth, ears: the six of a candidate
CROP_PX = 96  # of the square about a face that is looked at
ANCHORS = (
    33, 133, 159, 145, 362, 263, 386, 374, 70, 105, 107, 336, 334, 300, 168, 6, 4, 2, 98, 327,
    61, 291, 0, 17, 13, 14, 78, 308, 81, 311, 178, 402, 152, 172, 397, 234, 454, 132, 361, 10,
)  # fmt: skip
MOUTH_ANCHORS = (61, 291, 0, 17, 13, 14, 78, 308, 81, 311, 178, 402, 37, 267, 84, 314, 40, 270, 91, 321, 2, 164, 18, 200)
DIRECTIONS = 8
REACH, MOUTH_REACH = (10, 7, 5, 4), (5, 4, 3)  # pixels between the nine places about an anchor, for each correction
SQUARE_OVER_FACE = 1.5  # side of the square that is looked at, over the extent of the points
WINDOW = 10  # cells of the window filter along a side
CELL = 4  # pixels of a cell
STEP = 1.15  # between sizes of the window
LARGEST, SMALLEST = 0.95, 0.14  # of the picture's shorter side: how large the window is
CANDIDATES = 6  # of the window filter, at which the corrections are tried

Grey = Float32[np.ndarray, "rows cols"]
Crop = Float32[np.ndarray, "px px"]
Points = Float[np.ndarray, "468 2"]


@dataclass(frozen=True)
class Correction:
    """Points are moved by a linear function of what is seen about the anchors."""

    anchors: tuple[int, ...]
    reach: int
    weights: Float[np.ndarray, "features kinds"]
    basis: Float[np.ndarray, "kinds 936"]  # ways in which points move, in shares of the crop

    def __call__(self, picture: Picture, points: Points) -> Points:
        crop, into = cropped(picture, points)
        inside = into_crop(points, into)
        change = described(crop, inside, self.anchors, self.reach) @ self.weights @ self.basis
        return out_of_crop(inside + CROP_PX * change.reshape(POINTS, 2), into)


class FaceFilters:
    """Stands where `mango.tracking.face_models.FaceModels` stands, but for mattes and irises."""

    def __init__(self):
        with np.load(LEARNT) as content:
            self.learnt = dict(content)
        self.digest = hashlib.sha256(LEARNT.read_bytes()).hexdigest()[:16]
        self.mean = self.learnt["mean"].astype(np.float64)
        self.of_face = self._corrections("face", ANCHORS, REACH)
        self.of_mouth = self._corrections("mouth", MOUTH_ANCHORS, MOUTH_REACH)

    def faces(self, picture: Picture, least: float = 0.5, also: tuple[Float[np.ndarray, "2"], float] | None = None) -> list[Candidate]:
        """Faces, the surest first. ``also``: middle and size of one that is known to be there."""
        squares = self.windows(picture)
        if also is not None:
            squares = [(also[0], also[1] * SQUARE_OVER_FACE * times) for times in (0.8, 1.0, 1.25)] + squares
        found = []
        for centre, size in squares:
            points, sure = self.mesh(picture, centre, size, 0.0)
            if sure >= least:
                low, high = points.min(0), points.max(0)
                found.append(Candidate(sure, (low + high) / 2, float((high - low).max()), points[list(MARKS)]))
        return apart(found)

    def mesh(
        self, picture: Picture, centre: Float[np.ndarray, "2"], size: float, roll: float, *, mirrored: bool = False
    ) -> tuple[Points, float]:
        """The 468 points in pixels of the picture, from a square of ``size`` pixels about a face; and how sure a face is there, 0 to 1.

        ``mirrored``: what the filters are shown; the points are those of the picture all the same.
        """
        if mirrored:
            width = picture.shape[1]
            points, sure = self.mesh(np.ascontiguousarray(picture[:, ::-1]), centre * (-1, 1) + (width - 1, 0), size, -roll)
            return out_of_mirror(points, width), sure
        points = placed(self.mean, centre, size, roll)
        for correct in self.of_face:
            points = correct(picture, points)
        crop, into = cropped(picture, points)
        logit = float(described(crop, into_crop(points, into), ANCHORS, REACH[-1]) @ self.learnt["judge"])
        for correct in self.of_mouth:
            points = correct(picture, points)
        return points, 1 / (1 + float(np.exp(-np.clip(logit, -50, 50))))

    def windows(self, picture: Picture) -> list[tuple[Float[np.ndarray, "2"], float]]:
        """Middles and sizes of squares that look most like a face, the best first."""
        import cv2

        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        found, side, taps = [], min(grey.shape) * LARGEST, self.learnt["window"].astype(np.float32)
        while side >= max(min(grey.shape) * SMALLEST, 24):
            factor = WINDOW * CELL / side
            small = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            cells = window_cells(small)
            response = sum(cv2.matchTemplate(np.ascontiguousarray(cells[k]), taps[k], cv2.TM_CCORR) for k in range(DIRECTIONS))
            highest = response == cv2.dilate(response, np.ones((3, 3)))
            for row, col in np.argwhere(highest):
                middle = (np.array([col, row]) + WINDOW / 2) * CELL / factor
                found.append((float(response[row, col]), middle, side))
            side /= STEP
        found.sort(key=lambda each: -each[0])
        kept = []
        for _, middle, size in found:
            if all(np.linalg.norm(middle - other) > 0.25 * min(size, theirs) or not 0.7 < size / theirs < 1.4 for other, theirs in kept):
                kept.append((middle, size))
            if len(kept) == CANDIDATES:
                break
        return kept

    def _corrections(self, part: str, anchors: tuple[int, ...], reaches: tuple[int, ...]) -> list[Correction]:
        basis = self.learnt[f"{part}_basis"].astype(np.float64)
        weights = self.learnt[f"{part}_weights"] * self.learnt[f"{part}_scales"]  # a byte each
        return [Correction(anchors, reach, of, basis) for reach, of in zip(reaches, weights, strict=True)]


def placed(shape: Points, centre: Float[np.ndarray, "2"], size: float, roll: float) -> Points:
    """Of a square of side 1 about its middle -> pixels."""
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return size * shape @ turn.T + centre


def cropped(picture: Picture, points: Points) -> tuple[Crop, Float[np.ndarray, "2 3"]]:
    """The square about the points, upright, grey, of mean 0 and spread 1; and how its pixels lie in the picture."""
    import cv2

    low, high = points.min(0), points.max(0)
    across = points[263] - points[33]
    size = max(SQUARE_OVER_FACE * float((high - low).max()), 8.0)
    into = square((low + high) / 2, size, float(np.arctan2(across[1], across[0])), CROP_PX)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if size > 2 * CROP_PX:  # points between pixels that are far apart would be all that is seen
        fine = into.copy()
        fine[:, :2] /= 2
        crop = cv2.resize(cv2.warpAffine(picture, fine, (2 * CROP_PX, 2 * CROP_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE),
                          (CROP_PX, CROP_PX), interpolation=cv2.INTER_AREA)  # fmt: skip
    else:
        crop = cv2.warpAffine(picture, into, (CROP_PX, CROP_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return (grey - grey.mean()) / (grey.std() + 4.0), into


def into_crop(points: Float[np.ndarray, "points 2"], into: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "points 2"]:
    return np.linalg.solve(into[:, :2], (points - into[:, 2]).T).T


def out_of_crop(points: Float[np.ndarray, "points 2"], into: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "points 2"]:
    return points @ into[:, :2].T + into[:, 2]


def brightening(grey: Grey) -> Float32[np.ndarray, "directions rows cols"]:
    """How much it becomes brighter towards each direction; nothing where it becomes darker."""
    import cv2

    across, down = (cv2.Sobel(grey, cv2.CV_32F, *order, ksize=3, scale=0.25) for order in ((1, 0), (0, 1)))
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    return np.stack([np.maximum(np.cos(a) * across + np.sin(a) * down, 0) for a in angles]).astype(np.float32)


def described(crop: Crop, points: Points, anchors: tuple[int, ...], reach: int) -> Float32[np.ndarray, "features"]:
    """What is seen about the anchors: nine places each, eight directions; every anchor's own contrast is taken out. The last is 1."""
    import cv2

    maps = np.stack([cv2.blur(each, (reach, reach)) for each in brightening(crop)])
    steps = reach * np.array([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    places = np.rint(points[list(anchors)][:, None] + steps).astype(int).clip(0, CROP_PX - 1)
    seen = maps[:, places[..., 1], places[..., 0]].transpose(1, 2, 0).reshape(len(anchors), -1)
    return np.append(seen / np.sqrt((seen**2).sum(1, keepdims=True) + 0.01), np.float32(1))


def window_cells(grey: Grey) -> Float32[np.ndarray, "directions cell_rows cell_cols"]:
    """Cells of brightening, of a picture whose contrast is evened out over the size of the window."""
    import cv2

    over = (WINDOW * CELL, WINDOW * CELL)
    mean = cv2.blur(grey, over)
    spread = np.sqrt(np.maximum(cv2.blur(grey * grey, over) - mean * mean, 0))
    maps = brightening((grey - mean) / (spread + 4.0))
    rows, cols = (extent // CELL * CELL for extent in grey.shape)
    return np.stack([cv2.resize(each[:rows, :cols], (cols // CELL, rows // CELL), interpolation=cv2.INTER_AREA) for each in maps])
