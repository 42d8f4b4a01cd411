"""Films of people as they come: any container and codec that PyAV reads, any size, any or a changing frame rate, turned phones.

What comes out are upright pictures at exactly 25 a second of the film's own time: each is the film's picture nearest in time.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mango.errors import InputError
from mango.types import FRAME_RATE, SAMPLE_RATE

Picture = UInt8[np.ndarray, "rows cols 3"]
SHORTEST = 25  # frames: less cannot tell a face from an expression
SLOWEST = 12.0  # frames a second below which lips are not seen moving
EARLY = Fraction(1, FRAME_RATE)  # seconds by which a picture may be shown before its time: where a film stands still, it stands still
LATE = 2.0  # seconds by which sound and pictures of one file may start apart
GAP = 0.04  # seconds of sound that is missing, from which on silence is put there; less is how times are rounded
COPY = "copy or encode the file again"


@dataclass(frozen=True)
class Upright:
    """How a stored picture becomes upright, as the film says: mirrored first, then turned."""

    mirrored: bool = False
    quarter_turns: int = 0  # counterclockwise

    def size(self, rows: int, cols: int) -> tuple[int, int]:
        return (rows, cols) if self.quarter_turns % 2 == 0 else (cols, rows)

    def __call__(self, stored: Picture) -> UInt8[np.ndarray, "upright_rows upright_cols 3"]:
        return np.ascontiguousarray(np.rot90(stored[:, ::-1] if self.mirrored else stored, self.quarter_turns))


@dataclass(frozen=True)
class Part:
    """A part of upright pictures, with a person of its own."""

    whole: tuple[int, int]  # rows and columns of the pictures it is of
    top: int
    left: int

    def cut(self, picture: Picture, size: tuple[int, int]) -> UInt8[np.ndarray, "part_rows part_cols 3"]:
        return np.ascontiguousarray(picture[self.top : self.top + size[0], self.left : self.left + size[1]])


@dataclass(frozen=True)
class FilmFacts:
    """What is known of a film once all its packets were looked at; and what of it is wanted."""

    path: Path
    size: tuple[int, int]  # rows and columns of upright pictures, or of the part of them that is wanted
    start: Fraction  # seconds, of the first picture by the film's clock
    seconds: float
    rate: float  # mean frames a second
    steady: bool  # frames come at equal distances
    upright: Upright
    sound: bool
    part: Part | None = None  # None: whole pictures
    channel: int | None = None  # of the sound; None: all, averaged
    voice: Path | None = None  # a sound file that starts with the pictures, instead of the film's own sound

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
            stream = film.streams.best("video")
            if stream is None:
                raise InputError(path, expected="a film of a face", found="a file without pictures", remedy="check which file this is")
            first = next(_decoded(film, stream), None)
            if first is None:
                raise InputError(path, expected="pictures", found="none that can be decoded", remedy=COPY)
            upright, stretch = _upright(path, first), _stretch(stream)
            sound = film.streams.best("audio")
        with av.open(str(path)) as film:
            start, times = _time(first), _times(film, _time(first))
    except av.FFmpegError as error:
        raise InputError(path, expected="a film", found=_words(error), remedy=COPY) from error
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else 0.0
    seconds = float(times[-1] - times[0]) + usual if len(times) else 0.0
    rate = len(times) / seconds if seconds > 0 else 0.0
    size = upright.size(first.height, round(first.width * stretch))
    facts = FilmFacts(path, size, start, seconds, rate, bool(len(steps) and np.ptp(steps) < 0.5 * usual), upright, sound is not None)
    if facts.frames < SHORTEST:
        remedy = "give a longer film: ten seconds and more are useful"
        raise InputError(path, expected="at least a second", found=f"{len(times)} frames, {seconds:.2f} s", remedy=remedy)
    if rate < SLOWEST:
        remedy = "film with 25 frames a second or more; slower pictures show no speech"
        raise InputError(path, expected=f"at least {SLOWEST:g} frames a second", found=f"{rate:.3g}", remedy=remedy)
    return facts


def halves(film: FilmFacts, split: Literal["left-right", "top-bottom"]) -> tuple[FilmFacts, FilmFacts]:
    """The two films of a split screen. Of an odd number of columns (rows) the middle one is left out."""
    rows, cols = film.size
    if split == "left-right":
        size, second = (rows, cols // 2), Part(film.size, 0, cols - cols // 2)
    else:
        size, second = (rows // 2, cols), Part(film.size, rows - rows // 2, 0)
    return replace(film, size=size, part=Part(film.size, 0, 0)), replace(film, size=size, part=second)


def pictures_of(film: FilmFacts) -> Iterator[Picture]:
    """Upright RGB pictures, 25 a second. Of a damaged film the last good picture stays until the next."""
    import av

    given, shown, shown_at = 0, None, Fraction(0)
    try:
        with av.open(str(film.path)) as source:
            stream = source.streams.best("video")
            stream.thread_type = "AUTO"
            for frame in _decoded(source, stream):
                at = _time(frame) - film.start
                while shown is not None and given < film.frames and Fraction(given, FRAME_RATE) <= max((shown_at + at) / 2, at - EARLY):
                    yield _picture(shown, film)
                    given += 1
                shown, shown_at = frame, at
    except av.FFmpegError as error:
        if shown is None:
            raise InputError(film.path, expected="an intact film", found=_words(error), remedy=COPY) from error
    for _ in range(given, film.frames if shown is not None else given):  # the last one lasts
        yield _picture(shown, film)


def voice_of(film: FilmFacts) -> Float[Tensor, "samples"]:
    """The film's sound as 16 kHz mono, from the moment of its first picture, as long as its pictures; silence where there is none.

    Errors: InputError for sound that belongs to other pictures, or to none, or lacks the channel.
    """
    import av
    import soundfile

    from mango.audio.reading import read_audio

    length = film.frames * SAMPLE_RATE // FRAME_RATE
    if film.voice is not None:
        voice = read_audio(film.voice)
        if len(voice) < length - LATE * SAMPLE_RATE:
            found, remedy = f"{len(voice) / SAMPLE_RATE:.1f} s", "give the voice from the film's first picture on, to its end"
            raise InputError(
                film.voice, expected=f"sound as long as the film, {film.frames / FRAME_RATE:.1f} s", found=found, remedy=remedy
            )
        return torch.cat([voice, torch.zeros(length)])[:length]
    if not film.sound:
        return torch.zeros(length)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voice.wav"
        try:
            with av.open(str(film.path)) as source:
                stream = source.streams.best("audio")
                rate, layout = stream.codec_context.sample_rate, stream.codec_context.layout
                with soundfile.SoundFile(path, "w", rate, len(layout.channels), subtype="FLOAT") as file:
                    for piece in _from_the_first_picture(film, _decoded(source, stream), rate, layout):
                        file.write(piece)
                    written = file.frames
        except av.FFmpegError as error:
            raise InputError(film.path, expected="sound", found=_words(error), remedy=COPY) from error
        if not written:
            return torch.zeros(length)
        try:
            voice = read_audio(path, channel=film.channel)
        except InputError as error:
            raise InputError(film.path, expected=error.expected, found=f"sound with {error.found}", remedy=error.remedy) from error
    return torch.cat([voice, torch.zeros(length)])[:length]


def _from_the_first_picture(
    film: FilmFacts, frames: Iterator[Any], rate: int, layout: Any
) -> Iterator[Float[np.ndarray, "samples channels"]]:
    """Sound in pieces without a gap, by its times."""
    import av

    even, done, wanted = av.AudioResampler(format="flt", layout=layout, rate=rate), None, round(film.seconds * rate)
    for frame in chain(frames, [None]):  # None: what the resampler still holds
        at = done if frame is None else round((_time(frame) - film.start) * rate)
        for resampled in even.resample(frame):
            piece = resampled.to_ndarray().reshape(-1, len(layout.channels))
            if done is None:
                if abs(at) > LATE * rate:
                    found = f"{at / rate:.1f} s apart"
                    raise InputError(film.path, expected="sound that starts with the pictures", found=found, remedy="cut the film again")
                done = min(at, 0)
            if at - done > (GAP * rate if done else 0):
                yield np.zeros((max(0, min(at, wanted) - done), piece.shape[1]), np.float32)
                done = at
            yield piece[max(-done, 0) :]
            done += len(piece)
        if done is not None and done > wanted:
            return


def _decoded(film: Any, stream: Any) -> Iterator[Any]:
    """Frames with a time. What is damaged is left out, as players do; those that only lead up to a cut's first frame come not at all."""
    import av

    for packet in film.demux(stream):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            continue
        yield from (frame for frame in frames if frame.pts is not None)


