"""Motion files: exact round trips, and a clear word about every file that is not one."""

import json
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mango.data.arrays import read_npy
from mango.data.motion_files import ARRAYS, load_motion, motion_problems, save_motion
from mango.errors import InputError
from mango.types import MOVING


@pytest.fixture
def saved(tmp_path, clip):
    path = tmp_path / "a.motion.npz"
    save_motion(path, clip(), more={"source": "a test"})
    return path


def rewrite(path, **changed):
    """The arrays of a file with some changed (None removes one), without its digest, as another program would write it."""
    arrays = {**np.load(path), **changed}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    redescribe(path, sha256=None)


def redescribe(path, **changed):
    sidecar = path.with_suffix(".json")
    content = {**json.loads(sidecar.read_text()), **changed}
    sidecar.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_round_trip_is_exact(saved, clip, head):
    original, loaded = clip(), load_motion(saved, head=head)
    for name in (*MOVING, "shape"):
        assert torch.equal(getattr(loaded, name), getattr(original, name)), name
    assert (loaded.head, loaded.fps) == (original.head, original.fps)


def test_only_what_viewers_play_is_in_the_npz(saved):
    with np.load(saved, allow_pickle=False) as arrays:
        assert set(arrays) == {"expr", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "translation", "shape"} == set(ARRAYS)
        assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}
    assert json.loads(saved.with_suffix(".json").read_text())["source"] == "a test"


def test_same_clip_same_bytes(tmp_path, clip):
    for name in ("x.npz", "y.npz"):
        save_motion(tmp_path / name, clip())
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "y.npz").read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"jaw_pose": None}, "jaw_pose"),
        ({"dynamic_offset": np.zeros((30, 5, 3), np.float32)}, "dynamic_offset"),
        ({"eyes_pose": np.zeros((30, 4), np.float32)}, "eyes_pose of shape"),
        ({"neck_pose": np.zeros((29, 3), np.float32)}, "neck_pose of shape"),
        ({"neck_pose": np.zeros((30, 3))}, "float64"),
        ({"expr": np.full((30, 7), np.nan, np.float32)}, "nan at [0, 0]"),
        ({"expr": np.zeros((30, 50), np.float32)}, "expressions=7"),
        ({"shape": np.zeros(100, np.float32)}, "identity=4"),
    ],
)
def test_wrong_arrays_are_refused(saved, head, change, words):
    rewrite(saved, **change)
    with pytest.raises(InputError) as error:
        load_motion(saved, head=head)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"format": 2}, "format 1"), ({"fps": 0}, "fps"), ({"fps": True}, "fps"), ({"head": None}, "head"), ({"head": "6" * 64}, "retarget")],
)
def test_wrong_descriptions_are_refused(saved, head, change, words):
    redescribe(saved, **change)
    with pytest.raises(InputError, match=words):
        load_motion(saved, head=head)


def test_another_head_is_refused(saved, head):
    other = SimpleNamespace(**{**vars(head), "digest": "7" * 64})
    with pytest.raises(InputError, match="7777"):
        load_motion(saved, head=other)


def test_a_pair_that_does_not_belong_together_is_noticed(saved, tmp_path, clip):
    save_motion(tmp_path / "b.motion.npz", clip(seed=1))
    saved.write_bytes((tmp_path / "b.motion.npz").read_bytes())
    with pytest.raises(InputError, match="sha256"):
        load_motion(saved)


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_truncated_files_are_refused(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"an \.npz file"):
        load_motion(saved)


def test_pickled_arrays_execute_nothing(saved, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path / "executed").touch, ()

    rewrite(saved, expr=np.array([Bomb()], dtype=object))
    with pytest.raises(InputError):
        load_motion(saved)
    assert not (tmp_path / "executed").exists()


def test_flipped_bytes_raise_nothing_but_input_errors(saved):
    intact = saved.read_bytes()
    redescribe(saved, sha256=None)
    for seed in range(300):
        noise = np.random.default_rng(seed)
        content = np.frombuffer(intact, np.uint8).copy()
        content[noise.integers(0, len(content), 3)] = noise.integers(0, 256, 3)
        saved.write_bytes(content.tobytes())
        with suppress(InputError):
            load_motion(saved)


def test_a_damaged_header_and_no_frames_are_problems(saved, head):
    """Seen red: numpy reads headers as Python, and its errors ended `mango data validate`; clips of no frames ended exports."""
    whole = np.load(saved)["expr"]
    rewrite(saved, **{name: np.load(saved)[name][:0] for name in MOVING})
    with pytest.raises(InputError, match="expected frames, found none"):
        load_motion(saved, head=head)
    stream = BytesIO()
    np.save(stream, whole)
    for header in (b"{'descr': (\n", b"{'descr': '<f4'; "):
        damaged = stream.getvalue()
        damaged = damaged[:10] + header + damaged[10 + len(header) :]
        path = saved.with_name("a.npy")
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"a\.npy: expected an \.npy file of plain numbers"):
            read_npy(path)


def test_missing_files_are_named(saved, tmp_path):
    with pytest.raises(InputError, match=r"nothing\.npz"):
        load_motion(tmp_path / "nothing.npz")
    saved.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"a\.motion\.json"):
        load_motion(saved)


def test_every_problem_of_a_file_is_listed(saved, head):
    rewrite(saved, jaw_pose=None, neck_pose=np.zeros((30, 3)), expr=np.full((30, 7), np.inf, np.float32))
    redescribe(saved, fps=30, head="6" * 64)
    found = " | ".join(str(problem) for problem in motion_problems(saved, head=head, frames=30, fps=25))
    for words in ("jaw_pose", "float64", "inf at", "25 fps", "head 666"):
        assert words in found


def test_a_clip_with_nan_is_not_written(tmp_path, clip):
    bad = replace(clip(), jaw_pose=torch.full((30, 3), torch.nan))
    with pytest.raises(InputError, match="jaw_pose"):
        save_motion(tmp_path / "x.npz", bad)
    assert list(tmp_path.iterdir()) == []
