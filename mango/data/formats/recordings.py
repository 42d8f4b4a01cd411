"""What readers of other people's formats yield: recordings of one or two people, and every word there is to say about them.

Motion is kept in the terms of its source (FLAME's coefficients or ARKit's weights), with parts by name and rotations as axis-angle in
radians in FLAME's axes; it becomes motion of one particular head only when it is imported.
"""

import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from mango.errors import InputError

Generation = Literal["2020", "2023", "2023-open"]
GENERATIONS: tuple[Generation, ...] = ("2020", "2023", "2023-open")


@dataclass(frozen=True)
class Assumption:
    """One thing a reader believes about a source."""

    certainty: Literal[
        "certain",  # the source says it
        "assumed",  # the format's own programs do it so; this source does not say
        "converted",  # changed on the way in
    ]
    words: str

    def __str__(self) -> str:
        return f"{self.certainty}: {self.words}"


@dataclass(frozen=True)
class Finding:
    """What the convention check says of one topic, with numbers."""

    topic: str
    verdict: Literal["certain", "assumed", "contradicted"]
    words: str

    def __str__(self) -> str:
        return f"{self.verdict}: {self.topic}: {self.words}"


@dataclass(frozen=True)
class FlameMotion:
    """Coefficients and poses of a FLAME head. Parts that the source has not are zeros and missing from ``present``."""

    expr: Float[np.ndarray, "time expressions"]
    rotation: Float[np.ndarray, "time 3"]
    neck_pose: Float[np.ndarray, "time 3"]
    jaw_pose: Float[np.ndarray, "time 3"]
    eyes_pose: Float[np.ndarray, "time 6"]  # left, right
    translation: Float[np.ndarray, "time 3"]  # metres
    shape: Float[np.ndarray, "identity"]
    present: frozenset[str]
    eyelids: Float[np.ndarray, "time 2"] | None = None  # SMIRK's and metrical-tracker's own, no part of FLAME
    generation: Generation | None = None  # None: the source cannot say

    def __len__(self) -> int:
        return len(self.expr)


