"""LMDB databases of strangers, read in a process of its own: the C library maps the file and trusts it, so a damaged one may crash it."""

from pathlib import Path

from mango.data.formats.child_process import answers
from mango.errors import InputError

CHILD = Path(__file__).with_name("lmdb_child.py")
LARGEST_VALUE = 2**28  # bytes: an hour of sound and motion


def databases_in(path: Path) -> list[Path]:
    """The database file itself, or those of a folder and its folders."""
    if path.is_file():
        return [path] if path.name.endswith(".mdb") else []
    return sorted((*path.glob("data.mdb"), *path.glob("*/data.mdb")))


def needed_databases(path: Path) -> list[Path]:
    """At least one. Errors: InputError where there is none."""
    databases = databases_in(path)
    if not databases:
        raise InputError(path, expected="a folder with data.mdb", found="none", remedy="name the folder of the LMDB")
    return databases


def keys_of(database: Path) -> list[str]:
    """Every key, as text."""
    return [key.decode("utf-8", "replace") for key in _asked(database, "keys").split(b"\0") if key]


def value_of(database: Path, key: str) -> bytes:
    return _asked(database, "value", key)


def _asked(database: Path, what: str, key: str = "") -> bytes:
    where = f"{database}, {key}" if key else database
    question = (str(database), what, key)
    (answer,) = answers(
        CHILD, (str(LARGEST_VALUE),), question, where=where, expected="an LMDB database with it" if key else "an LMDB database"
    )
    return bytes(answer)
