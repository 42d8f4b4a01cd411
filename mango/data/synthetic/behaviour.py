"""What a head does beside articulating: blinks, gaze, sway, nods, smiles and brows, speaking and listening.

Times are seconds, curves are numpy arrays over the given times, angles radians. Everything is a function of the random stream
handed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mango.data.synthetic.visemes import SILENCE, phone_name

PHRASE_PAUSE_S = 0.20  # a silence at least this long ends a phrase
BACKCHANNEL_S = 0.9  # a phrase at most this long, while the partner talks, is a backchannel ("mm-hm")
NOD_LAG_S = (0.20, 0.40)  # of a listener behind the end of the partner's phrase


@dataclass(frozen=True)
class Phrase:
    start: float
    end: float

    def overlaps(self, other: "Phrase", margin: float = 0.0) -> bool:
        return self.start < other.end + margin and other.start < self.end + margin


def phrases(phones: Sequence) -> tuple[Phrase, ...]:
    """Speech between pauses."""
    found: list[Phrase] = []
    for phone in phones:
        if phone_name(phone.symbol) == SILENCE:
            continue
        if found and phone.start - found[-1].end < PHRASE_PAUSE_S:
            found[-1] = Phrase(found[-1].start, phone.end)
        else:
            found.append(Phrase(phone.start, phone.end))
    return tuple(found)


def backchannels(own: Sequence[Phrase], partner: Sequence[Phrase]) -> tuple[Phrase, ...]:
    """Own short phrases uttered while (or right after) the partner talks."""
    return tuple(p for p in own if p.end - p.start <= BACKCHANNEL_S and any(p.overlaps(q, margin=0.3) for q in partner))


def turns(own: Sequence[Phrase], partner: Sequence[Phrase]) -> tuple[Phrase, ...]:
    """Own phrases that are no backchannels, joined over own pauses in which the partner stays silent."""
    short = backchannels(own, partner)
    joined: list[Phrase] = []
    for phrase in own:
        if phrase in short:
            continue
        if joined and not any(q.overlaps(Phrase(joined[-1].end, phrase.start)) for q in partner if q.end - q.start > BACKCHANNEL_S):
            joined[-1] = Phrase(joined[-1].start, phrase.end)
        else:
            joined.append(phrase)
    return tuple(joined)


def during(spans: Sequence[Phrase], seconds: Float[np.ndarray, "time"], edge: float = 0.08) -> Float[np.ndarray, "time"]:
    """1 inside the spans, 0 outside, with soft edges that straddle them."""
    inside = np.zeros_like(seconds)
    for span in spans:
        inside = np.maximum(inside, _ramp(seconds, span.start - edge, 2 * edge) * (1 - _ramp(seconds, span.end - edge, 2 * edge)))
    return inside


def smooth_noise(rng: np.random.Generator, seconds: Float[np.ndarray, "time"], slowest: float, fastest: float) -> Float[np.ndarray, "time"]:
    """Noise of about unit variance whose periods lie between two values in seconds (a sum of sines, so any time can be asked)."""
    waves = 12
    frequency = 1 / np.exp(rng.uniform(np.log(fastest), np.log(slowest), waves))
    phase, size = rng.uniform(0, 2 * np.pi, waves), rng.rayleigh(1.0, waves)
    size *= np.sqrt(2 / (size**2).sum())
    return (size * np.sin(2 * np.pi * frequency * seconds[:, None] + phase)).sum(-1)


def _ramp(seconds: Float[np.ndarray, "time"], start: float, length: float) -> Float[np.ndarray, "time"]:
    """0 before, 1 after, a raised cosine between."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip((seconds - start) / max(length, 1e-3), 0, 1))


def bump(seconds: Float[np.ndarray, "time"], start: float, rise: float, hold: float, fall: float) -> Float[np.ndarray, "time"]:
    return _ramp(seconds, start, rise) * (1 - _ramp(seconds, start + rise + hold, fall))


# -- eyes --------------------------------------------------------------------------------------------------------------


def blink_times(rng: np.random.Generator, length: float, per_minute: float, ends: Sequence[float]) -> tuple[float, ...]:
    """A Poisson process with a refractory time, and blinks at most turn ends (Cummins 2012: blinks cluster at boundaries)."""
    own = [end + rng.uniform(-0.05, 0.15) for end in ends if rng.random() < 0.65]
    at = rng.exponential(60 / per_minute)
    while at < length:
        own.append(at)
        at += 0.4 + rng.exponential(max(60 / per_minute - 0.4, 0.5))
    kept: list[float] = []
    for at in sorted(own):
        if 0 <= at < length and (not kept or at - kept[-1] > 0.4):
            kept.append(at)
    return tuple(kept)


