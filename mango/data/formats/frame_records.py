"""Parameters by name, of one frame or many: a dict in an npz, pickle or torch file, a list of dicts, a folder with a file per frame."""

import re
import zipfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mango.data.formats.guarded import AGAIN, LARGEST_BUNDLE, content_of, needed, npz_of, numbers
from mango.data.formats.torch_files import is_torch_file, torch_content
from mango.errors import InputError
from mango.pickles import unpickled

MOST_FRAMES = 1_000_000
SUFFIXES = (".npz", ".pkl", ".pickle", ".pt", ".pth", ".frame", ".npy")


def record_of(path: Path) -> object:
    """What one file holds, told by its first bytes."""
    start = content_of(path, LARGEST_BUNDLE, start=4)
    if start[:2] == b"PK" and zipfile.is_zipfile(path):
        return torch_content(path) if is_torch_file(path) else npz_of(path)
    if start[:1] in (b"\x80", b"(", b"}", b"]", b"c"):
        return unpickled(content_of(path, LARGEST_BUNDLE), path)
    raise InputError(path, expected="an npz, a pickle or a torch file", found=f"bytes that start with {start!r}", remedy=AGAIN)


def frame_files(folder: Path) -> list[Path]:
    """The files of a folder in the order of the numbers in their names."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")]
    if len(files) > MOST_FRAMES:
        raise InputError(folder, expected=f"at most {MOST_FRAMES} frames", found=f"{len(files)}", remedy="split the folder")
    return sorted(files, key=lambda path: ([int(number) for number in re.findall(r"\d+", path.stem)], path.name))


def check_counted(where: Path, names: Sequence[str]) -> None:
    """Frames that the numbers in their names count. A frame that was lost would be closed up, and all later motion come too early.

    The first number that changes counts them, in steps of any size. Errors: InputError for a hole, and for names that count nothing.
    """
    counts = [[int(number) for number in re.findall(r"\d+", name)] for name in names]
    if len(counts) < 2:
        return
    odd = next((name for name, count in zip(names, counts, strict=True) if len(count) != len(counts[0])), None)
    column = next((column for column in zip(*counts, strict=False) if len(set(column)) > 1), None)
    if odd is not None or column is None:
        found, remedy = f"{names[0]!r} and {odd or names[1]!r}", "leave one file for each frame, all named alike"
        raise InputError(where, expected="names that count frames", found=found, remedy=remedy)
    steps = [after - before for before, after in pairwise(column)]
    step = min(steps)
    if step < 1:
        k = steps.index(step)
        remedy = "give each person, camera or take a folder of its own"
        raise InputError(where, expected=f"frame {column[k]} once", found=f"{names[k]!r} and {names[k + 1]!r}", remedy=remedy)
    k = next((k for k, size in enumerate(steps) if size > 1.5 * step), None)
    if k is not None:
        found, remedy = f"{names[k + 1]!r} after {names[k]!r}", "track these frames again, or cut film and sound there too"
        raise InputError(where, expected=f"frame {column[k] + step}", found=found, remedy=remedy)


def frame_sequence(folder: Path) -> list[Path]:
    """The files of a folder, one of each frame. Errors: InputError where one is missing."""
    files = frame_files(folder)
    check_counted(folder, [file.stem for file in files])
    return files


def records_of(path: Path) -> list[Mapping]:
    """One dict a file, or the dicts of a list, in order."""
    contents = [record_of(file) for file in frame_sequence(path)] if path.is_dir() else [record_of(path)]
    if len(contents) == 1 and isinstance(contents[0], list | tuple):
        contents = list(contents[0])
    if not contents or not all(isinstance(content, Mapping) for content in contents):
        found = "nothing" if not contents else "something else"
        raise InputError(path, expected="parameters by name", found=found, remedy="`mango data inspect` says what it is")
    return contents


def first_record(path: Path) -> Mapping | None:
    """For recognising: the first frame's parameters."""
    file = path
    if path.is_dir():
        files = frame_files(path)
        if not files:
            return None
        file = files[0]
    content = record_of(file)
    if isinstance(content, list | tuple) and content:
        content = content[0]
    return content if isinstance(content, Mapping) else None


def width_of(record: Mapping, *names: str) -> int | None:
    """The last axis of the first of these names that is there; a vector's length."""
    for name in names:
        if name in record:
            shape = np.shape(record[name])
            return shape[-1] if shape else None
    return None


def stacked(where: Path, records: Sequence[Mapping], names: Sequence[str], width: int | None) -> Float[np.ndarray, "time width"]:
    """One parameter of all frames, under the first of ``names`` that is there.

    (width,) or (1, width) in every record, or (time, width) in the only one. Errors: InputError where one of several holds several frames:
    another take's, or the next ones?
    """
    name = next((name for name in names if name in records[0]), None)
    if name is None:
        needed(where, records[0], names[0])
    rows = []
    for number, record in enumerate(records):
        values = np.asarray(needed(f"{where}, frame {number}" if len(records) > 1 else where, record, name)[name])
        values = values[None] if values.ndim == 1 else values
        if values.ndim == 3 and values.shape[0] == 1:
            values = values[0]
        if len(records) > 1 and values.ndim == 2 and len(values) != 1:
            found, remedy = f"{name} of {len(values)}", "put each recording into a folder of its own; join the parts of one"
            raise InputError(f"{where}, record {number}", expected="one frame in each of several", found=found, remedy=remedy)
        rows.append(numbers(where, name, values, (None, width if width is not None else values.shape[-1] if values.ndim else 0)))
    if len({row.shape[1] for row in rows}) > 1:
        raise InputError(where, expected=f"{name} of one width", found="several", remedy="are these frames of one run?")
    return np.concatenate(rows)
