"""Video: exact random access for training, files for people to watch. H.264 yuv420p and AAC through PyAV.

Colours are written as BT.709, limited range, and tagged so; what is read is converted by its own tags. Reading goes
by an index of the packets made once: bytes are fetched with ``os.pread`` and decoded, so there is no position that
threads or forked workers could fight over, and any order costs what decoding costs.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from mango.data.video_index import BT601, BT709, FULL, LIMITED, UNSTATED, VideoIndex, exact_conversion, read_index, words
from mango.data.video_writing import write_video
from mango.errors import InputError

__all__ = ["VideoFrames", "write_video"]

OPEN_DECODERS = 16  # of one thread; each holds a file handle and a few megabytes
_decoders = threading.local()


class VideoFrames:
    """The frames of one film by number."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.index = read_index(self.path)

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
        # one thread: a pool of threads would not exist in a forked worker, which would wait for it forever
        converted = self.reformatter.reformat(frame, format=pixels, interpolation=exact_conversion(), threads=1, **options)
        return torch.from_numpy(converted.to_ndarray())


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
