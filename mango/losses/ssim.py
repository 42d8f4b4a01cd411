"""Structural similarity. It has one definition in the project, `ssim_plainly`; on a CPU the same numbers come picture by picture.

With the means of the window m_x, m_y, q of x^2 + y^2 and p of x y,

    S = A B / (C D),   A = 2 m_x m_y + c1,   B = 2 (p - m_x m_y) + c2,   C = m_x^2 + m_y^2 + c1,   D = q - m_x^2 - m_y^2 + c2

    dS/dm_x = 2 (m_y (B - A) / (C D) - m_x S (1/C - 1/D)),   dS/dq = -S / D,   dS/dp = 2 A / (C D)

and the window goes back over these as it came: it is symmetric.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

WINDOW = 11
SIGMA = 1.5
BORDER = WINDOW // 2  # rows and columns that the map lacks on each side
C1, C2 = 0.01**2, 0.03**2
BLOCK = 32  # rows or columns of a map that one product computes: a larger one multiplies more zeros, a smaller one starts more products


def ssim(
    prediction: Float[Tensor, "*batch rows cols channels"], truth: Float[Tensor, "*batch rows cols channels"]
) -> Float[Tensor, "*batch inner_rows inner_cols channels"]:
    """Structural similarity (Wang et al. 2004, eq. 13) per pixel and channel; 1 = equal, higher is better.

    Gaussian window of 11x11, sigma 1.5, K1 = 0.01, K2 = 0.03, range 1, weighted moments without sample correction. Only windows
    that lie wholly inside the picture count (the original's choice), so the map lacks ``BORDER`` pixels on each side
    and no padding rule enters the number.
    """
    rows, cols, channels = prediction.shape[-3:]
    assert min(rows, cols) >= WINDOW, f"SSIM needs pictures of at least {WINDOW} pixels a side, got {rows}x{cols}"
    if prediction.device.type != "cpu":
        return ssim_plainly(prediction, truth)
    flat = (picture.reshape(-1, rows, cols, channels) for picture in (prediction, truth))
    return _PictureByPicture.apply(*flat).reshape(*prediction.shape[:-3], rows - 2 * BORDER, cols - 2 * BORDER, channels)


def ssim_plainly(
    prediction: Float[Tensor, "*batch rows cols channels"], truth: Float[Tensor, "*batch rows cols channels"]
) -> Float[Tensor, "*batch inner_rows inner_cols channels"]:
    """The definition; the window as products with banded matrices."""
    x, y = prediction.movedim(-1, -3), truth.movedim(-1, -3)
    down, across = (_band(size - 2 * BORDER, x) for size in x.shape[-2:])
    m_x, m_y, q, p = (down @ torch.stack([x, y, x * x + y * y, x * y]) @ across.T).unbind(0)
    both = m_x * m_y
    squares = m_x**2 + m_y**2
    return ((2 * both + C1) * (2 * (p - both) + C2) / ((squares + C1) * (q - squares + C2))).movedim(-3, -1)


class _PictureByPicture(torch.autograd.Function):
    """All maps of one picture stay in the processor's cache, and a picture that asks for no gradient costs none."""

    @staticmethod
    def forward(ctx, *pictures: Float[Tensor, "pictures rows cols channels"]) -> Float[Tensor, "pictures inner_rows inner_cols channels"]:
        count, rows, cols, channels = pictures[0].shape
        similarity = pictures[0].new_empty(count, channels, rows - 2 * BORDER, cols - 2 * BORDER)
        # For each of the two pictures that asks: S's derivatives by the picture's mean, by q and by p.
        slopes = {k: similarity.new_empty(count, 3, *similarity.shape[1:]) for k in (0, 1) if ctx.needs_input_grad[k]}
        band, maps = _band(BLOCK, similarity), similarity.new_empty(4, channels, rows, cols)
        for i in range(count):
            x, y = (maps[k].copy_(pictures[k][i].movedim(-1, 0)) for k in (0, 1))
            torch.mul(x, x, out=maps[2]).addcmul_(y, y)
            torch.mul(x, y, out=maps[3])
            *means, q, p = _windowed(maps.flatten(0, 1), band).unflatten(0, (4, channels))
            both, squares = means[0] * means[1], (means[0] * means[0]).addcmul_(means[1], means[1])
            a, b, c, d = 2 * both + C1, (p - both).mul_(2).add_(C2), squares + C1, (q - squares).add_(C2)
            share = (c * d).reciprocal_()
            s = torch.mul(a * b, share, out=similarity[i])
            if slopes:
                s_d, crossed = s / d, (b - a).mul_(share)
                bent = (s / c).sub_(s_d)
            for k, of in slopes.items():
                torch.mul(means[1 - k], crossed, out=of[i, 0]).addcmul_(means[k], bent, value=-1).mul_(2)
                torch.neg(s_d, out=of[i, 1])
                torch.mul(a, share, out=of[i, 2]).mul_(2)
        ctx.save_for_backward(*pictures, *slopes.values())
        ctx.asked = tuple(slopes)
        return similarity.movedim(1, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Float[Tensor, "pictures inner_rows inner_cols channels"]) -> tuple[Tensor | None, Tensor | None]:
        *pictures, slopes = *ctx.saved_tensors[:2], ctx.saved_tensors[2:]
        gradients: list[Tensor | None] = [None, None]
        band, planes = _band(BLOCK, g), g.movedim(-1, 1)
        for k, of in zip(ctx.asked, slopes, strict=True):
            gradients[k] = torch.empty_like(pictures[k], memory_format=torch.contiguous_format)
            for i in range(len(g)):
                around = pad((of[i] * planes[i]).flatten(0, 1), (2 * BORDER,) * 4)
                by_mean, by_q, by_p = _windowed(around, band).unflatten(0, (3, -1))
                own, other = (pictures[n][i].movedim(-1, 0) for n in (k, 1 - k))
                gradients[k][i] = by_mean.addcmul_(own, by_q, value=2).addcmul_(other, by_p).movedim(0, -1)
        return tuple(gradients)


def _windowed(
    planes: Float[Tensor, "planes rows cols"], band: Float[Tensor, "block reach"]
) -> Float[Tensor, "planes inner_rows inner_cols"]:
    """The Gaussian window's mean wherever the window fits, block by block of rows and then of columns."""
    count, rows, cols = planes.shape
    low = planes.new_empty(count, rows - 2 * BORDER, cols)
    for start, stop, window in _blocks(low.shape[1], band):
        torch.bmm(window.expand(count, -1, -1), planes[:, start : stop + 2 * BORDER], out=low[:, start:stop])
    narrow = planes.new_empty(count, rows - 2 * BORDER, cols - 2 * BORDER)
    for start, stop, window in _blocks(narrow.shape[2], band):
        torch.bmm(low[:, :, start : stop + 2 * BORDER], window.mT.expand(count, -1, -1), out=narrow[:, :, start:stop])
    return narrow


def _blocks(inner: int, band: Float[Tensor, "block reach"]) -> Iterator[tuple[int, int, Float[Tensor, "size size_and_border"]]]:
    """Where each block of ``inner`` places starts and stops, and its part of the band."""
    for start in range(0, inner, BLOCK):
        size = min(BLOCK, inner - start)
        yield start, start + size, band[:size, : size + 2 * BORDER]


def _band(inner: int, like: Tensor) -> Float[Tensor, "inner size"]:
    """The Gaussian window at ``inner`` neighbouring places, as a banded matrix."""
    offsets = torch.arange(WINDOW, dtype=like.dtype, device=like.device) - BORDER
    window = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    window = window / window.sum()
    places = torch.arange(inner, device=like.device)[:, None] + torch.arange(WINDOW, device=like.device)
    return like.new_zeros(inner, inner + 2 * BORDER).scatter(1, places, window.expand(inner, -1))
