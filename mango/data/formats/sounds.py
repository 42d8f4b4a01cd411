"""Voices of other people's recordings: where they lie, how long they are, and as 16 kHz mono."""

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.audio.reading import in_a_container, is_mp3_of_unknown_length, opened_sound, read_audio, sound_copy
from mango.data.formats.beside import beside
from mango.data.formats.recordings import Sound
from mango.errors import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac")
FILMS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")

Header = tuple[int, int, int]  # samples a second, channels, samples of each


def sound_of(path: Path, channel: int | None = None) -> Sound:
    """A sound file, by its header. Errors: InputError when it is none."""
    rate, channels, samples = _header(path)
    if not 1000 <= rate <= 768_000 or not 1 <= channels <= 64 or not 0 < samples < 2**40:
        found = f"{rate} Hz, {channels} channels, {samples} samples"
        raise InputError(path, expected="a recording", found=found, remedy="copy or export the sound again")
    return Sound(path, channel, rate=rate, seconds=samples / rate)


def channels_of(path: Path) -> int:
    return _header(path)[1]


def _header(path: Path) -> Header:
    if in_a_container(path) or is_mp3_of_unknown_length(path):
        stat = path.stat()
        return _header_inside(path, stat.st_size, stat.st_mtime_ns)
    import soundfile

    try:
        header = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError) as error:
        found = " ".join(str(error).split())[:120]
        raise InputError(path, expected="a sound file", found=found, remedy="give wav, flac, ogg, mp3 or m4a") from error
    return header.samplerate, header.channels, header.frames


@lru_cache
def _header_inside(path: Path, size: int, modified: int) -> Header:
    """All has to be decoded: what a container says of itself is not exact."""
    with opened_sound(path) as file:
        return file.samplerate, file.channels, file.frames


def sound_in_memory(samples: Float[np.ndarray, "samples"], rate: int) -> Sound:
    return Sound(samples=samples, rate=rate, seconds=len(samples) / rate)


def sound_beside(path: Path) -> Sound | None:
    """The sound file of the same name, where there is one."""
    found = [other for other in beside(path, SUFFIXES) if other != path]
    return sound_of(found[0]) if found else None


def voice_of(sound: Sound) -> Float[Tensor, "samples"]:
    """The voice as 16 kHz mono in [-1, 1]."""
    if sound.path is not None and sound.path.suffix.lower() not in FILMS:
        return read_audio(sound.path, channel=sound.channel)
    if sound.path is not None:
        voice = voice_of_film(sound.path, sound.until, sound.channel)
        if not len(voice):
            raise InputError(sound.path, expected="a film with sound", found="no sound", remedy="copy or encode the file again")
        return voice
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "voice.wav"
        with sound_copy(whole, sound.rate, 1 if sound.samples.ndim == 1 else sound.samples.shape[1]) as file:
            file.write(sound.samples)
        return read_audio(whole, channel=sound.channel)


def voice_of_film(film: Path, seconds: float, channel: int | None = None, *, strict: bool = True) -> Float[Tensor, "samples"]:
    """A film's sound as 16 kHz mono, from the moment of its first picture on for at most so many seconds. Empty where there is none.

    Errors: InputError for sound that starts at another time, that lacks the channel, and for damage unless it is not ``strict``.
    """
    from mango.data.formats.foreign_films import sound_pieces

    with tempfile.TemporaryDirectory() as folder:
        whole, file = Path(folder) / "voice.wav", None
        for rate, piece in sound_pieces(film, seconds, strict=strict):
            file = file or sound_copy(whole, rate, piece.shape[1])
            file.write(piece)
        samples = file.frames if file is not None else 0
        if file is not None:
            file.close()
        if not samples:
            return torch.zeros(0)
        try:
            return read_audio(whole, channel=channel)
        except InputError as error:
            raise InputError(film, expected=error.expected, found=f"sound with {error.found}", remedy=error.remedy) from error


def loudness_of(sound: Sound, frames: int, fps: float) -> Float[np.ndarray, "frames"]:
    """Loudness in dB over each frame of a motion; minus infinity nowhere."""
    voice = voice_of(sound).numpy().astype(np.float64)
    edges = np.minimum(np.rint(np.arange(frames + 1) * 16_000 / fps).astype(int), len(voice))
    energy = np.concatenate([[0.0], np.cumsum(voice**2)])
    counts = np.maximum(np.diff(edges), 1)
    return 10 * np.log10((energy[edges[1:]] - energy[edges[:-1]]) / counts + 1e-8)
