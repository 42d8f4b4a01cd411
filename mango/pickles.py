"""Pickles of strangers, read as data. Numbers, texts, lists, dicts, numpy arrays and scipy's sparse matrices come out; nothing is called,
no class is looked up, and what a pickle says about sizes is checked against the bytes that are there.

The machine is the standard library's in Python with most of its instructions taken away. Where a pickle names numpy's or scipy's functions
it is handed stand-ins that only note what was said; arrays are made from the notes afterwards.
"""

import io
import math
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mango.errors import InputError

ARRAY_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
SPARSE_MODULES = ("scipy.sparse", *(f"scipy.sparse.{u}{kind}" for u in ("", "_") for kind in ("csc", "csr")))
SPARSE_NAMES = ("csc_matrix", "csr_matrix", "csc_array", "csr_array")
PLAIN_TYPE = re.compile(r"[<>|=]?(b1|[iuf][1248]|[SU]\d{1,6}|O8?)")
LARGEST = 2**28  # numbers of one array
DEEPEST = 32  # containers in containers
INSTRUCTIONS = (
    "PROTO", "FRAME", "MARK", "STOP", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2",
    "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "EMPTY_LIST", "LIST", "APPEND",
    "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "GET", "BINGET",
    "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What a pickle may call: a function of ours that notes its arguments."""

    make: Callable[..., object]


class Note:
    """Something that a pickle describes in pieces: what it was called with, then its state."""

    def __init__(self, *arguments: object):
        self.arguments, self.state = arguments, None


class TypeNote(Note):
    """A numpy dtype."""

    def made(self) -> np.dtype:
        text = self.arguments[0] if self.arguments else None
        if not isinstance(text, str) or not PLAIN_TYPE.fullmatch(text):
            raise pickle.UnpicklingError(f"arrays of plain numbers or texts expected, not of {text!r}")
        kind = np.dtype(text)
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "|"
        return kind.newbyteorder(order) if order in ("<", ">") and kind.kind in "iufU" else kind


class ArrayNote(Note):
    """A numpy array as `__reduce__` tells it: made empty, then given version, shape, type, order and bytes."""

    def made(self, resolve: Callable[[object], object]) -> np.ndarray:
        *_, shape, kind, by_columns, data = self.state
        return _filled(data, kind, shape, "F" if by_columns else "C", resolve)


class BufferNote(Note):
    """A numpy array as protocol 5 tells it: bytes, type, shape, order."""

    def made(self, resolve: Callable[[object], object]) -> np.ndarray:
        data, kind, shape, order, *_ = self.arguments
        return _filled(data, kind, shape, "F" if order == "F" else "C", resolve)


class ScalarNote(Note):
    """A numpy number."""

    def made(self, resolve: Callable[[object], object]) -> object:
        kind, data = self.arguments
        return _filled(data, kind, (), "C", resolve)[()]


class SparseNote(Note):
    """A scipy matrix; ``compressed`` is the axis that indptr walks along."""

    compressed = 0

    def made(self, resolve: Callable[[object], object]) -> np.ndarray:
        held = {name: resolve(self.state[name]) for name in ("data", "indices", "indptr", "_shape")}
        rows, cols = (_size(size) for size in held["_shape"])
        _checked_count((rows, cols))
        counts = np.diff(held["indptr"].astype(np.int64))
        if len(counts) != (rows, cols)[self.compressed] or (counts < 0).any() or counts.sum() != len(held["data"]):
            raise pickle.UnpicklingError("a sparse matrix whose parts disagree")
        walked, across = np.repeat(np.arange(len(counts)), counts), held["indices"].astype(np.int64)
        if (across < 0).any():
            raise pickle.UnpicklingError("a sparse matrix whose parts disagree")
        dense = np.zeros((rows, cols), held["data"].dtype)
        np.add.at(dense, (walked, across) if self.compressed == 0 else (across, walked), held["data"])  # numpy refuses places outside
        return dense


class ColumnsNote(SparseNote):
    compressed = 1


def _filled(data: object, kind: object, shape: object, order: str, resolve: Callable[[object], object]) -> np.ndarray:
    if not isinstance(kind, TypeNote) or not isinstance(shape, tuple):
        raise pickle.UnpicklingError("an array without type or shape")
    kind, shape = kind.made(), tuple(_size(size) for size in shape)
    count = _checked_count(shape)
    if kind.kind == "O":
        if not isinstance(data, list) or len(data) != count:
            raise pickle.UnpicklingError(f"{count} objects expected")
        array = np.empty(count, object)
        for place, value in enumerate(data):
            array[place] = resolve(value)
        return array.reshape(shape, order=order)
    data = data.encode("latin-1") if isinstance(data, str) else data  # Python 2's bytes
    if not isinstance(data, bytes) or len(data) != count * kind.itemsize:
        raise pickle.UnpicklingError(f"{count * kind.itemsize} bytes expected for an array of shape {shape}")
    if kind.kind == "U" and np.frombuffer(data, f"{kind.str[0]}u4").max(initial=0) > 0x10FFFF:
        raise pickle.UnpicklingError("characters that do not exist")
    return np.frombuffer(data, kind).reshape(shape, order=order).copy()


def _size(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise pickle.UnpicklingError(f"a size expected, not {value!r}")
    return value


def _checked_count(shape: tuple[int, ...]) -> int:
    count = math.prod(shape)
    if count > LARGEST or len(shape) > 8:
        raise pickle.UnpicklingError(f"an array of shape {shape} is larger than {LARGEST} numbers")
    return count


def _empty_array(kind: object, *_: object) -> ArrayNote:
    if not isinstance(kind, Recipe):
        raise pickle.UnpicklingError(f"reconstruction of {kind}")
    return ArrayNote()


def _blank(kind: object, *_: object) -> Note:
    """How Python 2 wrote scipy's matrices and chumpy's arrays: an empty record for the pickle to fill."""
    if not isinstance(kind, Recipe) or not isinstance(kind.make, type) or not issubclass(kind.make, Note):
        raise pickle.UnpicklingError(f"reconstruction of {kind}")
    return kind.make()


def _latin_bytes(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes for protocol 2."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin-1")


def _no_object(*_: object) -> object:
    raise pickle.UnpicklingError("a plain object, which holds nothing")


PLAIN: dict[tuple[str, str], Recipe] = {
    **{(module, "ndarray"): Recipe(_no_object) for module in ARRAY_MODULES},
    **{(module, "dtype"): Recipe(TypeNote) for module in ARRAY_MODULES},
    **{(module, "_reconstruct"): Recipe(_empty_array) for module in ARRAY_MODULES},
    **{(module, "scalar"): Recipe(ScalarNote) for module in ARRAY_MODULES},
    **{(module, "_frombuffer"): Recipe(BufferNote) for module in ARRAY_MODULES},
    **{(m, n): Recipe(ColumnsNote if n.startswith("csc") else SparseNote) for m in SPARSE_MODULES for n in SPARSE_NAMES},
    **{(module, "_reconstructor"): Recipe(_blank) for module in ("copy_reg", "copyreg")},
    **{(module, "object"): Recipe(_no_object) for module in ("__builtin__", "builtins")},
    ("_codecs", "encode"): Recipe(_latin_bytes),
    ("collections", "OrderedDict"): Recipe(dict),
}


class ArrayUnpickler(pickle._Unpickler):  # the C one writes into what it is handed, and trusts sizes
    """``more`` are further names that a format uses (torch's), ``storage`` says what its persistent numbers mean."""

    def __init__(
        self, content: bytes, where: object, *, more: Mapping[tuple[str, str], Recipe] | None = None, storage: Callable | None = None,
        source: str = "save the arrays with numpy.savez and name that file",
    ):  # fmt: skip
        super().__init__(io.BytesIO(content), fix_imports=False, encoding="latin1")
        self.where, self.recipes, self.storage, self.source = where, {**PLAIN, **(more or {})}, storage, source

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in self.recipes:
            return self.recipes[module, name]
        if module.split(".")[0] == "chumpy":
            remedy = "chumpy is not supported: save the arrays with numpy.savez where chumpy is installed, and name that file"
            raise InputError(self.where, expected="numpy arrays only", found="chumpy objects", remedy=remedy)
        expected = "a pickle of numpy and scipy.sparse arrays only"
        found = f"{module}.{name}"[:120]
        raise InputError(self.where, expected=expected, found=found, remedy=f"nothing of it was run; {self.source}")

    def persistent_load(self, number: object) -> object:
        if self.storage is None:
            raise pickle.UnpicklingError("a reference to something outside")
        return self.storage(number)

    def load_reduce(self) -> None:
        arguments, recipe = self.stack.pop(), self.stack[-1]
        if not isinstance(recipe, Recipe) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("a call of something that is no function")
        self.stack[-1] = recipe.make(*arguments)

    def load_build(self) -> None:
        state, what = self.stack.pop(), self.stack[-1]
        if not isinstance(what, Note):
            if isinstance(what, dict) and state in ({}, None):
                return  # torch's OrderedDicts carry an empty state
            raise pickle.UnpicklingError("a state for something that has none")
        what.state = state

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._entries()[_plain_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        entries = self._entries()
        for place in range(0, len(items) - 1, 2):
            entries[_plain_key(items[place])] = items[place + 1]

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({_plain_key(items[place]): items[place + 1] for place in range(0, len(items) - 1, 2)})

    def load_bytearray8(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    def load_appends(self) -> None:
        items = self.pop_mark()
        self._items().extend(items)

    def load_append(self) -> None:
        value = self.stack.pop()
        self._items().append(value)

    def _entries(self) -> dict:
        if not isinstance(self.stack[-1], dict):
            raise pickle.UnpicklingError("entries of something that is no dict")
        return self.stack[-1]

    def _items(self) -> list:
        if not isinstance(self.stack[-1], list):
            raise pickle.UnpicklingError("items of something that is no list")
        return self.stack[-1]

    dispatch = {getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in INSTRUCTIONS}  # noqa: RUF012
    dispatch |= {
        pickle.REDUCE[0]: load_reduce, pickle.NEWOBJ[0]: load_reduce, pickle.BUILD[0]: load_build, pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems, pickle.DICT[0]: load_dict, pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.APPENDS[0]: load_appends, pickle.APPEND[0]: load_append,
    }  # fmt: skip


def _plain_key(key: object) -> object:
    if not isinstance(key, str | int | float | bytes | None):  # hashing a deep tuple runs out of stack
        raise pickle.UnpicklingError(f"keys that are texts or numbers expected, not {type(key).__name__}")
    return key


class _Resolver:
    """Notes to arrays, in place; what was shared stays shared, so that a small pickle cannot grow."""

    def __init__(self):
        self.done: dict[int, object] = {}
        self.kept: list[object] = []  # so that numbers of objects stay theirs
        self.depth = 0

    def __call__(self, value: object) -> object:
        if not isinstance(value, Note | list | tuple | dict):
            if isinstance(value, Recipe):
                raise pickle.UnpicklingError("a function that is not called")
            return value
        if id(value) in self.done:
            if self.done[id(value)] is self:
                raise pickle.UnpicklingError("a container inside itself")
            return self.done[id(value)]
        self.depth += 1
        if self.depth > DEEPEST:
            raise pickle.UnpicklingError(f"more than {DEEPEST} containers inside each other")
        self.done[id(value)] = self
        self.kept.append(value)
        made = self._made(value)
        self.done[id(value)] = made
        self.depth -= 1
        return made

    def _made(self, value: object) -> object:
        if isinstance(value, TypeNote):
            return value.made()
        if isinstance(value, Note):
            return value.made(self)
        if isinstance(value, dict):
            return {key: self(entry) for key, entry in value.items()}
        return type(value)(self(entry) for entry in value)


def unpickled(content: bytes, where: object, *, expected: str = "a pickle of plain data", **names: object) -> object:
    """What a pickle holds. Errors: InputError for everything else that it wants, and for a damaged one."""
    try:
        return _Resolver()(ArrayUnpickler(content, where, **names).load())
    except InputError:
        raise
    except Exception as error:  # a damaged pickle may fail at any instruction
        found = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(where, expected=expected, found=found, remedy="copy or write the file again") from error


def read_pickle(path: Path, *, most: int) -> object:
    """Errors: InputError, also for a file of more than ``most`` bytes."""
    size = path.stat().st_size
    if size > most:
        raise InputError(path, expected=f"a pickle of at most {most} bytes", found=f"{size}", remedy="split it")
    return unpickled(path.read_bytes(), path)
