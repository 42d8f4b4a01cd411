"""The small files of one person's side of a dialogue: voice, speaking indicator, track. Read, write, check."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.arrays import Expected, array_problems, read_npy, read_npz
from mango.data.atomic import atomic_file
from mango.data.problem import Problem, noted, raise_first
from mango.errors import InputError
from mango.types import SAMPLE_RATE, PersonTrack, StoredFile

TRACK = {
    "keep": Expected(("time",), "bool"),
    "camera_from_world": Expected(("time or 1", 4, 4)),
    "intrinsics": Expected((3, 3)),
    "landmarks": Expected(("time", 68, 2)),
    "confidence": Expected(("time",)),
}


def write_voice(path: Path, audio: Float[Tensor, "samples"]) -> None:
    """16-bit mono 16 kHz. Reading it and writing it again gives the same file (full scale is 32768 both ways)."""
    import soundfile

    samples = audio.detach().cpu().numpy().astype(np.float64)
    if not np.isfinite(samples).all():
        raise InputError(path, expected="finite samples", found="NaN or infinity", remedy="repair the sound")
    whole = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    with atomic_file(path) as partial, partial.open("wb") as file:
        soundfile.write(file, whole, SAMPLE_RATE, format="WAV", subtype="PCM_16")


def read_voice(path: StoredFile) -> Float[Tensor, "samples"]:
    """A voice that already is what the format wants; anything else is refused, not converted."""
    samples, rate = _sound(path)
    raise_first(_voice_problems(path, samples, rate))
    return torch.from_numpy(samples[:, 0].copy())


def voice_problems(path: StoredFile) -> Iterator[Problem]:
    with noted() as unreadable:
        yield from _voice_problems(path, *_sound(path))
    yield from unreadable


def _voice_problems(path: StoredFile, samples: np.ndarray, rate: int) -> Iterator[Problem]:
    if rate != SAMPLE_RATE:
        yield Problem(path, f"{SAMPLE_RATE} Hz", f"{rate} Hz", "convert it with `mango data import`")
    if samples.shape[1] != 1:
        yield Problem(path, "one channel", f"{samples.shape[1]}", "give each person a mono file")
    if not np.isfinite(samples).all():
        yield Problem(path, "finite samples", "NaN or infinity", "repair the recording")
    elif samples.size and np.abs(samples).max() > 1:
        yield Problem(path, "samples in [-1, 1]", f"{np.abs(samples).max():.4g}", "scale the recording")


def _sound(path: StoredFile) -> tuple[np.ndarray, int]:
    import soundfile

    if not path.is_file():
        raise InputError(path, expected="a voice", found="no file", remedy="both people need a sound file; silence for one who is alone")
    try:
        with path.open("rb") as file:
            return soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        raise InputError(path, expected="a WAV file", found=str(error).split(": ")[-1], remedy="record or convert it again") from error


def write_speaking(path: Path, speaking: Float[Tensor, "time"]) -> None:
    array = speaking.detach().cpu().numpy().astype(np.float32)
    raise_first(_speaking_problems(path, array, len(array)))
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.save(file, array)


def read_speaking(path: StoredFile, frames: int | None = None) -> Float[Tensor, "time"]:
    array = read_npy(path)
    raise_first(_speaking_problems(path, array, frames))
    return torch.from_numpy(array)


def speaking_problems(path: StoredFile, frames: int | None) -> Iterator[Problem]:
    with noted() as unreadable:
        yield from _speaking_problems(path, read_npy(path), frames)
    yield from unreadable


def _speaking_problems(path: StoredFile, array: np.ndarray, frames: int | None) -> Iterator[Problem]:
    known = {} if frames is None else {"time": frames}
    yield from array_problems(path, {"speaking": array}, {"speaking": Expected(("time",))}, **known)
    if array.dtype.kind == "f" and (np.isfinite(array) & ((array < 0) | (array > 1))).any():
        yield Problem(
            path, "speaking in [0, 1]", f"{np.nanmin(array):.4g} to {np.nanmax(array):.4g}", "delete the file: it is computed then"
        )


def write_track(path: Path, track: PersonTrack) -> None:
    arrays = {name: getattr(track, name).detach().cpu().numpy() for name in TRACK}
    arrays = {name: array if array.dtype == bool else array.astype(np.float32) for name, array in arrays.items()}
    raise_first(_track_problems(path, arrays, len(track.keep)))
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_track(path: StoredFile, frames: int) -> PersonTrack:
    arrays = read_npz(path)
    raise_first(_track_problems(path, arrays, frames))
    return PersonTrack(**{name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in TRACK})


def track_problems(path: StoredFile, frames: int | None) -> Iterator[Problem]:
    with noted() as unreadable:
        yield from _track_problems(path, read_npz(path), frames)
    yield from unreadable


def _track_problems(path: StoredFile, arrays: dict[str, np.ndarray], frames: int | None) -> Iterator[Problem]:
    cameras = arrays.get("camera_from_world")
    still = cameras is not None and cameras.ndim == 3 and len(cameras) == 1  # a camera that does not move is stored once
    known = {} if frames is None else {"time": frames, "time or 1": 1 if still else frames}
    wrong = list(array_problems(path, arrays, TRACK, **known))
    yield from wrong
    if wrong:
        return  # the meaning of wrongly shaped arrays is anybody's guess
    yield from camera_problems(path, arrays["camera_from_world"], arrays["intrinsics"])
    if ((arrays["confidence"] < 0) | (arrays["confidence"] > 1)).any():
        found = f"{arrays['confidence'].min():.4g} to {arrays['confidence'].max():.4g}"
        yield Problem(path, "confidence in [0, 1]", found, "scale it")


def camera_problems(path: StoredFile, camera_from_world: np.ndarray, intrinsics: np.ndarray) -> Iterator[Problem]:
    """Rigid, OpenCV-handed cameras and a pinhole without skew surprises."""
    rotation = camera_from_world[:, :3, :3].astype(np.float64)
    off = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    if (off > 1e-3).any():
        frame = int(off.argmax())
        found = f"R R^T off the identity by {off.max():.3g} at frame {frame}"
        yield Problem(path, "rotations in camera_from_world", found, "remove scale and shear; a 4x4 maps world to camera")
    elif (np.linalg.det(rotation) < 0).any():
        yield Problem(path, "rotations in camera_from_world", "a mirror image (determinant -1)", "convert from OpenGL by negating y and z")
    if np.abs(camera_from_world[:, 3] - np.array([0, 0, 0, 1])).max() > 1e-5:
        yield Problem(path, "a last row (0, 0, 0, 1) in camera_from_world", "another", "store row-major matrices that act on columns")
    focal = intrinsics[0, 0], intrinsics[1, 1]
    below = intrinsics[1, 0], intrinsics[2, 0], intrinsics[2, 1], intrinsics[2, 2] - 1
    if min(focal) <= 0 or np.abs(below).max() > 1e-6:
        yield Problem(path, "intrinsics [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels", _row(intrinsics), "rewrite the matrix")


def _row(matrix: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in matrix.ravel()) + "]"
