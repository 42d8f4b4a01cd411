"""Plain recordings: one film or voice, or a folder of them. Two of one name but for the side (left/right, a/b, own/partner,
speaker1/speaker2, 1/2, 0/1) are a dialogue, and so are the only two films of a folder; of more than two numbers each is a take of one
person. A voice of a film's name is that film's sound.
"""

import re
from fractions import Fraction
from functools import partial
from pathlib import Path

from mango.data.formats.films import film_of, words_of
from mango.data.formats.recordings import Entry, Options, PersonRecording, Recording, assumed, certain, in_folder
from mango.data.formats.sounds import FILMS, SUFFIXES, sound_beside, sound_of
from mango.errors import InputError

PAIRS = (("left", "right"), ("a", "b"), ("own", "partner"), ("speaker1", "speaker2"), ("person1", "person2"), ("1", "2"), ("0", "1"))
SIDE = re.compile(
    r"(?P<name>.*?)(?:^|[ ._-])(?P<side>" + "|".join(sorted({side for pair in PAIRS for side in pair}, key=len, reverse=True)) + ")", re.I
)
NUMBERED = re.compile(r"(?P<name>.*?)(?:^|[ ._-])(?P<number>\d+)")

Group = tuple[str, tuple[Path, ...], bool]  # name of a recording; its files, a's first; whether it is one of more than two numbers


def recognise(path: Path) -> str | None:
    groups = list(_groups(path))
    if not groups:
        return None
    counts = {people: sum(len(files) == people for _, files, _ in groups) for people in (2, 1)}
    words = {2: "recordings of two people", 1: "of one person"}
    return ", ".join(f"{count} {words[people]}" for people, count in counts.items() if count)


def entries(path: Path, options: Options) -> list[Entry]:
    return [Entry(id, _people(id, files), files, partial(_recording, id, files, take)) for id, files, take in _groups(path)]


def _people(id: str, files: tuple[Path, ...]) -> tuple[str, ...]:
    return (id,) if len(files) == 1 else (f"{id}_a", f"{id}_b")


def _groups(path: Path) -> list[Group]:
    if path.is_file():
        return [(path.stem, (path,), False)] if path.suffix.lower() in (*FILMS, *SUFFIXES) and _opens(path) else []
    found = []
    for folder in (path, *sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))):
        files = sorted(item for item in folder.iterdir() if item.is_file() and not item.name.startswith("."))
        films = [file for file in files if file.suffix.lower() in FILMS]
        named = {film.stem for film in films}
        voices = [file for file in files if file.suffix.lower() in SUFFIXES and file.stem not in named]
        if len(films) == 2 and not voices:
            found.append((folder.name, _in_order(films), False))
        else:
            inside = _paired([*films, *voices])
            found += inside if folder == path else [(in_folder(folder, id), *rest) for id, *rest in inside]
    return found


def _opens(path: Path) -> bool:
    try:
        film_of(path) if path.suffix.lower() in FILMS else sound_of(path)
    except InputError:
        return False
    return True


def _in_order(films: list[Path]) -> tuple[Path, ...]:
    """a's first, by their sides where both have one."""
    pairs = _paired(films)
    return pairs[0][1] if len(pairs) == 1 else tuple(films)


def _paired(files: list[Path]) -> list[Group]:
    numbers: dict[str, dict[str, Path]] = {}
    for file in files:
        if match := NUMBERED.fullmatch(file.stem):
            numbers.setdefault(match["name"], {})[match["number"]] = file
    takes = {file for numbered in numbers.values() if len(numbered) > 2 for file in numbered.values()}
    by_side = {}
    for file in files:
        match = SIDE.fullmatch(file.stem)
        if match and file not in takes:
            by_side[match["name"], match["side"].lower()] = file
    found, taken = [], set()
    for (name, side), file in by_side.items():
        other = next((by_side[name, second] for first, second in PAIRS if first == side and (name, second) in by_side), None)
        if other is not None and not taken & {file, other}:
            found.append((name or file.parent.name, (file, other), False))
            taken |= {file, other}
    return found + [(file.stem, (file,), file in takes) for file in files if file not in taken]


def _recording(id: str, files: tuple[Path, ...], take: bool) -> Recording:
    people, beliefs, rate = [], [], Fraction(25)
    for name, file in zip(_people(id, files), files, strict=True):
        if file.suffix.lower() in FILMS:
            film = film_of(file)
            sound = sound_beside(file) or film.sound
            rate = film.fps
            beliefs.append(certain(f"{file.name}: {film.frames} frames of {film.size[1]}x{film.size[0]} at {float(film.fps):.5g} fps"))
            beliefs += words_of(film)
            if sound is None:
                beliefs.append(certain(f"{file.name}: no sound"))
            people.append(PersonRecording(name, sound=sound, film=film))
        else:
            sound = sound_of(file)
            beliefs.append(certain(f"{file.name}: {sound.seconds:.2f} s at {sound.rate} Hz"))
            people.append(PersonRecording(name, sound=sound))
    if take:
        beliefs.append(assumed("numbered like more than one other: a take of one person (two sides of a dialogue are NAME_a and NAME_b)"))
    if len(files) == 2:
        beliefs.append(assumed("of two files the first by side (left, a, own, 1 ...) or name is person a; both start at the same moment"))
    return Recording(id, tuple(people), rate, tuple(beliefs), fps_is_stated=True)
