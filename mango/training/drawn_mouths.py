"""How well avatars draw the mouths of people who speak: the yardstick by which a tracker's habits are measured.

Calibration and sharpening (`mango.training.calibration`, `mango.training.sharpening`) try a few sizes of a correction; the best is where a
parabola through the errors is lowest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from mango.training.lessons import Lesson
from mango.training.picture_losses import PictureLossWeights, RegionWeights, pixel_weights
from mango.training.stage2 import picture_parts
from mango.training.studio import Learners, Studio

L1 = PictureLossWeights(l1=1.0, ssim=0.0, silhouette=0.0)
MOUTH = RegionWeights(background=0.0, head=0.0, mouth=1.0, eyes=0.0)


def nothing() -> Float64[Tensor, ""]:
    return torch.zeros((), dtype=torch.float64)


@dataclass
class DrawingError:
    """Mean absolute error, gathered lesson by lesson. Every process adds its share of each lesson."""

    studio: Studio
    learners: Learners
    errors: Float64[Tensor, ""] = field(default_factory=nothing)
    weights: Float64[Tensor, ""] = field(default_factory=nothing)

    @torch.no_grad()
    def add(self, lesson: Lesson) -> None:
        """Its pictures, drawn from the bank. One whose mouth is outside of it does not count."""
        seen = pixel_weights(lesson.recorded, MOUTH).sum((1, 2, 3)) > 0
        speaking = lesson.windows.speaking[lesson.places] * seen
        self.errors += picture_parts(self.studio, self.learners, lesson, L1, MOUTH, of_picture=speaking)["l1"].cpu()
        self.weights += (speaking.sum() / len(lesson.shots)).cpu()

    def mean(self) -> float:
        """Over all processes' pictures of speaking mouths, of 255."""
        whole = self.studio.runtime.summed({"errors": self.errors, "weights": self.weights})
        return 255 * float(whole["errors"]) / max(float(whole["weights"]), 1e-6)


def lowest(
    errors: Mapping[float, float], scale: Callable[[float], float] = lambda size: size, back: Callable[[float], float] = lambda size: size
) -> float:
    """The size, among those tried and between them, at which the error is least: of a parabola over ``scale(size)``.

    Where that does not bend upwards, or fewer than three were tried, the best of them.
    """
    sizes = sorted(errors)
    best = min(sizes, key=lambda size: errors[size])
    if len(sizes) < 3:
        return best
    bend, slope, _ = np.polyfit([scale(size) for size in sizes], [errors[size] for size in sizes], 2)
    return float(np.clip(back(-slope / (2 * bend)), sizes[0], sizes[-1])) if bend > 0 else best
