"""Differences between pictures, unreduced: weighting and averaging belong to the caller.

Pictures are ``rows cols channels`` in [0, 1]. SSIM has one definition in the project; the loss is ``1 - ssim(...)`` and the
metric is its mean, so that a number in a table and a number in a loss curve are the same quantity.
"""

from jaxtyping import Float
from torch import Tensor

from mango.losses.perceptual import lpips
from mango.losses.ssim import ssim

__all__ = ["l1", "lpips", "ssim"]


def l1(
    prediction: Float[Tensor, "*batch rows cols channels"], truth: Float[Tensor, "*batch rows cols channels"]
) -> Float[Tensor, "*batch rows cols channels"]:
    """Absolute difference."""
    return (prediction - truth).abs()
