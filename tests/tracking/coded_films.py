"""Films whose pictures say their number: stripes of black and white, so that after any codec it is known which picture is shown when."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

BITS = 8
CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx", ".avi": "mpeg4", ".ts": "libx264"}


def coded(number: int, rows: int = 48, cols: int = 64) -> UInt8[np.ndarray, "rows cols 3"]:
    """The number in binary, the lowest bit in the leftmost stripe."""
    bits = [number >> bit & 1 for bit in range(BITS)]
    line = np.repeat(np.array(bits, np.uint8) * 200 + 28, -(-cols // BITS))[:cols]
    return np.broadcast_to(line[:, None], (rows, cols, 3)).copy()


def number_of(picture: UInt8[np.ndarray, "rows cols 3"]) -> int:
    stripe = -(-picture.shape[1] // BITS)
    return sum(1 << bit for bit in range(BITS) if picture[:, bit * stripe + stripe // 4 : (bit + 1) * stripe - stripe // 4].mean() > 128)


def at_rate(rate: Fraction | int, seconds: float) -> list[Fraction]:
    """When the pictures of a steady film are shown."""
    return [Fraction(number) / rate for number in range(round(seconds * rate))]


def write_film(
    path: Path,
    times: Sequence[Fraction],
    pictures: Sequence[UInt8[np.ndarray, "rows cols 3"]] | None = None,
    *,
    codec: str | None = None,
    pixels: str = "yuv420p",
    sound: np.ndarray | None = None,
    sound_rate: int = 48_000,
    sound_at: Fraction = Fraction(0),
    sound_codec: str | None = None,
    options: dict[str, str] | None = None,
    tick: Fraction = Fraction(1, 30_000),
    muxing: dict[str, str] | None = None,
    shape: Fraction | None = None,
    titles: dict[str, str] | None = None,
) -> Path:
    """Pictures shown from ``times`` on (seconds); without pictures coded ones. ``sound``: (channels, samples), from ``sound_at`` on."""
    pictures = [coded(number) for number in range(len(times))] if pictures is None else pictures
    codec = codec or CODECS[path.suffix]
    with av.open(str(path), "w", options=dict(muxing or {})) as film:
        film.metadata.update(titles or {})
        fast = {"preset": "ultrafast"} if codec == "libx264" else {}
        stream = film.add_stream(codec, rate=30 if path.suffix != ".avi" else round(1 / tick), options={**fast, **(options or {})})
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pixels
        stream.codec_context.time_base, stream.time_base, stream.codec_context.bit_rate = tick, tick, 2_000_000
        if shape is not None:
            stream.codec_context.sample_aspect_ratio = shape
        heard = None
        if sound is not None:
            name = sound_codec or {".webm": "libopus", ".avi": "pcm_s16le"}.get(path.suffix, "aac")
            heard = film.add_stream(name, rate=sound_rate, layout="mono" if len(sound) == 1 else "stereo")
        for time, picture in zip(times, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = round(time / tick), tick
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
        if heard is not None:
            for start in range(0, sound.shape[1], 1024):
                piece = np.ascontiguousarray(sound[:, start : start + 1024].astype(np.float32))
                if heard.codec_context.name.startswith("pcm"):
                    frame = av.AudioFrame.from_ndarray((piece.T.reshape(1, -1) * 32767).astype(np.int16), "s16", heard.layout.name)
                else:
                    frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=heard.layout.name)
                frame.sample_rate, frame.time_base = sound_rate, Fraction(1, sound_rate)
                frame.pts = start + round(sound_at * sound_rate)
                film.mux(heard.encode(frame))
            film.mux(heard.encode(None))
    return path


def turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The same file with (a, b, c, d) in the track header: players show what is stored at (x, y) at (a x + c y, b x + d y).

    QuickTime File Format, "Track header atom" and "Matrices": nine numbers a b u, c d v, tx ty w; 16.16 and, u v w, 2.30.
    """
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 4 + 4 * 5 + 8 + 8  # version 0: times, number, duration; reserved; layer, group, volume
    a, b, c, d = (value << 16 for value in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path
