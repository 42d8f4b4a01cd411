"""Every reader against files that the test wrote itself: recognised by content, every number where it belongs, every belief said."""

import json
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import foreign
import numpy as np
import pytest
from foreign import APPLE, Face, face
from recorded_sounds import recorded

from mango.data.formats import lmdb_files
from mango.data.formats.conventions import check
from mango.data.formats.frame_records import check_counted
from mango.data.formats.recordings import Options, Recording
from mango.data.formats.registry import FORMATS, load, recognised
from mango.data.formats.sounds import voice_of
from mango.data.formats.sources import files_of
from mango.errors import InputError
from mango.head.arkit import ARKIT_NAMES

ANN, BOB = face(1), face(2)

# name -> (writer, numbers of decimals that the format keeps)
FLAME_FILES: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "dualtalk prediction": ("dualtalk", lambda folder: foreign.dualtalk_prediction(folder / "x.npy", ANN)),
    "vhap folder": ("vhap", lambda folder: foreign.vhap(folder / "x", ANN)),
    "vhap tracked": ("vhap", lambda folder: foreign.vhap_tracked(folder / "x.npz", ANN)),
    "diffposetalk": ("diffposetalk", lambda folder: foreign.diffposetalk(folder / "x.npz", ANN)),
    "deca": ("deca", lambda folder: foreign.deca(folder / "x.npz", ANN)),
    "emoca": ("deca", lambda folder: foreign.emoca(folder / "x", ANN)),
    "smirk": ("smirk", lambda folder: foreign.smirk(folder / "x.pkl", ANN)),
    "metrical-tracker": ("metrical-tracker", lambda folder: foreign.metrical_tracker(folder / "x", ANN)),
    "metrical-tracker by columns": ("metrical-tracker", lambda folder: foreign.metrical_tracker(folder / "x", ANN, columns=True)),
    "gagavatar": ("gagavatar-track", lambda folder: foreign.gagavatar(folder / "x.pkl", ANN)),
    "artalk 106": ("artalk", lambda folder: foreign.artalk(folder / "x.pt", ANN)),
    "artalk 108": ("artalk", lambda folder: foreign.artalk(folder / "x.pt", ANN, 108)),
    "artalk 112": ("artalk", lambda folder: foreign.artalk(folder / "x.pt", ANN, 112)),
}
ARKIT_FILES: dict[str, tuple[str, Callable[[Path], Path], Fraction]] = {
    "lam": ("lam-json", lambda folder: foreign.lam_json(folder / "x.json", ANN), Fraction(30)),
    "live link": ("livelink-csv", lambda folder: foreign.livelink(folder / "x.csv", ANN), Fraction(10)),
    "live link, other order": ("livelink-csv", lambda folder: foreign.livelink(folder / "x.csv", ANN, order=APPLE[::-1]), Fraction(10)),
    "a2f": ("a2f-csv", lambda folder: foreign.a2f(folder / "x.csv", ANN), Fraction(60)),
    "npy": ("arkit-npy", lambda folder: foreign.arkit_npy(folder / "x.npy", ANN), Fraction(25)),
    "npz": ("arkit-npz", lambda folder: foreign.arkit_npz(folder / "x.npz", ANN), Fraction(30)),
}


def only(path: Path, options: Options = Options()) -> tuple[str, Recording]:
    """The one recording of a source, by the format that recognises it."""
    format, words = recognised(path)
    assert words
    (entry,) = format.entries(path, options)
    return format.name, load(entry)


def contradictions(recording: Recording) -> list[str]:
    return [str(finding) for finding in check(recording) if finding.verdict == "contradicted"]