def blinks(rng: np.random.Generator, seconds: Float[np.ndarray, "time"], at: Sequence[float]) -> Float[np.ndarray, "time"]:
    """Lid closing in [0, 1]: down in 80 ms, shut for 40 to 80, up in 160."""
    lids = np.zeros_like(seconds)
    for start in at:
        depth = rng.uniform(0.92, 1.0)
        lids = np.maximum(lids, depth * bump(seconds, start - 0.08, 0.08, rng.uniform(0.04, 0.08), rng.uniform(0.14, 0.18)))
    return lids


def gaze(
    rng: np.random.Generator, seconds: Float[np.ndarray, "time"], talking: Sequence[Phrase], shyness: float
) -> Float[np.ndarray, "time 2"]:
    """Where a person looks: (pitch down, yaw to the own left) in radians, seen from a still head.

    Fixations with 40 ms saccades between. Speakers look away while they plan (the start of a turn, mostly) and back at its end;
    listeners look at the partner nearly always (Kendon 1967).
    """
    where, at = np.zeros(2), -rng.uniform(0, 1)
    directions = np.zeros((len(seconds), 2))
    directions += where
    while at < seconds[-1] + 1:
        speaking = next((turn for turn in talking if turn.start - 0.3 <= at < turn.end - 0.4), None)
        early = speaking is not None and at < speaking.start + 1.2
        away = rng.random() < (shyness * (1.5 if early else 0.8) if speaking else 0.12)
        target = rng.normal(0, [0.02, 0.035])
        if away:
            target = np.array([rng.uniform(-0.10, 0.14), rng.choice([-1, 1]) * rng.uniform(0.12, 0.26)])
        directions += _ramp(seconds, at, 0.04)[:, None] * (target - where)
        where = target
        at += 0.25 + (rng.exponential(0.5) if away else rng.exponential(1.1))
    return directions + 0.004 * np.stack([smooth_noise(rng, seconds, 1.0, 0.15) for _ in range(2)], -1)


# -- head --------------------------------------------------------------------------------------------------------------


def sway(rng: np.random.Generator, seconds: Float[np.ndarray, "time"], talking: Float[np.ndarray, "time"]) -> Float[np.ndarray, "time 3"]:
    """Slow wandering of the head about x, y and z; livelier while talking."""
    slow = np.stack([smooth_noise(rng, seconds, 9.0, 2.5) for _ in range(3)], -1) * [0.022, 0.045, 0.020]
    quick = np.stack([smooth_noise(rng, seconds, 1.6, 0.5) for _ in range(3)], -1) * [0.014, 0.016, 0.010]
    return slow + quick * (0.15 + 0.85 * talking)[:, None]


def nod(seconds: Float[np.ndarray, "time"], start: float, size: float, period: float, cycles: int) -> Float[np.ndarray, "time"]:
    """Pitch of one nod: down and up again, each cycle weaker than the one before."""
    turned = np.clip((seconds - start) / period, 0, cycles)
    return size * 0.65 ** np.floor(np.minimum(turned, cycles - 1e-6)) * (0.5 - 0.5 * np.cos(2 * np.pi * turned))


def listener_nods(rng: np.random.Generator, partner: Sequence[Phrase], own: Sequence[Phrase]) -> tuple[tuple[float, float], ...]:
    """(start, size) of nods that answer the partner's phrase ends, unless the answer is the person's own turn."""
    nods = []
    for phrase in partner:
        lag, size, willing = rng.uniform(*NOD_LAG_S), rng.uniform(0.07, 0.13), rng.random() < 0.85
        at = phrase.end + lag
        talking = any(span.end - span.start > BACKCHANNEL_S and span.start - 0.1 <= at <= span.end for span in own)
        if willing and phrase.end - phrase.start > 0.5 and not talking:
            nods.append((at, size))
    return tuple(nods)


def smiles(
    rng: np.random.Generator, seconds: Float[np.ndarray, "time"], partner: Sequence[Phrase], short: Sequence[Phrase]
) -> Float[np.ndarray, "time"]:
    """Smiles that answer: some time after the partner's phrase ends, nearly always with an own backchannel."""
    curve = np.zeros_like(seconds)
    for phrase in partner:
        lag, size, hold, willing = rng.uniform(0.3, 0.7), rng.uniform(0.30, 0.65), rng.uniform(0.6, 1.8), rng.random() < 0.4
        if willing:
            curve = np.maximum(curve, size * bump(seconds, phrase.end + lag, 0.35, hold, 0.7))
    for phrase in short:
        curve = np.maximum(curve, rng.uniform(0.25, 0.5) * bump(seconds, phrase.start - 0.1, 0.3, 0.8, 0.6))
    return curve


def stressed(phones: Sequence, threshold: float = 0.6) -> tuple[float, ...]:
    """Centres of stressed phones."""
    return tuple(0.5 * (p.start + p.end) for p in phones if p.stress >= threshold and phone_name(p.symbol) != SILENCE)
