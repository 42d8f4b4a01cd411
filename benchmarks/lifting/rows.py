"""The rows of the table: what each is trained on and what it must wait for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from benchmarks.lifting.refit import refit
from benchmarks.lifting.sweeps import with_wrong_indicator
from benchmarks.lifting.training import (
    Bench,
    Cost,
    bank_labels,
    frozen_head,
    in_units_of_the_head,
    misled,
    only_an_offset,
    relabelled,
    stage_one,
    stage_two,
    stage_two_config,
    true_labels,
)
from mango.errors import InputError
from mango.losses.image import lpips
from mango.training.alternation import Phase, Schedule
from mango.training.calibration import amplified, known_gain
from mango.training.checkpoints import newest_checkpoint, read_learner
from mango.training.runtime import Runtime
from mango.training.stage2_config import CalibrationConfig, Stage2Config
from mango.training.studio import Learners, Studio, open_studio


@dataclass(frozen=True)
class Row:
    title: str
    train: Callable[[Bench, str], Cost]
    after: tuple[str, ...] = ()
    main: bool = True  # belongs to `small`; otherwise to `full` only
    obstacle: Callable[[], str | None] = lambda: None  # why it cannot be trained here, if so


@dataclass(frozen=True)
class Changed:
    """Stage two with some settings of its configuration changed, as data: they count in the row's digest."""

    settings: Mapping[str, Any] = field(default_factory=dict)  # "bank.rate": 0.0

    def __call__(self, bench: Bench, row: str) -> Cost:
        return stage_two(bench, row, self.of(stage_two_config(bench, row)))

    def of(self, config: Stage2Config) -> Stage2Config:
        for key, value in self.settings.items():
            owner, _, name = key.rpartition(".")
            config = replace(config, **({owner: replace(getattr(config, owner), **{name: value})} if owner else {name: value}))
        return config


def control(name: str) -> Callable[[Bench, str], Cost]:
    return lambda bench, row: stage_two(bench, row, stage_two_config(bench, row), misled(name, bench.seed))


def longer(bench: Bench, row: str) -> Cost:
    return stage_one(bench, row, steps=bench.scale.motion_steps, after="stage1")


def longer_in_time(bench: Bench, row: str) -> Cost:
    """As much processor time as stage two took, in steps as dear as stage one's were."""
    from benchmarks.lifting.scoring import cost_of

    each = cost_of(bench, "stage1").cpu_seconds / cost_of(bench, "stage1").steps
    return stage_one(bench, row, steps=max(1, round(cost_of(bench, "stage2").cpu_seconds / each)), after="stage1")


def oracle(bench: Bench, row: str) -> Cost:
    labels = relabelled(bench, row, true_labels(bench))
    return stage_one(bench, row, steps=bench.scale.stage1_steps + bench.scale.motion_steps, labels=labels)


def hybrid(bench: Bench, row: str) -> Cost:
    """Stage two's labels, then stage one on them."""
    return stage_one(
        bench, row, steps=bench.scale.motion_steps, after="stage2", labels=relabelled(bench, row, bank_labels(bench, "stage2"))
    )


def calibrated(bench: Bench, row: str) -> Cost:
    """Longer stage one on the labels that stage two begins with: what a gain and closed lips alone are worth."""
    config = stage_two_config(bench, "stage2")
    studio, learners = open_studio(config, Runtime(config.runtime))
    bank = amplified(studio, learners.bank, known_gain(config.run))
    clips = in_units_of_the_head(bench, learners.motion.model, bank.labels)
    return stage_one(bench, row, steps=bench.scale.motion_steps, after="stage1", labels=relabelled(bench, row, clips))


def wrong_indicator(share: float) -> Callable[[Bench, str], Cost]:
    """Stage two told wrongly who speaks; what it is compared on is told rightly."""

    def train(bench: Bench, row: str) -> Cost:
        spoilt = with_wrong_indicator(bench.data, bench.rows / f"labels-{row}", share, bench.seed)
        return stage_two(bench, row, replace(stage_two_config(bench, row), data=spoilt))

    return train


