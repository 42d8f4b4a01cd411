"""Bootstrap intervals against cases whose distribution is known."""

import numpy as np
import pytest

from mango.evaluation.intervals import bootstrap_interval, mean_of
from mango.evaluation.parameter_metrics import frechet_distance, sid
from mango.evaluation.pooled import frechet_summands, pooled_assignment, pooled_frechet_distance, pooled_sid
from mango.evaluation.scores import Tally


def means(values):
    return np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))], axis=1)


def test_interval_of_a_mean_is_the_normal_one():
    """200 dialogues of unit variance: 1.96 / sqrt(200) to either side. Notices resampling without replacement (no width at all)."""
    values = np.random.default_rng(0).standard_normal(200)
    values = (values - values.mean()) / values.std() + 5
    low, high = bootstrap_interval(means(values), mean_of, seed=0)
    assert low == pytest.approx(5 - 1.96 / np.sqrt(200), abs=0.02) and high == pytest.approx(5 + 1.96 / np.sqrt(200), abs=0.02)


def test_interval_is_a_function_of_the_seed():
    values = means(np.arange(30.0))
    assert bootstrap_interval(values, mean_of, seed=1) == bootstrap_interval(values, mean_of, seed=1)
    assert bootstrap_interval(values, mean_of, seed=1) != bootstrap_interval(values, mean_of, seed=2)


def test_one_dialogue_has_no_interval():
    assert bootstrap_interval(means([3.0]), mean_of, seed=0) is None


def test_both_people_of_a_dialogue_stay_together():
    """Within each dialogue one person is at +1, the other at -1: every dialogue's mean is 0, so the interval has no width.

    Notices clips resampled one by one, which would give +-0.2.
    """
    tally = Tally()
    for number in range(50):
        for value in (1.0, -1.0):
            tally.add(f"d{number}", {("MSE", "exp"): value})
    score = tally.row(scaled=False, seed=0).scores["MSE", "exp"]
    assert score.interval == (0.0, 0.0) and score.used == 100


def test_clips_that_do_not_define_a_metric_are_counted_and_not_averaged():
    tally = Tally()
    for number, value in enumerate([1.0, float("nan"), 3.0]):
        tally.add(f"d{number}", {("SID", "exp"): value})
    score = tally.row(scaled=False, seed=0).scores["SID", "exp"]
    assert (score.value, score.used, score.skipped) == (2.0, 2, 1)
    assert score.interval == (1.0, 3.0)


def test_scaling_reaches_value_and_interval():
    tally = Tally()
    for number in range(4):
        tally.add(f"d{number}", {("FD", "jaw"): 0.001 * (number + 1), ("SID", "jaw"): 2.0})
    row = tally.row(scaled=True, seed=0)
    plain, scaled = row.unscaled["FD", "jaw"], row.scores["FD", "jaw"]
    assert scaled.value == pytest.approx(2.5) and plain.value == pytest.approx(0.0025)
    assert scaled.interval == pytest.approx([1000 * bound for bound in plain.interval])
    assert row.scores["SID", "jaw"].value == 2


def test_pooled_fd_is_fd_of_all_frames():
    """Notices moments that do not add up, a biased covariance, and prediction and truth mixed."""
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((3, 40, 5)) + random.standard_normal((3, 1, 5)) for _ in range(2))
    summed = sum(frechet_summands(x, y) for x, y in zip(a, b, strict=True))
    assert pooled_frechet_distance(summed) == pytest.approx(frechet_distance(a.reshape(-1, 5), b.reshape(-1, 5)))
    assert np.isnan(pooled_frechet_distance(frechet_summands(a[0][:1], b[0][:1])))


def test_pooled_sid_is_sid_of_all_frames():
    random = np.random.default_rng(0)
    truth, prediction = random.standard_normal((4, 30, 2)), 0.3 * random.standard_normal((4, 30, 2))
    assignment = pooled_assignment(list(truth), 10)
    counts = sum(np.bincount(assignment(one), minlength=10).astype(float) for one in prediction)
    expected = sid(clustered=truth.reshape(-1, 2), assigned=prediction.reshape(-1, 2), clusters=10)
    assert pooled_sid(counts) == pytest.approx(expected)
    assert pooled_assignment([truth[0][:5]], 10) is None
