"""One clock for sound and motion: 16,000 samples and 25 frames a second, 640 samples a frame.

A recording has as many frames as it has whole frames of samples; what is left over at the end belongs to no frame.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mango.types import FRAME_RATE, SAMPLE_RATE

SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE


def frame_count(samples: int) -> int:
    """Whole frames in so many samples."""
    return samples // SAMPLES_PER_FRAME


def sample_count(frames: int) -> int:
    return frames * SAMPLES_PER_FRAME


def framed(
    rows: Float[Tensor, "rows width"], *, first_centre: float | int, stride: float | int, frames: int
) -> Float[Tensor, "time width"]:
    """Feature rows of any rate at exactly 25 rows a second.

    Row i is centred on sample ``first_centre + i * stride``. A frame takes the mean of the linearly interpolated rows at
    one and three quarters of it, so that at 50 rows a second both rows of a frame count. Ends are held.
    """
    quarters = torch.tensor([0.25, 0.75], dtype=torch.float64)
    samples = (torch.arange(frames, dtype=torch.float64)[:, None] + quarters) * SAMPLES_PER_FRAME
    position = ((samples - first_centre) / stride).clamp(0, rows.shape[0] - 1)
    below = position.floor().long()
    above = (below + 1).clamp(max=rows.shape[0] - 1)
    weight = (position - below).to(rows.dtype)[..., None]
    return torch.lerp(rows[below], rows[above], weight).mean(dim=1)
