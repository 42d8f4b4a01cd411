"""Faults noticed: context frames noised or counted, every condition withheld together, indicator flips that never happen, validation of
the last batch only or with fresh noise, a draw that ignores the step, a gradient that does not reach the model from pictures."""

from dataclasses import replace

import pytest
import torch
from tiny_training import tiny_yaml

from mango.audio.encoders import make_encoder
from mango.config import load_config
from mango.data.dialogues import DialogueSet
from mango.data.windows import Windows
from mango.diffusion.objective import schedule
from mango.errors import InputError
from mango.losses.motion import MotionLossWeights
from mango.seeds import torch_generator
from mango.training import stage1
from mango.training.exercises import exercises
from mango.training.runtime import Runtime, RuntimeConfig
from mango.training.stage1 import (
    NO_NOISE,
    ConditionNoise,
    Stage1Config,
    new_motion_model,
    one_shot_x0,
    random_draws,
    regressed,
    stage1_losses,
    validation_losses,
)


@pytest.fixture(scope="module")
def setting(tmp_path_factory, tiny_set, head):
    config = load_config(Stage1Config, tiny_yaml(tmp_path_factory.mktemp("stage1"), tiny_set))
    config = replace(config, losses=MotionLossWeights(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, blink=0.0))
    windows = Windows(DialogueSet.open(tiny_set), "train", make_encoder(config.encoder), head.layout, config.frames, config.context)
    model, _ = new_motion_model(config, windows, head)
    with torch.no_grad():  # a new model ignores its inputs
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch_generator(str(parameter.shape)))
    return config, windows, model, schedule(config.diffusion)


def test_one_shot_is_a_function_of_its_position_with_gradient(setting):
    config, windows, model, curve = setting
    batch = windows.batch(0, 1, 4)
    labels = model.normalised(batch.motion).requires_grad_()

    def clean(*position):
        return one_shot_x0(model, batch, labels, curve, random_draws(batch, curve, config.conditions, config.context, position))

    assert torch.equal(clean(0, 1), clean(0, 1))
    assert not torch.equal(clean(0, 1), clean(0, 2)) and not torch.equal(clean(0, 1), clean(1, 1))
    clean(0, 1).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.stem.parameters())
    model.zero_grad()


def test_context_is_clean_given_and_not_counted(setting):
    config, windows, model, curve = setting
    batch = windows.batch(0, 2, 8)
    labels = model.normalised(batch.motion)
    draws = random_draws(batch, curve, NO_NOISE, config.context, (0,))
    assert torch.equal(draws.given[:, :, : config.context], batch.keep[:, :, : config.context]), "no context before a dialogue's start"
    assert draws.given.any() and not draws.given[:, :, config.context :].any()
    assert torch.equal(one_shot_x0(model, batch, labels, curve, draws)[draws.given], labels[draws.given])
    losses = stage1_losses(model, batch, curve, config, None, draws)
    assert not (losses["parameters"].valid & draws.given).any()
    assert torch.equal(losses["parameters"].valid | draws.given, batch.keep)
    assert not random_draws(batch, curve, replace(NO_NOISE, context=1.0), config.context, (0,)).given.any()


def test_a_partner_without_labels_is_heard_in_training_as_in_generation(setting, head):
    """Notices a voice masked by its face's labels: where one side is filmed, or one person is fine-tuned, training was deaf."""
    config, windows, model, curve = setting
    batch = windows.batch(0, 3, 4)
    batch = replace(batch, keep=batch.keep & torch.tensor([True, False])[:, None])
    louder = replace(batch, voices=batch.voices + 5.0 * torch.tensor([0.0, 1.0])[:, None, None])
    labels, draws = model.normalised(batch.motion), random_draws(batch, curve, NO_NOISE, config.context, (0,))
    before, after = (one_shot_x0(model, each, labels, curve, draws)[:, 0, config.context :] for each in (batch, louder))
    assert not torch.allclose(before, after)
    regressor, _ = new_motion_model(replace(config, model=replace(config.model, kind="regression")), windows, head)
    torch.nn.init.normal_(regressor.out.weight, generator=torch_generator("regressor"))
    unknown = labels + 9.0 * ~batch.keep[..., None]
    assert torch.equal(regressed(regressor, batch, labels, draws), regressed(regressor, batch, unknown, draws)), "at the mean pose"
    assert not torch.allclose(regressed(regressor, batch, labels, draws)[:, 0], regressed(regressor, louder, labels, draws)[:, 0])


def test_exercises_draw_high_levels_as_often_as_the_config_says(setting):
    """Notices an emphasis that nobody reads, and one that is no number to draw by."""
    config, windows, _, curve = setting

    def drawn(high):
        made = exercises(replace(config, high_levels=high), windows, curve, [list(range(config.batch))])
        return torch.cat([draws.level for step in range(1, 9) for _, draws in made.at(step).parts])

    assert torch.equal(drawn(1.0), torch.cat([draws.level for draws in uniformly_drawn(config, windows, curve)]))
    assert (drawn(3.0) >= drawn(1.0)).all() and drawn(3.0).float().mean() > drawn(1.0).float().mean() + 100
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match=r"high_levels: expected above 0"):
            replace(config, high_levels=wrong)


