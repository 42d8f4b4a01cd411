"""True motion of a synthetic person: what the voice asks of the mouth, and what the conversation asks of the rest.

phones, loudness -> aims -> coarticulated curves -> closures reached exactly -+
phrases of both  -> blinks, gaze, sway, nods, smiles, brows ------------------+-> MotionClip
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from mango.data.synthetic import behaviour
from mango.data.synthetic.lips import LipOpening
from mango.data.synthetic.seeding import stream
from mango.data.synthetic.visemes import GESTURES, JAW, Closure, closures, coarticulated, phone_name
from mango.types import FRAME_RATE, SAMPLE_RATE, MotionClip

JAW_LIMIT = 0.35  # radians; wider is a yawn
JAW_REACH = 0.095  # metres of lip opening per radian of the jaw, nearly
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE


@dataclass(frozen=True)
class Style:
    """How one person moves, whatever is said."""

    amplitude: float  # of articulation
    smile: float  # resting smile while talking
    brows: float  # chance of a brow raise on a stressed vowel
    nods: float  # chance of a nod on a stressed vowel
    sway: float
    asymmetry: float  # left over right; 0 is symmetric
    blinks_per_minute: float
    shyness: float  # chance that a fixation while talking leaves the partner
    lids: float  # resting lid opening: positive squints, negative widens


def style_of(person: str) -> Style:
    rng = stream(0, "style", person)
    return Style(
        amplitude=rng.uniform(0.76, 1.04), smile=rng.uniform(0.02, 0.16), brows=rng.uniform(0.12, 0.40), nods=rng.uniform(0.15, 0.40),
        sway=rng.uniform(0.7, 1.3), asymmetry=rng.normal(0, 0.09), blinks_per_minute=rng.uniform(11, 22), shyness=rng.uniform(0.25, 0.55),
        lids=rng.uniform(-0.06, 0.12),
    )  # fmt: skip


def frame_seconds(frames: int) -> Float[np.ndarray, "time"]:
    """The moment each frame shows: the middle of its 40 ms of sound."""
    return (np.arange(frames) + 0.5) / FRAME_RATE


def true_motion(head, conversation, speech, partner_speech, person: str, seed: int, *, shape=None) -> MotionClip:
    """Motion of ``person`` (a name: style belongs to it), who says ``speech`` and hears ``partner_speech``.

    ``shape`` (identity) are the person's coefficients; closures are exact for that shape. One frame for every 640 samples.
    """
    frames = speech.audio.shape[-1] // SAMPLES_PER_FRAME
    seconds = frame_seconds(frames)
    style, length = style_of(person), frames / FRAME_RATE
    own, partner = behaviour.phrases(speech.phones), behaviour.phrases(partner_speech.phones)
    short = behaviour.backchannels(own, partner)
    talking_turns = behaviour.turns(own, partner)

    def rng(name: str) -> np.random.Generator:
        return stream(seed, "motion", person, name)

    talking = behaviour.during(own, seconds, edge=0.1)
    face = _Face(head.expression_names, frames, style.asymmetry)
    smile = behaviour.smiles(rng("smiles"), seconds, partner, short) * (1 - 0.75 * behaviour.during(talking_turns, seconds, edge=0.3))

    curves = dict(zip(GESTURES, coarticulated(speech.phones, _scale(speech, style), seconds).T, strict=True))
    jaw = JAW_LIMIT * np.tanh(np.maximum(curves.pop(JAW), 0) / JAW_LIMIT)
    for name, curve in curves.items():
        face.add(name, curve * (1 - 0.5 * smile if name in ("mouthPucker", "mouthFunnel") else 1))
    face.add("mouthSmile", smile + style.smile * talking * (1 - 0.7 * curves["mouthPucker"]))
    face.add("cheekSquint", 0.7 * smile)
    face.add("eyeSquint", 0.35 * smile + max(style.lids, 0))
    face.add("eyeWide", np.full(frames, max(-style.lids, 0.0)))
    face.add("noseSneer", 0.35 * curves["mouthUpperUp"])
    _idle(face, rng("idle"), seconds, 1 - talking)
    _brows(face, rng("brows"), seconds, speech.phones, short, style)

    neck = _neck(rng("neck"), seconds, speech.phones, own, partner, short, talking, style)
    looking = behaviour.gaze(rng("gaze"), seconds, talking_turns, style.shyness)
    blinked = behaviour.blink_times(rng("blinks"), length, style.blinks_per_minute, [turn.end for turn in talking_turns])
    neck[:, :2] += 0.25 * _smoothed(looking, 5)  # the head goes part of the way, a little later
    eyes = np.clip(looking - 0.8 * (neck[:, :2] - neck[:, :2].mean(0)), -0.42, 0.42)  # eyes counter the head (vestibulo-ocular reflex)
    face.add("eyeBlink", behaviour.blinks(rng("lids"), seconds, blinked))
    face.add("eyeBlink", 0.6 * np.clip(eyes[:, 0], 0, 0.3))  # lids follow gaze down
    face.add("eyeWide", 0.5 * np.clip(-eyes[:, 0], 0, 0.3))

    shape = torch.zeros(head.identities) if shape is None else shape.detach().float()
    jaw, expr = _with_closures(head, shape, face.weights(), jaw, closures(speech.phones), own, seconds)
    zero = np.zeros(frames)
    return MotionClip(
        expr=torch.from_numpy(expr).float(), rotation=torch.zeros(frames, 3), neck_pose=torch.from_numpy(neck).float(),
        jaw_pose=torch.from_numpy(np.stack([jaw, zero, zero], -1)).float(),
        eyes_pose=torch.from_numpy(np.stack([eyes[:, 0], eyes[:, 1], zero, eyes[:, 0], eyes[:, 1], zero], -1)).float(),
        translation=torch.zeros(frames, 3), shape=shape, head=head.digest, fps=float(FRAME_RATE),
    )  # fmt: skip


class _Face:
    """Expression weights by gesture: a gesture without a side moves both sides, the stronger one by the person's asymmetry."""

    def __init__(self, names: Sequence[str], frames: int, asymmetry: float):
        self.names = {name: k for k, name in enumerate(names)}
        self.values = np.zeros((frames, len(names)))
        self.sides = {"Left": 1 + asymmetry, "Right": 1 - asymmetry}

    def add(self, gesture: str, curve: Float[np.ndarray, "time"]) -> None:
        if gesture in self.names:
            self.values[:, self.names[gesture]] += curve
            return
        level = {"Left": 1.0, "Right": 1.0} if gesture.startswith("eye") else self.sides  # lids close together
        for side, factor in level.items():
            self.values[:, self.names[gesture + side]] += factor * curve

    def weights(self) -> Float[np.ndarray, "time expressions"]:
        return np.clip(self.values, 0, 1)


