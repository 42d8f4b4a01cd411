"""Films written completely or not at all, colours BT.709 in limited range and tagged so.

    .mp4   H.264 yuv420p, AAC                     for people, for training
    .mov   ProRes 4444 with alpha, PCM            for editing
    .webm  VP9 with alpha, Opus                   for web pages
    a name without suffix: a folder of PNG files with alpha, sound.wav, and film.json, which says at what rate they play

Alpha is straight: colours are not multiplied by it.
"""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mango.audio.reading import write_audio
from mango.data.atomic import atomic_file, atomic_folder
from mango.data.film_colours import BT709, FULL, LIMITED, exact_conversion
from mango.data.film_packets import words
from mango.data.json_files import read_json, write_json
from mango.errors import InputError


@dataclass(frozen=True)
class _Format:
    """How a film with a suffix is stored."""

    container: str
    codec: str
    pixels: str
    sound: str
    options: Mapping[str, str] = field(default_factory=dict)
    muxing: Mapping[str, str] = field(default_factory=dict)

    @property
    def alpha(self) -> bool:
        return "a" in self.pixels.removeprefix("yuv")


_FORMATS = {
    ".mp4": _Format("mp4", "libx264", "yuv420p", "aac", muxing={"movflags": "+faststart"}),
    ".mov": _Format("mov", "prores_ks", "yuva444p10le", "pcm_s16le", {"profile": "4444", "vendor": "apl0"}),
    ".webm": _Format(
        "webm",
        "libvpx-vp9",
        "yuva420p",
        "libopus",
        {"crf": "24", "b": "0", "auto-alt-ref": "0", "deadline": "good", "cpu-used": "4"},
        {"fflags": "+bitexact"},  # else a random number names the file in itself
    ),
}
RECORD = "film.json"  # beside pictures in a folder
OF_A_FOLDER = re.compile(r"\d{6,}\.png|sound\.wav|film\.json")
SOUND_BITS = {"aac": 64_000, "libopus": 48_000}  # a second and channel
TRANSPARENT = ", ".join(suffix for suffix, kept in _FORMATS.items() if kept.alpha)


def keeps_alpha(path: Path) -> bool:
    """Whether what is written there can be transparent; an InputError where nothing can be written."""
    suffix = Path(path).suffix.lower()
    if suffix and suffix not in _FORMATS:
        remedy = "choose .mp4, or for transparency .mov, .webm or a folder of pictures (no suffix)"
        raise InputError(path, expected="a film's name", found=repr(suffix), remedy=remedy)
    return not suffix or _FORMATS[suffix].alpha


def write_video(
    path: Path | str,
    frames: Iterable[Any],
    *,
    fps: int | float | Fraction = 25,
    audio: Float[Tensor, "*channels samples"] | None = None,
    audio_rate: int = 16_000,
    key_frame_every: int | None = 1,
    crf: int = 18,
    comment: str = "",
) -> None:
    """Write RGB frames (``UInt8["rows cols 3"]``, tensor or array, from any iterable), and sound of one or two channels.

    Where `keeps_alpha` says so, frames may have a fourth channel. ``key_frame_every`` and ``crf`` are H.264's.
    ``key_frame_every=1`` makes every frame a key frame: random access for training. None lets the encoder choose: small
    files for people to watch. ``comment``: `comment_of` a film tells it. Nothing is left behind if anything fails.

    An older file is replaced; an older folder, where it has the same ``comment`` and holds nothing else.
    """
    import av

    keeps_alpha(path)
    if not Path(path).suffix:
        _write_pictures(Path(path), frames, Fraction(fps), audio, audio_rate, comment)
        return
    kept = _FORMATS[Path(path).suffix.lower()]
    if kept.codec == "libx264":
        kept = replace(kept, options=_h264(crf, key_frame_every))
    with atomic_file(Path(path)) as partial:
        try:
            with av.open(os.path.abspath(partial), "w", format=kept.container, options=dict(kept.muxing)) as film:
                film.metadata.update({"comment": comment} if comment else {})
                picture, sound = None, None
                for number, frame in enumerate(frames):
                    rows = np.ascontiguousarray(frame.detach().cpu().numpy() if isinstance(frame, Tensor) else frame)
                    if picture is None:
                        picture = _Pictures(film, Path(path), rows.shape, Fraction(fps).limit_denominator(1001), kept)
                        sound = None if audio is None else _Sound(film, Path(path), audio, audio_rate, kept.sound)
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


def comment_of(path: Path) -> str:
    """What a film says of itself; nothing, where that is no film, or a folder in which there is more than a film."""
    import av

    if path.is_dir():
        mine = (path / RECORD).is_file() and all(OF_A_FOLDER.fullmatch(item.name) for item in path.iterdir())
        return str(read_json(path / RECORD).get("comment", "")) if mine else ""
    try:
        with av.open(os.path.abspath(path), metadata_errors="replace") as film:
            return next((words for name, words in film.metadata.items() if name.lower() == "comment"), "")
    except av.FFmpegError:
        return ""


