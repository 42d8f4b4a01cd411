"""Confidence intervals by leaving dialogues out, both people of a dialogue together: they hear each other, so they are one observation.

A metric over a set of clips is a function of numbers that add up over dialogues: a mean is (sum, count), a regression slope
(covariance, variance), a pooled Fréchet distance both motions' moments. A set without a dialogue is then one subtraction.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

LEVEL = 0.95
FEWEST = 5  # dialogues: fewer say too little of their own spread
MOST_PARTS = 200  # that are left out one after the other; of more dialogues several at a time


def mean_of(sums: Float[np.ndarray, "2"]) -> float:
    """What (sum of values, number of values) means."""
    return float(sums[0] / sums[1]) if sums[1] else float("nan")


def jackknife_interval(
    summands: Float[np.ndarray, "dialogues summands"],
    value: Callable[[Float[np.ndarray, "summands"]], float],
    *,
    level: float = LEVEL,
) -> tuple[float, float] | None:
    """``value(sum over dialogues)`` and to either side Student's t times its jackknife error (Quenouille and Tukey; of groups: Kott 2001).

    variance = (n - 1) / n sum_i (value without i - their mean)^2 with n - 1 degrees of freedom. Of a mean that is the usual t interval. A
    bootstrap draws dialogues twice and others not at all, which makes a pooled Fréchet distance larger and an entropy smaller: its
    percentiles usually do not hold the number itself. The interval holds what other sets of this size would give: a pooled distance of few
    frames is too large, and how much smaller it would be of more is not asked.

    None below five dialogues that have anything to add, and where a set without one of them has no value.
    """
    known = summands[summands.any(axis=1)]
    if len(known) < FEWEST:
        return None
    parts = np.stack([known[first::MOST_PARTS].sum(0) for first in range(min(len(known), MOST_PARTS))])
    whole = parts.sum(0)
    without = np.array([value(whole - part) for part in parts])
    if not np.isfinite(without).all():
        return None
    from scipy.stats import t as student

    error = np.sqrt((len(parts) - 1) * without.var())
    reach = float(student.ppf((1 + level) / 2, len(parts) - 1) * error)
    centre = value(whole)
    return centre - reach, centre + reach
