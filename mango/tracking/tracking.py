"""One film of a face -> motion labels, camera, matte and voice: everything a dialogue set holds of a person.

    film --25 a second--> detector --points--> flow --> fit --> motion, identity, camera     trust: points, residual, turn of the head
      `--square about the head--> film, matte (a network's, or the fitted head's)     colours of the skin: how well the fit holds still

The detector is MediaPipe's networks, or filters; what they see is steadied by optical flow. Somebody else's points are taken as they are.
Detection is the slow part; what is detected is kept in ``folder``, so that a run that was stopped goes on.
"""

import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.data.atomic import atomic_file
from mango.data.landmarks import landmarks_in_picture
from mango.data.video_writing import write_video
from mango.errors import InputError
from mango.head.conventions import axis_angle_to_matrix
from mango.head.model import Head
from mango.tracking.blinks import with_whole_blinks
from mango.tracking.detection import Box, Following, Seen, compared
from mango.tracking.eyes import gaze
from mango.tracking.face_filters import FaceFilters
from mango.tracking.face_models import FaceModels
from mango.tracking.face_points import SeenPoints
from mango.tracking.films import FilmFacts, Picture, pictures_of, voice_of
from mango.tracking.fitting import Fit, FitConfig, fit
from mango.tracking.point_flow import FILTERS_OFF, NETWORKS_OFF, steadied
from mango.tracking.rest import with_mouth_at_rest
from mango.tracking.square import HAIR, Square, about_the_head
from mango.types import FRAME_RATE, MotionClip, PersonTrack, Side

Told = Callable[[str, int, int], None]  # what is being done, how much of it, of how much

SMALLEST = 64  # pixels of the film that is written
DETECTED = "detected.npz"  # in the folder of a film that is being tracked
DETECTION = 5  # counts up whenever faces are found or followed otherwise, so that no film is tracked by two definitions
FARTHEST_TURN = 55.0  # degrees from the median, beyond which half of the points are guessed
PROFILE = 65.0  # degrees from facing the camera: the same of whoever is filmed from aside all the time
OUTSIDE = 0.05  # share of the points that may lie outside the picture: beyond it nobody sees them
WORST = 4.0  # times the median residual
LEAP = 0.5  # of the face's size, from one frame to the next: nobody is as fast
LOST_FOR = 3  # frames about a lost face or a cut that are not believed
LEAST_TRUSTED = 0.5  # of all frames
PUT_BY_EVERY, MORE = 1500, 0.1  # pictures, and share of those that are put by already: they are written again each time
MOSTLY = 0.8  # of a film: where flow follows less of it, that is said
FROZEN = 5  # pictures in a row that repeat the one before: the film stood still while the sound went on
STILL = 2e-4  # mean movement of points between frames, of the face's size: a still picture


@dataclass(frozen=True)
class TrackConfig:
    """How a film is tracked."""

    size_px: int = 512  # of the square film that is written; smaller faces are not enlarged
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self):
        if self.size_px < SMALLEST:
            raise InputError("--size", expected=f"at least {SMALLEST} pixels", found=str(self.size_px), remedy="512 shows lips well")


@dataclass(frozen=True)
class Scores:
    """How well it went."""

    trusted: float  # share of frames
    miss_px: float  # of face points, median over frames of the root mean square, in pixels of the written film
    miss: float  # the same, of the face's size
    colour: float  # mean change of the skin's colours, at fixed places of the fitted face, over frames; of 255
    tremble: dict[str, float]  # root mean square second difference: expr, jaw_rad, neck_rad
    focal: float  # of the picture's longer side

    def lines(self) -> Iterator[str]:
        yield f"trusted frames {100 * self.trusted:.0f} %"
        yield f"points missed by {self.miss_px:.2f} px ({100 * self.miss:.2f} % of the face's size)"
        yield f"skin colours change by {self.colour:.1f} of 255"
        yield "trembling (second differences) " + ", ".join(f"{name} {value:.4f}" for name, value in self.tremble.items())
        yield f"focal length {self.focal:.2f} times the picture's longer side"


@dataclass(frozen=True)
class Tracked:
    """A person's side of a dialogue, with its films, and what is to be said about it."""

    side: Side
    scores: Scores
    words: tuple[str, ...]  # for whoever reads the report: cuts, other faces, frames that were lost


