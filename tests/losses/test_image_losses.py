"""Picture losses against a plain double loop and against what a picture metric must notice."""

import numpy as np
import pytest
import torch

from mango.losses.image import l1, ssim
from mango.losses.ssim import BORDER, ssim_plainly


def pictures(rows=17, cols=14, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(rows, cols, 3, generator=generator, dtype=dtype)
    return (truth + 0.1 * torch.randn(rows, cols, 3, generator=generator, dtype=dtype)).clamp(0, 1), truth


def naive_ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The definition, one window at a time."""
    axis = np.arange(-5, 6)
    weights = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    rows, cols, channels = x.shape
    out = np.empty((rows - 10, cols - 10, channels))
    for r, c, k in np.ndindex(out.shape):
        p, t = x[r : r + 11, c : c + 11, k], y[r : r + 11, c : c + 11, k]
        mp, mt = (weights * p).sum(), (weights * t).sum()
        vp, vt = (weights * (p - mp) ** 2).sum(), (weights * (t - mt) ** 2).sum()
        cov = (weights * (p - mp) * (t - mt)).sum()
        out[r, c, k] = (2 * mp * mt + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mt**2 + 1e-4) * (vp + vt + 9e-4))
    return out


def test_ssim_is_its_definition():
    """Notices another window, sigma, padding, or rows and columns exchanged (the picture is not square)."""
    x, y = pictures()
    np.testing.assert_allclose(ssim(x, y).numpy(), naive_ssim(x.numpy(), y.numpy()), rtol=1e-9)


def test_ssim_is_unreduced_and_local():
    """Notices a reduced map and a window that reaches too far: one changed pixel touches 11x11 places of one channel."""
    _, truth = pictures(40, 40)
    changed = truth.clone()
    changed[20, 22, 1] += 0.3
    touched = (ssim(changed, truth) < 1 - 1e-9).nonzero()
    assert set(touched[:, 2].tolist()) == {1}
    assert touched[:, 0].min() == 20 - 2 * BORDER and touched[:, 0].max() == 20
    assert touched[:, 1].min() == 22 - 2 * BORDER and touched[:, 1].max() == 22


def test_ssim_gradient():
    x, y = pictures(12, 11)
    assert torch.autograd.gradcheck(lambda p: ssim(p, y), x[..., :1].expand(-1, -1, 3).clone().requires_grad_())


@pytest.mark.parametrize("size", [(11, 11), (42, 43), (75, 20)])
def test_ssim_picture_by_picture_is_the_plain_one(size):
    """Sizes of one window, of one block and the beginning of the next, of two blocks and a rest; gradients for either or both pictures.

    Planted and seen red: a block that starts a row late, the second picture's mean in place of the first's, half of q's gradient.
    """
    x, y = (torch.stack([one, other]) for one, other in zip(pictures(*size), pictures(*size, seed=1), strict=True))
    direction = torch.randn(2, size[0] - 10, size[1] - 10, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def results(similarity, asked, dtype):
        given = [picture.to(dtype, copy=True).requires_grad_(k in asked) for k, picture in enumerate((x, y))]
        value = similarity(*given)
        (value * direction.to(dtype)).sum().backward()
        assert [picture.grad is not None for picture in given] == [k in asked for k in (0, 1)]
        return [value.detach(), *(picture.grad for picture in given if picture.grad is not None)]

    for asked in ((0,), (1,), (0, 1)):
        exact = results(ssim_plainly, asked, torch.float64)
        torch.testing.assert_close(results(ssim, asked, torch.float64), exact)
        found, yardstick = (results(similarity, asked, torch.float32) for similarity in (ssim, ssim_plainly))
        for mine, plain, truth in zip(found, yardstick, exact, strict=True):
            assert (mine - truth).norm() <= 4 * (plain - truth).norm()


def test_ssim_of_equal_pictures_is_one_in_float32():
    """Notices a variance that cancels badly: flat bright areas are where float32 loses it."""
    flat = torch.full((16, 16, 3), 0.97)
    assert torch.allclose(ssim(flat, flat), torch.ones(6, 6, 3), atol=1e-4)


def test_batches_are_independent():
    x, y = pictures()
    both = ssim(torch.stack([x, y]), torch.stack([y, y]))
    torch.testing.assert_close(both[0], ssim(x, y))
    assert l1(torch.stack([x, y]), torch.stack([y, y]))[1].max() == 0
