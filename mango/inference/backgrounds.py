"""What is behind the people: a colour, a picture, or nothing."""

from dataclasses import dataclass
from pathlib import Path

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
        size = max(width, round(cols * scale)), max(height, round(rows * scale))
        smaller = scale < 1
        grown = cv2.resize(self.colors.numpy(), size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        return torch.from_numpy(grown[top : top + height, left : left + width].copy()).clamp(0, 1)


Background = Picture | None  # None: transparent


def background_of(text: str) -> Background:
    """``transparent``, a colour by name or as #rrggbb, or a picture file."""
    if text == "transparent":
        return None
    if Path(text).is_file():
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
    return torch.from_numpy(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)).float() / 255
