"""Films of other people's recordings: what is in them, and the same at 25 frames a second with every frame a key frame."""

from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mango.data.formats.foreign_films import decoded, index_of_film
from mango.data.formats.pictures import picture_of
from mango.data.formats.recordings import Film, Sound
from mango.data.formats.timing import nearest_frames
from mango.errors import InputError


def film_of(path: Path) -> Film:
    """A film, by its index. Errors: InputError when it is none."""
    index = index_of_film(path)
    if not 1 <= index.fps <= 1000 or len(index.order) == 0:
        found = f"{len(index.order)} frames at {float(index.fps):.4g} fps"
        raise InputError(path, expected="a film with a frame rate", found=found, remedy="encode the file again")
    return Film(path, index.fps, len(index.order), index.size, index.channels > 0)


def sound_of_film(path: Path) -> Sound | None:
    """The sound track of a film, where it has one."""
    index = index_of_film(path)
    return Sound(path, seconds=index.sound_seconds or len(index.order) / float(index.fps)) if index.channels else None


def write_at_25(film: Film, out: Path, frames: int) -> None:
    """The film's first ``frames`` frames of 25 a second, as dialogue sets hold films. Each shows the source's frame nearest in time."""
    from mango.data.video import write_video

    write_video(out, pictures_at(film, nearest_frames(film.frames, film.fps, frames)), key_frame_every=1)


def pictures_at(film: Film, chosen: list[int]) -> Iterator[UInt8[Tensor, "rows cols 3"]]:
    """Frames by ascending numbers, repeats allowed; odd sizes lose their last row or column.

    Decoded from the start as players do: films of strangers bend rules that ours keep.
    """
    rows, cols = (extent - extent % 2 for extent in film.size)
    if film.pictures:
        yield from (torch.from_numpy(_of_size(film.pictures[wanted], film.size)[:rows, :cols]) for wanted in chosen)
        return
    frames, number, picture = decoded(film.path, sorted(set(chosen))), -1, None
    with closing(frames):
        for wanted in chosen:
            if wanted != number:
                picture, number = next(frames, None), wanted
            if picture is None or picture.shape[:2] != film.size:
                found = "fewer, or of several sizes"
                raise InputError(film.path, expected=f"{film.frames} frames", found=found, remedy="copy or encode the file again")
            yield torch.from_numpy(picture[:rows, :cols])
        next(frames, None)  # hears that this was all: the process stays for the next film


def _of_size(path: Path, size: tuple[int, int]) -> UInt8[np.ndarray, "rows cols 3"]:
    picture = picture_of(path)
    if picture.shape[:2] != size:
        (rows, cols), (found_rows, found_cols) = size, picture.shape[:2]
        remedy = "write all pictures and masks of a camera in one size"
        raise InputError(path, expected=f"{cols}x{rows} as the first picture", found=f"{found_cols}x{found_rows}", remedy=remedy)
    return picture


def seconds_of(film: Film) -> float:
    return float(film.frames / Fraction(film.fps))
