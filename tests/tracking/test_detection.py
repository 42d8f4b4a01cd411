"""One face is followed, the one that is meant; cuts and other faces are noticed; whoever stops goes on where they were."""

import numpy as np
import pytest
import torch
from moving_head import talking
from pretended_models import PretendedModels, face_points, pictures

from mango.errors import InputError
from mango.tracking.detection import Box, Following, compared
from mango.tracking.face_models import Candidate

FRAMES = 60


@pytest.fixture(scope="module")
def points(head):
    return face_points(head, talking(head, FRAMES))


def beside(points, columns: float, scale: float = 1.0):
    """Another person there."""
    middle = points.mean((0, 1))
    return middle + [columns, 0.0] + scale * (points - middle)


def followed(models, made=None, box=None) -> Following:
    following = Following(models, box)
    for picture in made or pictures(FRAMES):
        following.look(picture)
    return following


def whose(following: Following, people) -> list[int | None]:
    seen = following.seen()
    near = [[float(np.abs(seen.points.points[k].numpy() - person[k]).max()) < 1e-3 for person in people] for k in range(len(following))]
    return [each.index(True) if True in each and sure > 0.5 else None for each, sure in zip(near, seen.points.confidence, strict=True)]


def test_a_face_is_followed(points):
    """Pixel centres: networks count from 0, the project from 0.5. Planted: the half left out."""
    models = PretendedModels([points])
    following = followed(models)
    seen = following.seen()
    assert whose(following, [points]) == [0] * FRAMES
    assert seen.points.points.dtype == torch.float32 and (seen.points.confidence > 0.9).all()
    assert seen.cuts == () and seen.crowded == () and models.asked == [number for number in range(FRAMES) for _ in range(2)]
    assert seen.irises.isfinite().any() and (seen.irises[0, 0, 0] > seen.irises[0, 1, 0])  # the left eye is at the right


def test_a_cut_is_noticed_and_the_face_found_anew(points):
    """The face leaps at the cut to where its old square would not find it. Planted: the square kept over a cut."""
    leapt = points.copy()
    leapt[30:] += [150.0, 0.0]
    following = followed(PretendedModels([leapt]), pictures(FRAMES, lambda number: 60 if number < 30 else 200))
    assert following.seen().cuts == (30,) and whose(following, [leapt]) == [0] * FRAMES


