"""DiffPoseTalk (Sun et al., "DiffPoseTalk", SIGGRAPH 2024): npz of shape (n, 100), exp (n, 50), pose (n, 6), 25 fps; pose is global 3, jaw
3, of which its programs keep the jaw's first number.
"""

from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from mango.data.formats.guarded import content_of, needed, npz_of, numbers, same_length
from mango.data.formats.recordings import Entry, Options, PersonRecording, Recording, assumed, converted, flame_motion
from mango.data.formats.sounds import sound_beside

CODES = {"shape": 100, "exp": 50, "pose": 6}
OF_OTHERS = {"cam", "tex", "light"}  # DualTalk's and DECA's have these too


def recognise(path: Path) -> str | None:
    if path.is_dir():
        files = _files(path)
        return f"{len(files)} npz files, the first with shape, exp and pose" if files and _fits(files[0]) else None
    return "shape, exp and pose" if _fits(path) else None


def _fits(path: Path) -> bool:
    if content_of(path, 0, start=2) != b"PK":
        return False
    arrays = npz_of(path)
    wide = all(arrays[name].ndim == 2 and arrays[name].shape[1] == width for name, width in CODES.items() if name in arrays)
    return CODES.keys() <= arrays.keys() and not OF_OTHERS & arrays.keys() and wide


def entries(path: Path, options: Options) -> list[Entry]:
    files = _files(path) if path.is_dir() else [path]
    return [Entry(file.stem, (file.stem,), (file,), partial(_recording, file, options)) for file in files]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.npz"))


def _recording(path: Path, options: Options) -> Recording:
    arrays = needed(path, npz_of(path), *CODES)
    codes = {name: numbers(path, name, arrays[name], (None, width)) for name, width in CODES.items()}
    same_length(path, **codes)
    generation = options.flame_version or "2020"
    head, jaw = codes["pose"][:, :3], codes["pose"][:, 3:]
    motion = flame_motion(codes["exp"], codes["shape"].mean(0), neck_pose=head, jaw_pose=jaw, generation=generation)
    beliefs = (
        assumed("25 frames a second and FLAME 2020 (DiffPoseTalk's own programs)"),
        converted("pose 0:3 (global) is neck_pose, rotation is zero; pose 3:6 is jaw_pose; shape is the mean over the clip"),
    )
    rate = Fraction(options.fps or 25).limit_denominator(1001)
    person = PersonRecording(path.stem, motion, sound_beside(path))
    varies = float(np.abs(jaw[:, 1:]).max())
    if varies == 0:
        beliefs += (assumed("the jaw's second and third number are zero: this file went through its programs"),)
    return Recording(path.stem, (person,), rate, beliefs, fps_is_stated=options.fps is not None)
