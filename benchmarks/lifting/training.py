"""How each kind of row is trained. Every training is a run folder of the ordinary kind, so killing and starting again resumes it."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.lifting.controls import CONTROLS, Misled
from benchmarks.lifting.scales import Scale, data_folder
from mango.data.atomic import atomic_file, atomic_folder
from mango.data.dialogues import DialogueSet
from mango.data.json_files import read_json
from mango.data.motion_files import save_motion
from mango.data.truth import Truth
from mango.head.model import load_head
from mango.models.motion import MotionModel, MotionModelConfig
from mango.training.alternation import Phase, Schedule, learned_before
from mango.training.avatars import save_avatars
from mango.training.calibration import begin
from mango.training.checkpoints import newest_checkpoint, read_tensors
from mango.training.optim import OptimizerConfig
from mango.training.run import Every, Run
from mango.training.runtime import Runtime, RuntimeConfig
from mango.training.seen_closures import FILE as CLOSURES
from mango.training.seen_closures import close_when_due
from mango.training.sharpening import sharpen_when_due
from mango.training.stage1 import Stage1Config, load_motion_model
from mango.training.stage2 import alternate
from mango.training.stage2_config import CalibrationConfig, SharpeningConfig, Stage2Config
from mango.training.studio import Learners, Studio, open_studio
from mango.types import PERSONS, MotionClip
from renderer.head import AvatarConfig

MODEL = MotionModelConfig(width=128, depth=4, heads=4, mlp_ratio=2, interaction_depth=1)
ONE_THREAD = RuntimeConfig(device="cpu", threads=1)
SAVE = 100  # steps between checkpoints


@dataclass(frozen=True)
class Bench:
    """Where the rows of one scale and seed lie."""

    out: Path
    scale: Scale
    seed: int

    @property
    def data(self) -> Path:
        return data_folder(self.out, self.seed, self.scale.name)

    @property
    def rows(self) -> Path:
        return self.out / f"{self.scale.name}-{self.seed}"

    def run(self, row: str) -> Path:
        return self.rows / row / "run"


@dataclass(frozen=True)
class Cost:
    """What a row took to train, over all the sessions that it was trained in."""

    cpu_seconds: float
    steps: int
    frames_rendered: int = 0


def stage_one(bench: Bench, row: str, *, steps: int, after: str | None = None, labels: Path | None = None) -> Cost:
    """Stage one on the tracker's labels or on ``labels``, from scratch or from the end of another row."""
    import train_stage1

    continued = OptimizerConfig(lr=2e-4, warmup=20, ema=0.99)
    config = Stage1Config(
        data=labels or bench.data,
        run=bench.run(row),
        seed=bench.seed,
        steps=steps,
        batch=12,
        frames=56,
        context=8,
        start_from=bench.run(after) if after else None,
        model=MODEL,
        optimizer=continued if after else OptimizerConfig(lr=8e-4, warmup=100, final=0.05, ema=0.995),
        every=Every(log=20, validate=400, save=SAVE),
        runtime=ONE_THREAD,
    )
    return timed(bench, row, steps, lambda: train_stage1.main(config))


