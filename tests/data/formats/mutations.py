"""A byte-flip fuzzer over every reader: sound files of each format, damaged one place at a time, read as `mango data inspect` reads them.

Zip members are also damaged inside with their checksums put right, so that what lies behind the zip is reached too; in JSON a value is
exchanged for one that nobody expects there, or taken out.
"""

import io
import json
import pickle
import time
import tokenize
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import foreign
import numpy as np

from mango.data.formats.conventions import check
from mango.data.formats.films import pictures_at
from mango.data.formats.kinds import describe
from mango.data.formats.registry import FORMATS, load
from mango.errors import InputError

FRAMES = 3  # small sources: a mutation is read in milliseconds
ZIPS = (b"PK\x03\x04",)
ODD = (None, -1, 0, 1e300, float("nan"), 2**70, "", "../../x", "x\0", [], {}, [[]], True, ["x"] * 4)  # for values of JSON
FORESEEN = (ValueError, KeyError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError, tokenize.TokenError, type(None))  # by a reader

Sources = Callable[[Path, foreign.Face, foreign.Face], Path]
SOURCES: dict[str, Sources] = {
    "dualtalk": lambda folder, ann, bob: foreign.dualtalk(folder / "s", faces=(ann, bob)),
    "dualtalk-arkit": lambda folder, ann, bob: foreign.dualtalk_arkit(folder / "s", (ann, bob)),
    "dualtalk prediction": lambda folder, ann, bob: foreign.dualtalk_prediction(folder / "s.npy", ann),
    "seamless": lambda folder, ann, bob: foreign.seamless(folder / "s", (ann, bob)),
    "vhap": lambda folder, ann, bob: foreign.vhap(folder / "s", ann),
    "vhap filmed": lambda folder, ann, bob: foreign.vhap_filmed(folder / "s", ann),
    "vhap tracked": lambda folder, ann, bob: foreign.vhap_tracked(folder / "s.npz", ann),
    "diffposetalk": lambda folder, ann, bob: foreign.diffposetalk(folder / "s.npz", ann),
    "deca": lambda folder, ann, bob: foreign.deca(folder / "s.npz", ann),
    "deca emoca": lambda folder, ann, bob: foreign.emoca(folder / "s", ann),
    "smirk": lambda folder, ann, bob: foreign.smirk(folder / "s.pkl", ann),
    "metrical-tracker": lambda folder, ann, bob: foreign.metrical_tracker(folder / "s", ann),
    "gagavatar-track": lambda folder, ann, bob: foreign.gagavatar(folder / "s.pkl", ann),
    "unils": lambda folder, ann, bob: foreign.unils(folder / "s", (ann, bob)),
    "diffposetalk-lmdb": lambda folder, ann, bob: foreign.diffposetalk_lmdb(folder / "s", ann, segment=2),
    "artalk": lambda folder, ann, bob: foreign.artalk(folder / "s.pt", ann),
    "lam-json": lambda folder, ann, bob: foreign.lam_json(folder / "s.json", ann),
    "livelink-csv": lambda folder, ann, bob: foreign.livelink(folder / "s.csv", ann),
    "a2f-csv": lambda folder, ann, bob: foreign.a2f(folder / "s.csv", ann),
    "arkit-npy": lambda folder, ann, bob: foreign.arkit_npy(folder / "s.npy", ann),
    "arkit-npz": lambda folder, ann, bob: foreign.arkit_npz(folder / "s.npz", ann),
    "stereo": lambda folder, ann, bob: foreign.stereo(folder / "s.wav", (ann, bob)),
    "plain": lambda folder, ann, bob: foreign.film(folder / "s.mp4", FRAMES, 25, ann.voice),
}

DATABASES = ("unils", "diffposetalk-lmdb")  # that the package lmdb is needed for


@dataclass
class Outcome:
    """What became of all mutations of one format."""

    mutations: int
    read: int = 0  # the damage was harmless, or changed numbers alone
    refused: int = 0
    slowest: float = 0.0  # seconds
    escaped: list[str] = field(default_factory=list)  # anything but InputError: must stay empty
    causes: dict[str, int] = field(default_factory=dict)  # errors that a reader did not foresee and the border turned into InputError


def source_of(name: str, folder: Path) -> Path:
    """A small sound source."""
    before, foreign.FRAMES = foreign.FRAMES, FRAMES
    try:
        return SOURCES[name](folder, foreign.face(1, FRAMES), foreign.face(2, FRAMES))
    finally:
        foreign.FRAMES = before


