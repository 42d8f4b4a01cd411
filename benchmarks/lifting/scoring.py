"""Numbers of a row against the truth, clip by clip, so that intervals and paired differences can be had from the JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.lifting.training import Bench, Cost, bank_labels
from mango.audio.encoders import make_encoder
from mango.data.dialogues import DialogueSet
from mango.data.json_files import read_json, write_json
from mango.data.truth import Truth
from mango.evaluation.lips_and_eyes import blinks, eye_opening
from mango.evaluation.protocol import ClipScores, Reference, mover
from mango.evaluation.vertex_metrics import unposed_vertices
from mango.head.model import Head, load_head
from mango.inference.generation import GenerationConfig
from mango.provenance import commit
from mango.training.stage1 import load_motion_model
from mango.types import PERSONS, MotionClip

LABELS = "labels"


@dataclass
class SplitScores:
    """Of one row on one split."""

    clips: list[dict[str, float]]  # one per clip and sampling seed, in the same order for every row
    means: dict[str, float]
    blink_depths: list[float]
    blink_rates: list[float]  # per minute, one per clip
    opening: dict[str, list[float]]  # lip opening over time of the first clips, mm

    def plain(self) -> dict:
        return asdict(self)


def score_models(bench: Bench, row: str, split: str) -> SplitScores:
    head = load_head()
    model, description, encoder = load_motion_model(bench.run(row), head=head)
    seeds = range(bench.scale.samplings)
    moved = [mover(model, description, make_encoder(encoder), head, GenerationConfig(seed=seed)) for seed in seeds]
    dialogues = DialogueSet.open(bench.data)
    return _scores(bench, split, head, lambda id: [one(dialogues.dialogue(id)) for one in moved])


def score_labels(bench: Bench, split: str, labels: Mapping[tuple[str, str], MotionClip] | None = None) -> SplitScores:
    """The tracker's labels, or those that pictures have corrected."""
    dialogues = DialogueSet.open(bench.data)

    def clips(id: str) -> list[dict[str, MotionClip]]:
        return [{side: labels[id, side] if labels else dialogues.dialogue(id).side(side).motion for side in PERSONS}]

    return _scores(bench, split, load_head(), clips)


def score_truth(bench: Bench, split: str) -> SplitScores:
    """For its blinks and openings; its errors are zero."""
    head, truth = load_head(), Truth.open(bench.data)
    return _scores(bench, split, head, lambda id: [{side: truth.motion(id, side, head=head) for side in PERSONS}])


def _scores(bench: Bench, split: str, head: Head, motions) -> SplitScores:
    truth, kept = Truth.open(bench.data), ClipScores()
    depths, rates, openings = [], [], {}
    for id in DialogueSet.open(bench.data).split(split):
        references = {side: Reference.read(truth, id, side, head) for side in PERSONS}
        for number, clips in enumerate(motions(id)):
            for side in PERSONS:
                kept.add(clips[side], references[side], head)
                vertices = unposed_vertices(head, clips[side], references[side].shape)
                found = blinks(eye_opening(head, vertices), float(clips[side].fps))
                depths += found.depths
                rates.append(found.per_minute)
                if number == 0 and len(openings) < 4:
                    openings[f"{id}/{side}"] = [round(1000 * float(gap), 3) for gap in head.lip_opening(vertices)]
    return SplitScores(kept.clips, kept.row(), depths, rates, openings)


def scored(bench: Bench, row: str, split: str, digest: str) -> dict:
    """Scores from the row's file, or made and written there."""
    path = bench.rows / row / f"{split}.json"
    if path.exists() and (known := read_json(path)).get("digest") == digest:
        return known
    with torch.inference_mode():
        if row == LABELS:
            content = score_labels(bench, split).plain()
        elif row == "truth":
            content = score_truth(bench, split).plain()
        elif split == "train":
            content = score_labels(bench, split, bank_labels(bench, row)).plain()
        else:
            content = score_models(bench, row, split).plain()
    write_json(path, {"digest": digest, "commit": commit(), **without_nan(content)})
    return read_json(path)


def without_nan(content):
    """As JSON has it: null for what is not a number."""
    if isinstance(content, dict):
        return {name: without_nan(value) for name, value in content.items()}
    if isinstance(content, list):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and content != content else content


def write_cost(bench: Bench, row: str, cost: Cost, digest: str) -> None:
    write_json(bench.rows / row / "trained.json", {"digest": digest, **asdict(cost)})


def cost_of(bench: Bench, row: str) -> Cost:
    known = read_json(bench.rows / row / "trained.json")
    return Cost(known["cpu_seconds"], known["steps"], known["frames_rendered"])


def scored_digest(bench: Bench, row: str, split: str) -> str | None:
    path = bench.rows / row / f"{split}.json"
    return read_json(path)["digest"] if path.exists() else None


def trained_digest(bench: Bench, row: str) -> str | None:
    path = Path(bench.rows / row / "trained.json")
    return json.loads(path.read_text())["digest"] if path.exists() else None
