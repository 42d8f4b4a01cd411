"""Films of people as they come: any container and codec that PyAV reads, any size, any or a changing frame rate, turned phones.

What comes out are upright pictures at exactly 25 a second of the film's own time: each shows the frame that is on the screen then.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mango.errors import InputError
from mango.types import FRAME_RATE, SAMPLE_RATE

Picture = UInt8[np.ndarray, "rows cols 3"]
SHORTEST = 25  # frames: less cannot tell a face from an expression
SLOWEST = 12.0  # frames a second below which lips are not seen moving
LATE = 2.0  # seconds by which sound and pictures of one file may start apart
QUARTER_TURNS = {0: 0, 90: 1, 180: 2, 270: 3}


@dataclass(frozen=True)
class FilmFacts:
    """What is known of a film once all its packets were looked at."""

    path: Path
    size: tuple[int, int]  # rows and columns of upright pictures
    seconds: float
    rate: float  # mean frames a second
    steady: bool  # frames come at equal distances
    quarter_turns: int  # counterclockwise, that make pictures upright
    sound: bool

    @property
    def frames(self) -> int:
        """Of 25 a second."""
        return int(self.seconds * FRAME_RATE + 1e-6)


def facts_of(path: Path) -> FilmFacts:
    """Errors: InputError for what is no film, too short or too slow to be tracked."""
    import av

    if not path.is_file():
        raise InputError(path, expected="a film", found="no such file" if not path.exists() else "a folder", remedy="name one film")
    try:
        with av.open(str(path)) as film:
            if not film.streams.video:
                raise InputError(path, expected="a film of a face", found="a file without pictures", remedy="check which file this is")
            stream = film.streams.video[0]
            first = next(iter(film.decode(stream)), None)
            if first is None:
                raise InputError(path, expected="pictures", found="none that can be decoded", remedy="copy or encode the file again")
            turns = QUARTER_TURNS.get(round(first.rotation) % 360)
            if turns is None:
                raise InputError(
                    path, expected="pictures turned by quarters", found=f"{first.rotation} degrees", remedy="encode the film again"
                )
            film.seek(0)
            times = np.sort(
                [float(packet.pts * packet.time_base) for packet in film.demux(stream) if packet.pts is not None and packet.size]
            )
            sound = bool(film.streams.audio)
    except av.FFmpegError as error:
        raise InputError(
            path, expected="a film", found=" ".join(str(error).split())[:120], remedy="copy or encode the file again"
        ) from error
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else 0.0
    seconds = float(times[-1] - times[0] + usual)
    rate = len(times) / seconds if seconds > 0 else 0.0
    rows, cols = (first.height, first.width) if turns % 2 == 0 else (first.width, first.height)
    facts = FilmFacts(path, (rows, cols), seconds, rate, bool(len(steps) and np.ptp(steps) < 0.5 * usual), turns, sound)
    if facts.frames < SHORTEST:
        remedy = "give a longer film: ten seconds and more are useful"
        raise InputError(path, expected="at least a second", found=f"{len(times)} frames, {seconds:.2f} s", remedy=remedy)
    if rate < SLOWEST:
        remedy = "film with 25 frames a second or more; slower pictures show no speech"
        raise InputError(path, expected=f"at least {SLOWEST:g} frames a second", found=f"{rate:.3g}", remedy=remedy)
    return facts


def pictures_of(film: FilmFacts, chosen: range | None = None) -> Iterator[Picture]:
    """Upright RGB pictures by numbers of 25 a second, ascending (None: all)."""
    import av

    wanted = iter(range(film.frames) if chosen is None else chosen)
    number, shown, start = next(wanted, None), None, None
    try:
        with av.open(str(film.path)) as source:
            source.streams.video[0].thread_type = "AUTO"
            for frame in source.decode(video=0):
                if frame.time is None:
                    continue
                start = frame.time if start is None else start
                while number is not None and shown is not None and frame.time - start > number / FRAME_RATE + 0.5 / FRAME_RATE:
                    yield upright(shown, film)
                    number = next(wanted, None)
                if number is None:
                    return
                shown = frame
    except av.FFmpegError as error:
        if shown is None:
            found = " ".join(str(error).split())[:120]
            raise InputError(film.path, expected="an intact film", found=found, remedy="copy or encode the file again") from error
    while number is not None and shown is not None:  # the last frame lasts, and a damaged end is still
        yield upright(shown, film)
        number = next(wanted, None)


def upright(frame, film: FilmFacts) -> Picture:
    from mango.data.film_colours import in_colours

    picture = in_colours(frame)
    return np.ascontiguousarray(np.rot90(picture, film.quarter_turns)) if film.quarter_turns else picture


def voice_of(film: FilmFacts) -> Float[Tensor, "samples"]:
    """The film's sound as 16 kHz mono, from the moment of its first picture, as long as its pictures; silence where there is none."""
    import av
    import soundfile

    from mango.audio.reading import read_audio

    length = film.frames * SAMPLE_RATE // FRAME_RATE
    if not film.sound:
        return torch.zeros(length)
    with tempfile.TemporaryDirectory() as folder, av.open(str(film.path)) as source:
        stream = source.streams.audio[0]
        rate, layout = stream.codec_context.sample_rate, stream.codec_context.layout
        even = av.AudioResampler(format="flt", layout=layout, rate=rate)
        begins = None
        with soundfile.SoundFile(Path(folder) / "voice.wav", "w", rate, len(layout.channels), subtype="FLOAT") as file:
            for frame in source.decode(stream):
                begins = float(frame.time or 0.0) if begins is None else begins
                for piece in even.resample(frame):
                    file.write(piece.to_ndarray().reshape(-1, len(layout.channels)))
        voice = read_audio(Path(folder) / "voice.wav")
    late = round(((begins or 0.0) - _first_time(film.path)) * SAMPLE_RATE)
    if abs(late) > LATE * SAMPLE_RATE:
        found = f"{late / SAMPLE_RATE:.1f} s apart"
        raise InputError(film.path, expected="sound that starts with the pictures", found=found, remedy="cut the film again")
    voice = torch.cat([torch.zeros(max(late, 0)), voice[max(-late, 0) :], torch.zeros(length)])
    return voice[:length]


def _first_time(path: Path) -> float:
    import av

    with av.open(str(path)) as source:
        return float(next(iter(source.decode(video=0))).time or 0.0)
