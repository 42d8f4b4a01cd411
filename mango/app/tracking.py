"""`mango track` and `mango assets get`: what they are told, what they print, in what order they work."""

import shlex
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mango.data.atomic import alone_in, check_place
from mango.data.dialogues import SAMPLES_PER_FRAME, create_dialogue_set, lone_dialogue, write_dialogue
from mango.data.formats.recordings import as_name
from mango.data.video_cutting import cut_film
from mango.errors import InputError
from mango.head.model import Head, load_head
from mango.progress import Progress
from mango.tracking.detection import Box
from mango.tracking.face_filters import FaceFilters
from mango.tracking.face_models import FaceModels, any_here, get_models
from mango.tracking.face_points import IBUG, MEDIAPIPE, SeenPoints, places_on
from mango.tracking.films import FilmFacts, facts_of, halves, voice_of
from mango.tracking.sheet import is_sheet, write_sheet
from mango.tracking.split_sound import with_voices
from mango.tracking.tracking import TrackConfig, Tracked, check_box, detect, track
from mango.types import FRAME_RATE, PERSONS, Dialogue, Side

SHORT, HELD_OUT = 250, 0.15  # frames below which nothing is held out; share of a longer film that is
IRISES = 10  # points that may follow MediaPipe's 468
SMALLEST_FACE = 8.0  # pixels, below which points are none: detectors write zeros where they lost a face
GROWING = "set"  # in OUT.tracking
STRAY = ("Thumbs.db", "desktop.ini")  # beside hidden files


def track_films(
    films: Sequence[Path], out: Path, *, names: Sequence[str], head: str, detector: str, models: Path | None, landmarks: Sequence[Path],
    box: Sequence[str], split: str | None, voices: str | None, voice: Sequence[Path], size_px: int, licence: str, told,
) -> None:  # fmt: skip
    """A dialogue set of one dialogue in ``out``; what is half done lies in OUT.tracking."""
    if split is not None:
        if len(films) != 1:
            found, remedy = f"{len(films)} films", "leave --split out for films of one person each"
            raise InputError("--split", expected="one film that shows both people", found=found, remedy=remedy)
        films = films * 2
    elif voices is not None:
        raise InputError(
            "--voices", expected="--split", found="none", remedy="a film of one person has that person's sound; or give --voice FILE"
        )
    if not 1 <= len(films) <= len(PERSONS):
        raise InputError("films", expected="one film, or two of people who talk to each other", found=str(len(films)), remedy="name them")
    if out.exists():
        raise InputError(out, expected="nothing yet", found="a file or folder", remedy="choose another name, or remove it")
    check_place(out, folder=True)
    sheet, half_done = sheet_of(out), out.with_name(f"{out.name}.tracking")
    if sheet.exists() and not is_sheet(sheet):
        expected = "nothing yet, or an earlier sheet: one to look at goes there"
        raise InputError(sheet, expected=expected, found="something else", remedy="move it away")
    others = [path.name for path in _inside(half_done) if not (path.name in (*PERSONS, GROWING) or path.suffix == ".mp4")]
    if others:
        found, remedy = f"{others[0]} there, too", "move that away, or choose another --out"
        raise InputError(half_done, expected="what mango track has half done", found=found, remedy=remedy)
    if landmarks and len(landmarks) != len(films):
        raise InputError("--landmarks", expected=f"{len(films)}, one for each film", found=str(len(landmarks)), remedy="name them in order")
    if box and landmarks:
        raise InputError("--box", expected="nothing, for --landmarks say which face", found=box[0], remedy="leave one of them out")
    if box and split is not None:
        raise InputError("--box", expected="nothing, for a half of a split screen holds one face", found=box[0], remedy="leave one out")
    if box and len(box) != len(films):
        raise InputError("--box", expected=f"{len(films)}, one for each film", found=str(len(box)), remedy="name them in order")
    if landmarks and detector != "auto":
        raise InputError(
            "--detector", expected="nothing, for --landmarks say where faces are", found=detector, remedy="leave one of them out"
        )
    boxes = [parsed_box(text) for text in box] or [None] * len(films)
    people, config, known = _people(films, names), TrackConfig(size_px=size_px), load_head(head)
    whole = [facts_of(path) for path in films] if split is None else list(halves(facts_of(films[0]), split))
    given = [read_landmarks(path, film.frames) for path, film in zip(landmarks, whole, strict=True)] if landmarks else [None] * len(films)
    for points in given:
        places_on(known, MEDIAPIPE if points is None else points.points.shape[1])  # a head that cannot be fitted is said at once
    frames = min(film.frames for film in whole)
    facts, heard = with_voices([replace(film, seconds=frames / FRAME_RATE) for film in whole], voices, voice, split=split is not None)
    networks, by_filters = detectors(detector, models, landmarks=bool(landmarks))
    shown = [film.path.name if split is None else f"{film.path.name}, {person}" for film, person in zip(facts, people, strict=True)]
    filters = FaceFilters() if by_filters else None
    for film, full, title, where in zip(facts, whole, shown, boxes, strict=True):
        print(f"{title}: {full.seconds:.1f} s of {film.size[1]}x{film.size[0]} at {film.rate:.4g} frames a second{heard}")
        if full.frames > frames:
            print(f"  used up to {frames / FRAME_RATE:.1f} s, where the other film ends")
        check_box(where, film)
        voice_of(film)
    tracked = []
    with alone_in(half_done, "tracking"):
        folders = [half_done / side for side in PERSONS[: len(films)]]
        for film, folder, points, where in zip(facts, folders, given, boxes, strict=True):
            folder.mkdir(exist_ok=True)
            if points is None:  # of all films: what has no face is refused before another one is fitted
                detect(film, folder, filters or networks, where, told)
        for film, title, person, folder, points, where in zip(facts, shown, people, folders, given, boxes, strict=True):
            found = track(
                film, person, folder, known, networks, config, landmarks=None if points is None else points.first(frames),
                filters=filters, box=where, told=told,
            )  # fmt: skip
            tracked.append(found)
            print(f"{title}:")
            for line in (*found.words, *found.scores.lines()):
                print(f"  {line}")
        write(out, half_done, tracked, facts, known, licence)
    data, seen = (shlex.quote(str(path)) for path in (out, sheet))
    print(f"wrote {data}; look at {seen}; next: mango finetune --data {data} --person {people[0]} --checkpoint RUN --out OUT (and "
          "--measure-gain, unless RUN learnt from films of mango track)")  # fmt: skip


def _inside(folder: Path) -> list[Path]:
    """What lies there but for what systems put anywhere; of a file, itself; of nothing, nothing."""
    found = list(folder.iterdir()) if folder.is_dir() else [folder] if folder.exists() else []
    return [path for path in found if not path.name.startswith(".") and path.name not in STRAY]


def detectors(detector: str, models: Path | None, *, landmarks: bool) -> tuple[FaceModels | None, bool]:
    """Networks, for faces and mattes, and whether filters find faces instead. Beside landmarks or filters, networks are for mattes."""
    networks = FaceModels(models) if models is not None or any_here() else None
    if landmarks:
        return networks, False
    if detector == "mediapipe" or (detector == "auto" and networks is not None):
        return networks or FaceModels(models), False
    if detector == "auto":
        print("no networks here (mango assets get mediapipe): faces are found by the built-in filters, which are less exact")
    return networks, True


def write(out: Path, half_done: Path, tracked: Sequence[Tracked], films: Sequence[FilmFacts], head: Head, licence: str) -> None:
    """The set, in a folder that gets its name when it is whole; then what was half done goes."""
    import shutil

    growing = half_done / GROWING
    shutil.rmtree(growing, ignore_errors=True)
    id = as_name(films[0].path.stem)
    whole = dialogue_of(id, [found.side for found in tracked])
    people = {found.side.person: {"source": film.path.name} for found, film in zip(tracked, films, strict=True)}
    parts = {"train": part_of(whole, id, 0, learnt_from(whole.frames), half_done)}
    if learnt_from(whole.frames) < whole.frames:
        parts["val"] = part_of(whole, f"{id}-held-out", learnt_from(whole.frames), whole.frames, half_done)
    create_dialogue_set(growing, head, people, {split: [part.id] for split, part in parts.items()} | {"share_people": True})
    source = ", ".join(dict.fromkeys(film.path.name for film in films))
    for part in parts.values():
        write_dialogue(growing, part, source=source, licence=licence, created_by="mango track", move_videos=True)
    write_sheet(sheet_of(out), whole, head, learnt_from(whole.frames))
    growing.rename(out)
    shutil.rmtree(half_done)


def learnt_from(frames: int) -> int:
    """How many of a film's first frames are for training; the rest says how good an avatar became."""
    return frames if frames < SHORT else round((1 - HELD_OUT) * frames)


def part_of(whole: Dialogue, id: str, first: int, last: int, folder: Path) -> Dialogue:
    """Frames ``first`` to ``last`` - 1, films cut into ``folder``."""
    sides = {}
    for person, side in whole.sides.items():
        if side.track is None:
            sound = side.audio[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME]
            sides[person] = replace(side, audio=sound, speaking=side.speaking[first:last])
            continue
        films = {}
        for name in ("video", "mask_video"):
            films[name] = folder / f"{id}.{person}.{name}.mp4"
            cut_film(getattr(side, name), films[name], first, last)
        window = slice(first, last)
        track = replace(side.track, **{name: getattr(side.track, name)[window] for name in ("keep", "landmarks", "confidence")})
        sides[person] = replace(
            side, audio=side.audio[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME], speaking=side.speaking[window],
            motion=side.motion.frames(window), track=track, **films,
        )  # fmt: skip
    return Dialogue(id, last - first, sides)


