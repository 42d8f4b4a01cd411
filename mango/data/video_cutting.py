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
            with (
                av.open(os.path.abspath(source), metadata_errors="replace") as film,
                av.open(os.path.abspath(partial), "w", format="mp4") as part,
            ):
                stream = film.streams.video[0]
                copy = part.add_stream_from_template(stream)
                frames = keys = 0
                for packet in film.demux(stream):
                    frames, keys = frames + bool(packet.size), keys + bool(packet.size and packet.is_keyframe)
                    if packet.size and first < frames <= last:
                        packet.stream = copy
                        packet.time_base = Fraction(1, FRAME_RATE)
                        packet.pts = packet.dts = frames - 1 - first
                        packet.duration = 1
                        part.mux(packet)
                if keys < frames or frames < last:
                    found = f"{frames} frames, {keys} of them key frames"
                    raise InputError(source, expected=f"{last} key frames", found=found, remedy="write it as dialogue sets hold films")
        except av.FFmpegError as error:
            raise InputError(source, expected="an intact film", found=words(error), remedy="write it again") from error
