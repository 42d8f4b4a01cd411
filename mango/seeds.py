"""Everything random in the project is a function of (seed, position): a resumed run draws what the uninterrupted one drew."""

import hashlib

import numpy as np
import torch


def seed_at(*position: int | str) -> int:
    """One 63-bit seed for a position such as ``(config.seed, step, "noise")``; close positions give unrelated seeds."""
    text = "/".join(f"{type(part).__name__}:{part}" for part in position)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def torch_generator(*position: int | str) -> torch.Generator:
    """A generator on the CPU, wherever the model runs: the same draws on every machine."""
    return torch.Generator().manual_seed(seed_at(*position))


def numpy_generator(*position: int | str) -> np.random.Generator:
    return np.random.default_rng(seed_at(*position))
