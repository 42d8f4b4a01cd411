"""DualTalk (Peng et al., "DualTalk: Dual-Speaker Interaction for 3D Talking Head Conversations", CVPR 2025): two people of a video call,
DECA-like codes at 25 fps and 16 kHz float32 wav. Its predictions are .npy (T, 56): expression 50, jaw 3, head 3.

ROOT/{train,test,ood}/NAME_speaker{1,2}.{npz,wav}     ROOT may also be one of these folders, or one prediction
"""

import re
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mango.data.atomic import atomic_file
from mango.data.formats.guarded import content_of, npy_of, npz_of, numbers, same_length
from mango.data.formats.recordings import (
    Assumption,
    Entry,
    FlameMotion,
    Options,
    PersonRecording,
    Recording,
    assumed,
    certain,
    converted,
    flame_motion,
)  # fmt: skip
from mango.data.formats.sounds import sound_beside
from mango.errors import InputError

NAME = re.compile(r"(?P<recording>(?P<video>.+?)(?:_sub_video_.+)?)_speaker(?P<speaker>[12])")
CODES = {"shape": 100, "exp": 50, "pose": 6}
ALSO = ("tex", "cam", "light")
SPLITS = {"train": "train", "test": "test", "ood": "ood"}
FPS = Fraction(25)
PREDICTED = 56
BELIEFS = (
    assumed("25 frames a second and FLAME 2020 (DualTalk's own programs)"),
    converted("pose 0:3 (called neck there, global by its tracker) is neck_pose, rotation is zero; pose 3:6 is jaw_pose"),
    converted("expression 50 padded with zeros to the head's width; shape is the mean over the clip"),
)


def recognise(path: Path) -> str | None:
    if path.is_file():
        if content_of(path, 0, start=6) != b"\x93NUMPY":
            return None
        array = npy_of(path)
        return f"motion of {len(array)} frames in 56 columns" if array.ndim == 2 and array.shape[1] == PREDICTED else None
    for file in _files(path):
        if set(CODES) <= npz_of(file).keys():
            return f"{len(_files(path))} npz files of speakers with shape, exp and pose"
        return None
    return None


def entries(path: Path, options: Options) -> list[Entry]:
    if path.is_file() and path.suffix.lower() != ".npy":
        remedy = "name the folder that holds both speakers' files"
        raise InputError(path, expected="DualTalk's folder, or an .npy of predictions", found=f"one {path.suffix} file", remedy=remedy)
    if path.is_file():
        return [Entry(path.stem, (path.stem,), (path,), partial(_prediction, path, options))]
    pairs: dict[tuple[Path, str], dict[str, Path]] = {}
    for file in _files(path):
        named = NAME.fullmatch(file.stem)
        pairs.setdefault((file.parent, named["recording"]), {})[named["speaker"]] = file
    found = []
    for (folder, recording), files in sorted(pairs.items()):
        people = tuple(f"{NAME.fullmatch(files[k].stem)['video']}_speaker{k}" for k in sorted(files))
        split, both = SPLITS.get(folder.name, "train"), [files[k] for k in sorted(files)]
        found.append(Entry(recording, people, tuple(both), partial(_dialogue, recording, people, both, options), split))
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(file for pattern in ("*.npz", "*/*.npz") for file in folder.glob(pattern) if NAME.fullmatch(file.stem))


def _dialogue(recording: str, people: tuple[str, ...], files: list[Path], options: Options) -> Recording:
    sides, beliefs, vary = [], list(BELIEFS), []
    for person, file in zip(people, files, strict=True):
        codes = {name: numbers(file, name, array, (None, width)) for (name, width), array in zip(CODES.items(), _codes(file), strict=True)}
        same_length(file, **codes)
        vary.append(float(codes["shape"].std(0).max()))
        motion = _motion(codes["exp"], codes["pose"][:, :3], codes["pose"][:, 3:], codes["shape"].mean(0), options)
        sides.append(PersonRecording(person, motion, sound_beside(file)))
    beliefs.append(converted(f"shape varies over the clip by up to {max(vary):.3f} (standard deviation); its mean is kept"))
    if len(files) == 1:
        beliefs.append(certain("one of the two speakers only"))
    return Recording(recording, tuple(sides), _fps(options), tuple(beliefs), fps_is_stated=options.fps is not None)


def _codes(file: Path) -> list[np.ndarray]:
    arrays = npz_of(file)
    missing = [name for name in CODES if name not in arrays]
    if missing:
        raise InputError(file, expected=", ".join(CODES), found=f"no {', '.join(missing)}", remedy="is this file DualTalk's?")
    return [arrays[name] for name in CODES]


def _prediction(path: Path, options: Options) -> Recording:
    flat = numbers(path, "motion", npy_of(path), (None, PREDICTED))
    motion = _motion(flat[:, :50], flat[:, 53:], flat[:, 50:53], np.zeros(100, np.float32), options)
    order = assumed("columns are expression 50, jaw 3, head 3 (DualTalk's predictions; its pose array has the head first)")
    beliefs = (order, *BELIEFS, certain("no shape in a prediction: the average head"))
    person = PersonRecording(path.stem, motion, sound_beside(path))
    return Recording(path.stem, (person,), _fps(options), beliefs, fps_is_stated=options.fps is not None)


def _motion(expr: np.ndarray, head: np.ndarray, jaw: np.ndarray, shape: np.ndarray, options: Options) -> FlameMotion:
    return flame_motion(expr, shape, neck_pose=head, jaw_pose=jaw, generation=options.flame_version or "2020")


def _fps(options: Options) -> Fraction:
    return FPS if options.fps is None else Fraction(options.fps).limit_denominator(1001)


def write(path: Path, motion: FlameMotion) -> list[Assumption]:
    """A prediction, .npy (T, 56); what is lost, in words."""
    expr = np.zeros((len(motion), 50), np.float32)
    width = min(50, motion.expr.shape[1])
    expr[:, :width] = motion.expr[:, :width]
    flat: Float[np.ndarray, "time 56"] = np.concatenate([expr, motion.jaw_pose, motion.neck_pose], axis=1).astype(np.float32)
    with atomic_file(path) as part, part.open("wb") as file:
        np.save(file, flat)
    lost = [f"{name} (up to {np.abs(array).max():.3g})" for name, array in _left_out(motion).items() if np.abs(array).max(initial=0.0) > 0]
    return [converted(f"lost: {', '.join(lost)}" if lost else "nothing lost")]


def _left_out(motion: FlameMotion) -> dict[str, np.ndarray]:
    return {
        "expressions beyond 50": motion.expr[:, 50:], "rotation": motion.rotation, "eyes_pose": motion.eyes_pose,
        "translation": motion.translation, "shape": motion.shape,
    }  # fmt: skip
