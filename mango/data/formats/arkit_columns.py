"""ARKit's shapes under the spellings of other people: any case, _L or Left, with or without a prefix. Always by name, never by place."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float

from mango.data.formats.recordings import ArkitMotion, Assumption, assumed, certain
from mango.errors import InputError
from mango.head.arkit import ARKIT_NAMES

KNOWN = {name.lower(): name for name in ARKIT_NAMES}
SIDES = {"_l": "left", "_r": "right", ".l": "left", ".r": "right", "_left": "left", "_right": "right"}
HEAD_ANGLES = ("headyaw", "headpitch", "headroll")
EYE_ANGLES = tuple(f"{side}eye{angle}" for side in ("left", "right") for angle in ("yaw", "pitch", "roll"))
FEWEST = 20  # shapes by which a table counts as ARKit's
RATES = tuple(Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60", "100", "120"))

# Live Link Face's own order, which files without names follow
LIVE_LINK = (
    *(f"eye{part}{side}" for side in ("Left", "Right") for part in ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")),
    "jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRight", "mouthLeft", "mouthSmileLeft",
    "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft",
    "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
ANGLES = ("HeadYaw", "HeadPitch", "HeadRoll", *(f"{side}Eye{angle}" for side in ("Left", "Right") for angle in ("Yaw", "Pitch", "Roll")))


def shape_of(name: str) -> str | None:
    """ARKit's own spelling of a column's name, None where it is no shape of ARKit's."""
    plain = name.strip().rpartition("blendShapes.")[2].lower()
    for short, side in SIDES.items():
        if plain.endswith(short):
            plain = plain.removesuffix(short) + side
    return KNOWN.get(plain)


def shapes_among(names: Sequence[str]) -> dict[str, int]:
    """ARKit's spelling -> column. Errors: InputError for a shape twice."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        shape = shape_of(name)
        if shape in places:
            found = f"{names[places[shape]]!r} and {name!r}"
            raise InputError("columns", expected="each shape once", found=found, remedy="remove one of the columns")
        if shape is not None:
            places[shape] = place
    return places


def arkit_motion(
    columns: Mapping[str, int], values: Float[np.ndarray, "time columns"], head: Float[np.ndarray, "time 3"] | None = None,
    eye_angles: Float[np.ndarray, "time 6"] | None = None,
) -> tuple[ArkitMotion, list[Assumption]]:  # fmt: skip
    """Columns by name in ARKit's alphabetical order."""
    weights = np.zeros((len(values), len(ARKIT_NAMES)), np.float32)
    for name, place in columns.items():
        weights[:, ARKIT_NAMES.index(name)] = values[:, place]
    missing = [name for name in ARKIT_NAMES if name not in columns]
    words = f"{len(columns)} of ARKit's 52 shapes, by name" + (f"; missing and zero: {', '.join(missing)}" if missing else "")
    return ArkitMotion(weights, frozenset(columns), head, eye_angles), [certain(words)]


def rate_of_times(where: object, seconds: Float[np.ndarray, "time"]) -> tuple[Fraction, Assumption]:
    """The frame rate that time stamps tell. Errors: InputError for stamps that do not rise evenly."""
    steps = np.diff(seconds.astype(np.float64))
    if not len(steps):
        return Fraction(30), assumed("30 frames a second (one frame has no rate)")
    span = float(seconds[-1] - seconds[0])
    if not np.isfinite(steps).all() or (steps <= 0).any() or span <= 0:
        raise InputError(
            where, expected="time stamps that rise", found=f"a step of {steps.min():.4g} s", remedy="sort or repair the frames"
        )
    rate = len(steps) / span
    if not 1 <= rate <= 1000:
        raise InputError(where, expected="time stamps in seconds", found=f"{rate:.4g} frames a second", remedy="write times in seconds")
    nearest = min(RATES, key=lambda known: abs(float(known) - rate))
    near = abs(float(nearest) - rate) < 0.002 * rate
    fps = nearest if near else Fraction(rate).limit_denominator(1001)
    worst = float(np.abs(steps * rate - 1).max())
    uneven = f", steps uneven by up to {worst:.0%} of a frame" if worst > 0.2 else ""
    return fps, certain(f"{float(fps):.5g} frames a second, by {len(seconds)} time stamps over {span:.3f} s{uneven}")
