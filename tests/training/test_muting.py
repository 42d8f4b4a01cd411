"""Faults these tests notice, each planted once: the muted person taught; reactions taught; a window in which both are muted; one person
muted more often than the other; the indicator left as it was; the voice of the one who still speaks silenced."""

from dataclasses import replace

import pytest
import torch
from tiny_training import tiny_yaml

from mango.audio.encoders import make_encoder
from mango.config import load_config
from mango.data.dialogues import DialogueSet
from mango.data.windows import WindowBatch, Windows
from mango.diffusion.objective import schedule
from mango.training.exercises import exercises
from mango.training.muting import sometimes_muted
from mango.training.stage1 import Stage1Config

MANY, TIME, FEATURES = 400, 6, 3
SILENCE = torch.full((FEATURES,), -1.0)


@pytest.fixture
def batch() -> WindowBatch:
    random = torch.Generator().manual_seed(0)
    keep = torch.rand(MANY, 2, TIME, generator=random) < 0.9
    return WindowBatch(
        motion=torch.zeros(MANY, 2, TIME, 1),
        voices=torch.rand(MANY, 2, TIME, FEATURES, generator=random),
        speaking=(torch.rand(MANY, 2, TIME, generator=random) < 0.5).float(),
        inside=torch.ones_like(keep),
        keep=keep,
        taught=keep,
        bilabial=torch.zeros(MANY, 2, TIME, dtype=torch.bool),
        identity=torch.zeros(MANY, 2, 1),
        dialogues=("d",) * MANY,
        starts=(0,) * MANY,
    )


def test_one_of_two_falls_silent_and_only_the_other_s_speech_is_learnt(batch):
    made = sometimes_muted(batch, SILENCE, 0.5, (0, 1))
    silent = (made.voices == SILENCE).all(-1).all(-1)
    assert not silent.all(1).any(), "never both"
    shares = silent.float().mean(0)
    assert ((shares - 0.25).abs() < 4 * (0.25 * 0.75 / MANY) ** 0.5).all(), f"either equally often: {shares}"
    alone = silent.flip(1)
    assert not made.speaking[silent].any() and not made.taught[silent].any()
    assert torch.equal(made.taught[alone], batch.keep[alone] & (batch.speaking[alone] > 0.5))
    assert torch.equal(made.voices[~silent], batch.voices[~silent]) and torch.equal(made.speaking[~silent], batch.speaking[~silent])
    untouched = ~silent & ~alone
    assert torch.equal(made.taught[untouched], batch.keep[untouched]) and torch.equal(made.keep, batch.keep)


def test_a_share_of_nothing_changes_nothing(batch):
    assert sometimes_muted(batch, SILENCE, 0.0, (0, 1)) is batch


def test_the_position_decides(batch):
    first, again, other = (sometimes_muted(batch, SILENCE, 0.5, (0, step)).voices for step in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_stage_one_s_exercises_are_muted_as_its_config_says(tmp_path, tiny_set, head):
    """Notices a share that nobody reads, and losses that count frames nobody is taught."""
    config = replace(load_config(Stage1Config, tiny_yaml(tmp_path, tiny_set)), muted=1.0)
    windows = Windows(DialogueSet.open(tiny_set), "train", make_encoder(config.encoder), head.layout, config.frames, config.context)
    exercise = exercises(config, windows, schedule(config.diffusion), [list(range(config.batch))]).at(1)
    ((batch, draws),) = exercise.parts
    assert ((batch.voices == windows.silence()).flatten(2).all(2).sum(1) == 1).all()
    assert exercise.frames["parameters"] == int((batch.taught & ~draws.given).sum()) < int((batch.keep & ~draws.given).sum())
