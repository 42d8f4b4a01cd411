"""Differences between pictures, unreduced: weighting and averaging belong to the caller.

Pictures are ``rows cols channels`` in [0, 1]. SSIM has one definition in the project; the loss is ``1 - ssim(...)`` and the
metric is its mean, so that a number in a table and a number in a loss curve are the same quantity.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mango.errors import InputError
from mango.losses.ssim import ssim

__all__ = ["l1", "lpips", "ssim"]


def l1(
    prediction: Float[Tensor, "*batch rows cols channels"], truth: Float[Tensor, "*batch rows cols channels"]
) -> Float[Tensor, "*batch rows cols channels"]:
    """Absolute difference."""
    return (prediction - truth).abs()


def lpips(
    prediction: Float[Tensor, "*batch rows cols 3"], truth: Float[Tensor, "*batch rows cols 3"], net: str = "vgg"
) -> Float[Tensor, "*batch"]:
    """Learned perceptual distance (Zhang et al. 2018), one number a picture; lower is better. Differentiable.

    ``net`` is "vgg" (what avatar papers evaluate with) or "alex"; a number without its net means nothing, so name it in tables.
    Needs the optional ``lpips`` package, which fetches the backbone's weights the first time.
    """
    network = _lpips_network(net, prediction.device)
    scaled = [
        2 * picture.movedim(-1, -3).flatten(0, -4) - 1 if picture.ndim > 3 else 2 * picture.movedim(-1, -3)[None] - 1
        for picture in (prediction, truth)
    ]  # the package's range is [-1, 1]
    return network(*scaled).reshape(prediction.shape[:-3])


@lru_cache(maxsize=2)
def _lpips_network(net: str, device: torch.device) -> nn.Module:
    remedy = "install the extra with `pip install 'mango-heads[cuda]'` or set the LPIPS weight to 0"
    if net not in ("vgg", "alex"):
        raise InputError("LPIPS", expected="net 'vgg' or 'alex'", found=repr(net), remedy="choose one of the two")
    try:
        import lpips as package
    except Exception as error:  # a torchvision of another build fails with RuntimeError, not ImportError
        raise InputError(
            "LPIPS", expected="the optional package 'lpips'", found=f"{type(error).__name__}: {error}", remedy=remedy
        ) from error
    try:
        network = package.LPIPS(net=net, verbose=False)
    except OSError as error:  # URLError is one
        raise InputError(
            "LPIPS",
            expected=f"the weights of {net}",
            found=str(error),
            remedy="connect once so that torchvision can fetch them, or set the LPIPS weight to 0",
        ) from error
    return network.eval().requires_grad_(False).to(device)
