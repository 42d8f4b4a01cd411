"""Video: exact random access for training, files for people to watch. H.264 yuv420p and AAC through PyAV.

Colours are written as BT.709, limited range, and tagged so; what is read is converted by its own tags. Reading goes
by an index of the packets made once: bytes are fetched with ``os.pread`` and decoded, so there is no position that
threads or forked workers could fight over, and any order costs what decoding costs.

Starting a codec costs more than decoding a small picture. A film of key frames alone leaves nothing in the codec that the next picture
needs, so such films share one codec if they are of one kind: if the codec would be told the same about them.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mango.data.film_colours import FULL, in_colours, range_of
from mango.data.film_packets import words
from mango.data.video_index import VideoIndex, read_index
from mango.data.video_writing import write_video
from mango.errors import InputError
from mango.types import StoredFile

__all__ = ["VideoFrames", "write_video"]

OPEN_DECODERS = 16  # of one thread; each holds a file handle and a few megabytes
LUMA_FIRST = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gray")  # formats with a plane of brightness, in bytes
# From limited range, 16 to 235. swscale's numbers for pictures without colour, ten times as fast.
BRIGHTNESS = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
_decoders = threading.local()


class VideoFrames:
    """The frames of one film by number."""

    def __init__(self, path: StoredFile | str):
        self.path = Path(path) if isinstance(path, str) else path
        self.index = index = read_index(self.path)
        only_key_frames = bool((index.starts == np.arange(len(index.starts))).all())
        self._codec_key = (index.codec, index.extradata, index.size) if only_key_frames else (str(self.path), index.stamp)

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
        pictures = np.empty((len(wanted), *self.size, *last), dtype=np.uint8)
        places: dict[int, list[int]] = {}
        for place, i in enumerate(wanted):
            places.setdefault(int(self.index.order[i]), []).append(place)
        decoder = _decoder(self._codec_key, self.index)
        decoder.turn_to(self.path, self.index)
        for packet, picture in decoder.pictures(sorted(places), pixels):
            for place in places[packet]:
                pictures[place] = picture
        return torch.from_numpy(pictures)


class _Decoder:
    """A codec, the film it is turned to, and where it stands in that. Belongs to one thread."""

    def __init__(self, kind: VideoIndex):
        import av
        from av.video.reformatter import VideoReformatter

        self.codec = av.CodecContext.create(kind.codec, "r")
        if kind.extradata:
            self.codec.extradata = kind.extradata
        self.codec.thread_count = 1  # one picture in, one picture out; parallelism is over films
        self.codec.options = {"err_detect": "explode"}
        self.reformatter = VideoReformatter()
        self.path, self.index, self.file = None, None, None
        self.next = 0  # the packet the codec expects
        self.inside: dict[int, int] = {}  # packets fed whose pictures have not come out yet, by their time

    def __del__(self):
        if getattr(self, "file", None) is not None:
            os.close(self.file)

    def turn_to(self, path: StoredFile, index: VideoIndex) -> None:
        """Read from this film from now on."""
        if self.path == path and self.index.stamp == index.stamp:
            return
        file = os.open(index.file, os.O_RDONLY)
        if self.file is not None:
            os.close(self.file)
        self.path, self.index, self.file = path, index, file
        self._go_to(0)

    def pictures(self, packets: list[int], pixels: str) -> Iterator[tuple[int, np.ndarray]]:
        """(packet, picture) for packets in ascending order; decodes only what lies between a key frame and them."""
        import av

        missing = set(packets)
        try:
            for packet in packets:
                if packet in missing and packet not in self.inside.values() and not self.index.starts[packet] <= self.next <= packet:
                    self._go_to(int(self.index.starts[packet]))
                while packet in missing:
                    for frame in self._step():
                        done = self.inside.pop(frame.pts, None)
                        if done in missing:
                            missing.discard(done)
                            yield done, self._picture(frame, pixels)
        except (av.FFmpegError, EOFError) as error:
            found = f"frame data that cannot be decoded ({words(error)})"
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
        self.inside[packet.pts] = self.next
        self.next += 1
        return self.codec.decode(packet)

    def _picture(self, frame: Any, pixels: str) -> np.ndarray:
        if frame.is_corrupt:
            raise EOFError("a damaged frame")
        if pixels == "gray" and frame.format.name in LUMA_FIRST:
            luma = frame.planes[0]
            stored = np.frombuffer(luma, np.uint8).reshape(luma.height, luma.line_size)[:, : luma.width]
            return stored if range_of(frame) == FULL else BRIGHTNESS[stored]
        # one thread: a pool of threads would not exist in a forked worker, which would wait for it forever
        return in_colours(frame, pixels, partial(self.reformatter.reformat, threads=1))


def _decoder(key: Hashable, index: VideoIndex) -> _Decoder:
    """This thread's decoder for films of one key, the oldest one being closed when there are too many."""
    held = _decoders.__dict__.setdefault("held", OrderedDict())
    if key not in held:
        held[key] = _Decoder(index)
        if len(held) > OPEN_DECODERS:
            held.popitem(last=False)
    held.move_to_end(key)
    return held[key]
