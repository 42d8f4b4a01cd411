"""Which files are heads, and what a hostile one can do (nothing)."""

import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from tiny_flame import tiny_flame

from mango.errors import InputError
from mango.head.assets import BUILTIN
from mango.head.model import load_head


def write(path: Path, content: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])  # FLAME's own files are of protocol 0 and 2
@pytest.mark.parametrize("kind", [scipy.sparse.csc_matrix, scipy.sparse.csr_matrix, np.asarray])
def test_flame_pickle(tmp_path, kind, protocol):
    arrays = tiny_flame()
    path = write(tmp_path / "flame2023.pkl", arrays | {"J_regressor": kind(arrays["J_regressor"]), "bs_type": "lrotmin"}, protocol)
    head = load_head(path)
    assert (head.identities, head.expressions, head.name) == (300, 4, "flame2023")
    assert torch.allclose(head.joint_regressor.double(), torch.tensor(arrays["J_regressor"]), atol=1e-6)
    expected = torch.tensor(arrays["posedirs"]).flatten(0, 1).T
    assert torch.allclose(head.pose_correctives.double(), expected, atol=1e-7)
    assert torch.allclose(head.shape_directions.double(), torch.tensor(arrays["shapedirs"][..., :300]), atol=1e-7)
    vertices = head.with_shape(torch.ones(10)).vertices(torch.ones(2, 4), torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 6))
    assert vertices.shape == (2, 12, 3)


def test_flame_npz_is_the_same_head_under_any_name(tmp_path):
    arrays = tiny_flame()
    np.savez(tmp_path / "head.bin.npz", **arrays)
    (tmp_path / "head.bin.npz").rename(tmp_path / "head.pkl")  # content decides, not the name
    assert load_head(tmp_path / "head.pkl").digest == load_head(write(tmp_path / "other.npz", arrays)).digest
    assert load_head(write(tmp_path / "third.pkl", tiny_flame(seed=1))).digest != load_head(tmp_path / "head.pkl").digest


def test_a_surface_unlike_a_head_has_no_regions_and_says_so(tmp_path):
    head = load_head(write(tmp_path / "flame.pkl", tiny_flame()))
    with pytest.raises(InputError, match="a surface that the built-in head can be laid over"):
        head.region("lips")
    with pytest.raises(InputError, match="a surface that the built-in head can be laid over"):
        head.lip_opening(head.template)


class Runs:
    """Pickles to a call."""

    def __init__(self, call, *arguments):
        self.recipe = (call, arguments)

    def __reduce__(self):
        return self.recipe


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("place", ["value", "array", "instead"])
@pytest.mark.parametrize("call", [os.mkdir, eval, getattr, np.load, np.fromfile, scipy.sparse.load_npz])
def test_a_malicious_pickle_is_refused_and_runs_nothing(tmp_path, protocol, place, call):
    target = tmp_path / "ran"
    argument = f"__import__('os').mkdir({str(target)!r})" if call is eval else str(target)
    attack = Runs(call, argument, "x") if call is getattr else Runs(call, argument)
    content = {
        "value": tiny_flame() | {"v_template": attack},
        "array": tiny_flame() | {"v_template": np.array([attack], dtype=object)},
        "instead": attack,
    }[place]
    path = write(tmp_path / "flame.pkl", content, protocol)
    with pytest.raises(InputError, match=r"numpy and scipy\.sparse arrays only.*nothing of it was run"):
        load_head(path)
    assert not target.exists()


def test_a_pickle_cannot_write_into_the_classes_it_names(tmp_path):
    """BUILD with a slot state sets attributes on whatever lies on the stack, a class too."""
    before = scipy.sparse.csc_matrix.toarray
    spoil = b"\x80\x02cscipy.sparse\ncsc_matrix\nN}X\x07\x00\x00\x00toarrayK\x01s\x86b."
    (tmp_path / "spoil.pkl").write_bytes(spoil)
    with pytest.raises(InputError):
        load_head(tmp_path / "spoil.pkl")
    assert scipy.sparse.csc_matrix.toarray is before


@pytest.fixture
def chumpy(monkeypatch):
    """A module of chumpy's name whose arrays pickle as chumpy's do: a record of attributes, ``x`` the numbers, some sets beside it."""
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (), {"__module__": "chumpy.ch", "__qualname__": "Ch"})
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)

    def wrapped(array, **more):
        found = module.Ch()
        found.__dict__.update({"_dirty_vars": set(), "_itr": None, **more} | ({} if array is None else {"x": array}))
        return found

    return wrapped


@pytest.mark.parametrize("protocol", [0, 2])  # as Python 2 wrote them
def test_flames_own_pickles_hold_chumpy_arrays(tmp_path, chumpy, protocol):
    """Read without chumpy, which no longer installs. Seen red by handing out the record in place of its ``x``."""
    arrays = tiny_flame()
    held = arrays | {name: chumpy(arrays[name]) for name in ("v_template", "shapedirs", "weights")}
    assert load_head(write(tmp_path / "a.pkl", held, protocol)).digest == load_head(write(tmp_path / "b.pkl", arrays)).digest


def test_computed_chumpy_objects_are_refused_in_words(tmp_path, chumpy):
    path = write(tmp_path / "generic_model.pkl", tiny_flame() | {"v_template": chumpy(None, a=1)})
    with pytest.raises(InputError, match="a chumpy object that is computed from others"):
        load_head(path)


def broken(arrays: dict, **changes) -> dict:
    return {name: array for name, array in (arrays | changes).items() if array is not None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "bytes that start with"),
        (b"solid cube\n", "expected a head"),
        (b"\x80\x02}q", "expected a head"),
        (BUILTIN.read_bytes()[:100_000], "expected a head"),
        (pickle.dumps([1, 2]), "a pickled list"),
        (pickle.dumps(broken(tiny_flame(), weights=None, f=None)), "no weights, f in it"),
        (pickle.dumps(broken(tiny_flame(), posedirs=np.zeros((12, 3, 9)))), "posedirs of shape"),
        (pickle.dumps(broken(tiny_flame(), shapedirs=np.zeros((12, 3, 60)))), "not a partial copy"),
        (pickle.dumps(broken(tiny_flame(), kintree_table=np.array([[-1, 0, 1, 2, 3], [0, 1, 2, 3, 4]]))), "five joints"),
    ],
)  # fmt: skip
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "head.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as refusal:
        load_head(path)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)
