"""What a model hears: one row of features a frame, from log-mel energies or from hidden layers of a pretrained speech model.

A chain ``samples -> features at the encoder's rate -> exactly frame_count(samples) rows`` behind one class, and a digest that
changes whenever the features would, for caches and checkpoints.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.audio.alignment import frame_count, framed, sample_count
from mango.audio.loudness import (
    HOP,
    HOPS_PER_FRAME,
    QUIETEST_SPEECH_DB,
    background_level_db,
    decibels,
    quietest_of,
    recorded,
    speech_level_db,
)
from mango.errors import InputError
from mango.types import FRAME_RATE, SAMPLE_RATE


@dataclass(frozen=True)
class EncoderConfig:
    """Which features; ``mels`` belongs to log_mel, ``path`` and ``layers`` to the others.

    Encoders are frozen: their features are computed once and kept beside the dialogues. To adapt one, fine-tune it elsewhere and name
    the result. What a motion model learns of it is the mix of its layers, where there are several.
    """

    kind: Literal["log_mel", "wav2vec2", "hubert", "wavlm"] = "log_mel"  # the first needs no download
    path: str | None = None  # a folder written by save_pretrained, or a hub name
    # Hidden states: 0 = input of the first transformer layer, -1 = output of the last. Several: the model learns their mix. []: all.
    layers: tuple[int, ...] = (-1,)
    mels: int = 40  # bands of log-mel

    @staticmethod
    def renewed(values: Mapping[str, Any]) -> Mapping[str, Any]:
        """An encoder gave one ``layer`` once."""
        return {"layers" if name == "layer" else name: [value] if name == "layer" else value for name, value in values.items()}

    def __post_init__(self) -> None:
        if self.kind != "log_mel" and not self.path:
            raise InputError("encoder.path", expected=f"a folder or hub name of a {self.kind} checkpoint", found="nothing",
                             remedy="set encoder.path, or encoder.kind to log_mel")  # fmt: skip
        if not 8 <= self.mels <= 128:
            raise InputError("encoder.mels", expected="8 to 128 bands", found=str(self.mels), remedy="the default is 40")


class Encoder:
    """Sound to features. ``width`` features a frame; ``digest`` names the features' exact definition.

    With ``num_layers`` > 1 a row is so many equally wide layers side by side. ``dtype`` is the precision that rows are kept in.
    """

    width: int
    digest: str
    num_layers: int = 1
    dtype: torch.dtype = torch.float32

    def to(self, device: torch.device) -> "Encoder":
        """This one, which computes there from now on, if that is worth the way. Sound and features stay on the CPU."""
        return self

    def encode(self, audio: Float[Tensor, "samples"]) -> Float[Tensor, "time width"]:
        """One row a frame, ``frame_count(samples)`` rows. ``audio`` is mono, 16 kHz; the whole track of one person."""
        return torch.cat([torch.zeros(0, self.width, dtype=self.dtype), *self.parts(audio)])

    def parts(self, audio: Float[Tensor, "samples"]) -> Iterator[Float[Tensor, "some_time width"]]:
        """`encode`, some frames at a time, for rows too wide to hold a recording of."""
        raise NotImplementedError


def make_encoder(config: EncoderConfig) -> Encoder:
    return LogMel(config) if config.kind == "log_mel" else Pretrained(config)


# ---- log-mel ----------------------------------------------------------------------------------------------------------

WINDOW, TRANSFORM = 400, 512  # samples: 25 ms
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
FLOOR_DB = 48.0  # below the track's own loud speech; what is lower, silence included, is one constant
COLOUR_SHARE, COLOUR_LIMIT_DB = 0.6, 12.0  # how much of a track's mean spectrum is taken for its microphone's and room's
BAND_BELOW_SUM_DB = 12.0  # a band of loud speech lies about so far below the sum of all
DIFFERENCE_DB = 10.0  # a first difference lowers speech by about so much
OVERSUBTRACTION = 4.0  # single hops of noise exceed its mean
MERE_NOISE_DB = 12.0  # the loudest twentieth of a track with any speech rises further above its quietest tenth
BLOCK_FRAMES = 1500  # memory is constant in the track's length, but for the result


class LogMel(Encoder):
    """Log-mel energies in 10 ms hops, a frame's four side by side, normalised to the track's own speech.

    Level: 0 dB is the track's loud speech, so gain does not matter. Background: each band's steady noise is subtracted.
    Colour: part of the mean speech spectrum is flattened. Floor: everything far below speech is one constant, -1.
    Values lie in [-1, 1] or little above.
    """

    def __init__(self, config: EncoderConfig):
        self.mels = config.mels
        self.width = HOPS_PER_FRAME * config.mels
        self.filters = mel_filters(config.mels)
        definition = [2, config.kind, config.mels, WINDOW, TRANSFORM, HOP, LOWEST_HZ, HIGHEST_HZ, FLOOR_DB, COLOUR_SHARE, COLOUR_LIMIT_DB,
                      OVERSUBTRACTION]  # fmt: skip
        self.digest = hashlib.sha256(json.dumps(definition).encode()).hexdigest()

    def parts(self, audio: Float[Tensor, "samples"]) -> Iterator[Float[Tensor, "some_time width"]]:
        """All at once: rows are narrow, and what is loud speech and what is background is known at the end."""
        frames = frame_count(audio.shape[0])
        if frames:
            yield self._rows(audio, frames)

    def _rows(self, audio: Float[Tensor, "samples"], frames: int) -> Float[Tensor, "time width"]:
        power = self.power(audio)
        hops_db = decibels(power.sum(dim=1))
        level_db = speech_level_db(hops_db, QUIETEST_SPEECH_DB - DIFFERENCE_DB)
        power = (power - OVERSUBTRACTION * self._background(power, hops_db, level_db)).clamp(min=0)
        colour_db = self._colour_db(power / 10 ** (level_db / 10), hops_db > level_db - 20)
        relative_db = 10 * torch.log10(power.clamp(min=1e-20)) - colour_db - (level_db - BAND_BELOW_SUM_DB)
        return (relative_db.clamp(min=-FLOOR_DB) / FLOOR_DB).reshape(frames, self.width)

    def power(self, audio: Float[Tensor, "samples"]) -> Float[Tensor, "hops mels"]:
        """Mean square in each band and hop after a first difference; hop h is centred on sample 160 h + 80."""
        hops = frame_count(audio.shape[0]) * HOPS_PER_FRAME
        audio = audio[: hops * HOP].float()
        before = TRANSFORM // 2 - HOP // 2 + 1  # one for the difference
        window = torch.hann_window(WINDOW)
        rows = []
        for first in range(0, hops, BLOCK_FRAMES * HOPS_PER_FRAME):
            count = min(BLOCK_FRAMES * HOPS_PER_FRAME, hops - first)
            begin, end = first * HOP - before, (first + count - 1) * HOP + TRANSFORM + 1 - before
            inside = audio[max(0, begin) : end]
            part = torch.nn.functional.pad(inside, (max(0, -begin), end - max(0, begin) - len(inside)))
            brightened = part[1:] - 0.95 * part[:-1]
            spectrum = torch.stft(brightened, TRANSFORM, HOP, WINDOW, window, center=False, return_complex=True)
            rows.append((spectrum.real.square() + spectrum.imag.square()).T @ self.filters)
        return torch.cat(rows) / (window.square().sum() * TRANSFORM / 2)

    def _background(self, power: Float[Tensor, "hops mels"], hops_db: Float[Tensor, "hops"], level_db: float) -> Float[Tensor, "mels"]:
        """Mean power of each band's steady noise: what 90 ms averages stay below in the track's quietest tenth.

        A track without pauses has no such tenth: there it is held well below speech, unless nothing in the track rises above the rest.
        """
        averaged = _averaged(power.T)
        whole = _averaged(recorded(hops_db).float()[None])[:, 0] == 1
        heard = averaged[whole] if whole.any() else averaged
        quiet = 1.3 * heard.kthvalue(quietest_of(len(heard), len(averaged)), dim=0).values
        if level_db - background_level_db(hops_db) < MERE_NOISE_DB:
            return quiet
        return quiet.clamp(max=10 ** ((level_db - BAND_BELOW_SUM_DB - 14) / 10))

    def _colour_db(self, relative_power: Float[Tensor, "hops mels"], speech: Bool[Tensor, "hops"]) -> Float[Tensor, "mels"]:
        """Part of the track's mean speech spectrum, smooth over bands, less its mean; less of it in short tracks."""
        if not speech.any():
            return torch.zeros(self.mels)
        mean_db = decibels(relative_power[speech].mean(dim=0))
        smooth = torch.nn.functional.avg_pool1d(mean_db[None, None], 7, 1, 3, count_include_pad=False)[0, 0]
        trust = COLOUR_SHARE * speech.sum() / (speech.sum() + 100)
        return (trust * (smooth - smooth.mean())).clamp(-COLOUR_LIMIT_DB, COLOUR_LIMIT_DB)


