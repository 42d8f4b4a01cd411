"""The validator finds every planted fault, all of them in one run, and says what to do about each."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from mango.data.validation import problems
from mango.data.video import write_video


def change_json(path, **changed):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def change_npz(path, **changed):
    arrays = {**np.load(path), **changed}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def change_phone(path, number, **changed):
    rows = json.loads(path.read_text())
    rows[number] |= changed
    path.write_text(json.dumps(rows))


def film(path, frames=30, rows=64, cols=64, **options):
    write_video(path, (np.full((rows, cols, 3), 8 * i % 256, np.uint8) for i in range(frames)), **options)


def mirrored():
    return np.diag([1, -1, 1, 1]).astype(np.float32)[None]


FAULTS = {  # name: (what breaks the set, the file to be named, words of the message)
    "dataset.json missing": (lambda s: (s / "dataset.json").unlink(), "dataset.json", "found none"),
    "dataset.json not JSON": (lambda s: (s / "dataset.json").write_text("{,"), "dataset.json", "valid JSON"),
    "dataset.json a list": (lambda s: (s / "dataset.json").write_text("[]"), "dataset.json", "a JSON object"),
    "format of the future": (lambda s: change_json(s / "dataset.json", format=2), "dataset.json", "format 1, found 2"),
    "fps 30": (lambda s: change_json(s / "dataset.json", fps=30), "dataset.json", "fps 25, found 30"),
    "head without digest": (lambda s: change_json(s / "dataset.json", head={"name": "x"}), "dataset.json", "head.digest"),
    "unknown key": (lambda s: change_json(s / "dataset.json", split={}), "dataset.json", "'split'"),
    "dialogue in two splits": (
        lambda s: change_json(s / "dataset.json", splits={"train": ["first"], "test": ["second", "first"]}),
        "dataset.json",
        "first in train and test",
    ),
    "split of an unknown dialogue": (
        lambda s: change_json(s / "dataset.json", splits={"train": ["first"], "test": ["second", "third"]}),
        "dialogues/third",
        "no folder",
    ),
    "dialogue in no split": (lambda s: change_json(s / "dataset.json", splits={"train": ["first"]}), "dialogues/second", "in none"),
    "person in train and test": (
        lambda s: change_json(s / "dialogues/second/dialogue.json", people={"a": "ann", "b": "dan"}),
        "dataset.json",
        "'ann' in first (train) and second (test)",
    ),
    "dialogues missing": (lambda s: shutil.rmtree(s / "dialogues"), "dialogues", "a folder of dialogues"),
    "dialogue missing": (lambda s: shutil.rmtree(s / "dialogues/second"), "dialogues/second", "no folder"),
    "dialogue.json missing": (lambda s: (s / "dialogues/first/dialogue.json").unlink(), "first/dialogue.json", "found none"),
    "frames as text": (lambda s: change_json(s / "dialogues/first/dialogue.json", frames="30"), "first/dialogue.json", "frames as a whole"),
    "no licence": (lambda s: change_json(s / "dialogues/first/dialogue.json", licence=None), "first/dialogue.json", "licence as text"),
    "unknown person": (
        lambda s: change_json(s / "dialogues/first/dialogue.json", people={"a": "eve", "b": "bob"}),
        "first/dialogue.json",
        "'eve' as a",
    ),
    "one person twice": (
        lambda s: change_json(s / "dialogues/first/dialogue.json", people={"a": "ann", "b": "ann"}),
        "first/dialogue.json",
        "two different people",
    ),
    "voice missing": (lambda s: (s / "dialogues/first/a.wav").unlink(), "first/a.wav", "no file"),
    "voice is text": (lambda s: (s / "dialogues/first/a.wav").write_text("la la la"), "first/a.wav", "a WAV file"),
    "voice at 48 kHz": (
        lambda s: soundfile.write(s / "dialogues/first/a.wav", np.zeros(30 * 640), 48000),
        "first/a.wav",
        "16000 Hz, found 48000 Hz",
    ),
    "voice in stereo": (
        lambda s: soundfile.write(s / "dialogues/first/a.wav", np.zeros((30 * 640, 2)), 16000),
        "first/a.wav",
        "one channel",
    ),
    "voice too long": (
        lambda s: soundfile.write(s / "dialogues/first/a.wav", np.zeros(31 * 640), 16000),
        "first/a.wav",
        "19840 samples, 31 frames",
    ),
    "voices of unequal length": (
        lambda s: soundfile.write(s / "dialogues/first/b.wav", np.zeros(30 * 640 + 160), 16000),
        "dialogues/first",
        "b.wav longer by 160 samples (0.01 s)",
    ),
    "motion too short": (
        lambda s: change_npz(s / "dialogues/first/a.motion.npz", jaw_pose=np.zeros((29, 3), np.float32)),
        "first/a.motion.npz",
        "jaw_pose of shape (time=30, 3), found (29, 3)",
    ),
    "motion of another width": (
        lambda s: change_npz(s / "dialogues/first/a.motion.npz", expr=np.zeros((30, 50), np.float32)),
        "first/a.motion.npz",
        "expressions=7",
    ),
    "motion in float64": (
        lambda s: change_npz(s / "dialogues/first/a.motion.npz", jaw_pose=np.zeros((30, 3))),
        "first/a.motion.npz",
        "jaw_pose as float32, found float64",
    ),
    "motion with NaN": (
        lambda s: change_npz(s / "dialogues/first/a.motion.npz", jaw_pose=np.full((30, 3), np.nan, np.float32)),
        "first/a.motion.npz",
        "nan at [0, 0]",
    ),
    "motion of another head": (
        lambda s: change_json(s / "dialogues/first/a.motion.json", head="6" * 64),
        "first/a.motion.json",
        "head 666",
    ),
    "motion at 30 fps": (lambda s: change_json(s / "dialogues/first/a.motion.json", fps=30), "first/a.motion.json", "25 fps, found 30"),
    "motion without description": (lambda s: (s / "dialogues/first/a.motion.json").unlink(), "first/a.motion.npz", "no a.motion.json"),
    "description without motion": (lambda s: (s / "dialogues/first/a.motion.npz").unlink(), "first/a.motion.json", "beside it"),
    "motion truncated": (
        lambda s: (s / "dialogues/first/a.motion.npz").write_bytes((s / "dialogues/first/a.motion.npz").read_bytes()[:99]),
        "first/a.motion.npz",
        "an .npz file",
    ),
    "video of 29 frames": (lambda s: film(s / "dialogues/first/a.mp4", frames=29), "first/a.mp4", "30 frames, found 29"),
    "video at 30 fps": (lambda s: film(s / "dialogues/first/a.mp4", fps=30), "first/a.mp4", "25 fps, found 30"),
    "video without key frames": (
        lambda s: film(s / "dialogues/first/a.mp4", key_frame_every=None),
        "first/a.mp4",
        "every frame a key frame",
    ),
    "video is text": (lambda s: (s / "dialogues/first/a.mp4").write_text("a film"), "first/a.mp4", "a video"),
    "video truncated": (
        lambda s: (s / "dialogues/first/a.mp4").write_bytes((s / "dialogues/first/a.mp4").read_bytes()[:-200]),
        "first/a.mp4",
        "truncated",
    ),
    "mask of another size": (lambda s: film(s / "dialogues/first/a.mask.mp4", cols=32), "first/a.mask.mp4", "64x64, found 32x64"),
    "mask of 31 frames": (lambda s: film(s / "dialogues/first/a.mask.mp4", frames=31), "first/a.mask.mp4", "30 frames, found 31"),
    "mask without video": (lambda s: (s / "dialogues/first/a.mp4").unlink(), "first/a.mask.mp4", "that it is the mask of"),
    "track of 29 landmarks": (
        lambda s: change_npz(s / "dialogues/first/a.track.npz", landmarks=np.zeros((29, 68, 2), np.float32)),
        "first/a.track.npz",
        "landmarks of shape (time=30, 68, 2)",
    ),
    "track with NaN": (
        lambda s: change_npz(s / "dialogues/first/a.track.npz", confidence=np.full(30, np.nan, np.float32)),
        "first/a.track.npz",
        "nan at [0]",
    ),
    "track without keep": (lambda s: change_npz(s / "dialogues/first/a.track.npz", keep=None), "first/a.track.npz", "an array 'keep'"),
    "keep as numbers": (
        lambda s: change_npz(s / "dialogues/first/a.track.npz", keep=np.ones(30, np.float32)),
        "first/a.track.npz",
        "keep as bool",
    ),
    "camera that scales": (
        lambda s: change_npz(s / "dialogues/first/a.track.npz", camera_from_world=np.diag([2, 2, 2, 1]).astype(np.float32)[None]),
        "first/a.track.npz",
        "off the identity by 3",
    ),
    "camera that mirrors": (
        lambda s: change_npz(s / "dialogues/first/a.track.npz", camera_from_world=mirrored()),
        "first/a.track.npz",
        "a mirror image",
    ),
    "intrinsics transposed": (
        lambda s: change_npz(s / "dialogues/first/a.track.npz", intrinsics=np.float32([[90, 0, 0], [0, 90, 0], [32, 32, 1]])),
        "first/a.track.npz",
        "intrinsics [[fx",
    ),
    "speaking too long": (
        lambda s: np.save(s / "dialogues/first/a.speaking.npy", np.zeros(31, np.float32)),
        "first/a.speaking.npy",
        "speaking of shape (time=30), found (31,)",
    ),
    "speaking above one": (
        lambda s: np.save(s / "dialogues/first/a.speaking.npy", np.full(30, 3, np.float32)),
        "first/a.speaking.npy",
        "speaking in [0, 1]",
    ),
    "phones of another language": (
        lambda s: change_phone(s / "dialogues/first/a.phones.json", 2, symbol="ə"),
        "first/a.phones.json",
        '"ə"',
    ),
    "phones that are no list": (
        lambda s: (s / "dialogues/first/a.phones.json").write_text('{"phones": []}'),
        "first/a.phones.json",
        "a JSON list",
    ),
    "phones of an unknown kind": (
        lambda s: change_phone(s / "dialogues/first/a.phones.json", 1, label="M"),
        "first/a.phones.json",
        "as phone 2; write one such object",
    ),
    "phones in milliseconds": (
        lambda s: change_phone(s / "dialogues/first/a.phones.json", 3, start=600, end=1200),
        "first/a.phones.json",
        "30 frames (1.20 s)",
    ),
    "phones that overlap": (
        lambda s: change_phone(s / "dialogues/first/a.phones.json", 2, start=0.45),
        "first/a.phones.json",
        "after one that ends at 0.48 s",
    ),
    "a phone that ends before it starts": (
        lambda s: change_phone(s / "dialogues/first/a.phones.json", 1, end=0.3),
        "first/a.phones.json",
        "0 <= start < end",
    ),
    "a time as text": (
        lambda s: change_phone(s / "dialogues/first/a.phones.json", 1, end="0.48"),
        "first/a.phones.json",
        "plain numbers",
    ),
    "stray file": (lambda s: (s / "dialogues/first/notes.txt").write_text("x"), "first/notes.txt", "another file"),
    "stray folder": (lambda s: (s / "backup").mkdir(), "backup", "another file or folder"),
    "stray among dialogues": (lambda s: (s / "dialogues/x.txt").write_text("x"), "dialogues/x.txt", "another file"),
    "interrupted write": (lambda s: (s / "dialogues/first/.a.host-1-0.partial.wav").touch(), ".a.host-1-0.partial.wav", "interrupted"),
    "features of nobody": (
        lambda s: ((s / "features/abc").mkdir(parents=True), np.save(s / "features/abc/third.a.npy", np.zeros((30, 4), np.float32))),
        "abc/third.a.npy",
        "a dialogue of this set",
    ),
    "features too short": (
        lambda s: ((s / "features/abc").mkdir(parents=True), np.save(s / "features/abc/first.a.npy", np.zeros((29, 4), np.float32))),
        "abc/first.a.npy",
        "30 rows",
    ),
}


def test_a_sound_set_has_no_problems(sound_set, head):
    assert problems(sound_set.root) == []
    assert problems(str(sound_set.root), head=head) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_found_and_explained(sound_set, fault):
    plant, file, words = FAULTS[fault]
    plant(sound_set.root)
    found = problems(sound_set.root)
    matching = [problem for problem in found if str(problem.file).endswith(file) and words in str(problem)]
    assert matching, "\n".join(map(str, found)) or "no problem found"
    for problem in found:
        assert problem.expected
        assert problem.found
        assert problem.remedy
        assert "\n" not in str(problem)


def test_all_faults_are_found_in_one_run(sound_set):
    together = [
        "fps 30", "unknown key", "voices of unequal length", "motion at 30 fps", "motion with NaN", "video of 29 frames",
        "mask of another size", "track with NaN", "speaking above one", "stray file", "features of nobody",
    ]  # fmt: skip
    for fault in together:
        FAULTS[fault][0](sound_set.root)
    found = problems(sound_set.root)
    for fault in together:
        _, file, words = FAULTS[fault]
        assert [p for p in found if str(p.file).endswith(file) and words in str(p)], fault


def test_sharing_people_may_be_declared(sound_set):
    change_json(sound_set.root / "dialogues/second/dialogue.json", people={"a": "ann", "b": "dan"})
    change_json(sound_set.root / "dataset.json", splits={"train": ["first"], "test": ["second"], "share_people": True})
    assert problems(sound_set.root) == []


def test_a_head_is_compared_only_when_given(sound_set):
    other = SimpleNamespace(name="other", digest="6" * 64, expressions=7, identities=4)
    assert [problem.file.name for problem in problems(sound_set.root, head=other)] == ["dataset.json"]


def test_a_folder_that_is_no_set(tmp_path):
    found = [str(problem) for problem in problems(tmp_path / "nowhere")]
    assert any("dataset.json" in line for line in found)
