"""The networks that find faces in pictures: MediaPipe's, run by OpenCV.

They are four small files (Apache-2.0) in MediaPipe's wheels of versions 0.10.14 to 0.10.21. `mango assets get mediapipe` takes them out of
one; MediaPipe itself is not needed. What they compute is described in their model cards; decoding and cropping are ours.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from mango.data.atomic import atomic_file, check_place
from mango.errors import InputError
from mango.user_cache import user_cache

WHEEL = "mediapipe==0.10.14"
PLATFORM = ("--platform", "manylinux2014_x86_64", "--python-version", "311", "--implementation", "cp")  # whatever is installed here
FILES = {  # in the wheel, sha256
    "face_detection_short_range.tflite": ("face_detection", "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"),
    "face_landmark.tflite": ("face_landmark", "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"),
    "iris_landmark.tflite": ("iris_landmark", "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f"),
    "selfie_segmentation.tflite": ("selfie_segmentation", "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c"),
}
DETECTOR_PX, MESH_PX, IRIS_PX, MATTE_PX = 128, 192, 64, 256
SEEN_AT = (1.0, 1.5, 2.5)  # sides of the squares in which a face is looked for that is known to be there, over its size
POINTS = 468
TWINS = Path(__file__).parent / "assets" / "mirrored_points.npy"  # tools/build_face_points.py
EYE_MARGIN = 2.3  # of the square that the iris network sees, over the distance of the eye's corners
STRIDES = ((8, 2), (16, 6))  # of the detector's two grids: pixels between cells, candidates in each cell
RIGHT_EYE, LEFT_EYE = 0, 1  # of the detector's six points; the person's right

LIDS = {  # which of the 468 points the eye network's first 16 are: the lower lid from corner to corner, then the upper one
    "right": (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173),
    "left": (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398),
}

Picture = UInt8[np.ndarray, "rows cols 3"]


def default_folder() -> Path:
    return user_cache("mediapipe")


@dataclass(frozen=True)
class Candidate:
    """A face as the detector sees it, in pixels of the picture."""

    score: float
    centre: Float[np.ndarray, "2"]
    size: float  # the longer side of its box
    points: Float[np.ndarray, "6 2"]  # right eye, left eye, nose, mouth, right ear, left ear

    @property
    def roll(self) -> float:
        """Radians by which the line of the eyes is turned, clockwise on the screen."""
        across = self.points[LEFT_EYE] - self.points[RIGHT_EYE]
        return float(np.arctan2(across[1], across[0]))


def any_here() -> bool:
    """Whether anybody put networks where they are looked for; whole or not."""
    return any((default_folder() / name).exists() for name in FILES)


class FaceModels:
    """The networks of a folder, each read when it is first used. One thread at a time."""

    digest = hashlib.sha256("".join(digest for _, digest in FILES.values()).encode()).hexdigest()[:16]  # of what finds faces

    def __init__(self, folder: Path | None = None):
        """Errors: InputError when a file is absent or not the one expected."""
        self.folder = default_folder() if folder is None else folder
        for name, (_, digest) in FILES.items():
            _check(self.folder / name, digest)

    def faces(self, picture: Picture, least: float = 0.5, also: tuple[Float[np.ndarray, "2"], float] | None = None) -> list[Candidate]:
        """Faces, the surest first. Faces much smaller than the picture are looked for in parts of it; but where larger ones are seen, only
        where one is known to be: ``also``, its middle and size.
        """
        found = [] if also is None else self._all(_about(picture, *also), least)
        for pieces in (1, 2, 3):
            seen = self._all(_parts(picture, pieces), least)
            if seen:
                break
        return apart(found + seen)

    def _all(self, parts: Iterable[tuple[tuple[int, int], Picture]], least: float) -> list[Candidate]:
        return [face for corner, part in parts for face in self._faces(part, corner, least)]

    def mesh(
        self, picture: Picture, centre: Float[np.ndarray, "2"], size: float, roll: float, *, mirrored: bool = False
    ) -> tuple[Float[np.ndarray, "468 2"], float]:
        """The 468 points in pixels of the picture, from a square of ``size`` pixels about a face; and how sure a face is there, 0 to 1.

        ``mirrored``: what the network is shown; the points are those of the picture all the same.
        """
        import cv2

        into = square(centre, size, roll, MESH_PX)
        crop = cv2.warpAffine(picture, into, (MESH_PX, MESH_PX), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        shown = crop[:, ::-1] if mirrored else crop
        points, sure = _run(self._mesh, shown.astype(np.float32) / 255, ["conv2d_21", "conv2d_31"])
        inside = points.reshape(POINTS, 3)[:, :2]
        if mirrored:
            inside = out_of_mirror(inside, MESH_PX)
        return inside @ into[:, :2].T + into[:, 2], _share(float(sure.ravel()[0]))

    def eye(
        self, picture: Picture, outer: Float[np.ndarray, "2"], inner: Float[np.ndarray, "2"], *, mirrored: bool
    ) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "16 2"]]:
        """The middle of an iris and the edge of the lids (`LIDS`) in pixels, by the corners of the eye.

        The network knows right eyes: a left one is shown ``mirrored``.
        """
        import cv2

        across = (outer - inner) if mirrored else (inner - outer)
        into = square((outer + inner) / 2, EYE_MARGIN * float(np.linalg.norm(across)), float(np.arctan2(across[1], across[0])), IRIS_PX)
        crop = cv2.warpAffine(picture, into, (IRIS_PX, IRIS_PX), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        shown = (crop[:, ::-1] if mirrored else crop).astype(np.float32) / 255
        iris, around = _run(self._iris, shown, ["output_iris", "output_eyes_contours_and_brows"])
        points = np.concatenate([iris.reshape(5, 3)[:1, :2], around.reshape(71, 3)[:16, :2]]).astype(np.float64)
        if mirrored:
            points[:, 0] = IRIS_PX - 1 - points[:, 0]
        points = points @ into[:, :2].T + into[:, 2]
        return points[0], points[1:]

    def matte(self, picture: Picture) -> Float32[np.ndarray, "rows cols"]:
        """How much of each pixel is a person, 0 to 1. The network sees the picture at 256 pixels."""
        import cv2

        small = cv2.resize(picture, (MATTE_PX, MATTE_PX), interpolation=cv2.INTER_AREA)
        (found,) = _run(self._matte, small.astype(np.float32) / 255, ["activation_10"])
        rows, cols = picture.shape[:2]
        return np.clip(cv2.resize(found.reshape(MATTE_PX, MATTE_PX), (cols, rows), interpolation=cv2.INTER_LINEAR), 0, 1)

    def _faces(self, picture: Picture, corner: tuple[int, int], least: float) -> list[Candidate]:
        import cv2

        rows, cols = picture.shape[:2]
        side = max(rows, cols)
        whole = np.zeros((side, side, 3), np.uint8)
        down, right = (side - rows) // 2, (side - cols) // 2
        whole[down : down + rows, right : right + cols] = picture
        seen = cv2.resize(whole, (DETECTOR_PX, DETECTOR_PX), interpolation=cv2.INTER_AREA).astype(np.float32) / 127.5 - 1
        boxes, scores = _run(self._detector, seen, ["regressors", "classificators"])
        boxes, scores = boxes.reshape(-1, 16), _share(scores.ravel().clip(-80, 80))
        place = np.array([corner[1] - right, corner[0] - down], np.float64)
        found = []
        for k in np.flatnonzero(scores >= least):
            points = (boxes[k].reshape(8, 2) / DETECTOR_PX + _cells()[k]) * side + place  # centre, size, six points
            size = float(boxes[k, 2:4].max()) / DETECTOR_PX * side
            found.append(Candidate(float(scores[k]), points[0], size, points[2:]))
        return found

    @cached_property
    def _detector(self):
        return _network(self.folder / "face_detection_short_range.tflite")

    @cached_property
    def _mesh(self):
        return _network(self.folder / "face_landmark.tflite")

    @cached_property
    def _iris(self):
        return _network(self.folder / "iris_landmark.tflite")

    @cached_property
    def _matte(self):
        return _network(self.folder / "selfie_segmentation.tflite")


@lru_cache
def twins() -> Int[np.ndarray, "468"]:
    """The number that each of the 468 points has in a mirror: left eyes are right ones there."""
    return np.load(TWINS)


def out_of_mirror(points: Float[np.ndarray, "468 2"], width: int) -> Float[np.ndarray, "468 2"]:
    """Points found in a mirrored picture of that width, as they lie in the picture."""
    return points[twins()] * (-1, 1) + (width - 1, 0)


def square(centre: Float[np.ndarray, "2"], size: float, roll: float, px: int) -> Float[np.ndarray, "2 3"]:
    """From pixels of a crop of ``px`` to pixels of the picture. Pixel centres of both lie at whole numbers, as OpenCV has them."""
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]) * size / px
    return np.concatenate([turn, (centre - turn @ np.full(2, (px - 1) / 2))[:, None]], axis=1)


def get_models(folder: Path | None = None, wheel: Path | None = None) -> Path:
    """Put the networks into ``folder``: from a wheel that is here, or from one that pip downloads (36 MB). What is there already stays.

    Errors: InputError when pip cannot get the wheel, or a file in it is another one.
    """
    folder = default_folder() if folder is None else folder
    if all(_is(folder / name, digest) for name, (_, digest) in FILES.items()):
        return folder
    check_place(folder, folder=True)
    if wheel is not None:
        _extract(wheel, folder)
        return folder
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "--only-binary=:all:", *PLATFORM, "--dest", place]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = sorted(Path(place).glob("*.whl"))
        if done.returncode or not wheels:
            said = " ".join((done.stderr or done.stdout or "no wheel").split())[-300:]
            remedy = f"download the wheel of {WHEEL} where there is a network, then: mango assets get mediapipe --wheel FILE"
            raise InputError("mango assets get mediapipe", expected=f"{WHEEL} from a package index", found=said, remedy=remedy)
        _extract(wheels[0], folder)
    return folder


def _extract(wheel: Path, folder: Path) -> None:
    again = f"give the wheel of {WHEEL}"
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = {name: archive.read(f"mediapipe/modules/{module}/{name}") for name, (module, _) in FILES.items()}
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(wheel, expected="a wheel of MediaPipe 0.10.14 to 0.10.21", found=str(error), remedy=again) from error
    for name, (_, digest) in FILES.items():
        if hashlib.sha256(found[name]).hexdigest() != digest:
            raise InputError(f"{wheel}: {name}", expected=f"sha256 {digest[:12]}", found="another file", remedy=again)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in found.items():
        with atomic_file(folder / name) as partial:
            partial.write_bytes(content)


def _check(path: Path, digest: str) -> None:
    if not _is(path, digest):
        found = "another file" if path.exists() else "none"
        remedy = (
            "run `mango assets get mediapipe` (36 MB by pip), or give --models FOLDER, --detector builtin, or --landmarks FILE "
            "(docs/new-identity.md)"
        )
        raise InputError(path, expected=f"a network of sha256 {digest[:12]}...", found=found, remedy=remedy)


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _network(path: Path):
    import cv2

    classic = {"engine": cv2.dnn.ENGINE_CLASSIC} if hasattr(cv2.dnn, "ENGINE_CLASSIC") else {}  # OpenCV 5's other engine hides outputs
    return cv2.dnn.readNetFromTFLite(str(path), **classic)


def _run(network, picture: Float32[np.ndarray, "rows cols 3"], outputs: list[str]) -> list[np.ndarray]:
    network.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
    return list(network.forward(outputs))


def _share(logit):
    return 1 / (1 + np.exp(-logit))


def _cells() -> Float[np.ndarray, "896 2"]:
    """Centres of the detector's cells, in shares of its picture; a cell counts once for each of its candidates."""
    grids = []
    for stride, each in STRIDES:
        steps = (np.arange(DETECTOR_PX // stride) + 0.5) * stride / DETECTOR_PX
        across, down = np.meshgrid(steps, steps)
        grids.append(np.repeat(np.stack([across.ravel(), down.ravel()], axis=1), each, axis=0))
    return np.concatenate(grids)


def _parts(picture: Picture, pieces: int):
    """The picture in overlapping squares, ``pieces`` along the shorter side; each with its first row and column."""
    rows, cols = picture.shape[:2]
    if pieces == 1:
        yield (0, 0), picture
        return
    side = int(np.ceil(min(rows, cols) * 2 / (pieces + 1)))
    starts = lambda extent: np.linspace(0, extent - side, int(np.ceil(2 * extent / side)) - 1).round().astype(int)  # noqa: E731
    for row in starts(rows):
        for col in starts(cols):
            yield (int(row), int(col)), picture[row : row + side, col : col + side]


def _about(picture: Picture, middle: Float[np.ndarray, "2"], size: float) -> Iterator[tuple[tuple[int, int], Picture]]:
    """Squares about a face of that size, as far as they lie in the picture; each with its first row and column."""
    for times in SEEN_AT:
        left, top = np.maximum(np.floor(middle - times * size / 2), 0).astype(int).tolist()
        right, bottom = np.ceil(middle + times * size / 2).astype(int).tolist()
        part = picture[top : max(bottom, 0), left : max(right, 0)]
        if part.size:
            yield (top, left), part


def apart(found: list[Candidate]) -> list[Candidate]:
    """Of candidates for one face the surest."""
    kept: list[Candidate] = []
    for face in sorted(found, key=lambda face: -face.score):
        if all(np.linalg.norm(face.centre - other.centre) > 0.5 * max(face.size, other.size) for other in kept):
            kept.append(face)
    return kept
