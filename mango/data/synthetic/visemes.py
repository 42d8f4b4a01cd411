"""What the mouth aims at for each phone, and how neighbouring aims blend.

Coarticulation follows Cohen and Massaro ("Modeling coarticulation in synthetic visual speech", 1993): every phone pulls the
mouth towards its own aim with a dominance that fades in before the phone and out after it, faster after than before, and
the mouth goes where the weighted mean of all aims is. Rounding is anticipated longest. Closures are not averaged away:
they come out beside the curves, with the lip gap they must reach.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

JAW = "jaw"  # rotation about +x in radians; every other gesture is an ARKit expression, without its side
GESTURES = (
    JAW, "jawForward", "mouthFunnel", "mouthPucker", "mouthStretch", "mouthSmile", "mouthDimple", "mouthLowerDown", "mouthUpperUp",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPress", "cheekPuff", "tongueOut",
)  # fmt: skip
ROUNDING = ("mouthFunnel", "mouthPucker")
OPENING = (JAW, "mouthLowerDown", "mouthUpperUp")  # what loudness and stress scale in full
PLATEAU_INSET = 0.25  # of a phone's length, at each end: inside, its dominance is full
LEAD_S, LAG_S = 0.050, 0.036  # fading of dominance before and after the plateau (standard deviations)
ROUNDING_LEAD_S = 0.095
WEAK = 0.12  # dominance of a phone over gestures it does not care about, pulling them to rest


@dataclass(frozen=True)
class Viseme:
    """Aims of one phone (or half a diphthong). ``gap`` is a lip opening in metres that must be reached, whatever the jaw does."""

    aims: Mapping[str, float] = field(default_factory=dict)
    gap: float | None = None
    strength: float = 1.0


def _vowel(jaw: float, **aims: float) -> Viseme:
    return Viseme({JAW: jaw, **aims})


def _consonant(jaw: float, strength: float = 0.9, gap: float | None = None, **aims: float) -> Viseme:
    return Viseme({JAW: jaw, **aims}, gap=gap, strength=strength)


_BILABIAL = _consonant(0.045, 1.3, 0.0, mouthPress=0.28, mouthRollLower=0.16, mouthRollUpper=0.14)
_LABIODENTAL = _consonant(0.05, 1.2, 0.0012, mouthRollLower=0.45, mouthUpperUp=0.18, mouthShrugLower=0.15)
_ALVEOLAR = _consonant(0.06, 0.7, mouthLowerDown=0.16, mouthStretch=0.08)
_SIBILANT = _consonant(0.030, 1.1, mouthStretch=0.22, mouthLowerDown=0.34, mouthUpperUp=0.16)
_HUSHING = _consonant(0.045, 1.1, mouthFunnel=0.62, mouthPucker=0.15, mouthLowerDown=0.14, jawForward=0.12)
_DENTAL = _consonant(0.085, 0.9, tongueOut=0.16, mouthLowerDown=0.20)
_VELAR = _consonant(0.10, 0.55, mouthLowerDown=0.12)

_AH = _vowel(0.18, mouthLowerDown=0.16)
_IY = _vowel(0.085, mouthStretch=0.40, mouthSmile=0.18, mouthLowerDown=0.26)
_UW = _vowel(0.075, mouthPucker=0.80, mouthFunnel=0.12)
_UH = _vowel(0.105, mouthPucker=0.45, mouthFunnel=0.22)
_IH = _vowel(0.115, mouthStretch=0.20, mouthLowerDown=0.24)
_AA = _vowel(0.275, mouthLowerDown=0.22, mouthUpperUp=0.12)
_AO = _vowel(0.22, mouthFunnel=0.45, mouthPucker=0.25)

VISEMES: Mapping[str, tuple[Viseme, ...]] = {
    # vowels; a diphthong has two aims
    "AA": (_AA,), "AE": (_vowel(0.25, mouthStretch=0.26, mouthSmile=0.08, mouthLowerDown=0.32, mouthUpperUp=0.22),), "AH": (_AH,),
    "AO": (_AO,), "AW": (_AA, _UW), "AX": (_vowel(0.14, mouthLowerDown=0.14),), "AY": (_AA, _IH),
    "EH": (_vowel(0.185, mouthStretch=0.20, mouthLowerDown=0.26, mouthUpperUp=0.10),),
    "ER": (_vowel(0.12, mouthFunnel=0.38, mouthPucker=0.20),), "EY": (_vowel(0.17, mouthStretch=0.25, mouthLowerDown=0.25), _IY),
    "IH": (_IH,), "IY": (_IY,), "OW": (_AO, _UW), "OY": (_AO, _IH), "UH": (_UH,), "UW": (_UW,),
    # closures
    "B": (_BILABIAL,), "M": (_BILABIAL,), "P": (_BILABIAL,), "F": (_LABIODENTAL,), "V": (_LABIODENTAL,),
    # the rest
    "D": (_ALVEOLAR,), "T": (_ALVEOLAR,), "N": (_ALVEOLAR,), "DX": (_ALVEOLAR,),
    "L": (_consonant(0.12, 0.7, mouthLowerDown=0.18, tongueOut=0.06),),
    "S": (_SIBILANT,), "Z": (_SIBILANT,), "SH": (_HUSHING,), "ZH": (_HUSHING,), "CH": (_HUSHING,), "JH": (_HUSHING,),
    "TH": (_DENTAL,), "DH": (_DENTAL,), "G": (_VELAR,), "K": (_VELAR,), "NG": (_VELAR,), "HH": (_consonant(0.11, 0.3),),
    "R": (_consonant(0.075, 0.9, mouthFunnel=0.36, mouthPucker=0.30),), "W": (_consonant(0.055, 1.2, mouthPucker=0.88, mouthFunnel=0.10),),
    "Y": (_consonant(0.07, 0.9, mouthStretch=0.34, mouthSmile=0.12, mouthLowerDown=0.22),),
    "SIL": (Viseme(dict.fromkeys(GESTURES, 0.0), strength=1.0),),
}  # fmt: skip
SILENCE = "SIL"


@dataclass(frozen=True)
class Closure:
    """A lip gap that must be reached at ``centre`` (seconds); the lips travel there from ``start`` and leave until ``end``."""

    start: float
    centre: float
    end: float
    gap: float
    bilabial: bool


def phone_name(symbol: str) -> str:
    """The table's name of a phone: upper case, without stress digits."""
    name = symbol.upper().rstrip("012")
    return SILENCE if name in ("", "SIL", "SP", "PAU", "_") else name


