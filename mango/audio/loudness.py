"""How loud a track's own speech and background are: what makes features and speech activity independent of gain.

Everything is in 10 ms hops, four to a frame; hop h is centred on sample 160 h + 80.
"""

import torch
from jaxtyping import Float
from torch import Tensor

HOP = 160
HOPS_PER_FRAME = 4
QUIETEST_SPEECH_DB = -62.0  # of a hop's mean square, full scale = 0; a track that never exceeds it has no speech of its own
DIGITAL_SILENCE_DB = -100.0


def decibels(power: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return 10 * torch.log10(power.clamp(min=10 ** (DIGITAL_SILENCE_DB / 10)))


def speech_level_db(hops_db: Float[Tensor, "hops"], quietest_db: float = QUIETEST_SPEECH_DB) -> float:
    """The level of the track's loud speech: what its loudest twentieth (0.3 s at least, 4 s at most) reaches.

    A listener who says one "mm-hm" still has the level of that; a click of a few hops does not count.
    """
    hops = hops_db.shape[0]
    rank = min(hops, max(32, min(400, hops // 20)))
    level = float(hops_db.topk(rank, sorted=False).values.min()) if hops else DIGITAL_SILENCE_DB
    return max(level, quietest_db)


def background_level_db(hops_db: Float[Tensor, "hops"]) -> float:
    """The level of steady noise: what the quietest tenth stays below. People pause more than a tenth of the time."""
    return float(hops_db.kthvalue(max(1, hops_db.shape[0] // 10)).values) if hops_db.shape[0] else DIGITAL_SILENCE_DB