def head_from_truth(bench: Bench, row: str) -> Cost:
    """Avatars and cameras learn from the true motion, then never again: what biased labels burn into avatars. A diagnostic."""
    config = stage_two_config(bench, row)
    opening, motion = bench.scale.opening, (Phase("motion", 1),)
    first = replace(
        config,
        run=bench.rows / row / "opening",
        steps=opening,
        schedule=Schedule((Phase("head", opening),), motion),
        calibration=CalibrationConfig(gains=()),
        bank=replace(config.bank, rest="tracked"),
    )
    then = replace(
        config,
        steps=bench.scale.motion_steps,
        schedule=Schedule((Phase("labels", bench.scale.labels),), motion),
        avatars=first.run / "avatars",
        calibration=CalibrationConfig(known=bench.run("stage2")),
    )

    def told_the_truth(studio: Studio, learners: Learners) -> None:
        for key, clip in true_labels(bench).items():
            if key in learners.bank.labels:
                learners.bank.labels[key] = learners.motion.model.normalised(studio.head.layout.pack(clip))

    def cameras_kept(studio: Studio, learners: Learners) -> None:
        read_learner(newest_checkpoint(first.run / "checkpoints"), learners.cameras)

    begun = stage_two(bench, row, first, told_the_truth)
    ended = stage_two(bench, row, then, cameras_kept)
    return replace(ended, steps=begun.steps + ended.steps, frames_rendered=begun.frames_rendered + ended.frames_rendered)


def no_lpips() -> str | None:
    try:
        lpips(torch.zeros(1, 64, 64, 3), torch.zeros(1, 64, 64, 3))
    except InputError as error:
        return str(error)
    return None


ROWS = {
    "stage1": Row("stage one", lambda bench, row: stage_one(bench, row, steps=bench.scale.stage1_steps)),
    "oracle": Row("oracle: stage one on the true motion", oracle),
    "stage2": Row("stage two", Changed(), ("stage1",)),
    "longer_steps": Row("longer stage one, equal steps", longer, ("stage1",)),
    "longer_time": Row("longer stage one, equal time", longer_in_time, ("stage1", "stage2")),
    "frozen_head": Row("frozen head", lambda bench, row: stage_two(bench, row, frozen_head(stage_two_config(bench, row))), ("stage1",)),
    "shuffled": Row("control: shuffled pictures", control("shuffled"), ("stage1",)),
    "shifted": Row("control: pictures of 3 frames later", control("shifted"), ("stage1",)),
    "wrong_person": Row("control: another person's pictures", control("wrong_person"), ("stage1",)),
    "static": Row("control: one picture per clip", control("static"), ("stage1",)),
    "offset": Row(
        "control: a constant offset", lambda bench, row: stage_two(bench, row, stage_two_config(bench, row), only_an_offset), ("stage1",)
    ),
    "calibrated": Row("longer stage one on calibrated labels", calibrated, ("stage1", "stage2")),
    "refit": Row("labels refitted frame by frame, equal frames", lambda bench, row: refit(bench, row, frames=1.0), ("stage1", "stage2")),
    "refit_5": Row(
        "labels refitted, five times the frames", lambda bench, row: refit(bench, row, frames=5.0), ("stage1", "stage2"), main=False
    ),
    "no_bank": Row("without the label bank", Changed({"bank.rate": 0.0}), ("stage1",), main=False),
    "no_pin": Row("without the rest pin", Changed({"bank.pin_every": 0}), ("stage1",), main=False),
    "true_head": Row("diagnostic: head fitted on true motion", head_from_truth, ("stage1", "stage2"), main=False),
    "uncalibrated": Row("without calibration", Changed({"calibration.gains": ()}), ("stage1",), main=False),
    "unsharpened": Row("without sharpening", Changed({"sharpening.at": ()}), ("stage1",), main=False),
    "unclosed": Row("without closures seen in pictures", Changed({"closures.pictures": 0}), ("stage1",), main=False),
    "tracked_rest": Row("the tracker's faces at rest", Changed({"bank.rest": "tracked"}), ("stage1",), main=False),
    "ssim": Row("L1 and SSIM", Changed({"motion_pictures.ssim": 10.0}), ("stage1",), main=False),
    "lpips": Row("L1 and LPIPS", Changed({"motion_pictures.lpips": 10.0}), ("stage1",), main=False, obstacle=no_lpips),
    "indicator_10": Row("speaking indicator wrong in 10 %", wrong_indicator(0.1), ("stage1",), main=False),
    "indicator_20": Row("speaking indicator wrong in 20 %", wrong_indicator(0.2), ("stage1",), main=False),
    "hybrid": Row("hybrid: stage one on stage two's labels", hybrid, ("stage1", "stage2"), main=False),
}
OF_CI = ("stage1", "stage2", "longer_steps")
