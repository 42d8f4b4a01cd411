"""Many recordings into one set: killed, repeated, changed, failing, on every engine. What is done stays, what is not is said."""

import fcntl
import json
import os
import pickle
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import foreign
import numpy as np
import pytest
import soundfile
from foreign import face
from mutations import DATABASES

from mango.cli import main
from mango.data.dialogues import DialogueSet
from mango.data.formats import plain
from mango.data.formats.manifest import Manifest
from mango.data.formats.many import IN_HAND
from mango.data.formats.recordings import Options
from mango.data.formats.registry import FORMATS
from mango.data.formats.sources import files_of, folder_digest
from mango.data.validation import problems

sys.path.insert(0, str(Path(__file__).parents[1]))  # pretended_ray
from pretended_ray import pretended_ray

RATE = 16_000


def record(folder: Path, name: str, seconds: float = 0.4, seed: int | None = None) -> None:
    """Two voices of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    for side in ("left", "right"):
        random = np.random.default_rng([sum(name.encode()) if seed is None else seed, ord(side[0])])
        soundfile.write(folder / f"{name}_{side}.wav", 0.1 * random.standard_normal(round(RATE * seconds)), RATE)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Processes are killed here, not machines: what was written is there. Waiting for the disk is four fifths of a small recording."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def source(tmp_path) -> Path:
    for k in range(5):
        record(tmp_path / "takes", f"r{k}")
    return tmp_path / "takes"


def run(*words, workers: int = 1) -> int:
    return main(["data", "import", "--workers", str(workers), *(str(word) for word in words)])


def dialogues(root: Path) -> dict[str, str]:
    return {folder.name: folder_digest(folder) for folder in sorted((root / "dialogues").iterdir())}


def places(root: Path) -> dict[str, int]:
    """A dialogue that is written again is another folder."""
    return {folder.name: folder.stat().st_ino for folder in (root / "dialogues").iterdir()}


def results(root: Path) -> dict[str, str]:
    return {id: record.result for id, record in Manifest.read(root).records.items()}


def killed(source: Path, out: Path, after: int, delay: float = 0.0, workers: int = 1) -> None:
    """Start the command in a copy of this process, which need not import anything, and kill it with all processes that it started, a moment
    after so many recordings are in the manifest.
    """
    process = get_context("fork").Process(target=_run_in_a_session, args=(source, out, workers))
    process.start()
    _wait(out, after, process.is_alive)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _run_in_a_session(source: Path, out: Path, workers: int) -> None:
    os.setsid()
    run(source, out, workers=workers)


def _wait(out: Path, after: int, runs: Callable[[], bool]) -> None:
    manifest, until = out.with_name("out.importing") / "import.jsonl", time.monotonic() + 60
    while not manifest.exists() or manifest.read_bytes().count(b"\n") <= after:
        assert runs() and time.monotonic() < until, "it was to be killed before it ended"
        time.sleep(0.001)


def test_killed_at_any_moment_it_loses_what_is_in_hand(tmp_path):
    """Killed with all its processes, then four times more at odd moments, then finished: the set of an uninterrupted run, and nothing was
    done twice but what was in hand. Seen red by doing everything again.
    """
    source, out = tmp_path / "takes", tmp_path / "out"
    for k in range(30):
        record(source, f"r{k:02d}", 1.0)
    assert run(source, tmp_path / "whole") == 0  # first: copies of this process need not import what it has imported
    growing, finished, inodes = tmp_path / "out.importing", {}, {}
    for processes, delay in ((2, 0.0), (1, 0.0), (1, 0.007), (1, 0.014), (1, 0.021)):
        killed(source, out, len(finished) + 2, delay, processes)
        assert not out.exists() and not (growing / "dataset.json").exists(), "no half of a set can be taken for one"
        there, done = places(growing), results(growing)
        assert set(done) <= set(there) and len(there) - len(done) <= processes and finished.items() <= done.items()
        assert {id: dialogues(growing)[id] for id in done} == done, "what is there is whole"
        assert inodes.items() <= there.items(), "what was done is not done again"
        finished, inodes = done, {id: there[id] for id in done}
    assert 6 <= len(finished) < 30
    assert run(source, out) == 0 and not growing.exists() and list(tmp_path.glob(".*")) == []
    assert inodes.items() <= places(out).items()
    assert dialogues(out) == dialogues(tmp_path / "whole") == results(out)
    assert (out / "dataset.json").read_bytes() == (tmp_path / "whole" / "dataset.json").read_bytes() and problems(out) == []


def test_the_same_again_does_what_is_new_changed_or_failed(source, tmp_path, capsys):
    """Seen red by believing times (a touched file), by believing sizes (a changed one), and by keeping what went with its recording."""
    out = tmp_path / "out"
    broken, good = source / "r1_left.wav", (source / "r1_left.wav").read_bytes()
    broken.write_bytes(good[:20])
    assert run(source, out) == 0
    said = capsys.readouterr().out
    assert f"failed: r1: {broken}" in said and "4 dialogues" in said and "1 recordings failed" in said
    assert DialogueSet.open(out).splits["train"] == ("r0", "r2", "r3", "r4") and problems(out) == []
    failed = Manifest.read(out).records["r1"]
    assert failed.error and failed.attempts == 1 and failed.result == "" and Manifest.read(out).records["r0"].error is None

    before = places(out)
    assert run(source, out) == 0 and places(out) == before and "4 as they were" in capsys.readouterr().out

    broken.write_bytes(good)
    os.utime(source / "r0_left.wav", ns=(1, 1))
    changed = source / "r2_right.wav"
    size, samples = changed.stat().st_size, soundfile.read(changed)[0]
    soundfile.write(changed, samples[::-1], RATE)
    assert changed.stat().st_size == size
    for side in ("left", "right"):
        (source / f"r3_{side}.wav").unlink()
    record(source, "r5")
    assert run(source, out) == 0
    said = capsys.readouterr().out
    assert "removed with their recordings: r3" in said and "failed" not in said
    after = places(out)
    assert sorted(after) == ["r0", "r1", "r2", "r4", "r5"] and problems(out) == []
    assert {id for id in before if after.get(id) == before[id]} == {"r0", "r4"}
    assert run(source, tmp_path / "anew") == 0 and dialogues(tmp_path / "anew") == dialogues(out) == results(out)
    assert set(DialogueSet.open(out).ids) == set(DialogueSet.open(tmp_path / "anew").ids)


def test_a_recording_that_changed_and_fails_leaves_the_set(source, tmp_path, capsys):
    """Its dialogue would be of a recording that is no more."""
    out = tmp_path / "out"
    assert run(source, out) == 0
    (source / "r2_left.wav").write_bytes(b"no sound")
    assert run(source, out) == 0 and "failed: r2: " in capsys.readouterr().out
    assert "r2" not in DialogueSet.open(out).ids and not (out / "dialogues/r2").exists() and problems(out) == []


def test_a_source_that_is_gone_takes_nothing_along(source, tmp_path, capsys):
    """Everything fails at once when a disk is not there: that is no reason to empty the set. Seen red without the rule."""
    out = tmp_path / "out"
    assert run(source, out) == 0
    before = dialogues(out), (out / "dataset.json").read_bytes()
    for file in source.iterdir():
        file.write_bytes(b"")
    assert run(source, out) == 2
    shutil.rmtree(source)
    assert run(source, out) == 2
    assert (dialogues(out), (out / "dataset.json").read_bytes()) == before and problems(out) == []


def test_what_somebody_did_to_the_set_stays(source, tmp_path):
    """Splits by hand, labels added later. Seen red by describing the set as its source does."""
    out = tmp_path / "out"
    assert run(source, out) == 0
    path = out / "dataset.json"
    content = json.loads(path.read_text())
    content["splits"] = {"train": ["r0", "r1", "r2"], "val": ["r4"], "test": ["r3"]}
    content["people"]["r0_a"]["age"] = 40
    path.write_text(json.dumps(content))
    (out / "dialogues/r0/a.phones.json").write_text("[]")
    record(source, "r5")
    assert run(source, out) == 0
    made = DialogueSet.open(out)
    assert made.splits == {"train": ("r0", "r1", "r2", "r5"), "val": ("r4",), "test": ("r3",)}
    assert made.people["r0_a"] == {"format": "plain", "age": 40} and (out / "dialogues/r0/a.phones.json").exists()


def test_another_source_is_refused_and_a_moved_one_is_not(source, tmp_path, capsys):
    """Recordings of the same names in another folder would replace these. Seen red by either rule without the other."""
    out = tmp_path / "out"
    assert run(source, out) == 0
    before = places(out)
    for k in range(5):
        record(tmp_path / "others", f"r{k}", seed=k)
    assert run(tmp_path / "others", out) == 2 and "--overwrite" in capsys.readouterr().err
    assert run("--licence", "CC0", source, out) == 2 and "licence 'unknown'" in capsys.readouterr().err
    shutil.copytree(source, tmp_path / "moved", copy_function=shutil.copyfile)  # other times, same bytes
    shutil.rmtree(source)
    assert run(tmp_path / "moved", out) == 0 and places(out) == before
    assert run(tmp_path / "others", out, "--overwrite") == 0 and problems(out) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["moved", "others", "out"]


def test_an_old_set_stays_until_the_new_one_is_whole(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(source, out) == 0
    before = dialogues(out)
    record(tmp_path / "others", "good")
    record(tmp_path / "others", "wrong")
    (tmp_path / "others/wrong_left.wav").write_bytes(b"")
    assert run("--overwrite", "--strict", tmp_path / "others", out) == 2 and dialogues(out) == before
    record(tmp_path / "others", "wrong")
    assert run("--overwrite", "--strict", tmp_path / "others", out) == 0 and set(dialogues(out)) == {"good", "wrong"}


def test_folders_may_hold_the_same_names(tmp_path, capsys):
    """Seen red: Bob's take and Carl's were one person's, and Anna's, added later, took the name of Bob's and his place in the splits."""
    source, out = tmp_path / "takes", tmp_path / "out"
    for who in ("bob", "carl"):
        record(source / who, "take")
        soundfile.write(source / who / "solo.wav", np.zeros(6_400), RATE)
    record(source, "take")
    record(source / "talk", "talk")
    assert run(source, out) == 0
    made = DialogueSet.open(out)
    assert {id: tuple(filter(None, made.describe(id).people.values())) for id in made.ids} == {
        **{f"{who}-take": (f"{who}-take_a", f"{who}-take_b") for who in ("bob", "carl")},
        **{f"{who}-solo": (f"{who}-solo",) for who in ("bob", "carl")},
        "take": ("take_a", "take_b"),
        "talk": ("talk_a", "talk_b"),
    }
    before = results(out)
    record(source / "anna", "take")
    assert run(source, out) == 0 and "7 dialogues (6 as they were)" in capsys.readouterr().out
    assert {id: result for id, result in results(out).items() if id in before} == before