@pytest.mark.parametrize("kind", FLAME_FILES)
def test_flame_motion(tmp_path, kind):
    """Notices parts exchanged (the head before the jaw in DualTalk's pose, after it in its predictions), 6D read by rows for columns, a
    width of another format.
    """
    name, write = FLAME_FILES[kind]
    found, recording = only(write(tmp_path))
    assert found == name
    motion = recording.people[0].motion
    width = motion.expr.shape[1]
    assert width in (50, 100)
    np.testing.assert_array_equal(motion.expr, ANN.expr[:, :width])
    turned = motion.rotation if kind == "vhap tracked" else motion.neck_pose
    np.testing.assert_allclose(turned, ANN.head, atol=1e-6)
    jaw = ANN.jaw * [1, 0, 0] if kind == "artalk 108" else ANN.jaw
    np.testing.assert_allclose(motion.jaw_pose, jaw, atol=1e-6)
    if "eyes_pose" in motion.present:
        np.testing.assert_allclose(motion.eyes_pose, ANN.eyes, atol=1e-6)
    assert ("eyes_pose" in motion.present) == (kind.startswith(("vhap", "metrical", "gaga", "artalk 1")) and kind != "artalk 106")
    assert contradictions(recording) == []


STACKED_DECA = {"shape": np.zeros((7, 100)), "exp": ANN.expr[:7, :50], "pose": np.zeros((7, 6)), "cam": np.ones((7, 3))}
STACKED_SMIRK = {
    "pose_params": np.zeros((7, 3)), "jaw_params": np.zeros((7, 3)), "expression_params": ANN.expr[:7, :50],
    "shape_params": np.zeros((7, 300)), "cam": np.ones((7, 3)),
}  # fmt: skip
LOST = {  # kind -> how its 18th frame gets lost
    "vhap folder": lambda path: (path / "flame_param" / "00017.npz").unlink(),
    "emoca": lambda path: (path / "000017_000.pkl").unlink(),
    "metrical-tracker": lambda path: (path / "checkpoint" / "00017.frame").unlink(),
    "gagavatar": lambda path: path.write_bytes(pickle.dumps({k: v for k, v in pickle.loads(path.read_bytes()).items() if k != "f_17"})),
}


@pytest.mark.parametrize("kind", LOST)
def test_a_frame_that_the_source_lost_is_named(tmp_path, kind):
    """Closed up, all later motion would come a frame before its sound."""
    path = FLAME_FILES[kind][1](tmp_path)
    LOST[kind](path)
    with pytest.raises(InputError, match=r"expected frame 17, found '[^']*18[^']*' after '[^']*16[^']*'"):
        only(path)


@pytest.mark.parametrize("kind", ["deca", "smirk"])
def test_several_takes_in_one_folder_are_not_joined(tmp_path, kind):
    """Fault planted: the frames of all files of a folder, one after the other, though each holds a take."""
    take = {"deca": STACKED_DECA, "smirk": STACKED_SMIRK}[kind]
    folder = tmp_path / "takes"
    folder.mkdir()
    for name in ("take1.pkl", "take2.pkl"):
        (folder / name).write_bytes(pickle.dumps(take))
    with pytest.raises(InputError, match=r"expected one frame in each of several, found .* of 7.*a folder of its own"):
        only(folder)
    alone = tmp_path / "alone.pkl"
    alone.write_bytes(pickle.dumps(take))
    assert len(only(alone)[1].people[0].motion) == 7


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["00007", "00008", "00009"], None),
        (["take2_000", "take2_002", "take2_004"], None),  # every second frame
        (["000_000", "001_001", "002_000"], None),  # EMOCA's second number is the face found in the frame
        (["0", "33", "67", "100"], None),  # milliseconds
        (["take2_000", "take2_002", "take2_006"], "expected frame 4"),
        (["000_000", "000_001", "001_000"], "expected frame 0 once"),
        (["000", "001", "shape"], "names that count frames"),
        (["ann", "bob"], "names that count frames"),
    ],
)
def test_how_names_count_frames(names, said):
    if said is None:
        return check_counted(Path("x"), names)
    with pytest.raises(InputError, match=said):
        check_counted(Path("x"), names)


def test_dualtalk_dialogue(tmp_path):
    """Both people, their float32 voices, the mean shape; and whose voice is whose."""
    name, recording = only(foreign.dualtalk(tmp_path / "set", "ood"))
    assert name == "dualtalk" and recording.id == "abc_sub_video_3_001"
    assert [person.name for person in recording.people] == ["abc_speaker1", "abc_speaker2"]
    for person, who in zip(recording.people, (ANN, BOB), strict=True):
        np.testing.assert_array_equal(person.motion.expr, who.expr[:, :50])
        np.testing.assert_array_equal(person.motion.neck_pose, who.head)
        np.testing.assert_allclose(person.motion.shape, who.shape[:100], atol=0.01)
        assert person.sound.seconds == 2.0 and person.motion.generation == "2020"
    assert contradictions(recording) == []


