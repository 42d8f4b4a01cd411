"""What mouth, throat and larynx do while a phrase is said: phones with times in, smooth tracks at 1 kHz out."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from mango.data.phones import SILENCE
from mango.data.synthetic.conversation import Ending
from mango.data.synthetic.phones import RECIPES
from mango.data.synthetic.voices import Voice
from mango.types import Phone

TRACK_RATE = 1000  # Hz
NEUTRAL = np.array([500.0, 1500.0, 2500.0])  # formants of a tract at rest
ASPIRATION_DB, UNSTRESSED_DB, DECLINE_DB_PER_SECOND = -13.0, -3.0, 1.5


@dataclass(frozen=True)
class Tracks:
    """Everything but pitch that changes while a phrase is said. Amplitudes: 1 = a stressed vowel."""

    formants: Float[np.ndarray, "ticks 3"]  # Hz, before the voice's scaling
    voice: Float[np.ndarray, "ticks"]
    aspiration: Float[np.ndarray, "ticks"]
    noise: Float[np.ndarray, "ticks bands"]
    nasal: Float[np.ndarray, "ticks"]  # 0..1
    closed: Float[np.ndarray, "ticks"]  # 0..1, only the throat's rumble gets out
    bands: tuple[tuple[int, int], ...]  # centre and width of each noise band, Hz


@dataclass(frozen=True)
class Manner:
    """How one person makes one phone, relative to the table."""

    formants: Float[np.ndarray, "3"]  # factors
    voice_db: float
    noise_db: float


@lru_cache(maxsize=64)
def manners(voice: Voice) -> dict[str, Manner]:
    """A person's own way with every phone; always the same for the same person."""
    rng = np.random.default_rng([voice.seed, 0xACC])

    def manner(kind: str) -> Manner:
        formants = np.exp(voice.accent * rng.normal(0, [0.07, 0.05, 0.03]))
        loose_db = voice.accent * (1.0 if kind == "vowel" else 4.0)  # a murmur or a hiss may be faint or strong
        return Manner(formants, float(loose_db * rng.normal()), float(loose_db * rng.normal()))

    return {symbol: manner(recipe.kind) for symbol, recipe in RECIPES.items()}


def articulated(phones: tuple[Phone, ...], voice: Voice, rng: np.random.Generator) -> Tracks:
    ticks = round(phones[-1].end * TRACK_RATE)
    bands = tuple(sorted({RECIPES[p.symbol].noise_band for p in phones if RECIPES[p.symbol].noise_db is not None})) or ((4000, 2000),)
    voiced, aspiration, nasal, closed = (np.zeros(ticks) for _ in range(4))
    noise = np.zeros((ticks, len(bands)))
    own = manners(voice)
    for phone in phones:
        recipe, manner = RECIPES[phone.symbol], own[phone.symbol]
        whole = slice(round(phone.start * TRACK_RATE), round(phone.end * TRACK_RATE))
        loudness_db = rng.normal(0, 1.0) - DECLINE_DB_PER_SECOND * phone.start
        if recipe.voice_db is not None:
            softer_db = UNSTRESSED_DB * (1 - phone.stress) if recipe.kind == "vowel" else 0.0
            voiced[whole] = _amplitude(min(recipe.voice_db + manner.voice_db, 2.0) + softer_db + loudness_db)
        if recipe.kind == "aspirate":
            aspiration[whole] = _amplitude(ASPIRATION_DB + loudness_db)
        nasal[whole] = recipe.nasal
        release = _release(recipe.kind, whole)
        closed[whole.start : release] = 1
        if recipe.noise_db is not None:
            noise[release : whole.stop, bands.index(recipe.noise_band)] = _amplitude(recipe.noise_db + manner.noise_db + loudness_db)
    _aspirate_after_stops(phones, voiced, aspiration)
    return Tracks(
        formants=_formants(phones, own, voice, rng, ticks),
        voice=gaussian_filter1d(voiced, 6),
        aspiration=gaussian_filter1d(aspiration, 6),
        noise=gaussian_filter1d(noise, 2.5, axis=0),  # bursts are short
        nasal=gaussian_filter1d(nasal, 8),
        closed=gaussian_filter1d(closed, 3),
        bands=bands,
    )


def _amplitude(decibels: float) -> float:
    return 10 ** (decibels / 20)


