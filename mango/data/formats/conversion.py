"""From a recording of other people's to a dialogue of ours: motion of one head at 25 fps, voices at 16 kHz, films of key frames.

recording --shortest stream--> frames --+--> motion: resampled, then by name (ARKit) or padded (FLAME) to its head, retargeted to another
                                        +--> voices: 16 kHz mono, cut          +--> films: nearest frames
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from mango.data.dialogues import SAMPLES_PER_FRAME, lone_dialogue
from mango.data.formats.films import write_at_25
from mango.data.formats.recordings import (
    FLAME_PARTS,
    ArkitMotion,
    Assumption,
    Film,
    FlameMotion,
    Motion,
    PersonRecording,
    Recording,
    as_name,
    converted,
)
from mango.data.formats.sounds import voice_of
from mango.data.formats.timing import between, nearest_frames, num_frames, turned_between
from mango.data.landmarks import landmarks_in_picture
from mango.errors import InputError
from mango.head.arkit import arkit_from_motion, motion_from_arkit
from mango.head.flame import STATE_IT
from mango.head.model import Head, load_head
from mango.types import FRAME_RATE, PERSONS, Dialogue, MotionClip, PersonTrack, Side


@dataclass(frozen=True)
class Converted:
    """A recording as a dialogue."""

    dialogue: Dialogue
    words: list[Assumption]  # what was changed on the way
    retargeted: bool  # its motion was another head's


def dialogue_of(
    id: str, recording: Recording, head: Head, films: Path, *, with_motion: bool = True, source_head: Head | None = None
) -> Converted:
    """The dialogue, its films written to the folder ``films``. ``source_head``: the head that the motion is of, where it is another.

    Errors: InputError for motion that is of neither head, for a recording without anything, and for damaged sound or pictures.
    """
    motions = {k: person.motion for k, person in enumerate(recording.people) if with_motion and person.motion is not None}
    owners = {k: owner_of(recording.id, motion, head, source_head) for k, motion in motions.items()}
    for k, owner in owners.items():
        if owner is not head and recording.people[k].camera is not None:
            found = f"motion of {owner.name!r} for the head {head.name!r}"
            remedy = "give --head the head that the source was tracked with, or --without-motion"
            raise InputError(recording.id, expected="pictures with their own head: cameras know its size", found=found, remedy=remedy)
    voices = {k: voice_of(person.sound) for k, person in enumerate(recording.people) if person.sound is not None}
    lengths = _lengths(recording, motions, voices)
    frames = min(lengths.values())
    if frames < 1:
        shortest = min(lengths, key=lengths.get)
        raise InputError(recording.id, expected="at least one frame", found=f"none in {shortest}", remedy="leave this recording out")
    words = _words(recording, lengths, frames, voices)
    sides = []
    for k, person in enumerate(recording.people):
        silent = torch.zeros(frames * SAMPLES_PER_FRAME)
        audio = voices[k][: frames * SAMPLES_PER_FRAME] if k in voices else silent
        clip = None
        if k in motions:
            clip, said = clip_of(motions[k], recording, owners[k], frames, placed=person.camera is not None)
            words += said
            if owners[k] is not head:
                from mango.data.formats.retargeted import retargeted_clip

                clip, said = retargeted_clip(clip, owners[k], head)
                words.append(said)
        film, mask_film = (
            _written(pictures, films / f"{as_name(id)}.{PERSONS[k]}{suffix}", frames)
            for pictures, suffix in ((person.film, ".mp4"), (person.mask_film, ".mask.mp4"))
        )
        track = track_of(person, clip, head) if person.camera is not None and clip is not None else None
        sides.append(Side(as_name(person.name), audio, _speaking(audio, frames), clip, track, film, mask_film))
    retargeted = any(owner is not head for owner in owners.values())
    words = list(dict.fromkeys(words))
    if len(sides) == 1:
        return Converted(lone_dialogue(id, sides[0], frames), words, retargeted)
    return Converted(Dialogue(id, frames, dict(zip(PERSONS, sides, strict=True))), words, retargeted)


def owner_of(where: str, motion: Motion, head: Head, source_head: Head | None) -> Head:
    """The head that the motion is of: ``head`` itself where it can be. Coefficients of one basis mean nothing to another: never mixed,
    never guessed.
    """
    if isinstance(motion, FlameMotion):
        owner = source_head or head
        check_flame(where, motion, owner)
        return head if owner.digest == head.digest else owner
    if source_head is not None and not source_head.joint_expressions:
        remedy = "leave --source-head away: the built-in head's shapes are taken"
        raise InputError(where, expected="a head with ARKit's expressions for ARKit weights", found=source_head.name, remedy=remedy)
    if not head.joint_expressions:
        return source_head or _builtin()
    if source_head is not None:
        remedy = "leave --source-head away: ARKit weights mean the same to every head that has their names"
        raise InputError(where, expected="another kind of motion for --source-head", found="ARKit weights by name", remedy=remedy)
    return head


def check_flame(where: str, motion: FlameMotion, head: Head) -> None:
    """FLAME coefficients belong to one FLAME."""
    if head.joint_expressions:
        generation = f"FLAME {motion.generation}" if motion.generation else "FLAME"
        raise InputError(
            where,
            expected=f"a {generation} head for FLAME coefficients",
            found=f"the head {head.name!r}, whose expressions are others",
            remedy="give --head your FLAME file (.pkl or .npz; flame.is.tue.mpg.de), or --source-head to have its motion on this head, or "
            "--without-motion for sound and pictures alone",
        )
    if motion.generation is None:
        remedy = "state it with --flame-version (2020, 2023 or 2023-open): coefficients of one mean nothing to another"
        raise InputError(where, expected="to know which FLAME these coefficients are of", found="a source that cannot say", remedy=remedy)
    if head.generation is None:
        raise InputError(where, expected=f"to know which FLAME the head {head.name!r} is", found="a file that cannot say", remedy=STATE_IT)
    if head.generation != motion.generation:
        remedy = "give --head (or --source-head) a file of that generation: coefficients of one mean nothing to another"
        raise InputError(where, expected=f"a FLAME {motion.generation} head", found=f"FLAME {head.generation}", remedy=remedy)
    for name, array, width in (("expression", motion.expr, head.expressions), ("shape", motion.shape, head.identities)):
        if np.abs(array[..., width:]).max(initial=0.0) > 0:
            remedy = "give --head the file that these coefficients were made with"
            raise InputError(where, expected=f"at most the head's {width} {name} coefficients", found=f"{array.shape[-1]}", remedy=remedy)


def _written(film: Film | None, path: Path, frames: int) -> Path | None:
    if film is not None:
        write_at_25(film, path, frames)
    return path if film is not None else None


def track_of(person: PersonRecording, clip: MotionClip, head: Head) -> PersonTrack:
    """Camera and trusted frames of the person's film, and the labels' own landmarks in its pictures."""
    film, camera = person.film, person.camera
    shown = nearest_frames(film.frames, film.fps, len(clip))
    valid = np.ones(film.frames, bool) if person.valid is None else person.valid
    moves = len(camera.camera_from_world) > 1
    places = torch.from_numpy((camera.camera_from_world[shown] if moves else camera.camera_from_world).astype(np.float32))
    intrinsics = torch.from_numpy(camera.intrinsics.astype(np.float32))
    landmarks = landmarks_in_picture(head, clip, places, intrinsics)
    return PersonTrack(torch.from_numpy(valid[shown]), places, intrinsics, landmarks, confidence=torch.ones(len(clip)))


def clip_of(motion: Motion, recording: Recording, head: Head, frames: int, *, placed: bool = False) -> tuple[MotionClip, list[Assumption]]:
    """``frames`` frames of 25 a second, of this head. ``placed``: rotation says where the head is before its camera, and stays."""
    if isinstance(motion, ArkitMotion):
        return _of_arkit(motion, recording, head, frames)
    words = []
    parts = {name: getattr(motion, name) for name in FLAME_PARTS}
    if not placed and np.abs(parts["rotation"]).max() > 0 and np.abs(parts["neck_pose"]).max() == 0:
        parts["neck_pose"], parts["rotation"] = parts["rotation"], np.zeros_like(parts["rotation"])
        words.append(converted("rotation turned the head and neck_pose was zero: rotation is neck_pose now, rotation zero"))
    made = {"translation": between(parts.pop("translation"), recording.fps, frames)}
    for name, array in parts.items():
        turns = [turned_between(array[:, k : k + 3], recording.fps, frames) for k in range(0, array.shape[1], 3)]
        made[name] = np.concatenate(turns, axis=1)
    made["expr"] = _padded(between(motion.expr, recording.fps, frames), head.expressions)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) for name, array in made.items()}
    shape = torch.from_numpy(_padded(motion.shape, head.identities))
    return MotionClip(**tensors, shape=shape, head=head.digest, fps=float(FRAME_RATE)), words


@lru_cache(maxsize=1)
def _builtin() -> Head:
    return load_head()


def _of_arkit(motion: ArkitMotion, recording: Recording, head: Head, frames: int) -> tuple[MotionClip, list[Assumption]]:
    weights = torch.from_numpy(np.ascontiguousarray(between(motion.weights, recording.fps, frames)))
    parts = motion_from_arkit(head, weights)
    neck = np.zeros((frames, 3), np.float32) if motion.head is None else turned_between(motion.head, recording.fps, frames)
    nothing = torch.zeros(frames, 3)
    neck_pose, shape = torch.from_numpy(np.ascontiguousarray(neck)), torch.zeros(head.identities)
    clip = MotionClip(
        **parts, rotation=nothing, neck_pose=neck_pose, translation=nothing, shape=shape, head=head.digest, fps=float(FRAME_RATE)
    )
    lost = (arkit_from_motion(head, clip.expr, clip.jaw_pose, clip.eyes_pose) - weights).abs().amax()
    words = [converted("ARKit weights to the head's 41 expressions by name; jaw and gaze to joints by the head's own turns per weight")]
    if float(lost) > 1e-3:
        words.append(
            converted(
                f"of opposite shapes at once (look in and out, jaw left and right) the difference is kept: up to {lost:.2f} of weight"
            )
        )
    return clip, words


def _lengths(recording: Recording, motions: dict[int, Motion], voices: dict[int, torch.Tensor]) -> dict[str, int]:
    """Frames of 25 a second of every stream."""
    lengths = {}
    for k, person in enumerate(recording.people):
        if k in motions:
            lengths[f"motion of {person.name}"] = num_frames(len(motions[k]), recording.fps)
        if person.film is not None:
            lengths[f"film of {person.name}"] = num_frames(person.film.frames, person.film.fps)
        if k in voices:
            lengths[f"voice of {person.name}"] = len(voices[k]) // SAMPLES_PER_FRAME
    if not lengths:
        raise InputError(recording.id, expected="sound, pictures or motion", found="none", remedy="`mango data inspect` says what there is")
    return lengths


def _words(recording: Recording, lengths: dict[str, int], frames: int, voices: dict[int, torch.Tensor]) -> list[Assumption]:
    words = []
    if recording.fps != FRAME_RATE and any(name.startswith("motion") for name in lengths):
        rate = f"{float(recording.fps):.5g}"
        words.append(converted(f"motion of {rate} fps to {FRAME_RATE}, exactly: linear between frames, rotations along the shortest turn"))
    cut = {name: (length - frames) / FRAME_RATE for name, length in lengths.items()}
    for sound, name in ((recording.people[k].sound, f"voice of {recording.people[k].name}") for k in voices):
        cut[name] += max(0.0, sound.seconds - sound.until)  # never read: it goes on when its film has ended
    longer = [f"{name} by {seconds:.2f} s" for name, seconds in cut.items() if seconds >= 1 / FRAME_RATE]
    if longer:
        words.append(converted(f"cut to the shortest stream ({frames} frames): {', '.join(longer)}"))
    silent = [person.name for k, person in enumerate(recording.people) if k not in voices]
    if silent:
        words.append(converted(f"no sound of {' and '.join(silent)}: silence"))
    return words


def _padded(array: np.ndarray, width: int) -> np.ndarray:
    """Zeros behind, or zeros cut off behind."""
    missing = max(0, width - array.shape[-1])
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])[..., :width].astype(np.float32)


def _speaking(audio: torch.Tensor, frames: int) -> torch.Tensor:
    from mango.audio.activity import speaking_indicator

    return speaking_indicator(audio)[:frames]


def title(recording: Recording) -> str:
    """A recording's name, with its rate where there are frames."""
    timed = any(person.motion is not None or person.film is not None for person in recording.people)
    return f"{recording.id}, {float(recording.fps):.5g} fps" if timed else recording.id


def person_line(person: PersonRecording) -> str:
    """What there is of a person, in a line."""
    there = []
    if isinstance(person.motion, FlameMotion):
        there.append(f"FLAME motion, {len(person.motion)} frames, {person.motion.expr.shape[1]} expressions, " + ", ".join(
            name for name in FLAME_PARTS if name in person.motion.present))  # fmt: skip
    elif isinstance(person.motion, ArkitMotion):
        turned = ", turn of the head" if person.motion.head is not None else ""
        there.append(f"ARKit weights, {len(person.motion)} frames{turned}")
    if person.sound is not None:
        where = person.sound.path.name if person.sound.path else "inside"
        channel = f", channel {person.sound.channel}" if person.sound.channel is not None else ""
        there.append(f"sound {person.sound.seconds:.2f} s ({where}{channel})")
    if person.film is not None:
        rows, cols = person.film.size
        kind = "pictures" if person.film.pictures else "film"
        there.append(f"{kind} {person.film.frames} frames of {cols}x{rows} at {float(person.film.fps):.5g} fps")
        there += ["masks"] * (person.mask_film is not None) + ([f"camera {person.camera.name}"] if person.camera is not None else [])
    return f"{person.name}: " + ("; ".join(there) or "nothing")