def fuzzed(name: str, folder: Path, mutations: int, seed: int = 0) -> Outcome:
    """Damage one file of the source at a time; the same seed is the same damage."""
    path = source_of(name, folder)
    outcome = Outcome(mutations)
    for number in range(mutations):
        kind, words, seconds = _one(name, path, [seed, number])
        outcome.slowest = max(outcome.slowest, seconds)
        outcome.read += kind == "read"
        outcome.refused += kind == "refused"
        if kind == "escaped":
            outcome.escaped.append(words)
        elif words:
            outcome.causes[words] = outcome.causes.get(words, 0) + 1
    return outcome


def _one(name: str, path: Path, seed: list[int]) -> tuple[str, str, float]:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    draw = np.random.default_rng(seed)
    file = files[draw.integers(len(files))]
    content = file.read_bytes()
    _put(file, damaged(content, draw))
    began = time.perf_counter()
    try:
        with np.errstate(all="ignore"):  # numbers as large as a flipped exponent makes them
            _read(name, path, file)
        return "read", "", time.perf_counter() - began
    except InputError as error:
        cause = error.__cause__
        return "refused", "" if isinstance(cause, FORESEEN) else type(cause).__name__, time.perf_counter() - began
    except Exception as error:
        return "escaped", f"seed {seed}: {type(error).__name__}: {error}", time.perf_counter() - began
    finally:
        _put(file, content)


def _put(file: Path, content: bytes) -> None:
    """In place: emptying a file first takes a disk a millisecond."""
    with file.open("r+b") as target:
        target.write(content)
        target.truncate()


def _read(name: str, path: Path, file: Path) -> None:
    format = FORMATS[name.split()[0]]
    format.recognise(path)
    describe(file)
    for entry in format.entries(path):
        recording = load(entry)
        check(recording)
        for person in recording.people:
            if person.film is not None and (path.is_file() or person.film.pictures):  # decoding a film once is enough
                for _ in pictures_at(person.film, [Fraction(0), (person.film.frames - 1) / person.film.fps]):
                    pass


def damaged(content: bytes, draw: np.random.Generator) -> bytes:
    """One fault: in the file, in a member of a zip with the checksum put right, or in a value of JSON."""
    if content[:4] in ZIPS and draw.random() < 0.6:
        return _inside_zip(content, draw)
    if content[:1] in b"{[" and draw.random() < 0.6:
        return _inside_json(content, draw)
    return _flipped(content, draw)


def _flipped(content: bytes, draw: np.random.Generator) -> bytes:
    data = bytearray(content)
    if not data:
        return bytes(draw.integers(0, 256, 8, np.uint8))
    # half of all faults lie in the first bytes, where headers are
    at = int(draw.integers(min(len(data), 200 if draw.random() < 0.5 else len(data))))
    fault = draw.integers(7)
    if fault <= 2:
        data[at] ^= 1 << int(draw.integers(8))
    elif fault == 3:
        data[at : at + 4] = draw.choice([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"])
    elif fault == 4:
        del data[at:]
    elif fault == 5:
        data[at:at] = bytes(draw.integers(0, 256, int(draw.integers(1, 9)), np.uint8))
    else:
        piece = data[at : at + 16]
        other = int(draw.integers(len(data)))
        data[other : other + len(piece)] = piece
    return bytes(data)


def _inside_zip(content: bytes, draw: np.random.Generator) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = list(members)[draw.integers(len(members))]
    members[name] = _flipped(members[name], draw)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for each, data in members.items():
            archive.writestr(each, data)
    return packed.getvalue()


def _inside_json(content: bytes, draw: np.random.Generator) -> bytes:
    held = json.loads(content)
    places, waiting = [], [held]
    while waiting:
        inside = waiting.pop()
        for key in list(inside) if isinstance(inside, dict) else range(len(inside)):
            places.append((inside, key))
            if isinstance(inside[key], dict | list):
                waiting.append(inside[key])
    inside, key = places[draw.integers(len(places))]
    if draw.random() < 0.2:
        del inside[key]
    elif isinstance(inside[key], int | float) and draw.random() < 0.5:
        inside[key] = -inside[key] * float(draw.choice([1.0, 1e3, 1e30]))
    else:
        inside[key] = ODD[draw.integers(len(ODD))]
    return json.dumps(held).encode()


def all_names() -> Iterator[str]:
    """Those that can be read here."""
    for name in SOURCES:
        if name in DATABASES:
            try:
                import lmdb  # noqa: F401
            except ImportError:
                continue
        yield name
