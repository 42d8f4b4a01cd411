"""Adapters as files: who they are of, and of which model."""

import json
import shlex
from pathlib import Path

from mango.data.atomic import atomic_file
from mango.errors import InputError
from mango.models.adapters import Adapter, weights_digest
from mango.models.motion import MotionModel

FORMAT = 1


def save_adapter(path: Path, adapter: Adapter) -> None:
    """One safetensors file, whole or not at all."""
    from safetensors.torch import save

    said = {"kind": "mango adapter", "format": FORMAT, "person": adapter.person, "rank": adapter.rank, "base": adapter.base}
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in adapter.state_dict().items()}
    with atomic_file(path) as partial:
        partial.write_bytes(save(tensors, {"mango": json.dumps(said)}))


def load_adapter(path: Path, model: MotionModel) -> Adapter:
    """Ready to be worn. Errors: InputError for other files, and for an adapter of another model."""
    from safetensors import SafetensorError, safe_open

    expected, remedy = "an adapter", "give adapters/<person>.safetensors of a run of mango finetune"
    try:
        with path.open("rb"), safe_open(path, framework="pt") as file:  # opened twice: safetensors calls missing what may not be read
            said = json.loads((file.metadata() or {}).get("mango", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(path, expected=expected, found=" ".join(str(error).split())[:120], remedy=remedy) from error
    if said.get("kind") != "mango adapter" or said.get("format") != FORMAT:
        raise InputError(path, expected=expected, found=str(said.get("kind", "another file")), remedy=remedy)
    own = weights_digest(model)
    if said["base"] != own:
        remedy = "give --checkpoint the run that it was fine-tuned from"
        raise InputError(path, expected=f"an adapter of this model ({own[:12]})", found=f"one of {said['base'][:12]}", remedy=remedy)
    adapter = Adapter(model, said["person"], said["rank"])
    adapter.load_state_dict(tensors, strict=True)
    return adapter.eval().requires_grad_(False)


def unworn(run: Path) -> str | None:
    """What to say where a fine-tuned run is given as a model: it is the general one that it began from."""
    adapters = sorted(run.glob("adapters/*.safetensors"))
    if not adapters:
        return None
    names = " ".join(f"--adapter {shlex.quote(str(path))}" for path in adapters)
    return f"{run} moves like the general model that it was fine-tuned from: its adapter is not worn ({names})"
