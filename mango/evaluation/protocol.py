"""The flat tables of the demo and of benchmarks/lifting: motion against the true motion, pictures against the recorded ones.

    split's dialogues --their voices--> model --> motion --+
                      --labels----------------> motion ----+--> measures per clip against ROOT.truth --> mean per row
                      --labels' mean----------> still face-+

One clip is one person of one dialogue. Rows are means over clips that ignore NaN (nobody speaks, no bilabial); slopes pool clips.
`mango evaluate` gathers more (`mango.evaluation.native`) from the same parts.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mango.audio.encoders import Encoder
from mango.data.dialogues import DialogueSet
from mango.data.pictures import PictureBatch, Pictures
from mango.data.truth import Truth
from mango.evaluation.catalogue import MEASURES
from mango.evaluation.lips_and_eyes import closure_error, lip_opening_slope
from mango.evaluation.picture_metrics import psnr, ssim
from mango.evaluation.vertex_metrics import (
    lip_velocity_error,
    lve_dynamic,
    lve_max,
    lve_rms,
    lve_squared,
    mve,
    region_error,
    unposed_vertices,
)
from mango.head.model import Head
from mango.inference.generation import GenerationConfig
from mango.inference.recordings import generate_clips
from mango.inference.regression import regress_clips
from mango.models.regressor import PartnerMotionRegressor
from mango.seeds import seed_at
from mango.training.avatars import drawn, posed
from mango.training.stage1 import MotionDescription
from mango.types import PERSONS, Dialogue, MotionClip
from renderer.head import HeadAvatar

LABELS, STILL = "tracker labels", "still face"
Clip = tuple[str, str]  # dialogue, "a" or "b"
Motions = Mapping[Clip, MotionClip]
Moved = Callable[[Dialogue], Mapping[str, MotionClip]]  # what a model makes of a dialogue, by person


def mover(model: torch.nn.Module, description: MotionDescription, encoder: Encoder, head: Head, config: GenerationConfig) -> Moved:
    """The model as a function of a dialogue. It hears the voices and is told the labels' identity; labelled motion it never sees.

    But for the baseline that does: for each person the partner's, as in training.
    """
    if isinstance(model, PartnerMotionRegressor):
        return lambda dialogue: regress_clips(model, description, encoder, head, dialogue)

    def moved(dialogue: Dialogue) -> dict[str, MotionClip]:
        sides = [dialogue.side(person) for person in PERSONS]
        shapes = [torch.zeros(head.identities) if side.motion is None else side.motion.shape for side in sides]
        identities = shapes if any(side.motion is not None for side in sides) else []  # as in training: nobody's is zero
        voices, speaking = torch.stack([side.audio for side in sides]), torch.stack([side.speaking for side in sides])
        noise = replace(config, seed=seed_at(config.seed, dialogue.id))  # one noise for all would make their errors alike
        return generate_clips(model, description, encoder, head, voices, noise, speaking=speaking, identities=identities)

    return moved


def still_faces(dialogue: Dialogue) -> dict[str, MotionClip]:
    """Of everybody with labels, the mean of the trusted ones, held: what any motion has to beat."""
    sides = {person: dialogue.side(person) for person in PERSONS if dialogue.side(person).motion is not None}
    return {person: still_face(side.motion, side.track.keep if side.track else None) for person, side in sides.items()}


def still_face(clip: MotionClip, keep: Bool[Tensor, "time"] | None = None) -> MotionClip:
    """The mean over the frames to ``keep`` (None, or not one: all), held."""
    believed = slice(None) if keep is None or not keep.any() else keep
    moving = {name: getattr(clip, name) for name in ("expr", "jaw_pose", "eyes_pose", "neck_pose")}
    return replace(clip, **{name: values[believed].mean(0).expand_as(values) for name, values in moving.items()})


@dataclass(frozen=True)
class Reference:
    """The truth of one clip, ready to be compared with."""

    shape: Float[Tensor, "identity"]
    vertices: Float[Tensor, "time verts 3"]  # head pose removed
    opening: Float[Tensor, "time"]
    speaking: Float[Tensor, "time"]
    phones: Sequence

    @staticmethod
    def read(truth: Truth, id: str, person: str, head: Head) -> "Reference":
        motion = truth.motion(id, person, head=head)
        vertices = unposed_vertices(head, motion)
        speaking, phones = truth.speaking(id, person), truth.phones(id, person)
        return Reference(motion.shape, vertices, head.lip_opening(vertices), speaking, phones)


@dataclass
class ClipScores:
    """The measures of one row, gathered clip by clip."""

    clips: list[dict[str, float]] = field(default_factory=list)
    openings: list[Float[Tensor, "_"]] = field(default_factory=list)
    true_openings: list[Float[Tensor, "_"]] = field(default_factory=list)

    def add(self, motion: MotionClip, truth: Reference, head: Head) -> None:
        assert len(motion) == len(truth.vertices), f"motion of {len(motion)} frames, truth of {len(truth.vertices)}"
        vertices = unposed_vertices(head, motion, truth.shape)
        opening = head.lip_opening(vertices)
        self.openings.append(opening)
        self.true_openings.append(truth.opening)
        self.clips.append(clip_measures(vertices, opening, truth, head.region("lips"), head.region("upper_face")))

    def row(self) -> dict[str, float]:
        means = {name: _nanmean([clip[name] for clip in self.clips]) for name in self.clips[0]}
        means["lip_opening_slope"] = lip_opening_slope(prediction=self.openings, truth=self.true_openings)
        return {name: means[name] for name in MEASURES if name in means}


def clip_measures(
    vertices: Float[Tensor, "time verts 3"],
    opening: Float[Tensor, "time"],
    truth: Reference,
    lips: Int[Tensor, "lip_verts"],
    upper_face: Int[Tensor, "upper_verts"],
) -> dict[str, float]:
    """Every measure of one clip that is a mean over its frames."""
    speaks = truth.speaking > 0.5
    values = {
        "lve_max": lve_max(vertices, truth.vertices, lips),
        "lve_dynamic": lve_dynamic(vertices, truth.vertices, lips),
        "lve_max_speaking": lve_max(vertices, truth.vertices, lips, speaks),
        "lve_max_listening": lve_max(vertices, truth.vertices, lips, ~speaks),
        "lve_rms": lve_rms(vertices, truth.vertices, lips),
        "lve_squared": lve_squared(vertices, truth.vertices, lips),
        "mve": mve(vertices, truth.vertices),
        "upper_face": region_error(vertices, truth.vertices, upper_face),
        "lip_velocity": lip_velocity_error(vertices, truth.vertices, lips),
        "closure": closure_error(prediction=opening, truth=truth.opening, phones=truth.phones),
    }
    return {name: float(value) for name, value in values.items()}


# Pictures


@torch.no_grad()
def picture_scores(
    motions: Motions,
    avatars: Mapping[str, HeadAvatar],
    dialogues: DialogueSet,
    head: Head,
    *,
    every: int = 5,
    background: float = 0.5,
    chunk: int = 10,
) -> dict[str, float]:
    """Mean PSNR and SSIM of avatars (by person) moved by ``motions`` against the recorded pictures, every so many frames.

    Head pose, placement and camera are the tracker's, so that a picture is about the face and not about where it was.
    """
    behind = torch.full((3,), background)
    pictures = Pictures(dialogues, motions, behind)
    labels = {(id, person): dialogues.dialogue(id).side(person).motion for id, person in motions}
    values: dict[str, list[Tensor]] = {"psnr": [], "ssim": []}
    for clip, frames in _some_frames(motions, every, chunk):
        recorded = pictures.read([(*clip, frame) for frame in frames])
        colors = redrawn(motions[clip], labels[clip], recorded, avatars, head, behind).clamp(0, 1)
        values["psnr"].append(psnr(colors, recorded.colors))
        values["ssim"].append(ssim(colors, recorded.colors))
    return {name: float(torch.cat(parts).mean()) for name, parts in values.items()}


def redrawn(
    motion: MotionClip,
    label: MotionClip,
    recorded: PictureBatch,
    avatars: Mapping[str, HeadAvatar],
    head: Head,
    background: Float[Tensor, "3"],
) -> Float[Tensor, "pictures rows cols 3"]:
    """The recorded pictures of one clip, drawn from ``motion`` with the tracker's (``label``) head pose, placement and camera."""
    frames = [frame for _, _, frame in recorded.shots]
    flat = head.layout.pack(replace(motion, neck_pose=label.neck_pose))[frames]
    placed = [label.frames(slice(frame, frame + 1)) for frame in frames]
    vertices = posed(head, avatars, recorded.persons, flat, placed)
    return drawn(avatars, vertices, recorded, recorded.camera_from_world, background).colors


def _some_frames(motions: Motions, every: int, chunk: int) -> Iterator[tuple[Clip, list[int]]]:
    for clip, motion in motions.items():
        frames = list(range(0, len(motion), every))
        for first in range(0, len(frames), chunk):
            yield clip, frames[first : first + chunk]


def _nanmean(values: list[float]) -> float:
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan
