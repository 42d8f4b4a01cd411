"""Faults noticed: alpha-bar without its square root, levels that miss an end, a sampler that starts below pure noise, context frames
that are not returned or not shown, guidance with the sign turned, numbers of steps that end short of clean or step to wrong levels."""

import pytest
import torch

from mango.diffusion.objective import DiffusionConfig, levels, noise_scheduler, noised, schedule
from mango.diffusion.sampling import ddim_step, guided, sample, thresholded, trailing_levels
from mango.errors import InputError
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


def test_high_levels_are_drawn_oftener():
    curve = schedule(DiffusionConfig())
    drawn = torch.cat([levels(16, curve, torch_generator(step), 1.6) for step in range(400)]) / 1000
    for top in (0.1, 0.3, 0.6):
        assert abs((drawn >= 1 - top).float().mean() - top ** (1 / 1.6)) < 0.01
    plain, told = (levels(16, curve, torch_generator(3), *high) for high in ((), (1.0,)))
    assert torch.equal(plain, told), "runs from before levels could be chosen go on as they began"


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


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("num_levels", [1000, 60])
def test_any_number_of_steps_ends_clean(name, num_levels):
    """In the last prediction, having visited as many levels as asked, downwards from pure noise. Planted once: diffusers' own levels, which
    are 62 when asked for 61 of 1000, the last of them -1."""
    scheduler = noise_scheduler(DiffusionConfig(levels=num_levels), name)
    for steps in (*range(1, 21), 25, 50, 60, 61, 300, 999, 1000):
        if steps > num_levels:
            with pytest.raises(InputError, match=rf"expected 1 to {num_levels} .*found {steps}"):
                trailing_levels(num_levels, steps)
            continue
        seen, predicted = [], []

        def predict(noisy, level, seen=seen, predicted=predicted):
            seen.append(int(level[0]))
            predicted.append(0.5 * torch.tanh(noisy))
            return predicted[-1]

        out = sample(predict, scheduler, torch.randn(2, 2, 3, generator=torch_generator(steps)), steps, generator=torch_generator(1))
        assert len(seen) == steps and seen[0] == num_levels - 1 and seen[-1] < num_levels / steps
        gaps = torch.tensor([*seen, -1]).diff().neg()
        assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1, "evenly"
        assert torch.equal(out, predicted[-1]) and out.isfinite().all()


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [7, 20, 300])
def test_ddim_keeps_the_noise_that_belongs_to_each_level(steps, eta):
    """With the clean sample known, every level is entered with alpha-bar of signal and the rest of noise. Planted once: the level that
    diffusers takes for the next one, off by a third of a step at 300 steps of 1000."""
    signal, mean = schedule(DiffusionConfig()).signal, 3.0
    scheduler, variances = noise_scheduler(DiffusionConfig(), "ddim"), []

    def predict(noisy, level):
        a = signal[level[0]]
        variances.append((float((noisy - a.sqrt() * mean).square().mean()), float(1 - a)))
        return torch.full_like(noisy, mean)

    sample(predict, scheduler, torch.randn(1, 40_000, generator=torch_generator(0)), steps, eta=eta, generator=torch_generator(1))
    measured, expected = torch.tensor(variances).T
    torch.testing.assert_close(measured, expected, rtol=0.06, atol=0)


def test_ddim_with_all_its_noise_fresh_is_finite_from_every_level():
    """Seen red: NaN from the noisiest level to 222 others, five steps from the top among them."""
    signal = schedule(DiffusionConfig()).signal
    clean, noisy = torch.randn(2, 1, 8, generator=torch_generator(0))
    for lower in range(len(signal) - 1):
        assert ddim_step(clean, noisy, signal[-1], signal[lower], 1.0, torch_generator(1)).isfinite().all(), lower


def test_ddim_agrees_with_diffusers_where_steps_divide_levels():
    scheduler = noise_scheduler(DiffusionConfig(), "ddim")
    scheduler.set_timesteps(20)
    clean, noisy = torch.randn(2, 2, 50, generator=torch_generator(0))
    for level in (999, 499, 99):
        ours = ddim_step(clean, noisy, *scheduler.alphas_cumprod[[level, level - 50]], 0.0, None)
        assert torch.equal(ours, scheduler.step(clean, level, noisy).prev_sample)
        ours = ddim_step(clean, noisy, *scheduler.alphas_cumprod[[level, level - 50]], 0.7, torch_generator(1))
        theirs = scheduler.step(clean, level, noisy, eta=0.7, generator=torch_generator(1)).prev_sample
        torch.testing.assert_close(ours, theirs)


def test_thresholding_by_hand():
    """Per person over the window, what exceeds the quantile is clipped, the rest stays, and one standard deviation is always allowed."""
    clean = torch.zeros(1, 2, 10, 10)
    clean[0, 0] = torch.arange(100.0).reshape(10, 10) / 10 - 2
    clean[0, 1] = 0.3 * torch.arange(100.0).reshape(10, 10) / 100
    out = thresholded(clean, 0.9)
    limit = float(clean[0, 0].abs().flatten().sort().values[89:91].mean())
    assert out[0, 0].max() == pytest.approx(limit, abs=0.1)
    assert torch.equal(out[0, 0][clean[0, 0] < limit - 0.1], clean[0, 0][clean[0, 0] < limit - 0.1])
    assert torch.equal(out[0, 1], clean[0, 1]), "another person's limit is another's"
    assert torch.equal(thresholded(clean, 1.0), clean)


def test_thresholding_holds_back_strong_guidance():
    """At every step, and never what was given. Planted once: the last prediction left as it is."""
    known, given = torch.full((1, 2, 20, 5), 9.0), torch.arange(20).expand(1, 2, 20) < 2

    def predict(noisy, level):
        clean = torch.full_like(noisy, 0.5)
        clean[:, :, 7, 3] = 40.0
        return clean

    start, scheduler = torch.randn(1, 2, 20, 5, generator=torch_generator(0)), noise_scheduler(DiffusionConfig(), "ddim")
    held = sample(predict, scheduler, start, 5, known=known, given=given, threshold=0.85)
    assert torch.equal(held[:, :, :2], known[:, :, :2]) and held[:, :, 7, 3].unique().tolist() == [1.0]
    assert sample(predict, scheduler, start, 5, known=known, given=given)[:, :, 7, 3].unique().tolist() == [40.0]


def test_guidance_by_hand():
    """Branches: everything, without the first condition, without the second."""

    def branches(x, level):
        return x + torch.tensor([3.0, 1.0, 0.5]).repeat_interleave(len(x) // 3)[:, None]

    x, level = torch.zeros(2, 1), torch.zeros(2, dtype=torch.long)
    assert guided(branches, [2.0, 1.0])(x, level).flatten().tolist() == [5.0, 5.0]
    assert guided(branches, [0.0, 1.0])(x, level).flatten().tolist() == [1.0, 1.0]
    assert guided(branches, [1.0, 3.0])(x, level).flatten().tolist() == [8.0, 8.0]
    assert guided(branches, []) is branches
