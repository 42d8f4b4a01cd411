"""People of a set in their own adapters: each one's is worn on their side of a dialogue, whichever that is, and nowhere else."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from mango.errors import InputError
from mango.models.adapters import NOBODY, Adapter, worn
from mango.models.motion import MotionModel
from mango.training.adapter_files import load_adapter
from mango.training.runtime import default_device
from mango.types import PERSONS


def adapters_by_person(paths: Sequence[Path], model: torch.nn.Module, people: Collection[str]) -> dict[str, Adapter]:
    """In the order of the paths, on the device where motion is generated.

    Errors: InputError for an adapter of another model, of none of these people, and for a second one of the same person.
    """
    found: dict[str, Adapter] = {}
    for path in paths:
        if not isinstance(model, MotionModel):
            remedy = "give --checkpoint the run that it was fine-tuned from"
            raise InputError(path, expected="an adapter of the checkpoint's model", found="a checkpoint without diffusion", remedy=remedy)
        adapter = load_adapter(path, model)
        if adapter.person not in people:
            remedy = "check --data and --split: an adapter is worn by the person of its name alone"
            named = ", ".join(sorted(filter(None, people)))  # who never speaks may have no name
            raise InputError(path, expected=f"an adapter of {named}", found=f"{adapter.person}'s", remedy=remedy)
        if adapter.person in found:
            raise InputError(path, expected="one adapter a person", found=f"a second one of {adapter.person}", remedy="give one of them")
        found[adapter.person] = adapter.to(default_device())
    return found


def adapter_facts(paths: Sequence[Path], adapters: Mapping[str, Adapter]) -> Mapping[str, object]:
    """Which files exactly, for the record of an evaluation."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    worn_by = {person: {"file": str(path), "digest": digest} for person, path, digest in zip(adapters, paths, digests, strict=True)}
    return {"adapters": worn_by} if worn_by else {}


@contextmanager
def wearing_their_own(model: torch.nn.Module, adapters: Mapping[str, Adapter], people: Mapping[str, str]) -> Iterator[None]:
    """Inside, the model moves a dialogue of ``people`` (by side, a or b) in the adapters of those who have one."""
    if not adapters:  # a baseline has no layers for them
        yield
        return
    numbers = {person: number for number, person in enumerate(adapters)}
    who = torch.tensor([[numbers.get(people[side], NOBODY) for side in PERSONS]], device=default_device())
    with worn(model, list(adapters.values()), who):
        yield
