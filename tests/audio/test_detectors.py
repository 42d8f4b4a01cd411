"""Speech activity by packages that need not be there: their framing with stand-ins, their judgement on real voices where installed."""

import json
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch

from mango.audio.activity import speaking_indicator
from mango.audio.detectors import speech_activity
from mango.audio.reading import read_audio
from mango.errors import InputError

PACKAGES = {"energy": "torch", "webrtcvad": "webrtcvad", "silero": "silero_vad"}


def loud(*spans: tuple[int, int], frames: int = 90, rest: int = 0) -> torch.Tensor:
    """A voice that is 0.5 in these frames, else 0."""
    audio = torch.zeros(frames, 640)
    for first, last in spans:
        audio[first:last] = 0.5
    return torch.cat([audio.flatten(), torch.zeros(rest)])


def found(indicator: torch.Tensor) -> list[tuple[int, int]]:
    edges = torch.nn.functional.pad(indicator, (1, 1)).diff()
    return list(zip((edges > 0).nonzero()[:, 0].tolist(), (edges < 0).nonzero()[:, 0].tolist(), strict=True))


@pytest.fixture
def stand_ins(monkeypatch):
    """Both packages as they are called: loud is speech, anything but their own framing is an error, and they start with nothing heard."""
    made = []

    class Vad:
        def __init__(self, mode):
            assert mode in (0, 1, 2, 3)
            self.heard = 0
            made.append(self)

        def is_speech(self, piece: bytes, rate: int) -> bool:
            assert rate == 16000 and len(piece) in (320, 640, 960) and isinstance(piece, bytes)
            self.heard += len(piece) // 2
            return memoryview(piece).cast("h")[0] > 8000

    class Model:
        def __init__(self):
            self.heard = 0
            made.append(self)

        def __call__(self, piece: torch.Tensor, rate: int) -> torch.Tensor:
            assert piece.shape == (512,) and rate == 16000 and not torch.is_grad_enabled()
            self.heard += 512
            return (piece.abs().mean() * 1.9)[None, None]

    for name, made_of in (("webrtcvad", {"Vad": Vad}), ("silero_vad", {"load_silero_vad": Model})):
        package = ModuleType(name)
        vars(package).update(made_of)
        monkeypatch.setitem(sys.modules, name, package)
    return made


@pytest.mark.parametrize("detector", ["webrtcvad", "silero"])
def test_frames_of_a_package_are_our_frames(stand_ins, detector):
    """Turns lie where the sound has them after half a minute too (their pieces are 10 and 32 ms, ours 40); one frame of hangover.

    Seen red by a stride of 480 samples, and by hops of 20 ms taken for 10.
    """
    spans = [(10, 30), (700, 720)]
    indicator = speech_activity(loud(*spans, frames=750, rest=600), detector)
    assert indicator.shape == (750,) and set(indicator.tolist()) == {0.0, 1.0}
    assert found(indicator) == [(first, last + 1) for first, last in spans]


@pytest.mark.parametrize("detector", ["webrtcvad", "silero"])
def test_every_track_is_heard_from_the_start(stand_ins, detector):
    """What one track left in a detector must not be in the next. Seen red by a model that was kept."""
    first = speech_activity(loud((0, 5), frames=20), detector)
    speech_activity(loud((0, 20), frames=20), detector)
    again = speech_activity(loud((0, 5), frames=20), detector)
    assert torch.equal(first, again) and len({id(one) for one in stand_ins}) == 3 and len({one.heard for one in stand_ins}) == 1


@pytest.mark.parametrize("detector", ["energy", "webrtcvad", "silero"])
def test_phrases_mean_the_same_everywhere(stand_ins, detector):
    """A pause of five frames is bridged, one of fifteen is not; a click is no speech; nothing is nothing."""
    noise = 1e-4 * torch.randn(90 * 640, generator=torch.Generator().manual_seed(0))
    noise += loud((5, 15), (20, 30), (45, 60), (80, 81)) * torch.sin(torch.arange(90 * 640) * 0.4).sign()
    if detector != "energy":
        noise = noise.abs()
    starts = [first for first, _ in found(speech_activity(noise, detector))]
    assert starts == [5, 45]
    assert speech_activity(torch.zeros(639), detector).shape == (0,)


def test_a_missing_package_is_told_with_its_command(monkeypatch):
    for detector in ("webrtcvad", "silero"):
        monkeypatch.setitem(sys.modules, PACKAGES[detector], None)
        with pytest.raises(InputError, match=r"pip install 'mango-heads\[vad\]'"):
            speech_activity(loud((0, 5)), detector)


def test_importing_a_detector_leaves_the_threads_alone(tmp_path, monkeypatch):
    """The package silero_vad sets torch to one thread when it is imported; training in the same process would crawl."""
    (tmp_path / "silero_vad.py").write_text("import torch\ntorch.set_num_threads(1)\ndef load_silero_vad(): return lambda x, rate: x[:1]\n")
    monkeypatch.delitem(sys.modules, "silero_vad", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.set_num_threads(2)
    speech_activity(loud((0, 5), frames=10), "silero")
    assert torch.get_num_threads() == 2
    sys.modules.pop("silero_vad")


@pytest.mark.parametrize("detector", PACKAGES)
def test_real_turns_are_found(samples, detector):
    """Hand-made turn times of 14 exchanges, both tracks each."""
    if find_spec(PACKAGES[detector]) is None:
        pytest.skip(f"{PACKAGES[detector]} is not installed (pip install 'mango-heads[vad]')")
    folder, shares = samples / "anytalker_dyadic_audio", {}
    for name, sides in json.loads((folder / "turns_seconds.json").read_text()).items():
        for side, turns in sides.items():
            path = folder / f"interact_{int(name.removeprefix('interact_').removesuffix('.mp4')):02d}_{side}.wav"
            if path.exists():
                indicator = speech_activity(read_audio(path), detector)
                middle = (torch.arange(len(indicator)) + 0.5) / 25
                truth = sum(((middle >= start) & (middle < end)).float() for start, end in turns) if turns else torch.zeros_like(middle)
                shares[path.name] = float((indicator == truth).float().mean())
    mean, worst = sum(shares.values()) / len(shares), min(shares.items(), key=lambda item: item[1])
    print(f"{detector}: mean agreement {mean:.3f} of {len(shares)} tracks, worst {worst}")
    assert mean > 0.95, shares


def test_energy_is_the_built_in_detector():
    audio = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(speech_activity(audio), speaking_indicator(audio))
