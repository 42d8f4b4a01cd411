"""A new person: an avatar and an adapted motion model from their pictures, sound and tracker labels.

It is stage two on one person: the avatar starts as the mean of the known ones, the motion model as the general one, and the general
run stays as it was. Everybody else in the person's dialogues is heard but neither drawn nor learned from.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from mango.training.alternation import Phase, Schedule
from mango.training.avatars import save_avatars
from mango.training.calibration import begin
from mango.training.optim import OptimizerConfig
from mango.training.run import Every, Run
from mango.training.runtime import Runtime
from mango.training.sharpening import sharpen_when_due
from mango.training.stage2 import alternate
from mango.training.stage2_config import Stage2Config
from mango.training.studio import open_studio


@dataclass(frozen=True)
class FinetuneConfig:
    """What to fine-tune on, and for how long."""

    data: Path  # in folders or shards
    person: str
    checkpoint: Path  # a run of stage two
    out: Path  # the new run
    split: str = "train"
    head: str = "builtin"
    seed: int = 0
    head_steps: int = 300  # avatar alone, first
    cycles: int = 100  # then in turn: one step of the avatar, three of the motion model
    lr: float = 1e-4  # of the motion model
    strict: bool = False  # stop at a damaged dialogue of a packed set, instead of leaving it out and naming it


def finetune(config: FinetuneConfig) -> int:
    """Run or resume; 0, or the exit code of an interruption. The avatar is ``out/avatars/<person>.safetensors``."""
    stage2 = stage2_config(config)
    runtime = Runtime(stage2.runtime)
    studio, learners = open_studio(stage2, runtime)
    with Run(stage2.run, stage2, facts=studio.facts, runtime=runtime) as run:
        begin(run, studio, learners)
        for step, active, losses in alternate(studio, learners, run.steps(stage2.steps)):
            sharpen_when_due(run, studio, learners, step)
            if run.due(step, stage2.every.log):
                run.show(f"{active} {float(losses['total']):.4f}")
                run.log(step, active, losses)
            if run.due(step, stage2.every.save) or run.stopping:
                run.save(step, learners.all, {"bank": learners.bank.state()}, samples_seen=step * stage2.windows, phase=active)
                if runtime.is_main:
                    save_avatars(stage2.run / "avatars", learners.avatars)
    return run.exit_code


def stage2_config(config: FinetuneConfig) -> Stage2Config:
    """The same as a stage-two run on one person."""
    schedule = Schedule(opening=(Phase("head", config.head_steps),), cycle=(Phase("head", 1), Phase("motion", 3)))
    defaults = Stage2Config()
    return replace(
        defaults,
        data=config.data,
        strict=config.strict,
        stage1=config.checkpoint,
        run=config.out,
        head=config.head,
        seed=config.seed,
        steps=config.head_steps + 4 * config.cycles,
        train_split=config.split,
        validation_split=None,
        people=(config.person,),
        avatars=config.checkpoint / "avatars",
        calibration=replace(defaults.calibration, known=config.checkpoint),
        schedule=schedule,
        motion_optimizer=OptimizerConfig(lr=config.lr, warmup=20, ema=0.98),
        every=Every(log=20, validate=0, save=100),
    )
