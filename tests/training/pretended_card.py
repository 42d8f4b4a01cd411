"""A CUDA device for machines without one: tensors with their real values, in the CPU's memory, on a device that is only said.

    with PretendedCard() as card:
        model.to(card.device)          # says it is on cuda:0 from now on
        model(torch.ones(3))           # RuntimeError, as on a real card: the input is still on the CPU

Whole training steps run on it, with every value known, so it goes where `torch`'s FakeTensorMode cannot: through ``tolist()``, through
backward, which a CPU build of torch refuses for tensors that call themselves CUDA, and through optimizers and checkpoints.

What it cannot notice: anything inside one call of torch (each is checked by its arguments), kernels that do not exist on CUDA or round
differently there, and threads of its own kind (a thread that is started inside it computes without it).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter

CROSSING = {"copy_", "__set__", "backward", "_has_compatible_shallow_copy_type"}  # may see tensors of two devices
INDEXING = {"__getitem__", "__setitem__"}
WHOLE = {"cat", "concat", "stack"}  # where even a number may not come from elsewhere


class PretendedCard(TorchFunctionMode):
    """Which tensors are "on the card" is remembered by their storage, so views, parameters and `.data` know it too."""

    device = torch.device("cuda", 0)

    def __init__(self):
        super().__init__()
        self.held: dict[int, StorageWeakRef] = {}  # a weak reference keeps the address from being used again

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), function.__name__
        if name == "__get__" and function.__self__.__name__ in ("device", "is_cuda", "is_cpu"):
            return self._said(function.__self__.__name__, args[0])
        if name in ("to", "cpu", "cuda"):
            return self._moved(name, args, kwargs)
        if name in ("numpy", "__array__") and args[0] in self:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        tensors = list(_tensors((args, kwargs)))
        self._check(name, args, tensors)
        wanted = kwargs.pop("device", None)
        if wanted is not None and torch.device(wanted).type == "cuda":
            _check_generator(kwargs.get("generator"))
        results = function(*args, **kwargs)
        on_card = torch.device(wanted).type == "cuda" if wanted is not None else any(tensor in self for tensor in tensors)
        if on_card and name != "__set__":
            known = {tensor.untyped_storage()._cdata for tensor in tensors}
            self._hold(result for result in _tensors(results) if result.untyped_storage()._cdata not in known)
        return results

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self.held

    def _hold(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self.held[storage._cdata] = StorageWeakRef(storage)
        if len(self.held) > 10_000:
            self.held = {address: reference for address, reference in self.held.items() if not reference.expired()}

    def _said(self, what: str, tensor: Tensor) -> Any:
        there = tensor in self
        return {"device": self.device if there else torch.device("cpu"), "is_cuda": there, "is_cpu": not there}[what]

    def _moved(self, name: str, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        """`Tensor.to` and its kin: the type is changed for real, the device only said; another device is another copy."""
        tensor, *rest = args
        targets = [part for part in (*rest, *kwargs.values()) if isinstance(part, Tensor | torch.device | str)]
        there = tensor in self
        wanted = {"cpu": False, "cuda": True}.get(name, there)
        for target in targets:
            wanted = target in self if isinstance(target, Tensor) else torch.device(target).type == "cuda"
        dtypes = [
            part.dtype if isinstance(part, Tensor) else part for part in (*rest, *kwargs.values()) if isinstance(part, Tensor | torch.dtype)
        ]
        moved = tensor.to(*dtypes[:1]) if dtypes else tensor
        if wanted != there or kwargs.get("copy"):
            moved = moved.clone()
        if wanted:
            self._hold([moved])
        return moved

    def _check(self, name: str, args: tuple, tensors: list[Tensor]) -> None:
        if name in CROSSING:
            return
        if name in INDEXING:
            return self._check_indexing(name, *args)
        there = [tensor in self for tensor in tensors]
        strangers = [tensor for tensor, on_card in zip(tensors, there, strict=True) if not on_card and (tensor.dim() or name in WHOLE)]
        if any(there) and strangers:
            raise RuntimeError(f"{name}: expected all tensors on one device, found cuda:0 and cpu (shape {list(strangers[0].shape)})")

    def _check_indexing(self, name: str, tensor: Tensor, index: Any, value: Any = None) -> None:
        """An index may come from the CPU but not go there; what is written by index must be on the device, by slice need not."""
        indices = list(_tensors(index))
        if tensor not in self and any(part in self and part.dim() for part in indices):
            raise RuntimeError(f"{name}: indices should be on the CPU like the indexed tensor, found cuda:0")
        chosen = indices or any(isinstance(part, list) for part in (index if isinstance(index, tuple) else (index,)))
        if chosen and isinstance(value, Tensor) and value.dim() and (value in self) != (tensor in self):
            raise RuntimeError(f"{name}: expected the value on the device of the tensor it is written to")


def _tensors(nested: Any) -> Iterable[Tensor]:
    return (leaf for leaf in tree_iter(nested) if isinstance(leaf, Tensor))


def _check_generator(generator: torch.Generator | None) -> None:
    if generator is not None and generator.device.type == "cpu":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
