"""Errors of vertices. They come in metres, results are millimetres; every name fixes one definition.

Papers print "LVE" for at least three different quantities, so each variant has its own name here. Vertices must have their head
pose removed first (`unposed_vertices`): otherwise a nod counts as a lip error.

Differences do not care which argument is the prediction; where it matters the arguments are keyword-only. ``keep`` selects
frames (True = counts), for instance speaking frames; fewer than two frames give NaN, as in UniLS.
All of them are over time within one clip; averaging over clips, ignoring NaN, is the protocol's business.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mango.types import FRAME_RATE, MotionClip

MILLIMETRES = 1000.0

Vertices = Float[Tensor, "time verts 3"]
Region = Int[Tensor, "region_verts"]


def unposed_vertices(head, clip: MotionClip, shape: Float[Tensor, "identity"] | None = None) -> Float[Tensor, "time verts 3"]:
    """Vertices of a clip with the head held still: neck pose, rotation and translation zero.

    Prediction and truth must be given the same ``shape``; a difference of identity is not a difference of motion.
    """
    assert clip.head == head.digest, f"motion of head {clip.head[:12]} on head {head.digest[:12]}"
    person = head.with_shape(clip.shape if shape is None else shape)
    return person.vertices(clip.expr, torch.zeros_like(clip.neck_pose), clip.jaw_pose, clip.eyes_pose)


# Positions


def lve_max(a: Vertices, b: Vertices, lips: Region, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """Lip vertex error, mm, lower is better: mean over frames of the largest lip-vertex distance, mean_t max_v |dv|."""
    return _mean(distances(a, b, lips).amax(-1), keep)


def lve_rms(a: Vertices, b: Vertices, lips: Region, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """UniLS's LVE, mm, lower is better: sqrt(mean_t max_v |dv|^2), the root after the mean."""
    return _mean(distances(a, b, lips).amax(-1).square(), keep).sqrt()


