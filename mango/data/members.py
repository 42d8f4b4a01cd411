"""Files inside a shard, read where they lie: a member has the half of ``pathlib.Path`` that readers use, and nothing is extracted.

Its bytes are checked against the digest they were packed with when it is opened for the first time, so that no reader ever sees
others.
"""

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mango.errors import InputError
from mango.types import StoredFile

PIECE = 2**20  # bytes read at a time


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member's bytes lie in its shard, and which they are."""

    start: int
    size: int
    sha256: str


@dataclass(frozen=True)
class PackedFolder:
    """A dialogue's folder inside a shard."""

    shard: Path
    id: str
    places: Mapping[str, Place]  # by name within the dialogue, such as "a.wav"
    intact: set[str] = field(default_factory=set, compare=False, repr=False)  # members whose bytes have been checked

    @property
    def name(self) -> str:
        return self.id

    def __str__(self) -> str:
        return os.fspath(self.shard / key_of(self.id))

    def __truediv__(self, name: str) -> "Member":
        return Member(self, name)

    def is_dir(self) -> bool:
        return True

    def iterdir(self) -> Iterator["Member"]:
        return (self / name for name in sorted(self.places))


@dataclass(frozen=True)
class Member:
    """A file of a dialogue inside a shard, which may also not be there."""

    folder: PackedFolder
    name: str  # within the dialogue

    def __str__(self) -> str:
        return f"{self.folder}.{self.name}"

    def __hash__(self) -> int:
        return hash((self.folder.shard, self.folder.id, self.name))

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    def with_suffix(self, suffix: str) -> "Member":
        return self.folder / Path(self.name).with_suffix(suffix).name

    def exists(self) -> bool:
        return self.name in self.folder.places

    def is_file(self) -> bool:
        return self.exists()

    def open(self, mode: str = "rb") -> io.BufferedReader:
        assert mode == "rb", f"members of shards are read, in bytes; not opened with {mode!r}"
        self.check()
        return io.BufferedReader(_Range(self.folder.shard, self._place()), PIECE)

    def read_bytes(self) -> bytes:
        with self.open() as file:
            return file.read()

    def read_text(self, encoding: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8")

    def span(self) -> tuple[Path, int, int]:
        """The file that holds the bytes, the first of them, and how many."""
        place = self._place()
        return self.folder.shard, place.start, place.size

    def check(self) -> None:
        """An ``InputError`` that names shard, member and dialogue, unless the bytes are those that were packed."""
        if self.name in self.folder.intact:
            return
        place = self._place()
        digest = sha256_of(self.folder.shard, place)
        if digest != place.sha256:
            expected = f"the bytes that were packed (sha256 {place.sha256[:12]})"
            remedy = f"copy the shard again, or pack dialogue {self.folder.id} again"
            raise InputError(self, expected=expected, found=f"others ({digest[:12]})", remedy=remedy)
        self.folder.intact.add(self.name)

    def _place(self) -> Place:
        if self.name not in self.folder.places:
            raise FileNotFoundError(str(self))
        return self.folder.places[self.name]


def key_of(id: str) -> str:
    """The sample's key in a shard. WebDataset ends a key at the first dot, so dots of a dialogue's name are written as %2E."""
    return id.replace(".", "%2E")


def id_of(key: str) -> str:
    return key.replace("%2E", ".")


def span(file: StoredFile) -> tuple[Path, int, int]:
    """The file on disk that holds the bytes, the first of them, and how many."""
    return file.span() if isinstance(file, Member) else (file, 0, os.stat(file).st_size)


def sha256_of(path: Path, place: Place) -> str:
    """Of the bytes there, or of as many as there are."""
    digest = hashlib.sha256()
    with _Range(path, place) as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


class _Range(io.RawIOBase):
    """Some bytes of a file as a file of their own."""

    def __init__(self, path: Path, place: Place):
        self._file, self._place, self._at = None, place, 0
        try:
            self._file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise InputError(path, expected="a shard", found="no such file", remedy="copy the shard here again") from None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._place.size}[whence]
        if start + offset < 0:
            raise ValueError(f"a place before the first byte: {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer) -> int:
        wanted = max(0, min(len(buffer), self._place.size - self._at))
        content = os.pread(self._file, wanted, self._place.start + self._at)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None
        super().close()