def test_dualtalk_arkit_dialogue(tmp_path):
    """Notices the phone's order of left and right, and the voice of the other."""
    name, recording = only(foreign.dualtalk_arkit(tmp_path / "set", (ANN, BOB)))
    assert (name, recording.id, recording.fps) == ("dualtalk-arkit", "abc_sub_video_3_001", 25)
    assert [person.name for person in recording.people] == ["abc_speaker1", "abc_speaker2"]
    for person, who in zip(recording.people, (ANN, BOB), strict=True):
        for shape in APPLE:
            np.testing.assert_array_equal(person.motion.weights[:, ARKIT_NAMES.index(shape)], who.weights[shape], err_msg=shape)
        np.testing.assert_allclose(person.motion.head, who.head * [0, 1, 0], atol=1e-6)
        assert person.sound.path.name == f"abc_sub_video_3_001_{person.name[4:]}.wav"
    assert contradictions(recording) == []
    (entry,) = FORMATS["dualtalk-arkit"].entries(tmp_path / "set")
    assert entry.split == "ood"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"speaker2_arkit_sha256": "0" * 64}, "as its list says, found another"),
        ({"speaker1_frames": 49}, "expected 49 frames"),
        ({"speaker1_arkit": "ood/none.npy"}, "download ARKit_npy too"),
        ({"speaker1_audio": "../../secret.wav"}, "a path in the set"),
        ({"speaker1_arkit": "/etc/passwd"}, "a path in the set"),
        ({"name": 3}, "line 1"),
    ],
)
def test_a_list_that_disagrees_with_its_files(tmp_path, change, said):
    path = foreign.dualtalk_arkit(tmp_path / "set", (ANN, BOB))
    line = json.loads((path / "metadata" / "ood.jsonl").read_text())
    (path / "metadata" / "ood.jsonl").write_text(json.dumps(line | change))
    with pytest.raises(InputError, match=said):
        [load(entry) for entry in FORMATS["dualtalk-arkit"].entries(path)]


def test_whose_voice_is_whose(tmp_path):
    _, recording = only(foreign.dualtalk(tmp_path, faces=(face(1, frames=200), face(2, frames=200))))
    assert any("order of persons" in str(f) and f.verdict == "certain" for f in check(recording))


def test_dualtalk_splits(tmp_path):
    for split in ("train", "test", "ood"):
        foreign.dualtalk(tmp_path, split)
    assert {entry.split for entry in FORMATS["dualtalk"].entries(tmp_path)} == {"train", "test", "ood"}


@pytest.mark.parametrize("kind", ARKIT_FILES)
def test_arkit_weights(tmp_path, kind):
    """Notices columns taken by their place."""
    name, write, fps = ARKIT_FILES[kind]
    found, recording = only(write(tmp_path))
    assert (found, recording.fps) == (name, fps)
    for shape in APPLE:
        np.testing.assert_allclose(
            recording.people[0].motion.weights[:, ARKIT_NAMES.index(shape)], ANN.weights[shape], atol=1e-6, err_msg=shape
        )
    assert contradictions(recording) == []


def without_rows(path: Path, lost: range) -> Path:
    """A table without some of its rows, the first of which is number 0."""
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *(row for k, row in enumerate(rows) if k not in lost)]) + "\n")
    return path


def without_frames(path: Path, lost: range) -> Path:
    held = json.loads(path.read_text())
    held["frames"] = [frame for k, frame in enumerate(held["frames"]) if k not in lost]
    path.write_text(json.dumps(held))
    return path


TIMED = {
    "livelink-csv": (lambda folder: foreign.livelink(folder / "x.csv", ANN, fps=24), without_rows, 24),
    "a2f-csv": (lambda folder: foreign.a2f(folder / "x.csv", ANN), without_rows, 60),
    "lam-json": (lambda folder: foreign.lam_json(folder / "x.json", ANN), without_frames, 30),
}