def _release(kind: str, whole: slice) -> int:
    """The tick at which the obstruction lets air out: a stop's burst is its last 12 ms, an affricate hisses for more than half of it."""
    length = whole.stop - whole.start
    if kind == "stop":
        return whole.stop - min(12, length // 3)
    if kind == "affricate":
        return whole.start + int(0.4 * length)
    return whole.start


def _aspirate_after_stops(phones: tuple[Phone, ...], voiced: Float[np.ndarray, "ticks"], aspiration: Float[np.ndarray, "ticks"]) -> None:
    """P, T, K are followed by breath before the voice sets in, in place; not after S ("speak") and not before another obstruction."""
    for before, stop, after in zip(phones, phones[1:], phones[2:], strict=False):
        seconds = RECIPES[stop.symbol].aspiration_seconds * (0.3 if before.symbol == "S" else 1.0)
        if seconds == 0 or RECIPES[after.symbol].kind not in ("vowel", "semivowel", "aspirate"):
            continue
        start = round(after.start * TRACK_RATE)
        stretch = slice(start, start + round(min(seconds, 0.6 * (after.end - after.start)) * TRACK_RATE))
        aspiration[stretch] = _amplitude(ASPIRATION_DB)
        voiced[stretch] = 0


def _formants(
    phones: tuple[Phone, ...], own: dict[str, Manner], voice: Voice, rng: np.random.Generator, ticks: int
) -> Float[np.ndarray, "ticks 3"]:
    """Targets, each held in the middle of its phone, joined by lines, then smoothed as articulators move."""
    times, targets = [], []
    for index, phone in enumerate(phones):
        first, second = _targets(phones, index)
        length = phone.end - phone.start
        times += [phone.start + 0.25 * length, phone.start + 0.78 * length]
        off = own[phone.symbol].formants * np.exp(voice.accent * rng.normal(0, 0.025, 3))  # nobody says a phone twice alike
        targets += [first * off, second * off]
    at, targets = np.arange(ticks) / TRACK_RATE, np.array(targets)
    lines = np.stack([np.interp(at, times, targets[:, k]) for k in range(3)], axis=1)
    return gaussian_filter1d(lines, 13 / voice.precision, axis=0, mode="nearest")


def _targets(phones: tuple[Phone, ...], index: int) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    recipe = RECIPES[phones[index].symbol]
    first = np.array(recipe.formants, float)
    second = np.array(recipe.glide_to or recipe.formants, float)
    if recipe.kind == "vowel":  # unstressed vowels stay short of their targets
        short = 0.22 * (1 - phones[index].stress)
        return first + short * (NEUTRAL - first), second + short * (NEUTRAL - second)
    return tuple(recipe.pull * own + (1 - recipe.pull) * _around(phones, index) for own in (first, second))


def _around(phones: tuple[Phone, ...], index: int) -> Float[np.ndarray, "3"]:
    """What the vowels around a consonant do to the formants during it."""
    before = next((RECIPES[p.symbol] for p in reversed(phones[:index]) if RECIPES[p.symbol].kind == "vowel"), None)
    after = next((RECIPES[p.symbol] for p in phones[index + 1 :] if RECIPES[p.symbol].kind == "vowel"), None)
    sides = [np.array(r.glide_to or r.formants if r is before else r.formants, float) for r in (before, after) if r]
    return np.mean(sides, axis=0) if sides else NEUTRAL


def intonation(phones: tuple[Phone, ...], voice: Voice, ending: Ending, rng: np.random.Generator) -> Float[np.ndarray, "ticks"]:
    """Pitch in Hz: declination, an accent on stressed vowels, and the phrase's ending."""
    ticks = round(phones[-1].end * TRACK_RATE)
    at = np.arange(ticks) / TRACK_RATE
    begin, end = phones[0].end, phones[-1].start
    semitones = 2.0 - 4.0 * np.clip((at - begin) / max(end - begin, 0.3), 0, 1)
    for phone in phones:
        if phone.stress > 0 and phone.symbol != SILENCE:
            peak, width = 0.5 * (phone.start + phone.end), 0.07
            semitones += phone.stress * rng.uniform(0.8, 4.0) * np.exp(-0.5 * ((at - peak) / width) ** 2)
    semitones += {"fall": -4.0, "rise": 7.0, "continue": 2.0}[ending] * np.clip(1 - (end - at) / 0.3, 0, 1)
    wander = gaussian_filter1d(rng.standard_normal(ticks), 30) * 2.0
    return voice.f0_hz * 2 ** ((voice.pitch_range * semitones + wander) / 12)
