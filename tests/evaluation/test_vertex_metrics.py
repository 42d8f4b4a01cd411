"""Vertex errors against values worked out by hand, and each against the faults it must notice."""

import math

import numpy as np
import pytest
import torch

from mango.evaluation import vertex_metrics as m

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
    truth, _ = talking()
    shifted = truth.roll(1, 0)
    for metric in (m.lve_max, m.lve_dynamic, m.lip_velocity_error):
        assert metric(truth, truth, LIPS) == 0 and metric(shifted, truth, LIPS) > 0.5, metric.__name__


def test_the_wrong_region_shows():
    truth, _ = talking()
    prediction = truth.clone()
    prediction[:, 3, 0] += 0.01
    assert m.lve_max(prediction, truth, LIPS) == 0
    assert m.lve_max(prediction, truth, torch.tensor([3])).item() == pytest.approx(10)


def test_mhd_by_hand():
    """Notices the root within either mean (of vertices: MVE; of frames) and a maximum for a mean."""
    a, b = still(), still()
    a[0, 1, 0], a[0, 2, 1], a[1, 3, 2] = 0.003, 0.005, 0.001
    assert m.mhd(a, b).item() == pytest.approx(math.sqrt((9 + 25 + 1) / 8))


UPPER = torch.tensor([0, 3])


def test_fdd_by_hand():
    """Vertex 0 sums to 0, 3 mm (std 1.5 sqrt 2), the truth's to 0, 1 mm; vertex 3 the other way round: no sign, so both count.

    Notices a signed mean (0), the population std, the wrong region (vertex 1), and coordinates taken one by one.
    """
    a, b = still(), still()
    a[1, 0], b[1, 0, 0] = torch.tensor([0.001, 0.001, 0.001]), 0.001
    b[1, 3], a[1, 3, 2] = torch.tensor([0.001, 0.001, 0.001]), 0.001
    a[1, 1] = 0.1
    apart = (3 - 1) / math.sqrt(2)
    assert m.fdd(a, b, UPPER).item() == pytest.approx(100 * apart)
    assert m.fdd(a, b, LIPS).item() > 1000


def test_fdd_motion_by_hand_and_exchanged():
    """Vertex 0 is 0 and 4 mm from rest (population std 2), the prediction's 0 and 1 (0.5), vertex 3 at rest: 1.5 / 2."""
    truth, prediction, rest = still(), still(), still()[0]
    truth[1, 0, 1], prediction[1, 0, 1] = 0.004, 0.001
    forward = m.fdd_motion(prediction=prediction, truth=truth, rest=rest, upper=UPPER).item()
    assert forward == pytest.approx((2 - 0.5) / 2)
    assert m.fdd_motion(prediction=truth, truth=prediction, rest=rest, upper=UPPER).item() == pytest.approx(-forward)
    elsewhere = rest + torch.tensor([0.0, 0.002, 0.0], dtype=torch.float64)
    assert m.fdd_motion(prediction=prediction, truth=truth, rest=elsewhere, upper=UPPER).item() != pytest.approx(forward)


def test_squared_fdd_motion_as_codetalkers_script_has_it():
    """By another route: numpy's population std over time of the squares summed over coordinates. Notices a root, and signs exchanged."""
    truth, prediction = torch.randn(2, 9, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rest = truth[0]
    spread = [np.std(np.sum(np.square((moved - rest).numpy()[:, UPPER]), axis=2), axis=0).mean() for moved in (truth, 0.5 * prediction)]
    found = m.fdd_motion_squared(prediction=0.5 * prediction, truth=truth, rest=rest, upper=UPPER).item()
    assert found == pytest.approx(1e6 * (spread[0] - spread[1]))
    assert m.fdd_motion_squared(prediction=truth, truth=truth, rest=rest, upper=UPPER, keep=torch.arange(9) < 1).isnan()


def test_fdd_and_motion_of_kept_frames():
    truth, _ = talking()
    keep = torch.arange(50) < 7
    everything = {"prediction": 0.5 * truth, "truth": truth, "rest": truth[0], "upper": LIPS}
    few = everything | {"prediction": 0.5 * truth[:7], "truth": truth[:7]}
    assert m.fdd_motion(**everything, keep=keep) == m.fdd_motion(**few) != m.fdd_motion(**everything)
    assert m.fdd(0.5 * truth, truth, LIPS, keep) == m.fdd(0.5 * truth[:7], truth[:7], LIPS)
    for one in (torch.arange(50) < 1, torch.arange(50) < 0):
        assert m.fdd(truth, truth, LIPS, one).isnan() and m.fdd_motion(**everything, keep=one).isnan()
