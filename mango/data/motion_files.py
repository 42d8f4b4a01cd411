"""Motion on disk: ``NAME.npz`` in the key names of VHAP and GaussianAvatars, and ``NAME.json`` beside it.

The npz holds ``expr rotation neck_pose jaw_pose eyes_pose translation shape``, float32, and nothing else (viewers that
play it trip over strings). The json holds format, fps, the head's digest, whose bases the coefficients belong to, and
the digest of the npz, so that a pair that does not belong together is noticed.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from mango.data.arrays import Expected, array_problems, read_npz
from mango.data.atomic import atomic_file
from mango.data.json_files import read_json, write_json
from mango.data.problem import Problem, noted, raise_first
from mango.errors import InputError
from mango.types import MOVING, MotionClip, StoredFile

FORMAT = 1
Rate = int | float
ARRAYS = {
    "expr": Expected(("time", "expressions")),
    "rotation": Expected(("time", 3)),
    "neck_pose": Expected(("time", 3)),
    "jaw_pose": Expected(("time", 3)),
    "eyes_pose": Expected(("time", 6)),
    "translation": Expected(("time", 3)),
    "shape": Expected(("identity",)),
}


@runtime_checkable
class Basis(Protocol):
    """What of a head a motion file depends on; ``mango.head.Head`` is one."""

    digest: str
    expressions: int | None  # None: not known, not checked
    identities: int | None


def sidecar(path: StoredFile) -> StoredFile:
    return path.with_suffix(".json")


def save_motion(path: Path, clip: MotionClip, *, more: Mapping[str, object] | None = None) -> None:
    """Write the pair, the json last. ``more`` goes into the json (source, tracker, flags ...)."""
    path = _named(path)
    arrays = {name: getattr(clip, name).detach().cpu().numpy().astype(np.float32) for name in ARRAYS}
    raise_first(array_problems(path, arrays, ARRAYS))
    with atomic_file(path) as partial:
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)
        digest = _digest(partial)
    fps = int(clip.fps) if clip.fps == int(clip.fps) else clip.fps  # 25, not 25.0, for people who read it
    described = {"format": FORMAT, "fps": fps, "head": clip.head, "frames": len(clip), "sha256": digest}
    write_json(sidecar(path), {**(more or {}), **described})


def load_motion(path: StoredFile, *, head: Basis | None = None) -> MotionClip:
    """A clip; with ``head`` also proof that its coefficients belong to that head."""
    path = _named(path)
    description = _description(path)
    arrays = read_npz(path)
    raise_first(_problems(path, description, arrays, head, frames=None, fps=None))
    tensors = {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in (*MOVING, "shape")}
    return MotionClip(**tensors, head=description["head"], fps=float(description["fps"]))


def motion_problems(
    path: StoredFile, *, head: Basis | None = None, frames: int | None = None, fps: Rate | None = None
) -> Iterator[Problem]:
    """Everything wrong with one motion file, of which a dialogue also knows ``frames`` and ``fps``."""
    path = _named(path)
    description, arrays = None, None
    with noted() as unreadable:
        description = _description(path)
    yield from unreadable
    with noted() as unreadable:
        arrays = read_npz(path)
    yield from unreadable
    yield from _problems(path, description, arrays, head, frames, fps)


def _problems(
    path: StoredFile, description: dict | None, arrays: dict | None, head: Basis | None, frames: int | None, fps: Rate | None
) -> Iterator[Problem]:
    if description is not None:
        yield from _description_problems(path, description, head, fps)
    if arrays is None:
        return
    if {len(array) for name, array in arrays.items() if name in MOVING and array.ndim} == {0}:
        yield Problem(path, "frames", "none", "write the motion again")
    known = {"time": frames}
    if head is not None:
        known |= {"expressions": head.expressions, "identity": head.identities}
    yield from array_problems(path, arrays, ARRAYS, **{axis: size for axis, size in known.items() if size is not None})
    if description is not None and description.get("sha256") not in (None, _digest(path)):
        found = "one written for another file (sha256 differs)"
        yield Problem(
            sidecar(path), f"the description of {path.name}", found, "write both again with save_motion, or remove the key sha256"
        )


def _description_problems(path: StoredFile, description: dict, head: Basis | None, fps: Rate | None) -> Iterator[Problem]:
    where = sidecar(path)
    rate, digest = description.get("fps"), description.get("head")
    if description.get("format") != FORMAT:
        yield Problem(where, f"format {FORMAT}", f"{description.get('format')!r}", "convert the file with `mango data import`")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1000:
        yield Problem(where, "fps as a positive number", repr(rate), "state the rate of the motion")
    elif fps is not None and rate != fps:
        yield Problem(where, f"{fps} fps", f"{rate}", "convert the motion to the rate of the dialogues with `mango data import`")
    if not isinstance(digest, str) or not digest:
        yield Problem(
            where, "head as the digest of a head file", repr(digest), "state the digest that `mango head inspect` shows for the head"
        )
    elif head is not None and digest != head.digest:
        yield Problem(where, f"motion of head {head.digest[:12]}", f"head {digest[:12]}", "load the head it was made with, or retarget it")


def _named(path: StoredFile) -> StoredFile:
    if path.suffix != ".npz":
        raise InputError(path, expected="a motion file NAME.npz", found=f"suffix {path.suffix!r}", remedy="give the .npz file")
    return path


def _description(path: StoredFile) -> dict:
    if not path.is_file():
        raise InputError(path, expected="a motion file", found="none", remedy="check the path")
    if not sidecar(path).is_file():
        remedy = "copy it along; files of other projects are imported first (mango data import)"
        raise InputError(path, expected="motion with its description beside it", found=f"no {sidecar(path).name}", remedy=remedy)
    return read_json(sidecar(path))


def _digest(path: StoredFile) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
