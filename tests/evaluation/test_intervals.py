"""Intervals against cases whose distribution is known."""

import numpy as np
import pytest

from mango.evaluation.intervals import jackknife_interval, mean_of
from mango.evaluation.parameter_metrics import frechet_distance, sid
from mango.evaluation.pooled import frechet_summands, pooled_assignment, pooled_frechet_distance, pooled_sid
from mango.evaluation.scores import Tally


def means(values):
    return np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))], axis=1)


def test_interval_of_a_mean_is_students():
    """By another route: mean +- t(0.975, 7) s / sqrt(8). Notices the population's deviation, the normal quantile, and 8 for 7."""
    values = np.random.default_rng(0).standard_normal(8) + 5
    reach = 2.364624 * values.std(ddof=1) / np.sqrt(8)
    assert jackknife_interval(means(values), mean_of) == pytest.approx([values.mean() - reach, values.mean() + reach], rel=1e-6)


@pytest.mark.parametrize("dialogues", [5, 12, 500])
def test_95_percent_hold_the_truth(dialogues):
    """Of 400 sets, give or take three standard deviations of the count. A percentile bootstrap of five dialogues holds 86 %."""
    random = np.random.default_rng(dialogues)
    intervals = [jackknife_interval(means(random.standard_normal(dialogues)), mean_of) for _ in range(400)]
    assert np.mean([low <= 0 <= high for low, high in intervals]) == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 400))


def some_dialogues(random, dialogues=12, frames=60, dims=10):
    """People of a set, each with a manner of their own, and a model that varies less: summands of a pooled distance."""
    manners = [scale * random.standard_normal((dialogues, 1, dims)) for scale in (0.5, 0.3)]
    moved = [scale * random.standard_normal((dialogues, frames, dims)) for scale in (1.0, 0.7)]
    true, made = (manner + motion for manner, motion in zip(manners, moved, strict=True))
    return np.stack([frechet_summands(made_one + 0.3, true_one) for made_one, true_one in zip(made, true, strict=True)])


def test_a_pooled_distance_lies_in_its_own_interval_and_95_percent_hold_what_such_sets_give():
    """A bootstrap's percentiles lie above: dialogues drawn twice make covariances poorer and the distance larger."""
    random = np.random.default_rng(0)
    sets = [some_dialogues(random) for _ in range(120)]
    values, intervals = (
        [pooled_frechet_distance(one.sum(0)) for one in sets],
        [jackknife_interval(one, pooled_frechet_distance) for one in sets],
    )
    assert all(low < value < high for value, (low, high) in zip(values, intervals, strict=True))
    held = np.mean([low <= np.mean(values) <= high for low, high in intervals])
    assert held == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 120))


def test_a_pooled_entropy_lies_in_its_own_interval():
    """Ten dialogues, each in two clusters of its own: any resample of them has fewer clusters."""
    counts = np.kron(np.eye(10), [3.0, 4.0])
    low, high = jackknife_interval(counts, pooled_sid)
    assert low <= pooled_sid(counts.sum(0)) <= high and high - low < 0.1


def test_fewer_than_five_dialogues_have_no_interval():
    """Those that add nothing do not count: here a clip that does not define the metric."""
    assert jackknife_interval(means([1.0, 2.0, 3.0, 4.0]), mean_of) is None
    assert jackknife_interval(np.concatenate([means([1.0, 2.0, 3.0, 4.0]), np.zeros((3, 2))]), mean_of) is None
    five = means([1.0, 2.0, 3.0, 4.0, 5.0])
    assert jackknife_interval(np.concatenate([five, np.zeros((3, 2))]), mean_of) == jackknife_interval(five, mean_of) is not None


def test_a_number_that_hangs_on_one_dialogue_has_no_interval():
    sums = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])  # without the first there is no count
    assert mean_of(sums.sum(0)) == 5 and jackknife_interval(sums, mean_of) is None


def test_both_people_of_a_dialogue_stay_together():
    """Within each dialogue one person is at +1, the other at -1: every dialogue's mean is 0, so the interval has no width.

    Notices clips resampled one by one, which would give +-0.2.
    """
    tally = Tally()
    for number in range(50):
        for value in (1.0, -1.0):
            tally.add(f"d{number}", {("MSE", "exp"): value})
    score = tally.row({}, scaled=False).scores["MSE", "exp"]
    assert score.interval == (0.0, 0.0) and score.used == 100


def test_clips_that_do_not_define_a_metric_are_counted_and_not_averaged():
    tally = Tally()
    for number, value in enumerate([1.0, float("nan"), 3.0, 2.0, 1.0, 3.0]):
        tally.add(f"d{number}", {("SID", "exp"): value})
    score = tally.row({}, scaled=False).scores["SID", "exp"]
    assert (score.value, score.used, score.skipped) == (2.0, 5, 1)
    assert score.interval == pytest.approx([2 - 2.776445 / np.sqrt(5), 2 + 2.776445 / np.sqrt(5)], rel=1e-6), "Student's of five"


def test_scaling_reaches_value_and_interval():
    tally = Tally()
    for number in range(5):
        tally.add(f"d{number}", {("FD", "jaw"): 0.001 * (number + 1), ("SID", "jaw"): 2.0})
    row = tally.row({}, scaled=True)
    plain, scaled = row.unscaled["FD", "jaw"], row.scores["FD", "jaw"]
    assert scaled.value == pytest.approx(3) and plain.value == pytest.approx(0.003)
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
