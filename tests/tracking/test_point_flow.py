"""Points steadied by flow: a textured picture that moves as it is told, and a detector that trembles, errs, and loses it."""

import numpy as np
import pytest
import torch

from mango.tracking.detection import Seen
from mango.tracking.face_points import SeenPoints
from mango.tracking.point_flow import MOVED, movement, paths, steadied

SIZE, FRAMES = 160.0, 40  # of the "face", pixels
OFF = 0.02


def texture() -> np.ndarray:
    import cv2

    rng = np.random.default_rng(0)
    coarse = cv2.GaussianBlur(rng.normal(size=(400, 400, 1)).astype(np.float32), (0, 0), 3.0)
    grey = np.clip(128 + 45 * coarse / coarse.std(), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def moving(frames: int = FRAMES) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures, and where four hundred points of the texture are in them (as OpenCV counts pixels)."""
    import cv2

    pictures, places, whole = [], [], texture()
    start = np.stack(np.meshgrid(np.linspace(120, 120 + SIZE, 20), np.linspace(120, 120 + SIZE, 20)), axis=-1).reshape(-1, 2)
    for frame in range(frames):
        into = cv2.getRotationMatrix2D((200, 200), 3 * np.sin(frame / 5), 1.0)
        into[:, 2] += [8 * np.sin(frame / 7), 5 * np.sin(frame / 4)]
        pictures.append(cv2.warpAffine(whole, into, (400, 400), borderMode=cv2.BORDER_REFLECT))
        places.append(start @ into[:, :2].T + into[:, 2])
    return pictures, np.stack(places)


def seen_of(places: np.ndarray, sure=None, cuts=()) -> Seen:
    sure = np.ones(len(places)) if sure is None else sure
    points = SeenPoints(torch.from_numpy(places + 0.5).float(), torch.from_numpy(sure).float())
    return Seen(points, torch.full((len(places), 2, 2), torch.nan), tuple(cuts), ())


def error(found: Seen, true: np.ndarray) -> float:
    return float(np.sqrt(((found.points.points.numpy() - 0.5 - true) ** 2).sum(-1).mean()))


def test_movement_is_that_of_the_picture():
    """Planted: the pictures exchanged; movement in pixels of the part that is looked at."""
    pictures, places = moving(8)
    found, returned = movement(pictures[0], pictures[6], places[0], places[6], SIZE)
    assert np.abs(found - (places[6] - places[0])).max() < 0.1 * np.abs(places[6] - places[0]).max()
    assert np.median(returned) < 0.1


def test_trembling_goes_and_nothing_drifts():
    """What is left of errors that differ from frame to frame is what the mean over all frames leaves, and flow's own. Planted:
    movement added to the wrong frame; no flow at all.
    """
    pictures, places = moving()
    noise = OFF * SIZE * np.random.default_rng(1).normal(size=places.shape)
    before = seen_of(places + noise)
    found = steadied(pictures, before, OFF)
    after = found.seen
    left = np.sqrt(2) * OFF * SIZE * np.sqrt(1 / FRAMES + MOVED / OFF)  # of a walk that is seen anew in every frame
    assert error(after, places) < left < 0.5 * error(before, places) and found.missed < MOVED and found.believed > 0.95
    assert torch.equal(after.points.confidence, before.points.confidence)


def test_points_that_leap_are_not_followed():
    """A mouth taken for open in two frames of forty. Planted: every frame believed alike."""
    pictures, places = moving()
    wrong = places.copy()
    wrong[[11, 30], 100:140] += [0.0, 0.2 * SIZE]
    after = steadied(pictures, seen_of(wrong), OFF).seen
    assert np.abs(after.points.points.numpy() - 0.5 - places)[:, 100:140].max() < 0.1 * 0.2 * SIZE


def test_cuts_and_lost_faces_join_nothing():
    """Planted: movement across the cut; across the lost frames; flow judged by leaps across them."""
    pictures, places = moving()
    pictures[20:] = [np.ascontiguousarray(picture[::-1, ::-1]) for picture in pictures[20:]]
    elsewhere = places.copy()
    elsewhere[20:] = 399 - places[20:]
    sure = np.ones(FRAMES)
    sure[5:8], elsewhere[5:8] = 0.1, 0.0  # nothing was found there
    steady = steadied(pictures, seen_of(elsewhere, sure, cuts=[20]), OFF)
    after = steady.seen
    kept = sure > 0.5
    assert steady.believed > 0.95
    assert np.abs(after.points.points.numpy() - 0.5 - elsewhere)[kept].max() < 0.01 * SIZE


def test_frames_without_flow_stay_where_they_are():
    found = np.random.default_rng(0).normal(size=(5, 3, 2))
    alone = paths(found, np.zeros_like(found), np.zeros((5, 3)), np.ones(5, bool), np.zeros(5, bool), OFF)
    np.testing.assert_allclose(alone, found)


def test_a_film_without_a_face_stays_as_it_is():
    pictures, places = moving(3)
    found = steadied(pictures, seen_of(places, np.zeros(3)), OFF)
    assert error(found.seen, places) < 1e-3 and np.isnan(found.missed) and found.believed == 0


@pytest.mark.parametrize("what", ["dark", "of somebody else"])
def test_flow_that_sees_something_else_is_not_believed(what):
    """Planted: flow believed always. It stands still in the dark, and held quick movements back."""
    rng, (pictures, places) = np.random.default_rng(0), moving()
    shown = [rng.integers(0, 4, picture.shape, np.uint8) for picture in pictures] if what == "dark" else pictures[::-1]
    found = steadied(shown, seen_of(places), OFF)
    assert error(found.seen, places) < 1e-3 and found.believed == 0


def test_where_the_picture_goes_dark_points_are_as_they_were_found():
    """Planted: one verdict for the whole film. Flow is zero in the dark, and sure of it."""
    pictures, places = moving(90)
    pictures[50:] = [np.full_like(picture, 5) for picture in pictures[50:]]
    noise = 0.005 * SIZE * np.random.default_rng(3).normal(size=places.shape)
    before = seen_of(places + noise)
    after = steadied(pictures, before, OFF)
    off = np.sqrt(((after.seen.points.points.numpy() - 0.5 - places) ** 2).sum(-1).mean(-1))
    assert 0.4 < after.believed < 0.8
    assert off[:40].mean() < 0.6 * np.sqrt(2) * 0.005 * SIZE
    assert off[65:].max() < 1.1 * np.sqrt(2) * 0.005 * SIZE


def test_one_wild_picture_costs_a_second():
    """A flash: planted as above, where it cost the film."""
    pictures, places = moving(90)
    pictures[20] = np.random.default_rng(0).integers(0, 255, pictures[20].shape, np.uint8)
    assert steadied(pictures, seen_of(places), OFF).believed > 0.5


def test_flow_that_trembles_less_than_the_detector_is_believed():
    """A head that hardly moves, and filters that tremble ten times as far."""
    pictures, places = moving()
    still = [pictures[k % 3] for k in range(FRAMES)]
    true = places[[k % 3 for k in range(FRAMES)]]
    noise = OFF * SIZE * np.random.default_rng(2).normal(size=places.shape)
    found = steadied(still, seen_of(true + noise), OFF)
    assert found.believed > 0.95 and error(found.seen, true) < 0.5 * error(seen_of(true + noise), true)
