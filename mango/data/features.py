"""What models hear, computed once: ROOT/features/<encoder digest>/<id>.<side>.npy, one row a frame, mapped while it is read.

Beside each lies ``.sound``, the hash of the sound it was computed from: another sound is encoded anew. Where ROOT may not be written, what
it lacks is kept in the user's cache.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.audio.alignment import frame_count
from mango.audio.encoders import Encoder
from mango.data.atomic import atomic_file
from mango.errors import InputError
from mango.user_cache import user_cache


def sound_digest(audio: Float[Tensor, "samples"]) -> str:
    return hashlib.sha256(audio.numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class VoiceFeatures:
    """Of one voice, on disk. Nothing stays open: a set has more dialogues than a process may have files."""

    path: Path
    frames: int
    width: int

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, frames: slice) -> np.ndarray:
        """(some frames, width), a copy. Errors: InputError for a damaged file."""
        return np.array(self._mapped()[frames])

    def _mapped(self) -> np.ndarray:
        expected = f"{self.frames} rows of {self.width}"
        remedy = "remove this file: it will be made again"
        try:
            rows = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise InputError(self.path, expected=expected, found="a damaged file", remedy=remedy) from error
        if rows.shape != (self.frames, self.width):
            raise InputError(self.path, expected=expected, found=f"an array of shape {rows.shape}", remedy=remedy)
        return rows


def voice_features(root: Path, id: str, side: str, audio: Float[Tensor, "samples"], encoder: Encoder) -> VoiceFeatures:
    """From the cache beside the set. Errors: InputError for a damaged file of the cache."""
    sound, name = sound_digest(audio), _name(id, side, encoder)
    path = _stored(root, name, sound) or _made(root, name, sound, audio, encoder)
    features = VoiceFeatures(path, frame_count(len(audio)), encoder.width)
    features[:0]  # whether it can be read
    return features


def make_voice_features(root: Path, id: str, side: str, audio: Float[Tensor, "samples"], encoder: Encoder) -> bool:
    """Compute what is missing or of another sound; whether there was anything to compute."""
    sound, name = sound_digest(audio), _name(id, side, encoder)
    if _stored(root, name, sound) is not None:
        return False
    _made(root, name, sound, audio, encoder)
    return True


def _name(id: str, side: str, encoder: Encoder) -> Path:
    return Path(encoder.digest, f"{id}.{side}.npy")


def _stored(root: Path, name: Path, sound: str) -> Path | None:
    """Of this sound, if it is anywhere."""
    for folder in (_beside(root), _elsewhere(root)):
        stamp = (folder / name).with_suffix(".sound")
        if (folder / name).exists() and stamp.exists() and stamp.read_text() == sound:
            return folder / name
    return None


def _made(root: Path, name: Path, sound: str, audio: Float[Tensor, "samples"], encoder: Encoder) -> Path:
    beside = _beside(root)
    path = (beside if os.access(beside if beside.exists() else root, os.W_OK) else _elsewhere(root)) / name
    stamp = path.with_suffix(".sound")
    stamp.unlink(missing_ok=True)  # no moment at which an old array stands beside the new stamp
    with atomic_file(path) as partial:
        _write(partial, audio, frame_count(len(audio)), encoder)
    with atomic_file(stamp) as partial:
        partial.write_text(sound)
    return path


def _beside(root: Path) -> Path:
    return root / "features"


def _elsewhere(root: Path) -> Path:
    return user_cache("features") / hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]


def _write(path: Path, audio: Float[Tensor, "samples"], frames: int, encoder: Encoder) -> None:
    """Part by part: all layers of a long dialogue are more than memory holds."""
    kind, done = torch.empty(0, dtype=encoder.dtype).numpy().dtype, 0
    described = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (frames, encoder.width)}
    with path.open("wb") as file:  # not mapped: where the disk is full that ends the process without a word
        np.lib.format.write_array_header_1_0(file, described)
        for part in encoder.parts(audio):
            file.write(part.numpy().astype(kind, copy=False).tobytes())
            done += len(part)
    assert done == frames, f"{done} rows of features for {frames} frames"
