"""The convention check: what the numbers of a recording say about how they are meant. Conventions are this field's largest silent errors,
so each topic is a finding: certain (the numbers show it), assumed (they cannot), contradicted (they show something else), with numbers.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float

from mango.data.formats.arkit_columns import LIVE_LINK, RATES
from mango.data.formats.facing import degrees_off
from mango.data.formats.films import seconds_of
from mango.data.formats.guarded import LARGEST_TEXT, content_of
from mango.data.formats.recordings import ArkitMotion, FilmCamera, Finding, FlameMotion, Motion, PersonRecording, Recording
from mango.data.formats.sounds import loudness_of, voice_of
from mango.head.arkit import ARKIT_NAMES

MOVES = 0.01  # radians (or weight) of standard deviation, below which numbers tell nothing
HALF_TURN = np.pi * 1.001
FEW_FRAMES = 10
KNOWN_WIDTHS = (50, 100)
SLACK_SECONDS = 0.12  # three frames of 25: lengths that agree
CLEAR = 0.1  # of correlation: one order of persons or columns clearly better than the other
LARGEST_STEP = 40.0  # metres from the camera
SYMMETRIC = ("eyeBlink", "eyeSquint", "eyeWide", "browDown", "browOuterUp", "cheekSquint", "mouthSmile", "mouthFrown", "mouthLowerDown",
             "mouthUpperUp", "mouthPress", "mouthStretch", "mouthDimple", "noseSneer")  # fmt: skip

FLAME_EXPR_STD = (0.02, 6.0)  # of single coefficients: trackers give 0.4 to 1.2 for the first ten


def check(recording: Recording) -> list[Finding]:
    """Findings of every topic that the recording has numbers for, person by person, then of both together."""
    found = []
    for person in recording.people:
        of = f" ({person.name})" if len(recording.people) > 1 else ""
        found += [Finding(topic + of, verdict, words) for topic, verdict, words in _of_person(person, recording)]
    return found + [Finding(*row) for topic in (_channels, _order_of_persons) for row in topic(recording)]


Row = tuple[str, str, str]


def _of_person(person: PersonRecording, recording: Recording) -> Iterator[Row]:
    motion = person.motion
    if isinstance(motion, FlameMotion):
        for topic in FLAME_TOPICS:
            if topic is head_turn and person.camera is not None:
                yield from before_camera(motion, person.camera)
            else:
                yield from topic(motion)
    elif isinstance(motion, ArkitMotion):
        for topic in ARKIT_TOPICS:
            yield from topic(motion)
    yield from _own_voice(person)
    yield from _rate(person, recording)
    yield from _follows_sound(person, recording)


def head_turn(motion: FlameMotion) -> Iterator[Row]:
    """Which joint turns the head, and whether it faces the camera."""
    topic = "global or neck rotation"
    rotation, neck = _rms(motion.rotation), _rms(motion.neck_pose)
    if "rotation" not in motion.present:
        yield topic, "assumed", f"the source's one head rotation (rms {neck:.3f} rad) is the neck's; rotation is zero"
    elif rotation < 1e-6:
        yield topic, "certain", f"rotation is zero, neck_pose moves (rms {neck:.3f} rad)"
    elif neck < 1e-6:
        yield (
            topic,
            "certain",
            f"rotation turns the head (rms {rotation:.3f} rad), neck_pose is zero: a tracker's global rotation; to be neck_pose",
        )
    else:
        yield topic, "certain", f"both: rotation rms {rotation:.3f} rad, neck_pose rms {neck:.3f} rad; both are kept"
    turned = float(np.median(np.linalg.norm(motion.neck_pose + motion.rotation, axis=1)))
    if turned > np.pi / 2:
        words = (
            f"in the median the head is turned by {np.degrees(turned):.0f} degrees: axes of a camera (y down) instead of FLAME's (y up)?"
        )
        yield "axes", "contradicted", words


def before_camera(motion: FlameMotion, camera: FilmCamera) -> Iterator[Row]:
    """Where there is a camera, rotation and translation are a place in its world, of whatever axes; but faces are filmed from before."""
    topic, off = "place before the camera", float(np.median(degrees_off(motion, camera.centers)))
    words = f"in the median the face looks {off:.0f} degrees past camera {camera.name}"
    if off > 90:
        yield topic, "contradicted", f"{words}: cameras in other axes than OpenGL's, or of another world than the head's?"
    else:
        yield topic, "certain", f"{words}; rotation (rms {_rms(motion.rotation):.3f} rad) and translation stay, and are no neck_pose"


def rotation_units(motion: FlameMotion) -> Iterator[Row]:
    """Axis-angle in radians never exceeds half a turn."""
    if not _turns(motion):
        return
    sizes = {name: float(np.linalg.norm(array.reshape(-1, 3), axis=1).max()) for name, array in _turns(motion).items()}
    shown = ", ".join(f"{name} {size:.3f}" for name, size in sizes.items())
    largest = max(sizes, key=sizes.get)
    if sizes[largest] <= HALF_TURN:
        yield "axis-angle in radians", "certain", f"three numbers a joint, largest turns {shown} rad, all within half a turn"
    else:
        yield (
            "axis-angle in radians",
            "contradicted",
            f"{largest} is {sizes[largest]:.1f} at its largest, beyond half a turn (3.14): degrees?",
        )


def jaw(motion: FlameMotion) -> Iterator[Row]:
    """A jaw opens by turning about x, and one way only."""
    topic, angles = "jaw sign and axis", motion.jaw_pose
    mean, spread = angles.mean(0), angles.std(0)
    numbers = f"x mean {mean[0]:.3f}, std {', '.join(f'{value:.3f}' for value in spread)} rad"
    if spread.max() < MOVES and abs(mean[0]) < MOVES:
        yield topic, "assumed", f"positive x opens; the jaw hardly moves ({numbers})"
    elif int(spread.argmax()) != 0:
        yield topic, "contradicted", f"the jaw turns most about {'xyz'[int(spread.argmax())]}, not x ({numbers}): another order of axes?"
    elif mean[0] < -MOVES / 2 and (angles[:, 0] < 0).mean() > 0.8:
        share = (angles[:, 0] < 0).mean()
        yield (
            topic,
            "contradicted",
            f"x is negative in {share:.0%} of the frames ({numbers}): positive x opens FLAME's jaw; the sign is exchanged?",
        )
    elif mean[0] > MOVES / 2:
        yield topic, "certain", f"it turns about x and opens to positive ({numbers})"
    else:
        yield topic, "assumed", f"positive x opens ({numbers})"


def lengths(motion: FlameMotion) -> Iterator[Row]:
    """Translation in metres."""
    if "translation" not in motion.present:
        return
    away = float(np.median(np.linalg.norm(motion.translation, axis=1)))
    moves = float(np.linalg.norm(motion.translation.std(0)))
    if away > LARGEST_STEP or moves > 3:
        yield "metres", "contradicted", f"translation is {away:.1f} in the median and varies by {moves:.2f}: millimetres or another scale?"
    elif away == 0 and moves == 0:
        yield "metres", "certain", "translation is zero"
    else:
        yield "metres", "assumed", f"translation is {away:.3f} in the median and varies by {moves:.4f}, as metres would"


def expression_basis(motion: FlameMotion) -> Iterator[Row]:
    """Width, size and generation of the expression coefficients."""
    width, spread = motion.expr.shape[1], motion.expr.std(0)
    first = spread[: min(10, width)]
    numbers = f"{width} coefficients, the first ten vary by {first.min():.2f} to {first.max():.2f}"
    low, high = FLAME_EXPR_STD
    if first.max() > high:
        yield "expression", "contradicted", f"{numbers}; FLAME's vary by 0.4 to 1.2: another scale?"
    elif width not in KNOWN_WIDTHS:
        yield "expression", "assumed", f"{numbers}; FLAME's programs write 50 or 100, missing ones are taken as zero"
    elif len(motion) >= FEW_FRAMES and first.max() < low:
        yield "expression", "assumed", f"{numbers}; that is next to no movement"
    else:
        yield "expression", "certain", f"{numbers}, as trackers give"
    if motion.generation is None:
        yield (
            "FLAME generation",
            "assumed",
            "unknown: the source cannot say, and coefficients of one mean nothing to another; --flame-version",
        )
    else:
        yield "FLAME generation", "assumed", f"{motion.generation}: no number can show it, so the head file has to be of it"


def eyes(motion: FlameMotion) -> Iterator[Row]:
    """Both eyes look the same way."""
    if "eyes_pose" not in motion.present:
        return
    left, right = motion.eyes_pose[:, :3], motion.eyes_pose[:, 3:]
    if min(left[:, 1].std(), right[:, 1].std()) < MOVES:
        yield "eyes left and right", "assumed", "left eye first; they move too little to tell"
        return
    together = _correlation(left[:, 1], right[:, 1])
    apart = float((left[:, 1] - right[:, 1]).mean())
    lines = f"{'cross' if apart < 0 else 'part'} by {abs(np.degrees(apart)):.1f} degrees"
    words = f"sideways turns of both correlate by {together:.2f}; they {lines}"
    if together < 0:
        yield "eyes left and right", "contradicted", f"{words}: they look apart; is one mirrored?"
    else:
        yield "eyes left and right", "assumed", f"left eye first; {words}"


FLAME_TOPICS: tuple[Callable[[FlameMotion], Iterator[Row]], ...] = (head_turn, rotation_units, jaw, lengths, expression_basis, eyes)


def weight_range(motion: ArkitMotion) -> Iterator[Row]:
    """Weights from 0 to 1."""
    low, high = float(motion.weights.min()), float(motion.weights.max())
    if high > 3 or low < -1:
        unit = "percent" if high <= 130 else "another unit"
        yield "weights from 0 to 1", "contradicted", f"they go from {low:.3g} to {high:.4g}: {unit}?"
    elif low < -0.05 or high > 1.2:
        yield "weights from 0 to 1", "assumed", f"they go from {low:.3f} to {high:.3f}, a little outside"
    else:
        yield "weights from 0 to 1", "certain", f"they go from {low:.3f} to {high:.3f}"


def column_order(motion: ArkitMotion) -> Iterator[Row]:
    """Faces are nearly symmetric, so left and right columns of one shape move together, in the right order of columns alone."""
    as_named, pairs = _symmetry(motion.weights, ARKIT_NAMES)
    if pairs < 3:
        yield "order of columns", "assumed", "too few pairs of left and right move to tell"
        return
    # were the file's columns in alphabetical order and taken for Live Link's, this puts them right
    read_as_live_link = motion.weights[:, [ARKIT_NAMES.index(name) for name in LIVE_LINK]]
    other, _ = _symmetry(read_as_live_link, ARKIT_NAMES)
    turned = np.zeros_like(motion.weights)
    turned[:, [ARKIT_NAMES.index(name) for name in LIVE_LINK]] = motion.weights
    best = max(other, _symmetry(turned, ARKIT_NAMES)[0])
    words = f"left and right of {pairs} shapes correlate by {as_named:.2f}, in another known order of columns by {best:.2f}"
    if best > as_named + CLEAR:
        yield "order of columns", "contradicted", words
    else:
        yield "order of columns", "certain" if as_named > best + CLEAR else "assumed", words


def gaze_sides(motion: ArkitMotion) -> Iterator[Row]:
    """Both eyes look to the same side: out with the left is in with the right."""

    def of(name: str) -> Float[np.ndarray, "time"]:
        return motion.weights[:, ARKIT_NAMES.index(name)]

    left, right = of("eyeLookOutLeft") - of("eyeLookInLeft"), of("eyeLookInRight") - of("eyeLookOutRight")
    if min(left.std(), right.std()) < MOVES:
        yield "gaze, left and right", "assumed", "the eyes look to the sides too little to tell"
        return
    together = _correlation(left, right)
    words = f"out with the left eye and in with the right correlate by {together:.2f}"
    yield "gaze, left and right", "certain" if together > CLEAR else "contradicted" if together < -CLEAR else "assumed", words
    if motion.eye_angles is not None and min(motion.eye_angles[:, 0].std(), motion.eye_angles[:, 3].std()) > MOVES:
        agree = _correlation(left, motion.eye_angles[:, 0])
        yield (
            "gaze and eye angles",
            "certain" if agree > CLEAR else "assumed",
            f"looking left and the left eye's yaw correlate by {agree:.2f}",
        )


def blinks(motion: ArkitMotion) -> Iterator[Row]:
    """An exchange of left and right as a whole cannot be seen in the numbers; one of a single shape can."""
    left, right = (motion.weights[:, ARKIT_NAMES.index(f"eyeBlink{side}")] for side in ("Left", "Right"))
    if min(left.std(), right.std()) < MOVES:
        yield "blinks, left and right", "assumed", "the eyes blink too little to tell"
    else:
        together = _correlation(left, right)
        verdict = "certain" if together > 0.5 else "assumed"
        yield "blinks, left and right", verdict, f"both eyes' blinks correlate by {together:.2f}; left is the person's left, by name"


def arkit_head(motion: ArkitMotion) -> Iterator[Row]:
    """A turn of the head in radians."""
    if motion.head is None:
        return
    largest = float(np.linalg.norm(motion.head, axis=1).max())
    if largest > HALF_TURN:
        yield "turn of the head in radians", "contradicted", f"{largest:.1f} at its largest, beyond half a turn (3.14): degrees?"
    else:
        yield "turn of the head in radians", "assumed", f"{largest:.3f} at its largest ({np.degrees(largest):.0f} degrees)"


ARKIT_TOPICS: tuple[Callable[[ArkitMotion], Iterator[Row]], ...] = (weight_range, column_order, gaze_sides, blinks, arkit_head)


def _rate(person: PersonRecording, recording: Recording) -> Iterator[Row]:
    """Frames against seconds of sound."""
    motion, sound, film = person.motion, person.sound, person.film
    frames = len(motion) if motion is not None else film.frames if film is not None else 0
    topic = "frame rate against sound"
    if not frames:
        return
    fps = float(recording.fps)
    if sound is None or not sound.seconds:
        verdict = "certain" if recording.fps_is_stated else "assumed"
        yield topic, verdict, f"{frames} frames at {fps:.5g} a second are {frames / fps:.2f} s; there is no sound to compare with"
        return
    seconds = seconds_of(film) if motion is None else frames / fps
    numbers = f"{frames} frames at {fps:.5g} a second are {seconds:.2f} s, the sound has {sound.seconds:.2f} s"
    if abs(seconds - sound.seconds) <= SLACK_SECONDS + 0.002 * sound.seconds:
        yield topic, "certain", numbers
        return
    fitting = [rate for rate in RATES if abs(frames / float(rate) - sound.seconds) <= SLACK_SECONDS]
    if fitting and motion is not None:
        nearest = min(fitting, key=lambda rate: abs(frames / float(rate) - sound.seconds))
        yield topic, "contradicted", f"{numbers}; {float(nearest):.5g} a second would fit (--fps {float(nearest):.5g})"
    else:
        verdict = "contradicted" if abs(seconds - sound.seconds) > 0.1 * sound.seconds + 0.5 else "assumed"
        yield topic, verdict, f"{numbers}; what is longer is cut" + ("" if verdict == "assumed" else "; no known rate fits")


def _own_voice(person: PersonRecording) -> Iterator[Row]:
    """Labels beside a voice may name several speakers: then it is no person's own."""
    labels = person.sound.path.with_suffix(".rttm") if person.sound is not None and person.sound.path is not None else None
    if labels is None or not labels.is_file():
        return
    rows = [line.split() for line in content_of(labels, LARGEST_TEXT).decode("utf-8", "replace").splitlines()]
    people = sorted({row[7] for row in rows if len(row) > 7 and row[0] == "SPEAKER"})
    if len(people) > 1 and person.sound.channel is None:
        words = f"{labels.name} names {len(people)} speakers ({', '.join(people[:4])}) in one track: separate the voices first"
        yield "one person's own voice", "contradicted", words


