"""When a tracked person's lips touch, which is what every opening is measured from."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.head.model import Head

NEARLY_CLOSED = 1 / 3  # of the frames of somebody who talks: lips touch, or nearly
WIDER = 2e-3  # metres: lips that far beyond those are an open mouth
BLOCK = 1_000  # frames posed at once, by less than 100 MB: a film may be hours long


def lip_openings(head: Head, motion: Float[Tensor, "time width"]) -> Float[Tensor, "time"]:
    """Metres, of the mean person, for motion of any length; see `Head.lip_opening`."""
    nobody = head.with_shape(motion.new_zeros(head.identities))
    return torch.cat([head.lip_opening_of(nobody.landmarks(**head.layout.unpack(block))) for block in motion.split(BLOCK)])


def resting_frames(
    opening: Float[Tensor, "time"], silent: Bool[Tensor, "time"], keep: Bool[Tensor, "time"], *, enough: int
) -> Bool[Tensor, "time"]:
    """Frames whose median lip opening (metres) stands for closed lips: silent ones, or the third of all kept ones that opens least.

    People hold their mouths open in pauses, to breathe, to begin: silent frames count that open hardly more than that third. The third
    itself where there are not ``enough`` of them.
    """
    least = opening[keep].quantile(NEARLY_CLOSED)
    rest = silent & keep & (opening <= least + WIDER)
    return rest if rest.sum() >= enough else keep & (opening <= least)
