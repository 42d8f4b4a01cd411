"""How a person's voice sounds. A pure function of the person's seed."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Voice:
    f0_hz: float  # mean
    formant_scale: float  # 1 = adult male tract, 1.18 = female
    tilt_db_per_octave: float  # of the glottal source above the usual, negative = softer
    breathiness: float  # 0..1, noise through the glottis while voicing
    rate: float  # 1 = nominal, larger = faster
    pitch_range: float  # 1 = lively as usual, 0 = monotone
    precision: float  # 1 = every target reached, smaller = sloppy coarticulation
    accent: float  # 0 = phones as tabled, 1 = every phone of this person's own as usual
    seed: int


def voice(seed: int) -> Voice:
    """Half of the voices are low, half high; tract length goes with pitch but not strictly."""
    rng = np.random.default_rng([seed, 0x701CE])
    high = rng.random() < 0.5
    return Voice(
        f0_hz=float(rng.uniform(165, 240) if high else rng.uniform(85, 150)),
        formant_scale=float(rng.uniform(1.06, 1.24) if high else rng.uniform(0.92, 1.08)),
        tilt_db_per_octave=float(rng.uniform(-4.5, 2.5)),
        breathiness=float(rng.uniform(0.02, 0.35)),
        rate=float(rng.uniform(0.85, 1.3)),
        pitch_range=float(rng.uniform(0.5, 1.5)),
        precision=float(rng.uniform(0.75, 1.1)),
        accent=float(rng.uniform(0.5, 1.2)),
        seed=seed,
    )
