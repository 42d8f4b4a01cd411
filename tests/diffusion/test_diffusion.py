"""Faults noticed: alpha-bar without its square root, levels that miss an end, a sampler that starts below pure noise, context frames
that are not returned or not shown, guidance with the sign turned."""

import pytest
import torch

from mango.diffusion.objective import DiffusionConfig, levels, noise_scheduler, noised, schedule
from mango.diffusion.sampling import guided, sample
from mango.seeds import torch_generator

SAMPLERS = ("ddpm", "ddim", "dpm++")


def test_noised_keeps_unit_variance_and_ends_in_noise():
    curve = schedule(DiffusionConfig())
    assert curve.levels == 1000 and curve.signal[0] > 0.999 and curve.signal[-1] < 1e-6
    x0, noise = torch.randn(1000, 500, generator=torch_generator(1)), torch.randn(1000, 500, generator=torch_generator(2))
    mixed = noised(x0, noise, torch.arange(1000), curve)
    torch.testing.assert_close(mixed.std(dim=1), torch.ones(1000), atol=0.15, rtol=0)
    torch.testing.assert_close(mixed[0], x0[0], atol=0.1, rtol=0)
    torch.testing.assert_close(mixed[-1], noise[-1], atol=0.01, rtol=0)


def test_noised_agrees_with_diffusers():
    config = DiffusionConfig(levels=100)
    x0, noise, level = torch.randn(5, 3), torch.randn(5, 3), torch.tensor([0, 20, 50, 98, 99])
    torch.testing.assert_close(noised(x0, noise, level, schedule(config)), noise_scheduler(config).add_noise(x0, noise, level))


def test_levels_are_uniform_and_spread():
    curve = schedule(DiffusionConfig())
    drawn = torch.stack([levels(16, curve, torch_generator(step)) for step in range(200)])
    assert drawn.min() >= 0 and drawn.max() <= 999 and drawn.min() < 5 and drawn.max() > 994
    assert abs(drawn.float().mean() - 499.5) < 4
    assert all(62 <= gap <= 63 for row in drawn for gap in row.sort().values.diff().tolist()), "one in each sixteenth"
    assert not torch.equal(drawn[0].sort().values, drawn[0]), "levels do not follow the batch's order"


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampling_finds_the_distribution(name):
    """The ideal denoiser of a Gaussian, E[x0 | x] = mean + s sqrt(a) (x - sqrt(a) mean) / (s a + 1 - a), gives that Gaussian back."""
    config, mean, deviation = DiffusionConfig(), 1.5, 0.5
    signal = schedule(config).signal

    def predict(noisy, level):
        a, s = signal[level][:, None], deviation**2
        return mean + s * a.sqrt() * (noisy - a.sqrt() * mean) / (s * a + 1 - a)

    steps = 100 if name == "ddpm" else 25
    drawn = sample(
        predict, noise_scheduler(config, name), torch.randn(4, 5000, generator=torch_generator(0)), steps, generator=torch_generator(1)
    )
    assert abs(drawn.mean() - mean) < 0.02
    assert abs(drawn.std() - deviation) < 0.04


@pytest.mark.parametrize("name", SAMPLERS)
def test_context_is_shown_clean_and_returned(name):
    given = torch.zeros(2, 2, 6, dtype=torch.bool)
    given[:, :, :2] = True
    known = torch.full((2, 2, 6, 3), 7.0)
    seen = []

    def predict(noisy, level):
        seen.append(noisy[:, :, :2].clone())
        return torch.zeros_like(noisy)

    out = sample(
        predict,
        noise_scheduler(DiffusionConfig(), name),
        torch.randn(2, 2, 6, 3),
        8,
        known=known,
        given=given,
        generator=torch_generator(3),
    )
    assert all(torch.equal(x, known[:, :, :2]) for x in seen)
    assert torch.equal(out[:, :, :2], known[:, :, :2])
    assert out[:, :, 2:].abs().max() < 0.2


def test_ddpm_draws_from_its_generator_only():
    scheduler = noise_scheduler(DiffusionConfig(), "ddpm")
    start = torch.randn(1, 50)
    first, again, other = (sample(lambda x, t: 0.5 * x, scheduler, start, 10, generator=torch_generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_guidance_by_hand():
    def full(x, level):
        return x + 3.0

    def deaf(x, level):
        return x + 1.0

    x, level = torch.zeros(2), torch.zeros(2, dtype=torch.long)
    assert guided(full, {"own": deaf}, {"own": 2.0})(x, level).tolist() == [5.0, 5.0]
    assert guided(full, {"own": deaf}, {"own": 0.0})(x, level).tolist() == [1.0, 1.0]
    assert guided(full, {"own": deaf}, {"own": 1.0}) is full
