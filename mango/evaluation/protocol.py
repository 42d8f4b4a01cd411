"""Our own protocol on synthetic sets: motion against the true motion, pictures against the recorded ones.

    split's dialogues --their voices--> model --> motion --+
                      --labels----------------> motion ----+--> metrics per clip against ROOT.truth --> mean per row
                      --labels' mean----------> still face-+

One clip is one person of one dialogue. Rows are means over clips that ignore NaN (nobody speaks, no bilabial); slopes pool clips.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mango.audio.encoders import Encoder, make_encoder
from mango.data.atomic import atomic_file
from mango.data.dialogues import DialogueSet
from mango.data.pictures import PictureBatch, Pictures
from mango.data.truth import Truth
from mango.errors import InputError
from mango.evaluation import metrics
from mango.evaluation.catalogue import MEASURES
from mango.head.model import Head, load_head
from mango.inference.generation import GenerationConfig, Progress
from mango.inference.recordings import generate_clips
from mango.training.avatars import drawn, posed
from mango.training.stage1 import MotionDescription, load_motion_model
from mango.types import PERSONS, Dialogue, MotionClip
from renderer.head import HeadAvatar

LABELS, STILL = "tracker labels", "still face"
Clip = tuple[str, str]  # dialogue, "a" or "b"
Motions = Mapping[Clip, MotionClip]
Moved = Callable[[Dialogue], Mapping[str, MotionClip]]  # what a model makes of a dialogue, by person


@dataclass(frozen=True)
class Scores:
    """Rows of a table: name -> measure -> value (NaN = not defined here)."""

    rows: Mapping[str, Mapping[str, float]]
    facts: Mapping[str, object] = field(default_factory=dict)


def evaluate_checkpoint(
    checkpoint: Path,
    data: Path,
    split: str,
    config: GenerationConfig,
    *,
    head: str | Path = "builtin",
    progress: Progress | None = None,
) -> Scores:
    """The checkpoint's motion on a split, the tracker labels, and a still face, against the truth."""
    dialogues, loaded = DialogueSet.open(data), load_head(head)
    if dialogues.head_digest != loaded.digest:
        found = f"dialogues of head {dialogues.head_name} ({dialogues.head_digest[:12]})"
        remedy = "give --head the file of the set"
        raise InputError(data, expected=f"dialogues of head {loaded.name} ({loaded.digest[:12]})", found=found, remedy=remedy)
    truth, ids = Truth.open(data), dialogues.split(split)
    model, description, encoder_config = load_motion_model(checkpoint, head=loaded)
    moved = mover(model, description, make_encoder(encoder_config), loaded, config)
    sums = {LABELS: ClipScores(), STILL: ClipScores(), str(checkpoint): ClipScores()}
    for number, id in enumerate(ids):
        dialogue = dialogues.dialogue(id)
        motions = moved(dialogue)
        for person in PERSONS:
            reference = Reference.read(truth, id, person, loaded)
            label = dialogue.side(person).motion
            if label is not None:
                sums[LABELS].add(label, reference, loaded)
                sums[STILL].add(still_face(label), reference, loaded)
            sums[str(checkpoint)].add(motions[person], reference, loaded)
        if progress:
            progress(number + 1, len(ids))
    facts = {"checkpoint": str(checkpoint), "data": str(data), "dataset": dialogues.digest, "split": split, "clips": 2 * len(ids)}
    return Scores({name: scores.row() for name, scores in sums.items() if scores.clips}, {**facts, **asdict(config)})


def mover(model: torch.nn.Module, description: MotionDescription, encoder: Encoder, head: Head, config: GenerationConfig) -> Moved:
    """The model as a function of a dialogue. It hears the voices and is told the labels' identity; labelled motion it never sees."""

    def moved(dialogue: Dialogue) -> dict[str, MotionClip]:
        sides = [dialogue.side(person) for person in PERSONS]
        identities = [side.motion.shape for side in sides] if all(side.motion is not None for side in sides) else []
        voices, speaking = torch.stack([side.audio for side in sides]), torch.stack([side.speaking for side in sides])
        return generate_clips(model, description, encoder, head, voices, config, speaking=speaking, identities=identities)

    return moved


def still_face(clip: MotionClip) -> MotionClip:
    """The clip's mean, held: what any motion has to beat."""
    held = {name: getattr(clip, name).mean(0).expand_as(getattr(clip, name)) for name in ("expr", "jaw_pose", "eyes_pose", "neck_pose")}
    return replace(clip, **held)


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
        vertices = metrics.unposed_vertices(head, motion)
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
        vertices = metrics.unposed_vertices(head, motion, truth.shape)
        opening = head.lip_opening(vertices)
        self.openings.append(opening)
        self.true_openings.append(truth.opening)
        self.clips.append(clip_measures(vertices, opening, truth, head.region("lips"), head.region("upper_face")))

    def row(self) -> dict[str, float]:
        means = {name: _nanmean([clip[name] for clip in self.clips]) for name in self.clips[0]}
        means["lip_opening_slope"] = metrics.lip_opening_slope(prediction=self.openings, truth=self.true_openings)
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
        "lve_max": metrics.lve_max(vertices, truth.vertices, lips),
        "lve_dynamic": metrics.lve_dynamic(vertices, truth.vertices, lips),
        "lve_max_speaking": metrics.lve_max(vertices, truth.vertices, lips, speaks),
        "lve_max_listening": metrics.lve_max(vertices, truth.vertices, lips, ~speaks),
        "lve_rms": metrics.lve_rms(vertices, truth.vertices, lips),
        "lve_squared": metrics.lve_squared(vertices, truth.vertices, lips),
        "mve": metrics.mve(vertices, truth.vertices),
        "upper_face": metrics.region_error(vertices, truth.vertices, upper_face),
        "lip_velocity": metrics.lip_velocity_error(vertices, truth.vertices, lips),
        "closure": metrics.closure_error(prediction=opening, truth=truth.opening, phones=truth.phones),
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
        values["psnr"].append(metrics.psnr(colors, recorded.colors))
        values["ssim"].append(metrics.ssim(colors, recorded.colors))
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


# Output


def write_scores(path: Path, scores: Scores) -> None:
    """JSON; what is not defined is null."""
    rows = {name: {key: None if math.isnan(value) else value for key, value in row.items()} for name, row in scores.rows.items()}
    units = {key: MEASURES[key].unit for row in scores.rows.values() for key in row}
    with atomic_file(Path(path)) as partial:
        partial.write_text(json.dumps({"facts": scores.facts, "units": units, "rows": rows}, indent=1, default=str) + "\n")


def show_scores(scores: Scores) -> None:
    """A table on the terminal, one measure a line."""
    from rich.console import Console
    from rich.table import Table

    words = {"lower": "↓", "higher": "↑", "one": "→ 1"}
    table = Table()
    for column in ("measure", "unit", "better"):
        table.add_column(column, no_wrap=True)
    for row in scores.rows:
        table.add_column(row, justify="right", overflow="fold")
    for key in dict.fromkeys(key for row in scores.rows.values() for key in row):
        measure = MEASURES[key]
        cells = [f"{row[key]:.{measure.digits}f}" if key in row and not math.isnan(row[key]) else "-" for row in scores.rows.values()]
        table.add_row(measure.name, measure.unit, words[measure.direction], *cells)
    Console().print(table)


def _nanmean(values: list[float]) -> float:
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan
