"""UniLS and ARTalk training data: an LMDB of npz bytes, each with `audio` (S,) at 16 kHz, `motioncode` (T, 106 or 112) at 25 fps and
perhaps `speech_mask`. Who talks to whom is in a JSON beside it: {split: {dialogue: [key, key, frames]}}.

ROOT/*.json ROOT/**/data.mdb, or the folder of data.mdb. Without pairs every key is a person alone.
"""

from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from mango.data.formats.artalk import motion_of_codes
from mango.data.formats.guarded import arrays_of, json_of, needed, numbers
from mango.data.formats.lmdb_files import database_in, keys_of, value_of
from mango.data.formats.recordings import Entry, Options, PersonRecording, Recording, as_name, assumed
from mango.data.formats.sounds import sound_in_memory
from mango.errors import InputError

RATE = 16_000


def recognise(path: Path) -> str | None:
    database = database_in(path)
    if database is None:
        return None
    keys = keys_of(database)
    for key in keys[:3]:
        content = value_of(database, key)
        if content[:2] == b"PK" and {"audio", "motioncode"} <= arrays_of(path, content).keys():
            return f"an LMDB of {len(keys)} recordings with audio and motioncode"
    return None


def entries(path: Path, options: Options) -> list[Entry]:
    database = database_in(path)
    if database is None:
        raise InputError(path, expected="a folder with data.mdb", found="none", remedy="name the folder of the LMDB")
    keys = set(keys_of(database))
    found = []
    for split, dialogues in _pairs(path).items():
        for id, (first, second, *_) in dialogues.items():
            if {first, second} <= keys:
                people = (as_name(first), as_name(second))
                load = partial(_recording, as_name(id), database, (first, second), people, options)
                split = {"valid": "val", "validation": "val"}.get(split, as_name(split))
                found.append(Entry(as_name(id), people, (database,), load, split))
    if not found:
        found = [
            Entry(name, (name,), (database,), partial(_recording, name, database, (key,), (name,), options))
            for key, name in ((key, as_name(key)) for key in sorted(keys))
        ]
    return found


def _pairs(path: Path) -> dict[str, dict[str, list]]:
    """Of the first JSON file that holds some."""
    for file in sorted(path.glob("*.json")) if path.is_dir() else ():
        content = json_of(file)
        if isinstance(content, dict) and content and all(isinstance(part, dict) for part in content.values()):
            pairs = {
                split: {id: pair for id, pair in part.items() if isinstance(pair, list) and len(pair) >= 2 and isinstance(pair[0], str)}
                for split, part in content.items()
            }
            if any(pairs.values()):
                return pairs
    return {}


def _recording(id: str, database: Path, keys: tuple[str, ...], people: tuple[str, ...], options: Options) -> Recording:
    sides, beliefs = [], []
    for key, person in zip(keys, people, strict=True):
        where = f"{database}, {key}"
        arrays = needed(where, arrays_of(where, value_of(database, key)), "audio", "motioncode")
        motion, said = motion_of_codes(where, arrays["motioncode"], options.flame_version)
        audio = numbers(where, "audio", np.ravel(arrays["audio"]), (None,))
        sides.append(PersonRecording(person, motion, sound_in_memory(audio, RATE)))
        beliefs += said
        if "speech_mask" in arrays:
            beliefs.append(assumed("speech_mask says who speaks, not which frames are good; it is left out"))
    rate = Fraction(options.fps or 25).limit_denominator(1001)
    return Recording(id, tuple(sides), rate, tuple(dict.fromkeys(beliefs)), fps_is_stated=options.fps is not None)
