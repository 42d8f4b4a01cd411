"""What has happened to shards since they were packed: found, named and left out, or stopped at; never read as if it were the data.

Faults planted, each seen red: bytes handed out unchecked; a shard's size not looked at; members looked for where they were before the
shard was written again; an index made again of a shard that is not the one that was packed; films that count although nobody asked for
pictures, and the other way round; a warning without its count.
"""

import hashlib
import json
import shutil
import tarfile
import warnings

import numpy as np
import pytest
import torch

from mango.cli import main
from mango.data.dialogues import DialogueSet
from mango.data.packing import pack
from mango.data.pictures import Pictures
from mango.data.shards import DialoguesLeftOut
from mango.data.validation import problems
from mango.data.video import VideoFrames
from mango.errors import InputError

BACKGROUND = torch.tensor([0.25, 0.5, 1.0])


@pytest.fixture(scope="session")
def pristine_shards(pristine_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("pristine_shards") / "packed"
    pack(pristine_set, out)
    return out


@pytest.fixture
def packed(pristine_shards, tmp_path):
    """Dialogue "first", with pictures, in train-000000.tar, and "second", without, in test-000000.tar."""
    shutil.copytree(pristine_shards, tmp_path / "packed")
    return tmp_path / "packed"


def place(root, shard, member):
    rows = json.loads((root / f"{shard}.index.json").read_text())["members"]
    return next((start, size) for name, start, size, _ in rows if name == member)


def spoil(root, shard, member):
    """One bit in the middle of a member."""
    start, size = place(root, shard, member)
    with (root / f"{shard}.tar").open("r+b") as file:
        file.seek(start + size // 2)
        (byte,) = file.read(1)
        file.seek(start + size // 2)
        file.write(bytes([byte ^ 1]))


def rewritten(root, shard, keep):
    """The shard written again by another program, with some of its members, everything at another place."""
    path = root / f"{shard}.tar"
    with tarfile.open(path) as old, tarfile.open(path.with_suffix(".new"), "w", format=tarfile.GNU_FORMAT) as new:
        new.addfile(tarfile.TarInfo("README"))
        for member in old:
            if keep(member.name):
                new.addfile(member, old.extractfile(member))
    path.with_suffix(".new").replace(path)


def read_all(opened):
    return {name: opened.split(name) for name in opened.splits}


def test_pictures_of_shards_are_those_of_films(pristine_set, pristine_shards):
    """Any frame in any order, by another thread's codec or the same; colours and mattes."""
    plain, packed = DialogueSet.open(pristine_set).dialogue("first"), DialogueSet.open(pristine_shards, films=True).dialogue("first")
    for side in ("a", "b"):
        for film, member in (
            (plain.side(side).video, packed.side(side).video),
            (plain.side(side).mask_video, packed.side(side).mask_video),
        ):
            order = np.random.default_rng(0).permutation(30)[[*range(30), 3, 3]].tolist()
            assert torch.equal(VideoFrames(member).frames(order), VideoFrames(film).frames(order))
            assert torch.equal(VideoFrames(member).mattes(order), VideoFrames(film).mattes(order))
    shots = [("first", "b", 5), ("first", "a", 3), ("first", "a", 4), ("first", "b", 0)]
    clips = [("first", "a"), ("first", "b")]
    one, other = (Pictures(DialogueSet.open(root), clips, BACKGROUND).read(shots) for root in (pristine_set, pristine_shards))
    assert torch.equal(one.colors, other.colors) and torch.equal(one.mattes, other.mattes)
    assert torch.equal(one.landmarks, other.landmarks) and torch.equal(one.intrinsics, other.intrinsics)


def test_nothing_is_said_of_whole_shards(pristine_shards):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = DialogueSet.open(pristine_shards, strict=True, films=True)
        assert read_all(opened) == {"train": ("first",), "test": ("second",)}
        assert opened.facts["left_out"] == []


@pytest.mark.parametrize(
    "member", ["dialogue.json", "a.wav", "b.motion.npz", "a.motion.json", "a.track.npz", "b.speaking.npy", "b.phones.json"]
)
def test_changed_bytes_are_left_out_and_named(packed, member):
    spoil(packed, "train-000000", f"first.{member}")
    opened = DialogueSet.open(packed)
    with pytest.warns(
        DialoguesLeftOut, match=rf"1 of 1 dialogues are left out: first \(.*train-000000\.tar/first\.{member}: .* found others"
    ):
        assert opened.split("train") == ()
    assert opened.split("test") == ("second",) and opened.facts["left_out"] == ["first"]
    with pytest.raises(InputError, match=member):
        opened.dialogue("first")
    with pytest.raises(InputError, match=member):
        DialogueSet.open(packed, strict=True).split("train")
    assert any(member in str(problem) for problem in problems(packed))


def test_each_damaged_dialogue_is_told_of_once(packed):
    spoil(packed, "train-000000", "first.a.wav")
    opened = DialogueSet.open(packed)
    with pytest.warns(DialoguesLeftOut) as said:
        opened.split("train"), opened.split("train"), opened.digest
    assert len(said) == 1


def test_films_are_compared_once(packed, monkeypatch):
    """Seen red: fine-tuning read all films of everybody three times before it began."""
    from mango.data.members import Member

    read = []
    monkeypatch.setattr(Member, "check", lambda self, check=Member.check: read.append(self.name) or check(self))
    opened = DialogueSet.open(packed, films=True)
    for _ in range(3):
        opened.split("train")
    assert read and len(read) == len(set(read)) * len(opened.split("train"))


def test_damage_in_one_split_does_not_stop_what_uses_another(packed):
    """Planted and seen red: a digest that is as strict as a split."""
    (packed / "train-000000.tar").unlink()
    opened = DialogueSet.open(packed, strict=True)
    assert opened.split("test") == ("second",)
    with pytest.warns(DialoguesLeftOut, match="all splits: 1 of 2"):
        assert opened.facts["left_out"] == ["first"]
    with pytest.raises(InputError, match=r"train-000000\.tar"):
        opened.split("train")


def test_films_count_where_pictures_are_wanted(packed):
    spoil(packed, "train-000000", "first.a.mp4")
    assert DialogueSet.open(packed).split("train") == ("first",)  # sound and motion are whole
    with pytest.warns(DialoguesLeftOut, match=r"first\.a\.mp4"):
        assert DialogueSet.open(packed, films=True).split("train") == ()
    with pytest.raises(InputError, match=r"first\.a\.mp4"):
        DialogueSet.open(packed, films=True, strict=True).split("train")
    with pytest.raises(InputError, match=r"first\.a\.mp4"):  # never shown, whoever asks
        Pictures(DialogueSet.open(packed), [("first", "a")], BACKGROUND)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999, 1.0])
def test_truncated_shards(packed, part):
    """The last within the last member, whose header is there."""
    path = packed / "train-000000.tar"
    with path.open("r+b") as file:
        file.truncate(int(part * (place(packed, "train-000000", "first.dialogue.json")[0] + 10)))
    with pytest.raises(InputError, match="train-000000"):
        DialogueSet.open(packed, strict=True).split("train")
    opened = DialogueSet.open(packed)
    with pytest.warns(DialoguesLeftOut, match=r"1 of 1 .*train-000000\.tar: expected a member first\..*, found none"):
        assert opened.split("train") == ()
    assert opened.split("test") == ("second",)
    assert any("train-000000" in str(problem) for problem in problems(packed))


def test_a_missing_shard(packed):
    (packed / "train-000000.tar").unlink()
    opened = DialogueSet.open(packed)
    with pytest.warns(DialoguesLeftOut, match=r"first \(.*train-000000\.tar: .* found no such file"):
        assert opened.split("train") == ()
    with pytest.raises(InputError, match=r"train-000000\.tar"):
        opened.dialogue("first")


def test_a_missing_member(packed):
    rewritten(packed, "train-000000", lambda name: name != "first.b.speaking.npy")
    with pytest.warns(DialoguesLeftOut, match=r"expected a member first\.b\.speaking\.npy \(dialogue first\), found none"):
        assert DialogueSet.open(packed).split("train") == ()


def test_a_shard_written_again_is_read_where_its_members_are_now(packed, pristine_set):
    rewritten(packed, "train-000000", lambda name: True)
    opened = DialogueSet.open(packed, strict=True, films=True)
    assert opened.split("train") == ("first",) and opened.digest == DialogueSet.open(pristine_set).digest


@pytest.mark.parametrize("fault", ["missing", "of another shard", "not JSON"])
def test_an_index_is_made_again(packed, fault):
    path = packed / "train-000000.index.json"
    before = path.read_bytes()
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes((packed / "test-000000.index.json").read_bytes() if fault == "of another shard" else b"{")
    with pytest.warns(UserWarning, match="has been made again"):
        assert DialogueSet.open(packed, strict=True).split("train") == ("first",)
    assert path.read_bytes() == before


def test_an_index_is_not_made_of_a_damaged_shard(packed):
    """Its digests would be those of the damage."""
    spoil(packed, "train-000000", "first.a.wav")
    (packed / "train-000000.index.json").unlink()
    with pytest.warns(DialoguesLeftOut, match="another one, and no index of it"):
        assert DialogueSet.open(packed).split("train") == ()
    assert not (packed / "train-000000.index.json").exists()


def test_a_dialogue_in_no_shard(packed):
    content = json.loads((packed / "dataset.json").read_text())
    content["splits"]["train"].append("third")
    (packed / "dataset.json").write_text(json.dumps(content))
    with pytest.warns(DialoguesLeftOut, match=r"1 of 2 dialogues are left out: third \(.*shards\.json"):
        assert DialogueSet.open(packed).split("train") == ("first",)
    assert any("in no shard" in str(problem) for problem in problems(packed))


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2}', '{"format": 1, "shards": [{"name": "../x.tar"}]}', '{"format": 1}'])
def test_a_broken_description_is_an_error(packed, content):
    (packed / "shards.json").write_text(content)
    with pytest.raises(InputError, match=r"shards\.json"):
        DialogueSet.open(packed)


def test_validate_checks_every_member(packed, capsys):
    assert main(["data", "validate", str(packed)]) == 0
    for member in ("first.a.mask.mp4", "first.b.wav"):
        spoil(packed, "train-000000", member)
    (packed / "notes.txt").write_text("not ours")
    assert main(["data", "validate", str(packed)]) == 1
    out = capsys.readouterr().out
    assert all(name in out for name in ("first.a.mask.mp4", "first.b.wav", "notes.txt", "3 problems"))


@pytest.mark.parametrize("row", ['["first.a.wav", "0", 5, "x"]', '["first.a.wav", 0]', "7", '["first.a.wav", 0.5, 5, "x"]'])
def test_rows_of_an_index_that_are_none(packed, row):
    """By whoever wrote it and its digest."""
    content = f'{{"format": 1, "members": [{row}]}}'.encode()
    (packed / "train-000000.index.json").write_bytes(content)
    described = json.loads((packed / "shards.json").read_text())
    described["shards"][0]["index_sha256"] = hashlib.sha256(content).hexdigest()
    (packed / "shards.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match="rows of name, offset, size, sha256"):
        DialogueSet.open(packed, strict=True).split("train")
