"""The one unpickler: numpy's own pickles come back bit for bit, and nothing that a pickle can say runs, writes, grows or crashes."""

import io
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mango.data.formats.torch_files import torch_content
from mango.errors import InputError
from mango.pickles import read_pickle, unpickled

KINDS = st.sampled_from(["<f4", "<f8", ">f4", "<i8", "<u2", "i1", "?"])


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from([0, 1, 2, 3, 4, 5]))
def test_arrays_come_back(data, protocol):
    array = data.draw(arrays.arrays(data.draw(KINDS), arrays.array_shapes(min_dims=0, max_dims=3, max_side=4)))
    array = np.asfortranarray(array) if data.draw(st.booleans()) else array
    back = unpickled(pickle.dumps({"x": [array, 1.5, None, True], "y": ("text", b"bytes", 2**70)}, protocol), "x")
    assert back["x"][0].dtype == array.dtype and back["x"][0].shape == array.shape
    assert back["x"][0].tobytes() == array.tobytes() and back["x"][1:] == [1.5, None, True] and back["y"] == ("text", b"bytes", 2**70)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_scalars_texts_and_sparse_matrices(protocol):
    dense = np.arange(12.0).reshape(3, 4) * (np.arange(12).reshape(3, 4) % 3 == 0)
    held = {
        "scalar": np.float32(2.5),
        "names": np.array(["ab", "c"]),
        "csr": scipy.sparse.csr_matrix(dense),
        "csc": scipy.sparse.csc_array(dense),
    }
    back = unpickled(pickle.dumps(held, protocol), "x")
    assert back["scalar"] == 2.5 and back["names"].tolist() == ["ab", "c"]
    np.testing.assert_array_equal(back["csr"], dense)
    np.testing.assert_array_equal(back["csc"], dense)


def shared() -> object:
    """Small to say, 2^60 lists when walked one by one."""
    held = []
    for _ in range(60):
        held = [held, held]
    return held


def array_state(shape: tuple, kind: str = "<f4", data: bytes = b"") -> bytes:
    """An array that says another size than its bytes."""
    honest = pickle.dumps(np.zeros(0, kind), 2)
    stands = [place for op, arg, place in pickletools.genops(honest) if op.name == "BUILD"][-1]
    body = pickle.dumps((1, shape, np.dtype(kind), False, data), 2)[2:-1]
    start = next(place for op, arg, place in pickletools.genops(honest) if op.name == "REDUCE") + 1
    return honest[:start] + body + honest[stands:]


ATTACKS = {
    "a call": b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
    "a call by parts": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "an attribute of numpy": b"\x80\x02cnumpy\nload\nX\x01\x00\x00\x00x\x85R.",
    "a call of an array": pickle.dumps(np.zeros(2), 2)[:-1] + b")R.",
    "an instance": b"(i__main__\nRuns\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "a bytearray that is not there": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
    "an array larger than its bytes": array_state((2**40,)),
    "an array of no known type": array_state((1,), "<f4").replace(b"f4", b"V4"),
    "negative shape": array_state((-1, -4), data=b"x" * 16),
    "a state for a list": b"\x80\x02]}b.",
    "a list inside itself": b"\x80\x02]q\x00h\x00a.",
    "nested a million deep": b"\x80\x02)" + b"\x85" * 1_000_000 + b".",
    "a deep tuple as a key": b"\x80\x02}" + b")" + b"\x85" * 1_000_000 + b"K\x01s.",
    "a dict of no pairs": b"\x80\x02}K\x01K\x02K\x03s.",
    "nothing": b"",
    "the end of nothing": b".",
    "a number of thousands of digits": b"L" + b"9" * 100_000 + b"L\n.",
    "a function itself": b"\x80\x02cnumpy\ndtype\n.",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(attack, monkeypatch):
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("it ran"))
    with pytest.raises(InputError):
        unpickled(ATTACKS[attack], "x")


def test_a_far_place_in_the_memo_costs_nothing():
    """The standard library's own machine in C makes room for four thousand million entries here."""
    assert unpickled(b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b".", "x") == []


def test_what_is_shared_stays_shared():
    """Walked one by one this would take longer than the universe."""
    with pytest.raises(InputError, match="containers inside each other"):
        unpickled(pickle.dumps(shared(), 2), "x")
    wide = ["x"]
    for _ in range(25):
        wide = [wide] * 8
    back = unpickled(pickle.dumps(wide, 4), "x")
    assert back[0] is back[7]


def test_sizes_of_files(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([1]))
    assert read_pickle(tmp_path / "x.pkl", most=100) == [1]
    with pytest.raises(InputError, match="at most 5 bytes"):
        read_pickle(tmp_path / "x.pkl", most=5)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_torch_files_as_torch_reads_them(tmp_path_factory, data):
    kind = data.draw(st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool, torch.float16]))
    tensor = torch.arange(24).reshape(2, 3, 4).to(kind)
    tensor = data.draw(st.sampled_from([tensor, tensor[1], tensor.transpose(0, 2), tensor[:, 1:, ::2], tensor[0, 0, 0], tensor[:0]]))
    path = tmp_path_factory.mktemp("torch") / "x.pt"
    held = {
        "tensor": tensor,
        "again": tensor,
        "array": np.eye(2, dtype="f4"),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "name": "x",
        "n": 3,
    }
    torch.save(held, path)
    back = torch_content(path)
    np.testing.assert_array_equal(back["tensor"], tensor.numpy())
    assert back["tensor"].shape == tuple(tensor.shape) and back["n"] == 3 and back["parameter"].tolist() == [1, 1]
    np.testing.assert_array_equal(back["array"], np.eye(2))


def test_a_torch_file_with_code_runs_nothing(tmp_path):
    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"x": Runs()}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="nothing of it was run"):
        torch_content(tmp_path / "x.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "y.pt")
    with pytest.raises(InputError, match="save tensors and numbers only"):
        torch_content(tmp_path / "y.pt")
    assert not (tmp_path / "ran").exists()


def test_a_tensor_larger_than_its_storage(tmp_path):
    """A stride and size that reach beyond the bytes, as a hostile file may say."""
    import zipfile

    torch.save(torch.arange(4.0), tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    record = next(name for name in members if name.endswith("data.pkl"))
    members[record] = members[record].replace(b"K\x04\x85", b"M\x00\x10\x85", 2)  # size (4,) becomes (4096,)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    (tmp_path / "y.pt").write_bytes(packed.getvalue())
    with pytest.raises(InputError, match=r"storage of 4 numbers|numbers expected"):
        torch_content(tmp_path / "y.pt")
