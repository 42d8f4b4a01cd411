"""Files and folders that are there completely or not at all.

Everything is written beside its place under a hidden name, flushed to the disk, then renamed. A name that ends in
``.partial`` was left by a process that was killed; the next process that writes into the folder clears it away.
"""

import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import count
from pathlib import Path

from mango.errors import InputError

PARTIAL = ".partial"
_turn = count()
_OF_THE_DISK = {  # what a user can do something about; every other OSError is a bug and stays one
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EFBIG: "raise the file size limit (ulimit -f) or choose another folder",
    errno.EACCES: "choose a folder you may write to",
    errno.EPERM: "choose a folder you may write to",
    errno.EROFS: "choose a folder you may write to",
    errno.ENOTDIR: "choose another folder: part of this path is a file",
    errno.EEXIST: "choose another folder: part of this path is a file",
    errno.EISDIR: "choose another name: this is a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def check_place(path: Path, *, folder: bool = False) -> None:
    """Before long work whose result goes there. Errors: InputError where no file, or no ``folder``, can be written."""
    path = Path(path)
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    with disk_errors(path):
        if there == path and not folder and path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not there.is_dir() and (folder or there != path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
        parent = there if there.is_dir() else there.parent
        if not os.access(parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(parent))


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary sibling to write into. It becomes ``path`` on leaving without an error and vanishes otherwise."""
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(path.parent)
        partial = _partial(path)
        try:
            yield partial
            _flush(partial)
            os.replace(partial, path)
            _flush(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """The same for a folder. An older one of the name is an error, or with ``replace`` goes away at the last moment."""
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(path.parent)
        if not replace:
            _check_new(path)
        partial = _partial(path)
        partial.mkdir()
        try:
            yield partial
            for item in sorted(partial.rglob("*")):
                _flush(item)
            _flush(partial)
            if not replace:
                _check_new(path)  # nor one that came meanwhile
            if path.exists():
                old = _partial(path)
                os.rename(path, old)
                os.rename(partial, path)
                shutil.rmtree(old)
            else:
                os.rename(partial, path)
            _flush(path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _check_new(folder: Path) -> None:
    if folder.exists():
        raise InputError(folder, expected="a new folder", found="one that exists", remedy="remove it first or choose another name")


def take_place(made: Path, place: Path) -> None:
    """The finished folder ``made`` becomes ``place``; what was there goes away last."""
    old = place.with_name(f"{place.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.rename(place, old)
    os.rename(made, place)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def alone_in(folder: Path, doing: str) -> Iterator[None]:
    """``folder``, made where there is none, for one process at a time: two would clear away what the other has in hand.

    The lock goes with the process, however that ends. Errors: InputError where another is at work.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(ImportError):  # not on Windows
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                remedy = "wait for it, or choose another name"
                raise InputError(folder, expected=f"no other {doing} into it", found="one at work", remedy=remedy) from None
        yield
    finally:
        os.close(handle)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """What a user can do something about, while ``path`` is written, as InputError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        found = (os.strerror(error.errno)).lower()
        raise InputError(path, expected="a place to write to", found=found, remedy=_OF_THE_DISK[error.errno]) from error


def _partial(path: Path) -> Path:
    """Ends in the suffix of ``path``, because writers (numpy, PyAV) look at it."""
    return path.with_name(f".{path.stem}.{_host()}-{os.getpid()}-{next(_turn)}{PARTIAL}{path.suffix}")


@lru_cache(maxsize=1000)
def _clear_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine left; those of other machines may still be at work. Once for each folder: sets have
    hundreds of thousands of files, and to list them at every write would take longer than to write.
    """
    ours = re.compile(rf"\..*\.{re.escape(_host())}-(\d+)-\d+{re.escape(PARTIAL)}.*")
    for name in os.listdir(folder):
        left = ours.fullmatch(name)
        if left and not _runs(int(left[1])):
            leftover = folder / name
            shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def _host() -> str:
    return socket.gethostname().replace("/", "_")


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
