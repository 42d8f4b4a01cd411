"""Arrays from files of strangers: numbers only, sizes checked before they are believed, every fault an ``InputError``."""

import os
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from tokenize import TokenError

import numpy as np

from mango.data.problem import Problem
from mango.errors import InputError
from mango.types import StoredFile

LARGEST = 2**30  # bytes of one array; an hour of motion is 20 MB


@dataclass(frozen=True)
class Expected:
    """What an array must be. An axis is a number or a word; a word stands for one number throughout a file."""

    shape: tuple[int | str, ...]
    dtype: str = "float32"


def read_npz(path: StoredFile, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; of those that are not asked for not even the format is looked at."""
    again = "write the file again; it may be truncated or not an .npz"
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            named = {item.filename: item.filename.removesuffix(".npy") for item in archive.infolist()}
            sizes = {item.filename: item.file_size for item in archive.infolist() if only is None or named[item.filename] in only}
            oversized = [name for name, size in sizes.items() if size > LARGEST]
            if oversized:
                raise InputError(path, expected=f"arrays of at most {LARGEST} bytes", found=f"more in {oversized[0]}", remedy=again)
            return {named[name]: _parsed(archive.read(name)) for name in sizes}
    except FileNotFoundError:
        raise InputError(path, expected="a file", found="none", remedy="check the path") from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        EOFError,
        KeyError,
        OSError,
        MemoryError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(path, expected="an .npz file of plain numbers", found=_brief(error), remedy=again) from error


def read_npy(path: StoredFile) -> np.ndarray:
    again = "write the file again; it may be truncated or not an .npy"
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
        if size > LARGEST:
            raise InputError(path, expected=f"at most {LARGEST} bytes", found=f"{size}", remedy=again)
        return _parsed(path.read_bytes())
    except FileNotFoundError:
        raise InputError(path, expected="a file", found="none", remedy="check the path") from None
    except (ValueError, EOFError, OSError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(path, expected="an .npy file of plain numbers", found=_brief(error), remedy=again) from error


def array_problems(path: StoredFile, arrays: Mapping[str, np.ndarray], expected: Mapping[str, Expected], **sizes: int) -> Iterator[Problem]:
    """Missing and unknown names, wrong types, shapes and numbers. ``sizes`` are the axis words already known."""
    for name in sorted(set(expected) - set(arrays)):
        yield Problem(path, f"an array {name!r}", f"only {', '.join(sorted(arrays)) or 'nothing'}", "add it (zeros where it is unknown)")
    for name in sorted(set(arrays) - set(expected)):
        yield Problem(path, f"only {', '.join(expected)}", f"an array {name!r}", "remove it, or convert the file with `mango data import`")
    for name, wanted in expected.items():
        if name in arrays:
            yield from _array_problems(path, name, arrays[name], wanted, sizes)


def _array_problems(path: StoredFile, name: str, array: np.ndarray, wanted: Expected, sizes: dict[str, int]) -> Iterator[Problem]:
    if array.dtype != np.dtype(wanted.dtype):
        yield Problem(path, f"{name} as {wanted.dtype}", str(array.dtype), f"save it as {wanted.dtype}")
    fits = array.ndim == len(wanted.shape)
    for axis, size in zip(wanted.shape, array.shape, strict=False):
        # the first array with a word fixes its number, so a wrong one is reported at every later array that disagrees
        fits = fits and size == (sizes.setdefault(axis, size) if isinstance(axis, str) else axis)
    if not fits:
        shape = ", ".join(f"{axis}={sizes[axis]}" if axis in sizes else str(axis) for axis in wanted.shape)
        yield Problem(
            path, f"{name} of shape ({shape})", str(tuple(array.shape)), "check the number of frames, the head and the order of axes"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0]
        yield Problem(path, f"finite numbers in {name}", f"{array[tuple(bad)]} at {[int(i) for i in bad]}", "repair or cut these frames")


def _parsed(content: bytes) -> np.ndarray:
    try:
        array = np.load(BytesIO(content), allow_pickle=False)
    except (SyntaxError, TokenError) as error:
        raise ValueError(f"a header that is no header: {error}") from error
    if not isinstance(array, np.ndarray):
        raise ValueError("an archive inside an archive")
    return array


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."
