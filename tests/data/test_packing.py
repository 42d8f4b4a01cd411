"""Sets into shards: standard tar files, the same bytes whoever writes them, whole or not at all, and nothing lost when killed.

Faults planted, each seen red: a time in the tar's headers; shards finished in another order listed in that order; a note of a finished
shard written before the shard; an earlier beginning taken up although the set has changed since; a name with a dot left as it is;
workers that outlive the process that started them; a digest of other bytes than the members'.
"""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from types import SimpleNamespace

import pytest
import torch

import mango.data.packing as packing
from mango.cli import main
from mango.data.dialogues import DialogueSet, create_dialogue_set, files_of, write_dialogue
from mango.data.packing import pack
from mango.data.validation import problems
from mango.errors import InputError
from mango.types import Dialogue

SMALL = 100_000  # bytes: less than a dialogue, so each has a shard of its own
MADE = {"source": "a test", "licence": "CC0-1.0", "created_by": "tests"}


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def many(side, tmp_path_factory):
    """Six short dialogues of two splits, one with pictures, one with a dot in its name."""
    root = tmp_path_factory.mktemp("many") / "set"
    head = SimpleNamespace(name="builtin", digest="5" * 64, expressions=7, identities=4)
    splits = {"train": ["d0", "v1.0", "d2", "d3"], "test": ["d4", "d5"], "share_people": True}
    create_dialogue_set(root, head, ["ann", "bob"], splits)
    for seed, id in enumerate(splits["train"] + splits["test"]):
        sides = {"a": side("ann", 2 * seed, pictures=id == "d2"), "b": side("bob", 2 * seed + 1, pictures=False)}
        write_dialogue(root, Dialogue(id, 30, sides), **MADE)
    return root


def test_tar_reads_what_was_packed(many, tmp_path):
    pack(many, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "dataset.json", "shards.json", "test-000000.index.json", "test-000000.tar", "train-000000.index.json", "train-000000.tar",
    ]  # fmt: skip
    found = {}
    for tar in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(tar) as archive:
            found |= {member.name: archive.extractfile(member).read() for member in archive}
    opened = DialogueSet.open(many)
    there = {f"{id.replace('.', '%2E')}.{file.name}": file.read_bytes() for id in opened.ids for file in files_of(opened.folder(id))}
    assert found == there and len(there) > 60
    assert problems(tmp_path / "out") == []


def test_webdataset_reads_samples(many, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="the package webdataset is not installed: its reader is not tried")
    pack(many, tmp_path / "out")
    url = f"file:{tmp_path / 'out' / 'train-000000.tar'}"
    samples = {sample["__key__"]: sample for sample in webdataset.WebDataset(url, shardshuffle=False)}
    assert list(samples) == ["d0", "v1%2E0", "d2", "d3"]
    assert json.loads(samples["v1%2E0"]["dialogue.json"])["frames"] == 30
    folder = DialogueSet.open(many).folder("d2")
    for name in ("a.wav", "a.motion.npz", "a.mask.mp4", "b.phones.json"):
        assert samples["d2"][name] == (folder / name).read_bytes(), name


def test_a_packed_set_is_the_set(many, tmp_path):
    """The same people, splits, digest, and every number and picture of every dialogue."""
    pack(many, tmp_path / "out", shard_size=SMALL)
    plain, packed = DialogueSet.open(many), DialogueSet.open(tmp_path / "out")
    assert packed.description == plain.description and packed.digest == plain.digest
    assert [packed.split(name) for name in packed.splits] == [plain.split(name) for name in plain.splits]
    for id in plain.ids:
        for name in ("a", "b"):
            one, other = plain.dialogue(id).side(name), packed.dialogue(id).side(name)
            assert torch.equal(one.audio, other.audio) and torch.equal(one.speaking, other.speaking)
            assert torch.equal(one.motion.expr, other.motion.expr) and torch.equal(one.track.landmarks, other.track.landmarks)
            assert one.phones == other.phones and one.person == other.person
            for film, member in ((one.video, other.video), (one.mask_video, other.mask_video)):
                assert (film is None) == (member is None) and (film is None or film.read_bytes() == member.read_bytes())


def test_what_is_written_from_shards_is_the_set_again(many, tmp_path):
    """Out of shards, and out of shards of another size."""
    pack(many, tmp_path / "small", shard_size=SMALL)
    pack(tmp_path / "small", tmp_path / "again")
    pack(many, tmp_path / "large")
    assert tree(tmp_path / "again") == tree(tmp_path / "large")
    packed = DialogueSet.open(tmp_path / "small")
    create_dialogue_set(tmp_path / "set", packed.head, packed.people, {**packed.splits, "share_people": True})
    for id in packed.ids:
        write_dialogue(tmp_path / "set", packed.dialogue(id), **MADE)
    assert tree(tmp_path / "set") == tree(many)


def test_bytes_do_not_depend_on_workers(many, tmp_path):
    for workers in (1, 2):
        pack(many, tmp_path / str(workers), shard_size=SMALL, workers=workers)
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
    assert len(list((tmp_path / "1").glob("*.tar"))) == 6


