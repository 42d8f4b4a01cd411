"""The denoiser: a transformer over motion frames whose layers listen to the dual-audio interaction.

    motion ----+--> self-attention (whole window) ---------- gate --+
    dual-audio +--> attention within about half a second --- gate --+--> + motion --> feed-forward
    own voice -+--> the same frame's, as motion asks ------- gate --+    (only with separate pathways: `MotionModelConfig.hearing`)

All look at the same normalised motion, side by side: one normalisation instead of three. A layer without a gate for the own voice has as
many weights more in its feed-forward. UniLS (arXiv 2512.09327) found separate pathways far better; here they are not (docs/decisions.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mango.models.attention import AlignedAttention, AlignedGate, Memory, Rotary, SelfAttention
from mango.models.layers import FeedForward, Modulation, modulated


@dataclass(frozen=True)
class Masks:
    """Which frame may look at which, per kind of attention."""

    motion: Bool[Tensor, "batch 1 time time"]
    heard: Bool[Tensor, "batch 1 time time"]


@dataclass(frozen=True)
class LayerMemory:
    """What one layer remembers of both pathways. Like the conditions, it does not depend on the noise level."""

    own: Float[Tensor, "batch time width"] | None  # None: the layer has one pathway
    heard: Memory

    @classmethod
    def concatenated(cls, parts: Sequence["LayerMemory"]) -> "LayerMemory":
        """Along the batch."""
        own = None if parts[0].own is None else torch.cat([part.own for part in parts])
        return cls(own, Memory.concatenated([part.heard for part in parts]))


class DenoiserLayer(nn.Module):
    def __init__(self, width: int, heads: int, ratio: int, *, separate: bool):
        super().__init__()
        gates = ("shift", "scale", "watch", *(("voice",) if separate else ()), "listen", "mlp_shift", "mlp_scale", "mlp")
        self.modulation = Modulation(width, gates)
        self.watch = SelfAttention(width, heads)
        self.voice = AlignedGate(width) if separate else None
        self.listen = AlignedAttention(width, heads)
        self.mlp = FeedForward(width, ratio if separate else ratio + 2)  # 4 x width^2: what the gate and its modulation have

    def memory(self, own: Float[Tensor, "batch time width"], heard: Float[Tensor, "batch time width"], rotary: Rotary) -> LayerMemory:
        return LayerMemory(self.voice.values(own) if self.voice is not None else None, self.listen.memory(heard, rotary))

    def forward(
        self,
        motion: Float[Tensor, "batch time width"],
        memory: LayerMemory,
        condition: Float[Tensor, "batch width"],
        masks: Masks,
        rotary: Rotary,
    ) -> Float[Tensor, "batch time width"]:
        gates = self.modulation(condition)  # adaLN-Zero: a new layer is the identity
        view = modulated(motion, gates["shift"], gates["scale"])
        motion = torch.addcmul(motion, gates["watch"], self.watch(view, masks.motion, rotary))
        if self.voice is not None:
            motion = torch.addcmul(motion, gates["voice"], self.voice(view, memory.own))  # my own speech moves my lips
        motion = torch.addcmul(motion, gates["listen"], self.listen(view, memory.heard, masks.heard, rotary))  # what I hear moves the rest
        return torch.addcmul(motion, gates["mlp"], self.mlp(modulated(motion, gates["mlp_shift"], gates["mlp_scale"])))
