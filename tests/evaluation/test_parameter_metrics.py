"""Parameter metrics against values worked out by another route, and each against the faults it must notice."""

import math

import numpy as np
import pytest

from mango.evaluation import parameter_metrics as m


def rotation(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def with_moments(frames, mean, covariance):
    """Frames whose sample mean and unbiased covariance are exactly these."""
    white = np.random.default_rng(0).standard_normal((frames, len(mean)))
    white -= white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def smooth(seed, frames=120, dims=3):
    steps = np.random.default_rng(seed).standard_normal((frames + 8, dims))
    return np.stack([np.convolve(column, np.ones(9) / 9, mode="valid") for column in steps.T], axis=1)


@pytest.fixture
def three():
    """Prediction, truth and partner, related to each other a little."""
    truth = smooth(1)
    return {"prediction": 0.7 * truth + 0.3 * smooth(3), "truth": truth, "partner": 0.5 * truth + smooth(2)}


# FD


@pytest.mark.parametrize("root", ["symmetric", "sqrtm"])
def test_fd_of_gaussians_in_closed_form(root):
    """Covariances diag(1, 4) and diag(9, 1) in one rotated basis commute: (1-3)^2 + (2-1)^2, and the means are 2 and 3 apart.

    Notices a forgotten factor 2, the distance of means not squared, and variances for covariances.
    """
    turn = rotation(0.6)
    a = with_moments(50, [1.0, 2.0], turn @ np.diag([1.0, 4.0]) @ turn.T)
    b = with_moments(70, [3.0, 5.0], turn @ np.diag([9.0, 1.0]) @ turn.T)
    assert m.frechet_distance(a, b, root=root) == pytest.approx(2**2 + 3**2 + (1 - 3) ** 2 + (2 - 1) ** 2)
    assert m.frechet_distance(b, a, root=root) == pytest.approx(m.frechet_distance(a, b, root=root))


@pytest.mark.parametrize("root", ["symmetric", "sqrtm"])
def test_fd_of_gaussians_that_do_not_commute(root):
    """In two dimensions tr (C1 C2)^(1/2) = sqrt(tr C1 C2 + 2 sqrt(det C1 C2)): no eigenvalues needed."""
    first, second = np.diag([1.0, 4.0]), rotation(1.0) @ np.diag([9.0, 1.0]) @ rotation(1.0).T
    between = math.sqrt(np.trace(first @ second) + 2 * math.sqrt(np.linalg.det(first) * np.linalg.det(second)))
    a, b = with_moments(40, [0.0, 0.0], first), with_moments(40, [0.0, 0.0], second)
    assert m.frechet_distance(a, b, root=root) == pytest.approx(15 - 2 * between)


def test_fd_is_unbiased_as_published():
    """Two frames at 0 and 2 have variance 2, not 1: against a constant of the same mean FD is 2."""
    assert m.frechet_distance(np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]])) == pytest.approx(2)


@pytest.mark.parametrize("root", ["symmetric", "sqrtm"])
@pytest.mark.parametrize(("frames", "dims"), [(200, 10), (20, 50)])
def test_fd_of_equal_motion_is_zero_at_any_rank(root, frames, dims):
    """20 frames of 50 dimensions have a covariance of rank 19. The published root loses 1e-8 of the trace there, ours nothing."""
    motion = smooth(4, frames, dims)
    trace = np.trace(np.cov(motion, rowvar=False))
    lost = 1e-6 if root == "sqrtm" else 1e-13
    assert abs(m.frechet_distance(motion, motion, root=root)) < lost * trace


def test_both_roots_agree_at_deficient_rank():
    a, b = smooth(5, 20, 50), smooth(6, 20, 50)
    assert m.frechet_distance(a, b, root="sqrtm") == pytest.approx(m.frechet_distance(a, b), rel=1e-6)


def test_pfd_sees_the_partner(three):
    """A prediction of the right distribution at the wrong time: FD is 0, P-FD is not. Notices the partner left out."""
    truth, partner = three["truth"], three["partner"]
    reversed_ = truth[::-1].copy()
    assert m.frechet_distance(reversed_, truth) == pytest.approx(0, abs=1e-12)
    assert m.paired_frechet_distance(prediction=reversed_, truth=truth, partner=partner) > 1e-3
    joined = [np.hstack([partner, motion]) for motion in (truth, three["prediction"])]
    assert m.paired_frechet_distance(**three) == pytest.approx(m.frechet_distance(*joined))


