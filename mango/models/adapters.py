"""A person's own way of moving, worn by a motion model that stays as it is.

    y = W x + B (A x)     in the linear layers of attention, of feed-forward and before the output, for the rows of that person alone
                          (LoRA, arXiv 2106.09685, eq. 3); what turns conditions into scales and shifts stays as it is
    condition + style                                                                     for the same rows

B and the style begin at zero: a new adapter changes nothing. Both people of a dialogue may wear one of their own at the same time.
"""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mango.models.linear import Linear
from mango.models.motion import MotionModel
from mango.seeds import torch_generator

NOBODY = -1  # in ``who``: wears no adapter


class Adapter(nn.Module):
    """One person's. ``base``: the digest of the weights that it belongs to."""

    def __init__(self, model: MotionModel, person: str, rank: int = 8, seed: int = 0):
        super().__init__()
        self.person, self.rank, self.base = person, rank, weights_digest(model)
        layers, random = adapted_layers(model), torch_generator("adapter", person, seed)
        self.down = nn.ParameterDict(
            {_key(name): torch.randn(rank, layer.in_features, generator=random) / rank**0.5 for name, layer in layers.items()}
        )
        self.up = nn.ParameterDict({_key(name): torch.zeros(layer.out_features, rank) for name, layer in layers.items()})
        self.style = nn.Parameter(torch.zeros(model.config.width))

    @torch.no_grad()
    def weakened(self, share: float) -> "Adapter":
        """A new one that changes every layer, and the condition, by that share."""
        weaker = copy.deepcopy(self)
        for change in (*weaker.up.values(), weaker.style):
            change.mul_(share)
        return weaker

    def change(self, name: str, x: Float[Tensor, "rows *some inputs"]) -> Float[Tensor, "rows *some outputs"]:
        """What the layer's output gets more."""
        return nn.functional.linear(nn.functional.linear(x, self.down[_key(name)]), self.up[_key(name)])


@contextmanager
def worn(model: MotionModel, adapters: Sequence[Adapter], who: Int[Tensor, "batch person"]) -> Iterator[None]:
    """Inside, the model moves each row as the adapter whose number ``who`` holds (`NOBODY`: as it does anyway).

    A batch of several times as many rows repeats ``who``: branches of guidance.
    """
    owners = who.flatten()
    rows = [(owners == number).nonzero()[:, 0] for number in range(len(adapters))]

    def of(number: int, count: int) -> Int[Tensor, "chosen"]:
        starts = torch.arange(count // len(owners), device=owners.device) * len(owners)
        return (starts[:, None] + rows[number]).flatten()

    def change_layer(name: str):
        def hook(layer: nn.Module, given: tuple[Tensor], out: Tensor) -> Tensor:
            for number, adapter in enumerate(adapters):
                chosen = of(number, len(out))
                if len(chosen):
                    out = out.index_add(0, chosen, adapter.change(name, given[0][chosen]).to(out.dtype))
            return out

        return hook

    def add_style(layer: nn.Module, given: tuple[Tensor], out: Tensor) -> Tensor:
        flat = out.flatten(0, 1)
        for number, adapter in enumerate(adapters):
            chosen = of(number, len(flat))
            if len(chosen):
                flat = flat.index_add(0, chosen, adapter.style.expand(len(chosen), -1).to(flat.dtype))
        return flat.view_as(out)

    hooks = [layer.register_forward_hook(change_layer(name)) for name, layer in adapted_layers(model).items()]
    hooks.append(model.style.register_forward_hook(add_style))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def adapted_layers(model: MotionModel) -> dict[str, Linear]:
    """Linear layers of the denoiser's blocks, but not of their modulation, and the last one, by name; voices are heard as ever."""
    named = {name: layer for name, layer in model.named_modules() if isinstance(layer, Linear)}
    return {name: layer for name, layer in named.items() if name == "out" or name.startswith("layers.")}


def weights_digest(model: MotionModel) -> str:
    """Of all weights and statistics, whatever device they are on."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def _key(name: str) -> str:
    return name.replace(".", "/")
