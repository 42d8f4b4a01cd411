"""Dual-audio interaction: both voices go jointly through a transformer, the own half is kept, own features are added back (or not).

After MANGO (arXiv 2601.01749, section 3, eq. 3). OPEN: depth, positions and what the indicator is added to are ours: rotary
positions by frame, so that simultaneous tokens of both people are neighbours, and each voice carries its own indicator.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mango.models.attention import Rotary, SelfAttention
from mango.models.layers import FeedForward
from mango.models.linear import Linear


class InteractionLayer(nn.Module):
    def __init__(self, width: int, heads: int, ratio: int):
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.mlp = FeedForward(width, ratio)

    def forward(
        self, tokens: Float[Tensor, "batch time width"], mask: Bool[Tensor, "batch 1 queries time"], rotary: Rotary, queries: int | None
    ) -> Float[Tensor, "batch queries width"]:
        attended = self.attention(self.norm_attention(tokens), mask, rotary, queries)
        tokens = tokens[:, :queries] + attended
        return tokens + self.mlp(self.norm_mlp(tokens))


class DualAudioInteraction(nn.Module):
    """[own ; heard] tokens with role and speaking-indicator embeddings -> what the own side makes of the exchange."""

    def __init__(self, width: int, heads: int, depth: int, ratio: int, *, residual: bool = True):
        super().__init__()
        self.residual = residual
        self.role = nn.ModuleDict({"own": Linear(width, width), "heard": Linear(width, width)})  # the bias is the role embedding
        self.speaking = nn.Parameter(torch.randn(2, width) * 0.02)  # silent, speaking
        self.speaking_unknown = nn.Parameter(torch.randn(width) * 0.02)
        self.layers = nn.ModuleList(InteractionLayer(width, heads, ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        own: Float[Tensor, "batch time width"],
        heard: Float[Tensor, "batch time width"],
        own_indicator: Float[Tensor, "batch time width"],
        heard_indicator: Float[Tensor, "batch time width"],
        inside_own: Bool[Tensor, "batch time"],
        inside_heard: Bool[Tensor, "batch time"],
        rotary: Rotary,
    ) -> Float[Tensor, "batch time width"]:
        time = own.shape[1]
        tokens = torch.cat([self.role["own"](own) + own_indicator, self.role["heard"](heard) + heard_indicator], dim=1)
        inside = torch.cat([inside_own, inside_heard], dim=1)
        itself = torch.eye(2 * time, dtype=torch.bool, device=inside.device)
        mask = ((inside[:, None, :] & inside[:, :, None]) | itself)[:, None]
        for layer in self.layers[:-1]:
            tokens = layer(tokens, mask, rotary.twice(), None)
        for layer in self.layers[-1:]:  # nobody reads the heard half of the last layer: it is not computed
            tokens = layer(tokens, mask[:, :, :time], rotary.twice(), time)
        exchange = self.norm(tokens[:, :time])
        return exchange + own if self.residual else exchange

    def indicator(self, speaking: Float[Tensor, "batch time"], unknown: Bool[Tensor, "batch"]) -> Float[Tensor, "batch time width"]:
        """Embedding of a speaking indicator in [0, 1]; one embedding of its own where it is not known."""
        embedded = torch.lerp(self.speaking[0], self.speaking[1], speaking[..., None].to(self.speaking.dtype))
        return torch.where(unknown[:, None, None], self.speaking_unknown, embedded)
