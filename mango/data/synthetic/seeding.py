"""Random streams by name: one stream per (seed, names), so that adding or switching off one never moves another."""

import zlib

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A generator that is a function of the seed and of what it is for."""
    words = [name if isinstance(name, int) else zlib.crc32(name.encode()) for name in names]
    return np.random.default_rng([abs(int(seed)), *words])