def test_recordings_do_not_go_with_the_set(source, tmp_path, capsys):
    """Seen red: recordings that lay in the folder of the set were deleted with it, and so was all else."""
    out = tmp_path / "out"
    assert run(source, out) == 0
    shutil.copytree(source, out / "raw")
    for words in ((out / "raw", out), (out / "raw", out, "--overwrite"), (out, out, "--overwrite")):
        assert run(*words) == 2
        assert "a set apart from its recordings" in capsys.readouterr().err
    assert run(source, out, "--overwrite") == 2 and "found raw in it too" in capsys.readouterr().err
    assert len(list((out / "raw").iterdir())) == 10
    shutil.rmtree(out / "raw")
    assert run(source, out, "--overwrite") == 0


def test_two_imports_into_one_set_are_refused(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(source, out) == 0
    other = os.open(out, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    (out / IN_HAND / "r0").mkdir(parents=True)
    assert run(source, out) == 2 and "found one at work" in capsys.readouterr().err
    assert (out / IN_HAND / "r0").is_dir(), "it is the other's. Seen red: cleared away all the same"
    os.close(other)
    assert run(source, out) == 0


def test_a_torn_line_is_a_recording_to_be_done_again(source, tmp_path):
    """A power cut in the middle of a line: the others still count."""
    out = tmp_path / "out"
    assert run(source, out) == 0
    before, manifest = dialogues(out), out / "import.jsonl"
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([*lines[:-1], lines[-1][:40]]))
    kept = places(out)
    assert run(source, out) == 0 and dialogues(out) == before == results(out)
    assert {id for id, place in places(out).items() if kept[id] != place} == {"r4"}


@pytest.mark.parametrize("engine", ["processes", "pretended ray", "ray"])
def test_every_engine_makes_the_same_set(source, tmp_path, monkeypatch, engine):
    if engine == "ray":
        pytest.importorskip("ray", reason="ray is not installed (pip install 'mango-heads[ray]')")
    if engine == "pretended ray":
        monkeypatch.setitem(sys.modules, "ray", pretended_ray(lost=1))
    monkeypatch.chdir(tmp_path)  # paths as people type them, seen by processes that are elsewhere
    assert run("takes", "out", *(() if engine == "processes" else ("--ray", "local")), workers=2) == 0
    assert run(source, tmp_path / "alone") == 0 and dialogues(tmp_path / "out") == dialogues(tmp_path / "alone")
    if engine == "pretended ray":
        assert sorted(record.attempts for record in Manifest.read(tmp_path / "out").records.values()) == [1, 1, 1, 1, 2]


def test_readers_name_every_file_they_read_and_can_be_sent_away(tmp_path):
    """A file that no entry names could change unseen. Seen red by a reader that names nothing."""
    ann, bob = face(1), face(2)
    made = {
        "dualtalk": foreign.dualtalk(tmp_path / "dualtalk"),
        "dualtalk-arkit": foreign.dualtalk_arkit(tmp_path / "dualtalk-arkit", (ann, bob)),
        "vhap": foreign.vhap(tmp_path / "vhap", ann),
        "diffposetalk": foreign.diffposetalk(_folder(tmp_path / "dpt") / "s.npz", ann),
        "deca": foreign.emoca(tmp_path / "emoca", ann),
        "smirk": foreign.smirk(_folder(tmp_path / "smirk") / "s.pkl", ann),
        "metrical-tracker": foreign.metrical_tracker(tmp_path / "metrical", ann),
        "gagavatar-track": foreign.gagavatar(_folder(tmp_path / "gagavatar") / "s.pkl", ann),
        "artalk": foreign.artalk(_folder(tmp_path / "artalk") / "s.pt", ann),
        "lam-json": foreign.lam_json(_folder(tmp_path / "lam") / "s.json", ann),
        "livelink-csv": foreign.livelink(_folder(tmp_path / "livelink") / "s.csv", ann),
        "a2f-csv": foreign.a2f(_folder(tmp_path / "a2f") / "s.csv", ann),
        "arkit-npy": foreign.arkit_npy(_folder(tmp_path / "npy") / "s.npy", ann),
        "arkit-npz": foreign.arkit_npz(_folder(tmp_path / "npz") / "s.npz", ann),
        "stereo": foreign.stereo(_folder(tmp_path / "stereo") / "s.wav", (ann, bob)),
        "seamless": foreign.seamless(tmp_path / "seamless", (ann, bob)),
    }
    assert set(made) | {*DATABASES, "plain"} == set(FORMATS)
    for name, path in made.items():
        entries = FORMATS[name].entries(path, Options())
        named = {file for entry in entries for file in files_of(entry.files)}
        folder = path if path.is_dir() else path.parent
        there = {file for file in folder.rglob("*") if file.is_file()}
        unread = {file.relative_to(folder).as_posix() for file in there - named}
        assert all(file.startswith(("images/", "fg_masks/", "transforms", "metadata/")) or file.endswith(".txt") for file in unread), (
            name,
            unread,
        )
        for entry in entries:
            assert pickle.loads(pickle.dumps(entry)).load().id == entry.load().id


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def splits(root: Path) -> dict[str, set[str]]:
    return {name: {*ids} for name, ids in DialogueSet.open(root).splits.items()}


def test_a_share_is_held_out_and_stays_so(source, tmp_path, capsys):
    """Whole recordings, when the set is made or later; of new ones some, and old ones stay. Seen red by holding out anew each time."""
    for k in range(5, 10):
        record(source, f"r{k}")
    assert run(source, tmp_path / "all", "--hold-out", "0.2") == 0
    assert "held out (split 'val'): 2 of 10 dialogues, of nobody who is in training" in capsys.readouterr().out
    held = splits(tmp_path / "all")
    assert len(held["val"]) == 2 and len(held["train"]) == 8 and problems(tmp_path / "all") == []
    assert run(source, tmp_path / "later") == 0 and splits(tmp_path / "later")["val"] == set()
    assert run(source, tmp_path / "later", "--hold-out", "0.2") == 0 and splits(tmp_path / "later") == held
    for k in range(10, 20):
        record(source, f"r{k}")
    assert run(source, tmp_path / "all", "--hold-out", "0.2") == 0
    grown = splits(tmp_path / "all")
    assert len(grown["val"]) == 4 and held["val"] < grown["val"] and held["train"] < grown["train"]


def test_a_share_that_cannot_be_held_out(source, tmp_path, capsys):
    """A wrong one before anything is imported; of one dialogue none, and that is said. Seen red: refused at the end."""
    for share in ("2", "0", "-0.1", "nan"):
        assert run(source, tmp_path / "none", "--hold-out", share) == 2
        assert "a share between 0 and 1, found" in capsys.readouterr().err and not (tmp_path / "none").exists()
    record(source, "new")
    assert run(source, tmp_path / "all") == 0
    record(source, "newer")
    assert run(source, tmp_path / "all", "--hold-out", "10") == 2 and not (tmp_path / "all" / "dialogues" / "newer").exists()
    assert run(source / "r0_left.wav", tmp_path / "one", "--hold-out", "0.1") == 0
    assert "nothing is held out (split 'val'): that takes two dialogues" in capsys.readouterr().out
    assert splits(tmp_path / "one") == {"train": {"r0_left"}, "val": set(), "test": set()}


def test_a_share_beside_the_sources_own_split(source, tmp_path, capsys, monkeypatch):
    """The source's counts, and can be too small the first time that one asks. Seen red by taking it for one of ours."""
    for k in range(5, 10):
        record(source, f"r{k}")
    entries = plain.entries

    def with_val(path, options):
        return [replace(entry, split="val" if entry.id == "r3" else "train") for entry in entries(path, options)]

    monkeypatch.setattr(plain, "entries", with_val)
    assert run(source, tmp_path / "all") == 0 and splits(tmp_path / "all")["val"] == {"r3"}
    assert "\nheld out (split 'val'): 1 of 10 dialogues, of nobody who is in training" in capsys.readouterr().out, "without being asked"
    assert run(source, tmp_path / "all", "--hold-out", "0.1") == 0 and splits(tmp_path / "all")["val"] == {"r3"}
    assert "nothing more was held out (split 'val'): 1 of 10 dialogues, of nobody who is in training" in capsys.readouterr().out
    assert run(source, tmp_path / "all", "--hold-out", "0.3") == 0
    held = splits(tmp_path / "all")
    assert len(held["val"]) == 3 and "held out (split 'val'): 3 of 10 dialogues" in capsys.readouterr().out
    assert run(source, tmp_path / "all", "--hold-out", "0.6") == 0 and splits(tmp_path / "all") == held, "the rest is learnt from"


def test_who_is_held_out_and_learnt_from_is_said_whenever_it_is_so(source, tmp_path, capsys):
    """Also of dialogues that somebody else put there or took away. Seen red: said of what was moved just now alone."""
    assert run(source, tmp_path / "all", "--hold-out", "0.2") == 0
    root = tmp_path / "all"
    (held,) = splits(root)["val"]
    shutil.copytree(root / "dialogues" / held, root / "dialogues" / "mine")
    described = json.loads((root / "dataset.json").read_text())
    described["splits"]["train"] += ["mine", "lost"]
    (root / "dataset.json").write_text(json.dumps(described))
    capsys.readouterr()
    assert run(source, root) == 0
    assert f"held out (split 'val'): 1 of 7 dialogues, in training too: {held}_a, {held}_b" in capsys.readouterr().out
    assert run(source, root, "--hold-out", "0.9") == 0 and splits(root)["val"] == {held}
