"""Video: exact random access for training, files for people to watch. H.264 yuv420p and AAC through PyAV.

Colours are written as BT.709, limited range, and tagged so; what is read is converted by its own tags. Reading goes
by an index of the packets made once: bytes are fetched with ``os.pread`` and decoded, so there is no position that
threads or forked workers could fight over, and any order costs what decoding costs.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mango.data.atomic import atomic_file
from mango.errors import InputError

OPEN_DECODERS = 16  # of one thread; each holds a file handle and a few megabytes
BT709, BT601, UNSTATED = 1, 5, 2  # numbers of ITU-T H.273, as FFmpeg has them
LIMITED, FULL = 1, 2  # FFmpeg's colour ranges
_decoders = threading.local()


@dataclass(frozen=True)
class VideoIndex:
    """Where every packet of the picture stream lies, in decoding order, and which frames of the film they are."""

    places: np.ndarray  # (packets,) bytes from the start of the file
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


class VideoFrames:
    """The frames of one film by number."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.index = _index(self.path)

    def __len__(self) -> int:
        return len(self.index.order)

    @property
    def fps(self) -> Fraction:
        return self.index.fps

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.index.size

    def frames(self, indices: Sequence[int] | Tensor | range) -> UInt8[Tensor, "frames rows cols 3"]:
        """Any frames in any order, repeats allowed; RGB."""
        return self._read(indices, "rgb24", (3,))

    def mattes(self, indices: Sequence[int] | Tensor | range) -> UInt8[Tensor, "frames rows cols"]:
        """The brightness of frames, 0 to 255: what a mask video holds. Faster than RGB."""
        return self._read(indices, "gray", ())

    def _read(self, indices: Sequence[int] | Tensor | range, pixels: str, last: tuple[int, ...]) -> Tensor:
        wanted = [int(i) for i in indices]
        for i in wanted:
            if not 0 <= i < len(self):
                raise IndexError(f"{self.path}: frame {i} of {len(self)}")
        pictures = torch.empty(len(wanted), *self.size, *last, dtype=torch.uint8)
        places: dict[int, list[int]] = {}
        for place, i in enumerate(wanted):
            places.setdefault(int(self.index.order[i]), []).append(place)
        decoder = _decoder(self.path, self.index)
        for packet, picture in decoder.pictures(sorted(places), pixels):
            for place in places[packet]:
                pictures[place] = picture
        return pictures


class _Decoder:
    """A codec and where it stands in the file. Belongs to one thread."""

    def __init__(self, path: Path, index: VideoIndex):
        import av
        from av.video.reformatter import VideoReformatter

        self.path, self.index = path, index
        self.file = os.open(path, os.O_RDONLY)
        self.codec = av.CodecContext.create(index.codec, "r")
        if index.extradata:
            self.codec.extradata = index.extradata
        self.codec.thread_count = 1  # one picture in, one picture out; parallelism is over films
        self.codec.options = {"err_detect": "explode"}
        self.reformatter = VideoReformatter()
        self.frame_of = {int(time): packet for packet, time in enumerate(index.times)}
        self.next = 0  # the packet the codec expects
        self.inside: set[int] = set()  # packets fed whose pictures have not come out yet

    def __del__(self):
        if hasattr(self, "file"):
            os.close(self.file)

    def pictures(self, packets: list[int], pixels: str) -> Iterator[tuple[int, Tensor]]:
        """(packet, picture) for packets in ascending order; decodes only what lies between a key frame and them."""
        import av

        missing = set(packets)
        try:
            for packet in packets:
                if packet in missing and packet not in self.inside and not self.index.starts[packet] <= self.next <= packet:
                    self._go_to(int(self.index.starts[packet]))
                while packet in missing:
                    for frame in self._step():
                        done = self.frame_of.get(frame.pts)
                        self.inside.discard(done)
                        if done in missing:
                            missing.discard(done)
                            yield done, self._picture(frame, pixels)
        except (av.FFmpegError, EOFError) as error:
            found = f"frame data that cannot be decoded ({_words(error)})"
            raise InputError(self.path, expected="an intact video", found=found, remedy="copy or encode the file again") from error
        finally:
            if missing:  # left in the middle: the codec's state is not worth understanding
                self._go_to(0)

    def _go_to(self, packet: int) -> None:
        self.codec.flush_buffers()
        self.inside.clear()
        self.next = packet

    def _step(self) -> list[Any]:
        """Feed one packet, or drain the codec at the end of the film."""
        import av

        if self.next > len(self.index.places):
            raise EOFError("a frame is missing")
        if self.next == len(self.index.places):
            self.next += 1
            return self.codec.decode(None)
        size = int(self.index.sizes[self.next])
        content = os.pread(self.file, size, int(self.index.places[self.next]))
        if len(content) != size:
            raise EOFError("the file is truncated")
        packet = av.Packet(content)
        packet.pts = int(self.index.times[self.next])
        self.inside.add(self.next)
        self.next += 1
        return self.codec.decode(packet)

    def _picture(self, frame: Any, pixels: str) -> Tensor:
        if frame.is_corrupt:
            raise EOFError("a damaged frame")
        guessed = BT709 if frame.height >= 720 else BT601  # what players assume of files that do not say
        space = guessed if frame.colorspace in (UNSTATED, 0) else frame.colorspace
        source = FULL if frame.color_range == FULL or frame.format.name.startswith("yuvj") else LIMITED
        options = {"src_colorspace": space, "dst_colorspace": space, "src_color_range": source, "dst_color_range": FULL}
        converted = self.reformatter.reformat(frame, format=pixels, interpolation=_accurate(), **options)
        return torch.from_numpy(converted.to_ndarray())


