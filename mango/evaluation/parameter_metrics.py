"""Metrics of motion parameters (expression coefficients, jaw and head rotation vectors), in the family of DualTalk's tables.

Every function takes arrays ``(time, dims)`` of one part of one person in one clip, in the parameters' own units (coefficients,
radians), unscaled. P is the prediction, G the truth, Q the partner's true motion; where exchanging arguments would change the
number they are keyword-only. Computed in float64. NaN means "not defined for this clip" and is counted, not averaged.
Sources: DualTalk's and TIMAR's public metric definitions; UniLS for `dynamics_deviation`.
"""

import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Integer

Motion = Float[np.ndarray, "time dims"]
OtherMotion = Float[np.ndarray, "other_time dims"]  # may be longer or shorter
Assignment = Callable[[Float[np.ndarray, "_ dims"]], Integer[np.ndarray, "_"]]  # which cluster each frame is nearest to
Root = Literal[
    "symmetric",  # eigenvalues of C1^(1/2) C2 C1^(1/2): exact for covariances of any rank
    "sqrtm",  # scipy's square root of C1 C2, as published; loses about 1e-8 of the trace where a covariance is rank-deficient
]

SID_CLUSTERS = {"exp": 40, "jaw": 10, "pose": 10}
STS_FRAME_SECONDS = 0.1  # the constant of the published code, not a frame's duration at 25 fps
DIVERSITY_PAIRS = 100
ADDED_TO_SINGULAR = 1e-6
LARGEST_IMAGINARY = 1e-3


# Distributions


def frechet_distance(a: Motion, b: OtherMotion, *, root: Root = "symmetric") -> float:
    """FD = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2), the parameters' unit squared, lower is better; symmetric.

    m is the mean over frames and C the unbiased covariance (T - 1) of each. 0 for equal motion. NaN below two frames.
    """
    if min(len(a), len(b)) < 2:
        return float("nan")
    return gaussian_distance(*_moments(a), *_moments(b), root=root)


def paired_frechet_distance(*, prediction: Motion, truth: Motion, partner: Motion, root: Root = "symmetric") -> float:
    """P-FD, the parameters' unit squared, lower is better: FD between [Q ; G] and [Q ; P], joined on the feature axis.

    Sees what FD does not: whether the prediction varies together with the partner as the truth does.
    """
    return frechet_distance(np.concatenate([partner, truth], axis=1), np.concatenate([partner, prediction], axis=1), root=root)


def gaussian_distance(
    mean_a: Float[np.ndarray, "dims"],
    covariance_a: Float[np.ndarray, "dims dims"],
    mean_b: Float[np.ndarray, "dims"],
    covariance_b: Float[np.ndarray, "dims dims"],
    *,
    root: Root = "symmetric",
) -> float:
    """The squared 2-Wasserstein distance of two Gaussians (Dowson and Landau 1982), which `frechet_distance` is of fitted ones."""
    between = _trace_of_root if root == "symmetric" else _trace_of_sqrtm
    shift = float(np.square(mean_a - mean_b).sum())
    return shift + float(np.trace(covariance_a) + np.trace(covariance_b)) - 2 * between(covariance_a, covariance_b)


def _moments(motion: Motion) -> tuple[Float[np.ndarray, "dims"], Float[np.ndarray, "dims dims"]]:
    motion = motion.astype(np.float64)
    return motion.mean(0), np.atleast_2d(np.cov(motion, rowvar=False))


def _trace_of_root(a: Float[np.ndarray, "dims dims"], b: Float[np.ndarray, "dims dims"]) -> float:
    values, vectors = np.linalg.eigh(a)
    half = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    values = np.linalg.eigvalsh(half @ b @ half)
    # What rounding leaves of a zero eigenvalue is 1e-16 of the largest, and its root 1e-8: cut it, or the null space counts.
    floor = values[-1] * len(values) * np.finfo(np.float64).eps
    return float(np.sqrt(values[values > floor]).sum())


def _trace_of_sqrtm(a: Float[np.ndarray, "dims dims"], b: Float[np.ndarray, "dims dims"]) -> float:
    """With the published treatment of trouble: 1e-6 I added where the root is not finite; no number where it is truly complex."""
    from scipy.linalg import sqrtm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of singular matrices, which are expected here
        root = sqrtm(a @ b)
        if not np.isfinite(root).all():
            offset = ADDED_TO_SINGULAR * np.eye(len(a))
            root = sqrtm((a + offset) @ (b + offset))
    if np.iscomplexobj(root) and np.abs(np.diagonal(root).imag).max() > LARGEST_IMAGINARY:
        return float("nan")
    return float(np.trace(root).real)


# Frame by frame


def mse(a: Motion, b: Motion) -> float:
    """Mean over frames and dimensions of (P - G)^2, the parameters' unit squared, lower is better; symmetric."""
    return float(np.square(a.astype(np.float64) - b).mean())


def sts(a: Motion, b: Motion, keep: Bool[np.ndarray, "time"] | None = None) -> float:
    """STS = sqrt( sum over t >= 1 and dims of (dP - dG)^2 / 0.1 ) of first differences dP, dG, lower is better; symmetric.

    Grows with the clip's length and the number of dimensions: compare only over the same clips. A difference counts when both of its
    frames are kept; NaN when none does.
    """
    difference = np.diff(a.astype(np.float64) - b, axis=0)
    if keep is not None:
        difference = difference[keep[1:] & keep[:-1]]
    return float(np.sqrt((np.square(difference) / STS_FRAME_SECONDS).sum())) if len(difference) else float("nan")


