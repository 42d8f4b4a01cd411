"""`mango track` from the command line: what it writes is a dialogue set without problems, what it cannot use is said in one line."""

import re
import shutil
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from coded_films import at_rate, write_film
from moving_head import detected, talking
from pretended_films import FRAMES, QUICK, film_of
from pretended_models import PretendedModels, pictures

from mango.app import tracking as command
from mango.audio.reading import write_audio
from mango.cli import main
from mango.data.atomic import alone_in
from mango.data.dialogues import DialogueSet
from mango.data.video import VideoFrames
from mango.head.assets import read_head, write_head
from mango.tracking.films import facts_of


@pytest.fixture
def pretend(monkeypatch):
    """Run with networks that know the films' faces: in the order in which the films are named."""

    def with_models(*models):
        class InTurn(PretendedModels):
            """Told apart by the length of what they know."""

            def __init__(self, folder=None):
                pass

            def of(self):
                return next((each for each in models if len(set(each.asked)) < len(each.people[0])), models[-1])

            faces = lambda self, *given, **named: self.of().faces(*given, **named)  # noqa: E731
            mesh = lambda self, *given, **named: self.of().mesh(*given, **named)  # noqa: E731
            eye = lambda self, *given, **named: models[-1].eye(*given, **named)  # noqa: E731

        monkeypatch.setattr(command, "FaceModels", InTurn)
        monkeypatch.setattr(command, "any_here", lambda: True)  # whether or not this machine has them

    monkeypatch.setattr(command, "TrackConfig", QUICK)
    return with_models


def run(*words) -> int:
    return main([str(word) for word in words])


def problems_of(root):
    from mango.data.validation import problems

    return [str(problem) for problem in problems(root)]


def test_one_film_becomes_a_set_without_problems(head, tmp_path, pretend, capsys):
    path, _, models = film_of(tmp_path / "Anna B.mp4", head)
    pretend(models)
    out = tmp_path / "new" / "anna"
    assert run("track", path, "--out", out, "--size", "128", "--licence", "CC0") == 0
    assert problems_of(out) == [] and run("data", "validate", out) == 0
    assert sorted(file.name for file in out.parent.iterdir()) == ["anna", "anna.png"]  # nothing half done is left
    opened = DialogueSet.open(out)
    (id,) = opened.splits["train"]
    side = opened.dialogue(id).side("a")
    assert len(side.motion) == FRAMES and side.track.keep.all() and len(VideoFrames(side.video)) == FRAMES
    said = capsys.readouterr().out
    assert "2.0 s of 640x480 at 25 frames a second" in said and "trusted frames 100 %" in said and f"wrote {out}" in said
    assert (out.parent / "anna.png").read_bytes().startswith(b"\x89PNG")


def test_what_a_film_lacks_is_said(head, tmp_path, pretend, capsys):
    """Seen red: a film in which nobody is heard, and one whose end is missing, became sets without a word."""
    path, _, models = film_of(tmp_path / "anna.mp4", head, with_sound=False)
    shown = pictures(FRAMES, spots=models.people[0])
    write_film(tmp_path / "mute.mp4", at_rate(25, FRAMES / 25), shown, sound=np.zeros((1, FRAMES * 1920)))
    pretend(models)
    assert run("track", tmp_path / "mute.mp4", "--out", tmp_path / "mute", "--size", "128", "--person", "李") == 0
    said = capsys.readouterr().out
    assert "nobody is heard to speak" in said and "no sound" not in said
    person = DialogueSet.open(tmp_path / "mute").dialogue("mute").side("a").person
    assert f"李 is called {person}" in said
    facts = facts_of(path)
    whole = write_film(tmp_path / "cut.mp4", at_rate(25, 4.0), pictures(100), muxing={"movflags": "+faststart"}, options={"g": "1"})
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert not any("truncated" in change for change in facts.changes)
    assert re.match(r"the file is truncated: its last \d\.\d s are missing", facts_of(whole).changes[0])


