"""Several sets become one: every dialogue under a name of its own, people by their names, and nothing half done.

Faults planted, each seen red: dialogues of one name written over each other; splits of the first set alone; films copied where they can be
linked; a killed merge begun anew; a person's train and test dialogues from two sets without saying so.
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mango.cli import main
from mango.data import merging
from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.data.merging import merge
from mango.data.packing import pack
from mango.data.validation import problems
from mango.data.video import write_video
from mango.errors import InputError
from mango.types import Dialogue


@pytest.fixture
def made(tmp_path, sound_set, clip, head):
    """Sets as `mango track` makes them: {split: [(id, a, b), ...]}, with the pictures of the sound set."""

    def make(name: str, head=head, share_people=False, **splits) -> Path:
        root = tmp_path / name
        told = sound_set.dialogue("first")
        people = {person: {"source": f"{name}.mp4"} for rows in splits.values() for _, *both in rows for person in both}
        create_dialogue_set(
            root, head, people, {split: [id for id, *_ in rows] for split, rows in splits.items()} | {"share_people": share_people}
        )
        for rows in splits.values():
            for id, a, b in rows:
                motion = clip(seed=sum(id.encode()), head=head.digest)
                sides = {side: replace(told.side(side), person=person, motion=motion) for side, person in (("a", a), ("b", b))}
                write_dialogue(root, Dialogue(id, told.frames, sides), source=name, licence="CC0", created_by="test")
        return root

    return make


def content(root: Path) -> dict[str, dict[str, bytes]]:
    return {folder.name: {file.name: file.read_bytes() for file in folder.iterdir()} for folder in (root / "dialogues").iterdir()}


def run(*words) -> int:
    return main(["data", "merge", *(str(word) for word in words)])


def test_sets_become_one(made, tmp_path, capsys):
    monday = made("monday", train=[("clip", "anna", "ben")], val=[("end", "anna", "ben")])
    tuesday = made("tuesday", train=[("clip", "anna", "carla"), ("other", "dan", "carla")], test=[("last", "eva", "finn")])
    assert run(tmp_path / "all", monday, tuesday) == 0
    whole, said = DialogueSet.open(tmp_path / "all"), capsys.readouterr().out
    assert whole.splits == {"train": ("monday-clip", "tuesday-clip", "other"), "val": ("end",), "test": ("last",)}
    assert {*whole.people} == {"anna", "ben", "carla", "dan", "eva", "finn"} and whole.people["anna"] == {"source": "monday.mp4"}
    assert not whole.share_people and problems(tmp_path / "all") == []
    parts = content(monday) | {"monday-clip": content(monday)["clip"], "tuesday-clip": content(tuesday)["clip"]} | content(tuesday)
    assert content(tmp_path / "all") == {id: files for id, files in parts.items() if id != "clip"}
    film, sound = (tmp_path / "all" / "dialogues" / "tuesday-clip" / name for name in ("a.mp4", "a.wav"))
    assert film.samefile(tuesday / "dialogues" / "clip" / "a.mp4") and sound.stat().st_nlink == 1
    assert "anna is in 2 sets: one person" in said and "2 dialogues have their set's name in front" in said and "6 people" in said
    assert {path.name for path in tmp_path.iterdir()} >= {"all"} and not (tmp_path / "all.merging").exists()


def test_sets_of_one_name_and_packed_ones(made, tmp_path):
    first, second = made("x/talk", train=[("clip", "anna", "ben")]), made("y/talk", train=[("clip", "carla", "dan")])
    pack(second, tmp_path / "z" / "talk")
    merge(tmp_path / "all", [first, tmp_path / "z" / "talk"])
    assert DialogueSet.open(tmp_path / "all").splits == {"train": ("talk-clip", "talk-2-clip")} and problems(tmp_path / "all") == []
    assert content(tmp_path / "all")["talk-2-clip"] == content(second)["clip"]


def test_a_disk_that_cannot_link_gets_copies(made, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    merge(tmp_path / "all", [made("monday", train=[("clip", "anna", "ben")])])
    assert content(tmp_path / "all") == content(tmp_path / "monday")
    assert (tmp_path / "all" / "dialogues" / "clip" / "a.mp4").stat().st_nlink == 1


def test_killed_it_goes_on_where_it_was(made, tmp_path, monkeypatch):
    sets = [made("monday", train=[("m", "anna", "ben")]), made("tuesday", train=[("t", "anna", "carla")])]
    place, placed = merging._place, []

    def killed(piece, folder):
        placed.append(piece.name)
        if len(placed) == 2:
            raise KeyboardInterrupt
        place(piece, folder)

    monkeypatch.setattr(merging, "_place", killed)
    with pytest.raises(KeyboardInterrupt):
        merge(tmp_path / "all", sets)
    written = (tmp_path / "all.merging" / "set" / "dialogues" / "m" / "a.wav").stat().st_mtime_ns
    assert not (tmp_path / "all").exists()
    monkeypatch.setattr(merging, "_place", place)
    merge(tmp_path / "all", sets)
    assert (tmp_path / "all" / "dialogues" / "m" / "a.wav").stat().st_mtime_ns == written and problems(tmp_path / "all") == []
    shutil.rmtree(tmp_path / "all")
    placed.clear()
    monkeypatch.setattr(merging, "_place", killed)
    with pytest.raises(KeyboardInterrupt):
        merge(tmp_path / "all", sets)
    monkeypatch.setattr(merging, "_place", place)
    merge(tmp_path / "all", sets[1:])
    assert DialogueSet.open(tmp_path / "all").ids == ("t",), "what another merge left is not taken over"
    assert problems(tmp_path / "all") == []


@pytest.mark.parametrize("there", [False, True])
def test_killed_when_all_is_there_it_is_done(made, tmp_path, monkeypatch, capsys, there):
    """Only tidying up was left. Planted: refused, for OUT is there; or with --overwrite begun anew."""
    sets, tidy, more = [made("monday", train=[("m", "anna", "ben")]), made("tuesday", train=[("t", "anna", "carla")])], shutil.rmtree, []
    if there:
        more = ["--overwrite"]
        assert run(tmp_path / "all", sets[1]) == 0

    def killed(path, *words, **more):
        if path == tmp_path / "all.merging":
            raise KeyboardInterrupt
        tidy(path, *words, **more)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed)
        merge(tmp_path / "all", sets, overwrite=there)
    place = (tmp_path / "all").stat().st_ino
    assert (tmp_path / "all.merging").exists() and problems(tmp_path / "all") == []
    assert run(tmp_path / "all", sets[0]) == 2 and "found a dialogue set" in capsys.readouterr().err, "another merge"
    assert run(tmp_path / "all", *sets, *more) == 0 and "all: 2 dialogues, 3 people" in capsys.readouterr().out
    assert (tmp_path / "all").stat().st_ino == place and not (tmp_path / "all.merging").exists()
    assert run(tmp_path / "all", *sets) == 2
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed)
        merge(tmp_path / "all", sets, overwrite=True)
    tidy(tmp_path / "all")
    assert run(tmp_path / "all", *sets) == 0 and problems(tmp_path / "all") == [], "taken away before that"


def test_two_merges_into_one_set_are_refused(made, tmp_path, monkeypatch):
    """Planted: the second, of other sets, cleared the first's away; the one that ended second took the place of the other's."""
    monday, tuesday = made("monday", train=[("m", "anna", "ben")]), made("tuesday", train=[("t", "anna", "carla")])
    place, said = merging._place, []

    def meanwhile(piece, folder):
        if not said:
            said.append(piece.name)
            with pytest.raises(InputError, match=r"all\.merging: expected no other merge into it, found one at work"):
                merge(tmp_path / "all", [tuesday])
        place(piece, folder)

    monkeypatch.setattr(merging, "_place", meanwhile)
    merge(tmp_path / "all", [monday])
    assert said and DialogueSet.open(tmp_path / "all").ids == ("m",) and problems(tmp_path / "all") == []
    planned = merging._planned

    def overtaken(sets):
        monkeypatch.setattr(merging, "_planned", planned)
        merge(tmp_path / "more", [monday])
        return planned(sets)

    monkeypatch.setattr(merging, "_planned", overtaken)
    with pytest.raises(InputError, match="more: expected nothing yet, found a dialogue set"):
        merge(tmp_path / "more", [tuesday])
    assert DialogueSet.open(tmp_path / "more").ids == ("m",)


def test_people_of_train_who_are_in_another_sets_test(made, tmp_path, capsys):
    sets = made("monday", train=[("m", "anna", "ben")]), made("tuesday", test=[("t", "anna", "carla")])
    assert run(tmp_path / "all", *sets) == 0 and DialogueSet.open(tmp_path / "all").share_people
    assert "in train and in test: anna (splits.share_people is true now" in capsys.readouterr().out and problems(tmp_path / "all") == []


def test_people_shared_by_sets_that_share_already(made, tmp_path, capsys):
    """As every set of `mango track` may; whoever a set itself shares is no news."""
    monday = made("monday", train=[("m", "anna", "ben")], test=[("n", "ben", "dan")], share_people=True)
    tuesday = made("tuesday", train=[("t", "carla", "eva")], test=[("u", "anna", "carla")], share_people=True)
    assert run(tmp_path / "all", monday, tuesday) == 0 and DialogueSet.open(tmp_path / "all").share_people
    assert "in train and in test: anna (splits.share_people is true" in capsys.readouterr().out
    assert run(tmp_path / "one", monday) == 0 and DialogueSet.open(tmp_path / "one").share_people
    assert "in train and in test" not in capsys.readouterr().out


def test_a_share_is_held_out(made, tmp_path, capsys):
    """Of people of whom nothing is held out yet: the end of a film holds out no film."""
    days = [made(f"day{k}", train=[(f"d{k}", f"a{k}", f"b{k}")]) for k in range(6)]
    assert run(tmp_path / "all", *days) == 0 and "nothing is held out" in capsys.readouterr().out
    assert run(tmp_path / "all", *days, "--hold-out", "0.3", "--overwrite") == 0
    held = DialogueSet.open(tmp_path / "all").splits["val"]
    assert len(held) == 2 and "held out (split 'val'): 2 of 6 dialogues, of nobody who is in training" in capsys.readouterr().out
    ended = made("ended", train=[("long", "x", "y")], val=[("long-held-out", "x", "y")])
    merge(tmp_path / "more", [ended, *days], hold_out=0.4)
    splits = DialogueSet.open(tmp_path / "more").splits
    assert len(splits["val"]) == 3 and "long-held-out" in splits["val"] and "long" in splits["train"]
    ends = [made(f"end{k}", train=[(f"e{k}", f"x{k}", f"y{k}")], val=[(f"e{k}-end", f"x{k}", f"y{k}")]) for k in range(3)]
    capsys.readouterr()
    assert run(tmp_path / "most", *ends, *days[:4], "--hold-out", "0.25") == 0
    assert len(DialogueSet.open(tmp_path / "most").splits["val"]) == 4, "of the strangers, whatever ends there are"
    assert "held out (split 'val'): 4 of 10 dialogues, in training too: x0, x1, x2, ..." in capsys.readouterr().out
    for asked in ((), ("--hold-out", "0.5")):
        assert run(tmp_path / "ends", *ends, *asked, "--overwrite") == 0
        said = capsys.readouterr().out
        assert "held out (split 'val'): 3 of 6 dialogues, in training too: x0, x1, x2, ..." in said
        assert ("nothing more was" in said) == bool(asked)


def test_films_of_several_sizes_are_told(made, tmp_path, picture, capsys):
    monday, tuesday = made("monday", train=[("m", "anna", "ben")]), made("tuesday", train=[("t", "anna", "carla")])
    for name in ("a.mp4", "a.mask.mp4"):
        film = tuesday / "dialogues" / "t" / name
        film.unlink()
        write_video(film, [picture(frame, 48, 48) for frame in range(30)])
    assert run(tmp_path / "all", monday, tuesday) == 0
    said = capsys.readouterr().out
    assert "1 of 48x48 (t/a.mp4), 3 of 64x64 (m/a.mp4); stage two wants one: track the larger again with --size 48" in said


def test_what_no_split_lists_is_named(made, tmp_path, capsys):
    """Seen red: merged or packed, the set looked whole, and the folders that were left behind were nowhere."""
    monday = made("monday", train=[("m", "anna", "ben"), ("forgotten", "anna", "ben")])
    described = json.loads((monday / "dataset.json").read_text())
    (monday / "dataset.json").write_text(json.dumps({**described, "splits": {"train": ["m"]}}))
    assert run(tmp_path / "all", monday) == 0
    assert f"left behind in {monday}, for no split lists them: forgotten (1 dialogues)" in capsys.readouterr().out
    assert main(["data", "pack", str(monday), str(tmp_path / "packed"), "--workers", "1"]) == 0
    assert "for no split lists them: forgotten" in capsys.readouterr().out
    assert main(["data", "pack", str(tmp_path / "all"), str(tmp_path / "packed-all"), "--workers", "1"]) == 0
    assert "left behind" not in capsys.readouterr().out


def test_what_cannot_be_merged(made, head, tmp_path):
    monday = made("monday", train=[("m", "anna", "ben")])
    other = made("other", SimpleNamespace(**{**vars(head), "digest": "6" * 64, "name": "flame"}), train=[("o", "anna", "ben")])
    empty = made("empty", train=[])

    def refused(words, out, *sets, **more):
        with pytest.raises(InputError, match=words):
            merge(tmp_path / out, [*sets], **more)
        assert not (tmp_path / f"{out}.merging").exists()

    refused("sets of one head, as builtin .* found .*other of flame .*same --head", "all", monday, other)
    refused("each set once", "all", monday, tmp_path / "x" / ".." / "monday")
    refused("found a dialogue set; .*named first.*--overwrite", "other", monday)
    refused("a folder apart from the sets", "monday/all", monday)
    (other / "films").mkdir()
    refused("nothing but a set to replace, found films in it too", "other", monday, overwrite=True)
    assert (other / "films").is_dir()
    refused("dialogues to merge, found none", "all", empty)
    refused("a dialogue set with dataset.json, found no such folder", "all", tmp_path / "nowhere")
    refused("a share between 0 and 1", "all", monday, hold_out=1.5)
    described = json.loads((monday / "dataset.json").read_text())
    (monday / "dataset.json").write_text(json.dumps({**described, "splits": {"train": ["gone"]}}))
    refused("a dialogue 'gone', found no such folder", "all", monday)
