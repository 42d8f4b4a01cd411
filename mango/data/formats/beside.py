"""What lies beside a recording and belongs to it: files of its name."""

from collections.abc import Sequence
from pathlib import Path

from mango.data.formats.guarded import json_of
from mango.data.motion_files import sidecar
from mango.errors import InputError


def own_name(path: Path) -> str:
    """Without the suffix of a file. A folder has none, whatever dots are in its name."""
    return path.resolve().name if path.is_dir() else path.stem


def is_our_motion(path: Path) -> bool:
    """By the description that `mango.data.motion_files` writes beside it: arrays alone look like other people's FLAME parameters."""
    described = sidecar(path)
    if path.suffix != ".npz" or not path.is_file() or not described.is_file():
        return False
    try:
        said = json_of(described)
    except InputError:  # whatever that is, it is not ours
        return False
    return isinstance(said, dict) and {"format", "head", "fps"} <= said.keys()


def beside(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of its name with one of these suffixes, in lower case, in capitals or with one, in the order of ``suffixes``."""
    path = path.absolute()  # "." has no name
    cases = ((suffix, suffix.upper(), suffix.title()) for suffix in suffixes)
    named = ([path.with_name(own_name(path) + suffix) for suffix in same] for same in cases)
    return [found for same in named if (found := next((other for other in same if other.is_file()), None)) is not None]