def write_video(
    path: Path | str,
    frames: Iterable[Any],
    *,
    fps: float | Fraction = 25,
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
            raise OSError(error.errno, _words(error)) from error  # what the disk says, as the disk says it
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
        frame = self.reformatter.reformat(rgb, format="yuv420p", interpolation=_accurate(), **options)
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
    index = _index(partial)
    if len(index.order) != frames or with_sound != (index.channels > 0):
        found = f"{len(index.order)} frames, {index.channels} sound channels"
        raise InputError(path, expected=f"{frames} frames written", found=found, remedy="look for free space and try again")


def _decoder(path: Path, index: VideoIndex) -> _Decoder:
    """This thread's decoder of a file, the oldest one being closed when there are too many."""
    held = _decoders.__dict__.setdefault("held", OrderedDict())
    key = (os.fspath(path), index.stamp)
    if key not in held:
        held[key] = _Decoder(path, index)
        if len(held) > OPEN_DECODERS:
            held.popitem(last=False)
    held.move_to_end(key)
    return held[key]


def _index(path: Path) -> VideoIndex:
    import av

    if not path.is_file():
        raise InputError(path, expected="a video", found="no such file", remedy="check the path")
    try:
        with av.open(os.fspath(path)) as film:
            if "mp4" not in film.format.name:
                remedy = "convert it, for example: ffmpeg -i FILE -c:v libx264 -c:a aac FILE.mp4"
                raise InputError(path, expected="an mp4 or mov video", found=film.format.long_name, remedy=remedy)
            if not film.streams.video:
                raise InputError(path, expected="a video", found="a file without pictures", remedy="check which file this is")
            return _indexed(path, film)
    except av.FFmpegError as error:
        raise InputError(path, expected="a video", found=_words(error), remedy="copy or encode the file again") from error


def _indexed(path: Path, film: Any) -> VideoIndex:
    stream = film.streams.video[0]
    packets = [packet for packet in film.demux(stream) if packet.size]
    places = np.array([packet.pos for packet in packets], dtype=np.int64)
    sizes = np.array([packet.size for packet in packets], dtype=np.int64)
    stat = path.stat()
    cut = "copy or encode the file again"
    if not packets or stream.frames > len(packets) or (places + sizes).max() > stat.st_size:
        raise InputError(path, expected=f"{stream.frames} frames", found=f"{len(packets)}: the file is truncated", remedy=cut)
    if any(packet.pts is None for packet in packets) or len({packet.pts for packet in packets}) < len(packets):
        raise InputError(path, expected="a time for every frame", found="frames without one", remedy="encode the file again")
    times = np.array([packet.pts for packet in packets], dtype=np.int64)
    shown = np.flatnonzero([not packet.is_discard for packet in packets])
    order = shown[np.argsort(times[shown])]
    sound = film.streams.audio[0] if film.streams.audio else None
    return VideoIndex(
        places=places,
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
        stamp=(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns),
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


def _accurate() -> int:
    """swscale's exact paths: its fast ones are off by two of 255 and cost 2.5 dB on smooth pictures."""
    from av.video.reformatter import Interpolation

    return int(Interpolation.BILINEAR) | 0x40000 | 0x2000  # SWS_ACCURATE_RND, SWS_FULL_CHR_H_INT


def _words(error: BaseException) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()).lower()
