"""Confidence intervals by resampling dialogues, both people of a dialogue together: they hear each other, so they are one observation.

A metric over a set of clips is a function of numbers that add up over dialogues: a mean is (sum, count), a regression slope
(covariance, variance), a pooled Fréchet distance both motions' moments. Resampled dialogues are then weights of one sum.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from mango.seeds import numpy_generator

RESAMPLES = 1000
LEVEL = 0.95


def mean_of(sums: Float[np.ndarray, "2"]) -> float:
    """What (sum of values, number of values) means."""
    return float(sums[0] / sums[1]) if sums[1] else float("nan")


def bootstrap_interval(
    summands: Float[np.ndarray, "dialogues summands"],
    value: Callable[[Float[np.ndarray, "summands"]], float],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float] | None:
    """Percentile bootstrap of ``value(sum over dialogues)`` (Efron 1979). None below two dialogues: one has no spread.

    The draws depend on the seed and the number of dialogues alone, so that all metrics of a set see the same resamples.
    Resamples in which the value is not defined do not count.
    """
    dialogues = len(summands)
    if dialogues < 2:
        return None
    random = numpy_generator(seed, "bootstrap", dialogues)
    weights = random.multinomial(dialogues, np.full(dialogues, 1 / dialogues), size=resamples)
    different, often = np.unique(weights, axis=0, return_counts=True)  # a few dialogues have few resamples
    values = np.repeat([value(weight @ summands) for weight in different.astype(np.float64)], often)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
