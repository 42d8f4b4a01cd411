"""Run by `foreign_films` as a process of its own, with the folder that mango lies in and the most memory in bytes: questions about films on
stdin (PATH, "packets" | "pictures" | "sound", NUMBERS of pictures in order), answers on stdout (`child_process`). Imports neither torch nor
what does. It ends when its questions do.
"""

import json
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict

OK, REFUSED, NO_PACKAGE, MORE = range(4)


def messages(path: str, what: str, numbers: str) -> Iterator[tuple[bytes | memoryview, ...]]:
    """All but the last one, which is empty; each in parts, for pictures are too large to be copied without need."""
    import av

    from mango.data.film_colours import in_colours
    from mango.data.film_packets import packets_of

    with av.open(path) as film:
        if what == "packets":
            found = asdict(packets_of(film))
            yield (json.dumps(found | {"extradata": found["extradata"].hex() if found["extradata"] else None}).encode(),)
        elif what == "pictures":
            wanted = [int(number) for number in numbers.split()]
            stream, at = film.streams.video[0], 0
            for number, frame in enumerate(film.decode(stream)):
                if (frame.height, frame.width) != (stream.height, stream.width):
                    raise ValueError("pictures of several sizes")
                if number == wanted[at]:
                    yield struct.pack("<II", frame.height, frame.width), memoryview(in_colours(frame)).cast("B")
                    at += 1
                    if at == len(wanted):
                        return
        else:
            stream = film.streams.audio[0]
            rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
            yield (json.dumps([rate, channels]).encode(),)
            even = av.AudioResampler(format="flt", layout=stream.codec_context.layout, rate=rate)
            for frame in film.decode(stream):
                for piece in even.resample(frame):
                    yield (piece.to_ndarray().astype("<f4", copy=False).tobytes(),)


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
    while True:
        question = [taken(struct.unpack("<Q", taken(8))[0]).decode() for _ in range(3)]
        try:
            for parts in messages(*question):
                send(MORE, *parts)
            send(OK)
        except Exception as error:
            said = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            send(REFUSED, str(said).lower().encode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
