"""What `torch.save` writes, without torch's loader: the zip's pickle goes through our unpickler, tensors become numpy arrays. Numpy arrays
inside are read too, which torch's own ``weights_only`` refuses, and sizes are checked against bytes before they are believed.
"""

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from mango.data.formats.guarded import AGAIN, LARGEST_BUNDLE, content_of, refusing
from mango.errors import InputError
from mango.pickles import Note, Recipe, unpickled

STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2",
    "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip
LARGEST = 2**28  # numbers of one tensor


class TensorNote(Note):
    """Storage, offset, size and stride of a tensor."""

    def made(self, resolve: object) -> np.ndarray:
        storage, offset, size, stride, *_ = self.arguments
        whole = [offset, *size, *stride]
        if not isinstance(storage, np.ndarray) or len(size) != len(stride) or not all(isinstance(n, int) and n >= 0 for n in whole):
            raise ValueError("a tensor of numbers expected")
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else 0
        if count > LARGEST or len(size) > 8 or (count and last >= len(storage)):
            raise ValueError(f"a tensor of shape {size} in a storage of {len(storage)} numbers")
        steps = [step * storage.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy() if count else np.zeros(size, storage.dtype)


class ParameterNote(Note):
    """A module's parameter: a tensor, whether it learns, hooks."""

    def made(self, resolve: object) -> np.ndarray:
        return resolve(self.arguments[0])


def is_torch_file(path: Path) -> bool:
    """A zip with NAME/data.pkl and NAME/version."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def torch_content(path: Path) -> object:
    """Errors: InputError for anything but tensors, numpy arrays, numbers and texts in plain containers, and for a damaged file."""
    expected = "a torch file of plain data"
    content = content_of(path, LARGEST_BUNDLE)
    with refusing(path, expected), zipfile.ZipFile(io.BytesIO(content)) as archive:
        sizes = {item.filename: item.file_size for item in archive.infolist()}
        if sum(sizes.values()) > 1000 * len(content) or sum(sizes.values()) > 2 * LARGEST_BUNDLE:
            raise InputError(path, expected=expected, found=f"{sum(sizes.values())} bytes unpacked", remedy=AGAIN)
        record = next(name for name in sizes if name.endswith("/data.pkl"))
        top = record.removesuffix("data.pkl")
        order = archive.read(top + "byteorder") if top + "byteorder" in sizes else b"little"

        def storage(number: object) -> np.ndarray:
            word, kind, key, _, count = number
            data = archive.read(f"{top}data/{key}") if word == "storage" else b""
            kind = np.dtype(kind.make().arguments[0]) if isinstance(kind, Recipe) else None
            if kind is None or not isinstance(count, int) or len(data) != count * kind.itemsize or order != b"little":
                raise ValueError(f"{count} numbers expected in storage {str(key)[:20]}")
            return np.frombuffer(data, kind)

        more = {("torch", name): Recipe(lambda kind=kind: Note(kind)) for name, kind in STORAGES.items()}
        more |= {("torch._utils", "_rebuild_tensor_v2"): Recipe(TensorNote), ("torch._utils", "_rebuild_parameter"): Recipe(ParameterNote)}
        more |= {("torch", "Size"): Recipe(tuple)}
        remedy = "save tensors and numbers only, torch.save({name: tensor})"
        return unpickled(archive.read(record), path, expected=expected, more=more, storage=storage, source=remedy)
