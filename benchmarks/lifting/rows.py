"""The rows of the table: what each is trained on and what it must wait for."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.lifting.refit import refit
from benchmarks.lifting.training import (
    Bench,
    Cost,
    bank_labels,
    frozen_head,
    misled,
    only_an_offset,
    relabelled,
    stage_one,
    stage_two,
    stage_two_config,
    true_labels,
)


@dataclass(frozen=True)
class Row:
    title: str
    train: Callable[[Bench, str], Cost]
    after: tuple[str, ...] = ()
    main: bool = True  # belongs to `small`; otherwise to `full` only


def recipe(bench: Bench, row: str) -> Cost:
    return stage_two(bench, row, stage_two_config(bench, row))


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


def without_pin(bench: Bench, row: str) -> Cost:
    config = stage_two_config(bench, row)
    return stage_two(bench, row, replace(config, bank=replace(config.bank, pin_every=0)))


def without_bank(bench: Bench, row: str) -> Cost:
    config = stage_two_config(bench, row)
    return stage_two(bench, row, replace(config, bank=replace(config.bank, rate=0.0)))


def with_losses(**weights: float) -> Callable[[Bench, str], Cost]:
    def train(bench: Bench, row: str) -> Cost:
        config = stage_two_config(bench, row)
        return stage_two(bench, row, replace(config, motion_pictures=replace(config.motion_pictures, **weights)))

    return train


ROWS = {
    "stage1": Row("stage one", lambda bench, row: stage_one(bench, row, steps=bench.scale.stage1_steps)),
    "oracle": Row("oracle: stage one on the true motion", oracle),
    "stage2": Row("stage two", recipe, ("stage1",)),
    "longer_steps": Row("longer stage one, equal steps", longer, ("stage1",)),
    "longer_time": Row("longer stage one, equal time", longer_in_time, ("stage1", "stage2")),
    "frozen_head": Row("frozen head", lambda bench, row: stage_two(bench, row, frozen_head(stage_two_config(bench, row))), ("stage1",)),
    "shuffled": Row("control: shuffled pictures", control("shuffled"), ("stage1",)),
    "shifted": Row("control: pictures 3 frames late", control("shifted"), ("stage1",)),
    "wrong_person": Row("control: another person's pictures", control("wrong_person"), ("stage1",)),
    "static": Row("control: one picture per clip", control("static"), ("stage1",)),
    "offset": Row(
        "control: a constant offset", lambda bench, row: stage_two(bench, row, stage_two_config(bench, row), only_an_offset), ("stage1",)
    ),
    "refit": Row("labels refitted frame by frame, equal frames", lambda bench, row: refit(bench, row, frames=1.0), ("stage1",)),
    "refit_5": Row("labels refitted, five times the frames", lambda bench, row: refit(bench, row, frames=5.0), ("stage1",), main=False),
    "no_bank": Row("without the label bank", without_bank, ("stage1",), main=False),
    "no_pin": Row("without the rest pin", without_pin, ("stage1",), main=False),
    "ssim": Row("L1 and SSIM", with_losses(ssim=10.0), ("stage1",), main=False),
    "hybrid": Row("hybrid: stage one on stage two's labels", hybrid, ("stage1", "stage2"), main=False),
}
OF_CI = ("stage1", "stage2", "longer_steps")
