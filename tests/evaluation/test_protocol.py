"""The protocol on a small set whose errors are known, because they were put there."""

import json
import math
from dataclasses import replace

import pytest
import torch
from tiny_models import tiny_avatar, tiny_run

from mango.cli import main
from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.data.truth import TruePhone, TrueSide, truth_folder, write_truth
from mango.data.video import write_video
from mango.errors import InputError
from mango.evaluation.protocol import LABELS, STILL, Scores, evaluate_checkpoint, picture_scores, write_scores
from mango.inference.generation import GenerationConfig
from mango.inference.rendering import bytes_of
from mango.types import Dialogue, MotionClip, PersonTrack, Side
from renderer import draw
from renderer.cameras import portrait_camera
from renderer.head import HeadAvatar

FRAMES, SIZE = 40, 48
PHONES = (TruePhone("AA", 0.0, 0.4, 1.0), TruePhone("M", 0.4, 0.48, 0.0), TruePhone("sil", 0.48, 1.6, 0.0))
QUICK = GenerationConfig(steps=1)


def talking(head, rate: float) -> MotionClip:
    """A jaw that opens and closes, more for a faster one, and a head that sways."""
    time = torch.arange(FRAMES) / 25
    angle = 0.1 * rate * (1 - torch.cos(2 * math.pi * rate * time))
    across = torch.tensor([1.0, 0.0, 0.0])
    flat = torch.zeros(FRAMES, head.layout.width)
    flat[:, head.layout.where("jaw_pose")] = angle[:, None] * across
    flat[:, head.layout.where("neck_pose")] = 0.2 * torch.sin(time)[:, None] * across
    return replace(head.layout.clip(flat, torch.zeros(head.identities), head.digest), fps=25.0)


def tracked(clip: MotionClip) -> MotionClip:
    """What a poor tracker makes of it: half the jaw, another neck, another shape."""
    return replace(clip, jaw_pose=0.5 * clip.jaw_pose, neck_pose=-clip.neck_pose, shape=clip.shape + 0.3)


def elsewhere(clip: MotionClip) -> MotionClip:
    """The same face movements on a head of another shape that turns another way."""
    return replace(clip, neck_pose=-clip.neck_pose, shape=clip.shape + 0.3)


@pytest.fixture(scope="session")
def dialogues(head, tmp_path_factory):
    root = tmp_path_factory.mktemp("set") / "set"
    create_dialogue_set(root, head, ["p00", "p01"], {"train": ["t"], "test": ["d0"], "share_people": True})
    for id, labels in (("d0", tracked), ("t", elsewhere)):
        truth = {person: talking(head, rate) for person, rate in (("a", 1.0), ("b", 2.0))}
        speaking = {"a": (torch.arange(FRAMES) < 20).float(), "b": torch.zeros(FRAMES)}
        audio = torch.rand(2, FRAMES * 640, generator=torch.Generator().manual_seed(0)) - 0.5
        sides = {person: Side(f"p0{k}", audio[k], speaking[person], labels(truth[person])) for k, person in enumerate("ab")}
        write_dialogue(root, Dialogue(id, FRAMES, sides), source="made up", licence="CC0-1.0", created_by="test")
        write_truth(root, id, {person: TrueSide(truth[person], PHONES, speaking[person]) for person in "ab"})
    return root


@pytest.fixture(scope="session")
def run_folder(head, tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("runs") / "stage1", head)


def test_rows_against_the_truth(head, dialogues, run_folder):
    """Notices labels scored against themselves, another split, and a slope upside down."""
    rows = evaluate_checkpoint(run_folder, dialogues, "test", QUICK).rows
    assert list(rows) == [LABELS, STILL, str(run_folder)]
    assert rows[LABELS]["lip_opening_slope"] == pytest.approx(0.5, abs=0.05)
    assert rows[STILL]["lip_opening_slope"] == pytest.approx(0, abs=1e-4)
    assert 0.5 < rows[LABELS]["lve_max"] < rows[STILL]["lve_max"] * 1.5
    assert all(math.isfinite(value) for row in rows.values() for value in row.values())


