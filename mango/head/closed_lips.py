"""When a tracked person's lips touch, which is what every opening is measured from."""

from jaxtyping import Bool, Float
from torch import Tensor

NEARLY_CLOSED = 1 / 3  # of the frames of somebody who talks: lips touch, or nearly
WIDER = 1e-3  # metres: silent lips that far apart are those of an open mouth


def resting_frames(
    opening: Float[Tensor, "time"], silent: Bool[Tensor, "time"], keep: Bool[Tensor, "time"], *, enough: int
) -> Bool[Tensor, "time"]:
    """Frames whose median lip opening (metres) stands for closed lips: the silent ones, or the third of all kept ones that opens least.

    That third where there are not ``enough`` silent ones, and where those are breaths between words: people who talk on and on hold
    their mouths open in pauses, wider than in that third.
    """
    rest, least = silent & keep, opening[keep].quantile(NEARLY_CLOSED)
    heard = rest.sum() >= enough and opening[rest].median() <= least + WIDER
    return rest if heard else keep & (opening <= least)