def track(
    film: FilmFacts,
    person: str,
    folder: Path,
    head: Head,
    models: FaceModels | None,
    config: TrackConfig | None = None,
    *,
    landmarks: SeenPoints | None = None,
    filters: FaceFilters | None = None,
    box: Box | None = None,
    told: Told = lambda what, done, of: None,
) -> Tracked:
    """Films and what was detected go into ``folder``.

    ``landmarks`` of another detector, or ``filters``, stand instead of the networks (the matte is the fitted head's then unless there are
    ``models`` too).
    Errors: InputError where no face is found, several are and no ``box`` says which, or less than half of the frames can be trusted.
    """
    config = config or TrackConfig()
    audio = voice_of(film)  # what is wrong with it is said before an hour of tracking
    seen = _given(film, landmarks, told) if landmarks is not None else detect(film, folder, filters or models, box, told)
    said = []
    if landmarks is None:
        off = NETWORKS_OFF if filters is None else FILTERS_OFF
        flow = steadied(pictures_of(film), seen, off, lambda done: told("optical flow", done, film.frames))
        seen = flow.seen
        if flow.believed < MOSTLY:
            shown = f"{100 * flow.believed:.0f} %"
            said.append(f"optical flow follows the face in {shown} of the film (light? detail?): elsewhere points are as they were found")
    if filters is not None:
        sure = seen.points.confidence > 0.5
        where = "where --box says" if box is not None else "without being told where"
        said.append(f"found by the built-in filters, {where}: a face surely in {100 * float(sure.float().mean()):.0f} % of frames; points "
                    f"followed to the next picture and back return to within {100 * flow.missed:.2g} % of the face's size")  # fmt: skip
    fitted = fit(head, seen.points, film.size, config.fit, lambda what, share: told(what, round(100 * share), 100), cuts=seen.cuts)
    if landmarks is None:
        fitted = replace(fitted, clip=replace(fitted.clip, eyes_pose=gaze(head, fitted, seen.points.points, seen.irises)))
    keep = trusted(seen, fitted, film.size)
    if keep.float().mean() < LEAST_TRUSTED:
        found = f"{100 * float(keep.float().mean()):.0f} %: faces turned away or outside, cuts, pictures that stand still"
        raise InputError(film.path, expected="a face to be followed in at least half of the frames", found=found,
                         remedy="cut the film to where one face looks roughly into the camera")  # fmt: skip
    square = about_the_head(seen.points.points[keep], film.size, config.size_px)
    believed, keep = keep, keep & square.holds(seen.points.points, film.size)
    said += _what_the_square_lacks(film, square, seen, believed, keep)
    cropped = square.intrinsics(fitted.intrinsics)
    video, matte = folder / "film.mp4", folder / "mask.mp4"
    colour = write_films(film, fitted, keep, square, head, models, video, matte, told)
    points68 = landmarks_in_picture(head, fitted.clip, fitted.camera_from_world, cropped)
    from mango.audio.activity import speaking_indicator

    speaking = speaking_indicator(audio)[: film.frames]
    silent = (speaking < 0.5) & speaking.any()  # of a film without speech nobody knows
    motion = with_whole_blinks(head, with_mouth_at_rest(head, fitted.clip, silent, keep), keep)
    side = Side(
        person, audio, speaking, motion,
        PersonTrack(keep, fitted.camera_from_world, cropped, points68, seen.points.confidence.clamp(0, 1)), video, matte,
    )  # fmt: skip
    return Tracked(side, scores(fitted, keep, seen, square, film, colour), (*said, *_words(film, seen, keep, speaking)))


def trusted(seen: Seen, fitted: Fit, size: tuple[int, int]) -> Bool[Tensor, "time"]:
    """Frames that may supervise: a face is there, in the picture (of ``size``: rows, columns), its points agree with a head, it does not
    look away, and the film goes on.
    """
    places, (rows, cols) = seen.points.points, size
    inside = (places >= 0).all(-1) & (places[..., 0] < cols) & (places[..., 1] < rows)
    good = (seen.points.confidence > 0.5) & ((~inside).float().mean(1) <= OUTSIDE) & ~frozen(seen)
    believed = fitted.residual[good]
    good = good & (fitted.residual < WORST * believed.median())
    good = good & (fitted.clip.neck_pose.norm(dim=-1) < np.radians(FARTHEST_TURN)) & (from_the_camera(fitted) < np.radians(PROFILE))
    bad = ~good
    for cut in seen.cuts:
        bad[max(cut - 1, 0) : cut + 1] = True
    widened = torch.nn.functional.max_pool1d(bad.float()[None, None], 2 * LOST_FOR + 1, 1, LOST_FOR)[0, 0]
    return widened == 0


