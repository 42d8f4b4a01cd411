"""What a film's container tells without decoding a picture."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FilmPackets:
    """Of the first picture stream, packets in decoding order, and of the sound."""

    container: str  # FFmpeg's short names
    container_name: str
    pictures: bool
    places: tuple[int, ...] = ()  # bytes from the start of the file
    sizes: tuple[int, ...] = ()  # bytes
    times: tuple[int | None, ...] = ()  # presentation time in ticks
    whole: tuple[bool, ...] = ()
    shown: tuple[bool, ...] = ()
    keys: tuple[bool, ...] = ()
    frames: int = 0  # that the container promises; 0 where it does not
    rate: tuple[int, int] = (0, 1)
    size: tuple[int, int] = (0, 0)  # rows, columns
    codec: str = ""
    extradata: bytes | None = None
    pixels: str = ""
    channels: int = 0  # of the sound, 0: none
    sound_seconds: float = 0.0


def packets_of(film: Any) -> FilmPackets:
    """Of an open container."""
    if "mp4" not in film.format.name or not film.streams.video:
        return FilmPackets(film.format.name, film.format.long_name, pictures=bool(film.streams.video))
    stream = film.streams.video[0]
    places, sizes, times, whole, shown, keys = [], [], [], [], [], []
    for packet in film.demux(stream):  # one at a time: together they are as large as the film
        if packet.size:
            places.append(-1 if packet.pos is None else packet.pos)
            sizes.append(packet.size)
            times.append(packet.pts)
            whole.append(not packet.is_corrupt)  # the last packet of a truncated file is marked so
            shown.append(not packet.is_discard)
            keys.append(packet.is_keyframe)
    rate, sound = stream.average_rate, film.streams.audio[0] if film.streams.audio else None
    return FilmPackets(
        film.format.name,
        film.format.long_name,
        pictures=True,
        places=tuple(places),
        sizes=tuple(sizes),
        times=tuple(times),
        whole=tuple(whole),
        shown=tuple(shown),
        keys=tuple(keys),
        frames=stream.frames,
        rate=(rate.numerator, rate.denominator) if rate else (0, 1),
        size=(stream.codec_context.height, stream.codec_context.width),
        codec=stream.codec_context.name,
        extradata=stream.codec_context.extradata,
        pixels=stream.codec_context.pix_fmt or "",
        channels=sound.codec_context.channels if sound else 0,
        sound_seconds=float((sound.duration or 0) * sound.time_base) if sound else 0.0,
    )


def words(error: BaseException) -> str:
    """FFmpeg's own, in a line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()).lower()
