"""DiffPoseTalk (Sun et al., "DiffPoseTalk", SIGGRAPH 2024): npz of shape (n, 100), exp (n, 50), pose (n, 6), 25 fps; pose is global 3, jaw
3, of which its programs keep the jaw's first number.
"""

from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from mango.data.formats.guarded import content_of, needed, npz_of, numbers, same_length
from mango.data.formats.recordings import Entry, Options, PersonRecording, Recording, Sound, assumed, converted, flame_motion
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
    return recording_of(path, path.stem, path.stem, arrays, sound_beside(path), options)


def recording_of(where: object, id: str, name: str, arrays: Mapping[str, np.ndarray], sound: Sound | None, options: Options) -> Recording:
    """Of arrays by the names of ``CODES``, wherever they lay."""
    codes = {part: numbers(where, part, arrays[part], (None, width)) for part, width in CODES.items()}
    same_length(where, **codes)
    generation = options.flame_version or "2020"
    head, jaw = codes["pose"][:, :3], codes["pose"][:, 3:]
    motion = flame_motion(codes["exp"], codes["shape"].mean(0), neck_pose=head, jaw_pose=jaw, generation=generation)
    beliefs = (
        assumed("25 frames a second and FLAME 2020 (DiffPoseTalk's own programs)"),
        converted("pose 0:3 (global) is neck_pose, rotation is zero; pose 3:6 is jaw_pose; shape is the mean over the clip"),
    )
    rate = Fraction(options.fps or 25).limit_denominator(1001)
    person = PersonRecording(name, motion, sound)
    varies = float(np.abs(jaw[:, 1:]).max())
    if varies == 0:
        beliefs += (assumed("the jaw's second and third number are zero: this file went through its programs"),)
    return Recording(id, (person,), rate, beliefs, fps_is_stated=options.fps is not None)