def uniformly_drawn(config, windows, curve):
    for step in range(1, 9):
        batch = windows.batch(config.seed, step, config.batch)
        yield random_draws(batch, curve, config.conditions, config.context, (config.seed, step, 0))


def test_conditions_are_withheld_independently_and_as_often_as_asked():
    drop = stage1._withheld(ConditionNoise(own=0.1, heard=0.3, identity=0.5, speaking=0.0), 4000, torch_generator(0))
    shares = [float(getattr(drop, name).float().mean()) for name in ("own", "heard", "identity", "speaking")]
    assert shares == pytest.approx([0.1, 0.3, 0.5, 0.0], abs=0.02)
    assert float((drop.heard & drop.identity).float().mean()) == pytest.approx(0.15, abs=0.02)
    assert float((drop.own[:, 0] & drop.own[:, 1]).float().mean()) == pytest.approx(0.01, abs=0.006)


def test_the_indicator_is_spoilt_in_runs():
    shape = (500, 2, 40)
    flipped = stage1._flipped(shape, ConditionNoise(speaking_flips=0.15, flip_frames=5), torch_generator(0)).float()
    assert float(flipped.mean()) == pytest.approx(0.15, abs=0.01)
    assert float(flipped.diff(dim=2).abs().mean()) < 0.07, "single frames would change at 0.25"
    assert not stage1._flipped(shape, NO_NOISE, torch_generator(0)).any()


def test_a_spoilt_indicator_is_what_the_model_hears(setting):
    config, windows, model, curve = setting
    batch = windows.batch(0, 3, 4)
    labels, draws = model.normalised(batch.motion), random_draws(batch, curve, NO_NOISE, config.context, (0,))
    turned_over = one_shot_x0(model, replace(batch, speaking=1 - batch.speaking), labels, curve, draws)
    assert torch.equal(one_shot_x0(model, batch, labels, curve, replace(draws, flipped=~draws.flipped)), turned_over)
    assert not torch.equal(one_shot_x0(model, batch, labels, curve, draws), turned_over)


def test_validation_counts_every_frame_once_and_repeats(setting):
    config, windows, model, curve = setting
    cpu = Runtime(RuntimeConfig(device="cpu"))
    first = validation_losses(model, windows, curve, config, None, cpu)
    assert first == validation_losses(model, windows, curve, config, None, cpu)
    assert first["total"] == pytest.approx(first["parameters"] + first["velocity"])

    batches = list(map(windows.at, windows.tiles(config.batch)))
    assert len(batches) > 2
    sums = count = 0.0
    for number, batch in enumerate(batches):
        draws = random_draws(batch, curve, NO_NOISE, config.context, (0, number, "validation"))
        loss = stage1_losses(model, batch, curve, config, None, draws)["parameters"]
        sums, count = sums + float(loss.values[loss.valid].sum()), count + int(loss.valid.sum())
    # each kept frame is a target once; context frames are shown, not judged
    assert count == sum(int(held.keep.sum()) for held in windows.dialogues)
    assert first["parameters"] == pytest.approx(sums / count, rel=1e-4)


def test_processes_share_validation(setting):
    """Planted: all of it in every process, and one process's windows left out."""
    config, windows, model, curve = setting
    parts, alone = [], Runtime(RuntimeConfig(device="cpu"))
    for rank in (0, 1):
        one = Runtime(RuntimeConfig(device="cpu"))
        one.processes, one.rank, one.summed = 2, rank, lambda values: parts.append(values) or values
        validation_losses(model, windows, curve, config, None, one)
    sums, counts, others, others_counts = (float(values["parameters"]) for values in parts)
    assert counts > 0 and counts + others_counts == sum(int(held.keep.sum()) for held in windows.dialogues)
    whole = validation_losses(model, windows, curve, config, None, alone)
    assert (sums + others) / (counts + others_counts) == pytest.approx(whole["parameters"], rel=1e-9)


def test_voice_noise_is_fresh_in_every_frame_and_its_colour_constant():
    """Planted once: colour drawn per frame."""
    shape, random = (2, 2, 50, 6), torch_generator(0)
    fresh = stage1._coloured(shape, replace(NO_NOISE, voice=0.5), random)
    colour = stage1._coloured(shape, replace(NO_NOISE, colour=0.5), random)
    assert fresh.std(dim=2).min() > 0.3 and abs(fresh.std() - 0.5) < 0.05
    assert torch.equal(colour, colour[:, :, :1].expand_as(colour)) and colour.unique().numel() == 2 * 2 * 6
    assert not stage1._coloured(shape, NO_NOISE, random).any()
