"""Dialogue sets: what is written is read, whole or not at all, and lazily."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import mango.data.atomic as atomic
import mango.data.dialogues as dialogues
from mango.data.descriptions import NOBODY
from mango.data.dialogues import DialogueSet, create_dialogue_set, lone_dialogue, write_dialogue
from mango.data.validation import problems
from mango.errors import InputError
from mango.types import Dialogue

MADE = {"source": "a test", "licence": "CC0-1.0", "created_by": "tests"}


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_round_trip(sound_set, side):
    read = DialogueSet.open(sound_set.root)
    assert read.splits == {"train": ("first",), "test": ("second",)}
    assert (read.fps, read.head_name, read.head_digest, read.people["ann"]) == (25, "builtin", "5" * 64, {"age": 30})
    dialogue, written = read.dialogue("first"), side("ann", 1)
    own = dialogue.side("a")
    assert (dialogue.frames, own.person, dialogue.side("b").person) == (30, "ann", "bob")
    assert torch.equal(own.audio, torch.round(written.audio * 32768) / 32768)
    assert torch.equal(own.speaking, written.speaking)
    assert torch.equal(own.motion.expr, written.motion.expr)
    for name in ("keep", "camera_from_world", "intrinsics", "landmarks", "confidence"):
        assert torch.equal(getattr(own.track, name), getattr(written.track, name)), name
    assert own.phones == written.phones and len(own.phones) == 4
    assert own.video.read_bytes() == written.video.read_bytes()
    assert own.mask_video.read_bytes() == written.mask_video.read_bytes()


def test_reading_and_writing_again_changes_no_byte(sound_set, tmp_path):
    again = create_dialogue_set(tmp_path / "again", sound_set.head, sound_set.people, sound_set.splits)
    for id in sound_set.ids:
        write_dialogue(again.root, sound_set.dialogue(id), **MADE)
    assert tree(again.root) == tree(sound_set.root)
    assert again.digest == sound_set.digest


def test_digest_notices_any_file(sound_set):
    digest = sound_set.digest
    path = sound_set.folder("second") / "b.speaking.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert DialogueSet.open(sound_set.root).digest != digest


def test_opening_reads_no_dialogue(sound_set, monkeypatch):
    monkeypatch.setattr(dialogues, "read_voice", lambda path: pytest.fail(f"{path} was read"))
    opened = DialogueSet.open(sound_set.root)
    assert opened.split("train") == ("first",)
    assert opened.describe("first").frames == 30


def test_a_dialogue_is_read_once_for_all_its_clips(sound_set, monkeypatch):
    whole, read = DialogueSet.open(sound_set.root), []
    monkeypatch.setattr(DialogueSet, "dialogue", lambda self, id, as_it_was=DialogueSet.dialogue: read.append(id) or as_it_was(self, id))
    clips = [(id, side) for id in whole.ids for side in "ab"]
    found = dict(whole.sides(clips))
    assert read == list(whole.ids) and list(found) == clips
    assert all(side.person == whole.describe(id).people[name] for (id, name), side in found.items())


def test_an_unknown_split_names_those_there_are(sound_set):
    with pytest.raises(InputError, match=r"a split 'held_out', found only train, test"):
        sound_set.split("held_out")


def test_speaking_is_computed_where_no_file_says_otherwise(sound_set):
    pytest.importorskip("mango.audio.activity")
    (sound_set.folder("first") / "a.speaking.npy").unlink()
    speaking = sound_set.dialogue("first").side("a").speaking
    assert speaking.shape == (30,)
    assert bool(((speaking >= 0) & (speaking <= 1)).all())


def test_one_person_alone_has_a_silent_partner_without_labels(sound_set, side, tmp_path):
    root = create_dialogue_set(tmp_path / "alone", sound_set.head, ["ann"], {"train": ["monologue"]}).root
    write_dialogue(root, lone_dialogue("monologue", side("ann"), 30), **MADE)
    partner = DialogueSet.open(root).dialogue("monologue").side("b")
    assert (partner.person, partner.motion, partner.track, partner.video) == (NOBODY, None, None, None)
    assert len(partner.audio) == 30 * 640
    assert not partner.audio.any()
    assert not partner.speaking.any()
    assert json.loads((root / "dialogues/monologue/dialogue.json").read_text())["people"] == {"a": "ann", "b": None}
    assert problems(root) == []


def test_an_interrupted_maker_goes_on_but_another_set_is_kept(sound_set):
    again = create_dialogue_set(sound_set.root, sound_set.head, sound_set.people, sound_set.splits)
    assert again.dialogue("first").frames == 30
    with pytest.raises(InputError, match="another set"):
        create_dialogue_set(sound_set.root, sound_set.head, ["ann"], sound_set.splits)
    assert DialogueSet.open(sound_set.root).people == sound_set.people


def test_a_dialogue_is_not_overwritten_by_accident(sound_set):
    before = tree(sound_set.root)
    with pytest.raises(InputError, match="a new folder"):
        write_dialogue(sound_set.root, sound_set.dialogue("first"), **MADE)
    assert tree(sound_set.root) == before
    write_dialogue(sound_set.root, replace(sound_set.dialogue("second"), id="first"), **MADE, replace=True)
    assert sound_set.dialogue("first").side("a").person == "cat"
    assert not [path for path in sound_set.root.rglob("*") if "partial" in path.name]


@pytest.mark.parametrize("when", ["dialogue.json", "a.wav", "b.motion.npz", "b.track.npz"])
def test_a_full_disk_leaves_nothing_and_says_so(sound_set, monkeypatch, when):
    before, fsync = tree(sound_set.root), os.fsync

    def full(handle):
        if when.split(".")[-1] in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="no space left on device; free some space"):
        write_dialogue(sound_set.root, replace(sound_set.dialogue("first"), id="third"), **MADE)
    monkeypatch.undo()
    assert tree(sound_set.root) == before


def test_leftovers_of_killed_writers_are_cleared(sound_set, monkeypatch):
    """By the next process that writes there: others are listed once, not at each of a hundred thousand writes."""
    child = os.fork()
    if child == 0:  # dies in the middle of a write, as under kill -9
        os.fsync = lambda handle: os._exit(9)
        write_dialogue(sound_set.root, replace(sound_set.dialogue("first"), id="third"), **MADE)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [path for path in (sound_set.root / "dialogues").iterdir() if "partial" in path.name]
    atomic._clear_leftovers.cache_clear()  # as in a new process
    listed = []
    monkeypatch.setattr(os, "listdir", lambda folder, listdir=os.listdir: listed.append(Path(folder)) or listdir(folder))
    write_dialogue(sound_set.root, replace(sound_set.dialogue("first"), id="third"), **MADE)
    write_dialogue(sound_set.root, replace(sound_set.dialogue("first"), id="fourth"), **MADE)
    assert listed.count(sound_set.root / "dialogues") == 1
    assert sorted(path.name for path in (sound_set.root / "dialogues").iterdir()) == ["first", "fourth", "second", "third"]


def test_what_does_not_fit_together_is_not_written(sound_set, clip):
    first = sound_set.dialogue("first")
    longer = replace(first.side("a"), motion=clip(31))
    other_head = replace(first.side("a"), motion=clip(head="6" * 64))
    stranger = replace(first.side("a"), person="eve")
    for changed, words in ((longer, "motion 31"), (other_head, "retarget"), (stranger, "eve")):
        with pytest.raises(InputError, match=words):
            write_dialogue(sound_set.root, Dialogue("third", 30, {"a": changed, "b": first.side("b")}), **MADE)
    assert sorted(path.name for path in (sound_set.root / "dialogues").iterdir()) == ["first", "second"]


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (np.zeros(30 * 640 + 640), 16000, "30 frames of 640 samples"),
        (np.zeros((30 * 640, 2)), 16000, "one channel"),
        (np.zeros(30 * 640), 48000, "48000 Hz"),
        (np.zeros(30 * 640 + 3), 16000, "19203 samples in a.wav, 19200 in b.wav"),
        (np.full(30 * 640, np.nan), 16000, "NaN"),
    ],
)
def test_wrong_voices_are_refused(sound_set, samples, rate, words):
    soundfile.write(sound_set.folder("first") / "a.wav", samples.astype(np.float32), rate, subtype="FLOAT")
    with pytest.raises(InputError, match=words):
        sound_set.dialogue("first")


def test_motion_of_another_head_is_refused(sound_set):
    path = sound_set.folder("first") / "a.motion.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "head": "6" * 64}))
    with pytest.raises(InputError, match=r"a\.motion\.json: expected motion of head 5555"):
        sound_set.dialogue("first")


def test_a_missing_set_and_a_missing_dialogue_are_named(sound_set, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        DialogueSet.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="a dialogue 'fourth'"):
        sound_set.dialogue("fourth")


@pytest.mark.parametrize("id", ["../outside", "/etc", ".hidden", ""])
def test_names_cannot_leave_the_set(sound_set, id):
    with pytest.raises(InputError):
        write_dialogue(sound_set.root, replace(sound_set.dialogue("first"), id=id), **MADE)
