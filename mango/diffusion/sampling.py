"""Sampling as a plain function of (predict, scheduler, noise); guidance is a wrapper around ``predict``. Models are callables here.

However many steps: every sampler starts at the highest level, which is pure noise, and its result is the last clean prediction.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from mango.errors import InputError

Predict = Callable[[Tensor, Tensor], Tensor]  # (noisy ["batch *rest"], level ["batch"]) -> clean, same shape
NEVER_CLIPPED = 1.0  # standard deviations, as Imagen never clips what is within the range of colours


@torch.no_grad()
def sample(
    predict: Predict,
    scheduler,
    start_noise: Float[Tensor, "batch *rest"],
    steps: int,
    *,
    known: Float[Tensor, "batch *rest"] | None = None,
    given: Bool[Tensor, "batch *some"] | None = None,
    generator: Generator | None = None,
    eta: float = 0.0,
    threshold: float | None = None,
) -> Float[Tensor, "batch *rest"]:
    """Clean samples from noise in ``steps`` evaluations of ``predict``.

    Where ``given`` is True (its axes are the leading axes of the sample) the clean ``known`` is shown to ``predict`` instead of
    noise and returned as it is: the context of a window. ``eta`` is DDIM's (0 = deterministic, 1 = as much noise as DDPM has); what is
    drawn comes from ``generator``. ``threshold``: see `thresholded`.
    """
    levels = trailing_levels(scheduler.config.num_train_timesteps, steps)
    step = _stepper(scheduler, levels, generator, eta)
    known, given = _shaped(start_noise, known, given)
    x = start_noise * scheduler.init_noise_sigma
    for position, level in enumerate(levels):
        x = torch.where(given, known, x)
        clean = torch.where(given, known, predict(x, torch.full((len(x),), level, device=x.device)))
        clean = clean if threshold is None else thresholded(clean, threshold)
        if position + 1 < steps:  # from the last level a step would lead to the prediction itself
            x = step(clean, position, x)
    return torch.where(given, known, clean)


def trailing_levels(num_levels: int, steps: int) -> list[int]:
    """The levels that are visited, from the highest on, as evenly as whole numbers allow (arXiv 2305.08891, table 2, "trailing")."""
    if not 1 <= steps <= num_levels:
        remedy = "give a number of steps within it"
        raise InputError("steps", expected=f"1 to {num_levels} (the noise levels of the model)", found=str(steps), remedy=remedy)
    return [round(num_levels * (steps - k) / steps) - 1 for k in range(steps)]


def thresholded(clean: Float[Tensor, "batch person time width"], quantile: float) -> Float[Tensor, "batch person time width"]:
    """Dynamic thresholding (Imagen, arXiv 2205.11487, section 2.3): a person's numbers clipped to what that share of them stays within.

    Unlike in Imagen, where colours have a range to fill, the rest is not scaled up: standard deviations mean what they say.
    """
    limit = clean.abs().flatten(2).quantile(quantile, dim=2).clamp(min=NEVER_CLIPPED)[..., None, None]
    return clean.clamp(-limit, limit)


def guided(predict: Predict, scales: Sequence[float]) -> Predict:
    """Classifier-free guidance per condition: clean + sum of (scale - 1) (clean - clean without that condition).

    A scale of 1 changes nothing, 0 ignores that condition, above 1 exaggerates it (arXiv 2207.12598, for x0). ``predict`` is asked for all
    branches in one batch: with every condition first, then without each in the order of ``scales``.
    """

    def predict_guided(noisy: Float[Tensor, "batch *rest"], level: Int[Tensor, "batch"]) -> Float[Tensor, "batch *rest"]:
        branches = 1 + len(scales)
        clean, *without = predict(torch.cat([noisy] * branches), level.repeat(branches)).chunk(branches)
        return clean + sum((scale - 1) * (clean - other) for scale, other in zip(scales, without, strict=True))

    return predict_guided if scales else predict


def ddim_step(
    clean: Float[Tensor, "batch *rest"],
    noisy: Float[Tensor, "batch *rest"],
    signal: Float[Tensor, ""],
    next_signal: Float[Tensor, ""],
    eta: float,
    generator: Generator | None,
) -> Float[Tensor, "batch *rest"]:
    """From one level to any lower one, given their shares of clean signal (DDIM, arXiv 2010.02502, eq. 12 and 16).

    Ours because the scheduler's looks for the next level ``num_levels // steps`` below, where it lies only if that division has no rest.
    """
    noise = (noisy - signal**0.5 * clean) / (1 - signal) ** 0.5
    fresh = eta * ((1 - next_signal) / (1 - signal) * (1 - signal / next_signal)) ** 0.5
    kept = (1 - next_signal - fresh**2).clamp(min=0)  # from almost pure noise, with eta 1, it is zero less a rounding
    x = next_signal**0.5 * clean + kept**0.5 * noise
    return x if eta == 0 else x + fresh * torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)


def _stepper(scheduler, levels: list[int], generator: Generator | None, eta: float) -> Callable[[Tensor, int, Tensor], Tensor]:
    """(clean, position of the level that ``noisy`` has, noisy) -> noisy at the next level."""
    if type(scheduler).__name__ == "DDIMScheduler":
        signal = scheduler.alphas_cumprod[levels]
        return lambda clean, at, noisy: ddim_step(clean, noisy, signal[at], signal[at + 1], eta, generator)
    assert eta == 0, "eta is DDIM's"
    scheduler.set_timesteps(timesteps=levels)
    drawn = {} if generator is None else {"generator": generator}
    return lambda clean, at, noisy: scheduler.step(clean, scheduler.timesteps[at], noisy, **drawn).prev_sample


def _shaped(x: Tensor, known: Tensor | None, given: Tensor | None) -> tuple[Tensor, Tensor]:
    assert (known is None) == (given is None), "known and given come together"
    if given is None:
        return x, torch.zeros((1,) * x.ndim, dtype=torch.bool, device=x.device)
    return known, given.reshape(*given.shape, *[1] * (x.ndim - given.ndim))