def frozen(seen: Seen) -> Bool[Tensor, "time"]:
    """Pictures of stretches in which nothing moves, as calls and overloaded recorders leave them."""
    repeats = torch.zeros(len(seen.points), dtype=torch.bool)
    repeats[list(seen.repeats)] = True
    whole = repeats.unfold(0, FROZEN, 1).all(1) if len(repeats) >= FROZEN else repeats[:0]
    stood = torch.zeros_like(repeats)
    for first in whole.nonzero()[:, 0].tolist():
        stood[first : first + FROZEN] = True
    return stood


def from_the_camera(fitted: Fit) -> Float[Tensor, "time"]:
    """Angle between where the face looks and where the camera is, in its own direction, radians."""
    forward = axis_angle_to_matrix(fitted.clip.neck_pose)[..., 2]  # the head's z axis
    return torch.acos((-forward @ fitted.camera_from_world[0, 2, :3]).clamp(-1, 1))


def write_films(
    film: FilmFacts,
    fitted: Fit,
    keep: Bool[Tensor, "time"],
    square: Square,
    head: Head,
    models: FaceModels | None,
    video: Path,
    matte: Path,
    told: Told,
) -> float:
    """The square about the head and its matte as films of key frames. Returns how much colours of the fitted skin change, of 255."""
    colours = SkinColours(head, fitted, square)
    with tempfile.TemporaryFile(dir=video.parent) as mattes:  # two films are written from one pass; an hour's mattes fill no memory

        def pictures() -> Iterator[Picture]:
            for number, picture in enumerate(pictures_of(film)):
                part = square.cut(picture)
                if keep[number]:
                    colours.see(part, number)
                alpha = models.matte(part) if models is not None else colours.matte(number)
                packed = zlib.compress(np.rint(255 * alpha).astype(np.uint8).tobytes(), level=1)
                mattes.write(len(packed).to_bytes(4, "little") + packed)
                told("film and matte", number + 1, film.frames)
                yield part

        def alphas() -> Iterator[Picture]:
            mattes.seek(0)
            while size := int.from_bytes(mattes.read(4), "little"):
                alpha = np.frombuffer(zlib.decompress(mattes.read(size)), np.uint8).reshape(square.px, square.px, 1)
                yield np.repeat(alpha, 3, axis=2)

        write_video(video, pictures(), key_frame_every=1)
        write_video(matte, alphas(), key_frame_every=1)
    return colours.change()


class SkinColours:
    """Colours at fixed places of the fitted face, over frames: they would not change if fit and light were perfect."""

    def __init__(self, head: Head, fitted: Fit, square: Square):
        self.head, self.fitted, self.square = head, fitted, square
        self.skin = head.region("face")
        self.intrinsics = square.intrinsics(fitted.intrinsics)
        self.sums, self.squares, self.counts = np.zeros((len(self.skin), 3)), np.zeros((len(self.skin), 3)), np.zeros(len(self.skin))

    def pixels(self, number: int) -> Float[np.ndarray, "verts 2"]:
        clip, camera = self.fitted.clip.frames(slice(number, number + 1)), self.fitted.camera_from_world[0]
        with torch.inference_mode():
            points = self.head.vertices(clip)[0] @ camera[:3, :3].T + camera[:3, 3]
            pixels = points @ self.intrinsics.T
        return (pixels[:, :2] / pixels[:, 2:]).numpy()

    def see(self, picture: Picture, number: int) -> None:
        places = np.floor(self.pixels(number)[self.skin]).astype(int)
        inside = ((places >= 0) & (places < self.square.px)).all(1)
        seen = picture[places[inside, 1], places[inside, 0]].astype(np.float64)
        self.sums[inside] += seen
        self.squares[inside] += seen**2
        self.counts[inside] += 1

    def change(self) -> float:
        enough = self.counts > 5
        mean = self.sums[enough] / self.counts[enough, None]
        spread = np.sqrt(np.maximum(self.squares[enough] / self.counts[enough, None] - mean**2, 0))
        return float(np.median(spread)) if enough.any() else float("nan")

    def matte(self, number: int) -> Float[np.ndarray, "rows cols"]:
        """The fitted head's outline, softened: hair is not in it."""
        import cv2

        outline = cv2.convexHull(np.round(self.pixels(number)[self.head.region("skin")]).astype(np.int32))
        mask = np.zeros((self.square.px, self.square.px), np.float32)
        cv2.fillConvexPoly(mask, outline, 1.0)
        return cv2.GaussianBlur(mask, (0, 0), max(1.0, self.square.px / 128))


