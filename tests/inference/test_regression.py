"""The baseline that sees: trained by its config, evaluated by the usual command, refused where motion has to come from sound alone.

Faults these tests notice, each planted once: windows that lose or double frames; the context's frames unfaded; own labels shown.
"""

import pytest
import torch

from mango.head.layout import MotionLayout
from mango.inference.regression import regress
from mango.models.motion import MotionModelConfig
from mango.models.regressor import PartnerMotionRegressor

LAYOUT = MotionLayout(4)


class Echo(PartnerMotionRegressor):
    """Predicts what it is shown of the partner, plus how far into the window it is."""

    def __init__(self):
        super().__init__(MotionModelConfig(width=8, depth=1, heads=2), LAYOUT, 3)
        self.motion_mean.fill_(1.0)
        self.motion_std.fill_(2.0)
        self.ramp = 0.0

    def forward(self, voices, motion, inside):
        return motion.flip(1) + self.ramp * torch.arange(motion.shape[2])[:, None]


@pytest.mark.parametrize("frames", [1, 9, 10, 11, 26, 50])
def test_every_frame_once_from_the_partner(frames):
    motion = torch.randn(2, frames, LAYOUT.width, generator=torch.Generator().manual_seed(0))
    keep = torch.ones(2, frames, dtype=torch.bool)
    keep[0, frames // 2 :] = False
    seen = torch.where(keep[..., None], motion, 1.0)  # who is not tracked is shown at the mean
    result = regress(Echo(), torch.zeros(2, frames, 3), motion, keep, window=10, overlap=4)
    torch.testing.assert_close(result, seen.flip(0))


def test_windows_are_faded_into_each_other():
    """A step of a whole window's ramp at each border becomes a slope over the frames that two windows share."""
    model = Echo()
    model.ramp = 1.0
    frames = torch.ones(2, 40, dtype=torch.bool)
    result = regress(model, torch.zeros(2, 40, 3), torch.ones(2, 40, LAYOUT.width), frames, window=10, overlap=4)
    assert result.diff(dim=1).abs().max() < 2 * 6 / 2, "without fading a border is a step of 2 x 6"
