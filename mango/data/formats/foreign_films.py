"""Films of strangers, read in a process of its own: FFmpeg is C, a damaged film may crash it or ask for all memory."""

import json
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from mango.data.film_reading import FRACTIONS, StoredFilm
from mango.data.formats.child_process import answers
from mango.errors import InputError

CHILD = Path(__file__).with_name("film_child.py")
ROOT = Path(__file__).parents[3]
MOST_MEMORY = 2**32  # bytes of the process: some pictures of 8k, on all threads of the decoder


def stored_film(path: Path) -> StoredFilm:
    """What `mango.data.film_reading.stored_film` finds. Errors: InputError when it is no film."""
    if not path.is_file():
        raise InputError(path, expected="a film", found="no such file" if not path.exists() else "a folder", remedy="name one film")
    (content,) = filter(None, _asked(path, "film"))
    found = json.loads(content)
    exact = {name: Fraction(found[name]) for name in FRACTIONS}
    return StoredFilm(**found | exact | {name: tuple(found[name]) for name in ("size", "changes")})


def pictures_at(path: Path, moments: Sequence[Fraction], *, strict: bool = True) -> Iterator[UInt8[np.ndarray, "rows cols 3"]]:
    """Upright RGB pictures, each the film's nearest in time to one of the moments: seconds after its first picture, rising.

    Errors: InputError for a damaged film. Unless ``strict`` its last good picture stays until the next.
    """
    for message in _asked(path, "pictures", strict, " ".join(str(moment) for moment in moments)):
        if message:
            rows, cols, count = struct.unpack_from("<III", message)
            picture = np.frombuffer(message, np.uint8, offset=12).reshape(rows, cols, 3)
            for _ in range(count):
                yield picture


def sound_pieces(path: Path, seconds: float, *, strict: bool = True) -> Iterator[tuple[int, Float[np.ndarray, "samples channels"]]]:
    """Samples a second, and the next samples as they come, from the moment of the film's first picture on for so many seconds."""
    for message in _asked(path, "sound", strict, repr(seconds)):
        if message:
            rate, channels = struct.unpack_from("<II", message)
            yield rate, np.frombuffer(message, "<f4", offset=8).reshape(-1, channels)


def _asked(path: Path, what: str, strict: bool = True, told: str = "") -> Iterator[bytearray]:
    question = str(path), what, "refused" if strict else "passed over", told
    return answers(CHILD, (str(ROOT), str(MOST_MEMORY)), question, where=path, expected="an intact film")
