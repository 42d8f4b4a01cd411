"""Exponential moving average of a model's weights."""

import copy

import torch
from torch import nn


class MovingAverage:
    """A second model whose weights trail the first's; short memory at the start, ``decay`` later on."""

    def __init__(self, model: nn.Module, decay: float):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def follow(self, model: nn.Module, updates: int) -> None:
        """``updates``: how many updates ``model`` has had, this one included. Buffers are copied, not averaged."""
        share = 1 - min(self.decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), share)
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