def stage_two_config(bench: Bench, row: str) -> Stage2Config:
    """The recipe. Every row that has pictures starts from this."""
    scale = bench.scale
    return Stage2Config(
        data=bench.data,
        stage1=bench.run("stage1"),
        run=bench.run(row),
        seed=bench.seed,
        steps=scale.stage2_steps,
        avatar=AvatarConfig(num_gaussians=scale.gaussians),
        schedule=Schedule((Phase("head", scale.opening), Phase("labels", scale.labels)), (Phase("head", 1), Phase("motion", 3))),
        calibration=CalibrationConfig(steps=max(1, scale.opening // 2), lessons=max(1, scale.opening // 12)),
        sharpening=SharpeningConfig(lessons=max(1, scale.opening // 24)),
        validation_split=None,
        every=Every(log=20, validate=10**9, save=SAVE),
        runtime=ONE_THREAD,
    )


Change = Callable[[Studio, Learners], None]


def stage_two(bench: Bench, row: str, config: Stage2Config, change: Change | None = None) -> Cost:
    """The loop of train_stage2.py, in a studio that ``change`` may have tampered with."""

    def train() -> int:
        studio, learners = open_studio(config, Runtime(config.runtime))
        if change:
            change(studio, learners)
        with Run(config.run, config, facts=studio.facts, keep=config.keep) as run:
            begin(run, studio, learners)
            for step, active, losses in alternate(studio, learners, run.steps(config.steps)):
                close_when_due(run, studio, learners, step)
                sharpen_when_due(run, studio, learners, step)
                if run.due(step, config.every.log):
                    run.log(step, active, losses)
                if run.due(step, config.every.save) or run.stopping:
                    run.save(step, learners.all, learners.tensors, phase=active)
        save_avatars(config.run / "avatars", learners.avatars)
        return run.exit_code

    cost = timed(bench, row, config.steps, train)
    return replace(cost, frames_rendered=pictures_of(config))


def pictures_of(config: Stage2Config) -> int:
    """How many recorded pictures a finished run has compared its drawings with, if no window ran out of frames."""
    calibration, sharpening = config.calibration, config.sharpening
    steps = config.steps - learned_before(config.steps, "labels", config.schedule)
    tried = 0 if calibration.known else len(calibration.gains) * (calibration.steps + calibration.lessons)
    tried += len(sharpening.at) * len(sharpening.amounts) * sharpening.lessons
    asked = read_json(config.run / CLOSURES)["asked"] if (config.run / CLOSURES).exists() else 0
    return asked + config.windows * config.pictures * (steps + tried)


def frozen_head(config: Stage2Config) -> Stage2Config:
    """Avatars learn in the opening and never again; motion has as many steps as in the recipe."""
    opening = config.schedule.opening
    steps = sum(phase.steps for phase in opening) + learned_before(config.steps, "motion", config.schedule)
    return replace(config, schedule=Schedule(opening, (Phase("motion", 1),)), steps=steps)


def misled(control: str, seed: int) -> Change:
    """Stage two whose pictures tell the wrong story, from its calibration on."""

    def change(studio: Studio, learners: Learners) -> None:
        frames = {held.id: held.frames for held in studio.lessons.windows.dialogues}
        wrong = Misled(studio.lessons.pictures, CONTROLS[control](frames, seed))  # everybody's: another person's may be asked for
        studio.lessons.pictures = studio.trials.pictures = wrong

    return change


def only_an_offset(studio: Studio, learners: Learners) -> None:
    """Of the motion model only the bias of the last layer learns: one constant offset for everybody and every moment.

    The optimizer skips what gets no gradient.
    """
    model = learners.motion.model
    model.requires_grad_(False)
    model.out.bias.requires_grad_(True)


def timed(bench: Bench, row: str, steps: int, train: Callable[[], int]) -> Cost:
    """Trains, and adds up processor time over the sessions that it takes."""
    spent = bench.rows / row / "cpu_seconds.json"
    spent.parent.mkdir(parents=True, exist_ok=True)
    with counting_processor_time(spent):
        code = train()
    if code:
        raise KeyboardInterrupt
    return Cost(json.loads(spent.read_text()), steps)


@contextmanager
def counting_processor_time(file: Path, every: float = 10.0) -> Iterator[None]:
    """Adds this process's seconds to those in ``file`` as they pass, for a process that is killed writes nothing at its end."""
    before, start, over = json.loads(file.read_text()) if file.exists() else 0.0, time.process_time(), Event()

    def write() -> None:
        with atomic_file(file) as partial:
            partial.write_text(json.dumps(before + time.process_time() - start))

    def keep_writing() -> None:
        while not over.wait(every):
            write()

    writer = Thread(target=keep_writing, daemon=True)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()
        write()


# Other labels ----------------------------------------------------------------------------------------------------------------


def true_labels(bench: Bench) -> Mapping[tuple[str, str], MotionClip]:
    """For the oracle alone."""
    head, dialogues, truth = load_head(), DialogueSet.open(bench.data), Truth.open(bench.data)
    ids = [id for split in ("train", "val") for id in dialogues.split(split)]
    return {(id, side): truth.motion(id, side, head=head) for id in ids for side in PERSONS}


def bank_labels(bench: Bench, row: str) -> Mapping[tuple[str, str], MotionClip]:
    """The labels that a stage two ended with."""
    model, _, _ = load_motion_model(bench.run("stage1"), head=load_head())
    bank = read_tensors(newest_checkpoint(bench.run(row) / "checkpoints") / "bank.safetensors")
    labels = {tuple(key.split("/")[1:]): motion for key, motion in bank.items() if key.startswith("bank/")}
    return in_units_of_the_head(bench, model, labels)


@torch.no_grad()
def in_units_of_the_head(
    bench: Bench, model: MotionModel, normalised: Mapping[tuple[str, str], Float[Tensor, "_ width"]]
) -> dict[tuple[str, str], MotionClip]:
    """Clips of a model's normalised motion, with the tracker's shapes."""
    head, dialogues = load_head(), DialogueSet.open(bench.data)
    clips = {}
    for (id, side), motion in normalised.items():
        label = dialogues.dialogue(id).side(side).motion
        clips[id, side] = replace(head.layout.clip(model.denormalised(motion), label.shape, head.digest), fps=label.fps)
    return clips


def relabelled(bench: Bench, name: str, labels: Mapping[tuple[str, str], MotionClip]) -> Path:
    """The data set with other labels; everything else is a link to the original."""
    folder = bench.rows / f"labels-{name}"
    if folder.exists():
        return folder
    with atomic_folder(folder) as partial:
        for file in sorted(bench.data.rglob("*")):
            place = partial / file.relative_to(bench.data)
            if file.name.startswith("."):  # half a file: another row is computing features just now
                continue
            if file.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                os.link(file, place)
        for (id, side), clip in labels.items():
            for old in (partial / "dialogues" / id).glob(f"{side}.motion.*"):
                old.unlink()  # the link, or the original would change with it
            save_motion(partial / "dialogues" / id / f"{side}.motion.npz", clip)
    return folder
