"""The units a model thinks in: motion and voice features in standard deviations of the training set, which travel with the weights."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mango.head.layout import MotionLayout


class Normalised(nn.Module):
    """A model of ``layout``'s motion from ``voice_width`` features a frame. ``set_statistics`` fills what is 0 and 1 at first."""

    motion_mean: Tensor
    motion_std: Tensor
    voice_mean: Tensor
    voice_std: Tensor

    def __init__(self, layout: MotionLayout, voice_width: int):
        super().__init__()
        self.layout, self.voice_width = layout, voice_width
        for name, size in (("motion", layout.width), ("voice", voice_width)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    def set_statistics(
        self,
        motion_mean: Float[Tensor, "width"],
        motion_std: Float[Tensor, "width"],
        voice_mean: Float[Tensor, "features"],
        voice_std: Float[Tensor, "features"],
    ) -> None:
        """Statistics of the training split."""
        for name, value in (("motion_mean", motion_mean), ("motion_std", motion_std), ("voice_mean", voice_mean), ("voice_std", voice_std)):
            getattr(self, name).copy_(value)

    def normalised(self, motion: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return (motion - self.motion_mean) / self.motion_std

    def denormalised(self, normal: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return torch.addcmul(self.motion_mean, normal, self.motion_std)

    def normalised_voices(self, voices: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        return (voices - self.voice_mean) / self.voice_std
