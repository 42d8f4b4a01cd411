"""UniLS and ARTalk training data: an LMDB of npz bytes, each with `audio` (S,) at 16 kHz, `motioncode` (T, 106 or 112) at 25 fps and
perhaps `speech_mask`. Who talks to whom is in a JSON beside it: {split: {dialogue: [key, key, frames]}}.

ROOT/*.json, ROOT/data.mdb or ROOT/*/data.mdb, one or several. Without pairs every key is a person alone.
"""

from collections.abc import Set
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from mango.data.formats.artalk import motion_of_codes
from mango.data.formats.guarded import arrays_of, json_of, needed, numbers
from mango.data.formats.lmdb_files import databases_in, keys_of, needed_databases, value_of
from mango.data.formats.recordings import Entry, Options, PersonRecording, Recording, as_name, assumed
from mango.data.formats.sounds import sound_in_memory
from mango.errors import InputError

RATE = 16_000


def recognise(path: Path) -> str | None:
    keys = {database: keys_of(database) for database in databases_in(path)}
    for database, known in keys.items():
        for key in known[:3]:
            content = value_of(database, key)
            if content[:2] == b"PK" and {"audio", "motioncode"} <= arrays_of(path, content).keys():
                return f"an LMDB of {sum(map(len, keys.values()))} recordings with audio and motioncode"
    return None


def entries(path: Path, options: Options) -> list[Entry]:
    databases = needed_databases(path)
    homes: dict[str, list[Path]] = {}
    for database in databases:
        for key in keys_of(database):
            homes.setdefault(key, []).append(database)
    found = []
    for split, id, keys in _pairs(path, homes.keys()):
        places = tuple(tuple(_of_split(homes.get(key, []), split)) for key in keys)
        people = tuple(as_name(key) for key in keys)
        load = partial(_recording, as_name(id), places, keys, people, options)
        named = {"valid": "val", "validation": "val"}.get(split, as_name(split))
        found.append(Entry(as_name(id), people, tuple(dict.fromkeys(sum(places, ()))) or tuple(databases), load, named))
    if not found:
        found = [
            Entry(name, (name,), (database,), partial(_recording, name, ((database,),), (key,), (name,), options))
            for key, name in ((key, as_name(key)) for key in sorted(homes))
            for database in homes[key]
        ]
    return found


def _of_split(databases: list[Path], split: str) -> list[Path]:
    """Of several that have a key, those in the folder of the split."""
    return [database for database in databases if database.parent.name == split] or databases if len(databases) > 1 else databases


def _pairs(path: Path, known: Set[str]) -> list[tuple[str, str, tuple[str, str]]]:
    """Split, name and keys of each dialogue of the JSON files that name known keys."""
    found = []
    for file in sorted(path.glob("*.json")) if path.is_dir() else ():
        content = json_of(file)
        if isinstance(content, dict) and all(isinstance(part, dict) for part in content.values()):
            pairs = [
                (split, id, (pair[0], pair[1]))
                for split, part in content.items()
                for id, pair in part.items()
                if isinstance(pair, list) and len(pair) >= 2 and isinstance(pair[0], str) and isinstance(pair[1], str)
            ]
            found += pairs if any(known & set(keys) for _, _, keys in pairs) else []
    return list(dict.fromkeys(found))


def _recording(
    id: str, places: tuple[tuple[Path, ...], ...], keys: tuple[str, ...], people: tuple[str, ...], options: Options
) -> Recording:
    """``places``: the databases that have each key."""
    sides, beliefs = [], []
    for key, person, databases in zip(keys, people, places, strict=True):
        if len(databases) != 1:
            found, remedy = ", ".join(map(str, databases)) or "none", "download all databases, or correct the list of pairs"
            raise InputError(id, expected=f"one database with {key}", found=found, remedy=remedy)
        (database,) = databases
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
