"""How loud a track's own speech and background are: what makes features and speech activity independent of gain.

Everything is in 10 ms hops, four to a frame; hop h is centred on sample 160 h + 80.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

HOP = 160
HOPS_PER_FRAME = 4
QUIETEST_SPEECH_DB = -62.0  # of a hop's mean square, full scale = 0; a track that never exceeds it has no speech of its own
DIGITAL_SILENCE_DB = -100.0
NOTHING_RECORDED_DB = -90.0  # padding, a muted microphone, a closed gate; the dither of 16 bits lies below, at -94
RISING_DB = 12.0  # above the background, from which on a hop may be speech


def decibels(power: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return 10 * torch.log10(power.clamp(min=10 ** (DIGITAL_SILENCE_DB / 10)))


def speech_level_db(hops_db: Float[Tensor, "hops"], quietest_db: float = QUIETEST_SPEECH_DB) -> float:
    """The level of the track's loud speech: what its loudest twentieth reaches, of long tracks 4 s, and half of all that rises at most.

    A listener of an hour who says one "mm-hm" still has the level of that; a click (less than 0.3 s) does not count.
    """
    hops = hops_db.shape[0]
    rising = int((hops_db > background_level_db(hops_db) + RISING_DB).sum())
    rank = min(hops, max(32, min(400, hops // 20, rising // 2)))
    level = float(hops_db.topk(rank, sorted=False).values.min()) if hops else DIGITAL_SILENCE_DB
    return max(level, quietest_db)


def background_level_db(hops_db: Float[Tensor, "hops"]) -> float:
    """The level of steady noise: what the quietest of the recorded hops stay below (`quietest_of`)."""
    heard = hops_db[recorded(hops_db)]
    return float(heard.kthvalue(quietest_of(len(heard), len(hops_db))).values) if len(heard) else DIGITAL_SILENCE_DB


def recorded(hops_db: Float[Tensor, "hops"]) -> Bool[Tensor, "hops"]:
    """Where there is any sound at all: digital silence says nothing of the noise in which somebody speaks."""
    return hops_db > NOTHING_RECORDED_DB


def quietest_of(heard: int, hops: int) -> int:
    """How many of the ``heard`` of so many hops are pauses for certain.

    People pause more than a tenth of the time; of a track that is silent in places a gate may have closed in nearly all of them.
    """
    return max(1, heard // (10 if heard == hops else 50))
