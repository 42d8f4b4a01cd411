"""Diffusion with x0-prediction as plain functions over a diffusers schedule: what is noised, and at which levels."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from mango.config import check_ranges


@dataclass(frozen=True)
class DiffusionConfig:
    """The noise schedule; training and every sampler share it."""

    levels: int = 1000  # of noise
    curve: Literal["squaredcos_cap_v2", "linear", "scaled_linear"] = "squaredcos_cap_v2"  # diffusers' names; the first is cosine

    def __post_init__(self):
        check_ranges(self, levels="[1, inf)")


@dataclass(frozen=True)
class Schedule:
    """Share of clean signal left in the variance, per level (alpha-bar; DDPM, arXiv 2006.11239, eq. 4)."""

    signal: Float[Tensor, "levels"]

    @property
    def levels(self) -> int:
        return len(self.signal)


def noise_scheduler(config: DiffusionConfig, sampler: str = "ddpm"):
    """A diffusers scheduler, by the sampler's name, that expects a model which predicts clean samples."""
    # Imported one by one: DPM-Solver brings scipy.stats, two seconds that training need not wait for.
    # Trailing: the first step starts at pure noise, which is what sampling starts from (arXiv 2305.08891).
    shared = {
        "num_train_timesteps": config.levels,
        "beta_schedule": config.curve,
        "prediction_type": "sample",
        "timestep_spacing": "trailing",
    }
    if sampler == "ddpm":
        from diffusers import DDPMScheduler

        return DDPMScheduler(**shared, clip_sample=False)
    if sampler == "ddim":
        from diffusers import DDIMScheduler

        return DDIMScheduler(**shared, clip_sample=False, set_alpha_to_one=True)
    assert sampler == "dpm++", f"no sampler {sampler!r}; there are ddpm, ddim, dpm++"
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(**shared, algorithm_type="dpmsolver++", solver_order=2)


def schedule(config: DiffusionConfig) -> Schedule:
    return Schedule(noise_scheduler(config).alphas_cumprod.clone())


def levels(batch: int, schedule: Schedule, generator: Generator, high: float = 1.0) -> Int[Tensor, "batch"]:
    """Levels, one per batch element, spread evenly over the batch: the same marginals, less variance (VDM, arXiv 2107.00630).

    Uniform, or with ``high`` above 1 oftener high: a share of x^(1/high) is among the highest x of all levels.
    """
    offset = torch.rand((), generator=generator)
    spread = (offset + torch.arange(batch) / batch) % 1.0
    spread = spread if high == 1 else 1 - (1 - spread) ** high
    return (spread[torch.randperm(batch, generator=generator)] * schedule.levels).long().clamp(max=schedule.levels - 1)


def noised(
    x0: Float[Tensor, "batch *rest"], noise: Float[Tensor, "batch *rest"], level: Int[Tensor, "batch"], schedule: Schedule
) -> Float[Tensor, "batch *rest"]:
    """sqrt(alpha-bar) x0 + sqrt(1 - alpha-bar) noise (DDPM, eq. 4)."""
    signal = schedule.signal.to(x0)[level].reshape(-1, *[1] * (x0.ndim - 1))
    return signal.sqrt() * x0 + (1 - signal).sqrt() * noise
