"""LMDB databases of strangers, read in a child process: the C library maps the file and trusts it, so a damaged one may crash it. Then the
child dies, here that is an ``InputError``, and the next question gets a new child.
"""

import atexit
import os
import select
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from mango.data.formats.lmdb_child import NO_PACKAGE, OK
from mango.errors import InputError

CHILD = Path(__file__).with_name("lmdb_child.py")
LARGEST_VALUE = 2**28  # bytes: an hour of sound and motion
SECONDS = 120
HEADER = struct.Struct("<BQ")
_held = threading.local()


def database_in(path: Path) -> Path | None:
    """The database file itself, of a folder or of one of its folders; None where there is none."""
    if path.is_file():
        return path if path.name.endswith(".mdb") else None
    return next(iter(sorted((*path.glob("data.mdb"), *path.glob("*/data.mdb")))), None)


def keys_of(database: Path) -> list[str]:
    """Every key, as text."""
    return [key.decode("utf-8", "replace") for key in _asked(database, "keys").split(b"\0") if key]


def value_of(database: Path, key: str) -> bytes:
    return _asked(database, "value", key)


def _asked(database: Path, what: str, key: str = "") -> bytes:
    child = _child()
    try:
        texts = [text.encode() for text in (str(database), what, key)]
        child.stdin.write(b"".join(struct.pack("<Q", len(text)) + text for text in texts))
        child.stdin.flush()
        until = time.monotonic() + SECONDS
        status, length = HEADER.unpack(_received(child, HEADER.size, until))
        answer = _received(child, length, until)
    except (EOFError, BrokenPipeError) as error:
        child.wait()
        found = f"a crash of the library that reads it (signal {-child.returncode})"
        raise InputError(database, expected="an LMDB database", found=found, remedy="copy the database again") from error
    except TimeoutError as error:
        child.kill()
        child.wait()
        remedy = "it may be damaged: copy it again"
        raise InputError(database, expected="an LMDB database", found=f"no answer in {SECONDS} s", remedy=remedy) from error
    if status == NO_PACKAGE:
        remedy = "pip install 'mango-heads[lmdb]'"
        raise InputError(database, expected="the lmdb package", found="none installed", remedy=remedy)
    if status != OK:
        where = f"{database}, {key}" if key else database
        found = " ".join(answer.decode("utf-8", "replace").split())[:160]
        raise InputError(where, expected="an LMDB database with it", found=found, remedy="copy the database again")
    return answer


def _child() -> subprocess.Popen:
    """This thread's child. ``-I``: it sees no environment and no folder of ours, only the installed packages."""
    child = getattr(_held, "child", None)
    if child is None or child.poll() is not None or _held.program != CHILD:
        command = [sys.executable, "-I", str(CHILD), str(LARGEST_VALUE)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        _held.child, _held.program = child, CHILD
        atexit.register(child.kill)
    return child


def _received(child: subprocess.Popen, count: int, until: float) -> bytes:
    """Exactly so many bytes of its answer."""
    pieces, missing = [], count
    while missing:
        ready, _, _ = select.select([child.stdout], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise TimeoutError
        piece = os.read(child.stdout.fileno(), min(missing, 2**20))
        if not piece:
            raise EOFError
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
