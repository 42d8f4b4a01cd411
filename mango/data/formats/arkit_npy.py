"""ARKit weights without names: .npy (T, 52), or (T, 61) with the angles of head and eyes. The order is that of the CSV beside the file
where there is one, else Live Link Face's, which the check of conventions tests on the numbers. DualTalk-ARKit's is another
(`dualtalk_arkit`).
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mango.data.formats.arkit_columns import ANGLES, EYE_ANGLES, HEAD_ANGLES, LIVE_LINK, arkit_motion, shapes_among
from mango.data.formats.beside import beside
from mango.data.formats.guarded import content_of, npy_of, numbers, table_of
from mango.data.formats.recordings import ArkitMotion, Entry, Options, PersonRecording, Recording, assumed, certain
from mango.data.formats.rotations import from_yaw_pitch_roll
from mango.data.formats.sounds import sound_beside

WIDTHS = (52, 61)
TABLE = (".csv",)


def recognise(path: Path) -> str | None:
    if not path.is_file() or content_of(path, 0, start=6) != b"\x93NUMPY":
        return None
    array = npy_of(path)
    if array.ndim != 2 or array.shape[1] not in WIDTHS or array.dtype.kind != "f" or not len(array):
        return None
    return f"{len(array)} frames of {array.shape[1]} columns: ARKit's 52" + (" and nine angles" if array.shape[1] == 61 else "")


def entries(path: Path, options: Options) -> list[Entry]:
    files = (path, *beside(path, TABLE))
    return [Entry(path.stem, (path.stem,), files, partial(_recording, path, options))]


def _recording(path: Path, options: Options) -> Recording:
    array = npy_of(path)
    values = numbers(path, "weights", array, (None, 61 if array.shape[-1] == 61 else 52))
    width = values.shape[1]
    names, words = [*LIVE_LINK, *ANGLES][:width], assumed("columns in Live Link Face's order (the file has no names)")
    for table in beside(path, TABLE):
        head = [name for name in table_of(table)[0] if name.lower() not in ("timecode", "blendshapecount", "frame", "index")]
        if len(head) == width:
            names, words = head, certain(f"columns in the order of {table.name}")
    motion = motion_of_columns(names, values)
    beliefs = [words]
    if motion.head is not None:
        beliefs.append(assumed("head angles are radians, yaw to the person's left, pitch down, roll to the left ear up"))
    if options.fps is None:
        beliefs.append(assumed("25 frames a second (the file does not say: --fps states it)"))
    person = PersonRecording(path.stem, motion, sound_beside(path))
    rate = Fraction(options.fps or 25).limit_denominator(1001)
    return Recording(path.stem, (person,), rate, tuple(beliefs), fps_is_stated=options.fps is not None)


def motion_of_columns(names: Sequence[str], values: Float[np.ndarray, "time columns"]) -> ArkitMotion:
    """Weights by name, and the turns of head (radians, in FLAME's axes) and eyes where there are columns of them."""
    lower = [name.lower() for name in names]
    turn, eyes = (
        values[:, [lower.index(name) for name in angles]] if set(angles) <= set(lower) else None for angles in (HEAD_ANGLES, EYE_ANGLES)
    )
    return arkit_motion(shapes_among(names), values, None if turn is None else from_yaw_pitch_roll(turn), eyes)[0]