def test_sound_that_cannot_be_used_is_said_before_faces_are_sought(head, tmp_path, pretend, capsys):
    _, _, models = film_of(tmp_path / "anna.mp4", head, with_sound=False)
    noise, late = 0.1 * np.ones((1, 9600)), tmp_path / "late.mp4"
    write_film(late, at_rate(25, FRAMES / 25), pictures(FRAMES), sound=noise, sound_at=Fraction(5, 2))
    pretend(models)
    assert run("track", late, "--out", tmp_path / "set") == 2
    assert "sound that starts with the pictures" in capsys.readouterr().err and not models.asked


def test_mattes_are_of_networks_wherever_these_are(monkeypatch):
    """Seen red: with points of another detector, or the built-in one, hair was cut off beside networks that see it."""
    there = object.__new__(command.FaceModels)
    monkeypatch.setattr(command, "FaceModels", lambda folder=None: there)
    for here in (True, False):
        monkeypatch.setattr(command, "any_here", lambda here=here: here)
        assert command.detectors("auto", None, landmarks=True) == (there if here else None, False)
        assert command.detectors("builtin", None, landmarks=False) == (there if here else None, True)


def test_two_films_are_a_dialogue_as_long_as_the_shorter(head, tmp_path, pretend, capsys):
    """Planted: each film tracked to its own end."""
    first, _, of_first = film_of(tmp_path / "anna.mp4", head)
    second, _, _ = film_of(tmp_path / "ben.mp4", head, frames=FRAMES - 13, seed=1)
    of_second = film_of(tmp_path / "as-long.mp4", head, frames=FRAMES - 13, seed=1)[2]
    of_first.people = [of_first.people[0][: FRAMES - 13]]
    pretend(of_first, of_second)
    out = tmp_path / "both"
    assert run("track", first, second, "--out", out, "--size", "128", "--person", "ANNA", "--person", "BEN") == 0
    assert problems_of(out) == [] and "used up to 1.5 s, where the other film ends" in capsys.readouterr().out
    dialogue = DialogueSet.open(out).dialogue(DialogueSet.open(out).splits["train"][0])
    for side, person in (("a", "ANNA"), ("b", "BEN")):
        found = dialogue.side(side)
        assert found.person == person and len(found.motion) == len(VideoFrames(found.video)) == len(VideoFrames(found.mask_video)) == 37
        assert len(found.audio) == 37 * 640
    assert not torch.equal(dialogue.side("a").motion.neck_pose, dialogue.side("b").motion.neck_pose)


def test_voices_are_as_long_as_what_both_films_show(head, tmp_path, pretend, capsys):
    """Seen red: of films of 2 s and 1.5 s two voices of 1.5 s were refused, since the longer film goes on."""
    first, _, of_first = film_of(tmp_path / "anna.mp4", head)
    second, _, of_second = film_of(tmp_path / "ben.mp4", head, frames=FRAMES - 13, seed=1)
    of_first.people = [of_first.people[0][: FRAMES - 13]]
    pretend(of_first, of_second)
    for name in "ab":
        write_audio(tmp_path / f"{name}.wav", 0.1 * torch.randn(37 * 640, generator=torch.Generator().manual_seed(ord(name))))
    voices = ("--voice", tmp_path / "a.wav", "--voice", tmp_path / "b.wav")
    assert run("track", first, second, "--out", tmp_path / "both", "--size", "128", *voices) == 0, capsys.readouterr().err


def test_one_command_at_a_time(head, tmp_path, pretend, capsys):
    """Seen red: the first to end removed what the other had half done, which ended in a traceback."""
    path, _, models = film_of(tmp_path / "anna.mp4", head)
    pretend(models)
    with alone_in(tmp_path / "set.tracking", "tracking"):
        assert run("track", path, "--out", tmp_path / "set", "--size", "128") == 2
    assert "expected no other tracking into it, found one at work" in capsys.readouterr().err and not models.asked


