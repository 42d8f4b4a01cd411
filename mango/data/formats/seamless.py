"""Seamless Interaction (Agrawal et al. 2025): V##_S####_I########_P####.{mp4,wav,npz,json}, two P of one V, S, I are a dialogue. Films of
30 fps are brought to 25 exactly. The npz's movement:* features are another model's codes, not FLAME's: they are named, not imported.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from mango.data.formats.beside import beside
from mango.data.formats.films import film_of, words_of
from mango.data.formats.guarded import json_of, npz_of
from mango.data.formats.recordings import Assumption, Entry, Options, PersonRecording, Recording, assumed, certain, converted
from mango.data.formats.sounds import sound_of

NAME = re.compile(r"(?P<recording>V\d+_S\d+_I\d+)_(?P<person>P\d+\w*)")
SUFFIXES = (".mp4", ".wav", ".npz", ".json")
NATIVE = Fraction(30)


def recognise(path: Path) -> str | None:
    for recording, people in _recordings(path).items():
        for files in people.values():
            features = npz_of(files[".npz"]).keys() if ".npz" in files else ()
            described = json_of(files[".json"]) if ".json" in files else {}
            marked = any(name.startswith(("movement:", "smplh:", "boxes_and_keypoints:")) for name in features)
            if marked or (isinstance(described, Mapping) and any(str(key).startswith("metadata:") for key in described)):
                return f"{len(_recordings(path))} interactions, the first {recording} of {len(people)} people"
        return None
    return None


def entries(path: Path, options: Options) -> list[Entry]:
    found = []
    for recording, people in sorted(_recordings(path).items()):
        names = tuple(sorted(people))[:2]
        chosen = {name: people[name] for name in names}
        files = tuple(file for of_person in chosen.values() for file in of_person.values())
        found.append(Entry(recording, names, files, partial(_recording, recording, chosen)))
    return found


def _recordings(path: Path) -> dict[str, dict[str, dict[str, Path]]]:
    """recording -> person -> suffix -> file."""
    if path.is_file():
        match = NAME.fullmatch(path.stem)
        files = beside(path, SUFFIXES) if match else []
    else:
        files = sorted(file for pattern in ("V*_P*", "*/V*_P*") for file in path.glob(pattern))
    found: dict[str, dict[str, dict[str, Path]]] = {}
    for file in files:
        match = NAME.fullmatch(file.stem)
        if match and file.suffix.lower() in SUFFIXES and file.is_file():
            found.setdefault(match["recording"], {}).setdefault(match["person"], {})[file.suffix.lower()] = file
    return found


def _recording(id: str, people: Mapping[str, Mapping[str, Path]]) -> Recording:
    sides, beliefs, rate, facts = [], [], Fraction(25), {}
    for person, files in people.items():
        film = film_of(files[".mp4"]) if ".mp4" in files else None
        sound = sound_of(files[".wav"]) if ".wav" in files else film.sound if film is not None else None
        valid = None
        if ".npz" in files:
            features = npz_of(files[".npz"])
            beliefs += _features(person, features)
            if "movement:is_valid" in features:
                valid = features["movement:is_valid"].ravel() > 0
        if film is not None:
            rate = film.fps
            beliefs += words_of(film)
        if ".json" in files and isinstance(described := json_of(files[".json"]), Mapping):
            facts[f"described by {files['.json'].name}"] = ", ".join(str(key)[:60] for key in described)
        sides.append(PersonRecording(person, sound=sound, film=film, valid=valid))
    if any(side.film is not None for side in sides):
        beliefs.append(converted(f"films of {float(rate):.5g} fps to 25: each frame shows the source's frame nearest in time"))
    if len(sides) == 1:
        beliefs.append(certain("the other person of this interaction is not here"))
    beliefs.append(assumed("CC-BY-NC: not for commercial use"))
    return Recording(id, tuple(sides), rate, tuple(beliefs), facts, fps_is_stated=True)


def _features(person: str, features: Mapping[str, np.ndarray]) -> list[Assumption]:
    shown = [f"{name} {array.shape}" for name, array in features.items() if name.startswith("movement:")]
    words = [certain(f"{person}: features at {NATIVE} Hz, not FLAME's, are not imported: {', '.join(shown[:6]) or 'none of movement'}")]
    if "movement:is_valid" in features:
        valid = features["movement:is_valid"].ravel() > 0
        words.append(certain(f"{person}: {valid.sum()} of {len(valid)} frames valid by the source"))
    return words
