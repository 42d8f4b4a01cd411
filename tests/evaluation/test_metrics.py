"""Metrics against values worked out by hand, and each against the faults it must notice."""

import math
from dataclasses import dataclass

import pytest
import torch

from mango.evaluation import metrics as m

LIPS = torch.tensor([1, 2])


def still(frames=2, verts=4):
    return torch.zeros(frames, verts, 3, dtype=torch.float64)


def two_frames():
    """Frame 0: lips off by 3 and 5 mm; frame 1: by 1 and 0 mm; vertex 0, no lip, off by 100 mm throughout."""
    a = still()
    a[:, 0, 2] = 0.1
    a[0, 1, 0], a[0, 2, 1:] = 0.003, torch.tensor([0.003, 0.004])
    a[1, 1, 1] = -0.001
    return a, still()


def test_lip_errors_by_hand():
    """Notices a mean for a max, a root at the wrong place, metres for millimetres, and the wrong region (the 100 mm vertex)."""
    a, b = two_frames()
    assert m.lve_max(a, b, LIPS).item() == pytest.approx((5 + 1) / 2)
    assert m.lve_rms(a, b, LIPS).item() == pytest.approx(math.sqrt((25 + 1) / 2))
    assert m.lve_squared(a, b, LIPS).item() == pytest.approx((25 + 1) / 2)
    assert m.region_error(a, b, LIPS).item() == pytest.approx((3 + 5 + 1 + 0) / 4)
    assert m.mve(a, b).item() == pytest.approx((100 + 3 + 5 + 0 + 100 + 1 + 0 + 0) / 8)


def test_dynamic_error_by_hand():
    """Errors of vertex 1 along x are 3, 0 and of the others 0 on two frames: the mean 1.5 goes, 1.5 remains on both frames."""
    a = still()
    a[0, 1, 0] = 0.003
    assert m.lve_dynamic(a, still(), LIPS).item() == pytest.approx(1.5)
    a[:, 2, 1] = 0.05  # a constant offset of another lip vertex changes nothing
    assert m.lve_dynamic(a, still(), LIPS).item() == pytest.approx(1.5)
    assert m.lve_max(a, still(), LIPS).item() >= 50


def test_velocity_error_by_hand():
    """Notices a missing frame rate, and a constant offset that counts."""
    a = still(3)
    a[:, 1, 0] = torch.tensor([0.010, 0.012, 0.012], dtype=torch.float64)  # 2 mm in one frame = 50 mm/s, then rest
    assert m.lip_velocity_error(a, still(3), LIPS).item() == pytest.approx((50 + 0 + 0 + 0) / 4)
    kept = torch.tensor([False, True, True, True])  # the jump from frame 0 to 1 is between no two kept frames
    assert m.lip_velocity_error(torch.cat([a, a[-1:]]), still(4), LIPS, kept).item() == 0


def test_frames_that_are_not_kept_do_not_count():
    a, b = two_frames()
    a, b = torch.cat([a, a + 1]), torch.cat([b, b])
    keep = torch.tensor([True, True, False, False])
    for metric in (m.lve_max, m.lve_rms, m.lve_squared, m.lve_dynamic, m.region_error):
        assert metric(a, b, LIPS, keep) == metric(a[:2], b[:2], LIPS), metric.__name__
    assert m.mve(a, b, keep) == m.mve(a[:2], b[:2])
    assert m.lve_max(a, b, LIPS, ~keep).item() > 1000


@pytest.mark.parametrize("metric", [m.lve_max, m.lve_rms, m.lve_squared, m.lve_dynamic, m.region_error, m.lip_velocity_error])
def test_fewer_than_two_frames_are_no_number(metric):
    a, b = two_frames()
    assert metric(a, b, LIPS, torch.tensor([True, False])).isnan()


def talking(frames=50):
    """A mouth that opens and closes; vertices 1 and 2 are the upper and lower lip."""
    time = torch.arange(frames, dtype=torch.float64) / 25
    opening = 0.006 * (1 - torch.cos(2 * math.pi * 2 * time))
    verts = still(frames)
    verts[:, 1, 1], verts[:, 2, 1] = opening / 4, -3 * opening / 4
    return verts, opening


def test_a_shift_by_one_frame_shows_everywhere():
    truth, opening = talking()
    shifted = truth.roll(1, 0)
    for metric in (m.lve_max, m.lve_dynamic, m.lip_velocity_error):
        assert metric(truth, truth, LIPS) == 0 and metric(shifted, truth, LIPS) > 0.5, metric.__name__
    assert m.lip_opening_slope(prediction=[opening.roll(1)], truth=[opening]) < 0.95


def test_the_wrong_region_shows():
    truth, _ = talking()
    prediction = truth.clone()
    prediction[:, 3, 0] += 0.01
    assert m.lve_max(prediction, truth, LIPS) == 0
    assert m.lve_max(prediction, truth, torch.tensor([3])).item() == pytest.approx(10)


def test_slope_by_hand_and_exchanged():
    """Notices exchanged arguments: a mouth at 0.5 has slope 0.5, exchanged it would read 2."""
    _, opening = talking()
    assert m.lip_opening_slope(prediction=[0.5 * opening + 0.002], truth=[opening]) == pytest.approx(0.5)
    assert m.lip_opening_slope(prediction=[opening], truth=[0.5 * opening]) == pytest.approx(2.0)
    values = m.lip_opening_slope(prediction=[torch.tensor([0.0, 2.0, 1.0])], truth=[torch.tensor([0.0, 1.0, 2.0])])
    assert values == pytest.approx(0.5)  # cov = 1 of var = 2


def test_slope_centres_each_clip():
    """Notices clips pooled before centring: static offsets that differ between clips would change the slope."""
    _, opening = talking()
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


def test_psnr_and_ssim_by_hand():
    truth = torch.full((2, 16, 16, 3), 0.5, dtype=torch.float64)
    off = truth.clone()
    off[1] += 0.1
    values = m.psnr(off, truth)
    assert values[0].isinf() and values[1].item() == pytest.approx(20)
    flat = (2 * 0.6 * 0.5 + 1e-4) / (0.6**2 + 0.5**2 + 1e-4)  # flat pictures differ in luminance only
    torch.testing.assert_close(m.ssim(off, truth), torch.tensor([1.0, flat], dtype=torch.float64))
