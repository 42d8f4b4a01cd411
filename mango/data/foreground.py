"""The person alone: what a picture shows of a person, laid over another background than the wall they were filmed before."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

CELLS = 32  # into which rows, and columns, are parted
AROUND = 5  # cells whose wall a pixel is taken to stand before, in rows and in columns


def over_background(
    pictures: Float[Tensor, "pictures rows cols 3"], mattes: Float[Tensor, "pictures rows cols 1"], background: Float[Tensor, "3"]
) -> Float[Tensor, "pictures rows cols 3"]:
    """Replaces in ``pictures`` what is not the person. All in [0, 1].

    A pixel of the rim shows matte * person + (1 - matte) * wall. Matte * pixel would hold the wall's colour once more, as a pale or dark
    seam about the person; so the wall is taken out first. It is not seen behind the person, and is taken to be what is seen near by, as
    in the background's term of Forte and Pitie, "Approximate fast foreground colour estimation" (ICIP 2021).
    """
    rows, cols = pictures.shape[1:3]
    rim = (mattes > 0) & (mattes < 1)
    picture, row, col = rim[..., 0].nonzero().unbind(1)
    wall = walls(pictures, mattes)[picture, row * CELLS // rows, col * CELLS // cols]
    matte = mattes[picture, row, col]
    person = torch.minimum((pictures[picture, row, col] - (1 - matte) * wall).clamp_min(0), matte)
    everywhere = background.expand(rows, cols, 3).contiguous()  # broadcasting three numbers takes longer than all the rest
    pictures = torch.lerp(everywhere, pictures, mattes.expand_as(pictures).contiguous())
    pictures[picture, row, col] = person + (1 - matte) * background
    return pictures


def walls(
    pictures: Float[Tensor, "pictures rows cols 3"], mattes: Float[Tensor, "pictures rows cols 1"]
) -> Float[Tensor, "pictures 32 32 3"]:
    """What is not the person, blurred. Of the pixels near by that show it, all count for as much as they do."""
    step = max(1, min(pictures.shape[1:3]) // (2 * CELLS))
    some, seen = pictures[:, ::step, ::step], 1 - mattes[:, ::step, ::step]
    cells = adaptive_avg_pool2d(torch.cat([some * seen, seen], -1).movedim(-1, 1).contiguous(), CELLS)
    blurred = avg_pool2d(cells, AROUND, 1, AROUND // 2, count_include_pad=False).movedim(1, -1)
    return blurred[..., :3] / blurred[..., 3:].clamp_min(1e-3)