def test_ctrl_c_keeps_what_is_detected(head, tmp_path, pretend, capsys):
    path, _, models = film_of(tmp_path / "anna.mp4", head)
    models.interrupt_at = 30
    pretend(models)
    words = ("track", path, "--out", tmp_path / "set", "--size", "128")
    assert run(*words) == 130 and "run the same command again" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
    with np.load(tmp_path / "set.tracking" / "a" / "detected.npz") as known:
        assert known["points"].shape == (30, 468, 2)
    assert run(*words) == 0 and problems_of(tmp_path / "set") == [] and not (tmp_path / "set.tracking").exists()


def test_a_film_is_tracked_again_over_its_own_sheet(head, tmp_path, pretend, capsys, monkeypatch):
    """As docs say: when its folder was removed. Seen red: the sheet of before was in the way; what is held out was not on it."""
    path, _, models = film_of(tmp_path / "anna.mp4", head)
    shown, write_sheet = [], command.write_sheet
    noted = lambda out, dialogue, *more: shown.append((len(dialogue.side("a").motion), more[-1])) or write_sheet(out, dialogue, *more)  # noqa: E731
    monkeypatch.setattr(command, "SHORT", 10)
    monkeypatch.setattr(command, "write_sheet", noted)
    words = ("track", path, "--out", tmp_path / "set", "--size", "128")
    for _ in range(2):
        pretend(models)
        models.asked.clear()
        assert run(*words) == 0, capsys.readouterr().err
        assert cv2.imread(str(tmp_path / "set.png")) is not None  # a text more is no damage
        shutil.rmtree(tmp_path / "set")
    assert shown == [(FRAMES, round(0.85 * FRAMES))] * 2


def test_what_systems_put_anywhere_is_in_nobodys_way(head, tmp_path, pretend, capsys):
    path, _, models = film_of(tmp_path / "anna.mp4", head)
    (tmp_path / "set.tracking").mkdir()
    for name in (".DS_Store", "Thumbs.db"):
        (tmp_path / "set.tracking" / name).touch()
    pretend(models)
    assert run("track", path, "--out", tmp_path / "set", "--size", "128") == 0, capsys.readouterr().err


@pytest.mark.parametrize("fault", ["a box elsewhere", "no face"])
def test_what_is_wrong_with_the_second_film_is_said_before_the_first_is_fitted(head, tmp_path, pretend, capsys, monkeypatch, fault):
    first, _, of_first = film_of(tmp_path / "anna.mp4", head)
    second, _, of_second = film_of(tmp_path / "ben.mp4", head, seed=1)
    of_second.there[:] = fault != "no face"
    pretend(of_first, of_second)
    monkeypatch.setattr("mango.tracking.tracking.fit", lambda *given, **named: pytest.fail("fitted"))
    box = ("--box", "60,40,140,180", "--box", "900,40,100,100") if fault == "a box elsewhere" else ()
    assert run("track", first, second, "--out", tmp_path / "both", *box) == 2
    said = {"a box elsewhere": "--box: expected a part of 640x480", "no face": "ben.mp4: expected a face, found one in 0"}[fault]
    assert said in capsys.readouterr().err and bool(of_first.asked) == (fault == "no face")


def test_landmarks_of_another_detector(head, tmp_path, pretend):
    path, true, _ = film_of(tmp_path / "anna.mp4", head)
    seen = detected(head, true, points=68)
    points = seen.points.numpy().astype(np.float64)
    points[10], points[30] = np.nan, 0.0  # no face there, as detectors say it
    np.savez(tmp_path / "points.npz", points=points, confidence=np.full(FRAMES, 0.9))
    assert run("track", path, "--out", tmp_path / "set", "--size", "128", "--landmarks", tmp_path / "points.npz") == 0
    assert problems_of(tmp_path / "set") == []
    dialogue = DialogueSet.open(tmp_path / "set").dialogue("anna")
    assert (~dialogue.side("a").track.keep).nonzero()[:, 0].tolist() == [*range(7, 14), *range(27, 34)]


@pytest.fixture(scope="module")
def shot(head, tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("shot") / "shot.mp4", at_rate(25, FRAMES / 25), pictures(FRAMES))