@pytest.mark.parametrize("name", TIMED)
def test_rows_that_were_lost_are_bridged_where_they_lay(tmp_path, name):
    """Seen red with the rows closed up: all later ones came two frames early, and the rate was that of fewer rows."""
    make, without, rate = TIMED[name]
    found, recording = only(without(make(tmp_path), range(20, 22)))
    motion, opening = recording.people[0].motion, ANN.weights["jawOpen"]
    weights = motion.weights[:, ARKIT_NAMES.index("jawOpen")]
    assert (found, recording.fps, len(motion)) == (name, rate, foreign.FRAMES) and recording.fps_is_stated
    kept = [k for k in range(foreign.FRAMES) if k not in (20, 21)]
    np.testing.assert_allclose(weights[kept], opening[kept], atol=1e-4)
    np.testing.assert_allclose(weights[20:22], np.interp([20, 21], [19, 22], opening[[19, 22]]), atol=1e-4)
    if motion.head is not None:
        np.testing.assert_allclose(motion.head[kept, 1], ANN.head[kept, 1], atol=1e-4)
    assert any("2 that were lost are bridged" in str(word) for word in recording.assumptions)


@pytest.mark.parametrize("name", TIMED)
def test_a_long_hole_is_refused_unless_rows_are_said_to_be_even(tmp_path, name):
    make, without, rate = TIMED[name]
    path = without(make(tmp_path), range(20, 38))
    with pytest.raises(InputError, match=f"none from {19 / rate:.2f} to {38 / rate:.2f} s"):
        only(path)
    assert len(only(path, Options(fps=25.0))[1].people[0].motion) == foreign.FRAMES - 18


