"""What is true of a synthetic set: ``ROOT.truth``, a sibling folder of ``ROOT``.

    ROOT.truth/dialogues/<id>/{a,b}.motion.npz + .json   true motion
    ROOT.truth/dialogues/<id>/{a,b}.phones.json          [{symbol, start, end, stress}, ...], seconds
    ROOT.truth/dialogues/<id>/{a,b}.speaking.npy         (T,) who really speaks
    ROOT.truth/dialogues/<id>/{a,b}.camera.npz           camera_from_world (T or 1,4,4), intrinsics (3,3), size (2,) = width, height
    ROOT.truth/people/<person>/                          true avatars, as their maker stores them

No other module opens it, and only evaluation, the synthesiser and the report import this one (a test parses the
imports): nothing that trains, selects or stops early may know the truth.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.arrays import Expected, array_problems, read_npz
from mango.data.atomic import atomic_file, atomic_folder
from mango.data.motion_files import Basis, load_motion, save_motion
from mango.data.phones import read_phones, write_phones
from mango.data.problem import Problem, raise_first
from mango.data.side_files import camera_problems, read_speaking, write_speaking
from mango.errors import InputError
from mango.types import PERSONS, MotionClip, Phone

CAMERA = {
    "camera_from_world": Expected(("time or 1", 4, 4)),
    "intrinsics": Expected((3, 3)),
    "size": Expected((2,), "int64"),
}


@dataclass(frozen=True)
class TrueCamera:
    """The camera that really took the pictures. OpenCV axes, pixels, as ``renderer.Camera`` has them."""

    camera_from_world: Float[Tensor, "time_or_one 4 4"]
    intrinsics: Float[Tensor, "3 3"]
    width: int
    height: int


@dataclass(frozen=True)
class TrueSide:
    """Everything true of one person's side of a dialogue."""

    motion: MotionClip
    phones: tuple[Phone, ...]
    speaking: Float[Tensor, "time"]
    camera: TrueCamera | None = None


@dataclass(frozen=True)
class Truth:
    """The truth of an opened set; ``person`` is the side, a or b."""

    folder: Path

    @staticmethod
    def open(root: Path | str) -> "Truth":
        """``root`` is the set's own folder."""
        folder = truth_folder(root)
        if not folder.is_dir():
            remedy = "evaluate against the truth only on sets made by `mango data synthesize`"
            raise InputError(folder, expected="the truth of a synthetic set", found="no such folder", remedy=remedy)
        return Truth(folder)

    def digest(self, ids: Iterable[str]) -> str:
        """Changes when anything true of these dialogues does."""
        total = hashlib.sha256()
        for path in (path for id in ids for path in sorted((self.folder / "dialogues" / id).iterdir()) if path.is_file()):
            total.update(f"{path.parent.name}/{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        return total.hexdigest()

    def knows(self, id: str, person: str) -> bool:
        """Whether there is a true motion of that side."""
        return (self.folder / "dialogues" / id / f"{person}.motion.npz").is_file()

    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(path.name for path in (self.folder / "dialogues").glob("[!.]*") if path.is_dir()))

    def motion(self, id: str, person: str, *, head: Basis | None = None) -> MotionClip:
        return load_motion(self._file(id, person, "motion.npz"), head=head)

    def phones(self, id: str, person: str) -> tuple[Phone, ...]:
        return read_phones(self._file(id, person, "phones.json"))

    def speaking(self, id: str, person: str) -> Float[Tensor, "time"]:
        return read_speaking(self._file(id, person, "speaking.npy"))

    def camera(self, id: str, person: str) -> TrueCamera:
        return _read_camera(self._file(id, person, "camera.npz"))

    def person_folder(self, person: str) -> Path:
        """Where the true avatar of a person (by name) lies."""
        return self.folder / "people" / person

    def _file(self, id: str, person: str, suffix: str) -> Path:
        assert person in PERSONS, f"a person of a dialogue is a or b, not {person!r}"
        folder = self.folder / "dialogues" / id
        if not folder.is_dir():
            remedy = "name a dialogue of the same set, or make the set again"
            raise InputError(folder, expected=f"the truth of dialogue {id!r}", found="no such folder", remedy=remedy)
        path = folder / f"{person}.{suffix}"
        if not path.is_file():
            raise InputError(path, expected="a file of the truth", found="none", remedy="make the set again")
        return path


def truth_folder(root: Path | str) -> Path:
    root = Path(root).absolute()
    return root.with_name(root.name + ".truth")


def write_truth(root: Path | str, id: str, sides: Mapping[str, TrueSide], *, replace: bool = False) -> Path:
    """Store the truth of one dialogue, whole or not at all; its folder."""
    assert set(sides) == set(PERSONS), f"both sides, not {sorted(sides)}"
    target = truth_folder(root) / "dialogues" / id
    with atomic_folder(target, replace=replace) as partial:
        for person, side in sides.items():
            save_motion(partial / f"{person}.motion.npz", side.motion)
            write_speaking(partial / f"{person}.speaking.npy", side.speaking)
            write_phones(partial / f"{person}.phones.json", side.phones)
            if side.camera is not None:
                _write_camera(partial / f"{person}.camera.npz", side.camera)
    return target


def _write_camera(path: Path, camera: TrueCamera) -> None:
    arrays = {
        "camera_from_world": camera.camera_from_world.detach().cpu().numpy().astype(np.float32),
        "intrinsics": camera.intrinsics.detach().cpu().numpy().astype(np.float32),
        "size": np.array([camera.width, camera.height], dtype=np.int64),
    }
    raise_first(_camera_problems(path, arrays))
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _read_camera(path: Path) -> TrueCamera:
    arrays = read_npz(path)
    raise_first(_camera_problems(path, arrays))
    width, height = (int(pixels) for pixels in arrays["size"])
    return TrueCamera(torch.from_numpy(arrays["camera_from_world"]), torch.from_numpy(arrays["intrinsics"]), width, height)


def _camera_problems(path: Path, arrays: dict[str, np.ndarray]) -> list[Problem]:
    wrong = list(array_problems(path, arrays, CAMERA))
    return wrong or list(camera_problems(path, arrays["camera_from_world"], arrays["intrinsics"]))