def trembling(clip: MotionClip) -> dict[str, float]:
    """Root mean square second differences of expressions, jaw and head."""
    curves = {"expr": clip.expr, "jaw_rad": clip.jaw_pose, "neck_rad": clip.neck_pose}
    return {name: float((curve[2:] - 2 * curve[1:-1] + curve[:-2]).square().mean().sqrt()) for name, curve in curves.items()}


def scores(fitted: Fit, keep: Bool[Tensor, "time"], seen: Seen, square: Square, film: FilmFacts, colour: float) -> Scores:
    face = (seen.points.points.amax(1) - seen.points.points.amin(1)).amax(1)[keep]
    miss = fitted.residual[keep]
    return Scores(
        trusted=float(keep.float().mean()),
        miss_px=float((miss * face).median()) * square.px / square.side,
        miss=float(miss.median()),
        colour=colour,
        tremble=trembling(fitted.clip),
        focal=float(fitted.intrinsics[0, 0]) / max(film.size),
    )


def detect(film: FilmFacts, folder: Path, models: FaceModels | FaceFilters, box: Box | None, told: Told) -> Seen:
    """What an earlier run over the same film saw, and the rest. It is put by in ``folder`` from time to time, and when the run is stopped.

    Errors: InputError where no face is found, several are and no ``box`` says which, or nothing moves.
    """
    check_box(box, film)
    path = folder / DETECTED
    file, by = film.path.stat(), f"{type(models).__name__} {models.digest} {DETECTION}"
    stamp, known = f"{file.st_size} {file.st_mtime_ns} {film.frames} {film.part} {box} {by}", None
    if path.is_file():
        with np.load(path) as content:
            known = dict(content) if str(content["stamp"]) == stamp else None
    following = Following(models, box, known)
    if len(following) < film.frames:
        _look_on(film, following, path, stamp, told)
    seen = following.seen()
    _refuse(film, seen, box, isinstance(models, FaceFilters))
    return seen


def _look_on(film: FilmFacts, following: Following, path: Path, stamp: str, told: Told) -> None:
    def put_by() -> int:
        with atomic_file(path) as partial, partial.open("wb") as file:
            np.savez(file, stamp=np.array(stamp), **following.content())
        return len(following)

    there = len(following)
    try:
        for picture in islice(pictures_of(film), len(following), None):
            following.look(picture)
            told("face points", len(following), film.frames)
            if len(following) >= there + max(PUT_BY_EVERY, MORE * there):
                there = put_by()
    finally:
        put_by()


def check_box(box: Box | None, film: FilmFacts) -> None:
    """Errors: InputError when it is no part of the film's pictures."""
    if box is not None and not (box.x < film.size[1] and box.y < film.size[0] and min(box.x + box.width, box.y + box.height) > 0):
        found = f"{box.width:g}x{box.height:g} at {box.x:g},{box.y:g}"
        raise InputError("--box", expected=f"a part of {film.size[1]}x{film.size[0]} pixels", found=found, remedy="measure it again")


def _given(film: FilmFacts, landmarks: SeenPoints, told: Told) -> Seen:
    if len(landmarks) != film.frames:
        remedy = f"give points of pictures at {FRAME_RATE} a second"
        raise InputError(
            "landmarks",
            expected=f"{film.frames} frames, as the film has at {FRAME_RATE} a second",
            found=str(len(landmarks)),
            remedy=remedy,
        )
    cuts, repeats = compared(pictures_of(film), lambda done: told("cuts", done, film.frames))
    cuts = tuple(sorted({*cuts, *leaps(landmarks)}))
    seen = Seen(landmarks, torch.full((len(landmarks), 2, 2), torch.nan), cuts, (), repeats)
    _refuse(film, seen, None, False)
    return seen