def test_time_codes_twice_and_past_midnight(tmp_path):
    """A row that has the time of the one before it is none of its own."""
    path = foreign.livelink(tmp_path / "x.csv", ANN)
    head, *rows = path.read_text().splitlines()
    night = ("23:59:58", "23:59:59", "00:00:00", "00:00:01", "00:00:02")
    rows = [night[k // 10] + row[8:] for k, row in enumerate(rows)]
    path.write_text("\n".join([head, *rows[:30], rows[29], *rows[30:]]) + "\n")
    _, recording = only(path)
    np.testing.assert_allclose(recording.people[0].motion.weights[:, ARKIT_NAMES.index("jawOpen")], ANN.weights["jawOpen"], atol=1e-6)
    assert any("1 rows with the time" in str(word) for word in recording.assumptions)
    path.write_text("\n".join([head, *rows[:1] * 50]) + "\n")
    with pytest.raises(InputError, match="49 of 50 as the one before"):
        only(path)


def test_unils_pairs(tmp_path):
    pytest.importorskip("lmdb", reason="the lmdb extra is not installed")
    name, recording = only(foreign.unils(tmp_path / "set", (ANN, BOB)))
    assert (name, recording.id) == ("unils", "v1")
    for person, who in zip(recording.people, (ANN, BOB), strict=True):
        np.testing.assert_array_equal(person.motion.expr, who.expr)
        np.testing.assert_array_equal(person.motion.eyes_pose, who.eyes)
        np.testing.assert_array_equal(person.sound.samples, who.voice)
    assert contradictions(recording) == []


def test_unils_pairs_in_several_databases_and_none(tmp_path):
    """Seen red: pairs of the second database, and those whose keys are nowhere, were not there and nobody said so."""
    pytest.importorskip("lmdb", reason="the lmdb extra is not installed")
    path = foreign.unils(tmp_path / "set", (ANN, BOB))
    (path / "motions").rename(path / "train")
    (foreign.unils(tmp_path / "other", (BOB, ANN)) / "motions").rename(path / "val")
    pair = ["v1/s0", "v1/s1", foreign.FRAMES]
    lists = {"train": {"v1": pair, "gone": ["v1/s0", "v9/s1", 9]}, "val": {"v2": pair}, "test": {"v3": pair}}
    (path / "pairs.json").write_text(json.dumps(lists))
    (path / "words.json").write_text(json.dumps({"a": {"b": ["not", "keys"]}}))
    entries = {entry.id: entry for entry in FORMATS["unils"].entries(path)}
    assert {id: entry.split for id, entry in entries.items()} == {"v1": "train", "gone": "train", "v2": "val", "v3": "test"}
    for id, who in (("v1", ANN), ("v2", BOB)):
        np.testing.assert_array_equal(load(entries[id]).people[0].motion.expr, who.expr)
    with pytest.raises(InputError, match="one database with v9/s1, found none"):
        load(entries["gone"])
    with pytest.raises(InputError, match=r"one database with v1/s0, found .*train.*val"):
        load(entries["v3"])
    (path / "pairs.json").unlink()
    assert len(FORMATS["unils"].entries(path)) == 4


def test_diffposetalks_database(tmp_path):
    """Segments in their order, the last one shorter. Seen red by sound of the first segment alone, and without the lists of splits."""
    pytest.importorskip("lmdb", reason="the lmdb extra is not installed")
    name, recording = only(foreign.diffposetalk_lmdb(tmp_path / "set", ANN, segment=3))
    assert (name, recording.id) == ("diffposetalk-lmdb", "TH_00017_002")
    (person,) = recording.people
    assert person.name == "TH_00017" and person.motion.generation == "2020"
    np.testing.assert_array_equal(person.motion.expr, ANN.expr[:, :50])
    np.testing.assert_array_equal(person.motion.neck_pose, ANN.head)
    np.testing.assert_array_equal(person.motion.jaw_pose, ANN.jaw)
    np.testing.assert_allclose(person.sound.samples, ANN.voice, atol=1 / 32768)
    assert contradictions(recording) == []
    (entry,) = FORMATS["diffposetalk-lmdb"].entries(tmp_path / "set")
    assert entry.split == "val"
    (foreign.diffposetalk_lmdb(tmp_path / "other", BOB) / "lmdb").rename(tmp_path / "set" / "more")
    assert len(FORMATS["diffposetalk-lmdb"].entries(tmp_path / "set")) == 2


@pytest.mark.parametrize(("key", "held", "said"), [("004", None, "found no 004"), ("metadata", {"n_frames": 51}, "51 frames")])
def test_a_database_that_lacks_a_segment(tmp_path, key, held, said):
    lmdb = pytest.importorskip("lmdb", reason="the lmdb extra is not installed")
    path = foreign.diffposetalk_lmdb(tmp_path / "set", ANN, segment=3)
    with lmdb.open(str(path / "lmdb"), map_size=2**26) as env, env.begin(write=True) as transaction:
        place = f"TH_00017/002/{key}".encode()
        transaction.delete(place) if held is None else transaction.put(place, pickle.dumps(held))
    (entry,) = FORMATS["diffposetalk-lmdb"].entries(path)
    with pytest.raises(InputError, match=said):
        load(entry)


def test_an_lmdb_without_its_package_says_so(tmp_path, monkeypatch):
    pytest.importorskip("lmdb", reason="the lmdb extra is not installed")
    path = foreign.unils(tmp_path / "set", (ANN, BOB))
    child = tmp_path / "child.py"
    child.write_text(lmdb_files.CHILD.read_text().replace("import lmdb", "raise ImportError"))
    monkeypatch.setattr("mango.data.formats.lmdb_files.CHILD", child)
    with pytest.raises(InputError, match=r"mango-heads\[lmdb\]"):
        FORMATS["unils"].entries(path)


def test_a_crash_of_the_library_is_an_input_error(tmp_path, monkeypatch):
    """As a SIGSEGV in the C library would end the child."""
    pytest.importorskip("lmdb", reason="the lmdb extra is not installed")
    path = foreign.unils(tmp_path / "set", (ANN, BOB))
    child = tmp_path / "child.py"
    child.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr("mango.data.formats.lmdb_files.CHILD", child)
    with pytest.raises(InputError, match="signal 11"):
        FORMATS["unils"].entries(path)
    monkeypatch.undo()
    assert len(FORMATS["unils"].entries(path)) == 1  # by a new child


def test_stereo(tmp_path):
    name, recording = only(foreign.stereo(tmp_path / "x.wav", (ANN, BOB)))
    assert name == "stereo" and [person.sound.channel for person in recording.people] == [0, 1]


def test_plain_folder_of_two_films(tmp_path):
    (tmp_path / "talk").mkdir()
    for side, who in (("left", ANN), ("right", BOB)):
        foreign.film(tmp_path / "talk" / f"zoom_{side}.mp4", 30, 25, who.voice)
    name, recording = only(tmp_path / "talk")
    assert (name, recording.id, len(recording.people)) == ("plain", "talk", 2)
    assert [person.film.path.stem for person in recording.people] == ["zoom_left", "zoom_right"]


@pytest.mark.parametrize(("first", "second"), [("x_left", "x_right"), ("x-a", "x-b"), ("x_1", "x_2"), ("x speaker1", "x speaker2")])
def test_voices_pair_by_their_sides(tmp_path, first, second):
    for name in (second, first, "lonely"):
        foreign.wav_float32(tmp_path / f"{name}.wav", ANN.voice)
    entries = FORMATS["plain"].entries(tmp_path)
    assert {entry.id: len(entry.people) for entry in entries} == {"x": 2, "lonely": 1}
    people = next(load(entry) for entry in entries if entry.id == "x").people
    assert [person.sound.path.stem for person in people] == [first, second]


def test_voice_memos_are_voices(tmp_path):
    """As phones record them, with a cover as some have it. Seen red: they were not read at all."""
    voice = np.sin(np.arange(96_000) / 30)
    recorded(tmp_path / "talk_a.m4a", "aac", voice)
    recorded(tmp_path / "talk_b.m4a", "aac", np.stack([voice, voice], 1), cover=True)
    name, recording = only(tmp_path)
    assert name == "plain" and [round(person.sound.seconds, 1) for person in recording.people] == [2.0, 2.0]
    assert all(abs(float(voice_of(person.sound).abs().max()) - 1) < 0.1 for person in recording.people)
    assert recognised(tmp_path / "talk_b.m4a")[0].name == "stereo"


def test_numbered_takes_are_no_dialogues(tmp_path):
    """Seen red: takes 1 and 2 of one person talked to each other."""
    for name in ("take_1", "take_2", "take_3", "take_4", "pair_1", "pair_2", "more_0", "more_1", "more_2", "take_left", "take_right"):
        foreign.wav_float32(tmp_path / f"{name}.wav", ANN.voice)
    entries = {entry.id: entry for entry in FORMATS["plain"].entries(tmp_path)}
    assert {id for id, entry in entries.items() if len(entry.people) == 2} == {"pair", "take"}
    assert {id for id, entry in entries.items() if len(entry.people) == 1} == {
        *(f"take_{k}" for k in "1234"),
        *(f"more_{k}" for k in "012"),
    }
    said = {id: any("a take of one person" in str(word) for word in load(entry).assumptions) for id, entry in entries.items()}
    assert said == {id: len(entry.people) == 1 for id, entry in entries.items()}


def test_seamless(tmp_path):
    name, recording = only(foreign.seamless(tmp_path / "x", (ANN, BOB)))
    assert (name, recording.id, recording.fps) == ("seamless", "V00_S0001_I00000001", 30)
    assert [person.name for person in recording.people] == ["P0001", "P0002"]
    assert all(person.motion is None and not person.valid[7] and person.valid[8] for person in recording.people)
    assert any("not FLAME's" in str(word) for word in recording.assumptions)


def test_content_decides_not_the_name(tmp_path):
    path = foreign.diffposetalk(tmp_path / "x.npz", ANN)
    path.rename(tmp_path / "tracked_flame_params_30.npz")
    assert recognised(tmp_path / "tracked_flame_params_30.npz")[0].name == "diffposetalk"
    (tmp_path / "abc_speaker1.npz").write_bytes(b"nothing")
    assert recognised(tmp_path / "abc_speaker1.npz") is None


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_bytes(b""), lambda path: path.write_text("x")]
)
def test_what_is_none_is_refused_in_words(tmp_path, name, make):
    make(tmp_path / "x")
    with pytest.raises(InputError) as refusal:
        [load(entry) for entry in FORMATS[name].entries(tmp_path / "x")]
    assert str(tmp_path / "x") in str(refusal.value) or refusal.value.where == "x"


