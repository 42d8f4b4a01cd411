"""The baseline that sees: both voices and the partner's motion in, one person's motion out, at once and without noise.

    own voice ------> VoiceStem --------------------------------------------------+
    partner's voice -> VoiceStem -> looks at the partner's motion -> BiLSTM -------+-> transformer -> motion

After DualTalk (CVPR 2025, arXiv 2505.18096), with our encoder features, stems and positions and at whatever size is asked for: what is
compared is the approach (the partner's true motion as input, separate encoders, regression over the whole window), not that network.
Both people are one batch with shared weights, each with the other as partner.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mango.head.layout import MotionLayout
from mango.models.attention import AlignedAttention, Rotary, visible
from mango.models.interaction import InteractionLayer
from mango.models.layers import FeedForward, VoiceStem
from mango.models.linear import Linear
from mango.models.motion import MotionModelConfig, of_partner
from mango.models.normalisation import Normalised


class PartnerMotionRegressor(Normalised):
    """Of the config, ``hearing``, ``interaction_depth`` and ``heard_reach`` have no meaning here; ``depth`` counts transformer layers."""

    def __init__(self, config: MotionModelConfig, layout: MotionLayout, voice_width: int, voice_layers: int = 1):
        super().__init__(layout, voice_width)
        self.config = config
        width, heads = config.width, config.heads
        self.own, self.heard = (VoiceStem(voice_width, width, config.voice_kernel, voice_layers) for _ in range(2))
        self.seen = nn.Sequential(Linear(layout.width, width), FeedForward(width, config.mlp_ratio), nn.LayerNorm(width))
        self.watch = AlignedAttention(width, heads)
        self.recurrence = nn.LSTM(width, width // 2, num_layers=2, batch_first=True, bidirectional=True)
        self.join = Linear(2 * width, width)
        self.layers = nn.ModuleList(InteractionLayer(width, heads, config.mlp_ratio) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.out = Linear(width, layout.width)
        nn.init.zeros_(self.out.weight)  # an untrained model predicts the training set's mean pose
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        voices: Float[Tensor, "batch person time features"],
        motion: Float[Tensor, "batch person time width"],
        inside: Bool[Tensor, "batch person time"],
    ) -> Float[Tensor, "batch person time width"]:
        """Motion of both people, normalised, of which each is shown the other's. The result has no meaning where ``inside`` is False."""
        every = inside.flatten(0, 1)
        normal = self.normalised_voices(voices).flatten(0, 1)
        heard, seen = self.heard(of_partner(normal), of_partner(every)), self.seen(of_partner(motion.flatten(0, 1)))
        rotary = Rotary.of_frames(inside.shape[2], self.config.width // self.config.heads, seen)
        others, both = visible(of_partner(every)), visible(every)
        enhanced = heard + self.watch(heard, self.watch.memory(seen, rotary), others, rotary)
        followed, _ = self.recurrence(enhanced * of_partner(every)[..., None])
        tokens = self.join(torch.cat([self.own(normal, every), followed], dim=-1))
        for layer in self.layers:
            tokens = layer(tokens, both, rotary, None)
        return self.out(self.norm(tokens)).unflatten(0, inside.shape[:2])