def sheet_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.png")


def dialogue_of(id: str, sides: Sequence[Side]) -> Dialogue:
    """Of one person, or of two over the same frames."""
    frames = len(sides[0].speaking)
    return lone_dialogue(id, sides[0], frames) if len(sides) == 1 else Dialogue(id, frames, dict(zip(PERSONS, sides, strict=True)))


def read_landmarks(path: Path, frames: int) -> SeenPoints:
    """A detector's points from a .npy (frames, points, 2 or 3), or a .npz with ``points`` and perhaps ``confidence``; pixels.

    Frames that are not finite, or whose points lie all in one place, have no face.

    Errors: InputError for other files and shapes, another number of frames, and for shares of the picture's size instead of pixels.
    """
    expected, again = f".npy or .npz of (frames, {IBUG} or {MEDIAPIPE}, 2) pixels", "write the points again"
    try:
        content = np.load(path, allow_pickle=False)
        content = {"points": content} if isinstance(content, np.ndarray) else {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(path, expected=expected, found=" ".join(str(error).split())[:100], remedy=again) from error
    points, sure = content.get("points"), content.get("confidence")
    if points is None or points.ndim != 3 or points.dtype.kind not in "fiu" or points.shape[2] not in (2, 3):
        raise InputError(path, expected=expected, found="no array `points`" if points is None else _words(points), remedy=again)
    if points.shape[1] == MEDIAPIPE + IRISES:
        points = points[:, :MEDIAPIPE]
    if points.shape[1] not in (IBUG, MEDIAPIPE):
        raise InputError(path, expected=expected, found=_words(points), remedy=again)
    if len(points) != frames:
        remedy = f"give points of pictures at {FRAME_RATE} a second"
        raise InputError(path, expected=f"{frames} frames, as the film has at {FRAME_RATE} a second", found=str(len(points)), remedy=remedy)
    if sure is not None and (sure.shape != (frames,) or sure.dtype.kind not in "fiub"):
        raise InputError(path, expected=f"`confidence` of ({frames},)", found=_words(sure), remedy=again)
    points = points[..., :2].astype(np.float32)
    finite = np.isfinite(points).all((1, 2))
    there = finite & (np.ptp(np.nan_to_num(points), axis=1).max(1) >= SMALLEST_FACE)
    if finite.any() and np.abs(points[finite]).max() <= 2:
        remedy = "multiply by the picture's width and height"
        raise InputError(path, expected="pixels", found="numbers up to 2: shares of the picture's size?", remedy=remedy)
    believed = there if sure is None else np.where(there, np.nan_to_num(sure.astype(np.float32)), 0).clip(0, 1)
    return SeenPoints(torch.from_numpy(np.nan_to_num(points)), torch.from_numpy(believed.astype(np.float32)))


def _words(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"


def parsed_box(text: str) -> Box:
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError as error:
        remedy = "measure it in the first picture"
        raise InputError("--box", expected="x,y,width,height in pixels", found=repr(text), remedy=remedy) from error
    return Box(x, y, width, height)


def get_assets(name: str, folder: Path | None, wheel: Path | None) -> None:
    if name != "mediapipe":
        raise InputError("mango assets get", expected="mediapipe", found=repr(name), remedy="nothing else is to be had")
    print(f"networks that find faces (MediaPipe's, Apache-2.0): {get_models(folder, wheel)}")


@contextmanager
def told_on_the_console():
    """A bar for each thing that is being done, one after the other."""
    with ExitStack() as current:
        doing, bar = None, None

        def told(what: str, done: int, of: int) -> None:
            nonlocal doing, bar
            if what != doing:
                current.close()
                doing, bar = what, current.enter_context(Progress(what, stderr=True))
            bar.update(done, of)

        yield told


def _people(films: Sequence[Path], names: Sequence[str]) -> list[str]:
    people = [as_name(name) for name in names] if names else [as_name(film.stem) for film in films]
    for name, person in zip(names, people, strict=False):
        if name != person:
            print(f"{name} is called {person}: names of a set, which are folder names too, have plain letters, digits, . _ and -")
    if len(people) != len(films) or len(set(people)) < len(people):
        remedy = "give --person once for each film, each time another name"
        raise InputError("--person", expected=f"{len(films)} different names", found=", ".join(people), remedy=remedy)
    return people