FLAME_PARTS = {"rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}


def flame_motion(
    expr: Float[np.ndarray, "time expressions"], shape: Float[np.ndarray, "identity"], *, generation: Generation | None = None,
    eyelids: Float[np.ndarray, "_ 2"] | None = None, **parts: Float[np.ndarray, "_ _"],
) -> FlameMotion:  # fmt: skip
    """Zeros for the parts that are not given. Errors: InputError for parts of different lengths."""
    lengths = {"expr": len(expr), **{name: len(part) for name, part in parts.items()}} | (
        {} if eyelids is None else {"eyelids": len(eyelids)}
    )
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError("motion", expected="as many frames in every part", found=found, remedy="cut them to the same frames")
    single = {name: np.asarray(part, np.float32) for name, part in parts.items()}
    zeros = {name: np.zeros((len(expr), width), np.float32) for name, width in FLAME_PARTS.items() if name not in single}
    return FlameMotion(
        expr=np.asarray(expr, np.float32), shape=np.asarray(shape, np.float32), generation=generation, **single, **zeros,
        present=frozenset({"expr", *parts}), eyelids=None if eyelids is None else np.asarray(eyelids, np.float32),
    )  # fmt: skip


@dataclass(frozen=True)
class ArkitMotion:
    """Weights in the order of ``mango.head.arkit.ARKIT_NAMES``; shapes that the source has not are zero and missing from ``present``."""

    weights: Float[np.ndarray, "time 52"]
    present: frozenset[str]
    head: Float[np.ndarray, "time 3"] | None = None  # turn of the head
    eye_angles: Float[np.ndarray, "time 6"] | None = None  # left yaw, pitch, roll, then right: only to compare with the weights

    def __len__(self) -> int:
        return len(self.weights)


Motion = FlameMotion | ArkitMotion


@dataclass(frozen=True)
class Sound:
    """A voice: a sound file (or a film) and which of its channels, or samples that were inside another file."""

    path: Path | None = None
    channel: int | None = None  # None: all channels, averaged
    samples: Float[np.ndarray, "samples"] | None = None
    rate: int = 0
    seconds: float = 0.0
    until: float = math.inf  # seconds; of a film: where its pictures end


@dataclass(frozen=True)
class Film:
    """Pictures of one person: a film, or a picture file for each frame."""

    path: Path
    fps: Fraction  # in the mean
    frames: int
    size: tuple[int, int]  # rows, columns, upright
    sound: Sound | None = None  # of the film itself, from its first picture on
    changes: tuple[str, ...] = ()  # between what is stored and what is shown, in words
    pictures: tuple[Path, ...] = ()  # instead of a film; ``path`` is the folder that they belong to then


@dataclass(frozen=True)
class FilmCamera:
    """The camera that took a film, in the world that the motion's rotation and translation place the head in."""

    name: str
    camera_from_world: Float[np.ndarray, "time_or_one 4 4"]  # OpenCV axes, metres
    intrinsics: Float[np.ndarray, "3 3"]  # pixels, centre of the first pixel at 0.5

    @property
    def centers(self) -> Float[np.ndarray, "time_or_one 3"]:
        """Where it stood in the world."""
        return -np.einsum("tji,tj->ti", self.camera_from_world[:, :3, :3], self.camera_from_world[:, :3, 3])


@dataclass(frozen=True)
class PersonRecording:
    """One person of a recording."""

    name: str
    motion: Motion | None = None
    sound: Sound | None = None
    film: Film | None = None
    valid: Bool[np.ndarray, "time"] | None = None  # frames the source itself trusts
    mask_film: Film | None = None  # white where the person is
    camera: FilmCamera | None = None  # of the film


@dataclass(frozen=True)
class Recording:
    """One or two people over the same time."""

    id: str
    people: tuple[PersonRecording, ...]
    fps: Fraction  # of motion; of the pictures where there is no motion
    assumptions: tuple[Assumption, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    fps_is_stated: bool = False  # by the source itself or by the user

    def believing(self, *more: Assumption) -> "Recording":
        return replace(self, assumptions=(*self.assumptions, *more))


@dataclass(frozen=True)
class Options:
    """What a user knows better than a source."""

    fps: float | None = None
    flame_version: Generation | None = None
    camera: str | None = None  # of several, the one whose pictures are wanted

    def __post_init__(self) -> None:
        if self.fps is not None and not 1 <= self.fps <= 1000:
            remedy = "state the rate of the motion, or leave it away"
            raise InputError("--fps", expected="1 to 1000 frames a second", found=f"{self.fps:g}", remedy=remedy)


@dataclass(frozen=True)
class Entry:
    """A recording that was found but not read yet."""

    id: str
    people: tuple[str, ...]
    files: tuple[Path, ...]  # that it is read from, and folders; sounds and labels of the same name beside them count without being named
    load: Callable[[], Recording]  # to be sent to another process
    split: str = "train"


def in_folder(folder: Path, name: str) -> str:
    """What a recording or person is called that lies in a folder of the source: other folders may hold the same names."""
    return name if name == folder.name else f"{folder.name}-{name}"


def entry_in_folder(folder: Path, entry: Entry) -> Entry:
    people = tuple(in_folder(folder, person) for person in entry.people)
    return replace(entry, id=in_folder(folder, entry.id), people=people, load=partial(_loaded_in_folder, folder, entry.load))


def _loaded_in_folder(folder: Path, load: Callable[[], Recording]) -> Recording:
    recording = load()
    people = tuple(replace(person, name=in_folder(folder, person.name)) for person in recording.people)
    return replace(recording, id=in_folder(folder, recording.id), people=people)


def as_name(text: str) -> str:
    """A name of a source as one of a dialogue or person, which are folder names too: plain letters, digits, . _ and -.

    Letters lose their accents. Of others a few digits remain, which are the same for the same name, so that two people do not become one.
    """
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    clean = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in plain).lstrip("._-")
    if not any(letter.isalnum() and not letter.isascii() for letter in plain):
        return clean or "unnamed"
    letters = unicodedata.normalize("NFC", text).encode(errors="surrogateescape")
    return f"{clean.strip('._-') or 'unnamed'}-{blake2b(letters, digest_size=3).hexdigest()}"


def certain(words: str) -> Assumption:
    return Assumption("certain", words)


def assumed(words: str) -> Assumption:
    return Assumption("assumed", words)


def converted(words: str) -> Assumption:
    return Assumption("converted", words)
