"""ARTalk and UniLS (Chu et al.): motion codes in one flat vector a frame, 25 fps. `.pt` of (T, 106) = expression 100, head 3, jaw 3; (T,
112) has left and right eye 3 each behind; (T, 108) = expression 100, head 3, jaw's first, and two of each eye, as UniLS's model sees
them.
"""

from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mango.data.formats.guarded import numbers
from mango.data.formats.recordings import (
    Assumption,
    Entry,
    FlameMotion,
    Generation,
    Options,
    PersonRecording,
    Recording,
    assumed,
    certain,
    converted,
    flame_motion,
)  # fmt: skip
from mango.data.formats.sounds import sound_beside
from mango.data.formats.torch_files import is_torch_file, torch_content

WIDTHS = (106, 108, 112)
CENTRED = 1e-4  # radians of mean head turn


def recognise(path: Path) -> str | None:
    if not path.is_file() or not is_torch_file(path):
        return None
    codes = torch_content(path)
    fits = isinstance(codes, np.ndarray) and codes.ndim == 2 and codes.shape[1] in WIDTHS
    return f"motion codes {codes.shape}" if fits else None


def entries(path: Path, options: Options) -> list[Entry]:
    return [Entry(path.stem, (path.stem,), (path,), partial(_recording, path, options))]


def _recording(path: Path, options: Options) -> Recording:
    motion, beliefs = motion_of_codes(path, torch_content(path), options.flame_version)
    person = PersonRecording(path.stem, motion, sound_beside(path))
    rate = Fraction(options.fps or 25).limit_denominator(1001)
    return Recording(path.stem, (person,), rate, tuple(beliefs), fps_is_stated=options.fps is not None)


def motion_of_codes(where: object, codes: object, generation: Generation | None) -> tuple[FlameMotion, list[Assumption]]:
    """Of any of the three widths."""
    codes = numbers(where, "motion codes", codes, (None, None))
    width = codes.shape[1]
    if width not in WIDTHS:
        numbers(where, "motion codes", codes, (None, 106))
    head = codes[:, 100:103]
    beliefs = [
        assumed(f"25 frames a second; {width} columns: expression 100, head 3, jaw {'1, eyes 2 + 2' if width == 108 else 3}"
                + (", eyes 3 + 3" if width == 112 else "")),
        converted("the head's turn (global) is neck_pose, rotation is zero; no shape: the average head"),
    ]  # fmt: skip
    mean = float(np.abs(head.mean(0)).max())
    if mean < CENTRED:
        beliefs.append(
            certain(f"the head's mean turn was taken out (mean {mean:.1e} rad): it looks straight ahead whatever the person did")
        )
    if generation is None:
        generation = "2020"
        beliefs.append(assumed("FLAME 2020 (UniLS's own programs)"))
    parts = {"neck_pose": head, "jaw_pose": codes[:, 103:106]}
    if width == 108:
        parts["jaw_pose"] = _with_zeros(codes[:, 103:104], 3)
        parts["eyes_pose"] = np.concatenate([_with_zeros(codes[:, 104:106], 3), _with_zeros(codes[:, 106:108], 3)], axis=1)
    elif width == 112:
        parts["eyes_pose"] = codes[:, 106:112]
    return flame_motion(codes[:, :100], np.zeros(300, np.float32), generation=generation, **parts), beliefs


def _with_zeros(array: Float[np.ndarray, "time some"], width: int) -> Float[np.ndarray, "time width"]:
    return np.pad(array, [(0, 0), (0, width - array.shape[1])])
