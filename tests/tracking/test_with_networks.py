"""A real film through MediaPipe's networks, where they are. Two seconds of it: a pause with an open mouth, a closure, speech."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from coded_films import at_rate, write_film
from moving_head import lip_opening_mm

from mango.cli import main
from mango.head.model import load_head
from mango.tracking.detection import Following
from mango.tracking.face_filters import FaceFilters
from mango.tracking.face_models import LEFT_EYE, RIGHT_EYE
from mango.tracking.face_points import places_on
from mango.tracking.films import facts_of, pictures_of
from mango.tracking.point_flow import FILTERS_OFF, steadied
from mango.tracking.tracking import TrackConfig, track


@pytest.fixture
def film(samples):
    return replace(facts_of(samples / "real_face_clip" / "weekly_address_512.mp4"), seconds=2.0)


def test_a_speaker_is_tracked(networks, film, tmp_path):
    head = load_head()
    found = track(film, "speaker", tmp_path, head, networks, TrackConfig(size_px=128))
    side = found.side
    assert found.scores.trusted > 0.95 and found.words == ()
    usual = float(places_on(head, 468).spread.median())  # by which the network misses made-up people whose points are known
    assert found.scores.miss < usual, found.scores
    lips = lip_opening_mm(head, side.motion)
    assert lips.min() < 2 and lips.max() > 8  # closes and opens
    loudness = side.audio.view(-1, 640).square().mean(1).add(1e-10).log10()
    burst = 1 + int((loudness[2:] - loudness[:-2]).argmax())
    assert abs(burst - int(lips.argmin())) <= 2  # the pause ends with lips that part
    assert side.speaking[burst + 2 :].mean() > side.speaking[burst - 8 : burst - 1].mean()


def test_filters_see_a_living_face_as_the_networks_do(networks, film, tmp_path):
    """Though they were learned from made-up ones. Planted: flow left out."""
    film, head = replace(film, seconds=4.0), load_head()
    points, lips = [], []
    for name, detector in (("networks", networks), ("filters", FaceFilters())):
        following = Following(detector)
        for picture in pictures_of(film):
            following.look(picture)
        seen = following.seen()
        if name == "filters":
            seen = steadied(pictures_of(film), seen, FILTERS_OFF).seen
        assert seen.points.confidence.gt(0.5).float().mean() > 0.95 and not seen.cuts and not seen.crowded
        points.append(seen.points.points)
        lips.append((points[-1][:, 13] - points[-1][:, 14]).norm(dim=-1))
    face = (points[0].amax(1) - points[0].amin(1)).amax(1)
    assert ((points[1] - points[0]).norm(dim=-1).mean(1) / face).mean() < 2 * places_on(head, 468).spread.median()
    assert torch.corrcoef(torch.stack(lips))[0, 1] > 0.6


def test_small_faces_are_found_in_parts_of_the_picture(networks, film):
    """Where they are in the whole. Planted: the part's corner left out."""
    picture = next(pictures_of(film))
    (face,) = networks.faces(picture)
    right, left = face.points[RIGHT_EYE], face.points[LEFT_EYE]
    assert left[0] - right[0] > 0.2 * face.size and abs(left[1] - right[1]) < 0.1 * face.size
    large = np.full((1440, 2560, 3), 90, np.uint8)
    small = picture[::2, ::2]
    large[1000:1256, 1800:2056] = small
    (found,) = networks.faces(large)
    assert np.linalg.norm(found.centre - (face.centre / 2 + [1800, 1000])) < 0.2 * found.size


def test_mattes_hold_the_person(networks, film):
    alpha = networks.matte(next(pictures_of(film)))
    assert alpha.shape == (512, 512) and alpha[230:330, 200:300].mean() > 0.9 and alpha[:60, :60].mean() < 0.2


@pytest.mark.parametrize("kind", ["noise", "a cartoon"])
def test_films_without_a_face(networks, tmp_path, capsys, kind):
    rng = np.random.default_rng(0)
    drawn = np.full((240, 320, 3), 200, np.uint8)
    drawn[60:180, 100:220], drawn[90:100, 120:140], drawn[90:100, 180:200], drawn[140:150, 130:190] = (250, 220, 60), 0, 0, 0
    made = [rng.integers(0, 256, (240, 320, 3), np.uint8) if kind == "noise" else drawn for _ in range(30)]
    path = write_film(tmp_path / "film.mp4", at_rate(25, 1.2), made)
    assert main(["track", str(path), "--out", str(tmp_path / "set")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "expected a face" in line and not (tmp_path / "set").exists()
