"""Sampling as a plain function of (predict, scheduler, noise); guidance is a wrapper around ``predict``. Models are callables here."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

Predict = Callable[[Tensor, Tensor], Tensor]  # (noisy ["batch *rest"], level ["batch"]) -> clean, same shape


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
) -> Float[Tensor, "batch *rest"]:
    """Clean samples from noise in ``steps`` evaluations of ``predict``.

    Where ``given`` is True (its axes are the leading axes of the sample) the clean ``known`` is shown to ``predict`` instead of
    noise and returned as it is: the context of a window. ``eta`` is DDIM's (0 = deterministic); DDPM draws from ``generator``.
    """
    scheduler.set_timesteps(steps)
    extra = _step_arguments(scheduler, generator, eta)
    known, given = _shaped(start_noise, known, given)
    x = start_noise * scheduler.init_noise_sigma
    for level in scheduler.timesteps:
        x = torch.where(given, known, x)
        clean = predict(x, level.expand(len(x)).to(x.device))
        x = scheduler.step(torch.where(given, known, clean), level, x, **extra).prev_sample
    return torch.where(given, known, x)


def guided(predict: Predict, without: Mapping[str, Predict], scales: Mapping[str, float]) -> Predict:
    """Classifier-free guidance per condition: clean + sum of (scale - 1) (clean - clean without that condition).

    A scale of 1 changes nothing and costs nothing, 0 ignores that condition, above 1 exaggerates it (arXiv 2207.12598, for x0).
    """
    assert set(scales) <= set(without), f"scales for {set(scales)}, branches for {set(without)}"
    active = {name: scale for name, scale in scales.items() if scale != 1.0}

    def predict_guided(noisy: Float[Tensor, "batch *rest"], level: Int[Tensor, "batch"]) -> Float[Tensor, "batch *rest"]:
        clean = predict(noisy, level)
        return clean + sum((scale - 1) * (clean - without[name](noisy, level)) for name, scale in active.items())

    return predict_guided if active else predict


def _step_arguments(scheduler, generator: Generator | None, eta: float) -> dict:
    kind = type(scheduler).__name__
    if kind == "DDIMScheduler":
        return {"eta": eta, "generator": generator}
    return {"generator": generator} if generator is not None else {}


def _shaped(x: Tensor, known: Tensor | None, given: Tensor | None) -> tuple[Tensor, Tensor]:
    assert (known is None) == (given is None), "known and given come together"
    if given is None:
        return x, torch.zeros((1,) * x.ndim, dtype=torch.bool, device=x.device)
    return known, given.reshape(*given.shape, *[1] * (x.ndim - given.ndim))
