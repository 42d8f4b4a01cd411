"""Where each part of a motion lies in a flat vector: the only owner of offsets in the project."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mango.types import MotionClip


@dataclass(frozen=True)
class MotionLayout:
    """What the motion model predicts, per frame: ``expr | neck_pose | jaw_pose | eyes_pose``.

    ``rotation`` and ``translation`` are placement, not motion, and stay outside (zero in a clip made from a vector).
    """

    expressions: int

    @property
    def widths(self) -> dict[str, int]:
        return {"expr": self.expressions, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6}

    @property
    def width(self) -> int:
        return sum(self.widths.values())

    def where(self, part: str) -> slice:
        """The place of one part in the flat vector."""
        start = 0
        for name, width in self.widths.items():
            if name == part:
                return slice(start, start + width)
            start += width
        raise KeyError(f"no motion part {part!r}; there are {', '.join(self.widths)}")

    def pack(self, clip: MotionClip) -> Float[Tensor, "time width"]:
        return torch.cat([getattr(clip, name) for name in self.widths], dim=-1)

    def unpack(self, flat: Float[Tensor, "*batch width"]) -> dict[str, Float[Tensor, "*batch part"]]:
        return dict(zip(self.widths, flat.split(list(self.widths.values()), dim=-1), strict=True))

    def clip(self, flat: Float[Tensor, "time width"], shape: Float[Tensor, "identity"], head: str) -> MotionClip:
        """A clip placed at the origin from flat motion."""
        nothing = flat.new_zeros(flat.shape[0], 3)
        return MotionClip(**self.unpack(flat), rotation=nothing, translation=nothing, shape=shape, head=head)
