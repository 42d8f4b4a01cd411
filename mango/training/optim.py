"""Learners: a model with its optimizer, its learning rate as a pure function of the step, and its moving average."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mango.config import check_ranges
from mango.errors import InputError
from mango.training.ema import MovingAverage

LOWER_THE_RATE = "lower the optimizer's lr and run the same command: it goes on from the last checkpoint"


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay, gradient clipping and a moving average."""

    lr: float = 1e-4  # learning rate after warm-up
    warmup: int = 1000  # steps
    final: float = 0.1  # share of lr at the last step
    betas: tuple[float, float] = (0.9, 0.99)  # AdamW's
    weight_decay: float = 0.01  # AdamW's, of matrices
    clip: float = 1.0  # largest gradient norm
    ema: float = 0.9999  # decay a step of the moving average, which validates and generates; 0: none

    def __post_init__(self):
        from_zero = "[0, inf)"
        check_ranges(self, lr=from_zero, warmup=from_zero, final="[0, 1]", betas="[0, 1)", weight_decay=from_zero)
        check_ranges(self, clip="(0, inf]", ema="[0, 1)")


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Of the step about to be made, counted from 1. A pure function, so a resumed run needs no scheduler state."""
    if step <= config.warmup:
        return warmed_up(step, config)
    done = min(1.0, (step - config.warmup) / max(1, steps - config.warmup))
    return config.lr * (config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * done)))


def warmed_up(step: int, config: OptimizerConfig) -> float:
    """A learning rate that rises over the warm-up and stays."""
    warmup = max(1, config.warmup)
    return config.lr * min(step, warmup) / warmup


@dataclass
class Learner:
    """What is trained together. ``description`` is the plain data a reader needs to rebuild the model from its weights."""

    name: str  # also its folder in a checkpoint, e.g. "motion" or "head/p00"
    model: nn.Module
    optimizer: torch.optim.Optimizer
    config: OptimizerConfig
    steps: int  # of this learner in the whole run
    average: MovingAverage | None = None
    description: dict[str, Any] = field(default_factory=dict)

    def descend(
        self,
        loss: Float[Tensor, ""],
        step: int,
        add_gradients: Callable[[Iterable[nn.Parameter]], None] | None = None,
        *,
        rate: float | None = None,
    ) -> float:
        """One optimizer step down ``loss``; returns the gradient's norm before clipping. ``step`` counts the model's updates from 1.

        ``add_gradients``: where ``loss`` is this process's part of it, what makes gradients whole (`Runtime.add_gradients`).
        ``rate``: of learning, instead of the one that `learning_rate` has for the step.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if add_gradients is not None:
            add_gradients(self.model.parameters())
        return self.apply(step, rate)

    def apply(self, step: int, rate: float | None = None) -> float:
        """The second half of ``descend``, for whoever accumulates gradients.

        Errors: InputError where the gradient is NaN or infinite; weights and average are as they were.
        """
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.config.clip))
        if not math.isfinite(norm):
            where = f"step {step} of {self.name}"
            raise InputError(where, expected="a finite gradient", found=f"one of norm {norm}", remedy=LOWER_THE_RATE)
        if rate is None:
            rate = learning_rate(step, self.steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        self.optimizer.step()
        if self.average is not None:
            self.average.follow(self.model, step)
        return norm

    @property
    def averaged(self) -> nn.Module:
        """The model to validate and to generate with."""
        return self.average.model if self.average is not None else self.model


def make_learner(
    name: str,
    model: nn.Module,
    config: OptimizerConfig,
    steps: int,
    *,
    groups: Iterable[dict[str, Any]] | None = None,
    description: dict[str, Any] | None = None,
) -> Learner:
    """AdamW over all weights, or over ``groups`` (torch's parameter groups; ``lr_scale`` multiplies the learning rate)."""
    groups = list(groups) if groups is not None else _decayed_and_not(model, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)
    average = MovingAverage(model, config.ema) if config.ema else None
    return Learner(name, model, optimizer, config, steps, average, description or {})


def _decayed_and_not(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, embeddings of one row and norms do not."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    rest = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    return [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]
