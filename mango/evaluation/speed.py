"""How fast a checkpoint generates, measured while it is evaluated: no extra run, and the same settings as its numbers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from mango.audio.encoders import Encoder
from mango.inference.generation import GenerationConfig
from mango.provenance import processor
from mango.training.runtime import Runtime, RuntimeConfig
from mango.types import FRAME_RATE

Result = TypeVar("Result")


class TimedEncoder(Encoder):
    """An encoder that keeps count of its time."""

    def __init__(self, encoder: Encoder):
        self.encoder, self.seconds = encoder, 0.0
        self.width, self.digest, self.num_layers, self.dtype = encoder.width, encoder.digest, encoder.num_layers, encoder.dtype

    def parts(self, audio: Float[Tensor, "samples"]) -> Iterator[Float[Tensor, "some_time width"]]:
        parts = self.encoder.parts(audio)
        while True:
            began = perf_counter()
            part = next(parts, None)
            self.seconds += perf_counter() - began
            if part is None:
                return
            yield part


@dataclass
class Stopwatch:
    """Seconds of reading sound, encoding it and generating motion from it, dialogue by dialogue."""

    encoder: TimedEncoder
    sampled: bool = True  # by diffusion, on the device; else the baseline without, which works on the processor
    laps: list[tuple[int, float, float, float]] = field(default_factory=list)  # frames, reading, encoding, generating

    def lap(self, frames: int, read: Callable[[], object], generate: Callable[[], Result]) -> Result:
        """``generate`` encodes too; ``read`` is run for its time alone."""
        with _seconds() as reading:
            read()
        encoded = self.encoder.seconds
        with _seconds() as whole:
            result = generate()
        encoding = self.encoder.seconds - encoded
        self.laps.append((frames, reading[0], encoding, whole[0] - encoding))
        return result

    def figures(self, config: GenerationConfig) -> Mapping[str, object]:
        """Real-time factors: seconds of work for one second of dialogue, both people together; below 1 is faster than real time.

        The first dialogue warms the machine up and counts only when it is alone.
        """
        timed = self.laps[1:] or self.laps
        frames, reading, encoding, generating = (sum(column) for column in zip(*timed, strict=True))
        seconds = frames / FRAME_RATE
        return {
            "real_time_factor": generating / seconds,
            "real_time_factor_with_sound": (reading + encoding + generating) / seconds,
            "seconds": {"dialogue": seconds, "reading_sound": reading, "encoding_sound": encoding, "generating": generating},
            "dialogues": len(timed),
            "batch": "1 dialogue of 2 people",
            **(_sampling(config) if self.sampled else {}),
            "encoder": type(self.encoder.encoder).__name__,
            "processor": processor(),
            "torch": torch.__version__,
        }


def _sampling(config: GenerationConfig) -> Mapping[str, object]:
    told = {name: value for name, value in asdict(config).items() if name in ("sampler", "steps", "eta", "guidance", "threshold")}
    return told | Runtime(RuntimeConfig()).describe()


@contextmanager
def _seconds():
    """A list that holds the block's seconds when it is left."""
    took: list[float] = []
    began = perf_counter()
    yield took
    took.append(perf_counter() - began)
