"""Small layers of the motion model: feed-forward, the voice's convolutional stem, the noise level's embedding, modulation."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn
from torch.nn.functional import gelu

from mango.models.linear import Linear


class FeedForward(nn.Module):
    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.widen = Linear(width, ratio * width)
        self.narrow = Linear(ratio * width, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return self.narrow(gelu(self.widen(x), approximate="tanh"))


class LayerMix(nn.Module):
    """Layers side by side, mixed by learned weights that sum to 1, times a learned scale (ELMo, arXiv 1802.05365, eq. 1)."""

    def __init__(self, num_layers: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_layers))  # before the softmax: equal at first
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, layers: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch layer_features"]:
        each = layers.unflatten(-1, (len(self.weights), -1))
        return self.scale * torch.einsum("...lf,l->...f", each, self.weights.softmax(0))


class VoiceStem(nn.Module):
    """Voice features of a frame and its neighbours: a phone shows in how the spectrum changes, not in one frame.

    Where features are several layers of an encoder side by side, their learned mix comes first. Two convolutions of ``kernel`` frames
    see ``kernel - 1`` frames to each side. Frames outside the dialogue enter every convolution as zeros, as if the track ended there.
    """

    def __init__(self, voice_width: int, width: int, kernel: int, voice_layers: int = 1):
        super().__init__()
        self.mix = LayerMix(voice_layers) if voice_layers > 1 else nn.Identity()
        self.project = Linear(voice_width // voice_layers, width)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, kernel, padding=kernel // 2) for _ in range(2))
        self.norm = nn.LayerNorm(width)

    def forward(self, voice: Float[Tensor, "batch time features"], inside: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time width"]:
        real = inside.unsqueeze(1).to(voice.dtype)
        x = self.project(self.mix(voice)).transpose(1, 2).contiguous()  # gelu's gradient is four times slower across frames than along them
        for convolution in self.convolutions:
            x = x + convolution(gelu(x) * real)
        return self.norm(x.transpose(1, 2))


class LevelEmbedding(nn.Module):
    """Noise level (a diffusers timestep) -> width: sinusoids, then two linear layers."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, level: Real[Tensor, "batch"]) -> Float[Tensor, "batch width"]:
        rates = torch.exp(-math.log(10_000) * torch.arange(self.width // 2, device=level.device) / (self.width // 2))
        angles = level.to(rates.dtype)[:, None] * rates
        return self.layers(torch.cat([angles.cos(), angles.sin()], -1).to(self.layers[0].weight.dtype))


class Modulation(nn.Module):
    """adaLN-Zero (DiT, arXiv 2212.09748): named shifts, scales and gates from the condition, all zero in a new layer."""

    def __init__(self, width: int, names: Sequence[str]):
        super().__init__()
        self.names = tuple(names)
        self.project = nn.Linear(width, len(self.names) * width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, condition: Float[Tensor, "batch width"]) -> dict[str, Float[Tensor, "batch 1 width"]]:
        parts = self.project(nn.functional.silu(condition)).unsqueeze(1).chunk(len(self.names), dim=-1)
        return dict(zip(self.names, parts, strict=True))


def modulated(
    x: Float[Tensor, "batch time width"], shift: Float[Tensor, "batch 1 width"], scale: Float[Tensor, "batch 1 width"]
) -> Float[Tensor, "batch time width"]:
    return torch.addcmul(shift, nn.functional.layer_norm(x, x.shape[-1:]), 1 + scale)
