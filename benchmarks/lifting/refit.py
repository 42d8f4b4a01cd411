"""The honest rival of 2D lifting: refit the labels of every frame to the pictures, then train stage one on them.

    motion of a frame = mean + gain of its clip * (tracker's label - mean) + change of this frame

Labels begin calibrated, as stage two's do. Gains let a clip's few pictures say what holds for all its frames; changes are held small and
smooth. Avatars and cameras learn in the same phases, from as many rendered frames, with the same picture loss as in stage two's steps; the
calibration is stage two's, and its pictures count in neither's frames here.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.lifting.training import Bench, Cost, relabelled, stage_one, stage_two_config, timed
from mango.data.dialogues import DialogueSet
from mango.head.model import load_head
from mango.training.alternation import Phase, Schedule, learned_before, phase_at
from mango.training.calibration import amplified, known_gain
from mango.training.lessons import Lesson
from mango.training.optim import Learner, OptimizerConfig, make_learner
from mango.training.run import Run
from mango.training.runtime import Runtime
from mango.training.stage2 import compared, frozen, registered, rendered, teach_head, weighted, with_neck
from mango.training.studio import Learners, Studio, open_studio
from mango.types import PERSONS, MotionClip

SMALL, SMOOTH, NEAR_ONE = 0.05, 1.0, 0.02  # weights of squared changes, of their second differences, of gains' distance from 1
OPTIMIZER = OptimizerConfig(lr=2e-2, warmup=0, weight_decay=0.0, clip=1e9, ema=0.0)


class FittedLabels(nn.Module):
    """Normalised motion per clip, as variables."""

    def __init__(self, labels: Mapping[tuple[str, str], Float[Tensor, "time width"]]):
        super().__init__()
        self.labels = dict(labels)
        self.gains = nn.ParameterDict({"/".join(key): torch.ones(label.shape[1]) for key, label in labels.items()})
        self.changes = nn.ParameterDict({"/".join(key): torch.zeros_like(label) for key, label in labels.items()})

    def motion(self, key: tuple[str, str], frames: Tensor | slice) -> Float[Tensor, "some_frames width"]:
        label, name = self.labels[key], "/".join(key)
        mean = label.mean(0)
        return mean + self.gains[name] * (label[frames] - mean) + self.changes[name][frames]

    def unlikely(self, lesson: Lesson) -> Float[Tensor, ""]:
        """How large and rough the changes in the lesson's windows are, and how far their gains are from 1."""
        losses = []
        for id, start in zip(lesson.windows.dialogues, lesson.windows.starts, strict=True):
            for side in PERSONS:
                change = self.changes[f"{id}/{side}"][max(start, 0) : start + lesson.windows.motion.shape[2]]
                rough = change.diff(n=2, dim=0).square().mean()
                losses.append(SMALL * change.square().mean() + SMOOTH * rough + NEAR_ONE * (self.gains[f"{id}/{side}"] - 1).square().mean())
        return torch.stack(losses).mean()


def refit(bench: Bench, row: str, *, frames: float) -> Cost:
    """``frames``: rendered frames for the motion over those of stage two."""
    first = stage_two_config(bench, row)
    opening, alternation = bench.scale.opening, 4 * bench.scale.cycles
    steps = opening + round(frames * alternation)
    schedule = Schedule((Phase("head", opening),), first.schedule.cycle)
    config = replace(first, run=bench.rows / row / "fit", steps=steps, schedule=schedule)
    fitted: dict[str, FittedLabels] = {}

    def fit() -> int:
        studio, learners = open_studio(config, Runtime(config.runtime))
        learners.bank = amplified(studio, learners.bank, known_gain(bench.run("stage2")))
        module = FittedLabels(learners.bank.labels)
        variables = make_learner("labels", module, OPTIMIZER, learned_before(steps, "motion", config.schedule),
                                 groups=[{"params": list(module.parameters()), "weight_decay": 0.0}])  # fmt: skip
        kept = [*learners.heads.values(), learners.cameras, variables]
        with Run(config.run, config, facts=studio.facts, keep=config.keep) as run:
            run.restore(kept)
            for step in run.steps(steps):
                lesson = studio.lessons.at(step)
                if phase_at(step - 1, config.schedule).learner == "head":
                    show_labels(learners, module, lesson)
                    teach_head(studio, learners, lesson, step)
                else:
                    teach_labels(studio, learners, variables, lesson, learned_before(step - 1, "motion", config.schedule) + 1)
                if run.due(step, config.every.save) or run.stopping:
                    run.save(step, kept)
        fitted["labels"] = module
        return run.exit_code

    folder = bench.rows / f"labels-{row}"
    if folder.exists():
        spent = timed(bench, row, 0, lambda: 0)
    else:
        spent = timed(bench, row, 0, fit)
        relabelled(bench, row, refitted_clips(bench, fitted["labels"]))
    trained = stage_one(bench, row, steps=bench.scale.motion_steps, after="stage1", labels=folder)
    return replace(trained, steps=spent.steps + steps + trained.steps, frames_rendered=config.windows * config.pictures * steps)


@torch.no_grad()
def show_labels(learners: Learners, module: FittedLabels, lesson: Lesson) -> None:
    """The avatars' lessons are drawn from the bank: it holds what the variables say now."""
    for shot in lesson.recorded.shots:
        learners.bank.bank[shot[:2]][shot[2]] = module.motion(shot[:2], slice(shot[2], shot[2] + 1))[0]


def teach_labels(studio: Studio, learners: Learners, variables: Learner, lesson: Lesson, own_step: int) -> None:
    """One step of the variables down the picture loss of stage two."""
    config, model, module = studio.config, learners.motion.model, variables.model
    with frozen(*learners.avatars.values(), learners.cameras.model):
        shots = lesson.recorded.shots
        motion = model.denormalised(torch.cat([module.motion(shot[:2], slice(shot[2], shot[2] + 1)) for shot in shots]))
        motion = registered(studio, learners, motion, lesson.recorded)
        learners.bank.remember(shots, motion[:, studio.head.layout.where("neck_pose")].detach())
        motion = with_neck(studio.head, motion, learners.bank.poses(shots))
        heeded = lesson.windows.speaking[lesson.places]
        losses = compared(
            rendered(studio, learners, motion, lesson.recorded), lesson.recorded, config.motion_pictures, config.motion_regions, heeded
        )
        variables.descend(weighted(losses, config.motion_pictures) + module.unlikely(lesson), own_step)


@torch.no_grad()
def refitted_clips(bench: Bench, module: FittedLabels) -> Mapping[tuple[str, str], MotionClip]:
    from mango.training.stage1 import load_motion_model

    head, dialogues = load_head(), DialogueSet.open(bench.data)
    model, _, _ = load_motion_model(bench.run("stage1"), head=head)
    clips = {}
    for id, side in module.labels:
        label = dialogues.dialogue(id).side(side).motion
        flat = model.denormalised(module.motion((id, side), slice(None)))
        clips[id, side] = replace(head.layout.clip(flat, label.shape, head.digest), neck_pose=label.neck_pose, fps=label.fps)
    return clips
