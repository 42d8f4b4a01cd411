"""VHAP and GaussianAvatars: FLAME motion of one person under the names that this project uses too, and the pictures that it was tracked in.

SEQUENCE/flame_param/00000.npz ...            one a frame          SEQUENCE/transforms.json   cameras and pictures (vhap_pictures.py)
UNION/transforms_train.json ...               several takes of a person, whose files lie in the folders beside it
FILE.npz (tracked_flame_params_N.npz, motion) all frames, time first
PAIR/dialogue.json                            {fps, persons: [{id, dataset, audio, motion}]}, paths inside PAIR
"""

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from mango.data.atomic import atomic_file
from mango.data.formats.beside import is_our_motion, own_name
from mango.data.formats.frame_records import frame_files, frame_sequence
from mango.data.formats.guarded import content_of, json_of, needed, npz_of, numbers, same_length
from mango.data.formats.recordings import (
    Assumption,
    Entry,
    FlameMotion,
    Options,
    PersonRecording,
    Recording,
    Sound,
    assumed,
    certain,
    converted,
    flame_motion,
)  # fmt: skip
from mango.data.formats.sounds import sound_beside, sound_of
from mango.data.formats.vhap_pictures import View, filmed, transforms_files, views_of
from mango.errors import InputError

PARTS = {"rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
FPS = Fraction(25)
WITH_TEETH, FLAME_VERTICES = 5143, 5023
UNUSED = ("dynamic_offset",)  # zeros as a rule, gigabytes once unpacked


def recognise(path: Path) -> str | None:
    if path.is_file():
        if content_of(path, 0, start=2) != b"PK":
            return None
        arrays = npz_of(path, without=UNUSED)
        if is_our_motion(path):
            return None
        if {"expr", "jaw_pose", "neck_pose", "rotation"} <= arrays.keys() and arrays["expr"].ndim == 2:
            return f"FLAME parameters by name, {len(arrays['expr'])} frames, {arrays['expr'].shape[1]} expressions"
        return None
    if (path / "dialogue.json").is_file() and isinstance(json_of(path / "dialogue.json"), dict):
        people = json_of(path / "dialogue.json").get("persons")
        if isinstance(people, list) and people and all(isinstance(person, dict) and "dataset" in person for person in people):
            return f"a dialogue of {len(people)} VHAP folders"
    folder = path / "flame_param"
    files = frame_files(folder) if folder.is_dir() else []
    if files and {"expr", "jaw_pose"} <= npz_of(files[0]).keys():
        return f"{len(files)} frames of FLAME parameters in flame_param/"
    if not folder.is_dir() and transforms_files(path) and (takes := _takes(views_of(path))):
        return f"{len(takes)} take{'s' if len(takes) > 1 else ''} of FLAME parameters, pictures and cameras in folders beside it"
    return None


def entries(path: Path, options: Options) -> list[Entry]:
    if is_our_motion(path):
        remedy = "it needs no import: `mango render` and `mango export` take it as it is"
        raise InputError(path, expected="FLAME parameters", found="motion of this project (its .json says of which head)", remedy=remedy)
    if path.is_dir() and (path / "dialogue.json").is_file():
        described = needed(path / "dialogue.json", json_of(path / "dialogue.json"), "persons", "fps")
        people = [needed(path / "dialogue.json", person, "id", "dataset") for person in described["persons"]]
        if len(people) not in (1, 2):
            raise InputError(path / "dialogue.json", expected="one or two persons", found=f"{len(people)}", remedy="split the dialogue")
        names = tuple(str(person["id"]) for person in people)
        files = (path / "dialogue.json", *(file for person in people for file in _files(path, person)))
        return [Entry(path.name, names, files, partial(_dialogue, path, people, described["fps"], options))]
    if path.is_dir() and not _parameters(path).is_dir():
        return [
            Entry(take.parent.name, (path.name,), (*transforms_files(path), *_folders(views)), partial(_take, path, take, options))
            for take, views in _takes(views_of(path)).items()
        ]
    sound = sound_beside(path)
    files = (_parameters(path), *([sound.path] if sound else []), *_picture_files(path))
    return [Entry(own_name(path), (own_name(path),), files, partial(_lone, path, options))]


def _files(path: Path, person: dict) -> list[Path]:
    """What is read of a person of a dialogue. Motion of another file is not what the folder's pictures show."""
    folder = _inside(path, person.get("motion") or person["dataset"])
    return [_parameters(folder), *([_inside(path, person["audio"])] if person.get("audio") else []), *_picture_files(folder)]


def _picture_files(path: Path) -> list[Path]:
    """What the pictures of a sequence are read from."""
    return [*transforms_files(path), *_folders(views_of(path))] if path.is_dir() else []


def _folders(views: Iterable[View]) -> list[Path]:
    return list(dict.fromkeys(file.parent for view in views for file in (view.motion, view.picture, view.mask) if file is not None))


def _takes(views: Sequence[View]) -> dict[Path, list[View]]:
    """Pictures by the folder of their FLAME parameters: each is a piece of uninterrupted time."""
    takes: dict[Path, list[View]] = {}
    for view in views:
        if view.motion is not None:
            takes.setdefault(view.motion.parent, []).append(view)
    return takes


def _parameters(path: Path) -> Path:
    return path if path.is_file() else path / "flame_param"


def _dialogue(path: Path, people: list[dict], fps: object, options: Options) -> Recording:
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 1 <= fps <= 1000:
        raise InputError(path / "dialogue.json", expected="fps as a number", found=repr(fps)[:40], remedy="correct it")
    sides, beliefs = [], []
    rate = Fraction(options.fps or fps).limit_denominator(1001)
    for person in people:
        sound = sound_of(_inside(path, person["audio"])) if person.get("audio") else None
        side, said = _person(str(person["id"]), _inside(path, person.get("motion") or person["dataset"]), sound, rate, options)
        sides.append(side)
        beliefs += said
    return Recording(path.name, tuple(sides), rate, tuple(dict.fromkeys(beliefs)), fps_is_stated=True)


def _inside(folder: Path, name: object) -> Path:
    path = folder / str(name)
    if not path.resolve().is_relative_to(folder.resolve()):
        remedy = "copy the files into the folder"
        raise InputError(folder / "dialogue.json", expected="paths inside the folder", found=str(name)[:80], remedy=remedy)
    return path


def _lone(path: Path, options: Options) -> Recording:
    rate, beliefs = _rate(options)
    person, said = _person(own_name(path), path, sound_beside(path), rate, options)
    return Recording(own_name(path), (person,), rate, (*said, *beliefs), fps_is_stated=options.fps is not None)


def _take(path: Path, take: Path, options: Options) -> Recording:
    """One of several takes of a person: as many recordings, for time does not go on from one to the next."""
    rate, beliefs = _rate(options)
    person, said = _pictured(path.name, path, _takes(views_of(path))[take], [], sound_beside(take.parent), rate, options)
    return Recording(take.parent.name, (person,), rate, (*said, *beliefs), fps_is_stated=options.fps is not None)


def _rate(options: Options) -> tuple[Fraction, list[Assumption]]:
    if options.fps is None:
        return FPS, [assumed("25 frames a second (these files do not say; --fps states it)")]
    return Fraction(options.fps).limit_denominator(1001), []


def _person(name: str, path: Path, sound: Sound | None, rate: Fraction, options: Options) -> tuple[PersonRecording, list[Assumption]]:
    folder = _parameters(path)
    views = views_of(path) if path.is_dir() else []
    if views:
        return _pictured(name, path, views, frame_files(folder) if folder.is_dir() else [], sound, rate, options)
    motion, beliefs = _read(path, frame_sequence(folder) if folder.is_dir() else [], options)
    return PersonRecording(name, motion, sound), beliefs


def _pictured(
    name: str, path: Path, views: list[View], files: list[Path], sound: Sound | None, rate: Fraction, options: Options
) -> tuple[PersonRecording, list[Assumption]]:
    """Motion in the order of timesteps, and what one camera saw of it."""
    times = _times(path, views, files)
    motion, beliefs = _read(path, list(times.values()), options)
    seen = filmed(path, views, list(times), motion, rate, options.camera)
    if seen is None:
        beliefs.append(converted("not one of the pictures that transforms.json names is here: motion alone"))
        return PersonRecording(name, motion, sound), beliefs
    return PersonRecording(name, motion, sound, seen.film, seen.valid, seen.mask_film, seen.camera), [*beliefs, *seen.words]


def _times(path: Path, views: Sequence[View], files: Sequence[Path]) -> dict[int, Path]:
    """The parameters of each timestep: what its pictures name, else the file of that number."""
    times: dict[int, Path] = {}
    for view in views:
        if view.motion is not None and times.setdefault(view.timestep, view.motion) != view.motion:
            found = f"{times[view.timestep].name} and {view.motion.name}"
            raise InputError(path, expected=f"one flame_param_path of timestep {view.timestep}", found=found, remedy="export it again")
    named = set(times.values())
    for file in files:
        digits = re.findall(r"\d+", file.stem)
        if file not in named and digits:
            times.setdefault(int(digits[-1]), file)
    missing = next((t for t in range(min(times, default=0), max(times, default=0) + 1) if t not in times), None)
    missing = next((view.timestep for view in views if view.timestep not in times), missing)
    if missing is not None:
        remedy = "track these frames too, or split the sequence there"
        raise InputError(path, expected=f"FLAME parameters of timestep {missing}", found="none", remedy=remedy)
    return dict(sorted(times.items()))


def _read(path: Path, files: Sequence[Path], options: Options) -> tuple[FlameMotion, list[Assumption]]:
    """One file of all frames, or of a folder those of each."""
    if path.is_file():
        arrays = npz_of(path, without=UNUSED)
    else:
        frames = [npz_of(file, without=UNUSED) for file in files]
        if not frames:
            raise InputError(path, expected="frames in flame_param/", found="none", remedy="name the folder of one sequence")
        each = {name: np.concatenate([_row(path, name, frame) for frame in frames]) for name in ("expr", *PARTS) if name in frames[0]}
        arrays = each | {name: frames[0][name] for name in ("shape", "static_offset") if name in frames[0]}
    needed(path, arrays, "expr", "neck_pose", "jaw_pose")
    parts = {name: numbers(path, name, arrays[name], (None, width)) for name, width in PARTS.items() if name in arrays}
    expr = numbers(path, "expr", arrays["expr"], (None, None))
    same_length(path, expr=expr, **parts)
    shape = arrays.get("shape", np.zeros(300, np.float32))
    shape = numbers(path, "shape", shape[0] if shape.ndim == 2 else shape, (None,))
    beliefs = [certain("parts by name: " + ", ".join(f"{name} {np.shape(array)}" for name, array in {"expr": expr, **parts}.items()))]
    generation = options.flame_version
    if generation is None and not {"format", "head"} & arrays.keys():
        generation = "2023"
        beliefs.append(assumed("FLAME 2023 with jaw rotation (VHAP's own programs; the files do not say: --flame-version states it)"))
    if "static_offset" in arrays:
        vertices = arrays["static_offset"].shape[-2] if arrays["static_offset"].ndim >= 2 else 0
        kind = {FLAME_VERTICES: "FLAME's 5023", WITH_TEETH: "5143, with the teeth that VHAP adds"}.get(vertices, str(vertices))
        size = float(np.abs(arrays["static_offset"]).max(initial=0.0)) * 1000
        beliefs.append(
            converted(f"static_offset of {kind} vertices, up to {size:.2f} mm, is left out: it belongs to the avatar, not to motion")
        )
    return flame_motion(expr, shape, generation=generation, **parts), beliefs


def _row(path: Path, name: str, frame: dict[str, np.ndarray]) -> np.ndarray:
    values = needed(path, frame, name)[name]
    return values[None] if values.ndim == 1 else values


def write(path: Path, motion: FlameMotion, *, vertices: int = WITH_TEETH) -> list[Assumption]:
    """One npz that GaussianAvatars' viewer plays with --motion_path: float32 alone, a zero ``dynamic_offset`` (the viewer wants
    one), expression padded to 100 and shape to 300 where they are narrower.
    """
    frames = len(motion)
    arrays = {name: getattr(motion, name) for name in PARTS} | {"expr": _padded(motion.expr, 100), "shape": _padded(motion.shape, 300)}
    arrays |= {"static_offset": np.zeros((1, vertices, 3)), "dynamic_offset": np.zeros((frames, vertices, 3))}
    with atomic_file(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **{name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()})
    return [converted("nothing lost; the viewer keeps its avatar's own shape and offsets")]


def _padded(array: np.ndarray, width: int) -> np.ndarray:
    missing = max(0, width - array.shape[-1])
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])
