"""Where and how training runs: device, precision, processes. The only file that names a device kind.

One process is the default. Under ``torchrun`` (or ``accelerate launch``) every process draws the same batch, keeps its share of the
windows with noise of its own, and gradients are averaged.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from mango.errors import InputError


@dataclass(frozen=True)
class RuntimeConfig:
    """Choices about the machine; none of them changes what is trained (beyond rounding)."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16: autocast, weights stay float32
    threads: int | None = None  # CPU threads; None = torch's choice


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

    def share(self, batch: int) -> list[int]:
        """Which windows of a batch are this process's."""
        if batch % self.processes:
            remedy = "change 'batch' or the number of processes"
            raise InputError("batch", expected=f"a multiple of {self.processes} processes", found=str(batch), remedy=remedy)
        return list(range(self.rank, batch, self.processes))

    def average_gradients(self, model: nn.Module) -> None:
        """Mean over processes; nothing to do for one."""
        if self._accelerator is None:
            return
        for parameter in model.parameters():
            if parameter.requires_grad:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = self._accelerator.reduce(gradient, reduction="mean")

    def wait(self) -> None:
        """Until every process is here (after the main one has written files)."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()


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
