"""Linear layers as fast as the processor allows."""

from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

IMAGES = 16  # as many pictures as torch wants before it hands a 1x1 convolution on one thread to oneDNN
LARGE = 2**22  # multiplications; below, starting a convolution costs what it saves


class Linear(nn.Linear):
    """torch's layer, weights and all."""

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return linear(x, self.weight, self.bias)


def linear(
    x: Float[Tensor, "*batch inputs"], weight: Float[Tensor, "outputs inputs"], bias: Float[Tensor, "outputs"]
) -> Float[Tensor, "*batch outputs"]:
    """``x @ weight.T + bias``, where it pays as a convolution that looks at one pixel: the tokens are the pixels of sixteen pictures.

    torch computes matrix products with Intel's MKL, which on AMD's processors reaches half the speed of oneDNN; but convolutions with
    oneDNN. Equal up to rounding, forward and backward.
    """
    tokens = x.shape[:-1].numel()
    plain = x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu") or not mkl_is_slow()
    if plain or tokens % IMAGES or x.numel() * len(weight) <= LARGE:
        return nn.functional.linear(x, weight, bias)
    pictures = x.reshape(IMAGES, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)  # channels last in memory: nothing is copied
    return conv2d(pictures, weight[:, :, None, None], bias).permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


@torch.compiler.assume_constant_result
def mkl_is_slow() -> bool:
    """Whether matrix products are MKL's here, on a processor that is not Intel's, and oneDNN is there instead."""
    return _mkl_is_slow()


@lru_cache
def _mkl_is_slow() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and cpuinfo.exists()
        and "AuthenticAMD" in cpuinfo.read_text()
    )
