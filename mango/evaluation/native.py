"""Our own protocol: everything that can be said of a motion whose head, voices and (on synthetic sets) truth are known.

Vertices are compared with the head pose removed and on the truth's identity. Frames are split by who really speaks. Parameters are
scored as by dualtalk-corrected, on the head's own coefficients and unscaled.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.evaluation import synchrony, vertex_metrics
from mango.evaluation.compared import ComparedMotion, Parts
from mango.evaluation.lips_and_eyes import bilabial_frames, blinks, closure_error, closures, eye_opening, gaze_angle
from mango.evaluation.scores import Key, Tally
from mango.evaluation.vertex_metrics import unposed_vertices
from mango.head.model import Head
from mango.types import FRAME_RATE, MotionClip


@dataclass(frozen=True)
class Voices:
    own: Float[Tensor, "time"]  # energy of each frame
    partner: Float[Tensor, "time"]


@dataclass(frozen=True)
class NativeReference:
    """What one person of one dialogue really did; everything over the same frames."""

    motion: MotionClip
    vertices: Float[Tensor, "time verts 3"]
    opening: Float[Tensor, "time"]
    lids: Float[Tensor, "time"]  # opening of the eyes, mm
    rest: Float[Tensor, "verts 3"]  # the person's face at rest
    rest_opening: float
    speaking: Bool[Tensor, "time"]
    voices: Voices
    phones: Sequence  # empty where they are not known
    keep: Bool[Tensor, "time"]  # frames to be believed

    @staticmethod
    def of(
        motion: MotionClip,
        head: Head,
        speaking: Bool[Tensor, "time"],
        voices: Voices,
        phones: Sequence,
        keep: Bool[Tensor, "time"] | None = None,
    ) -> "NativeReference":
        """Phones that touch a frame which is not kept (None = all are) are left out."""
        keep = torch.ones(len(motion), dtype=torch.bool) if keep is None else keep
        phones = [phone for phone in phones if all(keep[frames].all() for frames in bilabial_frames([phone], len(motion)))]
        vertices, rest = unposed_vertices(head, motion), head.with_shape(motion.shape).template
        opening, lids, rest_opening = head.lip_opening(vertices), eye_opening(head, vertices), float(head.lip_opening(rest))
        return NativeReference(motion, vertices, opening, lids, rest, rest_opening, speaking, voices, phones, keep)

    def frames(self, count: int) -> "NativeReference":
        """Cut to the first frames."""
        first = slice(0, count)
        voices = Voices(self.voices.own[first], self.voices.partner[first])
        moving = (self.motion.frames(first), self.vertices[first], self.opening[first], self.lids[first])
        return NativeReference(*moving, self.rest, self.rest_opening, self.speaking[first], voices, self.phones, self.keep[first])


def parts_of(clip: MotionClip, expressions: int) -> Parts:
    """The parameters by the names of DualTalk's tables, of the expressions the first; the head's movement in conversation is its neck's."""
    named = {"exp": clip.expr[:, :expressions], "jaw": clip.jaw_pose, "pose": clip.neck_pose}
    return {part: np.ascontiguousarray(motion.numpy()) for part, motion in named.items()}


def compared(
    name: str,
    dialogue: str,
    motion: MotionClip,
    truth: MotionClip,
    partner: MotionClip | None,
    speaking: Bool[Tensor, "time"] | None,
    expressions: int,
    keep: Bool[Tensor, "time"] | None = None,
    partner_keep: Bool[Tensor, "time"] | None = None,
) -> ComparedMotion:
    """Cut to the shortest of the three, and to the first ``expressions``."""
    frames = min(len(clip) for clip in (motion, truth, partner) if clip is not None)
    first = slice(0, frames)
    three = [None if clip is None else parts_of(clip.frames(first), expressions) for clip in (motion, truth, partner)]
    masks = [None if mask is None else mask[first].numpy() for mask in (speaking, keep, partner_keep)]
    return ComparedMotion(name, dialogue, *three, *masks)


def add_native(tally: Tally, dialogue: str, motion: MotionClip, truth: NativeReference, head: Head) -> None:
    """One clip's surface, lips, eyes and synchrony (its parameters: `parameter_scores.add_compared`)."""
    vertices = unposed_vertices(head, motion, truth.motion.shape)
    opening = head.lip_opening(vertices)
    tally.add(dialogue, surface(vertices, truth, head) | gaze(motion, truth) | sync(motion, opening, truth))
    tally.add(dialogue, {("closure_error", "all"): float(closure_error(prediction=opening, truth=truth.opening, phones=truth.phones))})
    _add_slope(tally, dialogue, opening[truth.keep], truth.opening[truth.keep])
    _add_closures(tally, dialogue, opening, truth)
    for suffix, lids in (("", eye_opening(head, vertices)), ("_truth", truth.lids)):
        _add_blinks(tally, dialogue, suffix, lids[truth.keep])


