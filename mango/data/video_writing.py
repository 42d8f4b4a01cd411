"""Films written completely or not at all: H.264 yuv420p and AAC, colours BT.709 in limited range and tagged so."""

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mango.data.atomic import atomic_file
from mango.data.video_index import BT709, FULL, LIMITED, exact_conversion, read_index, words
from mango.errors import InputError


def write_video(
    path: Path | str,
    frames: Iterable[Any],
    *,
    fps: int | float | Fraction = 25,
    audio: Float[Tensor, "*channels samples"] | None = None,
    audio_rate: int = 16_000,
    key_frame_every: int | None = 1,
    crf: int = 18,
) -> None:
    """Write RGB frames (``UInt8["rows cols 3"]``, tensor or array, from any iterable), and sound of one or two channels.

    ``key_frame_every=1`` makes every frame a key frame: random access for training. None lets the encoder choose: small
    files for people to watch. Nothing is left behind if anything fails.
    """
    import av

    with atomic_file(Path(path)) as partial:
        try:
            with av.open(os.fspath(partial), "w", format="mp4", options={"movflags": "+faststart"}) as film:
                picture, sound = None, None
                for number, frame in enumerate(frames):
                    rows = np.ascontiguousarray(frame.detach().cpu().numpy() if isinstance(frame, Tensor) else frame)
                    if picture is None:
                        picture = _Pictures(film, Path(path), rows.shape, Fraction(fps).limit_denominator(1001), key_frame_every, crf)
                        sound = None if audio is None else _Sound(film, Path(path), audio, audio_rate)
                    picture.write(rows, number)
                    if sound is not None:  # side by side with the pictures, so that players need not look ahead
                        sound.write_until(round((number + 1) * audio_rate / Fraction(fps)))
                assert picture is not None, "a video of no frames"
                picture.finish()
                if sound is not None:
                    sound.finish()
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise OSError(error.errno, words(error)) from error  # what the disk says, as the disk says it
        _check_written(partial, Path(path), number + 1, audio is not None)


class _Pictures:
    """The picture stream of a film being written."""

    def __init__(self, film: Any, path: Path, shape: tuple[int, ...], fps: Fraction, key_frame_every: int | None, crf: int):
        from av.video.reformatter import VideoReformatter

        assert len(shape) == 3 and shape[2] == 3, f"frames are rows, cols, 3; this one is {shape}"
        if shape[0] % 2 or shape[1] % 2:
            raise InputError(path, expected="even width and height", found=f"{shape[1]}x{shape[0]}", remedy="choose an even picture size")
        preset = "veryfast" if key_frame_every == 1 else "medium"  # among intra frames the presets hardly differ
        self.stream = film.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": preset})
        self.stream.width, self.stream.height, self.stream.pix_fmt = shape[1], shape[0], "yuv420p"
        codec = self.stream.codec_context
        codec.thread_count = 1  # x264's bits depend on the number of threads
        codec.color_range, codec.colorspace, codec.color_primaries, codec.color_trc = LIMITED, BT709, BT709, BT709
        if key_frame_every is not None:
            codec.gop_size = key_frame_every
        self.film, self.shape, self.reformatter = film, shape, VideoReformatter()

    def write(self, rows: np.ndarray, number: int) -> None:
        import av

        assert rows.dtype == np.uint8 and rows.shape == self.shape, f"frame {number}: {rows.dtype} {rows.shape}, not uint8 {self.shape}"
        options = {"src_colorspace": BT709, "dst_colorspace": BT709, "src_color_range": FULL, "dst_color_range": LIMITED}
        rgb = av.VideoFrame.from_ndarray(rows, format="rgb24")
        frame = self.reformatter.reformat(rgb, format="yuv420p", interpolation=exact_conversion(), threads=1, **options)
        frame.pts, frame.time_base = number, 1 / self.stream.codec_context.framerate
        self.film.mux(self.stream.encode(frame))

    def finish(self) -> None:
        self.film.mux(self.stream.encode(None))


class _Sound:
    """The sound stream of a film being written."""

    RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # AAC knows no others

    def __init__(self, film: Any, path: Path, audio: Float[Tensor, "*channels samples"], rate: int):
        samples = audio.detach().cpu().float().clamp(-1, 1).numpy()
        self.samples = np.ascontiguousarray(samples[None] if samples.ndim == 1 else samples)
        assert len(self.samples) in (1, 2), f"one or two channels, not {len(self.samples)}"
        assert np.isfinite(self.samples).all(), "sound that is not finite"
        if rate not in self.RATES:
            raise InputError(path, expected=f"a sound rate of {self.RATES}", found=str(rate), remedy="resample the sound")
        self.layout = ("mono", "stereo")[len(self.samples) - 1]
        self.stream = film.add_stream("aac", rate=rate, layout=self.layout, options={"b": str(64_000 * len(self.samples))})
        self.film, self.rate, self.done = film, rate, 0

    def write_until(self, sample: int) -> None:
        import av

        piece = np.ascontiguousarray(self.samples[:, self.done : sample])
        if piece.shape[1] == 0:
            return
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=self.layout)
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self.done, Fraction(1, self.rate)
        self.done += piece.shape[1]
        self.film.mux(self.stream.encode(frame))

    def finish(self) -> None:
        self.write_until(self.samples.shape[1])
        self.film.mux(self.stream.encode(None))


def _check_written(partial: Path, path: Path, frames: int, with_sound: bool) -> None:
    """The muxer does not always say that it failed; the file does."""
    index = read_index(partial)
    if len(index.order) != frames or with_sound != (index.channels > 0):
        found = f"{len(index.order)} frames, {index.channels} sound channels"
        raise InputError(path, expected=f"{frames} frames written", found=found, remedy="look for free space and try again")
