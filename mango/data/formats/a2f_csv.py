"""NVIDIA Audio2Face: animation_frames.csv with an index, timeCode in seconds and blendShapes.<Name>; no movement of the head."""

from functools import partial
from pathlib import Path

import numpy as np

from mango.data.formats.arkit_columns import FEWEST, arkit_motion, shapes_among, stated_rate, timed
from mango.data.formats.guarded import content_of, numbers, refusing, table_of
from mango.data.formats.recordings import Entry, Options, PersonRecording, Recording, certain
from mango.data.formats.sounds import sound_beside
from mango.errors import InputError


def recognise(path: Path) -> str | None:
    if not path.is_file() or b"blendshapes." not in content_of(path, 0, start=300).lower():
        return None
    head, rows = table_of(path)
    shapes = shapes_among(head)
    timed = "timecode" in [name.lower() for name in head]
    return f"{len(rows)} frames of {len(shapes)} blendShapes columns" if timed and len(shapes) >= FEWEST else None


def entries(path: Path, options: Options) -> list[Entry]:
    return [Entry(path.stem, (path.stem,), (path,), partial(_recording, path, options))]


def _recording(path: Path, options: Options) -> Recording:
    head, rows = table_of(path)
    lower = [name.lower() for name in head]
    shapes = shapes_among(head)
    if "timecode" not in lower or not shapes:
        raise InputError(path, expected="timeCode and blendShapes columns", found=", ".join(head[:5]), remedy="is this another format?")
    with refusing(path, "numbers in every column"):
        times = np.array([float(row[lower.index("timecode")]) for row in rows])
        values = np.array([[float(row[place]) for place in shapes.values()] for row in rows])
    values = numbers(path, "weights", values, (None, len(shapes)))
    motion, words = arkit_motion({name: k for k, name in enumerate(shapes)}, values)
    if options.fps is not None:
        fps, said = stated_rate(options.fps)
        rate_words = [said]
    else:
        motion, fps, rate_words = timed(path, motion, times)
    words += [*rate_words, certain("no movement of the head in it")]
    person = PersonRecording(path.stem, motion, sound_beside(path))
    return Recording(path.stem, (person,), fps, tuple(words), fps_is_stated=rate_words[0].certainty == "certain")
