"""What is written and drawn over the pictures: who speaks, and everybody's sound as a strip that moves with the playhead."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.errors import InputError
from mango.inference.views import Shot, View
from mango.types import PERSONS, SAMPLE_RATE

SMALLEST = 6  # pixels of letters, for names that are wider than the picture
UNDER_THE_CHIN_M = (0.0, -0.185, 0.0)  # where a name stands, from the middle of the head
SILENT, SPEAKING = 0.35, 0.92  # how solid a name is
INK, PAPER = (0.10, 0.11, 0.13), (1.0, 1.0, 1.0)
WAVE = {"a": (0.16, 0.42, 0.72), "b": (0.80, 0.36, 0.20)}
NO_LETTER = "\uffff"  # of which a font draws what it draws for all that it lacks
QUIETER = 0.1  # amplitude of the one voice over the other's, down to which it is shown as high
STRIP_SECONDS = 6.0  # of sound that a strip shows, the playhead in its middle
Canvas = Float[Tensor, "rows cols 4"]  # premultiplied colours and alpha


def over(canvas: Canvas, patch: Float[Tensor, "some_rows some_cols 4"], left: int, top: int, strength: float = 1.0) -> None:
    """``patch`` (premultiplied) over the canvas, in place; what does not fit is cut off."""
    rows, cols = canvas.shape[:2]
    first_row, first_col = max(0, -top), max(0, -left)
    piece = strength * patch[first_row : max(first_row, rows - top), first_col : max(first_col, cols - left)]
    place = canvas[top + first_row : top + first_row + piece.shape[0], left + first_col : left + first_col + piece.shape[1]]
    place.mul_(1 - piece[..., 3:]).add_(piece)


def check_letters(names: Iterable[str], font: Path | None) -> None:
    """Errors: InputError for a ``font`` that is none, and for letters that it lacks. None is Pillow's, of plain letters."""
    broken = [name for name in names if not name.isprintable()]
    if broken:
        remedy = "leave out line breaks and control characters"
        raise InputError("--names", expected="names of one line", found=repr(broken[0]), remedy=remedy)
    letters = _font(font, 40)
    none = bytes(letters.getmask(NO_LETTER))
    lacking = "".join(dict.fromkeys(letter for name in names for letter in name if bytes(letters.getmask(letter)) == none))
    if lacking:
        has = "plain letters, which are what the built-in font has" if font is None else f"letters that {font} has"
        remedy = "give --font the .ttf or .otf file of a font that has them"
        raise InputError("--names", expected=has, found=f"also {lacking}", remedy=remedy)


def _font(font: Path | None, size: int):
    from PIL import ImageFont

    if font is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(str(font), size)
    except OSError as error:
        found = "something else" if font.is_file() else "no such file"
        raise InputError(font, expected="a font (.ttf, .otf)", found=found, remedy="fc-list names those of this machine") from error


def write_names(
    canvas: Canvas, shots: Sequence[Shot], names: Mapping[str, str], speaking: Mapping[str, bool], font: Path | None = None
) -> None:
    """Everybody's name below the chin, solid while they speak. It stays within its person's picture; who has none stays without."""
    for shot in shots:
        name, size, width = names[shot.person].strip(), max(11, shot.camera.height // 18), shot.camera.width
        if not name:
            continue
        while (patch := name_patch(name, size, font)).shape[1] > width - 4 and size > SMALLEST:
            size -= 1
        across, down = where_under_the_chin(shot)
        left = max(min(round(across) - patch.shape[1] // 2, width - patch.shape[1] - 2), 2)
        top = min(shot.top + round(down), shot.top + shot.camera.height - patch.shape[0] - 2)
        over(canvas, patch[:, : width - left], shot.left + left, top, SPEAKING if speaking[shot.person] else SILENT)


def where_under_the_chin(shot: Shot) -> tuple[float, float]:
    """Pixels from the left and the top of the shot's rectangle."""
    point = shot.camera.camera_from_world[:3, :3] @ torch.tensor(UNDER_THE_CHIN_M) + shot.camera.camera_from_world[:3, 3]
    pixel = shot.camera.intrinsics @ (point / point[2])
    return float(pixel[0]), float(pixel[1])


@lru_cache(maxsize=64)
def name_patch(name: str, size: int, font: Path | None = None) -> Float[Tensor, "rows cols 4"]:
    """The name in light letters on a dark, rounded field; premultiplied."""
    from PIL import Image, ImageDraw

    letters, scale = _font(font, 4 * size), 4  # drawn at four times the size: Pillow's edges of shapes are hard
    left, top, right, bottom = letters.getbbox(name)
    pad = 2 * size
    picture = Image.new("RGBA", (right - left + 2 * pad, 4 * size + pad), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    dark, light = (tuple(round(255 * value) for value in colour) for colour in (INK, PAPER))
    draw.rounded_rectangle((0, 0, picture.width - 1, picture.height - 1), radius=picture.height // 2, fill=(*dark, 255))
    draw.text((pad - left, (picture.height - (bottom - top)) / 2 - top), name, font=letters, fill=(*light, 255))
    small = picture.resize((max(1, picture.width // scale), max(1, picture.height // scale)), Image.Resampling.LANCZOS)
    patch = torch.from_numpy(np.asarray(small).astype(np.float32) / 255)
    patch[..., :3] *= patch[..., 3:]
    return patch


class SoundStrips:
    """Below each picture of a grid, six seconds of its person's sound around the moment that is shown."""

    def __init__(self, voices: Float[Tensor, "person samples"], view: View):
        self.view, self.shots = view, view.stretches[0].shots
        self.height = view.height - self.shots[0].camera.height
        hop = max(1, round(STRIP_SECONDS / self.shots[0].camera.width * SAMPLE_RATE))  # samples to a pixel: whole ones
        self.seconds_per_pixel = hop / SAMPLE_RATE
        level = torch.nn.functional.pad(voices, (0, -voices.shape[1] % hop)).unflatten(1, (-1, hop)).abs().amax(2)
        loudest = level.amax(1, keepdim=True)
        audible = max(1e-3, QUIETER * float(loudest.max()))  # who says nothing has noise, which is not enlarged
        self.level = (level / loudest.clamp(min=audible)).sqrt()  # quiet speech shows too

    def draw(self, canvas: Canvas, seconds: float) -> None:
        width, middle = self.shots[0].camera.width, self.height // 2
        first = round(seconds / self.seconds_per_pixel) - width // 2
        away = (torch.arange(self.height) + 0.5 - middle).abs()[:, None]
        for shot in self.shots:
            columns = first + torch.arange(width)
            inside = (columns >= 0) & (columns < self.level.shape[1])
            level = torch.where(inside, self.level[PERSONS.index(shot.person)][columns.clamp(0, self.level.shape[1] - 1)], 0.0)
            solid = (away <= (level * 0.42 * self.height).clamp(min=0.5)).float()[..., None]
            fading = torch.where(columns[None, :, None] > first + width // 2, 0.45, 1.0)  # what is still to come
            strip = torch.cat([torch.tensor(WAVE[shot.person]).expand(self.height, width, 3), torch.ones(self.height, width, 1)], -1)
            over(canvas, strip * solid * fading, shot.left, shot.camera.height)
            playhead = torch.tensor((*INK, 1.0)).expand(self.height, 2, 4)
            over(canvas, playhead, shot.left + width // 2 - 1, shot.camera.height, 0.6)
