"""One stereo sound file of two people: channel 0 is a, channel 1 is b, as audio2photoreal has it (self, partner)."""

from fractions import Fraction
from functools import partial
from pathlib import Path

from mango.data.formats.recordings import Entry, Options, PersonRecording, Recording, assumed
from mango.data.formats.sounds import SUFFIXES, channels_of, sound_of
from mango.errors import InputError


def recognise(path: Path) -> str | None:
    if not path.is_file() or path.suffix.lower() not in SUFFIXES:
        return None
    sound = sound_of(path)
    return f"stereo sound of {sound.seconds:.2f} s at {sound.rate} Hz" if channels_of(path) == 2 else None


def entries(path: Path, options: Options) -> list[Entry]:
    return [Entry(path.stem, tuple(f"{path.stem}_{side}" for side in ("a", "b")), (path,), partial(_recording, path))]


def _recording(path: Path) -> Recording:
    sounds = [sound_of(path, channel) for channel in (0, 1)]
    if channels_of(path) != 2:
        raise InputError(path, expected="two channels", found=f"{channels_of(path)}", remedy="give each person a file: --format plain")
    people = tuple(PersonRecording(f"{path.stem}_{side}", sound=sound) for side, sound in zip(("a", "b"), sounds, strict=True))
    return Recording(path.stem, people, Fraction(25), (assumed("channel 0 (left) is person a, channel 1 (right) is person b"),))
