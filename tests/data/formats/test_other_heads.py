"""Recordings whose motion is another head's than the set's: retargeted where both are at hand, refused where not, and the loss is said."""

import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import foreign
import numpy as np
import pytest
from foreign import face

from mango.cli import main
from mango.data.dialogues import DialogueSet
from mango.data.formats.manifest import NAME, Manifest
from mango.data.motion_files import load_motion
from mango.data.validation import problems
from mango.head.model import load_head
from mango.types import MotionClip

sys.path.insert(0, str(Path(__file__).parents[2] / "head"))
from flame_like import flame_like, mixing

ANN = face(1)


def run(*words) -> int:
    return main(["data", "import", "--workers", "1", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def like(tmp_path_factory) -> Path:
    """A FLAME file whose coefficients are the built-in head's expressions, mixed."""
    path = tmp_path_factory.mktemp("like") / "like.npz"
    np.savez(path, **flame_like())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, like) -> Path:
    """One take of ARKit weights, by name (ours) and retargeted (theirs)."""
    folder = tmp_path_factory.mktemp("sets")
    source = foreign.arkit_npz(folder / "s.npz", ANN)
    assert run("--fps", "25", source, folder / "ours") == 0
    with redirect_stdout(io.StringIO()) as said:
        assert run("--fps", "25", "--head", like, source, folder / "theirs") == 0
    (folder / "said.txt").write_text(said.getvalue())
    return folder


@pytest.fixture
def clips(folder) -> dict[str, MotionClip]:
    return {name: load_motion(next((folder / name).rglob("a.motion.npz"))) for name in ("ours", "theirs")}


def test_weights_on_a_flame_head(folder, like, clips, builtin):
    """Seen red by a jaw that stays, by the source's digest, and by a report that is not written."""
    ours, theirs = clips["ours"], clips["theirs"]
    head = load_head(like)
    assert theirs.head == head.digest and problems(folder / "theirs", head=head) == []
    seen = [k for k, name in enumerate(builtin.expression_names) if name != "tongueOut"]  # it moves nothing of the face
    assert np.abs(theirs.expr.numpy() @ mixing() - ours.expr.numpy())[:, seen].max() < 0.05
    np.testing.assert_allclose(theirs.jaw_pose, ours.jaw_pose, atol=0.02)
    np.testing.assert_array_equal(theirs.eyes_pose, ours.eyes_pose)
    np.testing.assert_array_equal(theirs.neck_pose, ours.neck_pose)
    said = [line for line in (folder / "said.txt").read_text().splitlines() if line.startswith("retargeted: ")]
    assert len(said) == 1 and "43 shapes" in said[0] and "mm" in said[0] and NAME in said[0]
    described = DialogueSet.open(folder / "theirs").describe("s").source
    assert "motion of the head builtin to like by least squares" in described and "mm are lost" in described
    rows = Manifest.read(folder / "theirs").retargeting
    assert {row["shape"] for row in rows} >= {"mouthPucker", "jawOpen", "browInnerUp"} and len(rows) == 44
    assert all(set(row) == {"shape", "moves_mm", "lost_mm"} and row["lost_mm"] <= row["moves_mm"] for row in rows)
    assert Manifest.read(folder / "ours").retargeting == ()


def test_flame_coefficients_on_the_built_in_head(tmp_path, like, clips, builtin):
    """Back again through a format of FLAME's: the weights that it began with."""
    theirs = clips["theirs"]
    pose = np.concatenate([theirs.neck_pose, theirs.jaw_pose], 1)
    np.savez(tmp_path / "d.npz", shape=np.zeros((len(pose), 100)), exp=theirs.expr.numpy(), pose=pose)
    assert run("--source-head", like, "--flame-version", "2020", tmp_path / "d.npz", tmp_path / "back") == 0
    back = load_motion(next((tmp_path / "back").rglob("a.motion.npz")), head=builtin)
    lids = [builtin.expression_names.index(f"eyeBlink{side}") for side in ("Left", "Right")]  # gaze moves them, and is not in such a file
    rest = [k for k in range(builtin.expressions) if k not in lids]
    assert np.abs(back.expr.numpy() - clips["ours"].expr.numpy())[:, rest].mean() < 0.03
    assert json.loads((tmp_path / "back" / NAME).read_text().splitlines()[0])["retargeting"][0]["shape"] == "expression000"


def test_the_same_import_goes_on_and_another_source_head_is_another_import(tmp_path, like, flame_file, capsys):
    source = foreign.diffposetalk(tmp_path / "d.npz", ANN)
    words = ("--flame-version", "2020", source, tmp_path / "out")
    assert run("--source-head", like, *words) == 0
    before = (tmp_path / "out" / NAME).read_bytes()
    assert run("--source-head", like, *words) == 0 and (tmp_path / "out" / NAME).read_bytes() == before
    capsys.readouterr()
    assert run("--source-head", flame_file, *words) == 2 and "source_head" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "words", "said"),
    [
        (lambda folder: foreign.diffposetalk(folder / "s.npz", ANN), (), "or --source-head to have its motion on this head"),
        (lambda folder: foreign.arkit_npz(folder / "s.npz", ANN), ("--head", "LIKE", "--source-head", "LIKE"), "leave --source-head away"),
        (lambda folder: foreign.arkit_npz(folder / "s.npz", ANN), ("--source-head", "builtin"), "leave --source-head away"),
        (lambda folder: foreign.diffposetalk(folder / "s.npz", ANN), ("--source-head", "builtin"), "give --head your FLAME file"),
        (lambda folder: foreign.diffposetalk(folder / "s.npz", ANN), ("--source-head", "LIKE"), "--flame-version"),
    ],
)
def test_refusals_name_the_option(tmp_path, like, capsys, make, words, said):
    assert run(*(like if word == "LIKE" else word for word in words), make(tmp_path), tmp_path / "out") == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1 and not (tmp_path / "out").exists()