def leaps(seen: SeenPoints) -> list[int]:
    """Frames before which a face was elsewhere: somebody takes another seat before the same wall, and pictures hardly change."""
    low, high = seen.points.amin(1), seen.points.amax(1)
    moved, face = ((low + high) / 2).diff(dim=0).norm(dim=-1), (high - low).amax(1)[1:]
    good = seen.confidence > 0.5
    return ((moved > LEAP * face) & good[1:] & good[:-1]).nonzero()[:, 0].add(1).tolist()


def _refuse(film: FilmFacts, seen: Seen, box: Box | None, by_filters: bool) -> None:
    good = seen.points.confidence > 0.5
    if int(good.sum()) < FRAME_RATE:
        remedy = (
            "give a film in which one face looks roughly into the camera, --box x,y,width,height where it is small, or --landmarks FILE"
        )
        if by_filters:
            remedy = f"get better eyes (mango assets get mediapipe), or {remedy}"
        raise InputError(film.path, expected="a face", found=f"one in {int(good.sum())} of {len(good)} frames", remedy=remedy)
    if box is None and len(seen.crowded) > 0.2 * len(good) / 25:
        at = f"{seen.crowded[0] / FRAME_RATE:.1f} s"
        remedy = "say whose with --box x,y,width,height in the first picture, or of a split screen --split left-right"
        raise InputError(film.path, expected="one face", found=f"several of like size, as at {at}", remedy=remedy)
    points = seen.points.points[good]
    moved = (points[1:] - points[:-1]).norm(dim=-1).mean() / (points.amax(1) - points.amin(1)).amax()
    if float(moved) < STILL:
        remedy = "give a film: one picture shows no movement to learn from"
        raise InputError(film.path, expected="a face that moves", found="a still picture", remedy=remedy)


def _what_the_square_lacks(
    film: FilmFacts, square: Square, seen: Seen, believed: Bool[Tensor, "time"], keep: Bool[Tensor, "time"]
) -> Iterator[str]:
    """Errors: InputError where it holds the head in less than half of the frames."""
    outside = int((believed & ~keep).sum())
    shown = f"{square.side}x{square.side} pixels, of {film.size[1]}x{film.size[0]}"
    if keep.float().mean() < LEAST_TRUSTED:
        remedy = "cut the film to where the face stays in one place, or film from farther away"
        found = f"one that leaves them in {100 * outside / len(keep):.0f} % of the frames"
        raise InputError(film.path, expected=f"a face that stays within {shown}", found=found, remedy=remedy)
    if outside:
        yield f"in {outside} frames the head leaves the square that is written ({shown}): they will not supervise"
    if square.top > 0 and square.room_above(seen.points.points[keep]) < HAIR - 0.01:
        yield f"the face is too large for hair and neck to be in the square that is written ({shown}): film from farther away"


def _words(film: FilmFacts, seen: Seen, keep: Bool[Tensor, "time"], speaking: Float[Tensor, "time"]) -> Iterator[str]:
    if film.rate < 24:
        yield f"{film.rate:.1f} frames a second: fast lips are missed, and pictures repeat"
    yield from film.changes
    if not film.sound:
        yield "no sound: silence"
    if not speaking.any():
        yield "nobody is heard to speak: this film can teach how somebody looks, not how they talk (mango finetune --effort quick)"
    if seen.cuts:
        yield (f"cut, or the face lost and another place taken, {len(seen.cuts)} times, first at {seen.cuts[0] / FRAME_RATE:.2f} s: one "
               "person is assumed before and after (--box says whose face)")  # fmt: skip
    if seen.crowded:
        at = f"{seen.crowded[0] / FRAME_RATE:.1f} s"
        yield f"another face of like size, first at {at}: what of it is in the written square is in the matte, and in the avatar"
    stood = frozen(seen)
    if stood.any():
        yield f"the film stands still in {int(stood.sum())} frames, first at {int(stood.nonzero()[0, 0]) / FRAME_RATE:.2f} s"
    lost = int((~keep).sum())
    if lost:
        yield f"{lost} of {len(keep)} frames are not trusted and will not supervise"
