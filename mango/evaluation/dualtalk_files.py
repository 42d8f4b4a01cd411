"""DualTalk's files, read as they are: no model, no head, and nothing but numpy and the two arrays that the tables are about.

DATA/[test/]<name>_speaker{1,2}.npz    exp (T,50), pose (T,6) = head 3, jaw 3; others are ignored
DATA/[test/]<name>_speaker{1,2}.wav    optional: who speaks when, for S_FD and L_FD
PREDICTIONS/[test/]<name>_speaker{1,2}.npy    (T,56) = exp 50, jaw 3, head 3 of the person it is named after
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from mango.data.arrays import Expected, array_problems, read_npy, read_npz
from mango.data.problem import raise_first
from mango.errors import InputError
from mango.evaluation.compared import ComparedMotion, Parts

NAME = re.compile(r"(?P<dialogue>.+)_speaker(?P<number>[12])")
PREDICTED = {"exp": slice(0, 50), "jaw": slice(50, 53), "pose": slice(53, 56)}
TRUE_POSE = {"pose": slice(0, 3), "jaw": slice(3, 6)}  # the other order than in predictions
SPLITS = ("train", "test", "ood")
LISTED = 20  # names in errors and facts


@dataclass(frozen=True)
class Found:
    """Everything that could be compared, and what the numbers should be read with."""

    compared: list[ComparedMotion]
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class DualTalkFolder:
    """The files of one split. Motion is read once and kept: a test split is a few hundred megabytes at most."""

    folder: Path
    names: tuple[str, ...]
    _read: dict[str, Parts] = field(default_factory=dict)

    @staticmethod
    def open(data: Path, split: str) -> "DualTalkFolder":
        folder = within_split(data, split, "a folder of DualTalk files")
        names = tuple(sorted(path.stem for path in folder.glob("[!.]*.npz") if NAME.fullmatch(path.stem)))
        if not names:
            parts = [part for part in SPLITS if (data / part).is_dir()]
            found = f"none, but folders {', '.join(parts)}" if parts else _content(folder)
            remedy = "name the folder of the .npz files, or its parent and --split"
            raise InputError(folder, expected="files <name>_speaker1.npz and <name>_speaker2.npz", found=found, remedy=remedy)
        return DualTalkFolder(folder, names)

    def parts(self, name: str) -> Parts:
        if name not in self._read:
            self._read[name] = self._parts(name)
        return self._read[name]

    def _parts(self, name: str) -> Parts:
        path = self.folder / f"{name}.npz"
        arrays = read_npz(path, only=("exp", "pose"))
        raise_first(array_problems(path, arrays, {"exp": Expected(("time", 50)), "pose": Expected(("time", 6))}))
        return {"exp": arrays["exp"], **{part: arrays["pose"][:, where] for part, where in TRUE_POSE.items()}}

    def partner(self, name: str) -> str:
        dialogue, number = NAME.fullmatch(name).group("dialogue", "number")
        other = f"{dialogue}_speaker{3 - int(number)}"
        if other not in self.names:
            remedy = "copy it here: P-FD and rPCC compare with the partner's true motion"
            raise InputError(self.folder / f"{other}.npz", expected=f"the partner of {name}", found="no such file", remedy=remedy)
        return other

    def speaking(self, name: str) -> Bool[np.ndarray, "time"] | None:
        path = self.folder / f"{name}.wav"
        if not path.exists():
            return None
        from mango.audio.activity import speaking_indicator
        from mango.audio.reading import read_audio

        return speaking_indicator(read_audio(path)).numpy() > 0.5

    def digest(self) -> str:
        """Changes when any file of the split does, motion or sound."""
        return digest_of(
            path for name in self.names for path in (self.folder / f"{name}.npz", self.folder / f"{name}.wav") if path.exists()
        )


def read_compared(predictions: Path, data: DualTalkFolder, split: str, *, complete: bool = False) -> Found:
    """All predictions of a folder beside truth and partner. ``complete``: refuse when a person of the data has no prediction."""
    folder = within_split(predictions, split, "a folder of predictions")
    files = {path.stem: path for path in sorted(folder.glob("[!.]*.npy"))}
    if not files:
        remedy = "name the folder of files <name>_speaker1.npy (T, 56)"
        raise InputError(folder, expected="predictions (.npy)", found=_content(folder), remedy=remedy)
    unknown = [name for name in files if name not in data.names]
    if unknown:
        found = f"{len(unknown)} of {len(files)} that are not there: {listed(unknown)}"
        remedy = "name each after the animated person, <name>_speaker1.npy, and check --split"
        raise InputError(folder, expected=f"predictions of people in {data.folder}", found=found, remedy=remedy)
    missing = [name for name in data.names if name not in files]
    if missing and complete:
        remedy = "add them, or leave --complete out to score what is there"
        found = f"{len(missing)} without: {listed(missing)}"
        raise InputError(folder, expected=f"predictions of all {len(data.names)} people in {data.folder}", found=found, remedy=remedy)
    compared, cut = [], {}
    for name, path in files.items():
        one, lengths = _compared(name, path, data)
        compared.append(one)
        if len(set(lengths.values())) > 1:
            cut[name] = lengths
    longest = max((max(lengths.values()) - min(lengths.values()) for lengths in cut.values()), default=0)
    facts = {
        "predictions": str(folder),
        "predictions_digest": digest_of(files.values()),
        "people": {"in_data": len(data.names), "scored": len(compared), "without_prediction": len(missing), "first": missing[:LISTED]},
        "cut_to_shortest": {"people": len(cut), "most_frames": longest, "first": dict(list(cut.items())[:LISTED])},
    }
    return Found(compared, facts)


def digest_of(files: Iterable[Path]) -> str:
    """Of names and contents."""
    total = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        total.update(f"{path.name} {len(content)}\n".encode() + content)
    return total.hexdigest()


def within_split(folder: Path, split: str, expected: str) -> Path:
    """``folder/split`` where there is one, else ``folder``."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise InputError(folder, expected=expected, found=found, remedy="check the path")
    return folder / split if (folder / split).is_dir() else folder


def listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _compared(name: str, path: Path, data: DualTalkFolder) -> tuple[ComparedMotion, dict[str, int]]:
    prediction, truth, partner, speaking = _prediction(path), data.parts(name), data.parts(data.partner(name)), data.speaking(name)
    lengths = {"prediction": len(prediction["exp"]), "truth": len(truth["exp"]), "partner": len(partner["exp"])}
    frames = min(lengths.values())
    if frames < 2:
        shortest = min(lengths, key=lengths.__getitem__)
        raise InputError(path, expected="at least 2 frames", found=f"{frames} ({shortest})", remedy="leave this clip out")
    cut = [{part: array[:frames] for part, array in parts.items()} for parts in (prediction, truth, partner)]
    dialogue = NAME.fullmatch(name).group("dialogue")
    if speaking is not None:  # beyond the sound nobody speaks: what is optional must not change other numbers
        speaking = np.pad(speaking[:frames], (0, max(0, frames - len(speaking))))
    return ComparedMotion(name, dialogue, *cut, speaking), lengths


def _prediction(path: Path) -> Parts:
    array = read_npy(path)
    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] != 56:
        remedy = "write exp 50, jaw 3, head 3 in this order, frames first"
        raise InputError(path, expected="floats of shape (frames, 56)", found=f"{array.dtype} {array.shape}", remedy=remedy)
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        frame, column = np.argwhere(~np.isfinite(array))[0]
        remedy = "a prediction that failed has no score; find out why it did"
        raise InputError(path, expected="finite numbers", found=f"{array[frame, column]} in frame {frame}, column {column}", remedy=remedy)
    return {part: array[:, where] for part, where in PREDICTED.items()}


def _content(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return f"only {listed(names[:5])}" if names else "an empty folder"