def surface(vertices: Float[Tensor, "time verts 3"], truth: NativeReference, head: Head) -> Mapping[Key, float]:
    """Vertex metrics over all, speaking and listening frames."""
    lips, upper = head.region("lips"), head.region("upper_face")
    values = {}
    for frames, keep in _roles(truth).items():
        pair = (vertices, truth.vertices)
        of_frames = {
            "LVE_max": vertex_metrics.lve_max(*pair, lips, keep),
            "LVE_rms": vertex_metrics.lve_rms(*pair, lips, keep),
            "LVE_sq": vertex_metrics.lve_squared(*pair, lips, keep),
            "LVE_dynamic": vertex_metrics.lve_dynamic(*pair, lips, keep),
            "MVE": vertex_metrics.mve(*pair, keep),
            "MHD": vertex_metrics.mhd(*pair, keep),
            "FDD": vertex_metrics.fdd(*pair, upper, keep),
            "FDD_motion": vertex_metrics.fdd_motion(
                prediction=vertices, truth=truth.vertices, rest=truth.rest, upper=upper, keep=keep
            ),
            "FDD_motion_sq": vertex_metrics.fdd_motion_squared(
                prediction=vertices, truth=truth.vertices, rest=truth.rest, upper=upper, keep=keep
            ),
            "upper_face_error": vertex_metrics.region_error(*pair, upper, keep),
            "lip_velocity_error": vertex_metrics.lip_velocity_error(*pair, lips, keep),
        }  # fmt: skip
        values |= {(name, frames): float(value) for name, value in of_frames.items()}
    return values


def gaze(motion: MotionClip, truth: NativeReference) -> Mapping[Key, float]:
    """Over all, speaking and listening frames; NaN where the truth's eyes never move: its tracker does not know of gaze."""
    pair = motion.eyes_pose, truth.motion.eyes_pose
    known = bool((pair[1] != pair[1][:1]).any())
    return {("gaze_angle", frames): float(gaze_angle(*pair, keep)) if known else math.nan for frames, keep in _roles(truth).items()}


def sync(motion: MotionClip, opening: Float[Tensor, "time"], truth: NativeReference) -> Mapping[Key, float]:
    """Lips with the own voice, nods with the partner's, each beside the truth's, over the same frames."""
    own, partner, keep, nodding_keep = truth.voices.own, truth.voices.partner, truth.keep, synchrony.surely_nodding(truth.keep)
    nods, true_nods = synchrony.nod_energy(motion.neck_pose), synchrony.nod_energy(truth.motion.neck_pose)
    nodding, truly_nodding = (synchrony.best_lag(energy, partner, nodding_keep) for energy in (nods, true_nods))
    lips, true_lips, voices = opening[keep], truth.opening[keep], {"own": own[keep], "partner": partner[keep]}
    values = {
        "mouth_sync": synchrony.own_minus_partner(lips, **voices),
        "mouth_sync_own": synchrony.correlation(lips, voices["own"]),
        "mouth_sync_partner": synchrony.correlation(lips, voices["partner"]),
        "mouth_sync_partner_truth": synchrony.correlation(true_lips, voices["partner"]),
        "mouth_sync_lag": abs(synchrony.best_lag(opening, own, keep).lag),
        "mouth_sync_truth": synchrony.own_minus_partner(true_lips, **voices),
        "nod_sync": nodding.correlation,
        "nod_sync_above_chance": synchrony.above_chance(nods, partner, nodding_keep),
        "nod_sync_above_chance_truth": synchrony.above_chance(true_nods, partner, nodding_keep),
        "nod_sync_lag": nodding.lag,
        "nod_sync_lag_truth": truly_nodding.lag,
        "nod_sync_truth": truly_nodding.correlation,
    }
    return {(name, "all"): value for name, value in values.items()}


def _roles(truth: NativeReference) -> Mapping[str, Bool[Tensor, "time"]]:
    return {"all": truth.keep, "speaking": truth.speaking & truth.keep, "listening": ~truth.speaking & truth.keep}


def _ratio(sums: Float[np.ndarray, "2"]) -> float:
    return float(sums[0] / sums[1]) if sums[1] > 0 else float("nan")


def _add_slope(tally: Tally, dialogue: str, opening: Float[Tensor, "time"], truth: Float[Tensor, "time"]) -> None:
    """`lips_and_eyes.lip_opening_slope` over the whole set: covariance over variance, each clip centred on its own."""
    centred = (truth - truth.mean()).double()
    sums = np.array([float((centred * (opening - opening.mean())).sum()), float(centred.square().sum())])
    tally.add_sums(dialogue, ("lip_opening_slope", "all"), sums, _ratio)


def _add_closures(tally: Tally, dialogue: str, opening: Float[Tensor, "time"], truth: NativeReference) -> None:
    for suffix, lips in (("", opening), ("_truth", truth.opening)):
        found = closures(lips, truth.phones, rest=truth.rest_opening)
        sums = np.array([found.closed, found.bilabials], dtype=np.float64)
        tally.add_sums(dialogue, (f"closure_rate{suffix}", "all"), sums, _ratio, used=found.bilabials > 0)


def _add_blinks(tally: Tally, dialogue: str, suffix: str, lids: Float[Tensor, "time"]) -> None:
    depths = blinks(lids).depths
    rate = np.array([len(depths), len(lids) / FRAME_RATE / 60])
    tally.add_sums(dialogue, (f"blink_rate{suffix}", "all"), rate, _ratio)
    depth = np.array([sum(depths), float(len(depths))])
    tally.add_sums(dialogue, (f"blink_depth{suffix}", "all"), depth, _ratio, used=len(depths) > 0)
