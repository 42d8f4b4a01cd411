"""The phones of English by ARPAbet symbol, and how each is made: formants, voicing, frication, closure.

Formant frequencies are those of a typical adult male vocal tract in Hz, in the range phonetics textbooks give; voices scale them.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["vowel", "semivowel", "nasal", "fricative", "stop", "affricate", "aspirate", "silence"]


@dataclass(frozen=True)
class Recipe:
    """How a phone is made. Amplitudes are relative to a stressed vowel's in dB; None is off."""

    kind: Kind
    formants: tuple[int, int, int]  # Hz; of a consonant: where its transitions point (locus)
    seconds: float  # inherent duration
    glide_to: tuple[int, int, int] | None = None  # second target of a diphthong
    voice_db: float | None = 0.0
    noise_db: float | None = None  # frication or burst
    noise_band: tuple[int, int] = (0, 0)  # centre and width of the noise, Hz
    aspiration_seconds: float = 0.0  # after a stop's burst
    pull: float = 1.0  # of the locus on the transition: 0 takes the neighbours' formants, 1 insists on its own
    nasal: bool = False


def _vowel(f1, f2, f3, seconds, to=None, db=0.0) -> Recipe:
    return Recipe("vowel", (f1, f2, f3), seconds, glide_to=to, voice_db=db)


def _stop(locus, voiced, band, seconds, pull, burst_db) -> Recipe:
    return Recipe("stop", locus, seconds, voice_db=-22.0 if voiced else None, noise_db=burst_db, noise_band=band,
                  aspiration_seconds=0.012 if voiced else 0.045, pull=pull)  # fmt: skip


def _fricative(locus, voiced, band, seconds, db, pull=0.7) -> Recipe:
    return Recipe("fricative", locus, seconds, voice_db=-13.0 if voiced else None, noise_db=db, noise_band=band, pull=pull)


LABIAL, DENTAL, ALVEOLAR, PALATAL, VELAR = (250, 850, 2250), (280, 1300, 2500), (280, 1750, 2650), (280, 2000, 2600), (260, 1900, 2250)

RECIPES: dict[str, Recipe] = {
    "sil": Recipe("silence", (500, 1500, 2500), 0.1, voice_db=None, pull=0.0),
    # vowels
    "IY": _vowel(280, 2250, 2950, 0.110),
    "IH": _vowel(400, 1950, 2550, 0.080),
    "EH": _vowel(550, 1800, 2500, 0.095),
    "AE": _vowel(680, 1700, 2430, 0.125),
    "AA": _vowel(740, 1120, 2450, 0.125),
    "AO": _vowel(580, 860, 2420, 0.125),
    "UH": _vowel(440, 1030, 2260, 0.080),
    "UW": _vowel(310, 880, 2240, 0.110),
    "AH": _vowel(620, 1220, 2420, 0.075),
    "ER": _vowel(480, 1330, 1680, 0.105),
    # diphthongs
    "EY": _vowel(500, 1850, 2520, 0.135, to=(330, 2180, 2750)),
    "AY": _vowel(720, 1220, 2450, 0.160, to=(370, 2060, 2620)),
    "OY": _vowel(540, 860, 2420, 0.165, to=(370, 1980, 2560)),
    "AW": _vowel(720, 1300, 2450, 0.165, to=(420, 920, 2300)),
    "OW": _vowel(520, 980, 2380, 0.140, to=(360, 800, 2280)),
    # semivowels
    "W": Recipe("semivowel", (300, 640, 2180), 0.065, voice_db=-5.0),
    "Y": Recipe("semivowel", (270, 2250, 3000), 0.060, voice_db=-5.0),
    "R": Recipe("semivowel", (330, 1120, 1500), 0.070, voice_db=-4.0),
    "L": Recipe("semivowel", (360, 1050, 2750), 0.070, voice_db=-5.0),
    # nasals
    "M": Recipe("nasal", (260, 950, 2150), 0.075, voice_db=-9.0, nasal=True, pull=0.9),
    "N": Recipe("nasal", (270, 1650, 2550), 0.065, voice_db=-9.0, nasal=True, pull=0.9),
    "NG": Recipe("nasal", (280, 2050, 2400), 0.075, voice_db=-9.0, nasal=True, pull=0.9),
    # stops: closure, burst, aspiration
    "P": _stop(LABIAL, False, (900, 900), 0.085, 0.75, -16.0),
    "B": _stop(LABIAL, True, (800, 800), 0.075, 0.75, -20.0),
    "T": _stop(ALVEOLAR, False, (4600, 2200), 0.070, 0.70, -9.0),
    "D": _stop(ALVEOLAR, True, (4200, 2000), 0.060, 0.70, -15.0),
    "K": _stop(VELAR, False, (2000, 700), 0.075, 0.45, -9.0),
    "G": _stop(VELAR, True, (1900, 700), 0.065, 0.45, -14.0),
    # affricates: closure, then frication
    "CH": Recipe("affricate", PALATAL, 0.120, voice_db=None, noise_db=-4.0, noise_band=(3300, 1800), pull=0.7),
    "JH": Recipe("affricate", PALATAL, 0.095, voice_db=-15.0, noise_db=-8.0, noise_band=(3200, 1800), pull=0.7),
    # fricatives
    "F": _fricative(LABIAL, False, (5200, 6000), 0.095, -16.0),
    "V": _fricative(LABIAL, True, (5000, 6000), 0.065, -22.0),
    "TH": _fricative(DENTAL, False, (6000, 4500), 0.090, -18.0),
    "DH": _fricative(DENTAL, True, (6000, 4500), 0.050, -24.0),
    "S": _fricative(ALVEOLAR, False, (6300, 2400), 0.105, -3.0),
    "Z": _fricative(ALVEOLAR, True, (6300, 2400), 0.080, -8.0),
    "SH": _fricative(PALATAL, False, (3400, 1900), 0.110, -3.0),
    "ZH": _fricative(PALATAL, True, (3300, 1900), 0.075, -8.0),
    "HH": Recipe("aspirate", (500, 1500, 2500), 0.060, voice_db=None, pull=0.0),
}
