"""Checkpoints: one folder per step, complete or not there at all, read strictly and without running anything stored in it.

checkpoints/00012000/<learner>/{model,ema}.safetensors optimizer.pt description.json     one folder per learner
checkpoints/00012000/<name>.safetensors                                                 other tensors (label bank, cameras)
checkpoints/00012000/state.json                                                         format, step, what the loop adds
checkpoints/last -> 00012000
checkpoints/best -> 00008000                                                            the lowest validation loss, where there is one
"""

import io
import json
import os
import pickle
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import Tensor, nn

from mango.data.atomic import atomic_folder
from mango.errors import InputError
from mango.training.optim import Learner

FORMAT = 1


def write_checkpoint(
    folder: Path, step: int, learners: Sequence[Learner], tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Path:
    """Everything that a run needs to go on from ``step`` as if it had never stopped."""
    target = folder / f"{step:08d}"
    if target.exists():  # written by this run's earlier life after the state it was restored from; never newer than now
        shutil.rmtree(target)
    with atomic_folder(target) as partial:
        for learner in learners:
            _write_learner(partial / learner.name, learner)
        for name, contents in tensors.items():
            (partial / f"{name}.safetensors").write_bytes(serialised({key: value.detach().contiguous() for key, value in contents.items()}))
        (partial / "state.json").write_text(json.dumps({"format": FORMAT, "step": step, **state}, indent=1) + "\n")
    _point(folder / "last", target.name)
    return target


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the largest step."""
    return max(_numbered(folder), key=lambda item: int(item.name), default=None)


def point_to_best(folder: Path) -> Path | None:
    """Where ``best`` points from now on: the checkpoint of the lowest validation loss, of equals the newest. None: none was validated."""
    losses = [(read_state(item).get("validation"), item) for item in _numbered(folder)]
    best = min(((loss, -int(item.name), item) for loss, item in losses if loss is not None), default=None)
    if best is None:
        return None
    _point(folder / "best", best[-1].name)
    return best[-1]


def forget_old(folder: Path, newest: int, kept: Path | None = None) -> None:
    """All but the newest and ``kept``. A folder is renamed before its files go, so that a kill leaves no half of one."""
    numbered = _numbered(folder)
    for old in numbered[: max(0, len(numbered) - newest)]:
        if old != kept:
            shutil.rmtree(old.rename(folder / f".{old.name}.old"))


def _numbered(folder: Path) -> list[Path]:
    """Checkpoints, by step. A folder with a number for a name is complete: it got that name last."""
    return sorted((item for item in folder.glob("[0-9]*") if item.name.isdecimal()), key=lambda item: int(item.name))


def clear_leftovers(folder: Path) -> None:
    """What a killed process had in hand: half-written checkpoints, and old ones that were going. For whoever is alone in the run."""
    for kind in ("old", "partial"):
        for left in folder.glob(f".[0-9]*.{kind}"):
            shutil.rmtree(left, ignore_errors=True)


def read_state(checkpoint: Path) -> dict[str, Any]:
    try:
        state = json.loads((checkpoint / "state.json").read_text())
        number = state["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken(checkpoint / "state.json", error) from error
    if number != FORMAT:
        raise InputError(
            checkpoint,
            expected=f"checkpoint format {FORMAT}",
            found=f"format {number!r}",
            remedy="use the mango version that wrote it, or train again",
        )
    return state


def read_description(path: Path) -> dict[str, Any]:
    """What a learner was built from, as plain values."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _broken(path, error) from error


def read_learner(checkpoint: Path, learner: Learner) -> None:
    """Weights, moving average and optimizer state into ``learner``, strictly."""
    folder = checkpoint / learner.name
    read_weights(folder / "model.safetensors", learner.model)
    if learner.average is not None:
        read_weights(folder / "ema.safetensors", learner.average.model)
    try:
        learner.optimizer.load_state_dict(torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise _broken(folder / "optimizer.pt", error) from error


def read_weights(path: Path, model: nn.Module) -> None:
    """Strict: every tensor of the model is in the file with its shape, and nothing else is."""
    contents = read_tensors(path)
    if hasattr(model, "make_room"):  # an avatar, which may have grown
        model.make_room(contents)
    own = model.state_dict()
    other = sorted(own.keys() ^ contents.keys()) or sorted(name for name in own if own[name].shape != contents[name].shape)
    if other:
        raise InputError(
            path,
            expected="the weights of this model",
            found=f"a difference in {other[0]!r} (and {len(other) - 1} more)",
            remedy="use the config it was trained with",
        )
    model.load_state_dict(contents)


def read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _broken(path, error) from error


def _write_learner(folder: Path, learner: Learner) -> None:
    # Serialised first, written by Python: its OSError says what is wrong with a disk, the libraries' own writers' errors do not.
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(serialised(_contiguous(learner.model)))
    if learner.average is not None:
        (folder / "ema.safetensors").write_bytes(serialised(_contiguous(learner.average.model)))
    stored = io.BytesIO()
    torch.save(learner.optimizer.state_dict(), stored)
    (folder / "optimizer.pt").write_bytes(stored.getbuffer())
    (folder / "description.json").write_text(json.dumps(learner.description, indent=1) + "\n")


def _contiguous(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().contiguous() for name, value in model.state_dict().items()}


def _point(link: Path, name: str) -> None:
    """Make ``link`` point to ``name`` at once: readers see the old target or the new one. Not on disks without links: it is for people."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    with suppress(OSError):
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(name)
        os.replace(fresh, link)


def _broken(path: Path, error: Exception) -> InputError:
    if path.exists() and not os.access(path, os.R_OK):
        return InputError(path, expected="a file that may be read", found="no permission", remedy="ask its owner for it (chmod a+r)")
    found = (
        "no such file"
        if isinstance(error, FileNotFoundError)
        else f"a damaged one ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    )
    return InputError(
        path, expected="a complete checkpoint file", found=found, remedy="remove this checkpoint's folder to go on from the one before it"
    )
