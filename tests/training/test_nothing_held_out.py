"""Sets without a split to validate on are trained on, and that nothing is held out is said, once.

Faults planted, each seen red: the split opened all the same; a set without it refused; nothing said; labels counted that
no tracker trusts.
"""

import json
import shutil
from pathlib import Path

import pytest
from tiny_dialogues import distrust, make_tiny_set
from tiny_films import make_filmed_set, tiny_stage2
from tiny_training import tiny_yaml, train_here

from mango.data.dialogues import DialogueSet
from mango.data.holding_out import nothing_held_out
from mango.data.packing import pack


def with_splits(root: Path, **splits) -> Path:
    """The set with these splits alone."""
    path = root / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "splits": splits}))
    return root


def test_why_nothing_is_held_out(tmp_path, head):
    root = make_tiny_set(tmp_path / "set", head)

    def why(split="val", people=(), **splits):
        with_splits(root, **{"train": ["d0", "d1", "d2"], "val": ["d3"], **splits})
        return nothing_held_out(DialogueSet.open(root), split, people)

    assert why() is None and why(people=["p0", "q"]) is None
    assert "validation_split is None" in why(None)
    assert "has no split 'eval' (it has train, val)" in why("eval")
    assert "shows nobody who is learnt from" in why(people=["q"])
    distrust(root, "d3", "a")
    assert why() is None and why(people=["p0", "p1"]) is None
    assert "has no trusted frame of whoever is learnt from (a.track.npz: keep)" in why(people=["p0"])
    distrust(root, "d3", "b")
    assert "has no trusted frame of its labels" in why()
    for side in "ab":
        (root / "dialogues" / "d3" / f"{side}.motion.npz").unlink()
    assert "has no motion labels" in why()
    assert "is empty (`mango data import --hold-out 0.1` fills it)" in why(val=[])


@pytest.mark.parametrize("splits", [{"train": ["d0", "d1"], "val": [], "test": []}, {"train": ["d0", "d1"]}])
@pytest.mark.parametrize("packed", [False, True])
def test_stage_one_trains_without(tiny_set, tmp_path, capsys, splits, packed):
    """As `mango data import` writes splits, and as `mango track` does of a short film."""
    data = with_splits(shutil.copytree(tiny_set, tmp_path / "set"), **splits)
    if packed:
        pack(data, tmp_path / "packed", shard_size=10_000)
        data = tmp_path / "packed"
        assert DialogueSet.open(data).splits.keys() == splits.keys()
    assert train_here(tiny_yaml(tmp_path, data), "--steps", "3") == 0
    assert capsys.readouterr().out.count("nothing is held out") == 1
    groups = {json.loads(line)["group"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()}
    assert groups == {"train"} and (tmp_path / "run" / "checkpoints" / "last").exists()


def test_stage_one_trains_where_no_held_out_frame_is_trusted(tiny_set, tmp_path, capsys):
    """As `mango track` may write the end of a film in which nobody is seen."""
    data = with_splits(shutil.copytree(tiny_set, tmp_path / "set"), train=["d0", "d1"], val=["d3"])
    for side in "ab":
        distrust(data, "d3", side)
    assert train_here(tiny_yaml(tmp_path, data), "--steps", "2") == 0
    assert capsys.readouterr().out.count("nothing is held out") == 1


def test_stage_two_trains_without(tmp_path, head, capsys):
    import train_stage2

    data = with_splits(make_filmed_set(tmp_path, head), train=["d0", "d1"])
    assert train_stage2.main(tiny_stage2(tmp_path, data, head, steps=2)) == 0
    assert capsys.readouterr().out.count("has no split 'val' (it has train): nothing is held out") == 1
