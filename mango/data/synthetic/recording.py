"""From clean speech to what a microphone gives: room, cross-talk, colour, level and noise, different in every recording."""

from collections.abc import Mapping

import numpy as np
import scipy.fft
from jaxtyping import Float

from mango.types import SAMPLE_RATE

Voices = Mapping[str, Float[np.ndarray, "samples"]]


def recorded(clean: Voices, seed: int) -> dict[str, Float[np.ndarray, "samples"]]:
    """Each person's track as their own microphone hears it. The other's voice leaks in far below; levels, rooms and microphones vary."""
    tracks = {}
    for index, (person, voice) in enumerate(sorted(clean.items())):
        rng = np.random.default_rng([seed, index, 0x41C])
        heard = voice
        for other in (v for p, v in clean.items() if p != person):
            heard = heard + 10 ** (_crosstalk_db(rng) / 20) * other
        loudness_db, noise_db = rng.uniform(-16, 8), rng.uniform(-70, -38)
        spectrum = scipy.fft.rfft(heard + _noise(rng, len(heard), noise_db), 2 * _fast_length(len(heard)) // 2)
        spectrum *= _microphone(rng, len(spectrum)) * scipy.fft.rfft(_room(rng), 2 * (len(spectrum) - 1))
        track = scipy.fft.irfft(spectrum)[: len(heard)] * 10 ** (loudness_db / 20)
        tracks[person] = np.clip(track, -1, 1).astype(np.float32)
    return tracks


def _fast_length(samples: int) -> int:
    length = scipy.fft.next_fast_len(samples + SAMPLE_RATE // 2, real=True)
    return length + length % 2


def _crosstalk_db(rng: np.random.Generator) -> float:
    """A third of the recordings have none, as from separate rooms."""
    return -90.0 if rng.random() < 0.33 else rng.uniform(-50, -24)


def _noise(rng: np.random.Generator, samples: int, level_db: float) -> Float[np.ndarray, "samples"]:
    """Steady noise between white and brown, relative to full scale of the speech's own level."""
    length = _fast_length(samples)
    spectrum = scipy.fft.rfft(rng.standard_normal(length))
    frequency = np.maximum(np.arange(len(spectrum)), 1) * SAMPLE_RATE / length
    spectrum *= np.maximum(frequency, 60) ** -rng.uniform(0, 1)
    noise = scipy.fft.irfft(spectrum, length)[:samples]
    return noise / noise.std() * 10 ** (level_db / 20)


def _microphone(rng: np.random.Generator, bins: int) -> Float[np.ndarray, "bins"]:
    """A smooth colour of a few dB, a low cut, sometimes a high cut as of telephones and meetings."""
    frequency = np.linspace(0, SAMPLE_RATE / 2, bins)
    octaves = np.log2(np.maximum(frequency, 50) / 50)  # 0 .. 7.3
    knots_db = rng.normal(0, 3.5, 9)
    low, high = rng.uniform(40, 160), rng.uniform(3400, 5000) if rng.random() < 0.1 else rng.uniform(6000, 12000)
    cut = 1 / np.sqrt(1 + (low / np.maximum(frequency, 1)) ** 4) / np.sqrt(1 + (frequency / high) ** 8)
    return 10 ** (np.interp(octaves, np.arange(9), knots_db) / 20) * cut


def _room(rng: np.random.Generator) -> Float[np.ndarray, "samples"]:
    """Direct sound, then noise that dies away within 0.1 to 0.4 s."""
    decay_seconds, wet_db = rng.uniform(0.1, 0.4), rng.uniform(-30, -8)
    length = int(0.45 * SAMPLE_RATE)
    tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / SAMPLE_RATE / decay_seconds)
    tail[: int(rng.uniform(0.002, 0.01) * SAMPLE_RATE)] = 0
    response = tail / np.sqrt((tail**2).sum()) * 10 ** (wet_db / 20)
    response[0] = 1
    return response