def test_a_dialogue_of_vhap_folders_stays_in_its_folder(tmp_path):
    import json

    folder = tmp_path / "pair"
    foreign.vhap(folder / "one", ANN)
    foreign.vhap(folder / "two", BOB)
    persons = [{"id": "ann", "dataset": "one"}, {"id": "bob", "dataset": "two"}]
    (folder / "dialogue.json").write_text(json.dumps({"fps": 24, "persons": persons}))
    name, recording = only(folder)
    assert (name, recording.fps) == ("vhap", 24) and np.array_equal(recording.people[1].motion.expr, BOB.expr)
    persons[1]["dataset"] = "../elsewhere"
    foreign.vhap(tmp_path / "elsewhere", BOB)
    (folder / "dialogue.json").write_text(json.dumps({"fps": 24, "persons": persons}))
    with pytest.raises(InputError, match="inside the folder"):
        only(folder)


def voiced(path: Path, who: Face) -> Path:
    foreign.wav_float32(path.with_suffix(".wav"), who.voice)
    return path


def test_a_sound_beside_the_motion_belongs_to_it(tmp_path):
    talk = face(1, frames=300)
    _, recording = only(voiced(foreign.dualtalk_prediction(tmp_path / "x.npy", talk), talk))
    assert recording.people[0].sound.seconds == 12.0
    (followed,) = [finding for finding in check(recording) if finding.topic == "motion follows sound"]
    assert followed.verdict == "certain"


