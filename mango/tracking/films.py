"""Films of people as they come: upright pictures at exactly 25 a second of the film's own time, whole or a part of them, and the voice."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mango.data.film_reading import LATE, MISSING, Picture
from mango.data.formats.foreign_films import pictures_at, stored_film
from mango.data.formats.sounds import voice_of_film
from mango.errors import InputError
from mango.types import FRAME_RATE, SAMPLE_RATE

SHORTEST = 25  # frames: less cannot tell a face from an expression
ODD = 0.3  # seconds by which sound and pictures end apart in whole films
SLOWEST = 12.0  # frames a second below which lips are not seen moving


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
    seconds: float
    rate: float  # mean frames a second
    channels: int  # of the sound; 0: none
    sound_seconds: float = 0.0  # from the first picture to the sound's end
    changes: tuple[str, ...] = ()  # between what is stored and what is shown, in words
    part: Part | None = None  # None: whole pictures
    channel: int | None = None  # of the sound; None: all, averaged
    voice: Path | None = None  # a sound file that starts with the pictures, instead of the film's own sound

    @property
    def sound(self) -> bool:
        return self.voice is not None or self.channels > 0

    @property
    def frames(self) -> int:
        """Of 25 a second."""
        return int(self.seconds * FRAME_RATE + 1e-6)


def facts_of(path: Path) -> FilmFacts:
    """Errors: InputError for what is no film, too short or too slow to be tracked."""
    film = stored_film(path)
    rate, seconds = float(film.rate), float(film.seconds)
    lost = (f"the file is truncated: its last {float(film.missing):.1f} s are missing",) if film.missing > MISSING else ()
    heard = float(film.sound_seconds)
    channels = film.channels if heard > 0 else 0
    changes = (*lost, *film.changes, *_other_end(seconds, heard)) if channels else (*lost, *film.changes)
    facts = FilmFacts(path, film.size, seconds, rate, channels, heard, changes)
    if facts.frames < SHORTEST:
        remedy = "give a longer film: ten seconds and more are useful"
        raise InputError(path, expected="at least a second", found=f"{film.frames} frames, {seconds:.2f} s", remedy=remedy)
    if rate < SLOWEST:
        remedy = "film with 25 frames a second or more; slower pictures show no speech"
        raise InputError(path, expected=f"at least {SLOWEST:g} frames a second", found=f"{rate:.3g}", remedy=remedy)
    return facts


def _other_end(pictures: float, sound: float) -> Iterator[str]:
    if sound < pictures - ODD:
        yield f"its sound ends {pictures - sound:.1f} s before its pictures: silence there"
    if sound > pictures + ODD:
        yield f"its sound goes on for {sound - pictures:.1f} s after its pictures: left out"


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
    moments = [Fraction(frame, FRAME_RATE) for frame in range(film.frames)]
    with closing(pictures_at(film.path, moments, strict=False)) as pictures:
        for picture in pictures:
            yield picture if film.part is None else film.part.cut(picture, film.size)


def voice_of(film: FilmFacts) -> Float[Tensor, "samples"]:
    """The film's sound as 16 kHz mono, from the moment of its first picture, as long as its pictures; silence where there is none.

    Errors: InputError for sound that belongs to other pictures, or to none, or lacks the channel.
    """
    from mango.audio.reading import read_audio

    length = film.frames * SAMPLE_RATE // FRAME_RATE
    if film.voice is not None:
        voice = read_audio(film.voice)
        if len(voice) < length - LATE * SAMPLE_RATE:
            found, remedy = f"{len(voice) / SAMPLE_RATE:.1f} s", "give the voice from the film's first picture on, to its end"
            raise InputError(
                film.voice, expected=f"sound as long as the film, {film.frames / FRAME_RATE:.1f} s", found=found, remedy=remedy
            )
    elif film.channels:
        if film.sound_seconds < film.frames / FRAME_RATE - LATE:
            expected, found = f"sound as long as the pictures, {film.frames / FRAME_RATE:.1f} s", f"{film.sound_seconds:.1f} s"
            remedy = "cut the film where its sound ends, or give --voice FILE: without a voice talking mouths would be learnt as silent"
            raise InputError(film.path, expected=expected, found=found, remedy=remedy)
        voice = voice_of_film(film.path, film.seconds, film.channel, strict=False)
    else:
        voice = torch.zeros(0)
    return torch.cat([voice, torch.zeros(length)])[:length]
