"""Films of other people's recordings: what is in them, and the same at 25 frames a second with every frame a key frame."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mango.data.film_reading import MISSING
from mango.data.formats import foreign_films
from mango.data.formats.pictures import picture_of
from mango.data.formats.recordings import Assumption, Film, Sound, converted
from mango.data.formats.timing import nearest_frame
from mango.errors import InputError
from mango.types import FRAME_RATE


def film_of(path: Path) -> Film:
    """A film, by its packets and its first picture. Errors: InputError when it is none, or truncated."""
    stored = foreign_films.stored_film(path)
    if stored.missing > MISSING:
        found, remedy = f"{float(stored.missing):.2f} s fewer: the file is truncated", "copy or encode the file again"
        raise InputError(path, expected="as long a film as the file promises", found=found, remedy=remedy)
    if not 1 <= stored.rate <= 1000:
        found = f"{stored.frames} frames at {float(stored.rate):.4g} fps"
        raise InputError(path, expected="a film with a frame rate", found=found, remedy="encode the file again")
    sound = Sound(path, seconds=float(stored.sound_seconds), until=float(stored.seconds)) if stored.channels else None
    return Film(path, stored.rate, stored.frames, stored.size, sound, changes=stored.changes)


def words_of(film: Film) -> list[Assumption]:
    """What its pictures are changed in when they are read."""
    return [converted(f"{film.path.name}: {change}") for change in film.changes]


def write_at_25(film: Film, out: Path, frames: int) -> None:
    """The film's first ``frames`` frames of 25 a second, as dialogue sets hold films. Each shows the source's frame nearest in time."""
    from mango.data.video import write_video

    write_video(out, pictures_at(film, [Fraction(frame, FRAME_RATE) for frame in range(frames)]), key_frame_every=1)


def pictures_at(film: Film, moments: Sequence[Fraction]) -> Iterator[UInt8[Tensor, "rows cols 3"]]:
    """The pictures nearest to moments in seconds, which rise; odd sizes lose their last row or column.

    Films are decoded from the start as players do: those of strangers bend rules that ours keep.
    """
    rows, cols = (extent - extent % 2 for extent in film.size)
    if film.pictures:
        for moment in moments:
            picture = _of_size(film.pictures[nearest_frame(film.frames, film.fps, moment)], film.size)
            yield torch.from_numpy(picture[:rows, :cols])
        return
    with closing(foreign_films.pictures_at(film.path, moments)) as pictures:
        yield from (torch.from_numpy(picture[:rows, :cols]) for picture in pictures)


def _of_size(path: Path, size: tuple[int, int]) -> UInt8[np.ndarray, "rows cols 3"]:
    picture = picture_of(path)
    if picture.shape[:2] != size:
        (rows, cols), (found_rows, found_cols) = size, picture.shape[:2]
        remedy = "write all pictures and masks of a camera in one size"
        raise InputError(path, expected=f"{cols}x{rows} as the first picture", found=f"{found_cols}x{found_rows}", remedy=remedy)
    return picture


def seconds_of(film: Film) -> float:
    return float(film.frames / Fraction(film.fps))