def test_pfd_notices_truth_and_partner_exchanged(three):
    exchanged = {"prediction": three["prediction"], "truth": three["partner"], "partner": three["truth"]}
    assert m.paired_frechet_distance(**exchanged) != pytest.approx(m.paired_frechet_distance(**three), rel=0.01)


# Frame by frame


def test_mse_and_sts_by_hand():
    """Differences are 1, 3, 3 and 0, 0, 2: squares 1 + 9 + 9 + 4 of six; steps of differences 2, 0 and 0, 2."""
    truth = np.zeros((3, 2))
    prediction = np.array([[1.0, 0.0], [3.0, 0.0], [3.0, 2.0]])
    assert m.mse(prediction, truth) == pytest.approx(23 / 6)
    assert m.sts(prediction, truth) == pytest.approx(math.sqrt((4 + 4) / 0.1))
    assert m.sts(prediction + 5, truth) == pytest.approx(m.sts(prediction, truth)), "a constant offset has no velocity"


def test_sts_is_not_divided_by_length():
    once = np.array([[0.0], [1.0]])
    twice = np.array([[0.0], [1.0], [0.0]])
    assert m.sts(twice, 0 * twice) == pytest.approx(math.sqrt(2) * m.sts(once, 0 * once))


# SID


def blobs(shares, frames=100, spread=1e-3):
    """Frames at 0, 100, 200 ...: well apart, so that k-means has one answer."""
    places = np.repeat(np.arange(len(shares)), np.round(np.array(shares) * frames).astype(int))
    return (100.0 * places + spread * np.random.default_rng(0).standard_normal(len(places)))[:, None]


def test_sid_by_hand():
    """Clusters at 0 and 100; a quarter of the assigned frames near one: H(1/4) = 0.811 bits."""
    expected = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert m.sid(clustered=blobs([0.5, 0.5]), assigned=blobs([0.25, 0.75]), clusters=2) == pytest.approx(expected, abs=1e-5)
    assert m.sid(clustered=blobs([0.25] * 4), assigned=blobs([0.25] * 4), clusters=4) == pytest.approx(2, abs=1e-5)


def test_sid_notices_exchanged_arguments():
    """The truth is at two places, the prediction at one of them: over clusters of the truth 0 bits, over its own 1 bit.

    The prediction's two clusters are both near 0, where half of the truth falls to one and all far frames to the other.
    """
    truth, prediction = blobs([0.5, 0.5]), blobs([1.0], spread=1.0)
    assert m.sid(clustered=truth, assigned=prediction, clusters=2) == pytest.approx(0, abs=1e-5)
    assert m.sid(clustered=prediction, assigned=truth, clusters=2) > 0.5


def test_sid_needs_as_many_frames_as_clusters():
    assert math.isnan(m.sid(clustered=smooth(1, 39, 2), assigned=smooth(2, 39, 2), clusters=40))


# Diversity


def test_diversity_of_two_places():
    """All pairs of all frames of 3 distinct values 0, 3, 6: pairs are permutations, whose mean distance the draw gives exactly."""
    motion = np.array([[0.0, 0.0], [3.0, 4.0]])
    value = m.diversity(motion, np.random.default_rng(0))
    assert value in (0.0, 5.0), "two permutations of two frames: both pairs equal, or both 5 apart"
    drawn = {m.diversity(motion, np.random.default_rng(seed)) for seed in range(20)}
    assert drawn == {0.0, 5.0}


def test_diversity_is_about_the_mean_distance_and_seeded():
    motion = np.random.default_rng(0).standard_normal((5000, 1))  # |x - y| of normals has mean 2 / sqrt(pi)
    values = [m.diversity(motion, np.random.default_rng(seed), pairs=1000) for seed in range(10)]
    assert np.mean(values) == pytest.approx(2 / math.sqrt(math.pi), rel=0.03)
    assert m.diversity(motion, np.random.default_rng(3)) == m.diversity(motion, np.random.default_rng(3))


