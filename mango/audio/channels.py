"""Whether two channels are two people's: what is mixed cannot be told apart."""

import torch
from jaxtyping import Float
from torch import Tensor

from mango.types import FRAME_RATE, SAMPLE_RATE

SEPARATE = 0.5  # correlation of two channels' loudness over time, below which they are two people's; of one mix it is nearly 1
HUSHED = 40.0  # decibels below a channel's loudest, under which nothing is compared


def likeness(first: Float[Tensor, "samples"], second: Float[Tensor, "samples"]) -> float:
    """Correlation of loudness over frames. A channel of silence is like nothing."""
    loud = []
    for voice in (first, second):
        frames = voice[: len(voice) // (SAMPLE_RATE // FRAME_RATE) * (SAMPLE_RATE // FRAME_RATE)].view(-1, SAMPLE_RATE // FRAME_RATE)
        decibels = 10 * frames.square().mean(1).clamp_min(1e-12).log10()
        loud.append(decibels.clamp_min(float(decibels.max()) - HUSHED))
    return float(torch.nan_to_num(torch.corrcoef(torch.stack(loud)))[0, 1])
