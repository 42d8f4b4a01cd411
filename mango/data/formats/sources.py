"""The files that a recording was read from: which they are, whether they look as they did, and what is in them."""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from mango.data.formats import frame_records
from mango.data.formats.beside import beside
from mango.data.formats.registry import FORMATS
from mango.data.formats.sounds import FILMS, SUFFIXES
from mango.errors import check_utf8

BESIDE = (*SUFFIXES, ".rttm")  # of the same name: read too where they are
RECORDINGS = (
    *SUFFIXES, *FILMS, *frame_records.SUFFIXES, ".csv",
    ".aif", ".aiff", ".caf", ".mpg", ".mts", ".opus", ".wma", ".wmv",
)  # fmt: skip


def files_of(sources: Sequence[Path]) -> list[Path]:
    """Every file, those in folders and those beside included."""
    found: dict[Path, None] = {}
    for path in sources:
        if path.is_dir():
            inside = sorted(item for item in path.rglob("*") if item.is_file())
            found |= dict.fromkeys(item for item in inside if not any(part.startswith(".") for part in item.relative_to(path).parts))
        elif path.is_file():
            found[path] = None
        found |= dict.fromkeys(beside(path, BESIDE))
    return list(found)


def unread(source: Path, read: Sequence[Path]) -> list[Path]:
    """Files of a folder that look like recordings, and are none of ``read``, nor in it, nor beside it."""
    source, known = source.absolute(), {file.absolute() for file in files_of(read)}
    left = [file for file in files_of([source]) if file.is_relative_to(source) and file not in known] if source.is_dir() else []
    lam = FORMATS["lam-json"]  # other JSON describes something
    return [file for file in left if file.suffix.lower() in RECORDINGS or (file.suffix.lower() == ".json" and lam.recognise(file))]


def look_of(sources: Sequence[Path]) -> str:
    """Changes when a file comes, goes, or is written: names, sizes and times, nothing is read."""
    stats = [(path.name, path.stat()) for path in files_of(sources)]
    return hashlib.sha256(json.dumps([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]).encode()).hexdigest()


def digest_of(sources: Sequence[Path]) -> str:
    """Of names and contents, wherever the files lie."""
    total = hashlib.sha256()
    for path in files_of(sources):
        stat = path.stat()
        check_utf8(path)
        total.update(f"{path.name} {stat.st_size} {_content(path, stat.st_size, stat.st_mtime_ns)}\n".encode())
    return total.hexdigest()


def folder_digest(folder: Path) -> str:
    """Of everything in a folder, by name."""
    total = hashlib.sha256()
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        total.update(f"{path.relative_to(folder)} {_digest(path)}\n".encode())
    return total.hexdigest()


@lru_cache(maxsize=4096)
def _content(path: Path, size: int, modified: int) -> str:
    """Once a process: all recordings of a database are read from one file."""
    return _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