def _time(frame: Any) -> Fraction:
    return frame.pts * frame.time_base


def _times(film: Any, start: Fraction) -> Float[np.ndarray, "times"]:
    """Seconds at which pictures are shown, ascending."""
    stream = film.streams.best("video")
    packets = (packet for packet in film.demux(stream) if packet.size and not packet.is_discard and not packet.is_corrupt)
    stamps = (packet.dts if packet.pts is None else packet.pts for packet in packets)
    return np.sort([float(stamp * stream.time_base) for stamp in stamps if stamp is not None and stamp * stream.time_base >= start])


def _upright(path: Path, frame: Any) -> Upright:
    """By the display matrix, as QuickTime defines it: what is stored at (x, y) is shown at (a x + c y, b x + d y)."""
    sides = [side for side in frame.side_data if side.type.name == "DISPLAYMATRIX"]
    if not sides:
        return Upright()
    a, b, _, c, d = np.frombuffer(bytes(sides[0]), np.int32)[:5].astype(float)
    mirrored = bool(a * d - b * c < 0)
    degrees = np.degrees(np.arctan2(-b, a) if not mirrored else np.arctan2(b, -a))
    turns = round(degrees / 90)
    if abs(degrees - 90 * turns) > 1:
        raise InputError(path, expected="pictures turned by quarters", found=f"{degrees:.0f} degrees", remedy="encode the film again")
    return Upright(mirrored, turns % 4)


def _stretch(stream: Any) -> Fraction:
    """Width of a pixel over its height."""
    shape = stream.sample_aspect_ratio or Fraction(1)
    return shape if Fraction(1, 4) < shape < 4 else Fraction(1)


def _picture(frame: Any, film: FilmFacts) -> Picture:
    import cv2

    from mango.data.film_colours import in_colours

    picture, size = film.upright(in_colours(frame)), film.size if film.part is None else film.part.whole
    if picture.shape[:2] != size:  # pixels that are not square, calls that change their size
        picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    return picture if film.part is None else film.part.cut(picture, film.size)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]