def _averaged(rows: Float[Tensor, "mels hops"]) -> Float[Tensor, "fewer mels"]:
    """Over 90 ms, every 40."""
    return torch.nn.functional.avg_pool1d(rows[:, None], 9, 4, 4, count_include_pad=False)[:, 0].T


def mel_filters(mels: int) -> Float[Tensor, "bins mels"]:
    """Triangles, evenly spaced in mel = 2595 log10(1 + f / 700) (O'Shaughnessy), each of peak 1."""
    low, high = (2595 * torch.log10(torch.tensor(1 + f / 700, dtype=torch.float64)) for f in (LOWEST_HZ, HIGHEST_HZ))
    edges = 700 * (10 ** (torch.linspace(low, high, mels + 2, dtype=torch.float64) / 2595) - 1)
    frequency = torch.linspace(0, SAMPLE_RATE / 2, TRANSFORM // 2 + 1, dtype=torch.float64)[:, None]
    rise = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp(min=0).float()


# ---- pretrained -------------------------------------------------------------------------------------------------------

CHUNK_FRAMES, CONTEXT_FRAMES = 500, 50  # attention is quadratic in length: 20 s at a time, 2 s of context on both sides


class Pretrained(Encoder):
    """Hidden states of wav2vec 2.0, HuBERT or WavLM through transformers, side by side, at exactly 25 rows a second.

    Rows are kept in half precision (an error of 1/2048 of each value); what overflows it is an error.
    """

    dtype = torch.float16

    def __init__(self, config: EncoderConfig):
        self.model, self.normalises = _pretrained(config)
        self.layers = _layers(config, self.model.config.num_hidden_layers + 1)
        self.num_layers = len(self.layers)
        self.width = self.num_layers * self.model.config.hidden_size
        self.stride, self.field = _stride_and_field(self.model.config.conv_kernel, self.model.config.conv_stride)
        self.digest = self._digest(config)
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> "Encoder":
        self.model, self.device = self.model.to(device), device
        return self

    def _digest(self, config: EncoderConfig) -> str:
        """Over the weights and the chosen layers, wherever the folder lies."""
        definition = {"kind": config.kind, "layers": self.layers, "normalises": self.normalises, "dtype": str(self.dtype)}
        digest = hashlib.sha256(json.dumps(definition, sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    @torch.no_grad()
    def parts(self, audio: Float[Tensor, "samples"]) -> Iterator[Float[Tensor, "some_time width"]]:
        frames = frame_count(audio.shape[0])
        audio = audio[: sample_count(frames)].float()
        mean, deviation = (audio.mean(), torch.sqrt(audio.var(correction=0) + 1e-7)) if self.normalises and frames else (0.0, 1.0)
        for first in range(0, frames, CHUNK_FRAMES):
            last = min(first + CHUNK_FRAMES, frames)
            begin, end = max(0, first - CONTEXT_FRAMES), min(frames, last + CONTEXT_FRAMES)
            chunk = (audio[sample_count(begin) : sample_count(end)] - mean) / deviation
            rows = self._chunk(chunk, end - begin)[first - begin : last - begin].to(self.dtype)
            if not rows.isfinite().all():
                remedy = "choose other layers, or another checkpoint: its numbers leave half precision"
                where = f"encoder.layers {list(self.layers)}, sound from {first / FRAME_RATE:.0f} s"
                raise InputError(where, expected=f"features within {torch.finfo(self.dtype).max:g}", found="larger ones", remedy=remedy)
            yield rows

    def _chunk(self, audio: Float[Tensor, "samples"], frames: int) -> Float[Tensor, "time width"]:
        padded = torch.nn.functional.pad(audio, (0, self.field))  # so that the last frame has rows of its own
        states = self.model(padded[None].to(self.device), output_hidden_states=True).hidden_states
        chosen = torch.cat([states[layer][0] for layer in self.layers], dim=-1).cpu()
        return framed(chosen, first_centre=self.field / 2, stride=self.stride, frames=frames)


def _layers(config: EncoderConfig, num_states: int) -> tuple[int, ...]:
    """Which hidden states, counted from the front; all of them where none is named."""
    for layer in config.layers:
        if not -num_states <= layer < num_states:
            expected = f"layers from -{num_states} to {num_states - 1} ({config.path} has {num_states - 1} and their input)"
            raise InputError("encoder.layers", expected=expected, found=str(layer), remedy="-1 is the last layer, [] stands for all")
    layers = tuple(layer % num_states for layer in config.layers) or tuple(range(num_states))
    if len(set(layers)) < len(layers):
        found = f"{list(config.layers)}, which is {list(layers)}"
        raise InputError("encoder.layers", expected="different layers", found=found, remedy="name each once")
    return layers


def _stride_and_field(kernels: list[int] | tuple[int, ...], strides: list[int] | tuple[int, ...]) -> tuple[int, int]:
    """Samples from one row of the convolutional front end to the next, and samples that one row sees."""
    stride, field = 1, 1
    for kernel, step in zip(kernels, strides, strict=True):
        field += (kernel - 1) * stride
        stride *= step
    return stride, field


def _pretrained(config: EncoderConfig):
    """The model in evaluation mode, and whether it wants tracks of zero mean and unit variance."""
    from safetensors import SafetensorError
    from transformers import AutoFeatureExtractor, AutoModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of reading weights, for a moment: an error has to stay the only line
    remedy = f"run `hf download {config.path} --local-dir FOLDER` where there is a network and set encoder.path to FOLDER"
    if _is_folder(config.path):
        remedy = "copy the whole checkpoint, as save_pretrained or `hf download` writes it"
        _check_folder(Path(config.path), remedy)
    try:
        model = AutoModel.from_pretrained(config.path).eval().requires_grad_(False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError("encoder.path", expected=f"a {config.kind} checkpoint (config.json, model.safetensors)",
                         found=f"none at {config.path!r} ({str(error).splitlines()[0]})", remedy=remedy) from error  # fmt: skip
    if model.config.model_type != config.kind:
        raise InputError("encoder.path", expected=f"a {config.kind} checkpoint", found=f"{model.config.model_type} in {config.path!r}",
                         remedy=f"set encoder.kind to {model.config.model_type}, or name another checkpoint")  # fmt: skip
    try:
        normalises = bool(AutoFeatureExtractor.from_pretrained(config.path).do_normalize)
    except (OSError, ValueError):
        normalises = model.config.feat_extract_norm == "layer"  # as the published models have it
    return model, normalises


def _is_folder(path: str) -> bool:
    """A folder, there or not, rather than a hub name (name or owner/name)."""
    return Path(path).is_dir() or path.startswith((".", "/", "~")) or path.count("/") > 1


def _check_folder(folder: Path, remedy: str) -> None:
    if not folder.is_dir():
        remedy = "put the checkpoint there, or correct encoder.path (a trained model's is in its motion/description.json)"
        raise InputError(folder, expected="a folder with config.json and model.safetensors", found="no such folder", remedy=remedy)
    if not (folder / "config.json").is_file():
        raise InputError(folder / "config.json", expected="the checkpoint's configuration", found="no such file", remedy=remedy)
    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
    if not any((folder / name).is_file() for name in weights):
        raise InputError(folder / "model.safetensors", expected="the checkpoint's weights", found="no such file", remedy=remedy)