def visemes_of(symbol: str) -> tuple[Viseme, ...]:
    name = phone_name(symbol)
    assert name in VISEMES, f"no viseme for the phone {symbol!r}"
    return VISEMES[name]


def closures(phones: Sequence) -> tuple[Closure, ...]:
    """Every closing phone, with travel times of natural closing speed (lips close in about 70 ms and open in 60)."""
    found = []
    for phone in phones:
        (viseme, *_) = visemes_of(phone.symbol)
        if viseme.gap is not None:
            hold = 0.2 * (phone.end - phone.start)
            centre = 0.5 * (phone.start + phone.end)
            found.append(Closure(centre - hold - 0.07, centre, centre + hold + 0.06, viseme.gap, viseme is _BILABIAL))
    return tuple(found)


def coarticulated(
    phones: Sequence, scale: Float[np.ndarray, "phones"], seconds: Float[np.ndarray, "time"]
) -> Float[np.ndarray, "time gestures"]:
    """Gesture curves at the given times. ``scale`` multiplies each phone's aims: in full where they open the mouth, by half elsewhere."""
    start, end, aims, strength = _segments(phones, scale)
    inset = np.minimum(PLATEAU_INSET * (end - start), 0.08)
    before, after = (start + inset)[None] - seconds[:, None], seconds[:, None] - (end - inset)[None]
    rounding = np.array([name in ROUNDING for name in GESTURES])
    curves = np.zeros((len(seconds), len(GESTURES)))
    for lead, chosen in ((LEAD_S, ~rounding), (ROUNDING_LEAD_S, rounding)):
        distance = np.maximum(before, 0) / lead + np.maximum(after, 0) / LAG_S
        dominance = np.exp(-0.5 * distance**2)
        pulled = dominance @ (strength * aims)[:, chosen]
        curves[:, chosen] = pulled / (dominance @ strength[:, chosen] + 1e-4)
    return curves


def _segments(phones: Sequence, scale: Float[np.ndarray, "phones"]):
    """Phones as segments (two a diphthong): start, end, aims and strengths per gesture."""
    rows = []
    opening = np.array([name in OPENING for name in GESTURES])
    for phone, loud in zip(phones, scale, strict=True):
        parts = visemes_of(phone.symbol)
        length = (phone.end - phone.start) / len(parts)
        for k, viseme in enumerate(parts):
            aims = np.array([viseme.aims.get(name, 0.0) for name in GESTURES])
            strength = np.array([viseme.strength if name in viseme.aims else WEAK for name in GESTURES])
            rows.append(
                (phone.start + k * length, phone.start + (k + 1) * length, aims * np.where(opening, loud, 0.5 + 0.5 * loud), strength)
            )
    start, end, aims, strength = zip(*rows, strict=True)
    return np.array(start), np.array(end), np.stack(aims), np.stack(strength)
