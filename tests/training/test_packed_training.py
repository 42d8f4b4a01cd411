"""Training from shards is training from folders, bit for bit, however many processes read.

Faults planted, each seen red: windows drawn by a process's own number; shards, instead of splits, deciding the order of dialogues; members
read without the place that they are to be read at; a copy of the data that differs in one of two processes and goes unnoticed.
"""

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
import torch
from both_stages import train_both
from safetensors.torch import load_file
from tiny_films import make_filmed_set, tiny_stage2
from tiny_training import TINY, train_here

from mango.audio.encoders import make_encoder
from mango.config import save_config
from mango.data.dialogues import DialogueSet
from mango.data.packing import pack
from mango.data.pictures import Pictures
from mango.data.shards import DialoguesLeftOut
from mango.data.windows import Windows
from mango.errors import InputError
from mango.training.run import Every, Run
from mango.training.runtime import Runtime, RuntimeConfig
from mango.training.stage1 import Stage1Config

SIZE = 8  # windows
GREY = torch.full((3,), 0.5)


@pytest.fixture(scope="module")
def films(tmp_path_factory, head) -> Path:
    return make_filmed_set(tmp_path_factory.mktemp("films"), head)


@pytest.fixture(scope="module")
def packed(tmp_path_factory, films) -> Path:
    """Every dialogue in a shard of its own."""
    out = tmp_path_factory.mktemp("packed") / "packed"
    pack(films, out, shard_size=10_000)
    assert len(list(out.glob("train-*.tar"))) == 3
    return out


def learnt_from(root: Path, head, step: int, rows: list[int]) -> dict[str, torch.Tensor]:
    """A process's windows of a step, with a picture of each."""
    dialogues = DialogueSet.open(root, strict=True, films=True)
    windows = Windows(dialogues, "train", make_encoder(Stage1Config().encoder), head.layout, 20, 4)
    batch = windows.batch(3, step, SIZE).rows(rows)
    shots = [(id, "ab"[row % 2], max(0, start)) for row, id, start in zip(rows, batch.dialogues, batch.starts, strict=True)]
    pictures = Pictures(dialogues, windows.clips, GREY).read(shots)
    tensors = {name: getattr(batch, name) for name in ("motion", "voices", "speaking", "keep", "taught", "bilabial", "identity")}
    return {**tensors, "starts": torch.tensor(batch.starts), "colors": pictures.colors, "mattes": pictures.mattes}


def _learn(root, head, steps, rows, out):
    torch.save([learnt_from(root, head, step, rows) for step in steps], out)


def test_windows_and_pictures_are_the_same(films, packed, head):
    """Of any step, whatever was drawn before: as after a resumption."""
    for step in (7, 1):
        one, other = (learnt_from(root, head, step, list(range(SIZE))) for root in (films, packed))
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["motion"], learnt_from(packed, head, 2, list(range(SIZE)))["motion"])


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_samples_of_one(packed, head, tmp_path, processes):
    shares = [list(range(rank, SIZE, processes)) for rank in range(processes)]  # as `Runtime.share`
    context = multiprocessing.get_context("fork")
    arguments = [(packed, head, (1, 2), share, tmp_path / str(rank)) for rank, share in enumerate(shares)]
    workers = [context.Process(target=_learn, args=args) for args in arguments]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    parts = [torch.load(tmp_path / str(rank)) for rank in range(processes)]
    for number, step in enumerate((1, 2)):
        whole = learnt_from(packed, head, step, list(range(SIZE)))
        for share, part in zip(shares, parts, strict=True):
            assert all(torch.equal(part[number][name], whole[name][share]) for name in whole)


def trained(root: Path, folder: Path, head) -> Path:
    """Both stages, a few steps each."""
    stage1 = TINY.replace("steps: 6", "steps: 2").replace("validate: 3", "validate: 0")
    (folder / "stage1.yaml").write_text(f"data: {root}\nrun: {folder / 'run'}\n{stage1}")
    config = tiny_stage2(folder / "start", root, head, steps=2, run=folder / "stage2", every=Every(log=1, validate=0, save=2))
    save_config(config, folder / "stage2.yaml")
    assert train_both(folder) == [0, 0]
    return folder


def contents(run: Path) -> dict[str, torch.Tensor]:
    last = run / "checkpoints" / "last"
    return {f"{file.relative_to(last)}:{name}": value for file in last.rglob("*.safetensors") for name, value in load_file(file).items()}


def test_both_stages_learn_the_same(films, packed, head, tmp_path):
    folders = []
    for name, root in (("plain", films), ("packed", packed)):
        (tmp_path / name / "start").mkdir(parents=True)
        folders.append(trained(root, tmp_path / name, head))
    for stage in ("run", "stage2"):
        one, other = (contents(folder / stage) for folder in folders)
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        facts = [json.loads((folder / stage / "run.json").read_text()) for folder in folders]
        assert facts[0]["dataset"] == facts[1]["dataset"] and facts[1]["left_out"] == []
    assert (packed / "features").is_dir()


def test_a_damaged_dialogue_is_left_out_of_training_or_stops_it(packed, head, tmp_path):
    root = Path(shutil.copytree(packed, tmp_path / "packed"))
    with (root / "train-000001.tar").open("r+b") as file:
        file.truncate(20_000)
    (tmp_path / "stage1.yaml").write_text(f"data: {root}\nrun: {tmp_path / 'run'}\n{TINY.replace('steps: 6', 'steps: 1')}")
    with pytest.raises(InputError, match="train-000001"):
        train_here(tmp_path / "stage1.yaml", "--strict", "True")
    with pytest.warns(DialoguesLeftOut, match=r"1 of 3 dialogues are left out: d1 \(.*train-000001\.tar"):
        assert train_here(tmp_path / "stage1.yaml") == 0
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["left_out"] == ["d1"] and facts["dataset"] != DialogueSet.open(packed).digest


def test_processes_with_different_data_do_not_start(monkeypatch, tmp_path):
    runtime = Runtime(RuntimeConfig(device="cpu"))
    runtime.check_same("dataset", "5" * 64)
    monkeypatch.setattr(runtime, "processes", 2)
    monkeypatch.setattr(runtime, "_added", lambda own: own + torch.tensor([0, 77]))  # what the other process says
    with pytest.raises(InputError, match="other ones than process 0 in 1"):
        runtime.check_same("dataset", "5" * 64)
    with (
        pytest.raises(InputError, match="dataset: expected the same"),
        Run(tmp_path, Stage1Config(), facts={"dataset": "5"}, runtime=runtime),
    ):
        pytest.fail("it started")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(runtime, "_added", lambda own: own.flip(0) + own)  # the same
    runtime.check_same("dataset", "5" * 64)