def test_perfect_labels_have_no_error(dialogues, run_folder):
    """Notices neck pose or identity that count, and persons or dialogues exchanged: a's truth is not b's."""
    row = evaluate_checkpoint(run_folder, dialogues, "train", QUICK).rows[LABELS]
    assert {name for name, value in row.items() if value == 0} == set(row) - {"lip_opening_slope"}
    assert row["lip_opening_slope"] == pytest.approx(1)


def test_without_truth(head, dialogues, run_folder, tmp_path):
    """Notices labels taken for the truth where there is none."""
    import shutil

    shutil.copytree(dialogues, tmp_path / "set")
    assert not truth_folder(tmp_path / "set").exists()
    with pytest.raises(InputError, match="truth of a synthetic set"):
        evaluate_checkpoint(run_folder, tmp_path / "set", "test", QUICK)


def test_the_command(dialogues, run_folder, tmp_path, capsys):
    words = ["evaluate", "--checkpoint", run_folder, "--data", dialogues, "--steps", "1", "--json", tmp_path / "out.json"]
    assert main([str(word) for word in words]) == 0
    assert "LVE max" in capsys.readouterr().out
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["units"]["lve_max"] == "mm" and set(written["rows"]) == {LABELS, STILL, str(run_folder)}
    assert written["facts"]["split"] == "test" and written["facts"]["clips"] == 2


def test_a_missing_split_is_named(dialogues, run_folder, tmp_path, capsys):
    words = ["evaluate", "--checkpoint", run_folder, "--data", dialogues, "--split", "val", "--json", tmp_path / "out.json"]
    assert main([str(word) for word in words]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "'val'" in line and "train, test" in line and not list(tmp_path.iterdir())


def test_what_is_not_defined_is_null(tmp_path):
    write_scores(tmp_path / "s.json", Scores({"x": {"closure": math.nan, "mve": 1.0}}))
    assert json.loads((tmp_path / "s.json").read_text())["rows"] == {"x": {"closure": None, "mve": 1.0}}


def test_pictures_by_the_trackers_pose(head, tmp_path):
    """Pictures drawn from an avatar are matched by it, whatever neck the motion has; a mouth that differs shows. Notices frames shifted."""
    avatars = {f"p0{k}": HeadAvatar.load(tiny_avatar(tmp_path / f"{k}.safetensors", head, k)).requires_grad_(False) for k in (0, 1)}
    camera, clips, sides = portrait_camera(SIZE), {}, {}
    for k, person in enumerate("ab"):
        clips[person] = talking(head, 1.0 + k)
        vertices = head.vertices(replace(clips[person], shape=avatars[f"p0{k}"].identity))
        colors = draw(avatars[f"p0{k}"](vertices), camera, torch.full((3,), 0.5)).colors
        write_video(tmp_path / f"{person}.mp4", bytes_of(colors), crf=1)
        keep, landmarks = torch.ones(FRAMES, dtype=torch.bool), torch.zeros(FRAMES, 68, 2)
        track = PersonTrack(keep, camera.camera_from_world[None], camera.intrinsics, landmarks, torch.ones(FRAMES))
        sides[person] = Side(
            f"p0{k}", torch.rand(FRAMES * 640) - 0.5, torch.zeros(FRAMES), clips[person], track, tmp_path / f"{person}.mp4"
        )
    create_dialogue_set(tmp_path / "set", head, ["p00", "p01"], {"test": ["d"]})
    write_dialogue(tmp_path / "set", Dialogue("d", FRAMES, sides), source="made up", licence="CC0-1.0", created_by="test")
    dialogues = DialogueSet.open(tmp_path / "set")

    def scores(change):
        motions = {("d", person): change(clip) for person, clip in clips.items()}
        return picture_scores(motions, avatars, dialogues, head, every=6)

    right = scores(lambda clip: replace(clip, neck_pose=torch.zeros_like(clip.neck_pose)))
    late = scores(lambda clip: replace(clip, jaw_pose=clip.jaw_pose.roll(6, 0)))
    assert right["psnr"] > 45 and right["ssim"] > 0.99
    assert late["psnr"] < right["psnr"] - 8 and late["ssim"] < right["ssim"]
