"""Files of strangers: nothing of them is run, sizes are checked before they are believed, and every fault is an ``InputError``."""

import csv
import io
import json
import math
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mango.errors import InputError

LARGEST_TEXT = 2**27  # bytes of JSON or CSV: an hour of weights
LARGEST_ARRAYS = 2**30  # bytes of all arrays of a file
LARGEST_NUMBER = 1e6  # coefficient, angle, millimetre or sample value; what is beyond comes from damage or another type of number
LARGEST_BUNDLE = 2**30  # bytes of a pickle or a torch file
AGAIN = "copy or write the file again"


@contextmanager
def refusing(where: object, expected: str) -> Iterator[None]:
    """Whatever a damaged file does to a reader is said as what it is: a file that is not what was expected."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        found = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(where, expected=expected, found=found[:200], remedy=AGAIN) from error


def content_of(path: Path, most: int, *, start: int | None = None) -> bytes:
    """The bytes of a file of at most ``most``, or its first ``start``."""
    if not path.is_file():
        raise InputError(path, expected="a file", found="a folder" if path.is_dir() else "none", remedy="check the path")
    size = path.stat().st_size
    if start is None and size > most:
        raise InputError(path, expected=f"at most {most} bytes", found=f"{size}", remedy="split the file")
    with path.open("rb") as file:
        return file.read(most if start is None else start)


def json_of(path: Path) -> object:
    with refusing(path, "a JSON file"):
        return json.loads(content_of(path, LARGEST_TEXT).decode("utf-8-sig"))


def table_of(path: Path) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a CSV file; empty rows left out."""
    with refusing(path, "a CSV table"):
        rows = [row for row in csv.reader(io.StringIO(content_of(path, LARGEST_TEXT).decode("utf-8-sig"))) if any(row)]
        if len(rows) < 2:
            raise InputError(path, expected="a head and at least one row", found=f"{len(rows)} rows", remedy="export it again")
        head = [name.strip() for name in rows[0]]
        odd = next((k for k, row in enumerate(rows[1:], 2) if len(row) != len(head)), None)
        if odd is not None:
            found = f"{len(rows[odd - 1])} in row {odd}"
            raise InputError(path, expected=f"{len(head)} columns in every row", found=found, remedy="export it again")
        return head, rows[1:]


def arrays_of(where: object, content: bytes, without: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that was read, numbers and texts only; those named in ``without`` are not unpacked."""
    with refusing(where, "an .npz file of plain numbers"), zipfile.ZipFile(io.BytesIO(content)) as archive:
        wanted = [item for item in archive.infolist() if item.filename.endswith(".npy") and item.filename[:-4] not in without]
        total = sum(item.file_size for item in wanted)
        if total > LARGEST_ARRAYS:
            expected = f"arrays of at most {LARGEST_ARRAYS} bytes"
            raise InputError(where, expected=expected, found=f"{total} from a file of {len(content)}", remedy="split the recording")
        return {item.filename[:-4]: array_of(where, archive.read(item)) for item in wanted}


def npz_of(path: Path, without: Sequence[str] = ()) -> dict[str, np.ndarray]:
    return arrays_of(path, content_of(path, LARGEST_ARRAYS), without)


def npy_of(path: Path) -> np.ndarray:
    return array_of(path, content_of(path, LARGEST_ARRAYS))


def array_of(where: object, content: bytes) -> np.ndarray:
    """An .npy file that was read. Its size is computed from its header and compared with its bytes before an array is made."""
    with refusing(where, "an .npy array of plain numbers"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers that Python 2 wrote are fine
        file = io.BytesIO(content)
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, by_columns, kind = read_header(file)
        if kind.kind not in "biufSU" or len(shape) > 8 or any(size < 0 for size in shape):
            raise InputError(where, expected="plain numbers", found=f"{kind} of shape {shape}", remedy="save it as float32")
        data = content[file.tell() :]
        needed = math.prod(shape) * kind.itemsize
        if len(data) < needed:
            raise InputError(where, expected=f"{needed} bytes of numbers", found=f"{len(data)}", remedy=AGAIN)
        if kind.kind == "U" and np.frombuffer(data[:needed], f"{kind.str[0]}u4").max(initial=0) > 0x10FFFF:
            raise InputError(where, expected="texts", found="characters that do not exist", remedy=AGAIN)
        return np.frombuffer(data[:needed], kind).reshape(shape, order="F" if by_columns else "C").copy()


def numbers(where: object, name: str, values: object, shape: Sequence[int | None], *, most: int = 2**28) -> Float[np.ndarray, "..."]:
    """Finite float32 numbers of the shape (None: any size), or an error that names the array."""
    with refusing(where, f"{name} as numbers"):
        array = np.asarray(values)
    fits = array.ndim == len(shape) and all(wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True))
    if array.dtype.kind not in "biuf" or not fits or array.size > most:
        wanted = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
        found = f"{array.dtype} of shape {array.shape}"[:120]
        raise InputError(where, expected=f"{name}: numbers of shape {wanted}", found=found, remedy="is this another format or version?")
    if not array.size:
        raise InputError(where, expected=f"{name} of at least one frame", found="none", remedy=AGAIN)
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0])
        raise InputError(
            where,
            expected=f"finite numbers in {name}",
            found=f"NaN or infinity in row {row}",
            remedy="repair these frames, or cut sound and film there too",
        )
    largest = float(np.abs(array).max())
    if largest > LARGEST_NUMBER:
        found, remedy = f"{largest:.3g}", "the file is damaged, or holds another type of numbers than it says"
        raise InputError(where, expected=f"{name} of at most {LARGEST_NUMBER:g}", found=found, remedy=remedy)
    return array


def needed(where: object, held: object, *names: str) -> Mapping:
    """A dict with these names."""
    if not isinstance(held, Mapping):
        raise InputError(where, expected=f"a dict with {', '.join(names)}", found=type(held).__name__, remedy="is this another format?")
    missing = [name for name in names if name not in held]
    if missing:
        there = ", ".join(str(name) for name in list(held)[:12]) or "nothing"
        raise InputError(where, expected=f"{', '.join(missing)}", found=f"only {there}", remedy="is this another format or version?")
    return held


def same_length(where: object, **arrays: np.ndarray) -> int:
    """The one number of frames of all arrays."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(where, expected="as many frames in every array", found=found, remedy="cut them to the same frames")
    return next(iter(lengths.values()))
