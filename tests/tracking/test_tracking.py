"""A film of a known head becomes a dialogue side that says what is true; what cannot be tracked is refused in words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from coded_films import at_rate, write_film
from moving_head import SIZE, detected, lip_opening_mm, talking
from pretended_films import FRAMES, QUICK, film_of
from pretended_models import PretendedModels, face_points, pictures

from mango.data.video import VideoFrames
from mango.errors import InputError
from mango.head.conventions import axis_angle_to_matrix
from mango.tracking.detection import Box, Following, Seen
from mango.tracking.face_filters import FaceFilters
from mango.tracking.face_points import SeenPoints
from mango.tracking.films import facts_of
from mango.tracking.fitting import fit
from mango.tracking.point_flow import FILTERS_OFF, NETWORKS_OFF, Steadied
from mango.tracking.square import about_the_head
from mango.tracking.tracking import track, trembling, trusted
from mango.types import MotionClip


class PretendedFilters(PretendedModels, FaceFilters):
    """Filters that know as much."""


@pytest.fixture(scope="module")
def whole(head, tmp_path_factory):
    """(the film's facts, what is true, what was found) of a film in which nothing goes wrong."""
    folder = tmp_path_factory.mktemp("tracked")
    path, true, models = film_of(folder / "shot.mp4", head)
    return facts_of(path), true, track(facts_of(path), "anna", folder, head, models, QUICK(size_px=256))


def test_the_side_says_what_is_true(head, whole):
    _, true, found = whole
    side = found.side
    assert (len(side.motion), len(side.track.keep), len(side.audio), side.person) == (FRAMES, FRAMES, FRAMES * 640, "anna")
    assert side.track.keep.all() and found.words == () and found.scores.trusted == 1
    lips = torch.stack([lip_opening_mm(head, side.motion), lip_opening_mm(head, true.clip)])
    assert torch.corrcoef(lips)[0, 1] > 0.97
    assert 0.3 < side.speaking.mean() < 0.9 and side.audio.abs().max() > 0.1
    assert found.scores.miss < 0.01 and all("nan" not in line for line in found.scores.lines())


def test_flow_steadies_what_networks_see_and_no_given_points(head, tmp_path, monkeypatch):
    """Planted: networks believed as little as filters; points as they were; given points steadied too."""
    path, true, models = film_of(tmp_path / "shot.mp4", head)
    asked = []
    (tmp_path / "filters").mkdir()

    def steadied(pictures, seen, off, told):
        asked.append(off)
        elsewhere = SeenPoints(seen.points.points + 10.0, seen.points.confidence)
        return Steadied(replace(seen, points=elsewhere), 0.0, believed=1.0)

    monkeypatch.setattr("mango.tracking.tracking.steadied", steadied)
    moved = track(facts_of(path), "anna", tmp_path, head, models, QUICK(size_px=256))
    given = track(facts_of(path), "anna", tmp_path, head, models, QUICK(size_px=256), landmarks=_seen(head, true).points)
    track(facts_of(path), "anna", tmp_path / "filters", head, None, QUICK(size_px=256), filters=PretendedFilters(models.people))
    assert asked == [NETWORKS_OFF, FILTERS_OFF]
    places = [each.side.track.landmarks - each.side.track.intrinsics[:2, 2] for each in (moved, given)]
    square = about_the_head(_seen(head, true).points.points, facts_of(path).size, 256)
    assert abs((places[0] - places[1]).mean() - 10.0 * square.px / square.side) < 0.2


def test_the_fit_is_told_of_cuts(head, tmp_path, monkeypatch):
    path, _, models = film_of(tmp_path / "shot.mp4", head)
    told = []

    def stopped(*given, cuts):
        told.append(cuts)
        raise KeyboardInterrupt

    monkeypatch.setattr("mango.tracking.tracking.fit", stopped)
    monkeypatch.setattr("mango.tracking.detection.Following.seen", lambda self, seen=Following.seen: replace(seen(self), cuts=(20,)))
    with pytest.raises(KeyboardInterrupt):
        track(facts_of(path), "anna", tmp_path, head, models, QUICK(size_px=128))
    assert told == [(20,)]


def test_given_points_are_of_films_with_cuts_too(head, tmp_path, monkeypatch):
    """Seen red: the fit was smooth across them, and ten frames about each were refused."""
    true, told = talking(head, FRAMES), []
    made = pictures(FRAMES, lambda number: 60 if number < 20 else 200)
    write_film(tmp_path / "cut.mp4", at_rate(25, FRAMES / 25), made)
    monkeypatch.setattr("mango.tracking.tracking.fit", lambda *given, cuts: told.append(cuts) or fit(*given, cuts=cuts))
    landmarks = detected(head, true, points=68)
    found = track(facts_of(tmp_path / "cut.mp4"), "anna", tmp_path, head, None, QUICK(size_px=128), landmarks=landmarks)
    assert told == [(20,)] and (~found.side.track.keep).nonzero()[:, 0].tolist() == list(range(16, 24))


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_frames_whose_head_is_not_in_the_square_do_not_supervise(head, tmp_path, monkeypatch, share):
    """Somebody who changes place: seen red, for pictures without a head were trained on. Where that is most of the film it is refused."""
    true = talking(head, FRAMES)
    points, there = detected(head, true, points=68), int((1 - share) * FRAMES)
    landmarks = replace(points, points=points.points.clone())
    landmarks.points[there:] += torch.tensor([1000.0, 0.0])
    picture = np.full((SIZE[0], 2 * SIZE[1] + 400, 3), 90, np.uint8)
    write_film(tmp_path / "walk.mp4", at_rate(25, FRAMES / 25), [picture + 4 * (number % 2) for number in range(FRAMES)])
    tracked = lambda: track(facts_of(tmp_path / "walk.mp4"), "anna", tmp_path, head, None, QUICK(size_px=128), landmarks=landmarks)  # noqa: E731
    if share == 0.6:  # the longer stay is the later one
        assert tracked().side.track.keep.nonzero()[0, 0] >= there
        return
    found = tracked()
    assert not found.side.track.keep[there:].any() and found.side.track.keep[: there - 8].all()
    assert any("the head leaves the square that is written (480x480 pixels, of 1680x480)" in words for words in found.words)


def test_flow_that_sees_nothing_is_said(head, tmp_path):
    """Planted: not said."""
    true = talking(head, FRAMES)
    models = PretendedModels([face_points(head, true)])
    write_film(tmp_path / "grey.mp4", at_rate(25, FRAMES / 25), pictures(FRAMES))
    found = track(facts_of(tmp_path / "grey.mp4"), "anna", tmp_path, head, models, QUICK(size_px=128))
    assert any(words.startswith("optical flow follows the face in 0 % of the film") for words in found.words)


def test_blinks_are_made_whole(head, tmp_path, monkeypatch):
    """Noticed: labels as fitted; frames that are not trusted asked."""
    path, _, models = film_of(tmp_path / "shot.mp4", head)
    asked = []

    def whole(head, clip, keep):
        asked.append(keep)
        return replace(clip, expr=clip.expr + 1.0)

    monkeypatch.setattr("mango.tracking.tracking.with_whole_blinks", whole)
    side = track(facts_of(path), "anna", tmp_path, head, models, QUICK(size_px=256)).side
    assert side.motion.expr.mean() > 0.9 and torch.equal(asked[0], side.track.keep)


@pytest.mark.parametrize("with_sound", [True, False])
def test_mouths_are_laid_to_rest_by_what_is_heard(head, tmp_path, monkeypatch, with_sound):
    """Planted: labels as fitted, silence of a film in which nobody speaks, speech for silence, frames that are not trusted."""
    path, _, models = film_of(tmp_path / "shot.mp4", head, with_sound=with_sound)
    asked = []

    def laid(head, clip, silent, keep):
        asked.append((silent, keep))
        return replace(clip, expr=clip.expr + 1.0)

    monkeypatch.setattr("mango.tracking.tracking.with_mouth_at_rest", laid)
    side = track(facts_of(path), "anna", tmp_path, head, models, QUICK(size_px=256)).side
    ((silent, keep),) = asked
    assert side.motion.expr.mean() > 0.9, "the labels are what was laid to rest"
    assert torch.equal(keep, side.track.keep)
    assert torch.equal(silent, side.speaking < 0.5) if with_sound else not silent.any()


def test_landmarks_lie_in_the_written_picture_where_they_were_in_the_film(head, whole):
    """Through the fitted head, the square's cut and its change of size. Planted: the square's corner added instead of taken away."""
    film, true, found = whole
    exact = true.seen(head.landmarks(head.vertices(true.clip)))
    video = VideoFrames(found.side.video)
    square = about_the_head(_seen(head, true).points.points, film.size, 256)
    assert len(video) == FRAMES and video.size == (256, 256) and square.px == 256
    moved = (exact - torch.tensor([float(square.left), float(square.top)])) * square.px / square.side
    face = (moved.amax(1) - moved.amin(1)).amax(1).mean()
    assert (found.side.track.landmarks - moved).norm(dim=-1).mean() < 0.015 * face  # jaw lines are guessed, lips not
    assert (found.side.track.landmarks - moved)[:, 36:].norm(dim=-1).mean() < 0.01 * face


def _seen(head, true) -> Seen:
    from moving_head import detected

    seen = detected(head, true)
    return Seen(seen, torch.full((len(seen), 2, 2), torch.nan), (), ())


def test_mattes_are_written_beside_the_film(whole):
    """The network's ellipse, frame by frame."""
    _, _, found = whole
    mattes = VideoFrames(found.side.mask_video).mattes(list(range(FRAMES)))
    expected = PretendedModels.matte(None, np.zeros((256, 256, 3), np.uint8))
    assert len(mattes) == FRAMES and np.abs(mattes.float().numpy() / 255 - expected).mean() < 0.01


def test_frames_about_a_lost_face_are_not_trusted(head, tmp_path):
    path, _, models = film_of(tmp_path / "shot.mp4", head)
    models.there[0, 20:24] = False
    found = track(facts_of(path), "anna", tmp_path, head, models, QUICK(size_px=128))
    lost = torch.zeros(FRAMES, dtype=torch.bool)
    lost[17:27] = True
    assert torch.equal(~found.side.track.keep, lost) and found.words == ("10 of 50 frames are not trusted and will not supervise",)
    assert not found.side.track.confidence[20:24].gt(0.5).any()


def test_what_is_trusted(whole):
    """By hand: three frames about everything that is doubted."""
    _, _, found = whole
    from mango.tracking.fitting import Fit

    clip = found.side.motion
    turned = clip.neck_pose.clone()
    turned[40] = torch.tensor([0.0, np.radians(60.0), 0.0])
    residual = torch.full((FRAMES,), 0.01)
    residual[8] = 0.05
    fitted = Fit(replace(clip, neck_pose=turned), found.side.track.camera_from_world, found.side.track.intrinsics, residual)
    places = torch.full((FRAMES, 468, 2), 50.0)
    places[33, :20, 0], places[34, :30, 0] = 101.0, 101.0  # of a picture 100 wide: fewer, and more than one in twenty
    seen = Seen(SeenPoints(places, torch.ones(FRAMES)), torch.zeros(FRAMES, 2, 2), (25,), (), (1, 2, 3, 4, 20, *range(45, 50)))
    # residual; a cut before picture 25: both sides; outside, the turn; the end stands still, four pictures at the beginning may repeat
    doubted = [*range(5, 12), *range(21, 29), *range(31, 50)]
    assert (~trusted(seen, fitted, (200, 100))).nonzero()[:, 0].tolist() == doubted


def test_a_film_from_the_side_is_not_trusted(whole):
    """Seen red: turns were measured from the film's own middle, which was a profile."""
    _, _, found = whole
    from mango.tracking.fitting import Fit

    seen = Seen(SeenPoints(torch.full((FRAMES, 468, 2), 50.0), torch.ones(FRAMES)), torch.zeros(FRAMES, 2, 2), (), ())
    for degrees, kept in ((40.0, True), (75.0, False)):
        about = torch.eye(4)
        about[:3, :3] = axis_angle_to_matrix(torch.tensor([0.0, np.radians(degrees), 0.0]))
        aside = found.side.track.camera_from_world @ about
        fitted = Fit(found.side.motion, aside, found.side.track.intrinsics, torch.full((FRAMES,), 0.01))
        assert bool(trusted(seen, fitted, (100, 100)).all()) == kept == bool(trusted(seen, fitted, (100, 100)).any())


def refused(head, tmp_path, models, match, **options):
    path, _, _ = film_of(tmp_path / "shot.mp4", head, with_sound=False)
    with pytest.raises(InputError, match=match) as error:
        track(facts_of(path), "anna", tmp_path, head, models, QUICK(size_px=128), **options)
    assert str(error.value).count("\n") == 0


def people_beside(head, tmp_path):
    _, _, models = film_of(tmp_path / "shot.mp4", head, with_sound=False)
    (points,) = models.people
    return PretendedModels([points + np.array([off, 0.0]) for off in (-150.0, 150.0)]), points


def test_two_people_need_a_box(head, tmp_path):
    models, points = people_beside(head, tmp_path)
    refused(head, tmp_path, models, r"expected one face, found several of like size, as at 0\.0 s; say whose with --box")
    x, y = (float(value) for value in points[0].mean(0) + np.array([150.0, 0.0]))
    found = track(facts_of(tmp_path / "shot.mp4"), "ben", tmp_path, head, models, QUICK(size_px=128), box=Box(x - 40, y - 40, 80.0, 80.0))
    assert found.side.track.keep.all()
    assert any(words.startswith("another face of like size, first at 0.0 s") for words in found.words), "seen red: not a word"


def test_a_still_picture_is_refused(head, tmp_path):
    _, _, models = film_of(tmp_path / "shot.mp4", head)
    models.people[0][:] = models.people[0][:1]
    refused(head, tmp_path, models, "expected a face that moves, found a still picture")


def test_films_without_a_face_are_refused(head, tmp_path):
    _, _, models = film_of(tmp_path / "shot.mp4", head)
    models.there[:, 10:] = False
    refused(head, tmp_path, models, "expected a face, found one in 10 of 50 frames")


def test_faces_that_look_away_are_refused(head, tmp_path):
    """Lost in every fifth frame: enough frames have a face, but too few are far from a lost one."""
    _, _, models = film_of(tmp_path / "shot.mp4", head)
    models.there[:, torch.arange(FRAMES) % 5 == 0] = False
    refused(head, tmp_path, models, r"expected a face to be followed in at least half of the frames, found \d %")


def test_a_box_outside_of_the_picture_is_refused_at_once(head, tmp_path):
    _, _, models = film_of(tmp_path / "shot.mp4", head)
    refused(head, tmp_path, models, "--box: expected a part of 640x480 pixels, found 50x50 at 700,100", box=Box(700.0, 100.0, 50.0, 50.0))
    assert models.asked == [] and SIZE == (480, 640)


def test_stopped_by_ctrl_c_it_goes_on_where_it_was(head, tmp_path):
    """What was detected is not asked for again; the end is as of a run that was never stopped. Another film begins anew."""
    path, _, models = film_of(tmp_path / "shot.mp4", head)
    film = facts_of(path)
    whole = track(film, "anna", _folder(tmp_path / "whole"), head, models, QUICK(size_px=128))
    models.asked.clear()
    models.interrupt_at = 30
    with pytest.raises(KeyboardInterrupt):
        track(film, "anna", _folder(tmp_path / "stopped"), head, models, QUICK(size_px=128))
    assert sorted(set(models.asked)) == list(range(30))
    models.asked.clear()
    again = track(film, "anna", tmp_path / "stopped", head, models, QUICK(size_px=128))
    assert sorted(set(models.asked)) == list(range(30, FRAMES))
    assert torch.equal(again.side.motion.expr, whole.side.motion.expr) and torch.equal(again.side.track.keep, whole.side.track.keep)
    models.asked.clear()
    track(film, "anna", tmp_path / "stopped", head, models, QUICK(size_px=128))
    assert models.asked == []
    other, _, others = film_of(tmp_path / "other.mp4", head, seed=1)
    track(facts_of(other), "anna", tmp_path / "stopped", head, others, QUICK(size_px=128))
    assert sorted(set(others.asked)) == list(range(FRAMES))


def _folder(path):
    path.mkdir()
    return path


def test_landmarks_by_file_need_no_networks(head, tmp_path):
    """68 points; the matte is the fitted head's outline."""
    from moving_head import detected

    path, true, _ = film_of(tmp_path / "shot.mp4", head)
    found = track(facts_of(path), "anna", tmp_path, head, None, QUICK(size_px=128), landmarks=detected(head, true, points=68))
    assert found.side.track.keep.all() and not found.side.motion.eyes_pose.any()
    matte = VideoFrames(found.side.mask_video).mattes([10])[0].numpy()
    inside = found.side.track.landmarks[10].round().long()
    assert (matte[inside[:, 1], inside[:, 0]] > 100).all() and matte[0, 0] < 10 and 0.1 < (matte > 127).mean() < 0.6


def test_trembling_is_acceleration_and_nothing_else():
    """Planted and seen red: first differences for second ones."""
    steady = torch.arange(30.0)[:, None]
    shaking = (-1.0) ** torch.arange(30.0)[:, None]  # second differences of 4
    clip = MotionClip(steady, steady.expand(30, 3), shaking.expand(30, 3), steady.expand(30, 3), steady.expand(30, 6), steady.expand(30, 3),
                      torch.zeros(2), "head")  # fmt: skip
    assert trembling(clip) == pytest.approx({"expr": 0.0, "jaw_rad": 0.0, "neck_rad": 4.0})
