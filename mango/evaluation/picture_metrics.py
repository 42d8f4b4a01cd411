"""Numbers about pictures in [0, 1]."""

from jaxtyping import Float
from torch import Tensor

from mango.losses.image import ssim as ssim_map


def psnr(
    prediction: Float[Tensor, "*batch rows cols channels"], truth: Float[Tensor, "*batch rows cols channels"]
) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio of each picture in [0, 1], dB, higher is better: 10 log10(1 / MSE); infinite for equal pictures."""
    return -10 * (prediction - truth).square().mean((-3, -2, -1)).log10()


def ssim(
    prediction: Float[Tensor, "*batch rows cols channels"], truth: Float[Tensor, "*batch rows cols channels"]
) -> Float[Tensor, "*batch"]:
    """Mean structural similarity of each picture, at most 1, higher is better: the mean of `mango.losses.image.ssim`."""
    return ssim_map(prediction, truth).mean((-3, -2, -1))
