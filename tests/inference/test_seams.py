"""Windows of a long recording join without a seam. The model is nearly the ideal one of smooth motion: what a denoiser knows of a Gaussian
process from noisy frames and from the context, which it takes to be exact to 3 % of a standard deviation, as a trained model does not
quite go on from where it was."""

import pytest
import torch
from torch import nn

from mango.diffusion.objective import DiffusionConfig, noise_scheduler, schedule
from mango.head.layout import MotionLayout
from mango.inference.generation import GenerationConfig, generate, windows

LAYOUT = MotionLayout(4)
WINDOW, CONTEXT, FRAMES = 64, 8, 1500
SIGNAL = schedule(DiffusionConfig()).signal


class SmoothMotion(nn.Module):
    """E[clean | noisy, given]: every channel a stationary Gaussian process of unit variance with continuous accelerations (Matern 5/2)."""

    identity_width, layout = 3, LAYOUT

    def normalised(self, motion):
        return motion

    def denormalised(self, normal):
        return normal

    def listen(self, voices, speaking, inside, drop):
        return None

    def forward(self, noisy, level, conditions, identity, keep, given):
        known, frames = given[0, 0], torch.arange(noisy.shape[2]).double()
        lag = (frames[:, None] - frames).abs() / 4
        prior = (1 + lag + lag**2 / 3) * torch.exp(-lag)
        share = SIGNAL[level[0]].double()
        seen = torch.where(known, 1.0, share.sqrt())
        spread = torch.where(known, 0.03**2, 1 - share)
        gain = prior * seen @ torch.linalg.inv(seen[:, None] * prior * seen + torch.diag(spread))
        return (gain @ noisy.double()).to(noisy)


def clip(sampler="ddim"):
    voices, speaking, config = torch.zeros(2, FRAMES, 1), torch.zeros(2, FRAMES), GenerationConfig(sampler=sampler)
    return generate(SmoothMotion(), noise_scheduler(DiffusionConfig(), sampler), voices, speaking, config, window=WINDOW, context=CONTEXT)


def jerk(motion):
    """Third differences: of every frame and the three after it."""
    return motion.diff(n=3, dim=1).square().sum((0, 2)).sqrt()


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_seams_jerk_no_more_than_the_rest(sampler):
    """At each frame around a seam, the mean over all seams stays below what 95 % of the clip's frames stay below. Planted once, in 95th
    percentiles: no context (2.2), no blend (2.3), a linear ramp, which leaves the old window with a kink (3.5)."""
    motion, overlap = clip(sampler), CONTEXT + GenerationConfig().blend
    starts = [first for first, _ in windows(FRAMES, WINDOW - CONTEXT, WINDOW, overlap)][1:-1]
    assert len(starts) > 20 and 0.8 < motion.std() < 1.2, "the model moves"
    frames = jerk(motion)
    near = torch.stack([frames[first - 3 : first + overlap + 4] for first in starts]).mean(dim=0)
    assert (near / frames.quantile(0.95)).max() < 1
