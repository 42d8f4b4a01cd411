"""`mango track` and `mango assets get`: what they are told, what they print, in what order they work."""

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from mango.data.dialogues import Dialogue, create_dialogue_set, lone_dialogue, write_dialogue
from mango.data.formats.recordings import as_name
from mango.errors import InputError
from mango.head.model import Head, load_head
from mango.tracking.detection import Box
from mango.tracking.face_models import FaceModels, get_models
from mango.tracking.face_points import IBUG, MEDIAPIPE, SeenPoints
from mango.tracking.films import FilmFacts, facts_of
from mango.tracking.sheet import write_sheet
from mango.tracking.tracking import TrackConfig, Tracked, track
from mango.types import PERSONS, MotionClip, PersonTrack, Side

IRISES = 10  # points that may follow MediaPipe's 468


def track_films(
    films: Sequence[Path], out: Path, *, names: Sequence[str], head: str, models: Path | None, landmarks: Sequence[Path], box: str | None,
    size_px: int, licence: str, told,
) -> None:  # fmt: skip
    """A dialogue set of one dialogue in ``out``; what is half done lies in OUT.tracking."""
    if not 1 <= len(films) <= len(PERSONS):
        raise InputError("films", expected="one film, or two of people who talk to each other", found=str(len(films)), remedy="name them")
    if out.exists():
        raise InputError(out, expected="nothing yet", found="a file or folder", remedy="choose another name, or remove it")
    if landmarks and len(landmarks) != len(films):
        raise InputError("--landmarks", expected=f"{len(films)}, one for each film", found=str(len(landmarks)), remedy="name them in order")
    known, networks = load_head(head), None
    if not landmarks:
        networks = FaceModels(models)
    elif models is not None:
        networks = FaceModels(models)  # for mattes
    facts = [facts_of(path) for path in films]
    people = _people(films, names)
    half_done = out.with_name(f"{out.name}.tracking")
    tracked = []
    for number, (film, person) in enumerate(zip(facts, people, strict=True)):
        print(f"{film.path.name}: {film.seconds:.1f} s of {film.size[1]}x{film.size[0]} at {film.rate:.4g} frames a second")
        points = read_landmarks(landmarks[number]) if landmarks else None
        folder = half_done / PERSONS[number]
        folder.mkdir(parents=True, exist_ok=True)
        found = track(
            film, person, folder, known, networks, TrackConfig(size_px=size_px), landmarks=points, box=parsed_box(box), told=told
        )  # fmt: skip
        tracked.append(found)
        for line in (*found.words, *found.scores.lines()):
            print(f"  {line}")
    write(out, half_done, tracked, facts, known, licence)
    print(f"wrote {out}; look at {sheet_of(out)}; next: mango finetune --data {out} --person {people[0]} --checkpoint RUN --out RUN")


def write(out: Path, half_done: Path, tracked: Sequence[Tracked], films: Sequence[FilmFacts], head: Head, licence: str) -> None:
    """The set, in a folder that gets its name when it is whole; then what was half done goes."""
    import shutil

    growing = half_done / "set"
    shutil.rmtree(growing, ignore_errors=True)
    id = as_name(films[0].path.stem)
    dialogue = dialogue_of(id, [found.side for found in tracked])
    people = {found.side.person: {"source": film.path.name} for found, film in zip(tracked, films, strict=True)}
    create_dialogue_set(growing, head, people, {"train": [id]})
    source = ", ".join(film.path.name for film in films)
    write_dialogue(growing, dialogue, source=source, licence=licence, created_by="mango track")
    write_sheet(sheet_of(out), growing, id, head)
    growing.rename(out)
    shutil.rmtree(half_done)


def sheet_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.png")


def dialogue_of(id: str, sides: Sequence[Side]) -> Dialogue:
    """Of one person, or of two over the shorter film's frames."""
    frames = min(len(side.speaking) for side in sides)
    sides = [_first(side, frames) for side in sides]
    if len(sides) == 1:
        return lone_dialogue(id, sides[0], frames)
    return Dialogue(id, frames, dict(zip(PERSONS, sides, strict=True)))


def read_landmarks(path: Path) -> SeenPoints:
    """A detector's points from a .npy (frames, points, 2 or 3), or a .npz with ``points`` and perhaps ``confidence``; pixels.

    Errors: InputError for other files and shapes.
    """
    expected = f".npy or .npz of (frames, {IBUG} or {MEDIAPIPE}, 2) pixels"
    try:
        content = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(path, expected=expected, found=" ".join(str(error).split())[:100], remedy="write the points again") from error
    points = content if isinstance(content, np.ndarray) else dict(content).get("points")
    if points is None or points.ndim != 3 or points.dtype.kind != "f" or points.shape[2] not in (2, 3):
        found = "no array `points`" if points is None else f"{points.dtype} {points.shape}"
        raise InputError(path, expected=expected, found=found, remedy="write the points again")
    if points.shape[1] == MEDIAPIPE + IRISES:
        points = points[:, :MEDIAPIPE]
    finite = np.isfinite(points[..., :2]).all((1, 2))
    sure = finite.astype(np.float32)
    if not isinstance(content, np.ndarray) and "confidence" in content:
        sure = np.where(finite, content["confidence"].astype(np.float32), 0)
    return SeenPoints(torch.from_numpy(np.nan_to_num(points[..., :2]).astype(np.float32)), torch.from_numpy(sure))


def parsed_box(text: str | None) -> Box | None:
    if text is None:
        return None
    try:
        return Box(*(float(part) for part in text.split(",")))
    except (TypeError, ValueError) as error:
        raise InputError(
            "--box", expected="x,y,width,height in pixels", found=repr(text), remedy="measure it in the first picture"
        ) from error


def get_assets(name: str, folder: Path | None, wheel: Path | None) -> None:
    if name != "mediapipe":
        raise InputError("mango assets get", expected="mediapipe", found=repr(name), remedy="nothing else is to be had")
    print(f"networks that find faces (MediaPipe's, Apache-2.0): {get_models(folder, wheel)}")


@contextmanager
def told_on_the_console():
    """A bar for each thing that is being done."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bars:
        tasks = {}

        def told(what: str, done: int, of: int) -> None:
            if what not in tasks or done == 1:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done, total=of)

        yield told


def _people(films: Sequence[Path], names: Sequence[str]) -> list[str]:
    people = [as_name(name) for name in names] if names else [as_name(film.stem) for film in films]
    if len(people) != len(films) or len(set(people)) < len(people):
        remedy = "give --person once for each film"
        raise InputError("--person", expected=f"{len(films)} different names", found=", ".join(people), remedy=remedy)
    return people


def _first(side: Side, frames: int) -> Side:
    """The side's first frames; films are cut where they are written."""
    from dataclasses import replace

    track: PersonTrack = side.track
    motion: MotionClip = side.motion.frames(slice(frames))
    short = replace(track, keep=track.keep[:frames], landmarks=track.landmarks[:frames], confidence=track.confidence[:frames])
    return replace(side, audio=side.audio[: frames * 640], speaking=side.speaking[:frames], motion=motion, track=short)
