"""Where the pictures of a film lie in its file, or in the shard that it is a member of, read once without decoding anything."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from mango.data.film_packets import FilmPackets, packets_of, words
from mango.data.members import span
from mango.errors import InputError
from mango.types import StoredFile


@dataclass(frozen=True)
class VideoIndex:
    """Where every packet of the picture stream lies, in decoding order, and which frames of the film they are."""

    file: Path  # that the bytes lie in: the film, or the shard that it is a member of
    places: np.ndarray  # (packets,) bytes from the start of that file
    sizes: np.ndarray  # (packets,) bytes
    times: np.ndarray  # (packets,) presentation time in ticks
    starts: np.ndarray  # (packets,) the key packet that decoding has to start from
    order: np.ndarray  # (frames,) packet of each frame, in the order they are shown
    fps: Fraction
    size: tuple[int, int]  # rows, cols
    codec: str
    extradata: bytes | None
    pixels: str
    channels: int  # of the sound, 0 = silent film
    sound_seconds: float
    steady: bool  # frames come at equal distances
    stamp: tuple[int, ...]  # of the file that this is the index of


def read_index(path: StoredFile) -> VideoIndex:
    import av

    if not path.is_file():
        raise InputError(path, expected="a video", found="no such file", remedy="check the path")
    try:
        with (
            nullcontext(os.path.abspath(path)) if isinstance(path, Path) else path.open("rb") as source,
            av.open(source, metadata_errors="replace") as film,
        ):
            found = packets_of(film)
    except av.FFmpegError as error:
        raise InputError(path, expected="a video", found=words(error), remedy="copy or encode the file again") from error
    return index_of(path, found)


def index_of(path: StoredFile, packets: FilmPackets) -> VideoIndex:
    """Errors: InputError for anything but a whole mp4 film whose frames have times."""
    if "mp4" not in packets.container:
        remedy = "convert it, for example: ffmpeg -i FILE -c:v libx264 -c:a aac FILE.mp4"
        raise InputError(path, expected="an mp4 or mov video", found=packets.container_name, remedy=remedy)
    if not packets.pictures:
        raise InputError(path, expected="a video", found="a file without pictures", remedy="check which file this is")
    places, sizes = np.array(packets.places, dtype=np.int64), np.array(packets.sizes, dtype=np.int64)
    file, start, size = span(path)
    stat = file.stat()
    cut = "copy or encode the file again"
    whole = sum(packets.whole)
    if not len(places) or max(packets.frames, len(places)) > whole or (places + sizes).max() > size:
        raise InputError(path, expected=f"{packets.frames} frames", found=f"{whole}: the file is truncated", remedy=cut)
    if None in packets.times or len(set(packets.times)) < len(places):
        raise InputError(path, expected="a time for every frame", found="frames without one", remedy="encode the file again")
    times = np.array(packets.times, dtype=np.int64)
    shown = np.flatnonzero(packets.shown)
    order = shown[np.argsort(times[shown])]
    return VideoIndex(
        file=file,
        places=places + start,
        sizes=sizes,
        times=times,
        starts=_starts(times, packets.keys),
        order=order,
        fps=Fraction(*packets.rate),
        size=packets.size,
        codec=packets.codec,
        extradata=packets.extradata,
        pixels=packets.pixels,
        channels=packets.channels,
        sound_seconds=packets.sound_seconds,
        steady=len(set(np.diff(times[order]).tolist())) <= 1,
        stamp=(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, start),
    )


def _starts(times: np.ndarray, is_key: Sequence[bool]) -> np.ndarray:
    """The last key packet at or before each packet that is also shown no later (pictures that lead an open group of
    pictures need the group before)."""
    starts, keys = [], []
    for packet, time in enumerate(times):
        if is_key[packet] or not keys:
            keys.append(packet)
        fitting = [key for key in keys[-2:] if times[key] <= time]
        starts.append(fitting[-1] if fitting else keys[0])
    return np.array(starts, dtype=np.int64)
