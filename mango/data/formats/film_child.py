"""Run by `foreign_films` as a process of its own, with the folder that mango lies in and the most memory in bytes: questions about films on
stdin (PATH, "film" | "pictures" | "sound", "refused" | "passed over" for damage, MOMENTS of pictures | SECONDS of sound), answers on stdout
(`child_process`). Imports neither torch nor what does. It ends when its questions do.
"""

import json
import os
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction

OK, REFUSED, NO_PACKAGE, MORE, SAID = range(5)
PULSE = 0.5  # seconds


def messages(path: str, what: str, damage: str, told: str) -> Iterator[tuple[bytes | memoryview, ...]]:
    """All but the last one, which is empty; each in parts, for pictures are too large to be copied without need."""
    from mango.data.film_reading import FRACTIONS, pictures_at, sound_pieces, stored_film

    alive = Alive()
    if what == "film":
        found = asdict(stored_film(path, alive))
        yield (json.dumps(found | {name: str(found[name]) for name in FRACTIONS}).encode(),)
    elif what == "pictures":
        for picture, count in pictures_at(path, [Fraction(moment) for moment in told.split()], alive, strict=damage == "refused"):
            yield struct.pack("<III", *picture.shape[:2], count), memoryview(picture).cast("B")
    else:
        for rate, piece in sound_pieces(path, float(told), alive, strict=damage == "refused"):
            yield struct.pack("<II", rate, piece.shape[1]), piece.astype("<f4", copy=False).tobytes()


class Alive:
    """Says in an empty message that something is being done, if nothing was said for a while."""

    def __init__(self):
        self.said = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() > self.said + PULSE:
            send(MORE)
            self.said = time.monotonic()


def taken(count: int) -> bytes:
    content = sys.stdin.buffer.read(count)
    if len(content) < count:
        os._exit(0)
    return content


def send(status: int, *parts: bytes | memoryview) -> None:
    for part in (struct.pack("<BQ", status, sum(len(part) for part in parts)), *parts):
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


def main(root: str, most: int) -> None:
    sys.path.insert(0, root)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, ValueError, OSError):  # not on this system
        pass
    from mango.errors import InputError

    while True:
        question = [taken(struct.unpack("<Q", taken(8))[0]).decode() for _ in range(4)]
        try:
            for parts in messages(*question):
                send(MORE, *parts)
            send(OK)
        except InputError as error:
            send(SAID, json.dumps([error.expected, error.found, error.remedy]).encode())
        except Exception as error:
            send(REFUSED, f"{type(error).__name__}: {error}".lower().encode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
