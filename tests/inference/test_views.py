"""Who is shown, from where, and when the picture changes.

Faults these tests notice, each planted once: people who look away from each other; a camera on the other side of the line; cuts to who
listens; shots shorter than two seconds; frames in no shot or in two; a cut after the turn instead of before it; close shots in profile.
"""

import math

import pytest
import torch

from mango.inference.views import SHORTEST_S, cuts, place, two_shot, view_of
from mango.types import PERSONS

FPS = 25.0
LOW = {"a": 0.1, "b": 0.1}  # hair that every camera sees anyway


def talking(*turns: tuple[str, float]) -> torch.Tensor:
    """(who, seconds) after each other: a, b, both or nobody."""
    rows = [torch.tensor([[who in ("a", "both")], [who in ("b", "both")]]).float().repeat(1, round(FPS * s)) for who, s in turns]
    return torch.cat(rows, 1)


def test_everybody_is_shown_in_every_frame_once():
    for speaking in (
        talking(("a", 4), ("b", 4), ("nobody", 3), ("b", 0.4), ("a", 6), ("both", 3)),
        talking(("a", 0.2)),
        talking(("b", 2.1)),
    ):
        made = cuts(speaking, FPS)
        assert [t for first, last, _ in made for t in range(first, last)] == list(range(speaking.shape[1]))
        shots = [last - first for first, last, _ in made]
        assert len(shots) == 1 or min(shots) >= SHORTEST_S * FPS


def test_cuts_go_to_the_speaker_a_little_before_the_turn():
    made = cuts(talking(("a", 6), ("b", 6), ("a", 6)), FPS)
    assert [which for *_, which in made] == ["both", "a", "b", "a"]
    for (first, *_), turn in zip(made[2:], (6, 12), strict=True):
        assert 0.1 < turn - first / FPS < 0.6


def test_both_are_shown_when_nobody_has_the_turn():
    for nobodys in ("nobody", "both"):
        assert [which for *_, which in cuts(talking(("a", 6), (nobodys, 5), ("b", 6)), FPS)] == ["both", "a", "both", "b"]


def test_a_backchannel_is_no_turn():
    made = cuts(talking(("a", 6), ("both", 0.4), ("a", 6)), FPS)
    assert [which for *_, which in made] == ["both", "a"]


def test_turns_that_are_too_short_wait():
    made = cuts(talking(*(("a", 0.8), ("b", 0.8)) * 8), FPS)
    assert all(last - first >= SHORTEST_S * FPS for first, last, _ in made)


def test_they_face_each_other_and_not_the_camera():
    """Directions of sight meet: each one's forward axis points to the other's side and towards the camera's half."""
    forward = {person: place(person)[:3, :3] @ torch.tensor([0.0, 0.0, 1.0]) for person in PERSONS}
    at = {person: place(person)[:3, 3] for person in PERSONS}
    for own, other in (PERSONS, PERSONS[::-1]):
        towards = (at[other] - at[own]) / (at[other] - at[own]).norm()
        assert float(forward[own] @ towards) > math.cos(math.radians(50)) and forward[own][2] > 0.3


def seen_at(shot, point=(0.0, 0.0, 0.0)):
    camera = shot.camera.camera_from_world
    pixel = shot.camera.intrinsics @ (camera[:3, :3] @ torch.tensor(point) + camera[:3, 3])
    return (pixel[:2] / pixel[2]).tolist(), float((camera[:3, :3] @ torch.tensor(point) + camera[:3, 3])[2])


def test_a_sits_on_the_left_and_every_camera_stays_on_one_side():
    """In every shot noses point from a's side to the right and from b's to the left, and heads are inside the picture."""
    width, height = 448, 252
    shots = two_shot(width, height, LOW)
    (across_a, _), (across_b, _) = (next(seen_at(s)[0] for s in shots["both"] if s.person == person) for person in PERSONS)
    assert across_a < width / 2 - 40 and across_b > width / 2 + 40
    for name in ("both", "a", "b"):
        for shot in shots[name]:
            (across, down), depth = seen_at(shot)
            (nose, _), _ = seen_at(shot, (0.0, 0.0, 0.12))
            assert depth > 0.5 and 0.1 * width < across < 0.9 * width and 0.1 * height < down < 0.9 * height
            assert (nose > across) == (shot.person == "a"), f"{shot.person} in the shot of {name} looks the wrong way"


def test_close_shots_see_faces_and_not_profiles():
    shots = two_shot(448, 252, LOW)
    for person in PERSONS:
        (shot,) = shots[person]
        eye = torch.linalg.inv(shot.camera.camera_from_world)[:3, 3]  # from the head: its z axis points out of the face
        assert 10 < math.degrees(math.atan2(abs(float(eye[0])), float(eye[2]))) < 35


@pytest.mark.parametrize("name", ["single", "side-by-side", "two-shot"])
def test_hair_is_not_cut_off(name):
    """Seen red: of a person with a parting the picture began below it. Who has none is seen as ever, and the other is not moved."""
    speaking, high = talking(("a", 4), ("b", 4)), {"a": 0.19, "b": 0.1}
    usual, raised = (view_of(name, 100, speaking, FPS, tops, "a") for tops in (LOW, high))
    for before, after in zip(usual.stretches, raised.stretches, strict=True):
        for shot, moved in zip(before.shots, after.shots, strict=True):
            (_, row), _ = seen_at(moved, (0.0, high[shot.person], 0.0))
            assert row > 1.0  # of 100
            if len(before.shots) == 1 and shot.person == "b":
                assert torch.equal(shot.camera.camera_from_world, moved.camera.camera_from_world)


@pytest.mark.parametrize("name", ["single", "two-shot"])
@pytest.mark.parametrize("top", [0.25, 0.4])
def test_high_hair_does_not_cost_the_chin(name, top):
    """Hats and turbans. Seen red: of hair 25 cm up the chin was lost, of 40 the whole face."""
    view = view_of(name, 100, talking(("a", 4), ("b", 4)), FPS, {"a": top, "b": top}, "a")
    for shot in (shot for stretch in view.stretches for shot in stretch.shots):
        (_, hair), _ = seen_at(shot, (0.0, top, 0.0))
        (_, chin), _ = seen_at(shot, (0.0, -0.084, 0.1))
        assert 1.0 < hair < chin < 99.0


@pytest.mark.parametrize(
    ("name", "size"), [("side-by-side", (128, 64)), ("single", (64, 64)), ("two-shot", (114, 64)), ("grid", (128, 74))]
)
def test_sizes_are_even_and_as_told(name, size):
    view = view_of(name, 64, torch.zeros(2, 10), FPS, LOW)
    assert (view.width, view.height) == size and view.width % 2 == view.height % 2 == 0
