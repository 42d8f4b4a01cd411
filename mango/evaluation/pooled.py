"""Metrics over all frames of a set at once, from numbers that add up over dialogues (see `mango.evaluation.intervals`).

Per-sequence Fréchet distances of short clips measure mostly how badly a covariance of 50 dimensions is known from a few hundred
frames. Pooled ones ask whether the repertoire is right, and no longer see which clip it was shown in.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mango.evaluation.parameter_metrics import Assignment, Motion, cluster_assignment, entropy_bits, gaussian_distance

LARGEST_FITTED = 20_000  # frames that pooled clusters are fitted on, evenly spread over the set


def frechet_summands(a: Motion, b: Motion) -> Float[np.ndarray, "summands"]:
    """Number of frames, sums and sums of products of both motions."""
    sums = [np.concatenate([[len(x)], x.sum(0), (x.T @ x).ravel()]) for x in (a.astype(np.float64), b.astype(np.float64))]
    return np.concatenate(sums)


def pooled_frechet_distance(sums: Float[np.ndarray, "summands"]) -> float:
    """FD (see `parameter_metrics.frechet_distance`) of all frames that went into the sums. NaN below two frames."""
    half = len(sums) // 2
    if min(sums[0], sums[half]) < 2:
        return float("nan")
    return gaussian_distance(*_moments(sums[:half]), *_moments(sums[half:]))


def _moments(sums: Float[np.ndarray, "summands"]) -> tuple[Float[np.ndarray, "dims"], Float[np.ndarray, "dims dims"]]:
    dims = math.isqrt(len(sums))  # 1 + D + D^2
    frames, mean = sums[0], sums[1 : 1 + dims] / sums[0]
    return mean, (sums[1 + dims :].reshape(dims, dims) - frames * np.outer(mean, mean)) / (frames - 1)


def pooled_assignment(truths: Sequence[Float[np.ndarray, "_ dims"]], clusters: int) -> Assignment | None:
    """Clusters of all true frames together; None when there are fewer frames than clusters."""
    frames = np.concatenate(truths)
    if len(frames) < clusters:
        return None
    every = -(-len(frames) // LARGEST_FITTED)
    return cluster_assignment(frames[::every], clusters)


def pooled_sid(counts: Float[np.ndarray, "clusters"]) -> float:
    """SID (see `parameter_metrics.sid`) of prediction frames over clusters of all true frames of the set, bits, higher is better."""
    return entropy_bits(counts) if counts.sum() else float("nan")
