"""Films of other people's recordings: what is in them, and the same at 25 frames a second with every frame a key frame."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mango.data.formats.pictures import picture_of
from mango.data.formats.recordings import Film, Sound
from mango.data.formats.timing import nearest_frames
from mango.data.video_index import BT601, BT709, FULL, LIMITED, UNSTATED, exact_conversion
from mango.errors import InputError


def film_of(path: Path) -> Film:
    """A film, by its index. Errors: InputError when it is none."""
    from mango.data.video_index import read_index

    index = read_index(path)
    if not 1 <= index.fps <= 1000 or len(index.order) == 0:
        found = f"{len(index.order)} frames at {float(index.fps):.4g} fps"
        raise InputError(path, expected="a film with a frame rate", found=found, remedy="encode the file again")
    return Film(path, index.fps, len(index.order), index.size, index.channels > 0)


def sound_of_film(path: Path) -> Sound | None:
    """The sound track of a film, where it has one."""
    from mango.data.video_index import read_index

    index = read_index(path)
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
    number, frames, picture = -1, _decoded(film.path), None
    for wanted in chosen:
        while number < wanted:
            picture, number = next(frames, None), number + 1
            if picture is None:
                found = f"{number} that can be decoded"
                raise InputError(film.path, expected=f"{film.frames} frames", found=found, remedy="copy or encode the file again")
        yield torch.from_numpy(_in_colours(picture)[:rows, :cols])


def _of_size(path: Path, size: tuple[int, int]) -> UInt8[np.ndarray, "rows cols 3"]:
    picture = picture_of(path)
    if picture.shape[:2] != size:
        (rows, cols), (found_rows, found_cols) = size, picture.shape[:2]
        remedy = "write all pictures and masks of a camera in one size"
        raise InputError(path, expected=f"{cols}x{rows} as the first picture", found=f"{found_cols}x{found_rows}", remedy=remedy)
    return picture


def _decoded(path: Path) -> Iterator[Any]:
    import av

    from mango.data.video_index import words

    try:
        with av.open(str(path)) as film:
            for frame in film.decode(video=0):
                if (frame.height, frame.width) != (film.streams.video[0].height, film.streams.video[0].width):
                    raise InputError(path, expected="one picture size", found="several", remedy="encode the file again")
                yield frame
    except av.FFmpegError as error:
        raise InputError(path, expected="an intact film", found=words(error), remedy="copy or encode the file again") from error


def _in_colours(frame: Any) -> np.ndarray:
    """RGB by the film's own tags; players' guess where it has none."""
    source = FULL if frame.color_range == FULL or frame.format.name.startswith("yuvj") else LIMITED
    guessed = BT709 if frame.height >= 720 else BT601
    space = guessed if frame.colorspace in (UNSTATED, 0) else frame.colorspace
    options = {"src_colorspace": space, "dst_colorspace": space, "src_color_range": source, "dst_color_range": FULL}
    return frame.reformat(format="rgb24", interpolation=exact_conversion(), **options).to_ndarray()


def seconds_of(film: Film) -> float:
    return float(film.frames / Fraction(film.fps))
