"""Pictures of high dynamic range, or of BT.2020's colours, as standard ones.

codes --curve of the tag--> light --primaries--> light in BT.709's --highlights rolled off--> light up to white --1 / 2.4--> codes

Light is in units of the white of standard pictures, which is the reference white of high dynamic range, 203 cd/m2 (ITU-R BT.2408): what
is no highlight looks as it would in a standard film. Needs no torch, as `mango.data.film_colours`.
"""

from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8, UInt16

Curve = Literal[
    "HLG",  # ITU-R BT.2100: what phones record
    "PQ",  # ITU-R BT.2100, SMPTE ST 2084
    "standard",  # ITU-R BT.1886
]
WHITE = 203.0  # cd/m2
PEAK = 1000.0  # cd/m2 of the display that HLG's and PQ's pictures are made for; what is brighter is white
GAMMA = 2.4  # of standard displays, ITU-R BT.1886
BT709_FROM_BT2020 = np.array(  # ITU-R BT.2407, light of BT.2020's primaries to BT.709's
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020's primaries
LEVELS = 2**14  # of the table of code values, by the root of light
ROWS = 16  # at a time: what is between stays in the processor's cache


def standard_picture(picture: UInt16[np.ndarray, "rows cols 3"], curve: Curve, *, wide: bool) -> UInt8[np.ndarray, "rows cols 3"]:
    """RGB code values of full range (65535: all of it), by the curve, to BT.709's. ``wide``: of BT.2020's primaries."""
    out = np.empty(picture.shape, np.uint8)
    brightest = 1.0 if curve == "standard" else PEAK / WHITE
    for row in range(0, len(picture), ROWS):
        light = _light_of_codes(curve)[picture[row : row + ROWS]]
        if curve == "HLG":  # its system gamma of 1.2 at 1000 cd/m2 works on luminance, not on colours: BT.2100, table 5
            light *= np.power(light @ LUMINANCE, np.float32(0.2))[..., None] * np.float32(PEAK / WHITE)
        if wide:
            light = light @ BT709_FROM_BT2020.T  # colours that BT.709 has not are cut to its nearest values
        level = np.sqrt(np.clip(light / np.float32(brightest), 0, 1)) * np.float32(LEVELS - 1)
        out[row : row + ROWS] = _codes_of_light(brightest)[np.rint(level).astype(np.uint16)]
    return out


@cache
def _light_of_codes(curve: Curve) -> Float[np.ndarray, "65536"]:
    """Of the display in units of white; of HLG that of the scene, up to 1."""
    code = np.arange(65536) / 65535
    if curve == "standard":
        light = code**GAMMA
    elif curve == "PQ":
        light = _light_of_pq(code) / WHITE
    else:  # BT.2100, table 5
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return light.astype(np.float32)


@cache
def _codes_of_light(brightest: float) -> UInt8[np.ndarray, "levels"]:
    """By the root of light, over its brightest."""
    light = (np.arange(LEVELS) / (LEVELS - 1)) ** 2 * brightest
    return np.rint(255 * np.clip(_rolled_off(light, brightest), 0, 1) ** (1 / GAMMA)).astype(np.uint8)


def _rolled_off(light: Float[np.ndarray, "levels"], brightest: float) -> Float[np.ndarray, "levels"]:
    """Highlights up to ``brightest`` become white: ITU-R BT.2390's spline (its EETF), channel by channel. What is darker than it begins
    at is not changed: of 1000 cd/m2 that is half of white's light, above skin."""
    if brightest <= 1:
        return light
    most = _pq_of_light(brightest * WHITE)
    share, white = _pq_of_light(light * WHITE) / most, _pq_of_light(WHITE) / most
    knee = 1.5 * white - 0.5
    t = np.clip((share - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    return _light_of_pq(np.where(share < knee, share, spline) * most) / WHITE


M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32  # BT.2100, table 4


def _light_of_pq(code: Float[np.ndarray, "codes"]) -> Float[np.ndarray, "codes"]:
    """In cd/m2."""
    power = code ** (1 / M2)
    return 10_000 * (np.maximum(power - C1, 0) / (C2 - C3 * power)) ** (1 / M1)


def _pq_of_light(light: Float[np.ndarray, "levels"] | float) -> Float[np.ndarray, "levels"] | float:
    """Of cd/m2."""
    power = (light / 10_000) ** M1
    return ((C1 + C2 * power) / (1 + C3 * power)) ** M2