class _Pictures:
    """The picture stream of a film being written."""

    def __init__(self, film: Any, path: Path, shape: tuple[int, ...], fps: Fraction, kept: _Format):
        from av.video.reformatter import VideoReformatter

        assert len(shape) == 3 and shape[2] in (3, 4), f"frames are rows, cols, 3 or 4; this one is {shape}"
        if shape[2] == 4 and not kept.alpha:
            raise InputError(path, expected="opaque pictures in an .mp4", found="transparent ones", remedy=f"choose {TRANSPARENT}")
        if shape[0] % 2 or shape[1] % 2:
            raise InputError(path, expected="even width and height", found=f"{shape[1]}x{shape[0]}", remedy="choose an even picture size")
        self.stream = film.add_stream(kept.codec, rate=fps, options=dict(kept.options))
        self.stream.width, self.stream.height, self.stream.pix_fmt = shape[1], shape[0], kept.pixels
        codec = self.stream.codec_context
        if kept.codec == "libx264":
            codec.thread_count = 1  # x264's bits depend on the number of threads
        codec.color_range, codec.colorspace, codec.color_primaries, codec.color_trc = LIMITED, BT709, BT709, BT709
        self.film, self.shape, self.pixels, self.reformatter = film, shape, kept.pixels, VideoReformatter()

    def write(self, rows: np.ndarray, number: int) -> None:
        import av

        assert rows.dtype == np.uint8 and rows.shape == self.shape, f"frame {number}: {rows.dtype} {rows.shape}, not uint8 {self.shape}"
        options = {"src_colorspace": BT709, "dst_colorspace": BT709, "src_color_range": FULL, "dst_color_range": LIMITED}
        rgb = av.VideoFrame.from_ndarray(rows, format="rgb24" if rows.shape[2] == 3 else "rgba")
        frame = self.reformatter.reformat(rgb, format=self.pixels, interpolation=exact_conversion(), threads=1, **options)
        frame.pts, frame.time_base = number, 1 / self.stream.codec_context.framerate
        self.film.mux(self.stream.encode(frame))

    def finish(self) -> None:
        self.film.mux(self.stream.encode(None))


class _Sound:
    """The sound stream of a film being written."""

    RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # AAC knows no others

    def __init__(self, film: Any, path: Path, audio: Float[Tensor, "*channels samples"], rate: int, codec: str):
        samples = audio.detach().cpu().float().clamp(-1, 1).numpy()
        self.samples = np.ascontiguousarray(samples[None] if samples.ndim == 1 else samples)
        assert len(self.samples) in (1, 2), f"one or two channels, not {len(self.samples)}"
        assert np.isfinite(self.samples).all(), "sound that is not finite"
        if rate not in self.RATES:
            raise InputError(path, expected=f"a sound rate of {self.RATES}", found=str(rate), remedy="resample the sound")
        self.layout = ("mono", "stereo")[len(self.samples) - 1]
        options = {"b": str(SOUND_BITS[codec] * len(self.samples))} if codec in SOUND_BITS else {}
        self.stream = film.add_stream(codec, rate=rate, layout=self.layout, options=options)
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


def _h264(crf: int, key_frame_every: int | None) -> dict[str, str]:
    preset = "veryfast" if key_frame_every == 1 else "medium"  # among intra frames the presets hardly differ
    return {"crf": str(crf), "preset": preset} | ({} if key_frame_every is None else {"g": str(key_frame_every)})


def _write_pictures(folder: Path, frames: Iterable[Any], fps: Fraction, audio: Tensor | None, audio_rate: int, comment: str) -> None:
    import cv2

    empty = folder.is_dir() and not any(folder.iterdir())
    with atomic_folder(folder, replace=empty or (bool(comment) and comment_of(folder) == comment)) as partial:
        number = -1
        for number, frame in enumerate(frames):
            rows = np.ascontiguousarray(frame.detach().cpu().numpy() if isinstance(frame, Tensor) else frame)
            order = cv2.COLOR_RGBA2BGRA if rows.shape[2] == 4 else cv2.COLOR_RGB2BGR
            if not cv2.imwrite(os.fspath(partial / f"{number:06d}.png"), cv2.cvtColor(rows, order)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / f"{number:06d}.png"))
        if audio is not None:
            write_audio(partial / "sound.wav", audio, audio_rate)
        write_json(partial / RECORD, {"frames_per_second": float(fps), "frames": number + 1, "comment": comment})


def _check_written(partial: Path, path: Path, frames: int, with_sound: bool) -> None:
    """The muxer does not always say that it failed; the file does."""
    import av

    with av.open(os.path.abspath(partial)) as film:
        channels = film.streams.audio[0].channels if film.streams.audio else 0
        pictures = sum(packet.size > 0 for packet in film.demux(video=0))
    if pictures != frames or with_sound != (channels > 0):
        found = f"{pictures} frames, {channels} sound channels"
        raise InputError(path, expected=f"{frames} frames written", found=found, remedy="look for free space and try again")
