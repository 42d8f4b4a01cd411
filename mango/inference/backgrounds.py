"""What is behind the people: a colour, a picture, or nothing."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.errors import InputError

PLAIN = "#e6e8eb"  # neutral, a little cool, so that skin and white shirts both stand out


@dataclass(frozen=True)
class Picture:
    """A colour is a picture of one pixel."""

    colors: Float[Tensor, "rows cols 3"]

    def filling(self, width: int, height: int) -> Float[Tensor, "height width 3"]:
        """As large as it must be to cover the film, its middle in the film's middle."""
        import cv2

        rows, cols = self.colors.shape[:2]
        scale = max(width / cols, height / rows)
        across, down = min(cols, max(1, round(width / scale))), min(rows, max(1, round(height / scale)))  # what will be seen of it
        left, top = (cols - across) // 2, (rows - down) // 2
        seen = self.colors[top : top + down, left : left + across].numpy()
        filled = cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        return torch.from_numpy(filled).clamp(0, 1)


Background = Picture | None  # None: transparent


def background_of(text: str) -> Background:
    """``transparent``, a colour by name or as #rrggbb, or a picture file."""
    if text == "transparent":
        return None
    if os.path.isfile(text):  # unlike Path.is_file not an error for what is too long to be a name
        return Picture(_read(Path(text)))
    from PIL import ImageColor

    try:
        color = ImageColor.getrgb(text)
    except ValueError as error:
        remedy = 'write for example white, "#202830", transparent, or the path of a picture'
        raise InputError("background", expected="a colour, a picture file or transparent", found=repr(text), remedy=remedy) from error
    if len(color) != 3:
        remedy = 'write "#rrggbb"; transparent alone is wholly so'
        raise InputError("background", expected="a colour that covers", found=f"{text!r}, with a transparency", remedy=remedy)
    return Picture(torch.tensor(color).float().expand(1, 1, 3).contiguous() / 255)


def _read(path: Path) -> Float[Tensor, "rows cols 3"]:
    import cv2

    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise InputError(path, expected="a picture (PNG, JPEG, WebP)", found="something else", remedy="convert it, or give a colour")
    whole = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)  # which keeps alpha, and leaves photographs lying on their side
    if whole.ndim == 3 and whole.shape[2] == 4 and whole[..., 3].min() < np.iinfo(whole.dtype).max:
        remedy = "lay it over a colour first"
        raise InputError(path, expected="a picture that covers", found="one with transparent parts", remedy=remedy)
    return torch.from_numpy(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)).float() / 255
