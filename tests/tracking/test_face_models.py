"""What is around the networks: getting them, crops, parts of a picture, gaze. None of it needs their files."""

import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from moving_head import detected, talking

from mango.cli import main
from mango.errors import InputError
from mango.tracking import face_models
from mango.tracking.eyes import gaze, looked_at
from mango.tracking.face_models import FILES, LIDS, Candidate, FaceModels, default_folder, get_models, square
from mango.tracking.fitting import Fit


def pretended_wheel(path: Path, monkeypatch) -> Path:
    """With other networks, whose digests are then the expected ones."""
    import hashlib

    files = {name: (module, hashlib.sha256(name.encode()).hexdigest()) for name, (module, _) in FILES.items()}
    monkeypatch.setattr(face_models, "FILES", files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, (module, _) in files.items():
            archive.writestr(f"mediapipe/modules/{module}/{name}", name)
    return path


def test_networks_come_out_of_a_wheel_that_is_here(tmp_path, monkeypatch, capsys):
    wheel = pretended_wheel(tmp_path / "m.whl", monkeypatch)
    assert main(["assets", "get", "mediapipe", "--folder", str(tmp_path / "n"), "--wheel", str(wheel)]) == 0
    assert {file.name for file in (tmp_path / "n").iterdir()} == set(FILES) and str(tmp_path / "n") in capsys.readouterr().out
    FaceModels(tmp_path / "n")  # digests agree


def test_networks_that_are_there_are_not_got_again(tmp_path, monkeypatch):
    get_models(tmp_path / "n", pretended_wheel(tmp_path / "m.whl", monkeypatch))
    monkeypatch.setattr(subprocess, "run", lambda *given, **named: pytest.fail("pip was asked"))
    assert get_models(tmp_path / "n") == tmp_path / "n"


def test_pip_is_asked_for_one_wheel_and_its_failure_is_said_in_a_line(tmp_path, monkeypatch, capsys):
    asked = []

    def pip(command, **named):
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution\nfound for mediapipe==0.10.14\n")

    monkeypatch.setattr(subprocess, "run", pip)
    assert main(["assets", "get", "mediapipe", "--folder", str(tmp_path / "n")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "No matching distribution found" in line and "--wheel FILE" in line
    assert len(asked) == 1 and "mediapipe==0.10.14" in asked[0] and "--no-deps" in asked[0]


def test_a_wheel_that_pip_brought_is_used(tmp_path, monkeypatch):
    made = pretended_wheel(tmp_path / "m.whl", monkeypatch)

    def pip(command, **named):
        (Path(command[command.index("--dest") + 1]) / "mediapipe.whl").write_bytes(made.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    FaceModels(get_models(tmp_path / "n"))


@pytest.mark.parametrize("kind", ["missing", "text", "another wheel", "other networks"])
def test_wheels_that_are_none(tmp_path, kind, capsys):
    wheel = tmp_path / "m.whl"
    if kind == "text":
        wheel.write_text("wheel")
    elif kind != "missing":
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, (module, _) in FILES.items():
                archive.writestr(f"mediapipe/modules/{module}/{name}" if kind == "other networks" else name, b"network")
    assert main(["assets", "get", "mediapipe", "--folder", str(tmp_path / "n"), "--wheel", str(wheel)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and str(wheel) in line and "give the wheel of mediapipe==0.10.14" in line
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize("found", ["none", "another file"])
def test_absent_networks_are_named_with_what_to_do(tmp_path, found):
    if found == "another file":
        for name in FILES:
            (tmp_path / name).write_bytes(b"another")
    with pytest.raises(InputError, match=rf"found {found}; run `mango assets get mediapipe`.*--landmarks FILE"):
        FaceModels(tmp_path)


def test_the_cache_follows_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "mango" / "mediapipe"


@pytest.mark.parametrize("roll", [0.0, 0.4, -2.0])
def test_the_square_of_a_crop_is_upright_about_the_face(roll):
    """Its middle, its size, and the line of the eyes level. Planted: turned the other way."""
    into = square(np.array([100.0, 50.0]), 60.0, roll, 192)
    place = lambda x, y: into[:, :2] @ [x, y] + into[:, 2]  # noqa: E731
    np.testing.assert_allclose(place(95.5, 95.5), [100.0, 50.0])
    across = place(191.5, 95.5) - place(-0.5, 95.5)
    np.testing.assert_allclose(across, 60 * np.array([np.cos(roll), np.sin(roll)]))
    down = place(95.5, 191.5) - place(95.5, -0.5)
    np.testing.assert_allclose(down, 60 * np.array([-np.sin(roll), np.cos(roll)]), atol=1e-12)


@pytest.mark.parametrize("size", [(1080, 1920), (1920, 1080), (100, 101), (50, 700), (64, 64)])
@pytest.mark.parametrize("pieces", [2, 3])
def test_parts_cover_the_picture_and_overlap(size, pieces):
    """By half, so that a face of half a part's size lies whole in one of them."""
    covered, picture = np.zeros(size, int), np.zeros((*size, 3), np.uint8)
    for (row, col), part in face_models._parts(picture, pieces):
        assert part.shape[0] == part.shape[1] == int(np.ceil(min(size) * 2 / (pieces + 1)))
        covered[row : row + part.shape[0], col : col + part.shape[1]] += 1
    assert covered.min() >= 1 and covered[size[0] // 2, size[1] // 2] >= 2


class Blots(FaceModels):
    """Sees black squares as faces, but none smaller than a sixth of what it is shown, and with doubt what is cut off."""

    def __init__(self):
        pass

    def _faces(self, picture, corner, least):
        import cv2

        _, _, blots, middles = cv2.connectedComponentsWithStats((picture.max(2) == 0).astype(np.uint8))
        found = []
        for (_, _, cols, rows, _), middle in zip(blots[1:], middles[1:], strict=True):
            found.append(Candidate(0.9 if cols == rows else 0.6, middle + corner[::-1], float(max(cols, rows)), np.zeros((6, 2))))
        return [face for face in found if face.size >= max(picture.shape) / 6]


@pytest.mark.parametrize("small", [(1180, 640), (60, 30), (700, 30)])
def test_a_small_face_beside_a_large_one_is_found_where_it_is_said_to_be(small):
    """A self-view: `--box` led to nothing. Planted: squares' corners left out, squares that end outside of the picture."""
    picture = np.full((720, 1280, 3), 200, np.uint8)
    for (col, row), half in (((640, 360), 150), (small, 25)):
        picture[row - half : row + half, col - half : col + half] = 0
    (large,) = Blots().faces(picture)
    assert large.size == 300
    for off in ((0.0, 0.0), (12.0, 6.0)):
        found = Blots().faces(picture, also=(np.array(small) + off, 60.0))
        assert sorted(face.size for face in found) == [50, 300]
        assert min(found, key=lambda face: face.size).centre == pytest.approx(np.array(small) - 0.5)
    assert [face.size for face in Blots().faces(picture, also=(np.array([-500.0, 900.0]), 60.0))] == [300], "nothing is there"


def test_of_candidates_for_one_face_the_surest_stays():
    face = lambda score, x, size=100.0: Candidate(score, np.array([x, 0.0]), size, np.zeros((6, 2)))  # noqa: E731
    kept = face_models.apart([face(0.6, 10.0), face(0.9, 0.0), face(0.8, 300.0), face(0.7, 320.0, 400.0)])
    assert [found.score for found in kept] == [0.9, 0.8]


def test_lids_come_from_the_eye_network_and_closed_eyes_have_no_iris(head):
    points = detected(head, talking(head, 30)).points[0].numpy().astype(np.float64)
    asked = []

    class Eyes(FaceModels):
        def __init__(self):
            self.open = {False: 1.0, True: 0.0}

        def eye(self, picture, outer, inner, *, mirrored):
            asked.append((mirrored, outer.tolist(), inner.tolist()))
            lids = points[list(LIDS["left" if mirrored else "right"])] + 1.0
            middle = lids.mean(0)
            return middle, middle + (lids - middle) * [1.0, self.open[mirrored]]

    better, irises = looked_at(Eyes(), np.zeros((8, 8, 3), np.uint8), points)
    assert asked == [(True, points[263].tolist(), points[362].tolist()), (False, points[33].tolist(), points[133].tolist())]
    assert np.isnan(irises[0]).all() and np.isfinite(irises[1]).all()  # the left eye is closed
    np.testing.assert_allclose(better[list(LIDS["right"])], points[list(LIDS["right"])] + 1.0)
    others = np.setdiff1d(np.arange(468), [*LIDS["left"], *LIDS["right"]])
    np.testing.assert_array_equal(better[others], points[others])


@pytest.fixture(scope="module")
def looking(head):
    """(a fit that is the truth, face points, pupils) of eyes that wander, in a head that turns."""
    film = talking(head, 50)
    seconds = torch.arange(50) / 25
    angles = torch.stack([0.15 * torch.sin(3 * seconds), 0.3 * torch.sin(2 * seconds + 1)], dim=1)
    angles -= angles.median(0).values  # straight ahead is what is usual
    one = torch.cat([angles, torch.zeros(50, 1)], dim=1)
    clip = replace(film.clip, eyes_pose=torch.cat([one, one], dim=1))
    with torch.inference_mode():
        vertices = head.vertices(clip)
    pupils = []
    for region in ("left_eye", "right_eye"):
        ball = head.template[head.region(region)]
        pupils.append(film.seen(vertices[:, head.region(region)[ball[:, 2].argmax()]]))  # the foremost vertex
    fitted = Fit(replace(film.clip), film.camera_from_world[None], film.intrinsics, torch.zeros(50))
    return fitted, detected(head, film).points, torch.stack(pupils, dim=1), one


def test_eyes_look_where_pupils_are(head, looking):
    """Of a head that turns: signs, and angles to a third of what is looked; a pupil on the surface of a ball says no more than that.

    Planted: yaw and pitch exchanged, and the head's turn left out.
    """
    fitted, points, pupils, true = looking
    found = gaze(head, fitted, points, pupils)
    assert found.shape == (50, 6) and torch.equal(found[:, :3], found[:, 3:])
    for axis in (0, 1):
        assert torch.corrcoef(torch.stack([found[:, axis], true[:, axis]]))[0, 1] > 0.97, axis
        assert (found[:, axis] - true[:, axis]).abs().mean() < true[:, axis].abs().mean() / 3


def test_gaps_of_gaze_are_bridged(head, looking):
    fitted, points, pupils, true = looking
    gaps = pupils.clone()
    gaps[20:26] = torch.nan
    gaps[:5, 0] = torch.nan  # one eye is enough
    found = gaze(head, fitted, points, gaps)
    assert found.isfinite().all() and (found[:, 1] - true[:, 1]).abs().mean() < true[:, 1].abs().mean() / 3
    assert not gaze(head, fitted, points, torch.full_like(pupils, torch.nan)).any()
