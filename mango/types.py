"""The vocabulary that every border of the project speaks. Frozen, tensors only, nothing of ours imported.

Persons of a dialogue are ``a`` and ``b``; where a model looks at one of them it is ``own`` and the other is ``partner``.
Rates are 25 frames and 16,000 samples a second, lengths are metres, rotations axis-angle in radians, axes FLAME's
(x to the person's left, y up, z out of the face).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import IO, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FRAME_RATE = 25
SAMPLE_RATE = 16_000
PERSONS = ("a", "b")


@runtime_checkable
class StoredFile(Protocol):
    """A file to be read: a ``pathlib.Path``, or a member of a shard, which has this half of its methods."""

    @property
    def name(self) -> str: ...
    @property
    def suffix(self) -> str: ...
    def exists(self) -> bool: ...
    def is_file(self) -> bool: ...
    def open(self, mode: str = "r") -> IO: ...
    def read_bytes(self) -> bytes: ...
    def read_text(self, encoding: str | None = None) -> str: ...
    def with_suffix(self, suffix: str) -> "StoredFile": ...


@dataclass(frozen=True)
class MotionClip:
    """Motion of one head over time, in the key names of VHAP and GaussianAvatars, which are also its file format.

    ``rotation`` and ``translation`` place the person in the world (zero unless people share a space); the movement of
    the head in conversation is ``neck_pose``. ``head`` is the digest of the head whose bases the coefficients belong to.
    """

    expr: Float[Tensor, "time expressions"]
    rotation: Float[Tensor, "time 3"]
    neck_pose: Float[Tensor, "time 3"]
    jaw_pose: Float[Tensor, "time 3"]
    eyes_pose: Float[Tensor, "time 6"]  # left eye, right eye
    translation: Float[Tensor, "time 3"]
    shape: Float[Tensor, "identity"]  # one identity a clip
    head: str
    fps: float = float(FRAME_RATE)

    def __len__(self) -> int:
        return self.expr.shape[0]

    def frames(self, window: slice) -> "MotionClip":
        """The same clip over a window of frames."""
        moving = {name: getattr(self, name)[window] for name in MOVING}
        return replace(self, **moving)


MOVING = tuple(f.name for f in fields(MotionClip) if f.name not in ("shape", "head", "fps"))  # what has a time axis


@dataclass(frozen=True)
class PersonTrack:
    """What a tracker says of one person's pictures, beside the motion labels."""

    keep: Bool[Tensor, "time"]  # True = trusted; other frames never supervise
    camera_from_world: Float[Tensor, "time_or_one 4 4"]  # OpenCV axes
    intrinsics: Float[Tensor, "3 3"]  # pixels, centre of the first pixel at 0.5
    landmarks: Float[Tensor, "time 68 2"]  # pixels
    confidence: Float[Tensor, "time"]


@dataclass(frozen=True)
class Phone:
    """One phone as spoken, in seconds from the start of the sound. A stop's time is its closure and burst, without the aspiration."""

    symbol: str  # ARPAbet without digits, "sil" for silence (`mango.data.phones`)
    start: float
    end: float
    stress: float = 0.0  # 1 primary, 0.5 secondary, 0 none or not known


@dataclass(frozen=True)
class Side:
    """One person's side of a dialogue. Everything but the voice may be absent; pictures stay files until asked for."""

    person: str
    audio: Float[Tensor, "samples"]  # mono, 16 kHz, in [-1, 1]
    speaking: Float[Tensor, "time"]  # speaking indicator in [0, 1], computed from the sound unless a file says otherwise
    motion: MotionClip | None = None  # labels (a tracker's)
    track: PersonTrack | None = None
    video: StoredFile | None = None
    mask_video: StoredFile | None = None
    phones: tuple[Phone, ...] | None = None  # in order; None = nobody has said, () = nothing is spoken


@dataclass(frozen=True)
class Dialogue:
    """Two people over the same frames."""

    id: str
    frames: int
    sides: Mapping[str, Side]  # "a" and "b"

    def side(self, person: str) -> Side:
        return self.sides[person]


def exchanged(pair: Float[Tensor, "batch person *rest"]) -> Float[Tensor, "batch person *rest"]:
    """Both people exchanged: what is own becomes partner. Axis 1 is the person axis everywhere."""
    return torch.flip(pair, dims=(1,))
