"""ARKit weights with their names: .npz of names (N), weights (T, N) and fps, as captures are often kept."""

from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from mango.data.formats.arkit_columns import FEWEST, arkit_motion, shapes_among
from mango.data.formats.guarded import content_of, needed, npz_of, numbers
from mango.data.formats.recordings import Entry, Options, PersonRecording, Recording, assumed, certain
from mango.data.formats.sounds import sound_beside


def recognise(path: Path) -> str | None:
    if not path.is_file() or content_of(path, 0, start=2) != b"PK":
        return None
    arrays = npz_of(path)
    if not {"names", "weights"} <= arrays.keys() or arrays["weights"].ndim != 2 or arrays["names"].dtype.kind not in "US":
        return None
    shapes = shapes_among(_names(arrays["names"]))
    return f"{len(arrays['weights'])} frames of {len(shapes)} ARKit weights with names" if len(shapes) >= FEWEST else None


def entries(path: Path, options: Options) -> list[Entry]:
    return [Entry(path.stem, (path.stem,), (path,), partial(_recording, path, options))]


def _names(names: np.ndarray) -> list[str]:
    return [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in np.ravel(names).tolist()]


def _recording(path: Path, options: Options) -> Recording:
    arrays = needed(path, npz_of(path), "names", "weights")
    names = _names(arrays["names"])
    values = numbers(path, "weights", arrays["weights"], (None, len(names)))
    motion, words = arkit_motion(shapes_among(names), values)
    if options.fps is not None:
        fps, rate_words = options.fps, certain(f"{options.fps:g} frames a second, by --fps")
    elif "fps" in arrays and arrays["fps"].size == 1 and 1 <= float(arrays["fps"].ravel()[0]) <= 1000:
        fps = float(arrays["fps"].ravel()[0])
        rate_words = certain(f"{fps:g} frames a second, by the file")
    else:
        fps, rate_words = 30.0, assumed("30 frames a second (the file does not say; --fps states it)")
    person = PersonRecording(path.stem, motion, sound_beside(path))
    rate = Fraction(fps).limit_denominator(1001)
    return Recording(path.stem, (person,), rate, (*words, rate_words), fps_is_stated=rate_words.certainty == "certain")
