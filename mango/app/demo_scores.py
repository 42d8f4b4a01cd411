"""The demo's numbers: every run's end against the truth of the held-out dialogues, and every checkpoint for the curves."""

import math
from collections.abc import Mapping
from pathlib import Path

from mango.app.demo import Folders
from mango.audio.encoders import make_encoder
from mango.data.dialogues import DialogueSet
from mango.data.json_files import write_json
from mango.data.motion_files import save_motion
from mango.data.truth import Truth
from mango.evaluation.protocol import LABELS, STILL, ClipScores, Motions, Reference, mover, picture_scores, still_faces
from mango.head.model import load_head
from mango.inference.generation import GenerationConfig, Progress
from mango.training.avatars import read_avatars
from mango.training.stage1 import load_motion_model
from mango.types import PERSONS

STAGE1, LONGER, STAGE2 = "stage one", "stage one, longer", "stage two"
ROWS = (LABELS, STAGE1, LONGER, STAGE2)  # as they stand in the table, after the still face
SPLIT = "test"


def score(folders: Folders, steps: int, progress: Progress) -> None:
    """Write scores.json ``{rows: {row: {measure: value}}, curves: {run: [[step, lve_max], ...]}}`` and the final motions."""
    judge = Judge(folders.data, GenerationConfig(steps=steps))
    runs = {STAGE1: folders.stage1, LONGER: folders.longer, STAGE2: folders.stage2}
    earlier = {row: earlier_checkpoints(runs[row]) for row in (LONGER, STAGE2)}
    todo, done = 2 + len(runs) + sum(map(len, earlier.values())), 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, todo)

    motions: dict[str, Motions] = {LABELS: judge.labels(), STILL: judge.still()}
    for row, run in runs.items():
        motions[row] = judge.moved(run)
        advance()
    avatars = read_avatars(folders.stage2 / "avatars", judge.head)
    rows = {}
    for row, made in motions.items():
        rows[row] = judge.measured(made) | picture_scores(made, avatars, judge.dialogues, judge.head, every=10)
    curves = {row: [[0, rows[STAGE1]["lve_max"]]] for row in earlier}
    for row, checkpoints in earlier.items():
        for step, checkpoint in checkpoints.items():
            curves[row].append([step, judge.measured(judge.moved(checkpoint))["lve_max"]])
            advance()
        curves[row].append([last_step(runs[row]), rows[row]["lve_max"]])
    for row, made in motions.items():
        for (id, side), clip in made.items():
            save_motion(motion_file(folders, row, id, side), clip)
    rows = {row: {name: None if math.isnan(value) else value for name, value in values.items()} for row, values in rows.items()}
    write_json(folders.scores, {"rows": rows, "curves": curves, "split": SPLIT, "sampling_steps": steps, "clips": len(judge.labels())})


class Judge:
    """The held-out dialogues with their truth, read once."""

    def __init__(self, data: Path, config: GenerationConfig):
        self.config, self.head = config, load_head()
        self.dialogues = DialogueSet.open(data)
        self.held_out = [self.dialogues.dialogue(id) for id in self.dialogues.split(SPLIT)]
        truth = Truth.open(data)
        self.truth = {(told.id, side): Reference.read(truth, told.id, side, self.head) for told in self.held_out for side in PERSONS}

    def labels(self) -> Motions:
        return {(told.id, side): told.side(side).motion for told in self.held_out for side in PERSONS}

    def still(self) -> Motions:
        return {(told.id, side): clip for told in self.held_out for side, clip in still_faces(told).items()}

    def moved(self, run_or_checkpoint: Path) -> Motions:
        """What a model makes of the voices."""
        model, description, encoder = load_motion_model(run_or_checkpoint, head=self.head)
        move = mover(model, description, make_encoder(encoder), self.head, self.config)
        return {(told.id, side): clip for told in self.held_out for side, clip in move(told).items()}

    def measured(self, motions: Motions) -> Mapping[str, float]:
        scores = ClipScores()
        for clip, motion in motions.items():
            scores.add(motion, self.truth[clip], self.head)
        return scores.row()


def earlier_checkpoints(run: Path) -> dict[int, Path]:
    """All but the last, by step."""
    found = {int(folder.name): folder for folder in sorted((run / "checkpoints").glob("[0-9]*"))}
    return {step: found[step] for step in sorted(found)[:-1]}


def last_step(run: Path) -> int:
    return max(int(folder.name) for folder in (run / "checkpoints").glob("[0-9]*"))


def motion_file(folders: Folders, row: str, id: str, side: str) -> Path:
    return folders.out / "evaluation" / row.replace(",", "").replace(" ", "_") / f"{id}.{side}.motion.npz"
