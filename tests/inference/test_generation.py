"""Long generation from short windows: every frame once, no seams, context carried, the same result again."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from mango.diffusion.objective import DiffusionConfig, noise_scheduler
from mango.errors import InputError
from mango.head.layout import MotionLayout
from mango.inference.generation import GenerationConfig, faded, generate, start_noise, windows
from mango.models.motion import MotionModel, MotionModelConfig

LAYOUT = MotionLayout(4)  # 16 wide
SCHEDULER = noise_scheduler(DiffusionConfig(levels=60), "ddim")


class FakeModel(nn.Module):
    """Predicts ``rule(noisy, voices, given)``; units are 2 x + 1 so that a forgotten normalisation shows."""

    identity_width = 3
    layout = LAYOUT

    def __init__(self, rule):
        super().__init__()
        self.rule, self.windows, self.calls = rule, [], 0

    def normalised(self, motion):
        return (motion - 1) / 2

    def denormalised(self, normal):
        return 2 * normal + 1

    def listen(self, voices, speaking, keep, drop):
        self.windows.append(voices.shape[2])
        return voices, drop

    def forward(self, noisy, level, conditions, identity, keep, given):
        self.calls += 1
        return self.rule(noisy, conditions[0], given)


def run(model, frames, window=30, context=6, blend=4, **changes):
    voices = torch.randn(2, frames, LAYOUT.width, generator=torch.Generator().manual_seed(1)).cumsum(1) / 5
    config = GenerationConfig(**{"steps": 3, "blend": blend, **changes})
    return generate(model, SCHEDULER, voices, torch.zeros(2, frames), config, window=window, context=context), voices


@pytest.mark.parametrize("frames", [1, 5, 29, 30, 31, 50, 51, 127, 300])
def test_every_frame_once_and_in_its_place(frames):
    """Notices frames lost, doubled or shifted at window borders, and lengths that only work for whole windows."""
    motion, voices = run(FakeModel(lambda noisy, voices, given: voices), frames)
    torch.testing.assert_close(motion, 2 * voices + 1)


@pytest.mark.parametrize(("total", "window", "overlap"), [(1, 30, 10), (30, 30, 10), (31, 30, 10), (100, 30, 0), (101, 11, 10)])
def test_windows_cover_everything(total, window, overlap):
    made = list(windows(total, overlap + 1, window, overlap))
    assert made[0] == (0, min(total, overlap + 1)) and made[-1][1] == total
    for (_, last), (first, end) in pairwise(made):
        assert last - first == overlap and last < end
    assert all(last - first <= window for first, last in made)


def test_the_context_is_the_clean_end_of_the_window_before():
    """Notices a context that is missing, noisy, in the wrong units, or not marked: the rule goes on from the last given frame."""

    def hold(noisy, voices, given):
        if len(model.windows) == 1:
            assert not given.any()
            return torch.full_like(noisy, 3.0)
        count = int(given[0, 0].sum())
        assert count == 6 and given[0, 0, :count].all()
        return noisy[:, :, count - 1 : count].expand_as(noisy)

    model = FakeModel(hold)
    motion, _ = run(model, 200)
    torch.testing.assert_close(motion, torch.full_like(motion, 7.0))


def test_windows_that_disagree_leave_no_jump():
    """Notices windows laid end to end: each window here has an opinion of its own, 1 apart, and steps may not exceed 1 / (blend + 1)."""

    class Opinionated(FakeModel):
        def forward(self, noisy, level, conditions, identity, keep, given):
            return torch.full_like(noisy, 0.5 * len(self.windows))

    motion, _ = run(Opinionated(None), 150)
    assert motion.diff(dim=1).abs().max() <= 1 / 5 + 1e-6 and motion.max() - motion.min() > 3


def test_fading_by_hand():
    before, after = torch.zeros(1, 3, 1), torch.ones(1, 5, 1)
    assert faded(before, after, context=1)[0, :, 0].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    assert faded(before[:, :0], after, context=0)[0, :, 0].tolist() == [1] * 5


def test_noise_belongs_to_frames_and_persons():
    """Notices one noise for all windows, for both people, or one that depends on where the window starts."""
    whole = start_noise(3, 0, 200, 5)
    torch.testing.assert_close(start_noise(3, 70, 131, 5), whole[:, 70:131])
    assert not torch.equal(whole[0], whole[1]) and not torch.equal(whole[:, :64], whole[:, 64:128])
    assert not torch.equal(start_noise(4, 0, 200, 5), whole)


def test_memory_does_not_grow_with_the_recording():
    """Notices a window that grows: the model never sees more than one."""
    model = FakeModel(lambda noisy, voices, given: voices)
    run(model, 1000)
    assert max(model.windows) == 30


@pytest.fixture(scope="module")
def small_model():
    torch.manual_seed(0)
    model = MotionModel(MotionModelConfig(width=32, depth=1, heads=2, interaction_depth=1), LAYOUT, voice_width=16, identity_width=3)
    for weights in model.parameters():  # a new model predicts nothing and its gates are closed
        nn.init.normal_(weights, std=0.2)
    return model.eval()


@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "ddpm"])
def test_the_real_model_is_reproducible(small_model, sampler):
    scheduler = noise_scheduler(DiffusionConfig(levels=60), sampler)
    voices, speaking = torch.randn(2, 70, 16, generator=torch.Generator().manual_seed(2)), torch.ones(2, 70)

    def made(**changes):
        config = GenerationConfig(**{"steps": 3, "sampler": sampler, **changes})
        return generate(small_model, scheduler, voices, speaking, config, window=30, context=6)

    torch.randn(5)  # the global state must not matter
    first = made()
    assert torch.equal(first, made()) and first.isfinite().all()
    assert not torch.allclose(first, made(seed=1))


def test_guidance_changes_the_result_and_scale_one_does_not(small_model):
    scheduler = noise_scheduler(DiffusionConfig(levels=60), "ddim")
    voices, speaking = torch.randn(2, 20, 16, generator=torch.Generator().manual_seed(2)), torch.ones(2, 20)

    def made(**guidance):
        config = GenerationConfig(steps=2, guidance=guidance)
        return generate(small_model, scheduler, voices, speaking, config, window=30, context=6)

    assert torch.equal(made(), made(own=1.0))
    assert not torch.allclose(made(), made(own=2.5)) and not torch.allclose(made(heard=2.5), made(own=2.5))


def test_an_unknown_pathway_is_an_input_error():
    with pytest.raises(InputError, match="own, heard"):
        GenerationConfig(guidance={"audio": 2.0})
