"""Differences between pictures, unreduced: weighting and averaging belong to the caller.

Pictures are ``rows cols channels`` in [0, 1]. SSIM has one definition in the project; the loss is ``1 - ssim(...)`` and the
metric is its mean, so that a number in a table and a number in a loss curve are the same quantity.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mango.errors import InputError

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_BORDER = SSIM_WINDOW // 2  # rows and columns that the map lacks on each side


def l1(
    prediction: Float[Tensor, "*batch rows cols channels"], truth: Float[Tensor, "*batch rows cols channels"]
) -> Float[Tensor, "*batch rows cols channels"]:
    """Absolute difference."""
    return (prediction - truth).abs()


def ssim(
    prediction: Float[Tensor, "*batch rows cols channels"], truth: Float[Tensor, "*batch rows cols channels"]
) -> Float[Tensor, "*batch inner_rows inner_cols channels"]:
    """Structural similarity (Wang et al. 2004, eq. 13) per pixel and channel; 1 = equal, higher is better.

    Gaussian window of 11x11, sigma 1.5, K1 = 0.01, K2 = 0.03, range 1, weighted moments without sample correction. Only windows
    that lie wholly inside the picture count (the original's choice), so the map lacks ``SSIM_BORDER`` pixels on each side
    and no padding rule enters the number.
    """
    rows, cols = prediction.shape[-3:-1]
    assert min(rows, cols) >= SSIM_WINDOW, f"SSIM needs pictures of at least {SSIM_WINDOW} pixels a side, got {rows}x{cols}"
    x, y = prediction.movedim(-1, -3), truth.movedim(-1, -3)
    blur_rows, blur_cols = _blur(rows, x), _blur(cols, x)
    # As products with banded matrices: on a CPU 10-20 times faster than a convolution with one channel.
    moments = blur_rows @ torch.stack([x, y, x * x, y * y, x * y]) @ blur_cols.T
    mean_x, mean_y, square_x, square_y, product = moments.unbind(0)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * (product - mean_x * mean_y) + c2) / (square_x - mean_x**2 + square_y - mean_y**2 + c2)
    return (luminance * structure).movedim(-3, -1)


def _blur(size: int, like: Tensor) -> Float[Tensor, "inner size"]:
    """The Gaussian window at every place where it fits, as a banded matrix."""
    offsets = torch.arange(SSIM_WINDOW, dtype=like.dtype, device=like.device) - SSIM_BORDER
    window = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    window = window / window.sum()
    inner = size - 2 * SSIM_BORDER
    places = torch.arange(inner, device=like.device)[:, None] + torch.arange(SSIM_WINDOW, device=like.device)
    return like.new_zeros(inner, size).scatter(1, places, window.expand(inner, -1))


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
