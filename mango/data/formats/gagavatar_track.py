"""GAGAvatar_track: optim.pkl and smoothed.pkl, {frame: {bbox, shapecode 300, expcode 100, posecode 6, eyecode 6, transform_matrix (3,
4)}}.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path

from mango.data.formats.frame_records import check_counted, record_of, stacked
from mango.data.formats.guarded import LARGEST_BUNDLE, content_of
from mango.data.formats.recordings import Entry, Options, PersonRecording, Recording, assumed, converted, flame_motion
from mango.data.formats.sounds import sound_beside
from mango.errors import InputError

CODES = {"shapecode": 300, "expcode": 100, "posecode": 6}


def recognise(path: Path) -> str | None:
    if not path.is_file() or content_of(path, LARGEST_BUNDLE, start=1) not in (b"\x80", b"(", b"}"):
        return None
    frames = record_of(path)
    if not isinstance(frames, Mapping) or not frames:
        return None
    first = next(iter(frames.values()))
    return f"{len(frames)} frames of codes" if isinstance(first, Mapping) and CODES.keys() <= first.keys() else None


def entries(path: Path, options: Options) -> list[Entry]:
    return [Entry(path.stem, (path.stem,), (path,), partial(_recording, path, options))]


def _recording(path: Path, options: Options) -> Recording:
    held = record_of(path)
    if not isinstance(held, Mapping) or not held or not all(isinstance(frame, Mapping) for frame in held.values()):
        raise InputError(path, expected="{frame: codes}", found="something else", remedy="`mango data inspect` says what it is")
    numbers_first = sorted(held, key=lambda frame: ([int(n) for n in re.findall(r"\d+", str(frame))], str(frame)))
    check_counted(path, [str(frame) for frame in numbers_first])
    records = [held[frame] for frame in numbers_first]
    shape, expr, pose = (stacked(path, records, (name,), width) for name, width in CODES.items())
    parts = {"neck_pose": pose[:, :3], "jaw_pose": pose[:, 3:]}
    beliefs = [converted("posecode 0:3 (global) is neck_pose, rotation is zero; posecode 3:6 is jaw_pose")]
    if "eyecode" in records[0]:
        parts["eyes_pose"] = stacked(path, records, ("eyecode",), 6)
        beliefs.append(assumed("eyecode is axis-angle, left eye first"))
    if "transform_matrix" in records[0]:
        beliefs.append(converted("transform_matrix is left out: where the camera stood, in a space of its own (FLAME times 5)"))
    if options.fps is None:
        beliefs.append(assumed("25 frames a second (the pickle does not say; --fps states it)"))
    motion = flame_motion(expr, shape.mean(0), generation=options.flame_version, **parts)
    person = PersonRecording(path.stem, motion, sound_beside(path))
    rate = Fraction(options.fps or 25).limit_denominator(1001)
    return Recording(path.stem, (person,), rate, tuple(beliefs), fps_is_stated=options.fps is not None)
