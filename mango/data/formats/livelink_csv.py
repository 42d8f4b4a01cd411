"""Live Link Face: CSV with Timecode, BlendShapeCount, 52 shapes and the angles of head and eyes (yaw, pitch, roll in radians)."""

import csv
import re
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mango.data.atomic import atomic_file
from mango.data.formats.arkit_columns import (
    ANGLES,
    EYE_ANGLES,
    FEWEST,
    HEAD_ANGLES,
    LIVE_LINK,
    arkit_motion,
    shapes_among,
    stated_rate,
    timed,
)
from mango.data.formats.guarded import content_of, numbers, refusing, table_of
from mango.data.formats.recordings import ArkitMotion, Assumption, Entry, Options, PersonRecording, Recording, assumed, converted
from mango.data.formats.rotations import from_yaw_pitch_roll, to_yaw_pitch_roll
from mango.data.formats.sounds import sound_beside
from mango.errors import InputError
from mango.head.arkit import ARKIT_NAMES

TIMECODE = re.compile(r"(\d+):(\d+):(\d+)[:;](\d+)(?:\.(\d+))?")
DAY = 86_400  # seconds
TELLING_SECONDS = 2  # more different ones have a whole second between them, whose frames can be counted


def recognise(path: Path) -> str | None:
    if not path.is_file() or b"timecode" not in content_of(path, 0, start=200).lower():
        return None
    head, rows = table_of(path)
    shapes = shapes_among(head)
    if head[0].lower() != "timecode" or not TIMECODE.fullmatch(rows[0][0].strip()) or len(shapes) < FEWEST:
        return None
    return f"{len(rows)} frames of {len(shapes)} ARKit weights with time codes"


def entries(path: Path, options: Options) -> list[Entry]:
    return [Entry(path.stem, (path.stem,), (path,), partial(_recording, path, options))]


def _recording(path: Path, options: Options) -> Recording:
    head, rows = table_of(path)
    if head[0].lower() != "timecode" or len(head) < 3:
        raise InputError(path, expected="a first column Timecode", found=repr(head[0])[:40], remedy="export it from Live Link Face again")
    with refusing(path, "numbers in every column but the first"):
        values = np.array([[float(cell or "nan") for cell in row[2:]] for row in rows])
    values = numbers(path, "weights", values, (None, len(head) - 2))
    names = [name.lower() for name in head[2:]]
    turn = _angles(names, values, HEAD_ANGLES)
    shapes = shapes_among(head[2:])
    motion, words = arkit_motion(shapes, values, None if turn is None else from_yaw_pitch_roll(turn), _angles(names, values, EYE_ANGLES))
    motion, fps, rate_words = _timed(path, motion, [row[0] for row in rows], options)
    words += rate_words
    if turn is not None:
        words.append(
            assumed("head angles are radians: yaw to the person's left, pitch down, roll to the left ear up, applied yaw, pitch, roll")
        )
    person = PersonRecording(path.stem, motion, sound_beside(path))
    stated = rate_words[0].certainty == "certain"
    return Recording(path.stem, (person,), fps, tuple(words), fps_is_stated=stated)


def _angles(
    names: list[str], values: Float[np.ndarray, "time columns"], wanted: tuple[str, ...]
) -> Float[np.ndarray, "time angles"] | None:
    return values[:, [names.index(name) for name in wanted]] if all(name in names for name in wanted) else None


def _timed(path: Path, motion: ArkitMotion, codes: list[str], options: Options) -> tuple[ArkitMotion, Fraction, list[Assumption]]:
    """Time codes count frames within a second: whole seconds of them tell how many it has."""
    if options.fps is not None:
        fps, said = stated_rate(options.fps)
        return motion, fps, [said]
    read = [TIMECODE.fullmatch(code.strip()) for code in codes]
    wrong = next((code for code, match in zip(codes, read, strict=True) if match is None), None)
    if wrong is not None:
        raise InputError(path, expected="time codes HH:MM:SS:FF.mmm", found=repr(wrong)[:40], remedy="state the rate with --fps")
    last = max(int(match[4]) for match in read)
    known = len({match.groups()[:3] for match in read}) > TELLING_SECONDS
    a_second = last + 1 if known else 60 if last >= 30 else 30
    counted = np.array(
        [
            (int(h) * 60 + int(m)) * 60 + int(s) + float(f"{f}.{part or 0}") / a_second
            for h, m, s, f, part in (match.groups() for match in read)
        ]
    )
    counted[1:] += DAY * np.cumsum(np.diff(counted) < -DAY / 2)  # past midnight
    motion, fps, words = timed(path, motion, counted)
    if not known:
        words[0] = assumed(f"{float(fps):.5g} frames a second (frame numbers up to {last}, no whole second; --fps states it)")
    return motion, fps, words


def write(path: Path, motion: ArkitMotion, fps: float, eyes_pose: Float[np.ndarray, "time 6"] | None = None) -> list[Assumption]:
    """61 columns; what is lost, in words."""
    head = np.zeros((len(motion), 3), np.float32) if motion.head is None else to_yaw_pitch_roll(motion.head)
    eyes = np.zeros((len(motion), 6), np.float32)
    if eyes_pose is not None:
        eyes = np.concatenate([to_yaw_pitch_roll(eyes_pose[:, :3]), to_yaw_pitch_roll(eyes_pose[:, 3:])], axis=1)
    whole = max(1, round(fps))
    ordered = motion.weights[:, [ARKIT_NAMES.index(name) for name in LIVE_LINK]]
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in LIVE_LINK), *ANGLES])
        for k, row in enumerate(np.concatenate([ordered, head, eyes], axis=1)):
            second, frame = divmod(k, whole)
            code = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}:{frame:02d}.000"
            table.writerow([code, len(LIVE_LINK) + len(ANGLES), *(f"{value:.9g}" for value in row)])
    words = [converted("weights and turns of head and eyes are kept")]
    if whole != fps:
        words.append(converted(f"time codes count {whole} frames a second instead of {fps:.5g}"))
    if len(motion) <= TELLING_SECONDS * whole:
        words.append(converted(f"lost: the rate of so short a clip: whoever reads it has to be told {fps:.5g} (--fps)"))
    return words