@pytest.mark.parametrize("kind", ["vhap folder", "emoca", "metrical-tracker"])
def test_a_folders_name_may_have_a_dot(tmp_path, kind):
    """As GaussianAvatars names them. Seen red with stems: the voice of 218_DS2-0.wav, or none, and people of half a name."""
    name = "218_EMO-1_v16_DS2-0.5x_lmkSTAR"
    path = FLAME_FILES[kind][1](tmp_path).rename(tmp_path / name)
    for voice in (f"{name}.wav", "218_EMO-1_v16_DS2-0.wav"):
        foreign.wav_float32(tmp_path / voice, ANN.voice)
    format, _ = recognised(path)
    (entry,) = format.entries(path)
    recording = load(entry)
    assert (entry.id, entry.people, recording.id, recording.people[0].name) == (name, (name,), name, name)
    assert recording.people[0].sound.path == tmp_path / f"{name}.wav"
    assert {file.name for file in files_of(entry.files)} & {f"{name}.wav", "218_EMO-1_v16_DS2-0.wav"} == {f"{name}.wav"}


def shouted(path: Path) -> Path:
    """The same file with its suffix in capitals, as cameras and recorders write it."""
    return path.rename(path.with_suffix(path.suffix.upper()))


def test_suffixes_in_capitals(tmp_path):
    """Seen red with lower case alone: the voice was no recording, being the film's, and not the film's either."""
    (tmp_path / "plain").mkdir()
    foreign.film(tmp_path / "plain" / "talk.mp4", 30, 25)
    shouted(foreign.wav_float32(tmp_path / "plain" / "talk.wav", ANN.voice))
    seamless = foreign.seamless(tmp_path / "seamless", (ANN, BOB))
    dualtalk = foreign.dualtalk(tmp_path / "dualtalk", faces=(ANN, BOB))
    for file in (*seamless.iterdir(), *dualtalk.rglob("*.wav")):
        shouted(file)
    for path in (tmp_path / "plain", seamless, seamless / "V00_S0001_I00000001_P0001.MP4", dualtalk):
        name, recording = only(path)
        assert name == ("seamless" if path.suffix else path.name)
        assert all(person.sound.path.suffix == ".WAV" for person in recording.people), path
    assert recording.people[1].sound.seconds == 2.0


def test_the_users_word_counts(tmp_path):
    _, recording = only(foreign.diffposetalk(tmp_path / "x.npz", ANN), Options(fps=30.0, flame_version="2023"))
    assert recording.fps == 30 and recording.people[0].motion.generation == "2023"


def test_parts_of_different_lengths(tmp_path):
    """Found by fuzzing: three frames of expression and two of pose left the reader as a broadcasting error."""
    np.savez(tmp_path / "x.npz", shape=np.zeros((2, 100)), exp=np.zeros((3, 50)), pose=np.zeros((2, 6)), cam=np.zeros((2, 3)))
    with pytest.raises(InputError, match="as many frames in every part"):
        load(FORMATS["deca"].entries(tmp_path / "x.npz")[0])