def test_cuts_are_found_without_faces():
    told = []
    made = list(pictures(FRAMES, lambda number: (60, 200, 60)[number // 20]))
    made[30:34] = [made[29]] * 4
    assert compared(made, told.append) == ((20, 40), (30, 31, 32, 33)) and told == list(range(1, FRAMES + 1))


@pytest.mark.parametrize("size", [(720, 1280), (1080, 1920)])
def test_a_small_face_that_moves_is_no_film_that_stands_still(size):
    """A recorded call: the rest of the picture is one wall. Seen red: half of the frames "stood still", and the film was refused."""
    random = np.random.default_rng(0)
    wall, face = np.full((*size, 3), 90, np.uint8), random.integers(60, 200, (9, 9, 3)).astype(np.uint8)
    made = []
    for number in range(12):
        picture, mouth = wall.copy(), face.copy()
        mouth[6:8, 3:6] = 60 + 12 * number
        picture[100:208, 300:408] = mouth.repeat(12, 0).repeat(12, 1)
        made.append(picture)
    noise = random.integers(-1, 2, (*size, 1))  # a codec's, on pictures that are one
    made += [np.clip(made[-1] + noise * (number % 2), 0, 255).astype(np.uint8) for number in range(4)]
    assert compared(made, lambda done: None) == ((), (12, 13, 14, 15))


def test_light_that_changes_slowly_is_no_cut(points):
    made = list(pictures(FRAMES, lambda number: 60 + 2 * number))
    made[1:4] = [made[0]] * 3
    following = followed(PretendedModels([points]), made)
    assert following.seen().cuts == () and following.seen().repeats == (1, 2, 3), "and a film that stands still first"
    again = Following(PretendedModels([points]), None, following.content())
    assert again.seen().repeats == following.seen().repeats, "what an interrupted run had noticed"


def test_the_largest_face_is_taken_and_others_of_like_size_noted(points):
    small, large = beside(points, -150, 0.7), beside(points, 150)
    following = followed(PretendedModels([small, large]))
    assert whose(following, [small, large]) == [1] * FRAMES and following.seen().crowded == (0, 25, 50)


def test_small_faces_behind_are_nobody(points):
    following = followed(PretendedModels([points, beside(points, 260, 0.3)]))
    assert following.seen().crowded == ()


def test_the_box_says_which_face(points):
    left, right = beside(points, -150, 0.7), beside(points, 150)
    middle = left[0].mean(0)
    following = followed(PretendedModels([left, right]), box=Box(float(middle[0]) - 30, float(middle[1]) - 30, 60.0, 60.0))
    assert whose(following, [left, right]) == [0] * FRAMES


def test_the_box_is_where_a_face_is_looked_for(points):
    """It may be a small one beside a large one: later where it was last seen, and without a box nobody is known. Planted: not told."""
    left = beside(points, -150, 0.7)
    middle, models, told = left[0].mean(0), PretendedModels([left]), []
    models.faces = lambda picture, also=None: told.append(also) or PretendedModels.faces(models, picture)
    followed(models, box=Box(float(middle[0]) - 30, float(middle[1]) - 20, 60.0, 40.0))
    (first, size), (second, seen) = told[:2]
    assert first == pytest.approx(middle) and size == 60.0
    assert second == pytest.approx((left[24].min(0) + left[24].max(0)) / 2, abs=2) and seen == pytest.approx(
        np.ptp(left[24], 0).max(), rel=0.1
    )
    told.clear()
    followed(models)
    assert told == [None] * 3


@pytest.mark.parametrize("cut", [False, True])
def test_a_face_that_was_chosen_is_not_exchanged_for_another_when_it_is_lost(points, cut):
    """Planted: after it was lost the largest face was taken (it was so)."""
    left, right = beside(points, -150, 0.7), beside(points, 150)
    there = torch.ones(2, FRAMES, dtype=torch.bool)
    there[0, 20:30] = False
    middle = left[0].mean(0)
    made = pictures(FRAMES, lambda number: 200 if cut and number >= 22 else 60)
    following = followed(PretendedModels([left, right], there), made, Box(float(middle[0]) - 30, float(middle[1]) - 30, 60.0, 60.0))
    assert whose(following, [left, right]) == [0] * 20 + [None] * 10 + [0] * 30


def test_a_lost_face_is_found_again_where_it_was(points):
    """Also without a box, though another is larger by now."""
    left, right = beside(points, -150), beside(points, 150, 0.4)
    grown = right.copy()
    grown[25:] = beside(points, 150, 1.2)[25:]
    there = torch.ones(2, FRAMES, dtype=torch.bool)
    there[0, 24:27] = False
    there[1, 24:27] = False
    assert whose(followed(PretendedModels([left, grown], there)), [left, grown]) == [0] * 24 + [None] * 3 + [0] * 33


def test_a_covered_face_is_not_exchanged_for_another(points):
    """Seen red: for a second's hand before the face, a small one in the corner was taken, for good, and nothing was said."""
    person, other = beside(points, -150), beside(points, 150, 0.8)
    there = torch.ones(2, FRAMES, dtype=torch.bool)
    there[0, 20:32] = False
    following = followed(PretendedModels([person, other], there))
    assert whose(following, [person, other]) == [0] * 20 + [None] * 12 + [0] * 28 and following.seen().cuts == ()


@pytest.mark.parametrize("scale", [0.35, 0.8])
def test_who_is_gone_for_long_is_looked_for_elsewhere(points, scale):
    """A face of like size: who leans over to the other side. That is said, and no frame about it believed."""
    person, other = beside(points, -150), beside(points, 150, scale)
    there = torch.ones(2, FRAMES, dtype=torch.bool)
    there[0, 10:] = False
    following = followed(PretendedModels([person, other], there))
    found = [1] * 25 if scale == 0.8 else [None] * 25
    assert whose(following, [person, other]) == [0] * 10 + [None] * 25 + found and following.seen().cuts == ((35,) if scale == 0.8 else ())


def test_in_the_end_a_face_of_any_size_will_do(points, monkeypatch):
    """Who started the phone from near by and sat down farther off. Seen red: two minutes were refused, with a face in half a second."""
    monkeypatch.setattr("mango.tracking.detection.FORGOTTEN", 35)
    person, other = beside(points, -150), beside(points, 150, 0.4)
    there = torch.ones(2, FRAMES, dtype=torch.bool)
    there[0, 10:] = False
    following = followed(PretendedModels([person, other], there))
    assert whose(following, [person, other]) == [0] * 10 + [None] * 35 + [1] * 15 and following.seen().cuts == (45,)


@pytest.mark.parametrize("at", [0, 1, 24, 31, 59])
def test_stopped_and_gone_on_is_as_never_stopped(points, at):
    """Bit for bit, at a cut and while the face is lost too. Planted: the last square, the small picture not kept (both red)."""
    there = torch.ones(1, FRAMES, dtype=torch.bool)
    there[0, 28:33] = False
    made = pictures(FRAMES, lambda number: 60 if number < 24 else 200)
    undisturbed, models = PretendedModels([points], there), PretendedModels([points], there)
    whole = followed(undisturbed, made)
    first = Following(models)
    for picture in made[:at]:
        first.look(picture)
    second = Following(models, None, first.content())
    for picture in made[at:]:
        second.look(picture)
    for name, values in whole.content().items():
        np.testing.assert_array_equal(values, second.content()[name], err_msg=name)
    assert models.squares == undisturbed.squares


@pytest.mark.parametrize("numbers", [(0, 0, 4, 50), (0, 0, 50, -50), (float("nan"), 0, 50, 50), (0, 0, float("inf"), 50)])
def test_boxes_without_a_face_in_them_are_refused(numbers):
    with pytest.raises(InputError, match="--box: expected x,y,width,height of a face of at least 8 pixels, found"):
        Box(*(float(number) for number in numbers))


def test_boxes_hold_the_middle_of_a_face():
    face = Candidate(0.9, np.array([100.0, 50.0]), 300.0, np.zeros((6, 2)))
    assert Box(90.0, 40.0, 20.0, 20.0).holds(face) and not Box(101.0, 40.0, 20.0, 20.0).holds(face)