def test_shards_are_filled_and_splits_stay_apart(many, tmp_path):
    pack(many, tmp_path / "out", shard_size=2 * SMALL)
    rows = json.loads((tmp_path / "out" / "shards.json").read_text())["shards"]
    assert [(row["name"], row["dialogues"]) for row in rows] == [
        ("train-000000.tar", ["d0", "v1.0"]), ("train-000001.tar", ["d2", "d3"]), ("test-000000.tar", ["d4", "d5"]),
    ]  # fmt: skip
    for row in rows:
        assert (tmp_path / "out" / row["name"]).stat().st_size == row["size"]


def _killed_at(many, out, moment):
    """Packs until ``moment`` members have been begun, then is gone as by kill -9."""
    add, seen = packing._Tar.add, []

    def add_or_die(self, name, member):
        seen.append(name)
        if len(seen) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return add(self, name, member)

    packing._Tar.add = add_or_die
    pack(many, out, shard_size=SMALL)


@pytest.mark.parametrize(("moment", "finished_shards"), [(1, 0), (14, 1), (41, 2), (70, 5)])
def test_killed_and_called_again_loses_the_shard_in_hand_only(many, tmp_path, moment, finished_shards):
    pack(many, tmp_path / "whole", shard_size=SMALL)
    process = multiprocessing.get_context("fork").Process(target=_killed_at, args=(many, tmp_path / "out", moment))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(InputError, match="not yet packed"):
        DialogueSet.open(tmp_path / "out")
    finished = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[!.]*.tar")}
    assert len(finished) == finished_shards
    pack(many, tmp_path / "out", shard_size=SMALL)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in finished} == finished


def test_a_changed_set_does_not_go_on(sound_set, tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_killed_at, args=(sound_set.root, tmp_path / "out", 20))
    process.start()
    process.join(60)
    path = sound_set.folder("first") / "b.speaking.npy"
    path.write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="the beginnings of another packing"):
        pack(sound_set.root, tmp_path / "out", shard_size=SMALL)


def test_the_command_says_what_it_made(many, tmp_path, capsys):
    assert main(["data", "pack", str(many), str(tmp_path / "out"), "--workers", "1"]) == 0
    assert "2 shards, 6 dialogues" in capsys.readouterr().out
    assert main(["data", "pack", str(many), str(tmp_path / "out")]) == 2
    assert "found a finished packed set" in capsys.readouterr().err
    assert main(["data", "pack", str(many), str(many / "packed")]) == 2
    assert main(["data", "pack", str(many), str(tmp_path / "x"), "--shard-size-mb", "0"]) == 2
    assert main(["data", "pack", str(tmp_path / "nowhere"), str(tmp_path / "x")]) == 2
    assert not (tmp_path / "x").exists() and not (many / "packed").exists()


@pytest.mark.parametrize("fault", ["cut film", "no voice", "no folder"])
def test_unreadable_dialogues_are_left_out_and_named(sound_set, tmp_path, capsys, fault):
    folder = sound_set.folder("first")
    if fault == "cut film":
        (folder / "a.mp4").write_bytes((folder / "a.mp4").read_bytes()[:-500])
    elif fault == "no voice":
        (folder / "a.wav").unlink()
    else:
        shutil.rmtree(folder)
    command = ["data", "pack", str(sound_set.root), str(tmp_path / "out"), "--workers", "1"]
    assert main([*command, "--strict"]) == 2
    assert "first" in capsys.readouterr().err
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "left out: first:" in out and "1 of 2 dialogues are left out" in out
    packed = DialogueSet.open(tmp_path / "out", strict=True)
    assert packed.splits == {"train": (), "test": ("second",)} and packed.split("test") == ("second",)
    assert problems(tmp_path / "out") == []


def test_what_was_left_out_before_stops_a_strict_call(sound_set, tmp_path):
    (sound_set.folder("first") / "a.wav").unlink()
    process = multiprocessing.get_context("fork").Process(target=_killed_at, args=(sound_set.root, tmp_path / "out", 1))
    process.start()
    process.join(60)
    assert (tmp_path / "out" / ".packing" / "train-000000.tar.json").exists()
    with pytest.raises(InputError, match=r"first/a\.wav"):
        pack(sound_set.root, tmp_path / "out", shard_size=SMALL, strict=True)
    assert list(pack(sound_set.root, tmp_path / "out", shard_size=SMALL)) == ["first"]


def test_workers_end_with_their_parent(many, tmp_path):
    """Killed as a whole, nothing of it goes on working."""
    lines = (
        "import os, signal, sys, time",
        "from pathlib import Path",
        "from mango.data.packing import pack",
        "if __name__ == '__main__':",
        "    killed = lambda done, total: os.kill(os.getpid(), signal.SIGKILL)",
        "    pack(Path(sys.argv[1]), Path(sys.argv[2]), shard_size=100_000, workers=2, progress=killed)",
    )
    script = tmp_path / "script.py"
    script.write_text("\n".join(lines))
    variables = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    begun = subprocess.Popen(
        [sys.executable, script, many, tmp_path / "out"], env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    begun.communicate(timeout=30)  # returns when nobody holds these pipes any more, workers included
    assert begun.returncode == -signal.SIGKILL


def _die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_told_of(many, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "mango.worker_processes.get_context", lambda method: multiprocessing.get_context("fork")
    )  # so that workers know the next line
    monkeypatch.setattr(packing, "_pack_shard", _die)
    with pytest.raises(InputError, match="one that was killed"):
        pack(many, tmp_path / "out", shard_size=SMALL, workers=2)
