"""Sizes that files claim are compared with their bytes before memory is taken."""

import io
import struct
import tracemalloc
import zipfile

import cv2
import numpy as np
import pytest

from mango.data.formats import guarded, pictures
from mango.data.formats.registry import FORMATS
from mango.errors import InputError


def npy(shape: str, kind: str = "<f4", data: bytes = b"") -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + data


def bomb() -> bytes:
    """A gibibyte of zeros in a megabyte."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w", force_zip64=True) as member:
        member.write(npy("(268435456,)"))
        for _ in range(64):
            member.write(bytes(2**24))
    return packed.getvalue()


@pytest.mark.parametrize("shape", ["(100000000,)", "(1000000, 1000000)", "(3,)", "(-3,)", "(99999999999999999999,)"])
def test_an_array_larger_than_its_bytes_takes_no_memory(shape):
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            guarded.array_of("x", npy(shape))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_zip_that_unpacks_beyond_reason(monkeypatch):
    content = bomb()
    monkeypatch.setattr(guarded, "LARGEST_ARRAYS", 2**29)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="arrays of at most"):
            guarded.arrays_of("x", content)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_offsets_that_nobody_reads_are_not_unpacked(tmp_path, monkeypatch):
    """A motion of GaussianAvatars carries vertices times frames of zeros."""
    expr, pose = np.zeros((4, 100), "f4"), np.zeros((4, 3), "f4")
    parts = {"expr": expr, "neck_pose": pose, "jaw_pose": pose, "rotation": pose, "dynamic_offset": np.zeros((400, 5143, 3), "f4")}
    np.savez_compressed(tmp_path / "x.npz", **parts)
    monkeypatch.setattr(guarded, "LARGEST_ARRAYS", 2**20)
    assert len(FORMATS["vhap"].entries(tmp_path / "x.npz")[0].load().people[0].motion) == 4


@pytest.mark.parametrize("kind", ["|O", "V8", "<M8[s]", "<c8"])
def test_arrays_of_anything_but_numbers_and_texts(kind):
    with pytest.raises(InputError, match="plain numbers"):
        guarded.array_of("x", npy("(1,)", kind, bytes(8)))


def test_whole_arrays_come_back():
    for array in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array("text"), np.zeros((0, 3))):
        packed = io.BytesIO()
        np.save(packed, array)
        back = guarded.array_of("x", packed.getvalue())
        np.testing.assert_array_equal(back, array)
        assert back.dtype == array.dtype


def test_large_texts_are_refused_unread(tmp_path, monkeypatch):
    (tmp_path / "x.json").write_text("[1, 2, 3]")
    monkeypatch.setattr(guarded, "LARGEST_TEXT", 5)
    for read in (guarded.json_of, guarded.table_of):
        with pytest.raises(InputError, match="at most 5 bytes"):
            read(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[np.nan]], "finite"),
        ([[1e9]], "at most 1e"),
        ([["a"]], "numbers of shape"),
        ([[1], [2, 3]], "as numbers"),
        (np.zeros((0, 1)), "at least one"),
    ],
)
def test_numbers_that_cannot_be(values, words):
    with pytest.raises(InputError, match=words):
        guarded.numbers("x", "weights", values, (None, 1))


PNG_SIZE, JPEG_SIZE = struct.pack(">II", 16, 16), b"\0\x10\0\x10"


@pytest.mark.parametrize(
    ("suffix", "honest", "claims"),
    [
        (".png", PNG_SIZE, struct.pack(">II", 30000, 30000)),
        (".png", b"\0\0\0\0IEND", b"\xff\0\0\0IEND"),
        (".jpg", JPEG_SIZE, b"\xf0\0\xf0\0"),
    ],
)
def test_a_picture_larger_than_its_bytes_takes_no_memory(tmp_path, suffix, honest, claims):
    """A flipped bit in a header or in the length of a part made the library take four gigabytes. Seen red without the rule."""
    path = tmp_path / f"x{suffix}"
    cv2.imwrite(str(path), np.full((16, 16, 3), 100, np.uint8))
    assert pictures.picture_of(path).shape == (16, 16, 3) and pictures.claimed(path.read_bytes()) == (256, 0)
    content = path.read_bytes()
    assert honest in content
    path.write_bytes(content.replace(honest, claims, 1))
    with pytest.raises(InputError, match="claimed by"):
        pictures.picture_of(path)
