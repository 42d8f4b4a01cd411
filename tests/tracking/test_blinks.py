"""The film's deepest blink shuts the eyes.

Faults noticed: slow movements enlarged too, small ones enlarged, other expressions touched, eyes shut of somebody who does not blink,
blinks beyond shut eyes, one eye moved by the other's, a whole blink made deeper, a hand before the eyes taken for the deepest, eyes that
open again at the height of a blink because they were narrow before it, or looked down.
"""

import pytest
import torch

from mango.tracking.blinks import LIDS, MOST, held, of_runs, shut, with_whole_blinks
from mango.types import MotionClip

FRAMES = 150
ALL = torch.ones(FRAMES, dtype=torch.bool)


def film(head, blinks: dict[int, float], slow: float = 0.0, right: float = 1.0, narrow: float = 0.0) -> MotionClip:
    """Blinks of seven frames, as deep as that, about frames; lids that go down for two seconds, from how they are held."""
    time = torch.arange(FRAMES)
    left = narrow + slow * ((time > 60) & (time < 110)).float()
    for at, depth in blinks.items():
        left = left + depth * (1 - ((time - at).abs() / 4)).clamp(min=0)
    expr = torch.zeros(FRAMES, head.expressions)
    expr[:, head.expression_names.index("jawForward")] = 0.3
    for name, curve in zip(LIDS, (left, right * left), strict=True):
        expr[:, head.expression_names.index(name)] = curve
    still = torch.zeros(FRAMES, 3)
    return MotionClip(expr, still, still, still, torch.zeros(FRAMES, 6), still, torch.zeros(head.identities), head.digest, 25.0)


def lids(head, clip: MotionClip) -> torch.Tensor:
    return clip.expr[:, [head.expression_names.index(name) for name in LIDS]]


def test_the_deepest_blink_shuts_the_eyes_and_others_grow_alike(head):
    clip = film(head, {20: 0.3, 40: 0.15, 130: 0.3}, right=0.8)
    whole = lids(head, with_whole_blinks(head, clip, ALL))
    factor = shut(head) / (0.3 * 0.9)
    expected = factor * torch.tensor([[0.3, 0.24], [0.15, 0.12], [0.3, 0.24]])
    torch.testing.assert_close(whole[[20, 40, 130]], expected.clamp(max=shut(head)))
    assert whole[:10].abs().max() == 0


@pytest.mark.parametrize(("narrow", "slow"), [(0.35, 0.0), (0.0, 0.4), (-0.1, 0.0)])
def test_eyes_shut_from_however_far_they_are_open(head, narrow, slow):
    clip = film(head, {20: 0.3, 85: 0.3}, narrow=narrow, slow=slow)
    whole, wholly = with_whole_blinks(head, clip, ALL), film(head, {20: shut(head)})
    opening = eyes_open(head, whole)
    for at in (20, 85):
        assert opening[at] < opening[0] / 2 and opening[at] == pytest.approx(float(eyes_open(head, wholly)[20]), abs=2e-4)
        assert (opening[at - 3 : at + 1].diff() < 1e-6).all() and (opening[at : at + 4].diff() > -1e-6).all()
    assert lids(head, whole).max() <= shut(head) + 1e-6


def eyes_open(head, clip: MotionClip) -> torch.Tensor:
    still = torch.zeros(FRAMES, 3)
    posed = head.with_shape(torch.zeros(head.identities)).vertices(clip.expr, still, still, torch.zeros(FRAMES, 6))
    return head.eye_opening(posed)


def test_frames_that_are_not_trusted_have_no_say(head):
    clip = film(head, {20: 0.3, 40: 0.9, 130: 0.3})
    keep = ALL.clone()
    keep[30:50] = False
    torch.testing.assert_close(lids(head, with_whole_blinks(head, clip, keep))[[20, 130]].amax(1), torch.full((2,), shut(head)))
    assert torch.equal(with_whole_blinks(head, clip, ~ALL).expr, clip.expr)
    deeper = lids(head, with_whole_blinks(head, film(head, {20: 0.3, 40: 0.6}), keep))
    torch.testing.assert_close(deeper[[20, 40]].amax(1), torch.full((2,), shut(head)))  # neither beyond shut eyes


def test_how_far_eyes_usually_are_open_is_asked_of_trusted_frames(head):
    """A hand lies before the eyes for most of the film. Planted: the median of all frames, from which the one blink hardly has to go."""
    clip, keep = film(head, {20: 0.3}), ALL.clone()
    keep[50:] = False
    clip.expr[50:, [head.expression_names.index(name) for name in LIDS]] = 0.6
    torch.testing.assert_close(lids(head, with_whole_blinks(head, clip, keep))[20], torch.full((2,), shut(head)))


def test_nothing_else_moves(head):
    clip = film(head, {20: 0.3, 130: 0.05}, slow=0.2)
    whole = with_whole_blinks(head, clip, ALL)
    others = [k for k, name in enumerate(head.expression_names) if name not in LIDS]
    assert torch.equal(whole.expr[:, others], clip.expr[:, others])
    assert torch.equal(lids(head, whole)[30:], lids(head, clip)[30:]), "looking down, and what trembles"
    assert lids(head, whole)[20].min() > 0.7


def test_who_does_not_blink_and_who_blinks_wholly(head):
    for clip in (film(head, {20: 0.1}), film(head, {}, slow=0.5), film(head, {20: shut(head)}), film(head, {20: 0.95})):
        torch.testing.assert_close(with_whole_blinks(head, clip, ALL).expr, clip.expr)


def test_the_factor_has_an_end(head):
    assert lids(head, with_whole_blinks(head, film(head, {20: 0.13}), ALL))[20].max() == pytest.approx(MOST * 0.13)


def test_lids_are_nearest_where_they_are_shut(head):
    assert 0.6 < shut(head) < 0.9


def test_other_heads_stay(head):
    clip = film(head, {20: 0.3})
    other = replace_names(head)
    assert with_whole_blinks(other, clip, ALL) is clip


def replace_names(head):
    """A head whose expressions have other names."""
    from copy import copy

    other = copy(head)
    other.expression_names = tuple(f"psi{k}" for k in range(head.expressions))
    return other


def test_runs_and_how_lids_are_held():
    values = torch.tensor([0.0, 1.0, 3.0, 0.0, 2.0, 1.0])
    assert of_runs(values > 0, values).tolist() == [0, 3, 3, 0, 2, 2]
    assert of_runs(values < 0, values).tolist() == [0] * 6
    steps = (torch.arange(100) >= 50).float()[:, None].expand(-1, 2)
    assert torch.equal(held(steps), steps)
