"""Attention over frames: rotary positions, masks, self-attention, and frame-aligned cross-attention to a voice."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from mango.models.linear import Linear, linear


@dataclass(frozen=True)
class Rotary:
    """Rotations of head channels by frame number (RoFormer, arXiv 2104.09864, eq. 34): scores depend on distances only.

    Neighbouring channels are the real and imaginary part of a number that is turned by its frame's angle.
    """

    turns: Complex[Tensor, "time pairs"]

    @classmethod
    def of_frames(cls, frames: int, channels: int, like: Tensor) -> "Rotary":
        """Wavelengths from 2 pi to about 2 pi x 1,000 frames: a window has at most a few hundred."""
        exact = torch.promote_types(like.dtype, torch.float32)  # bfloat16 cannot count to 300
        rates = 1000.0 ** (-torch.arange(0, channels, 2, device=like.device, dtype=exact) / channels)
        angles = torch.arange(frames, device=like.device, dtype=exact)[:, None] * rates
        return cls(torch.polar(torch.ones_like(angles), angles))

    def twice(self) -> "Rotary":
        """For two tracks over the same frames, one after the other."""
        return Rotary(torch.cat([self.turns] * 2))

    def first(self, frames: int) -> "Rotary":
        return Rotary(self.turns[:frames])

    def __call__(self, x: Float[Tensor, "*batch heads time channels"]) -> Float[Tensor, "*batch heads time channels"]:
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        pairs = torch.view_as_complex(exact.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * self.turns).flatten(-2).to(x.dtype)


def visible(keep: Bool[Tensor, "batch time"], reach: int | None = None) -> Bool[Tensor, "batch 1 time time"]:
    """Which frame may look at which: kept frames at most ``reach`` away, and always itself (a row of nothing would be NaN).

    A frame that is not kept sees itself only, and no kept frame sees it.
    """
    time = torch.arange(keep.shape[1], device=keep.device)
    distance = (time[:, None] - time[None, :]).abs()
    near = distance <= (keep.shape[1] if reach is None else reach)
    return ((near & keep[:, None, :] & keep[:, :, None]) | (distance == 0))[:, None]


def split_heads(x: Float[Tensor, "batch time width"], heads: int) -> Float[Tensor, "batch heads time channels"]:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def joined_heads(x: Float[Tensor, "batch heads time channels"]) -> Float[Tensor, "batch time width"]:
    return x.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Attention among tokens. ``queries`` asks for the first so many tokens' results only (keys are all tokens)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.queries_keys_values = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(
        self,
        tokens: Float[Tensor, "batch time width"],
        mask: Bool[Tensor, "batch 1 queries time"],
        rotary: Rotary,
        queries: int | None = None,
    ) -> Float[Tensor, "batch queries width"]:
        if queries is None:
            q, k, v = (split_heads(x, self.heads) for x in self.queries_keys_values(tokens).chunk(3, dim=-1))
            q = rotary(q)
        else:
            width = tokens.shape[-1]
            weight, bias = self.queries_keys_values.weight, self.queries_keys_values.bias
            q = rotary.first(queries)(split_heads(linear(tokens[:, :queries], weight[:width], bias[:width]), self.heads))
            k, v = (split_heads(x, self.heads) for x in linear(tokens, weight[width:], bias[width:]).chunk(2, dim=-1))
        return self.out(joined_heads(scaled_dot_product_attention(q, rotary(k), v, attn_mask=mask)))


@dataclass(frozen=True)
class Memory:
    """Keys and values of a condition for one layer: they do not depend on the noise level, so sampling computes them once."""

    keys: Float[Tensor, "batch heads time channels"]  # already rotated
    values: Float[Tensor, "batch heads time channels"]

    @classmethod
    def concatenated(cls, parts: Sequence["Memory"]) -> "Memory":
        """Along the batch."""
        return cls(torch.cat([part.keys for part in parts]), torch.cat([part.values for part in parts]))


class AlignedAttention(nn.Module):
    """Cross-attention from motion to a voice over the same frames; the mask decides how far around its own frame it listens."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.queries = Linear(width, width)
        self.keys_values = Linear(width, 2 * width)
        self.out = Linear(width, width)

    def memory(self, features: Float[Tensor, "batch time width"], rotary: Rotary) -> Memory:
        keys, values = (split_heads(x, self.heads) for x in self.keys_values(features).chunk(2, dim=-1))
        return Memory(rotary(keys), values)

    def forward(
        self, motion: Float[Tensor, "batch time width"], memory: Memory, mask: Bool[Tensor, "batch 1 time time"], rotary: Rotary
    ) -> Float[Tensor, "batch time width"]:
        queries = rotary(split_heads(self.queries(motion), self.heads))
        return self.out(joined_heads(scaled_dot_product_attention(queries, memory.keys, memory.values, attn_mask=mask)))


class AlignedGate(nn.Module):
    """The voice of the same frame, let through as the motion asks. The voice's neighbourhood is in its features already (the stem).

    Attention with a window of one frame, made cheap: with nothing to choose from, the query becomes a gate.
    """

    def __init__(self, width: int):
        super().__init__()
        self.values = Linear(width, width)
        self.gate = Linear(width, width)
        self.out = Linear(width, width)

    def forward(
        self, motion: Float[Tensor, "batch time width"], values: Float[Tensor, "batch time width"]
    ) -> Float[Tensor, "batch time width"]:
        return self.out(values * silu(self.gate(motion)))
