"""Numbers about motion and pictures. Vertices come in metres, results are millimetres; every name fixes one definition.

Papers print "LVE" for at least three different quantities, so each variant has its own name here. Vertices must have their head
pose removed first (`unposed_vertices`): otherwise a nod counts as a lip error.

Differences do not care which argument is the prediction; where it matters (slope, closure) the arguments are keyword-only.
``keep`` selects frames (True = counts), for instance speaking frames; fewer than two frames give NaN, as in UniLS.
All of them are means over time within one clip; averaging over clips, ignoring NaN, is the protocol's business.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mango.losses.image import ssim as ssim_map
from mango.types import FRAME_RATE, MotionClip

MILLIMETRES = 1000.0
BILABIALS = ("p", "b", "m")

Vertices = Float[Tensor, "time verts 3"]
Region = Int[Tensor, "region_verts"]


def unposed_vertices(head, clip: MotionClip, shape: Float[Tensor, "identity"] | None = None) -> Float[Tensor, "time verts 3"]:
    """Vertices of a clip with the head held still: neck pose, rotation and translation zero.

    Prediction and truth must be given the same ``shape``; a difference of identity is not a difference of motion.
    """
    assert clip.head == head.digest, f"motion of head {clip.head[:12]} on head {head.digest[:12]}"
    person = head.with_shape(clip.shape if shape is None else shape)
    return person.vertices(clip.expr, torch.zeros_like(clip.neck_pose), clip.jaw_pose, clip.eyes_pose)


# Vertices


def lve_max(a: Vertices, b: Vertices, lips: Region, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """Lip vertex error, mm, lower is better: mean over frames of the largest lip-vertex distance, mean_t max_v |dv|."""
    return _mean(distances(a, b, lips).amax(-1), keep)


def lve_rms(a: Vertices, b: Vertices, lips: Region, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """UniLS's LVE, mm, lower is better: sqrt(mean_t max_v |dv|^2), the root after the mean."""
    return _mean(distances(a, b, lips).amax(-1).square(), keep).sqrt()


def lve_squared(a: Vertices, b: Vertices, lips: Region, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """FaceFormer's LVE, mm^2, lower is better: mean_t max_v |dv|^2, no root."""
    return _mean(distances(a, b, lips).amax(-1).square(), keep)


def lve_dynamic(a: Vertices, b: Vertices, lips: Region, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """`lve_max` after each vertex's mean error over the counted frames is removed, mm, lower is better.

    What remains is error of movement. A constant offset of a clip (a tracker's gauge, a neutral face fitted
    slightly open) disappears; the difference to `lve_max` is the static part.
    """
    error = (a - b)[:, lips] if keep is None else (a - b)[:, lips][keep]
    if error.shape[0] < 2:
        return error.new_tensor(torch.nan)
    return (MILLIMETRES * (error - error.mean(0))).norm(dim=-1).amax(-1).mean()


def mve(a: Vertices, b: Vertices, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """Mean vertex error, mm, lower is better: mean over frames and all vertices of |dv|."""
    return _mean(distances(a, b).mean(-1), keep)


def region_error(a: Vertices, b: Vertices, region: Region, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """Mean vertex error of a region, mm, lower is better; with the region ``upper_face`` the upper-face error."""
    return _mean(distances(a, b, region).mean(-1), keep)


def lip_velocity_error(
    a: Vertices, b: Vertices, lips: Region, keep: Bool[Tensor, "time"] | None = None, fps: float | int = FRAME_RATE
) -> Float[Tensor, ""]:
    """Mean over frames and lip vertices of the velocity difference |d(dv)/dt|, mm/s, lower is better.

    Velocity of frame t is fps * (v[t] - v[t-1]); a frame counts when it and the one before are kept. Constant offsets vanish,
    jitter and shifts show.
    """
    velocity = fps * MILLIMETRES * (a - b)[:, lips].diff(dim=0)
    return _mean(velocity.norm(dim=-1).mean(-1), None if keep is None else keep[1:] & keep[:-1])


def distances(a: Vertices, b: Vertices, region: Region | None = None) -> Float[Tensor, "time counted_verts"]:
    """Distance of each vertex, mm."""
    assert a.shape == b.shape, f"prediction and truth differ in shape: {tuple(a.shape)} and {tuple(b.shape)}"
    error = a - b if region is None else (a - b)[:, region]
    return MILLIMETRES * error.norm(dim=-1)


def _mean(per_frame: Float[Tensor, "time"], keep: Bool[Tensor, "time"] | None) -> Float[Tensor, ""]:
    counted = per_frame if keep is None else per_frame[keep]
    return counted.mean() if counted.shape[0] >= 2 else per_frame.new_tensor(torch.nan)


# Lip opening


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
    errors = []
    for phone in phones:
        first, last = math.floor(phone.start * fps + 1e-6), math.ceil(phone.end * fps - 1e-6)  # a boundary on a frame is exact
        frames = slice(first, max(first + 1, last))
        if phone.symbol.lower() in BILABIALS and frames.start < len(truth):
            errors.append((prediction[frames].min() - truth[frames].min()).clamp_min(0))
    return MILLIMETRES * torch.stack(errors).mean() if errors else truth.new_tensor(torch.nan)


# Eyelids


EYELIDS = ((37, 41), (38, 40), (43, 47), (44, 46))  # upper and lower lid, of iBUG's 68 points
BLINK = 0.75  # of the usual opening: below it the eyes are taken to be closing


@dataclass(frozen=True)
class Blinks:
    """When blinks happen is chance, given a voice; how deep and how often they are is not."""

    depths: list[float]  # of each blink, 1 = lids meet
    per_minute: float


def eye_opening(head, vertices: Vertices) -> Float[Tensor, "time"]:
    """Mean distance of upper and lower lids, mm."""
    points = head.landmarks(vertices)
    return MILLIMETRES * torch.stack([(points[:, upper] - points[:, lower]).norm(dim=-1) for upper, lower in EYELIDS]).mean(0)


def blinks(opening: Float[Tensor, "time"], fps: float | int = FRAME_RATE) -> Blinks:
    """Stretches in which the eyes are less than 0.75 as open as in the clip's median frame; depth = 1 - smallest / median."""
    usual = opening.median()
    closing = torch.nn.functional.pad((opening < BLINK * usual).int(), (1, 1)).diff()
    firsts, ends = (closing == 1).nonzero()[:, 0].tolist(), (closing == -1).nonzero()[:, 0].tolist()
    depths = [1 - float(opening[first:end].min() / usual) for first, end in zip(firsts, ends, strict=True)]
    return Blinks(depths, 60 * len(depths) * fps / len(opening))


# Pictures


def psnr(
    prediction: Float[Tensor, "*batch rows cols channels"], truth: Float[Tensor, "*batch rows cols channels"]
) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio of each picture in [0, 1], dB, higher is better: 10 log10(1 / MSE); infinite for equal pictures."""
    return -10 * (prediction - truth).square().mean((-3, -2, -1)).log10()


def ssim(
    prediction: Float[Tensor, "*batch rows cols channels"], truth: Float[Tensor, "*batch rows cols channels"]
) -> Float[Tensor, "*batch"]:
    """Mean structural similarity of each picture, at most 1, higher is better: the mean of `mango.losses.image.ssim`."""
    return ssim_map(prediction, truth).mean((-3, -2, -1))
