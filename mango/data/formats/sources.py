"""The files that a recording was read from: which they are, whether they look as they did, and what is in them."""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from mango.data.formats.beside import beside
from mango.data.formats.sounds import SUFFIXES

BESIDE = (*SUFFIXES, ".rttm", ".csv")  # of the same name: read too where they are


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


def look_of(sources: Sequence[Path]) -> str:
    """Changes when a file comes, goes, or is written: names, sizes and times, nothing is read."""
    stats = [(path.name, path.stat()) for path in files_of(sources)]
    return hashlib.sha256(json.dumps([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]).encode()).hexdigest()


def digest_of(sources: Sequence[Path]) -> str:
    """Of names and contents, wherever the files lie."""
    total = hashlib.sha256()
    for path in files_of(sources):
        stat = path.stat()
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
