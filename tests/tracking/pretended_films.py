"""A film of a known head for the whole of tracking: pretended networks see it exactly. Its pictures are grey, with a spot at each point."""

from functools import partial
from pathlib import Path

import numpy as np
from coded_films import at_rate, write_film
from moving_head import Filmed, talking
from pretended_models import PretendedModels, face_points, pictures

from mango.tracking.fitting import FitConfig
from mango.tracking.tracking import TrackConfig

FRAMES = 50
QUICK = partial(TrackConfig, fit=FitConfig(keyframes=8, rounds=4))  # exact points of a short film: few rounds are enough


def sound(frames: int) -> np.ndarray:
    """Speech-like: bursts of noise."""
    seconds = np.arange(frames * 1920) / 48_000
    return 0.2 * np.random.default_rng(0).normal(size=(1, len(seconds))) * (np.sin(2 * np.pi * 1.5 * seconds) > 0)


def film_of(path: Path, head, *, frames: int = FRAMES, seed: int = 0, with_sound: bool = True) -> tuple[Path, Filmed, PretendedModels]:
    true = talking(head, frames, seed)
    points = face_points(head, true)
    write_film(path, at_rate(25, frames / 25), pictures(frames, spots=points), sound=sound(frames) if with_sound else None)
    return path, true, PretendedModels([points])
