"""Other data for the rows of the lifting benchmark: made from a tiny frozen set, which stays as it is.

Faults planted, each seen red: a link written through, further dialogues that begin with a frozen one or stand under other numbers, one clip
too many under one name, other errors that stay, clips counted for one side alone.
"""

from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.lifting import digests, sweeps
from benchmarks.lifting.rows import OF_CI
from benchmarks.lifting.running import trained
from benchmarks.lifting.scales import scale_of
from benchmarks.lifting.training import Bench
from mango.data.dialogues import DialogueSet
from mango.data.truth import Truth
from mango.data.video import VideoFrames


def variant(bench: Bench, make, name: str) -> DialogueSet:
    folder = bench.out / name
    make(bench, folder)
    make(bench, folder)  # what is there stays
    return DialogueSet.open(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a set but the cache."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and "features" not in file.parts]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_fewer_dialogues_are_the_first_of_the_frozen_ones(bench):
    fewer, frozen = variant(bench, sweeps.dialogues(1), "fewer"), DialogueSet.open(bench.data)
    assert fewer.split("train") == frozen.split("train")[:1]
    for split in ("val", "test"):
        assert fewer.split(split) == frozen.split(split)
        assert all(contents(fewer.folder(id)) == contents(frozen.folder(id)) for id in fewer.split(split))
    assert Truth.open(fewer.root).phones("test000", "a") == Truth.open(frozen.root).phones("test000", "a")


def test_further_dialogues_are_new_and_as_they_would_have_been(bench):
    before = contents(bench.data)
    more, frozen = variant(bench, sweeps.dialogues(3), "more"), DialogueSet.open(bench.data)
    assert contents(bench.data) == before
    assert more.split("train")[:2] == frozen.split("train") and len(more.split("train")) == 3
    assert more.split("test") == frozen.split("test")
    voices = {id: more.dialogue(id).side("a").audio for id in more.ids}
    new = voices.pop(more.split("train")[2])
    assert not any(len(new) == len(other) and torch.equal(new, other) for other in voices.values())
    whole = variant(bench, sweeps.synthesized(lambda data: replace(data, train=5, val=0, test=0, video=False)), "whole")
    assert torch.equal(whole.dialogue("train004").side("a").audio, new), "its number alone decides a dialogue"
    linked = DialogueSet.open(bench.out / "more.more")
    for id in whole.ids:
        assert torch.equal(whole.dialogue(id).side("a").audio, linked.dialogue(id).side("a").audio), (
            "the frozen ones stand where they would"
        )


def test_clips_known_apart_have_people_of_their_own(bench):
    before = contents(bench.data)
    apart, frozen = variant(bench, sweeps.known_apart(1), "apart"), DialogueSet.open(bench.data)
    assert contents(bench.data) == before
    names = [name for id in apart.split("train") for name in apart.describe(id).people.values()]
    assert len(set(names)) == len(names) == 4 and set(names) <= set(apart.people)
    assert apart.describe("test000") == frozen.describe("test000")
    pairs = variant(bench, sweeps.known_apart(2), "pairs")
    assert len({name for id in pairs.split("train") for name in pairs.describe(id).people.values()}) == 2


def test_an_error_alone_leaves_the_rest_true(bench):
    alone, frozen = variant(bench, sweeps.error("jitter"), "jitter"), DialogueSet.open(bench.data)
    label, true = alone.dialogue("train000").side("a").motion, Truth.open(frozen.root).motion("train000", "a")
    assert torch.equal(label.neck_pose, true.neck_pose) and torch.equal(label.shape, true.shape)
    assert not torch.allclose(label.expr, true.expr) and not torch.allclose(label.expr, frozen.dialogue("train000").side("a").motion.expr)
    assert (alone.folder("train000") / "a.mp4").read_bytes() == (frozen.folder("train000") / "a.mp4").read_bytes()


def test_another_size_films_the_same_motion(bench):
    large, frozen = variant(bench, sweeps.size(48), "large"), DialogueSet.open(bench.data)
    assert VideoFrames(large.dialogue("train000").side("a").video).size == (48, 48)
    assert torch.equal(large.dialogue("train000").side("a").motion.expr, frozen.dialogue("train000").side("a").motion.expr)


def test_clips_of_ten_divide_thirty_dialogues_among_six(monkeypatch):
    made = {}
    monkeypatch.setattr(sweeps, "synthesize", lambda folder, config: made.update(config=config))
    sweeps.clips_each(10)(Bench(Path("out"), scale_of("small", 1), 1), Path("folder"))
    assert made["config"].people == 6 and made["config"].train == 30


def test_the_main_rows_train_on_a_variant(bench, monkeypatch):
    monkeypatch.setitem(sweeps.VARIANTS, "tremble", sweeps.Variant("tremble alone", sweeps.error("jitter")))
    sweeps.make_data(bench, "tremble")
    other = sweeps.variant_bench(bench, "tremble")
    for row in OF_CI:
        trained(other, row, digests.of_row(other, row))
        assert other.run(row).is_dir() and other.rows != bench.rows
    assert digests.of_row(other, "stage1") != digests.of_row(bench, "stage1")