def _channels(recording: Recording) -> Iterator[Row]:
    """Channels of one file are two people's only where they differ: the rule of films of split screens."""
    from mango.audio.channels import SEPARATE, likeness

    sounds = [person.sound for person in recording.people]
    if len(sounds) != 2 or None in sounds or sounds[0].path is None or sounds[0].path != sounds[1].path:
        return
    alike = likeness(*(voice_of(sound) for sound in sounds))
    numbers = f"loudness of the two channels correlates by {alike:.2f}"
    if alike > SEPARATE:
        yield "a voice for each person", "contradicted", f"{numbers}: both are mixed, or one person's (--format plain takes it as one's)"
    else:
        yield "a voice for each person", "certain", numbers


def _follows_sound(person: PersonRecording, recording: Recording) -> Iterator[Row]:
    """Mouths open with the voice."""
    if person.motion is None or person.sound is None or len(person.motion) < 4 * FEW_FRAMES:
        return
    opening = mouth_opening(person.motion)
    if opening.std() < MOVES / 2:
        yield "motion follows sound", "assumed", "the jaw hardly moves"
        return
    loud = loudness_of(person.sound, len(opening), float(recording.fps))
    if loud.std() < 1:
        yield "motion follows sound", "assumed", "the sound is steady or silent"
        return
    best, lag = _best_lag(opening, loud, reach=round(float(recording.fps) * 0.4))
    apart = f"{abs(lag) / float(recording.fps):.2f} s {'later' if lag < 0 else 'earlier'}"
    words = f"jaw and loudness correlate by {best:.2f}, best with the sound {apart}"
    sure = max(3 * CLEAR, 3 * _chance(len(opening)))
    yield "motion follows sound", "certain" if best > sure and abs(lag) <= 4 else "assumed", words


