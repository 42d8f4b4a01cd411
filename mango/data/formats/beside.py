"""What lies beside a recording and belongs to it: files of its name."""

from collections.abc import Sequence
from pathlib import Path


def own_name(path: Path) -> str:
    """Without the suffix of a file. A folder has none, whatever dots are in its name."""
    return path.name if path.is_dir() else path.stem


def beside(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of its name with one of these suffixes, in lower case, in capitals or with one, in the order of ``suffixes``."""
    cases = ((suffix, suffix.upper(), suffix.title()) for suffix in suffixes)
    named = ([path.with_name(own_name(path) + suffix) for suffix in same] for same in cases)
    return [found for same in named if (found := next((other for other in same if other.is_file()), None)) is not None]
