"""Where landmarks of motion labels lie in a picture."""

import torch
from jaxtyping import Float
from torch import Tensor

from mango.head.model import Head
from mango.types import MotionClip

AT_ONCE = 50  # frames whose vertices are in memory


def landmarks_in_picture(
    head: Head, labels: MotionClip, camera_from_world: Float[Tensor, "time_or_one 4 4"], intrinsics: Float[Tensor, "3 3"]
) -> Float[Tensor, "time 68 2"]:
    """iBUG's 68 points of the labels, placed in the world as they say, in pixels of the camera (OpenCV axes, as `PersonTrack`)."""
    with torch.inference_mode():
        windows = (slice(k, k + AT_ONCE) for k in range(0, len(labels), AT_ONCE))
        points = torch.cat([head.landmarks(head.vertices(labels.frames(window))) for window in windows])
        seen = points @ camera_from_world[:, :3, :3].mT + camera_from_world[:, None, :3, 3]
        pixels = seen @ intrinsics.T
        return pixels[..., :2] / pixels[..., 2:]
