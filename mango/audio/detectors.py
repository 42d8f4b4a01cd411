"""Detectors of speech by name: the built-in one, and two packages that are asked only when they are chosen.

Each says per frame whether speech is possible and whether it is sure; what a phrase is (hysteresis, shortest run, hangover) is the same
for all of them, so that sets of different detectors mean the same by "speaks".
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mango.audio.activity import phrases, speaking_indicator
from mango.audio.alignment import frame_count, framed, sample_count
from mango.audio.loudness import HOP, HOPS_PER_FRAME
from mango.errors import InputError
from mango.types import SAMPLE_RATE

Detector = Literal[
    "energy",  # built in: levels relative to the track's own speech and background
    "webrtcvad",  # WebRTC's: fast, hears levels as they are, so faint cross-talk counts as speech where it is loud enough
    "silero",  # a small network: tells voices from other sounds
]
WEBRTC_STRICTNESS = 2  # of 0 (lenient) to 3: below it takes breath and room for speech
SILERO_SAMPLES = 512  # what its network takes at 16 kHz; a probability each
SILERO_SURE, SILERO_POSSIBLE = 0.5, 0.35  # the thresholds of its own programs


def speech_activity(audio: Float[Tensor, "samples"], detector: Detector = "energy") -> Float[Tensor, "time"]:
    """1 where the person of this track (mono, 16 kHz) speaks, else 0, per frame of 40 ms.

    Errors: InputError with the command that installs it for a detector whose package is not there.
    """
    return _DETECTORS[detector](audio) if frame_count(audio.shape[0]) else torch.zeros(0)


def check_detector(detector: Detector) -> None:
    """Whether it can run here, before anything is begun."""
    _DETECTORS[detector](torch.zeros(sample_count(1)))


def _webrtcvad(audio: Float[Tensor, "samples"]) -> Float[Tensor, "time"]:
    """Speech in two of a frame's four hops of 10 ms is speech."""
    vad = _package("webrtcvad").Vad(WEBRTC_STRICTNESS)  # it adapts to what it heard: a new one for every track
    frames = frame_count(audio.shape[0])
    samples = (audio[: sample_count(frames)].clamp(-1, 1) * 32767).round().to(torch.int16).numpy().tobytes()
    bytes_of_hop = 2 * HOP
    hops = [vad.is_speech(samples[k : k + bytes_of_hop], SAMPLE_RATE) for k in range(0, len(samples), bytes_of_hop)]
    speech = torch.tensor(hops).reshape(frames, HOPS_PER_FRAME).float().mean(dim=1) >= 0.5
    return phrases(speech, speech)


def _silero(audio: Float[Tensor, "samples"]) -> Float[Tensor, "time"]:
    threads = torch.get_num_threads()
    try:
        package = _package("silero_vad")  # importing it sets torch to one thread for the whole process
    finally:
        torch.set_num_threads(threads)
    model = package.load_silero_vad()  # anew: it remembers what it heard
    pieces = torch.nn.functional.pad(audio.float(), (0, -len(audio) % SILERO_SAMPLES)).split(SILERO_SAMPLES)
    with torch.no_grad():
        likely = torch.tensor([float(model(piece, SAMPLE_RATE)) for piece in pieces])
    frames = frame_count(audio.shape[0])
    likely = framed(likely[:, None], first_centre=SILERO_SAMPLES / 2, stride=SILERO_SAMPLES, frames=frames)[:, 0]
    return phrases(likely > SILERO_POSSIBLE, likely > SILERO_SURE)


def _package(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        remedy = "pip install 'mango-heads[vad]', or take the detector energy, which needs nothing"
        raise InputError("--detector", expected=f"the package {name}", found=str(error) or "none", remedy=remedy) from error


_DETECTORS: dict[str, Callable[[Tensor], Tensor]] = {"energy": speaking_indicator, "webrtcvad": _webrtcvad, "silero": _silero}
