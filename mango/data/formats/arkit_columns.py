"""ARKit's shapes under the spellings of other people: any case, _L or Left, with or without a prefix. Always by name, never by place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from jaxtyping import Float

from mango.data.formats.recordings import ArkitMotion, Assumption, assumed, certain, converted
from mango.data.formats.timing import blended, evenly, turned
from mango.errors import InputError
from mango.head.arkit import ARKIT_NAMES

KNOWN = {name.lower(): name for name in ARKIT_NAMES}
SIDES = {"_l": "left", "_r": "right", ".l": "left", ".r": "right", "_left": "left", "_right": "right"}
HEAD_ANGLES = ("headyaw", "headpitch", "headroll")
EYE_ANGLES = tuple(f"{side}eye{angle}" for side in ("left", "right") for angle in ("yaw", "pitch", "roll"))
FEWEST = 20  # shapes by which a table counts as ARKit's
LONGEST_HOLE = 0.25  # seconds without a row that are bridged: less than a syllable
EVEN = 0.1  # frames by which time stamps may be off their even rate: written ones are rounded
RATES = tuple(Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60", "100", "120"))
Rows = Callable[[np.ndarray], np.ndarray]

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


def timed(where: object, motion: ArkitMotion, seconds: Float[np.ndarray, "time"]) -> tuple[ArkitMotion, Fraction, list[Assumption]]:
    """Rows where their time stamps say, at an even rate; the rate. Rows that were lost are bridged by straight lines, if they are few.

    Errors: InputError for stamps that do not rise, and for holes of more than ``LONGEST_HOLE``.
    """
    again = np.concatenate([[False], np.diff(seconds) == 0])
    motion, seconds = _each(motion, lambda rows: rows[~again]), seconds[~again]
    if len(again) == 1:
        return motion, Fraction(30), [assumed("30 frames a second (one frame has no rate)")]
    steps = np.diff(seconds)
    if again.sum() > len(again) / 2 or not np.isfinite(steps).all() or (steps <= 0).any():
        found = f"{again.sum()} of {len(again)} as the one before" if again.any() else f"a step of {steps.min():.4g} s"
        raise InputError(where, expected="time stamps that rise", found=found, remedy="sort or repair the frames, or state --fps")
    rate = 1 / float(steps[steps <= 1.5 * np.median(steps)].mean())
    if not 1 <= rate <= 1000:
        raise InputError(where, expected="time stamps in seconds", found=f"{rate:.4g} frames a second", remedy="write times in seconds")
    nearest = min(RATES, key=lambda known: abs(float(known) - rate))
    fps = nearest if abs(float(nearest) - rate) < 0.002 * rate else Fraction(rate).limit_denominator(1001)
    hole = int(steps.argmax())
    if steps[hole] > max(LONGEST_HOLE, 1.5 / rate) or steps.sum() * rate > 2 * len(seconds):
        expected = f"rows without holes of more than {LONGEST_HOLE:g} s, at least half of them"
        found = f"none from {seconds[hole] - seconds[0]:.2f} to {seconds[hole + 1] - seconds[0]:.2f} s"
        remedy = "record it again, or cut motion, sound and film there; --fps takes rows as even, whatever their times"
        raise InputError(where, expected=expected, found=found, remedy=remedy)
    words = [certain(f"{float(fps):.5g} frames a second, by {len(seconds)} time stamps over {seconds[-1] - seconds[0]:.3f} s")]
    if again.any():
        words.append(converted(f"{again.sum()} rows with the time of the row before them are left out"))
    off = float(np.abs((seconds - seconds[0]) * float(fps) - np.arange(len(seconds))).max())
    if off < EVEN:
        return motion, fps, words
    places = evenly(seconds, fps)
    even = _each(motion, lambda rows: blended(rows, places), lambda rows: turned(rows, places))
    lost = f"; {len(even) - len(motion)} that were lost are bridged" if len(even) > len(motion) else ""
    words.append(converted(f"rows are where their times say, {off:.1f} frames from an even count{lost}"))
    return even, fps, words


def _each(motion: ArkitMotion, straight: Rows, turning: Rows | None = None) -> ArkitMotion:
    """The same done to weights and angles, and ``turning`` to turns of the head."""
    head = None if motion.head is None else (turning or straight)(motion.head)
    return replace(
        motion, weights=straight(motion.weights), head=head, eye_angles=None if motion.eye_angles is None else straight(motion.eye_angles)
    )


def stated_rate(fps: float) -> tuple[Fraction, Assumption]:
    """What the user says, who knows better than time stamps."""
    return Fraction(fps).limit_denominator(1001), certain(
        f"{fps:g} frames a second, by --fps: rows are taken as even, whatever their times"
    )