def landmarks(make):
    """Words of a command with such a file."""

    def words(folder, shot, head):
        points = detected(head, talking(head, FRAMES), points=68).points.numpy()
        return shot, "--out", folder / "set", "--landmarks", make(folder, points)

    return words


def saved(path, array):
    np.save(path, array, allow_pickle=True)
    return path


def zipped(path, **arrays):
    np.savez(path, **arrays)
    return path


def broken(path):
    np.savez(path, points=np.zeros((FRAMES, 68, 2)))
    path.write_bytes(path.read_bytes()[:-40])
    return path


def mine(folder):
    folder.mkdir()
    return folder


def other_head(folder):
    arrays = read_head("builtin")
    write_head(folder / "other.npz", replace(arrays, template=arrays.template + 1e-4))
    return folder / "other.npz"


def written(path, content: bytes):
    path.write_bytes(content)
    return path


WRONG = {
    "no film": (lambda folder, shot, head: (folder / "no.mp4", "--out", folder / "set"), "no such file"),
    "a folder": (lambda folder, shot, head: (folder, "--out", folder / "set"), "found a folder"),
    "an empty film": (lambda folder, shot, head: (written(folder / "e.mp4", b""), "--out", folder / "set"), "expected a film"),
    "three films": (lambda folder, shot, head: (shot, shot, shot, "--out", folder / "set"), "one film, or two"),
    "one person twice": (lambda folder, shot, head: (shot, shot, "--out", folder / "set"), "--person: expected 2 different names"),
    "a file in the way": (lambda folder, shot, head: (shot, "--out", written(folder / "a", b"x") / "set"), "part of this path is a file"),
    "out exists": (lambda folder, shot, head: (shot, "--out", folder), "expected nothing yet"),
    "no networks": (lambda folder, shot, head: (shot, "--out", folder / "set", "--models", folder), "mango assets get mediapipe"),
    "a tiny picture": (lambda folder, shot, head: (shot, "--out", folder / "set", "--size", "0"), "--size: expected at least 64"),
    "no head": (lambda folder, shot, head: (shot, "--out", folder / "set", "--head", folder / "no.npz"), "no.npz"),
    "a box of three": (lambda folder, shot, head: (shot, "--out", folder / "set", "--box", "1,2,3"), "x,y,width,height in pixels"),
    "a box of words": (lambda folder, shot, head: (shot, "--out", folder / "set", "--box", "the left one"), "x,y,width,height in pixels"),
    "a box of nothing": (lambda folder, shot, head: (shot, "--out", folder / "set", "--box", "1,2,3,4"), "8 pixels, found 1,2,3,4"),
    "a box of nan": (lambda folder, shot, head: (shot, "--out", folder / "set", "--box", "nan,2,90,90"), "found nan,2,90,90"),
    "box and landmarks": (
        lambda folder, shot, head: (shot, "--out", folder / "set", "--box", "1,2,90,90", "--landmarks", folder / "a.npy"), "leave one"),
    "one box for two films": (
        lambda folder, shot, head: (shot, folder / "b.mp4", "--out", folder / "set", "--box", "1,2,90,90"), "--box: expected 2, one"),
    "a picture where the sheet goes": (
        lambda folder, shot, head: (shot, "--out", written(folder / "set.png", b"mine").with_suffix("")), "set.png: expected nothing yet"),
    "a folder where half done films go": (
        lambda folder, shot, head: (shot, "--out", written(mine(folder / "set.tracking") / "thesis.txt", b"").parents[1] / "set"),
        "set.tracking: expected what mango track has half done"),
    "a file where half done films go": (
        lambda folder, shot, head: (shot, "--out", written(folder / "set.tracking", b"").with_suffix("")), "set.tracking: expected what"),
    "another head and no points": (
        lambda folder, shot, head: (shot, "--out", folder / "set", "--head", other_head(folder)), "give iBUG's 68 points"),
    "fewer landmarks than films": (
        lambda folder, shot, head: (shot, folder / "b.mp4", "--out", folder / "set", "--landmarks", "a.npy"), "one for each film"),
    "no landmarks": (landmarks(lambda folder, points: folder / "no.npy"), "No such file"),
    "empty landmarks": (landmarks(lambda folder, points: written(folder / "a.npy", b"")), "expected .npy or .npz"),
    "text": (landmarks(lambda folder, points: written(folder / "a.npy", b"1 2 3\n" * 99)), "expected .npy or .npz"),
    "half a file": (landmarks(lambda folder, points: broken(folder / "a.npz")), "expected .npy or .npz"),
    "objects": (landmarks(lambda folder, points: saved(folder / "a.npy", np.array([{}] * FRAMES))), "expected .npy or .npz"),
    "objects in a zip": (landmarks(lambda folder, points: zipped(folder / "a.npz", points=np.array([{}]))), "expected .npy or .npz"),
    "another name": (landmarks(lambda folder, points: zipped(folder / "a.npz", marks=points)), "no array `points`"),
    "no axis of points": (landmarks(lambda folder, points: saved(folder / "a.npy", points.reshape(FRAMES, -1))), "float32 (50, 136)"),
    "another number of points": (landmarks(lambda folder, points: saved(folder / "a.npy", points[:, :51])), "float32 (50, 51, 2)"),
    "four numbers a point": (landmarks(lambda folder, points: saved(folder / "a.npy", points.repeat(2, 2))), "float32 (50, 68, 4)"),
    "another number of frames": (landmarks(lambda folder, points: saved(folder / "a.npy", points[:-1])), "50 frames, as the film has"),
    "shares instead of pixels": (landmarks(lambda folder, points: saved(folder / "a.npy", points / 640)), "multiply by the picture"),
    "confidence of points": (
        landmarks(lambda folder, points: zipped(folder / "a.npz", points=points, confidence=np.ones((50, 68)))), "`confidence` of (50,)"),
    "no face at all": (landmarks(lambda folder, points: saved(folder / "a.npy", points * np.nan)), "expected a face, found one in 0 of 50"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_used_is_said_in_one_line(head, shot, tmp_path, capsys, kind):
    words, said = WRONG[kind]
    assert run("track", *words(tmp_path, shot, head)) == 2
    line = capsys.readouterr().err
    assert line.startswith("mango: ") and line.count("\n") == 1 and said in line, line
    assert not (tmp_path / "set").exists()


def test_a_film_without_a_face_is_refused(head, shot, tmp_path, pretend, capsys):
    models = PretendedModels([np.zeros((FRAMES, 468, 2))], torch.zeros(1, FRAMES, dtype=torch.bool))
    pretend(models)
    assert run("track", shot, "--out", tmp_path / "set") == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "expected a face, found one in 0 of 50 frames; give a film in which one face looks" in line


def test_whole_numbers_of_pixels_are_pixels(head, tmp_path):
    """As dlib gives them."""
    points = detected(head, talking(head, 30), points=68).points.numpy().round().astype(np.int64)
    found = command.read_landmarks(saved(tmp_path / "a.npy", points), 30)
    assert torch.equal(found.points, torch.from_numpy(points).float()) and found.confidence.eq(1).all()


def test_points_all_in_one_place_are_no_face(head, tmp_path):
    """Detectors write zeros where they lost a face. Seen red: a face, surely."""
    points = detected(head, talking(head, 30), points=68).points.numpy().copy()
    points[7:12], points[20] = 0.0, 100.0
    found = command.read_landmarks(zipped(tmp_path / "a.npz", points=points, confidence=np.full(30, 0.9)), 30)
    assert (found.confidence == 0).nonzero()[:, 0].tolist() == [*range(7, 12), 20]


def test_irises_that_follow_the_mesh_are_left_out(tmp_path):
    points = np.random.default_rng(0).uniform(10, 300, size=(30, 478, 3))
    found = command.read_landmarks(saved(tmp_path / "a.npy", points), 30)
    np.testing.assert_allclose(found.points.numpy(), points[:, :468, :2], rtol=1e-6)
