"""More Gaussians where pictures ask for them (`renderer.density`), while one person's avatar learns."""

from dataclasses import dataclass

import torch

from mango.head.model import Head
from mango.training.lessons import Lesson
from mango.training.optim import Learner
from mango.training.runtime import Runtime
from renderer.density import DensityControl
from renderer.types import Rendering


@dataclass
class Growth:
    """Watches the pictures of a step, and changes the avatar after it."""

    control: DensityControl
    drawn: Rendering | None = None  # of the step that is being made; None where this process has no picture

    def watch(self, drawn: Rendering) -> None:
        """To be told before the gradient is computed; pictures that nothing is learnt from are passed over."""
        if drawn.means2d.requires_grad:
            drawn.means2d.retain_grad()
            self.drawn = drawn

    def grow(self, learner: Learner, head: Head, lesson: Lesson, runtime: Runtime, step: int) -> None:
        """After the ``step``-th step of the avatar's ``learner``. Every process sees what all pictures asked for, and does the same."""
        avatar, (rows, cols) = learner.model, lesson.recorded.size
        gradients, radii = avatar.offsets.new_zeros(2, 0, len(avatar.offsets), 2)
        if self.drawn is not None:
            own = (len(lesson.share_of_shots), len(avatar.offsets), 2)
            gradients, radii = self.drawn.means2d.grad.reshape(own), self.drawn.radii.reshape(own).float()
        gradients, radii = (runtime.gathered(part, lesson.share_of_shots, len(lesson.shots)) for part in (gradients, radii))
        with torch.no_grad():
            scales = avatar(head.with_shape(avatar.identity).template).scales  # at rest
        self.control.observe(scales, gradients, radii.int(), cols, rows)
        self.drawn = None
        self.control.step(step, avatar, learner.optimizer)
