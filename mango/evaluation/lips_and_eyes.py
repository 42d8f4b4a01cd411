"""What lips and eyes do: openings, closures, blinks and gaze. Lip openings come in metres, lid distances in millimetres."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.data.phones import BILABIALS
from mango.evaluation.vertex_metrics import MILLIMETRES, Vertices
from mango.head.conventions import axis_angle_to_matrix
from mango.types import FRAME_RATE

CLOSED = 0.001  # metres of lip opening beyond rest: what the eye still takes for closed


# Lips


def lip_opening_slope(*, prediction: Sequence[Float[Tensor, "..."]], truth: Sequence[Float[Tensor, "..."]]) -> float:
    """Slope of the regression of predicted on true lip opening over clips, 1 is best; below 1 the mouth moves too little.

    slope = sum_clips cov(truth, prediction) / sum_clips var(truth): each clip is centred on its own, so a static offset does not count, and
    a clip in which the mouth hardly moves weighs little. Late or early movement lowers it as well. NaN where the truth never moves.
    Each clip is a vector over time.
    """
    assert len(prediction) == len(truth)
    covariance = variance = 0.0
    for p, t in zip(prediction, truth, strict=True):
        assert p.ndim == 1 and p.shape == t.shape, "each clip's lip opening is one vector over time"
        if len(t) == 0:
            continue
        centred = (t - t.mean()).double()
        covariance += float((centred * (p - p.mean())).sum())
        variance += float(centred.square().sum())
    return covariance / variance if variance > 0 else float("nan")


def closure_error(
    *, prediction: Float[Tensor, "time"], truth: Float[Tensor, "time"], phones: Sequence, fps: float | int = FRAME_RATE
) -> Float[Tensor, ""]:
    """How far the lips stay open at p, b and m, mm, lower is better.

    Mean over bilabial phones of max(0, min_t prediction - min_t truth), t over the frames that the phone touches. Pressing the lips
    harder than the truth is no error. ``phones`` have symbol, start and end (seconds); NaN without a bilabial.
    """
    touched = bilabial_frames(phones, len(truth), fps)
    errors = [(prediction[frames].min() - truth[frames].min()).clamp_min(0) for frames in touched]
    return MILLIMETRES * torch.stack(errors).mean() if errors else truth.new_tensor(torch.nan)


@dataclass(frozen=True)
class Closures:
    closed: int
    bilabials: int


def closures(opening: Float[Tensor, "time"], phones: Sequence, *, rest: float, fps: float | int = FRAME_RATE) -> Closures:
    """At how many p, b and m the lips close: come within 1 mm of their opening at ``rest`` (metres). closed / bilabials is the lip
    closure rate, higher is better (a share, without unit).

    `closure_error` says by how much they miss the truth; this counts, and needs no truth but the phones.
    """
    touched = bilabial_frames(phones, len(opening), fps)
    return Closures(sum(bool(opening[frames].min() <= rest + CLOSED) for frames in touched), len(touched))


def bilabial_frames(phones: Sequence, frames: int, fps: float | int = FRAME_RATE) -> list[slice]:
    """The frames that each p, b and m touches, of those that begin within ``frames``."""
    touched = []
    for phone in phones:
        first, last = math.floor(phone.start * fps + 1e-6), math.ceil(phone.end * fps - 1e-6)  # a boundary on a frame is exact
        if phone.symbol.upper() in BILABIALS and first < frames:
            touched.append(slice(first, max(first + 1, last)))
    return touched


# Eyelids


BLINK = 0.75  # of the usual opening: below it the eyes are taken to be closing


@dataclass(frozen=True)
class Blinks:
    """When blinks happen is chance, given a voice; how deep and how often they are is not."""

    depths: list[float]  # of each blink, 1 = lids meet
    per_minute: float


def eye_opening(head, vertices: Vertices) -> Float[Tensor, "time"]:
    """Mean distance of upper and lower lids, mm."""
    return MILLIMETRES * head.eye_opening(vertices)


def blinks(opening: Float[Tensor, "time"], fps: float | int = FRAME_RATE) -> Blinks:
    """Stretches in which the eyes are less than 0.75 as open as in the clip's median frame; depth = 1 - smallest / median."""
    usual = opening.median()
    closing = torch.nn.functional.pad((opening < BLINK * usual).int(), (1, 1)).diff()
    firsts, ends = (closing == 1).nonzero()[:, 0].tolist(), (closing == -1).nonzero()[:, 0].tolist()
    depths = [1 - float(opening[first:end].min() / usual) for first, end in zip(firsts, ends, strict=True)]
    return Blinks(depths, 60 * len(depths) * fps / len(opening))


# Gaze


def gaze_angle(a: Float[Tensor, "time 6"], b: Float[Tensor, "time 6"], keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """Mean over frames of the angle between two gazes, degrees, lower is better: acos(g_P . g_G), g the mean of both eyes' directions.

    Directions are within the head: each eye's z axis after its rotation vector (left eye, right eye; radians). After the gaze term
    of Talking Together, which trains 1 - cos. NaN with fewer than two frames kept.
    """
    gazes = [axis_angle_to_matrix((eyes if keep is None else eyes[keep]).unflatten(-1, (2, 3)))[..., 2].mean(1) for eyes in (a, b)]
    if len(gazes[0]) < 2:
        return a.new_tensor(torch.nan)
    # atan2 because acos cannot tell angles below 0.03 degrees in float32
    sine = torch.linalg.cross(*gazes).norm(dim=-1)
    return torch.rad2deg(torch.atan2(sine, (gazes[0] * gazes[1]).sum(-1))).mean()