def _order_of_persons(recording: Recording) -> Iterator[Row]:
    """Whose mouth opens with whose voice."""
    if len(recording.people) != 2 or any(person.motion is None or person.sound is None for person in recording.people):
        return
    topic = "order of persons"
    openings = [mouth_opening(person.motion) for person in recording.people]
    louds = [loudness_of(person.sound, len(o), float(recording.fps)) for person, o in zip(recording.people, openings, strict=True)]
    frames = min(len(opening) for opening in openings)
    if frames < 4 * FEW_FRAMES or min(o.std() for o in openings) < MOVES / 2 or min(loud.std() for loud in louds) < 1:
        yield topic, "assumed", "as the source has it; the numbers cannot tell"
        return
    own = sum(_correlation(openings[k][:frames], louds[k][:frames]) for k in (0, 1)) / 2
    crossed = sum(_correlation(openings[k][:frames], louds[1 - k][:frames]) for k in (0, 1)) / 2
    words = f"jaw and own voice correlate by {own:.2f}, jaw and the other's voice by {crossed:.2f}"
    sure = max(CLEAR, 2 * _chance(frames))
    yield topic, "certain" if own > crossed + sure else "contradicted" if crossed > own + sure else "assumed", words


def mouth_opening(motion: Motion) -> Float[np.ndarray, "time"]:
    """How far the jaw is open, in the source's own unit."""
    if isinstance(motion, ArkitMotion):
        return motion.weights[:, ARKIT_NAMES.index("jawOpen")]
    return motion.jaw_pose[:, 0]


