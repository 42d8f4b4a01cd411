"""Long generation from short windows: every frame once, no seams, context carried, the same result again."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from mango.audio.encoders import Encoder
from mango.diffusion.objective import DiffusionConfig, noise_scheduler
from mango.errors import InputError
from mango.head.layout import MotionLayout
from mango.inference.generation import GenerationConfig, faded, generate, start_noise, windows
from mango.inference.recordings import Hearing
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

    def listen(self, voices, speaking, inside, drop):
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
    """Notices windows laid end to end: each window here has an opinion of its own, 1 apart, and no step may be larger than a half."""

    class Opinionated(FakeModel):
        def forward(self, noisy, level, conditions, identity, keep, given):
            return torch.full_like(noisy, 0.5 * len(self.windows))

    motion, _ = run(Opinionated(None), 150)
    assert motion.diff(dim=1).abs().max() < 0.5 and motion.max() - motion.min() > 3


def test_fading_by_hand():
    before, after = torch.zeros(1, 3, 1), torch.ones(1, 5, 1)
    assert faded(before, after, context=1)[0, :, 0].tolist() == pytest.approx([0, 1 - (2 / 3) ** 3, 1 - (1 / 3) ** 3, 1, 1])
    assert faded(before, after, context=0)[0, :, 0].tolist() == pytest.approx([5 / 32, 0.5, 27 / 32, 1, 1])
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


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -1e30])
def test_guidance_is_a_number_of_reason(scale):
    """Seen red: after all the work, an error about a hidden file that was gone."""
    with pytest.raises(InputError, match="guidance own: expected a scale up to 100"):
        GenerationConfig(guidance={"own": scale})


def test_guidance_of_several_pathways_adds_up(small_model):
    """In one step it is linear. Planted once: scales in another order than their branches."""
    voices, speaking = torch.randn(2, 20, 16, generator=torch.Generator().manual_seed(2)), torch.ones(2, 20)

    def made(**guidance):
        config = GenerationConfig(steps=1, guidance=guidance)
        return generate(small_model, SCHEDULER, voices, speaking, config, window=30, context=6)

    torch.testing.assert_close(made(heard=1.5, own=3.0), made(heard=1.5) + made(own=3.0) - made(), atol=1e-5, rtol=1e-4)


def test_of_whom_nothing_is_known_the_model_is_told_so(small_model):
    """Of each alone. Planted and seen red: zeros, which are somebody; nobody known as soon as one is not."""
    voices, speaking = torch.randn(2, 20, 16, generator=torch.Generator().manual_seed(2)), torch.ones(2, 20)
    zeros, told, listen = torch.zeros(small_model.identity_width), [], small_model.listen

    def heard(*inputs):
        told.append(inputs[-1].identity.tolist())
        return listen(*inputs)

    small_model.listen = heard
    made = [
        generate(small_model, SCHEDULER, voices, speaking, GenerationConfig(steps=1), window=30, context=6, identity=codes)
        for codes in ((None, None), (zeros, None), (None, zeros), (zeros, zeros))
    ]
    assert told == [[[True, True]], [[False, True]], [[True, False]], [[False, False]]]
    assert not torch.equal(made[0], made[3])


def test_features_may_come_when_asked_for(small_model):
    """In turn, and once each; the motion is that of features all at once. Planted once: rows forgotten that the next window overlaps."""
    voices, speaking, asked = torch.randn(2, 130, 16, generator=torch.Generator().manual_seed(2)), torch.ones(2, 130), []

    def hear(first, last):
        asked.append((first, last))
        return voices[:, first:last].half().float()

    config = GenerationConfig(steps=2, blend=4)
    made = [generate(small_model, SCHEDULER, heard, speaking, config, window=30, context=6) for heard in (voices.half().float(), hear)]
    assert torch.equal(*made) and asked == sorted(asked) and asked[-1][1] == 130


@pytest.mark.parametrize("length", [5, 40, 130, 1000])
def test_a_recording_is_encoded_part_by_part(length):
    """As much is held as a window and a part need. Planted once: all parts held; rows counted from the first part on."""

    class Counting(Encoder):
        width, digest = 1, "counting"

        def parts(self, audio):
            yield from torch.arange(float(len(audio) // 640))[:, None].split(50)

    hear = Hearing(Counting(), torch.zeros(2, length * 640))
    for first, last in windows(length, 24, 30, 10):
        assert hear(first, last)[..., 0].tolist() == [list(range(first, last))] * 2
        assert max(map(len, hear.held)) <= 30 + 50


def test_windows_shorter_than_a_blend_still_join(small_model):
    """Windows of 10 frames and 4 of context cannot share 12."""
    voices, speaking = torch.randn(2, 60, 16, generator=torch.Generator().manual_seed(2)), torch.ones(2, 60)
    motion = generate(small_model, SCHEDULER, voices, speaking, GenerationConfig(steps=1), window=10, context=4)
    assert motion.shape[1] == 60 and motion.isfinite().all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"guidance": {"audio": 2.0}}, "own, heard"),
        ({"sampler": "dpm++", "eta": 0.5}, r"0\.5 with dpm\+\+; give --sampler ddim"),
        ({"eta": 1.5}, "expected 0 to 1"),
        ({"threshold": 0.0}, "share above 0"),
        ({"threshold": 99.5}, "found 99.5"),
        ({"steps": 0}, "at least 1"),
    ],
)
def test_impossible_settings_are_input_errors(wrong, words):
    with pytest.raises(InputError, match=words):
        GenerationConfig(**wrong)


def test_more_steps_than_the_model_has_levels(small_model):
    with pytest.raises(InputError, match=r"steps: expected 1 to 60 \(the noise levels of the model\), found 61"):
        generate(small_model, SCHEDULER, torch.zeros(2, 9, 16), torch.ones(2, 9), GenerationConfig(steps=61), window=30, context=6)


def test_eta_draws_from_the_seed_and_threshold_clips(small_model):
    voices, speaking = torch.randn(2, 20, 16, generator=torch.Generator().manual_seed(2)), torch.ones(2, 20)

    def made(**changes):
        config = GenerationConfig(steps=4, **changes)
        return generate(small_model, SCHEDULER, voices, speaking, config, window=30, context=6)

    assert torch.equal(made(eta=0.5), made(eta=0.5)) and not torch.allclose(made(eta=0.5), made())
    held = made(threshold=0.5)
    assert held.abs().amax((1, 2)).le(torch.maximum(made().abs().amax((1, 2)), torch.tensor(1.0))).all() and not torch.allclose(
        held, made()
    )
