"""One small correction of the tracker's camera per clip, learnt with the head. Not the focal length: no backend has its gradient."""

from collections.abc import Iterable

import roma
import torch
from jaxtyping import Float
from torch import Tensor, nn


class CameraRefinement(nn.Module):
    """Twists ``(rotation vector, translation)`` in camera coordinates, applied on the left of ``camera_from_world``."""

    def __init__(self, clips: Iterable[str]):
        super().__init__()
        self.twists = nn.ParameterDict({_name(clip): nn.Parameter(torch.zeros(6)) for clip in clips})

    def forward(self, clips: list[str], camera_from_world: Float[Tensor, "pictures 4 4"]) -> Float[Tensor, "pictures 4 4"]:
        twist = torch.stack([self.twists[_name(clip)] for clip in clips])
        change = roma.Rigid(roma.rotvec_to_rotmat(twist[:, :3]), twist[:, 3:]).to_homogeneous()
        return change @ camera_from_world


def _name(clip: str) -> str:
    return clip.replace(".", "%2E")  # torch keeps the dot for itself