def _best_lag(opening: np.ndarray, loud: np.ndarray, reach: int) -> tuple[float, int]:
    """Positive lag: the sound comes before the motion."""
    tried = []
    for lag in range(-reach, reach + 1):
        moved = opening[max(0, lag) : len(opening) + min(0, lag)]
        heard = loud[max(0, -lag) : len(loud) + min(0, -lag)]
        if len(moved) > FEW_FRAMES:
            tried.append((_correlation(moved, heard), lag))
    return max(tried, default=(0.0, 0))


def _symmetry(weights: np.ndarray, names: tuple[str, ...]) -> tuple[float, int]:
    """Mean correlation of the left and right column of shapes that move, and how many do."""
    found = []
    for shape in SYMMETRIC:
        left, right = (weights[:, names.index(f"{shape}{side}")] for side in ("Left", "Right"))
        if min(left.std(), right.std()) > MOVES:
            found.append(_correlation(left, right))
    return (float(np.mean(found)) if found else 0.0), len(found)


def _turns(motion: FlameMotion) -> dict[str, np.ndarray]:
    return {name: getattr(motion, name) for name in ("rotation", "neck_pose", "jaw_pose", "eyes_pose") if name in motion.present}


def _rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.square(array.astype(np.float64)).sum(-1).mean()))


def _chance(frames: int) -> float:
    """The correlation that unrelated motion and sound have by chance: one in the root of independent moments, some five frames long."""
    return float(np.sqrt(5 / frames))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64) - a.mean(dtype=np.float64), b.astype(np.float64) - b.mean(dtype=np.float64)
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size > 0 else 0.0
