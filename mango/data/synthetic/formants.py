"""A formant synthesiser: phones with durations in, a waveform out. Robotic, but every phone is in the spectrum where it belongs.

    phrase -> phones with times -> tracks (formants, voicing, noise, pitch; 1 kHz) -> sources -> short-time filtering -> waveform

Source and filter after Fant; the filter is a cascade of resonators as in Klatt (1980), evaluated as a frequency response on
each 5 ms and applied by overlap-add, which is a hundred times faster in numpy than recursive filters that change with time.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Complex64, Float, Float32

from mango.data.phones import SILENCE
from mango.data.synthetic.articulation import TRACK_RATE, Tracks, articulated, intonation
from mango.data.synthetic.conversation import Ending, Phrase
from mango.data.synthetic.lexicon import Word
from mango.data.synthetic.phones import RECIPES
from mango.data.synthetic.voices import Voice
from mango.types import SAMPLE_RATE, Phone

HOP, WINDOW, TRANSFORM = 80, 320, 768  # samples of the overlap-add
LEVEL = 0.1  # root mean square of a stressed vowel
LEAD_SECONDS = 0.04  # of silence before and after a phrase
BANDWIDTHS = (70.0, 90.0, 130.0)
HIGHER_BANDWIDTHS = np.array([220.0, 300.0, 400.0, 500.0])
HIGHER_FORMANTS = np.array([3500.0, 4500.0, 5500.0, 6500.0])


@dataclass(frozen=True)
class Utterance:
    """A phrase as spoken, times from its own start."""

    audio: Float[np.ndarray, "samples"]
    phones: tuple[Phone, ...]  # without gaps, beginning and ending in silence
    words: tuple[tuple[str, float, float], ...]  # text, start, end
    f0: Float[np.ndarray, "ticks"] | None  # Hz at 1 kHz, 0 = unvoiced; None: the engine does not tell


def spoken(phrase: Phrase, voice: Voice, rng: np.random.Generator) -> Utterance:
    phones, words = timed(phrase, voice, rng)
    audio, f0 = synthesized(phones, voice, phrase.ending, rng)
    return Utterance(audio, phones, words, f0)


def timed(phrase: Phrase, voice: Voice, rng: np.random.Generator) -> tuple[tuple[Phone, ...], tuple[tuple[str, float, float], ...]]:
    """Durations: inherent, longer under stress and at the end of the phrase, shorter in clusters and fast voices."""
    now, pace = LEAD_SECONDS, voice.rate * rng.lognormal(0, 0.08)
    phones, words = [Phone(SILENCE, 0.0, now)], []
    for position, word in enumerate(phrase.words):
        last_word = position == len(phrase.words) - 1
        start = now
        for index, (symbol, stress) in enumerate(zip(word.phones, word.stresses, strict=True)):
            seconds = RECIPES[symbol].seconds * _lengthening(word, index, last_word) * rng.lognormal(0, 0.15) / pace
            phones.append(Phone(symbol, now, now + seconds, stress))
            now += seconds
        words.append((word.text, start, now))
    phones.append(Phone(SILENCE, now, now + 0.10))
    return tuple(phones), tuple(words)


def _lengthening(word: Word, index: int, last_word: bool) -> float:
    symbols = word.phones
    if RECIPES[symbols[index]].kind != "vowel":
        in_cluster = any(0 <= k < len(symbols) and RECIPES[symbols[k]].kind != "vowel" for k in (index - 1, index + 1))
        return (0.85 if in_cluster else 1.0) * (1.15 if last_word and index == len(symbols) - 1 else 1.0)
    final = last_word and not any(RECIPES[symbol].kind == "vowel" for symbol in symbols[index + 1 :])
    return (0.8 + 0.35 * word.stresses[index]) * (1.4 if final else 1.0)


def synthesized(
    phones: tuple[Phone, ...], voice: Voice, ending: Ending, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "samples"], Float[np.ndarray, "ticks"]]:
    """The waveform of timed phones, and the pitch it was given (Hz at 1 kHz, 0 where unvoiced)."""
    tracks = articulated(phones, voice, rng)
    f0 = intonation(phones, voice, ending, rng)
    ticks = len(f0)
    samples = ticks * SAMPLE_RATE // TRACK_RATE
    at_sample = np.arange(samples) * (TRACK_RATE / SAMPLE_RATE)

    def on_samples(track):
        return np.interp(at_sample, np.arange(ticks), track).astype(np.float32)

    pulses = _pulses(on_samples(f0), rng) * on_samples(tracks.voice)
    breath = on_samples(tracks.aspiration + 0.25 * voice.breathiness * tracks.voice)
    hiss = on_samples(tracks.noise.sum(axis=1))
    white = rng.standard_normal((2, samples), dtype=np.float32)
    on_hop = slice(0, samples // HOP * HOP * TRACK_RATE // SAMPLE_RATE, HOP * TRACK_RATE // SAMPLE_RATE)
    tract, glottis = _tract(tracks, voice, on_hop), _glottis(voice)
    spectrum = _frames(pulses) * _levelled(tract * glottis, 0.75)
    spectrum += _frames(white[0] * breath) * _levelled(tract, 1.0)
    spectrum += _frames(white[1] * hiss) * _noise_filter(tracks, voice, on_hop)
    audio = LEVEL * _overlapped(spectrum, samples)
    return audio.astype(np.float32), np.where(tracks.voice > 0.02, f0, 0).astype(np.float32)


def _pulses(f0: Float32[np.ndarray, "samples"], rng: np.random.Generator) -> Float32[np.ndarray, "samples"]:
    """A pulse train of unit power: one pulse a period, placed between samples, with a little shimmer."""
    phase = np.cumsum(f0.astype(np.float64) / SAMPLE_RATE)
    at = np.flatnonzero(np.diff(np.floor(phase), prepend=0.0) > 0)
    late = (phase[at] - np.floor(phase[at])) * SAMPLE_RATE / f0[at]  # samples since the period began, 0..1
    strength = np.sqrt(SAMPLE_RATE / f0[at]) * rng.normal(1, 0.04, len(at))
    pulses = np.zeros(len(f0) + 1)
    np.add.at(pulses, at, strength * (1 - late))
    np.add.at(pulses, np.maximum(at - 1, 0), strength * late)
    return pulses[: len(f0)].astype(np.float32)


def _frequencies() -> Float32[np.ndarray, "bins"]:
    return np.fft.rfftfreq(TRANSFORM, 1 / SAMPLE_RATE).astype(np.float32)


def _glottis(voice: Voice) -> Complex64[np.ndarray, "bins"]:
    """Spectrum of one glottal pulse as radiated: rises to the glottal formant, then falls 6 dB an octave, more in soft voices."""
    f = _frequencies()
    low = (1j * f / 60) / (1 + 1j * f / 60)
    tilt = (np.maximum(f, 500) / 500) ** (voice.tilt_db_per_octave / 6.02)
    return (low / (1 + 1j * f / (1.6 * voice.f0_hz)) * tilt).astype(np.complex64)


def _tract(tracks: Tracks, voice: Voice, on_hop: slice) -> Complex64[np.ndarray, "hops bins"]:
    """Response of the vocal tract on every hop: a cascade of resonators, a nasal branch, and closed lips or tongue."""
    formants = np.minimum(tracks.formants[on_hop] * voice.formant_scale, 7600)
    nasal, closed = tracks.nasal[on_hop, None], tracks.closed[on_hop, None]
    damping = 1 + 0.6 * voice.breathiness
    delay = np.exp(-2j * np.pi * _frequencies() / SAMPLE_RATE).astype(np.complex64)
    higher = np.minimum(HIGHER_FORMANTS * voice.formant_scale, 7600)
    inverse = np.prod(_resonance(higher, HIGHER_BANDWIDTHS * damping, delay), axis=0, keepdims=True)  # these stay where they are
    for k, bandwidth in enumerate(BANDWIDTHS):
        inverse = inverse * _resonance(formants[:, k], bandwidth * damping * (1 + 1.2 * nasal[:, 0]), delay)
    response = 1 / inverse
    through = np.flatnonzero(nasal[:, 0] > 1e-3)
    zero = np.clip(0.75 * formants[through, 1], 500, 3500)  # the mouth behind the closure: M low, NG high
    pole = np.full_like(zero, 260 * voice.formant_scale)
    branch = _resonance(zero, np.full_like(zero, 150), delay) / _resonance(pole, np.full_like(zero, 90), delay)
    response[through] *= 1 + nasal[through].astype(np.float32) * (branch - 1)
    muffled = 1 / (1 + (_frequencies() / 350) ** 2)
    return response * (1 + closed.astype(np.float32) * (muffled - 1)).astype(np.float32)


def _resonance(
    frequency: Float[np.ndarray, "hops"], bandwidth: Float[np.ndarray, "hops"], delay: Complex64[np.ndarray, "bins"]
) -> Complex64[np.ndarray, "hops bins"]:
    """The denominator of a two-pole resonator of unit gain at 0 Hz (Klatt 1980, equations 1 and 2); its inverse is the resonator."""
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    c = -(radius**2)
    b = 2 * radius * np.cos(2 * np.pi * frequency / SAMPLE_RATE)
    a = 1 - b - c
    first, second, constant = (x.astype(np.float32)[:, None] for x in (b / a, c / a, 1 / a))
    return constant - delay * (first + second * delay)


def _levelled(response: Complex64[np.ndarray, "hops bins"], how_much: float) -> Complex64[np.ndarray, "hops bins"]:
    """At ``how_much`` = 1, unit power out for unit power in whatever the formants; at less, open vowels stay louder than close ones."""
    power = np.sqrt((response.real**2 + response.imag**2).mean(axis=1, keepdims=True))
    return response / power**how_much / np.float32(2.0 ** (1 - how_much))


def _noise_filter(tracks: Tracks, voice: Voice, on_hop: slice) -> Float32[np.ndarray, "hops bins"]:
    """Spectrum of the noise made at the obstruction, of unit power."""
    f = _frequencies()
    scale = voice.formant_scale**0.6
    shapes = np.stack([np.exp(-0.5 * ((f - centre * scale) / (0.5 * width)) ** 2) + 0.03 for centre, width in tracks.bands])
    shapes /= np.sqrt((shapes**2).mean(axis=1, keepdims=True))
    weights = tracks.noise[on_hop]
    return ((weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-6)) @ shapes).astype(np.float32)


def _frames(signal: Float32[np.ndarray, "samples"]) -> Complex64[np.ndarray, "hops bins"]:
    """Spectra of Hann-windowed frames; frame h is centred on sample h * HOP, and the windows sum to one."""
    hops = len(signal) // HOP
    padded = np.pad(signal, (WINDOW // 2, WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: hops * HOP : HOP]
    window = (np.hanning(WINDOW + 1)[:-1] * (2 * HOP / WINDOW)).astype(np.float32)
    return scipy.fft.rfft(frames * window, TRANSFORM, axis=1)


def _overlapped(spectrum: Complex64[np.ndarray, "hops bins"], samples: int) -> Float32[np.ndarray, "samples"]:
    frames = scipy.fft.irfft(spectrum, TRANSFORM, axis=1)
    hops = len(frames)
    audio = np.zeros((hops + TRANSFORM // HOP + 1, HOP), np.float32)
    frames = np.pad(frames, ((0, 0), (0, -TRANSFORM % HOP))).reshape(hops, -1, HOP)
    for k in range(frames.shape[1]):
        audio[k : k + hops] += frames[:, k]
    return np.pad(audio.ravel()[WINDOW // 2 :], (0, samples))[:samples]
