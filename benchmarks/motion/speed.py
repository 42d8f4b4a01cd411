"""Real-time factors of generation at paper scale: seconds of work for one second of dialogue, both people together. Below 1 is faster.

Weights are random: speed does not depend on them. The encoder wav2vec2-base is built at its published sizes, without its weights.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch

from mango.audio.encoders import Encoder, EncoderConfig, make_encoder
from mango.diffusion.objective import DiffusionConfig, noise_scheduler
from mango.head.model import load_head
from mango.inference.generation import GenerationConfig, generate
from mango.models.motion import MotionModel, MotionModelConfig
from mango.types import SAMPLE_RATE

SECONDS = 30.0
WINDOW, CONTEXT = 110, 10  # frames, as in configs/stage1.yaml
PLAIN = GenerationConfig(steps=10, sampler="dpm++")
GUIDED = replace(PLAIN, guidance={"own": 1.5, "heard": 1.5})


def real_time_factors(seconds: float = SECONDS, config: MotionModelConfig = MotionModelConfig()) -> dict[str, float]:
    voices = 0.1 * torch.randn(2, round(seconds * SAMPLE_RATE), generator=torch.Generator().manual_seed(0))
    factors, head = {}, load_head()
    with tempfile.TemporaryDirectory() as folder:
        for name, encoder in (("log-mel", make_encoder(EncoderConfig())), ("wav2vec2-base", wav2vec2_base(Path(folder)))):
            encoding, features = _timed(lambda e=encoder: torch.stack([e.encode(voice) for voice in voices]))
            factors[f"encoding, {name}"] = encoding / seconds
            torch.manual_seed(0)
            model = MotionModel(config, head.layout, encoder.width, head.identities).eval()
            for guidance, sampling in (("guidance off", PLAIN), ("guidance of both voices", GUIDED)):
                generating, _ = _timed(lambda m=model, f=features, s=sampling: _generated(m, f, s))
                factors[f"generating, {name}, {guidance}"] = generating / seconds
    return factors


def wav2vec2_base(folder: Path) -> Encoder:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder)  # transformers' defaults are the base model's
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return make_encoder(EncoderConfig(kind="wav2vec2", path=str(folder)))


def _generated(model: MotionModel, features: torch.Tensor, sampling: GenerationConfig) -> torch.Tensor:
    scheduler = noise_scheduler(DiffusionConfig(), sampling.sampler)
    return generate(model, scheduler, features, torch.zeros(features.shape[:2]), sampling, window=WINDOW, context=CONTEXT)


def _timed(work):
    """The faster of two tries."""
    best, result = float("inf"), None
    for _ in range(2):
        began = perf_counter()
        result = work()
        best = min(best, perf_counter() - began)
    return best, result
