"""Where the pictures of a film lie in its file, or in the shard that it is a member of, read once without decoding anything."""

import os
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mango.data.members import span
from mango.errors import InputError
from mango.types import StoredFile

BT709, BT601, UNSTATED = 1, 5, 2  # numbers of ITU-T H.273, as FFmpeg has them
LIMITED, FULL = 1, 2  # FFmpeg's colour ranges


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
        with nullcontext(os.fspath(path)) if isinstance(path, Path) else path.open("rb") as source, av.open(source) as film:
            if "mp4" not in film.format.name:
                remedy = "convert it, for example: ffmpeg -i FILE -c:v libx264 -c:a aac FILE.mp4"
                raise InputError(path, expected="an mp4 or mov video", found=film.format.long_name, remedy=remedy)
            if not film.streams.video:
                raise InputError(path, expected="a video", found="a file without pictures", remedy="check which file this is")
            return _indexed(path, film)
    except av.FFmpegError as error:
        raise InputError(path, expected="a video", found=words(error), remedy="copy or encode the file again") from error


def _indexed(path: StoredFile, film: Any) -> VideoIndex:
    stream = film.streams.video[0]
    packets = [packet for packet in film.demux(stream) if packet.size]
    places = np.array([packet.pos for packet in packets], dtype=np.int64)
    sizes = np.array([packet.size for packet in packets], dtype=np.int64)
    file, start, size = span(path)
    stat = file.stat()
    cut = "copy or encode the file again"
    whole = sum(not packet.is_corrupt for packet in packets)  # the last packet of a truncated file is marked so
    if not packets or max(stream.frames, len(packets)) > whole or (places + sizes).max() > size:
        raise InputError(path, expected=f"{stream.frames} frames", found=f"{whole}: the file is truncated", remedy=cut)
    if any(packet.pts is None for packet in packets) or len({packet.pts for packet in packets}) < len(packets):
        raise InputError(path, expected="a time for every frame", found="frames without one", remedy="encode the file again")
    times = np.array([packet.pts for packet in packets], dtype=np.int64)
    shown = np.flatnonzero([not packet.is_discard for packet in packets])
    order = shown[np.argsort(times[shown])]
    sound = film.streams.audio[0] if film.streams.audio else None
    return VideoIndex(
        file=file,
        places=places + start,
        sizes=sizes,
        times=times,
        starts=_starts(times, [packet.is_keyframe for packet in packets]),
        order=order,
        fps=Fraction(stream.average_rate or 0),
        size=(stream.codec_context.height, stream.codec_context.width),
        codec=stream.codec_context.name,
        extradata=stream.codec_context.extradata,
        pixels=stream.codec_context.pix_fmt or "",
        channels=sound.codec_context.channels if sound else 0,
        sound_seconds=float((sound.duration or 0) * sound.time_base) if sound else 0.0,
        steady=len(set(np.diff(times[order]).tolist())) <= 1,
        stamp=(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, start),
    )


def _starts(times: np.ndarray, is_key: list[bool]) -> np.ndarray:
    """The last key packet at or before each packet that is also shown no later (pictures that lead an open group of
    pictures need the group before)."""
    starts, keys = [], []
    for packet, time in enumerate(times):
        if is_key[packet] or not keys:
            keys.append(packet)
        fitting = [key for key in keys[-2:] if times[key] <= time]
        starts.append(fitting[-1] if fitting else keys[0])
    return np.array(starts, dtype=np.int64)


def exact_conversion() -> int:
    """swscale's exact paths: its fast ones are off by two of 255 and cost 2.5 dB on smooth pictures."""
    from av.video.reformatter import Interpolation

    return int(Interpolation.BILINEAR) | 0x40000 | 0x2000  # SWS_ACCURATE_RND, SWS_FULL_CHR_H_INT


def words(error: BaseException) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()).lower()
