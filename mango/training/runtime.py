"""Where and how training runs: device, precision, processes. The only file that names a device kind.

One process is the default. Under ``torchrun`` (or ``accelerate launch``) every process draws the same batch and the same noise, does its
share of the windows, and counts its losses as parts of the whole batch's; gradients and losses are added. So what is learnt is the same
for every number of processes, up to the order of summation.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mango.config import check_ranges
from mango.errors import InputError


@dataclass(frozen=True)
class RuntimeConfig:
    """Choices about the machine; none of them changes what is trained (beyond rounding)."""

    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a CUDA device where there is one
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16: autocast, weights stay float32
    compile: bool = False  # what training calls of the motion model, with torch.compile: costs a minute or more at the start
    threads: int | None = None  # CPU threads; None = torch's choice

    def __post_init__(self):
        check_ranges(self, threads="[1, inf)")


class Runtime:
    """One process's view of the machine."""

    def __init__(self, config: RuntimeConfig):
        self.config = config
        self.processes = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.device = _device(config.device)
        if self.device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # float32 means float32: left alone, cuDNN's convolutions would round to ten bits
        if config.compile and self.device.type == "cpu" and not _cpp_compiler():
            remedy = "install g++ or clang++, or set runtime.compile to false"
            raise InputError("runtime.compile", expected="a C++ compiler", found="none (CXX, g++, clang++)", remedy=remedy)
        self._accelerator = _accelerator(self.device) if self.processes > 1 else None

    @property
    def is_main(self) -> bool:
        """The one process that writes files."""
        return self.rank == 0

    def describe(self) -> dict[str, str | int]:
        """For run.json."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
        return {"device": self.device.type, "name": name, "processes": self.processes, "precision": self.config.precision}

    @contextmanager
    def autocast(self) -> Iterator[None]:
        context = nullcontext() if self.config.precision == "float32" else torch.autocast(self.device.type, torch.bfloat16)
        with context:
            yield

    def compile(self, model: nn.Module) -> None:
        """In place, if the config says so: ``forward``, and ``listen`` of a model that has it. Weights keep their names.

        For a model that is copied no more: a copy would call the original's.
        """
        for method in ("listen", "forward") if self.config.compile else ():
            if hasattr(model, method):
                setattr(model, method, torch.compile(getattr(model, method)))

    def share(self, batch: int, key: str = "batch") -> list[int]:
        """Which windows of a batch are this process's. ``key``: where the config says how many there are."""
        if batch % self.processes:
            remedy = f"change '{key}' or the number of processes"
            raise InputError(key, expected=f"a multiple of {self.processes} processes", found=str(batch), remedy=remedy)
        return list(range(self.rank, batch, self.processes))

    def parts(self, batch: int, accumulate: int) -> list[list[int]]:
        """This process's windows of a batch, in so many equal parts to be done one after the other."""
        own = self.share(batch)
        size, left = divmod(len(own), accumulate)
        if left:
            expected = f"a multiple of {self.processes} processes x {accumulate} parts"
            raise InputError("batch", expected=expected, found=str(batch), remedy="change 'batch', 'accumulate' or the number of processes")
        return [own[first : first + size] for first in range(0, len(own), size)]

    # Together: every process makes the same calls in the same order; one alone has nothing to wait for ------------------------

    def summed(self, values: Mapping[str, Shaped[Tensor, ""]]) -> dict[str, Shaped[Tensor, ""]]:
        """Losses or counts, added over processes; without gradient. All of one type."""
        return dict(zip(values, self._added(torch.stack([value.detach() for value in values.values()])), strict=True))

    def gathered(self, rows: Float[Tensor, "own *row"], places: Sequence[int], of: int) -> Float[Tensor, "of *row"]:
        """The rows of all processes, in the order of the whole batch, without gradient. This process's belong at ``places``."""
        whole = rows.new_zeros(of, *rows.shape[1:])
        whole[list(places)] = rows.detach()
        return self._added(whole)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Every gradient becomes the sum over processes. What has none in any of them keeps none: optimizers pass it over."""
        if self._accelerator is None:
            return
        parameters = list(parameters)
        having = self._added(torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32))
        learning = [parameter for parameter, processes in zip(parameters, having.tolist(), strict=True) if processes]
        gradients = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in learning]
        added = self._added(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter, gradient in zip(learning, added.split([parameter.numel() for parameter in learning]), strict=True):
            parameter.grad = gradient.view_as(parameter)

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        return bool(self._added(torch.tensor(int(here))))

    def check_same(self, what: str, value: str) -> None:
        """An error in every process unless all have the same: several machines may have copies of the data that differ."""
        number = int.from_bytes(hashlib.blake2b(value.encode(), digest_size=7).digest())
        everybodys = torch.zeros(self.processes, dtype=torch.int64)
        everybodys[self.rank] = number
        others = [rank for rank, theirs in enumerate(self._added(everybodys).tolist()) if theirs != number]
        if others:
            found = f"other ones than process {self.rank} in {', '.join(map(str, others))}"
            raise InputError(what, expected="the same in all processes", found=found, remedy="run `mango data validate` on each machine")

    def _added(self, tensor: Tensor) -> Tensor:
        if self._accelerator is None:
            return tensor
        return self._accelerator.reduce(tensor.to(self.device), reduction="sum").to(tensor.device)


def default_device() -> torch.device:
    """Where commands work that are not told where."""
    return Runtime(RuntimeConfig()).device


def _cpp_compiler() -> str | None:
    return next((found for name in (os.environ.get("CXX", "g++"), "g++", "clang++") if (found := shutil.which(name))), None)


def _device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "runtime.device",
            expected="a CUDA device",
            found="none that torch can use",
            remedy="set runtime.device to cpu or auto; see: mango doctor",
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _accelerator(device: torch.device):
    from accelerate import Accelerator

    if device.type == "cpu":
        os.environ.setdefault("ACCELERATE_USE_CPU", "1")
    return Accelerator(cpu=device.type == "cpu")