def _scale(speech, style: Style) -> Float[np.ndarray, "phones"]:
    """How far each phone opens the mouth: style, stress, and loudness against the person's own."""
    audio = speech.audio.detach().numpy().astype(np.float64)
    levels = []
    for phone in speech.phones:
        piece = audio[int(phone.start * SAMPLE_RATE) : max(int(phone.end * SAMPLE_RATE), int(phone.start * SAMPLE_RATE) + 1)]
        levels.append(np.sqrt((piece**2).mean()) if len(piece) else 0.0)
    levels, stress = np.array(levels), np.array([phone.stress for phone in speech.phones])
    vowel = np.array([phone_name(p.symbol)[0] in "AEIOU" for p in speech.phones])
    usual = np.median(levels[vowel]) if vowel.any() else 1.0
    loud = np.where(vowel, np.clip((levels / max(usual, 1e-6)) ** 0.4, 0.75, 1.3), 1.0)
    return style.amplitude * loud * np.where(vowel, 0.85 + 0.25 * stress, 1.0)


def _idle(face: _Face, rng: np.random.Generator, seconds: Float[np.ndarray, "time"], silent: Float[np.ndarray, "time"]) -> None:
    """Small movements of a closed mouth, and a face that is never quite still."""
    for name, size in (
        ("mouthPress", 0.16),
        ("mouthRollLower", 0.12),
        ("mouthRollUpper", 0.08),
        ("mouthShrugLower", 0.10),
        ("mouthDimple", 0.10),
    ):
        face.add(name, size * silent * np.maximum(behaviour.smooth_noise(rng, seconds, 5.0, 1.2) - 0.5, 0))
    for name, size in (("mouthLeft", 0.06), ("mouthRight", 0.06), ("cheekPuff", 0.03)):
        face.add(name, size * np.maximum(behaviour.smooth_noise(rng, seconds, 6.0, 1.5) - 0.6, 0))


def _brows(face: _Face, rng: np.random.Generator, seconds, phones: Sequence, short: Sequence, style: Style) -> None:
    raised = np.zeros_like(seconds)
    for at in behaviour.stressed(phones):
        draw, size = rng.random(), rng.uniform(0.3, 0.7)
        if draw < style.brows:
            raised = np.maximum(raised, size * behaviour.bump(seconds, at - 0.16, 0.16, 0.08, 0.32))
    for phrase in short:
        size = rng.uniform(0.0, 0.5)
        raised = np.maximum(raised, size * behaviour.bump(seconds, phrase.start - 0.1, 0.2, 0.2, 0.4))
    drift = behaviour.smooth_noise(rng, seconds, 7.0, 2.0)
    face.add("browInnerUp", 0.8 * raised + 0.07 * np.maximum(drift, 0))
    face.add("browOuterUp", raised)
    face.add("browDown", (0.10 * np.maximum(-drift, 0)) * (1 - raised))


