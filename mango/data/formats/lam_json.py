"""LAM and OpenAvatarChat: JSON of ARKit weights, {names [52], frames: [{weights [52], time s, rotation [] or [3]}]}, sometimes metadata
{fps} and a list head_pose [[3]] beside the frames.
"""

import json
from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from mango.data.atomic import atomic_file
from mango.data.formats.arkit_columns import FEWEST, arkit_motion, shapes_among, stated_rate, timed
from mango.data.formats.guarded import content_of, json_of, needed, numbers
from mango.data.formats.recordings import ArkitMotion, Assumption, Entry, Options, PersonRecording, Recording, assumed, certain, converted
from mango.data.formats.sounds import sound_beside
from mango.errors import InputError
from mango.head.arkit import ARKIT_NAMES


def recognise(path: Path) -> str | None:
    if not path.is_file() or content_of(path, 0, start=64).lstrip()[:1] != b"{":
        return None
    held = json_of(path)
    if not isinstance(held, dict) or not isinstance(held.get("frames"), list):
        return None
    shapes = shapes_among(_names(path, held))
    return f"{len(held['frames'])} frames of {len(shapes)} ARKit weights" if len(shapes) >= FEWEST else None


def entries(path: Path, options: Options) -> list[Entry]:
    return [Entry(path.stem, (path.stem,), (path,), partial(_recording, path, options))]


def _names(path: Path, held: Mapping) -> list[str]:
    described = held.get("metadata")
    names = held.get("names") or (described.get("blendshape_names") if isinstance(described, dict) else None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(path, expected="names of the weights", found="none", remedy="add the list 'names'")
    return names


def _recording(path: Path, options: Options) -> Recording:
    held = needed(path, json_of(path), "frames")
    names, frames = _names(path, held), held["frames"]
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(path, expected="frames as a list of objects", found="something else", remedy="export the file again")
    values = numbers(path, "weights", [needed(path, frame, "weights")["weights"] for frame in frames], (None, len(names)))
    head, head_words = _head(path, held, frames)
    motion, words = arkit_motion(shapes_among(names), values, head)
    motion, fps, rate_words = _timed(path, motion, held, frames, options)
    person = PersonRecording(path.stem, motion, sound_beside(path))
    stated = rate_words[0].certainty == "certain"
    return Recording(path.stem, (person,), fps, (*words, *rate_words, head_words), fps_is_stated=stated)


def _timed(
    path: Path, motion: ArkitMotion, held: Mapping, frames: list, options: Options
) -> tuple[ArkitMotion, Fraction, list[Assumption]]:
    if options.fps is not None:
        fps, said = stated_rate(options.fps)
        return motion, fps, [said]
    described = held.get("metadata")
    said = described.get("fps") if isinstance(described, dict) else None
    if all("time" in frame for frame in frames) and len(frames) > 1:
        times = numbers(path, "time", [frame["time"] for frame in frames], (None,)).astype(np.float64)
        motion, fps, words = timed(path, motion, times)
        if isinstance(said, int | float) and abs(said - float(fps)) > 0.01 * float(fps):
            found = f"{said} in metadata, {float(fps):.4g} by its time stamps"
            raise InputError(path, expected="one frame rate", found=found, remedy="state the right one with --fps")
        return motion, fps, words
    if isinstance(said, int | float) and not isinstance(said, bool) and 1 <= said <= 1000:
        return motion, Fraction(said).limit_denominator(1001), [certain(f"{said:g} frames a second, by metadata")]
    return motion, Fraction(30), [assumed("30 frames a second (LAM's own rate; the file does not say)")]


def _head(path: Path, held: Mapping, frames: list) -> tuple[np.ndarray | None, Assumption]:
    turns = held.get("head_pose") or [frame.get("rotation") or [] for frame in frames]
    if not any(turns):
        return None, certain("no turn of the head in it")
    turns = numbers(path, "head_pose", [turn or [0.0, 0.0, 0.0] for turn in turns], (None, 3))
    if len(turns) != len(frames):
        found = f"{len(turns)} turns, {len(frames)} frames"
        raise InputError(path, expected="as many turns as frames", found=found, remedy="export the file again")
    return turns, assumed("the head's turn is axis-angle in radians in FLAME's axes (the file does not say)")


def write(path: Path, motion: ArkitMotion, fps: float) -> list[Assumption]:
    """Weights clipped to 0..1, as the viewers want; what is lost, in words."""
    clipped = np.clip(motion.weights, 0, 1)
    head = np.zeros((len(motion), 3)) if motion.head is None else motion.head
    frames = [
        {"weights": [round(float(weight), 7) for weight in row], "time": k / fps, "rotation": [float(angle) for angle in turn]}
        for k, (row, turn) in enumerate(zip(clipped, head, strict=True))
    ]
    described = {"fps": fps, "frame_count": len(motion), "blendshape_names": list(ARKIT_NAMES)}
    content = {"names": list(ARKIT_NAMES), "metadata": described, "frames": frames}
    with atomic_file(path) as part:
        part.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
    over = float(np.abs(motion.weights - clipped).max())
    return [converted(f"weights outside 0..1 are clipped, by up to {over:.3f}" if over > 0 else "weights are kept to the seventh decimal")]
