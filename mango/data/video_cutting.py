"""Some frames of a film as a film of its own, without decoding anything: the packets are copied."""

import os
from fractions import Fraction
from pathlib import Path

from mango.data.atomic import atomic_file
from mango.data.film_packets import words
from mango.errors import InputError
from mango.types import FRAME_RATE


def cut_film(source: Path, out: Path, first: int, last: int) -> None:
    """Frames ``first`` to ``last`` - 1 of an mp4 of key frames alone, as dialogue sets hold them; pictures only.

    Errors: InputError for a film with other frames, in which a picture cannot be had alone, and for one that has too few.
    """
    import av

    with atomic_file(out) as partial:
        try:
            with av.open(os.fspath(source)) as film, av.open(os.fspath(partial), "w", format="mp4") as part:
                stream = film.streams.video[0]
                copy = part.add_stream_from_template(stream)
                packets = [packet for packet in film.demux(stream) if packet.size]
                if not all(packet.is_keyframe for packet in packets) or len(packets) < last:
                    found = f"{len(packets)} frames, {sum(packet.is_keyframe for packet in packets)} of them key frames"
                    raise InputError(source, expected=f"{last} key frames", found=found, remedy="write it as dialogue sets hold films")
                for number, packet in enumerate(packets[first:last]):
                    packet.stream = copy
                    packet.time_base = Fraction(1, FRAME_RATE)
                    packet.pts = packet.dts = number
                    packet.duration = 1
                    part.mux(packet)
        except av.FFmpegError as error:
            raise InputError(source, expected="an intact film", found=words(error), remedy="write it again") from error
