"""From compared motion to the parameter metrics of one row, in one of two ways.

                        dualtalk-official                       corrected (and native)
    SID                 clusters on the prediction (swapped)    clusters on the truth
    root in FD          scipy's sqrtm                           symmetric, cut at rounding
    diversity           more than 100 frames, 100 pairs         as many pairs as frames allow
    beside them                                                 pooled and per-dimension variants, PDD, JDD

Both average over sequences (one person of one clip), and both draw diversity with a seed made from the file's name: the
published script draws without one, so no draw reproduces it better than another.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from mango.evaluation import parameter_metrics as metrics
from mango.evaluation.catalogue import PARTS
from mango.evaluation.compared import ComparedMotion
from mango.evaluation.pooled import frechet_summands, pooled_assignment, pooled_frechet_distance, pooled_sid
from mango.evaluation.scores import Key, Tally, one_blas_thread
from mango.seeds import numpy_generator

JAW_X = slice(0, 1)


def add_compared(
    tally: Tally, compared: Sequence[ComparedMotion], *, official: bool, seed: int, scored: Callable[[], None] = lambda: None
) -> None:
    """Every parameter metric of every sequence; where no sequence has a speaking mask, no S- and L- metrics.

    ``scored`` is called after each sequence.
    """
    with one_blas_thread():
        masked = any(one.speaking is not None for one in compared)
        for one in compared:
            for part in PARTS:
                tally.add(one.dialogue, sequence_metrics(one, part, official=official, seed=seed))
            if masked:
                tally.add(one.dialogue, _by_role(one, "sqrtm" if official else "symmetric"))
            if not official:
                tally.add(one.dialogue, _dynamics(one))
            scored()
        for part in () if official else PARTS:
            _add_pooled(tally, compared, part, masked)


def sequence_metrics(one: ComparedMotion, part: str, *, official: bool, seed: int) -> Mapping[Key, float]:
    """The metrics of one part of one person in one clip, unscaled."""
    keep, clusters = one.trusted, metrics.SID_CLUSTERS[part]
    p, g = one.prediction[part][keep], one.truth[part][keep]
    root = "sqrtm" if official else "symmetric"
    forward = metrics.sid(clustered=g, assigned=p, clusters=clusters)
    backward = metrics.sid(clustered=p, assigned=g, clusters=clusters)
    enough = len(p) > metrics.DIVERSITY_PAIRS or not official
    spread = {
        name: metrics.diversity(motion, numpy_generator(seed, "diversity", one.name, part)) if enough else float("nan")
        for name, motion in (("Diversity", p), ("Diversity_truth", g))
    }
    values = {
        "FD": metrics.frechet_distance(p, g, root=root),
        "MSE": metrics.mse(p, g),
        "SID": backward if official else forward,
        "forward_SID": forward,
        "reverse_SID": backward,
        "STS": metrics.sts(one.prediction[part], one.truth[part], keep),
        **spread,
        "Variance": metrics.variance(p),
        "Variance_truth": metrics.variance(g),
        **_with_partner(one, part, official, root),
    }
    return {(name, part): value for name, value in values.items()}


def _with_partner(one: ComparedMotion, part: str, official: bool, root: metrics.Root) -> Mapping[str, float]:
    names = ("P-FD", "rPCC") if official else ("P-FD", "rPCC", "rPCC_per_dimension")
    keep = one.both_trusted
    if one.partner is None or keep.sum() < 2:
        return dict.fromkeys(names, float("nan"))
    three = {"prediction": one.prediction[part][keep], "truth": one.truth[part][keep], "partner": one.partner[part][keep]}
    values = {"P-FD": metrics.paired_frechet_distance(**three, root=root), "rPCC": metrics.rpcc(**three)}
    return values if official else values | {"rPCC_per_dimension": metrics.rpcc_per_dimension(**three)}


def _by_role(one: ComparedMotion, root: metrics.Root) -> Mapping[Key, float]:
    values = {}
    for part in PARTS:
        p, g = one.prediction[part], one.truth[part]
        for name, keep in _roles(one):
            values[f"{name}_FD", part] = float("nan") if keep is None else metrics.masked_frechet_distance(p, g, keep, root=root)
    return values


def _roles(one: ComparedMotion) -> tuple[tuple[str, Bool[np.ndarray, "time"] | None], ...]:
    if one.speaking is None:
        return ("S", None), ("L", None)
    return ("S", one.speaking & one.trusted), ("L", ~one.speaking & one.trusted)


def _dynamics(one: ComparedMotion) -> Mapping[Key, float]:
    values = {}
    (_, speaking), (_, listening) = _roles(one)
    for role, keep in (("all", one.trusted), ("speaking", speaking), ("listening", listening)):
        if keep is None:
            continue
        values["PDD", role] = metrics.dynamics_deviation(one.prediction["pose"], one.truth["pose"], keep)
        values["JDD", role] = metrics.dynamics_deviation(one.prediction["jaw"][:, JAW_X], one.truth["jaw"][:, JAW_X], keep)
    return values


def _add_pooled(tally: Tally, compared: Sequence[ComparedMotion], part: str, masked: bool) -> None:
    clusters = metrics.SID_CLUSTERS[part]
    assignment = pooled_assignment([one.truth[part][one.trusted] for one in compared], clusters)
    for one in compared:
        for name, (a, b) in _pooled_pairs(one, part, masked).items():
            sums = frechet_summands(a, b)
            tally.add_sums(one.dialogue, (name, part), sums, pooled_frechet_distance, used=len(a) > 0)
        counts = np.zeros(clusters)
        if assignment is not None:
            counts = np.bincount(assignment(one.prediction[part][one.trusted]), minlength=clusters).astype(np.float64)
        tally.add_sums(one.dialogue, ("SID_pooled", part), counts, pooled_sid, used=assignment is not None)


def _pooled_pairs(one: ComparedMotion, part: str, masked: bool) -> Mapping[str, tuple[metrics.Motion, metrics.Motion]]:
    p, g = one.prediction[part], one.truth[part]
    partner, both = (p, one.both_trusted & False) if one.partner is None else (one.partner[part], one.both_trusted)
    beside = tuple(np.concatenate([partner, motion], axis=1)[both] for motion in (p, g))
    pairs = {"FD_pooled": (p[one.trusted], g[one.trusted]), "P-FD_pooled": beside}
    if masked:
        for name, keep in _roles(one):
            pairs[f"{name}_FD_pooled"] = (p[:0], g[:0]) if keep is None else (p[keep], g[keep])
    return pairs
