"""Picture metrics against values worked out by hand."""

import pytest
import torch

from mango.evaluation import picture_metrics as m


def test_psnr_and_ssim_by_hand():
    truth = torch.full((2, 16, 16, 3), 0.5, dtype=torch.float64)
    off = truth.clone()
    off[1] += 0.1
    values = m.psnr(off, truth)
    assert values[0].isinf() and values[1].item() == pytest.approx(20)
    flat = (2 * 0.6 * 0.5 + 1e-4) / (0.6**2 + 0.5**2 + 1e-4)  # flat pictures differ in luminance only
    torch.testing.assert_close(m.ssim(off, truth), torch.tensor([1.0, flat], dtype=torch.float64))