def _neck(rng: np.random.Generator, seconds, phones, own, partner, short, talking, style: Style) -> Float[np.ndarray, "time 3"]:
    neck = style.sway * behaviour.sway(rng, seconds, talking)
    for at in behaviour.stressed(phones):
        draw, size = rng.random(), rng.uniform(0.03, 0.07)
        if draw < style.nods:
            neck[:, 0] += behaviour.nod(seconds, at - 0.14, size, 0.42, 1)
    for at, size in behaviour.listener_nods(rng, partner, own):
        neck[:, 0] += behaviour.nod(seconds, at, size, 0.46, 2)
    for phrase in short:
        neck[:, 0] += behaviour.nod(seconds, phrase.start - 0.04, rng.uniform(0.06, 0.11), 0.46, 2)
    return neck


def _smoothed(curves: Float[np.ndarray, "time columns"], width: int) -> Float[np.ndarray, "time columns"]:
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.concatenate([curves[:1].repeat(width - 1, 0), curves])  # causal: the head follows the eyes
    return np.stack([np.convolve(column, kernel / kernel.sum(), "valid") for column in padded.T], -1)[: len(curves)]


# -- closures ----------------------------------------------------------------------------------------------------------


def _with_closures(head, shape, expr, jaw, wanted: Sequence[Closure], own, seconds):
    """The same motion with the lips brought, by ``mouthClose``, to the gap that each closing phone and each silence asks for.

    At the frame nearest to a closure's centre the gap is reached exactly, and while silent it is zero: solved against the head.
    """
    opening = LipOpening(head, shape)
    silent = 1 - behaviour.during([behaviour.Phrase(p.start - 0.06, p.end + 0.03) for p in own], seconds, edge=0.06)
    bilabial = np.maximum(silent, _closing([c for c in wanted if c.bilabial], seconds))
    names = {name: k for k, name in enumerate(head.expression_names)}
    for name in ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight"):
        expr[:, names[name]] *= 1 - bilabial
    jaw = jaw * (1 - 0.5 * bilabial)
    gap = opening(expr, jaw)
    for _ in range(2):  # a smile or a press would push the lips into each other: the jaw gives way
        pressed = np.nonzero(gap < -1e-5)[0]
        if len(pressed):
            jaw[pressed] -= gap[pressed] / JAW_REACH
            gap[pressed] = opening(expr[pressed], jaw[pressed])
    target = np.minimum(gap, gap * (1 - silent))
    for closure in wanted:
        w = _closing([closure], seconds)
        target = np.minimum(target, (1 - w) * gap + w * closure.gap)
    column = names["mouthClose"]
    frames = np.nonzero(gap - target > 2e-5)[0]
    if len(frames):
        expr[frames, column] = _solved(opening, expr[frames], jaw[frames], gap[frames], target[frames], column)
    return jaw, expr


def _closing(wanted: Sequence[Closure], seconds: Float[np.ndarray, "time"]) -> Float[np.ndarray, "time"]:
    """How far the lips have followed each closure, exactly 1 at the frame nearest to its centre."""
    closing = np.zeros_like(seconds)
    for closure in wanted:
        lips = behaviour.bump(seconds, closure.start, 0.07, max(closure.end - closure.start - 0.13, 0.0), 0.06)
        nearest = int(np.argmin(np.abs(seconds - closure.centre)))
        lips[nearest] = 1.0
        closing = np.maximum(closing, lips)
    return closing


def _solved(opening: LipOpening, expr, jaw, gap, target, column: int) -> Float[np.ndarray, "time"]:
    """``mouthClose`` that gives the target gap: false position, which lip opening's near-linearity ends in three rounds."""
    low, low_gap = np.zeros_like(gap), gap
    high = np.ones_like(gap)
    high_gap = opening(_with_column(expr, column, high), jaw)
    weight = high
    for _ in range(4):
        weight = np.clip(low + (high - low) * (low_gap - target) / np.maximum(low_gap - high_gap, 1e-9), 0, 1)
        reached = opening(_with_column(expr, column, weight), jaw)
        below = reached < target
        high, high_gap = np.where(below, weight, high), np.where(below, reached, high_gap)
        low, low_gap = np.where(below, low, weight), np.where(below, low_gap, reached)
    return weight


def _with_column(expr, column: int, values):
    changed = expr.copy()
    changed[:, column] = values
    return changed