def lve_squared(a: Vertices, b: Vertices, lips: Region, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """FaceFormer's LVE, mm^2, lower is better: mean_t max_v |dv|^2, no root. CodeTalker's script means over the frames of all clips."""
    return _mean(distances(a, b, lips).amax(-1).square(), keep)


def lve_dynamic(a: Vertices, b: Vertices, lips: Region, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """`lve_max` after each vertex's mean error over the counted frames is removed, mm, lower is better.

    What remains is error of movement. A constant offset of a clip (a tracker's gauge, a neutral face fitted
    slightly open) disappears; the difference to `lve_max` is the static part.
    """
    error = a[:, lips] - b[:, lips]
    error = error if keep is None else error[keep]
    if error.shape[0] < 2:
        return error.new_tensor(torch.nan)
    return (MILLIMETRES * (error - error.mean(0))).norm(dim=-1).amax(-1).mean()


def mve(a: Vertices, b: Vertices, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """Mean vertex error, mm, lower is better: mean over frames and all vertices of |dv|."""
    return _mean(distances(a, b).mean(-1), keep)


def region_error(a: Vertices, b: Vertices, region: Region, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """Mean vertex error of a region, mm, lower is better; with the region ``upper_face`` the upper-face error."""
    return _mean(distances(a, b, region).mean(-1), keep)


def mhd(a: Vertices, b: Vertices, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """UniLS's MHD (its code calls it MVE), mm, lower is better: sqrt(mean over frames and all vertices of |dv|^2)."""
    return _mean(distances(a, b).square().mean(-1), keep).sqrt()


def lip_velocity_error(
    a: Vertices, b: Vertices, lips: Region, keep: Bool[Tensor, "time"] | None = None, fps: float | int = FRAME_RATE
) -> Float[Tensor, ""]:
    """Mean over frames and lip vertices of the velocity difference |d(dv)/dt|, mm/s, lower is better.

    Velocity of frame t is fps * (v[t] - v[t-1]); a frame counts when it and the one before are kept. Constant offsets vanish,
    jitter and shifts show.
    """
    velocity = fps * MILLIMETRES * (a[:, lips] - b[:, lips]).diff(dim=0)
    return _mean(velocity.norm(dim=-1).mean(-1), None if keep is None else keep[1:] & keep[:-1])


def distances(a: Vertices, b: Vertices, region: Region | None = None) -> Float[Tensor, "time counted_verts"]:
    """Distance of each vertex, mm."""
    assert a.shape == b.shape, f"prediction and truth differ in shape: {tuple(a.shape)} and {tuple(b.shape)}"
    error = a - b if region is None else a[:, region] - b[:, region]
    return MILLIMETRES * error.norm(dim=-1)


def _mean(per_frame: Float[Tensor, "time"], keep: Bool[Tensor, "time"] | None) -> Float[Tensor, ""]:
    counted = per_frame if keep is None else per_frame[keep]
    return counted.mean() if counted.shape[0] >= 2 else per_frame.new_tensor(torch.nan)


# Dynamics: how much the face moves, whenever it does


def fdd(a: Vertices, b: Vertices, upper: Region, keep: Bool[Tensor, "time"] | None = None) -> Float[Tensor, ""]:
    """UniLS's FDD, hundredths of a millimetre, lower is better: 100 x mean_{v in upper} | std_t(x+y+z)_P - std_t(x+y+z)_G |.

    Unbiased standard deviation. UniLS's own index set counts 57 vertices of the upper face twice; a region counts each once.
    """
    spread = [MILLIMETRES * _kept(vertices[:, upper].sum(-1), keep) for vertices in (a, b)]
    if len(spread[0]) < 2:
        return a.new_tensor(torch.nan)
    return 100 * (spread[0].std(0) - spread[1].std(0)).abs().mean()


def fdd_motion(
    *,
    prediction: Vertices,
    truth: Vertices,
    rest: Float[Tensor, "verts 3"],
    upper: Region,
    keep: Bool[Tensor, "time"] | None = None,
) -> Float[Tensor, ""]:
    """FDD in millimetres, signed, 0 is best: mean_{v in upper} ( std_t |v - rest|_G - std_t |v - rest|_P ), population std.

    Positive: the prediction's upper face moves less than the truth's. Gains and losses of different vertices cancel. CodeTalker's number
    is of squared distances: `fdd_motion_squared`.
    """
    return _less_spread(*((vertices - rest)[:, upper].norm(dim=-1) for vertices in (truth, prediction)), MILLIMETRES, keep)


def fdd_motion_squared(
    *,
    prediction: Vertices,
    truth: Vertices,
    rest: Float[Tensor, "verts 3"],
    upper: Region,
    keep: Bool[Tensor, "time"] | None = None,
) -> Float[Tensor, ""]:
    """CodeTalker's FDD as its script computes it, mm^2, signed, 0 is best: `fdd_motion` of |v - rest|^2, without a root."""
    return _less_spread(*((vertices - rest)[:, upper].square().sum(-1) for vertices in (truth, prediction)), MILLIMETRES**2, keep)


def _less_spread(
    a: Float[Tensor, "time some_verts"], b: Float[Tensor, "time some_verts"], unit: float, keep: Bool[Tensor, "time"] | None
) -> Float[Tensor, ""]:
    """By how much more a varies than b, mean over vertices; NaN with fewer than two frames kept."""
    spread = [unit * _kept(values, keep) for values in (a, b)]
    if len(spread[0]) < 2:
        return a.new_tensor(torch.nan)
    return (spread[0].std(0, correction=0) - spread[1].std(0, correction=0)).mean()


def _kept(per_frame: Float[Tensor, "time some_verts"], keep: Bool[Tensor, "time"] | None) -> Float[Tensor, "kept_time some_verts"]:
    return per_frame if keep is None else per_frame[keep]
