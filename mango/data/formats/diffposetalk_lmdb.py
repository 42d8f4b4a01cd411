"""DiffPoseTalk's training data: an LMDB of pickles. ``metadata`` is {seg_len}; a clip CLIP (PERSON/NUMBER) has CLIP/metadata, {n_frames},
and its segments CLIP/000, CLIP/001, ...: {audio: a FLAC file of 16 kHz, coef: {shape, exp, pose}}, 25 fps. Which clips are of which split
stands in train.txt, val.txt and test.txt beside the database, one clip a line.
"""

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mango.data.formats.diffposetalk import CODES, recording_of
from mango.data.formats.guarded import AGAIN, LARGEST_TEXT, content_of, needed, refusing
from mango.data.formats.lmdb_files import databases_in, keys_of, needed_databases, value_of
from mango.data.formats.recordings import Entry, Options, Recording, as_name
from mango.data.formats.sounds import sound_in_memory
from mango.errors import InputError
from mango.pickles import unpickled

RATE = 16_000
OF_ALL = "metadata"
SPLITS = ("train", "val", "test")
LONGEST = 60  # seconds of sound in a segment of four


def recognise(path: Path) -> str | None:
    databases = databases_in(path)
    keys = [keys_of(database) for database in databases]
    if not keys or OF_ALL not in keys[0]:
        return None
    described = unpickled(value_of(databases[0], OF_ALL), f"{databases[0]}, {OF_ALL}")
    clips = sum(len(_clips(of_one)) for of_one in keys)
    return f"an LMDB of {clips} clips in segments" if isinstance(described, Mapping) and "seg_len" in described and clips else None


def entries(path: Path, options: Options) -> list[Entry]:
    return [
        Entry(as_name(clip), (as_name(clip.split("/")[0]),), (database,), partial(_recording, database, clip, tuple(segments), options),
              splits.get(clip, "train"))
        for database in needed_databases(path)
        for splits in (_splits(database),)
        for clip, segments in _clips(keys_of(database)).items()
    ]  # fmt: skip


def _clips(keys: list[str]) -> dict[str, list[str]]:
    """Keys of each clip's segments, in order."""
    found: dict[str, list[str]] = {}
    for key in sorted(keys):
        clip, _, last = key.rpartition("/")
        if clip and last.isdecimal() and last.isascii():
            found.setdefault(clip, []).append(key)
    return {clip: sorted(segments, key=lambda key: int(key.rpartition("/")[2])) for clip, segments in found.items()}


def _splits(database: Path) -> dict[str, str]:
    """Of each clip that a list beside the database, or beside its folder, names."""
    found = {}
    for split in SPLITS:
        for file in (database.parent / f"{split}.txt", database.parent.parent / f"{split}.txt"):
            if file.is_file():
                with refusing(file, "a list of clips"):
                    found |= dict.fromkeys(content_of(file, LARGEST_TEXT).decode("utf-8-sig").split(), split)
    return found


def _recording(database: Path, clip: str, segments: tuple[str, ...], options: Options) -> Recording:
    where = f"{database}, {clip}"
    described = needed(where, unpickled(value_of(database, f"{clip}/{OF_ALL}"), where), "n_frames")
    numbers = [int(key.rpartition("/")[2]) for key in segments]
    if numbers != list(range(len(numbers))):
        missing = next(k for k, number in enumerate(numbers) if number != k)
        raise InputError(where, expected=f"segments {clip}/000 to {segments[-1]}", found=f"no {missing:03d}", remedy=AGAIN)
    coefficients, voices = [], []
    for key in segments:
        inside = f"{database}, {key}"
        held = needed(inside, unpickled(value_of(database, key), inside), "audio", "coef")
        coefficients.append(needed(inside, held["coef"], *CODES))
        voices.append(_voice(inside, held["audio"]))
    with refusing(where, "segments of one clip"):
        codes = {name: np.concatenate([np.asarray(part[name]) for part in coefficients]) for name in CODES}
    if len(codes["exp"]) != described["n_frames"]:
        raise InputError(where, expected=f"{described['n_frames']} frames", found=f"{len(codes['exp'])} in its segments", remedy=AGAIN)
    sound = sound_in_memory(np.concatenate(voices), RATE)
    return recording_of(where, as_name(clip), as_name(clip.split("/")[0]), codes, sound, options)


def _voice(where: str, content: object) -> Float[np.ndarray, "samples"]:
    """Of a sound file's bytes, in [-1, 1]."""
    import soundfile

    with refusing(where, "a FLAC file of 16 kHz"), soundfile.SoundFile(io.BytesIO(content)) as file:
        if file.samplerate != RATE or file.channels != 1 or file.frames > LONGEST * RATE:
            found = f"{file.samplerate} Hz, {file.channels} channels, {file.frames} samples"
            raise InputError(
                where, expected=f"mono of {RATE} Hz, at most {LONGEST} s", found=found, remedy="is this DiffPoseTalk's database?"
            )
        return file.read(dtype="float32")