def test_variance_divides_by_all_frames():
    assert m.variance(np.array([[0.0, 1.0], [2.0, 1.0]])) == pytest.approx((1 + 0) / 2)


# rPCC


def test_rpcc_by_hand():
    """Flattened truth rises with the partner (r = 1), the prediction falls (r = -1)."""
    partner = np.array([[0.0], [1.0], [2.0]])
    assert m.rpcc(prediction=-partner, truth=3 * partner + 1, partner=partner) == pytest.approx(2)
    assert m.rpcc_per_dimension(prediction=-partner, truth=3 * partner + 1, partner=partner) == pytest.approx(2)


def test_rpcc_flattened_mixes_offsets_and_per_dimension_does_not(three):
    """Offsets of the dimensions, equal in all three, carry the flattened correlation to 1 and hide what moves."""
    offset = np.array([0.0, 50.0, 100.0])
    shifted = {name: motion + offset for name, motion in three.items()}
    assert m.rpcc(**shifted) < 1e-3 < m.rpcc(**three)
    assert m.rpcc_per_dimension(**shifted) == pytest.approx(m.rpcc_per_dimension(**three))


def test_rpcc_notices_the_partner_exchanged_with_the_truth(three):
    exchanged = {"prediction": three["prediction"], "truth": three["partner"], "partner": three["truth"]}
    for metric in (m.rpcc, m.rpcc_per_dimension):
        assert metric(**exchanged) != pytest.approx(metric(**three), rel=0.01)


def test_rpcc_of_what_never_moves(three):
    still = np.ones_like(three["truth"])
    assert math.isnan(m.rpcc(**three | {"prediction": still}))
    own = m.rpcc_per_dimension(**three | {"prediction": three["truth"]})
    correlations = [np.corrcoef(g, q)[0, 1] for g, q in zip(three["truth"].T, three["partner"].T, strict=True)]
    assert own == 0 and m.rpcc_per_dimension(**three | {"prediction": still}) == pytest.approx(np.abs(correlations).mean())
    assert math.isnan(m.rpcc_per_dimension(**three | {"partner": still}))


# Dynamics and roles


def test_dynamics_deviation_by_hand():
    """Standard deviations over 0, 2 and 0, 6 are sqrt 2 and 3 sqrt 2 (unbiased): 2 sqrt 2 apart, times 100."""
    a, b = np.array([[0.0], [2.0], [9.0]]), np.array([[0.0], [6.0], [9.0]])
    keep = np.array([True, True, False])
    assert m.dynamics_deviation(a, b, keep) == pytest.approx(100 * 2 * math.sqrt(2))
    assert math.isnan(m.dynamics_deviation(a, b, np.array([True, False, False])))


def test_masked_fd_counts_only_its_frames_and_needs_two_a_dimension():
    a, b = smooth(1, 40, 3), smooth(2, 40, 3)
    keep = np.arange(40) < 6
    assert m.masked_frechet_distance(a, b, keep) == pytest.approx(m.frechet_distance(a[:6], b[:6]))
    assert math.isnan(m.masked_frechet_distance(a, b, np.arange(40) < 5))


# Faults that all of them notice, and the controls of a correct implementation


def test_truth_as_prediction_is_perfect(three):
    perfect = three | {"prediction": three["truth"]}
    assert m.mse(three["truth"], three["truth"]) == m.sts(three["truth"], three["truth"]) == m.rpcc(**perfect) == 0
    assert abs(m.frechet_distance(three["truth"], three["truth"])) < 1e-12
    assert abs(m.paired_frechet_distance(**perfect)) < 1e-12


def test_one_frame_late_shows(three):
    """In everything that knows about time; FD and variance do not and must not."""
    truth = three["truth"]
    late = np.roll(truth, 1, axis=0)
    assert m.mse(late, truth) > 1e-3 and m.sts(late, truth) > 0.1
    assert m.rpcc(**three | {"prediction": late}) > 1e-4
    assert m.frechet_distance(late, truth) == pytest.approx(0, abs=1e-12)


def test_dimensions_in_another_order_show(three):
    wrong = three["truth"][:, [1, 2, 0]]
    assert m.frechet_distance(wrong, three["truth"]) > 1e-3 and m.mse(wrong, three["truth"]) > 1e-3
