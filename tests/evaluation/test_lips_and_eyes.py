"""Lips, lids and gaze against values worked out by hand, and each against the faults it must notice."""

import math
from dataclasses import dataclass

import pytest
import torch

from mango.evaluation import lips_and_eyes as m


def talking(frames=50):
    """Lip opening of a mouth that opens and closes twice a second, metres."""
    time = torch.arange(frames, dtype=torch.float64) / 25
    return 0.006 * (1 - torch.cos(2 * math.pi * 2 * time))


def test_slope_by_hand_and_exchanged():
    """Notices exchanged arguments: a mouth at 0.5 has slope 0.5, exchanged it would read 2."""
    opening = talking()
    assert m.lip_opening_slope(prediction=[0.5 * opening + 0.002], truth=[opening]) == pytest.approx(0.5)
    assert m.lip_opening_slope(prediction=[opening], truth=[0.5 * opening]) == pytest.approx(2.0)
    values = m.lip_opening_slope(prediction=[torch.tensor([0.0, 2.0, 1.0])], truth=[torch.tensor([0.0, 1.0, 2.0])])
    assert values == pytest.approx(0.5)  # cov = 1 of var = 2
    assert m.lip_opening_slope(prediction=[opening.roll(1)], truth=[opening]) < 0.95


def test_slope_centres_each_clip():
    """Notices clips pooled before centring: static offsets that differ between clips would change the slope."""
    opening = talking()
    prediction = [0.8 * opening + 0.01, 0.8 * opening - 0.01]
    assert m.lip_opening_slope(prediction=prediction, truth=[opening, opening + 0.005]) == pytest.approx(0.8)
    assert math.isnan(m.lip_opening_slope(prediction=[opening], truth=[torch.zeros_like(opening)]))


@dataclass
class Phone:
    symbol: str
    start: float
    end: float


def test_closure_error_by_hand():
    """Notices other phones counted, times read as frames, and exchanged arguments (a harder closure is no error)."""
    truth = torch.tensor([5.0, 5, 0, 0, 5, 5, 0.5, 5]) / 1000
    prediction = torch.tensor([5.0, 5, 3, 2, 5, 5, 0.0, 5]) / 1000
    phones = [Phone("AA", 0, 0.08), Phone("M", 0.08, 0.16), Phone("IY", 0.16, 0.24), Phone("b", 0.24, 0.28), Phone("T", 0.28, 0.32)]
    assert m.closure_error(prediction=prediction, truth=truth, phones=phones).item() == pytest.approx((2 + 0) / 2)
    assert m.closure_error(prediction=truth, truth=prediction, phones=phones).item() == pytest.approx((0 + 0.5) / 2)
    assert m.closure_error(prediction=prediction, truth=truth, phones=phones[:1]).isnan()
    late = [Phone("P", 9, 9.1)]
    assert m.closure_error(prediction=prediction, truth=truth, phones=late).isnan()


def test_closures_by_hand():
    """Of three bilabials two come within 1 mm of the resting 2 mm. Notices an absolute threshold and other phones counted."""
    opening = torch.tensor([9.0, 9, 2.9, 9, 3.1, 9, 0, 9]) / 1000
    phones = [Phone("m", 0.08, 0.12), Phone("P", 0.16, 0.2), Phone("b", 0.24, 0.28), Phone("f", 0, 0.04), Phone("p", 9, 9.1)]
    assert m.closures(opening, phones, rest=0.002) == m.Closures(2, 3)
    assert m.closures(opening, phones, rest=0.0) == m.Closures(1, 3)
    assert m.closures(opening.roll(1), phones, rest=0.002) == m.Closures(0, 3), "one frame late"
    assert m.closures(opening, [], rest=0.0) == m.Closures(0, 0)


def test_blinks_by_hand():
    """Openings 10 with one dip to 2 (depth 0.8) and one to 5 (0.5); a dip to 8 is none. 25 frames are a second."""
    opening = torch.full((50,), 10.0)
    opening[10:13], opening[30], opening[40] = torch.tensor([6.0, 2.0, 6.0]), 5.0, 8.0
    found = m.blinks(opening)
    assert found.depths == pytest.approx([0.8, 0.5]) and found.per_minute == pytest.approx(60)


def test_gaze_angle_by_hand():
    """Both eyes 0.2 rad to the side on half of the frames; turns of one eye alone count half; rolling an eye is no gaze."""
    straight, aside = torch.zeros(4, 6), torch.zeros(4, 6)
    aside[:2, [1, 4]] = 0.2
    assert m.gaze_angle(aside, straight).item() == pytest.approx(math.degrees(0.1), rel=1e-5)
    assert m.gaze_angle(aside, straight, torch.tensor([True, True, False, False])).item() == pytest.approx(math.degrees(0.2), rel=1e-5)
    one = straight.clone()
    one[:, 1] = 0.2
    assert m.gaze_angle(one, straight).item() == pytest.approx(math.degrees(0.1), rel=1e-5)
    rolled = straight.clone()
    rolled[:, [2, 5]] = 0.3
    assert m.gaze_angle(rolled, straight).item() == pytest.approx(0, abs=1e-4)
    assert m.gaze_angle(aside.roll(1, 0), aside) > 1, "one frame late"
    assert m.gaze_angle(aside, straight, torch.tensor([True, False, False, False])).isnan()


def test_gaze_angle_resolves_small_angles():
    """acos would give 0 or 0.03 degrees here."""
    a = torch.zeros(2, 6)
    a[:, [0, 3]] = math.radians(0.01)
    assert m.gaze_angle(a, torch.zeros(2, 6)).item() == pytest.approx(0.01, rel=1e-3)
