"""The truth of a synthetic set: a sibling folder, complete or absent, never opened by anything that trains."""

from dataclasses import replace

import pytest
import torch

from mango.data.truth import TrueCamera, TrueSide, Truth, truth_folder, write_truth
from mango.errors import InputError
from mango.types import Phone


@pytest.fixture
def told(sound_set, clip):
    camera = TrueCamera(torch.eye(4).expand(30, 4, 4).contiguous(), torch.tensor([[90.0, 0, 32], [0, 90, 24], [0, 0, 1]]), 64, 48)
    own = TrueSide(clip(seed=7), (Phone("sil", 0.0, 0.2, 0.0), Phone("AA", 0.2, 0.36, 1.0)), torch.ones(30), camera)
    sides = {"a": own, "b": TrueSide(clip(seed=8), (), torch.zeros(30))}
    write_truth(sound_set.root, "first", sides)
    return sound_set.root, sides


def test_what_was_told_is_read(told, head):
    root, sides = told
    truth = Truth.open(root)
    assert truth.ids() == ("first",)
    assert torch.equal(truth.motion("first", "a", head=head).jaw_pose, sides["a"].motion.jaw_pose)
    assert truth.phones("first", "a") == (Phone("sil", 0.0, 0.2, 0.0), Phone("AA", 0.2, 0.36, 1.0))
    assert truth.phones("first", "b") == ()
    assert truth.speaking("first", "b").tolist() == [0.0] * 30
    camera = truth.camera("first", "a")
    assert (camera.width, camera.height, camera.camera_from_world.shape) == (64, 48, (30, 4, 4))
    assert torch.equal(camera.intrinsics, sides["a"].camera.intrinsics)


@pytest.mark.parametrize("spelling", ["{root}", "{root}/", "{root}/../set"])
def test_it_is_the_sibling_however_the_set_is_spelt(told, spelling):
    root, _ = told
    assert Truth.open(spelling.format(root=root)).ids() == ("first",)


def test_it_is_the_sibling_from_inside_the_set(told, monkeypatch):
    root, _ = told
    monkeypatch.chdir(root)
    assert truth_folder(".") == root.with_name("set.truth")


def test_nothing_of_it_is_inside_the_set(told, pristine_set):
    root, _ = told
    there, before = (sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in (root, pristine_set))
    assert there == before


def test_what_is_missing_is_named(told, tmp_path):
    root, _ = told
    with pytest.raises(InputError, match="only on sets made by"):
        Truth.open(tmp_path / "real")
    with pytest.raises(InputError, match="dialogue 'second'"):
        Truth.open(root).motion("second", "a")
    with pytest.raises(InputError, match=r"b\.camera\.npz"):
        Truth.open(root).camera("first", "b")


def test_half_a_truth_is_not_left(told):
    root, sides = told
    broken = replace(sides["b"], speaking=torch.full((30,), 2.0))
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        write_truth(root, "second", {"a": sides["a"], "b": broken})
    assert [path.name for path in (truth_folder(root) / "dialogues").iterdir()] == ["first"]
