"""Films of strangers, read in a process of its own: FFmpeg is C, a damaged film may crash it or ask for all memory."""

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from mango.data.film_packets import FilmPackets
from mango.data.formats.child_process import answers
from mango.data.video_index import VideoIndex, index_of
from mango.errors import InputError

CHILD = Path(__file__).with_name("film_child.py")
ROOT = Path(__file__).parents[3]
MOST_MEMORY = 2**32  # bytes of the process: some pictures of 8k, on all threads of the decoder


def index_of_film(path: Path) -> VideoIndex:
    """As `mango.data.video_index.read_index`. Errors: InputError when it is no film."""
    if not path.is_file():
        raise InputError(path, expected="a video", found="no such file", remedy="check the path")
    content, *_ = _asked(path, "packets")
    found = json.loads(content)
    found |= {"extradata": bytes.fromhex(found["extradata"]) if found["extradata"] else None}
    return index_of(path, FilmPackets(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}))


def decoded(path: Path, numbers: Sequence[int]) -> Iterator[UInt8[np.ndarray, "rows cols 3"]]:
    """The pictures of these numbers, which rise, in RGB; fewer where the film ends before."""
    for message in _asked(path, "pictures", " ".join(str(number) for number in numbers)):
        if message:
            rows, cols = struct.unpack_from("<II", message)
            yield np.frombuffer(message, np.uint8, offset=8).reshape(rows, cols, 3)


def sound_pieces(path: Path) -> Iterator[tuple[int, Float[np.ndarray, "samples channels"]]]:
    """Samples a second, and the next samples as they come."""
    form = None
    for message in _asked(path, "sound"):
        if form is None:
            form = rate, channels = json.loads(message)
        elif message:
            yield rate, np.frombuffer(message, "<f4").reshape(-1, channels)


def _asked(path: Path, what: str, numbers: str = "") -> Iterator[bytearray]:
    return answers(CHILD, (str(ROOT), str(MOST_MEMORY)), (str(path), what, numbers), where=path, expected="an intact film")