# Diversity


def sid(*, clustered: Motion, assigned: OtherMotion, clusters: int) -> float:
    """Entropy of how ``assigned`` spreads over k-means clusters of ``clustered``, bits, higher is more diverse (Learning2Listen).

    SI = -sum_k p_k log2(p_k + 1e-6), p the share of frames of each cluster; at most log2 K. Clusters of the truth and an assigned
    prediction say how much of the true repertoire the prediction uses (TIMAR's ``sid``); the published script has it the other
    way round (TIMAR's ``reverse_sid``). KMeans(K, random_state 0, n_init auto), on numbers of the type that the files hold, as
    published. NaN with fewer frames than clusters.
    """
    if len(clustered) < clusters:
        return float("nan")
    return entropy_bits(np.bincount(cluster_assignment(clustered, clusters)(assigned), minlength=clusters))


def entropy_bits(counts: Integer[np.ndarray, "clusters"] | Float[np.ndarray, "clusters"]) -> float:
    """-sum p log2(p + 1e-6) of a histogram; the published offset keeps empty bins at zero."""
    share = counts / counts.sum()
    return float(-(share * np.log2(share + 1e-6)).sum())


def cluster_assignment(motion: Motion, clusters: int) -> Assignment:
    """k-means clusters of ``motion``, to assign frames of any motion to."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a face that hardly moves has fewer distinct frames than clusters
        fitted = KMeans(n_clusters=clusters, random_state=0, n_init="auto").fit(np.ascontiguousarray(motion))
    return lambda other: fitted.predict(np.ascontiguousarray(other, dtype=motion.dtype))


def diversity(motion: Motion, random: np.random.Generator, *, pairs: int = DIVERSITY_PAIRS) -> float:
    """Mean L2 distance of ``pairs`` random pairs of frames, the parameters' unit; nearest to the truth's is best.

    Two draws of frames, each without replacement; a clip of fewer frames has as many pairs as frames. The published code draws
    without a seed, so its own numbers differ from run to run; ours are a function of ``random``.
    """
    size = min(pairs, len(motion))
    first, second = (random.choice(len(motion), size, replace=False) for _ in range(2))
    return float(np.linalg.norm(motion[first].astype(np.float64) - motion[second], axis=1).mean())


def variance(motion: Motion) -> float:
    """Mean over dimensions of the variance over time (divided by T), the parameters' unit squared; nearest to the truth's is best."""
    return float(motion.astype(np.float64).var(axis=0).mean())


# Together with the partner


def rpcc(*, prediction: Motion, truth: Motion, partner: Motion) -> float:
    """rPCC = | corr(G, Q) - corr(P, Q) |, Pearson over all T x D values flattened, no unit, lower is better.

    As published. Flattening mixes the dimensions' offsets into the correlation (`rpcc_per_dimension` does not). NaN where one of the
    three is constant.
    """
    flat = [motion.astype(np.float64).ravel() for motion in (truth, prediction, partner)]
    if any(np.ptp(values) == 0 for values in flat):
        return float("nan")
    return abs(_correlation(flat[0], flat[2]) - _correlation(flat[1], flat[2]))


def rpcc_per_dimension(*, prediction: Motion, truth: Motion, partner: Motion) -> float:
    """Mean over dimensions d of | corr(G_d, Q_d) - corr(P_d, Q_d) |, no unit, lower is better.

    Dimensions in which the truth or the partner never moves have nothing to reproduce and are left out (NaN when that is all of
    them); a prediction that does not move there has correlation 0.
    """
    truth, prediction, partner = (motion.astype(np.float64) for motion in (truth, prediction, partner))
    moving = (np.ptp(truth, axis=0) > 0) & (np.ptp(partner, axis=0) > 0)
    if not moving.any():
        return float("nan")
    gaps = []
    for g, p, q in zip(truth.T[moving], prediction.T[moving], partner.T[moving], strict=True):
        gaps.append(abs(_correlation(g, q) - (_correlation(p, q) if np.ptp(p) > 0 else 0.0)))
    return float(np.mean(gaps))


def _correlation(a: Float[np.ndarray, "values"], b: Float[np.ndarray, "values"]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


# Dynamics


def dynamics_deviation(a: Motion, b: Motion, keep: Bool[np.ndarray, "time"] | None = None) -> float:
    """100 x mean over dims of | std_t P - std_t G | (unbiased), hundredths of the parameters' unit, lower is better; symmetric.

    UniLS's PDD on the head's three rotations and JDD on the jaw's x rotation alone. NaN with fewer than two frames kept.
    """
    a, b = (motion.astype(np.float64) if keep is None else motion[keep].astype(np.float64) for motion in (a, b))
    return float("nan") if len(a) < 2 else float(100 * np.abs(a.std(axis=0, ddof=1) - b.std(axis=0, ddof=1)).mean())


def masked_frechet_distance(a: Motion, b: Motion, keep: Bool[np.ndarray, "time"], *, root: Root = "symmetric") -> float:
    """S-FD (``keep``: frames in which the person speaks) or L-FD (all others), the parameters' unit squared, lower is better.

    The source (MANGO) does not say whether sequences are pooled; this is FD within a sequence. NaN where fewer than 2 D frames are
    kept: a covariance of D dimensions from fewer is mostly chance.
    """
    return float("nan") if keep.sum() < 2 * a.shape[1] else frechet_distance(a[keep], b[keep], root=root)
