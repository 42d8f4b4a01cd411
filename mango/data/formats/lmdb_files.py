"""LMDB databases of strangers, read in a child process: the C library maps the file and trusts it, so a damaged one may crash it. Then the
child dies, and here that is an ``InputError``.
"""

import subprocess
import sys
from pathlib import Path

from mango.errors import InputError

CHILD = Path(__file__).with_name("lmdb_child.py")
LARGEST_VALUE = 2**28  # bytes: an hour of sound and motion
SECONDS = 120


def keys_of(database: Path) -> list[str]:
    """Every key, as text."""
    return [key.decode("utf-8", "replace") for key in _asked(database, "keys").split(b"\0") if key]


def value_of(database: Path, key: str) -> bytes:
    found = _asked(database, "value", key)
    if not found:
        raise InputError(f"{database}, {key}", expected="an entry", found="none", remedy="copy the database again")
    return found


def _asked(database: Path, *words: str) -> bytes:
    """The child's answer. ``-I``: it sees no environment and no folder of ours, only the installed packages."""
    command = [sys.executable, "-I", str(CHILD), str(LARGEST_VALUE), str(database), *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        remedy = "it may be damaged: copy it again"
        raise InputError(database, expected="an LMDB database", found=f"no answer in {SECONDS} s", remedy=remedy) from error
    if done.returncode == 3:
        remedy = "pip install 'mango-heads[lmdb]'"
        raise InputError(database, expected="the lmdb package", found="none installed", remedy=remedy)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        found = said[-1][:160] if done.returncode > 0 and said else f"a crash of the library that reads it (signal {-done.returncode})"
        raise InputError(database, expected="an LMDB database", found=found, remedy="copy the database again")
    return done.stdout
