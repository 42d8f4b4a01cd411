"""Small stand-ins that are real files: a run with an untrained motion model, speech models with random weights, avatars of a few
Gaussians, voices of noise."""

from pathlib import Path

import numpy as np
import soundfile
import torch

from mango.audio.encoders import EncoderConfig, make_encoder
from mango.config import to_plain
from mango.diffusion.objective import DiffusionConfig
from mango.models.motion import MotionModelConfig
from mango.training.checkpoints import write_checkpoint
from mango.training.optim import OptimizerConfig, make_learner
from mango.training.stage1 import MotionDescription, make_motion_model


def tiny_run(folder: Path, head, *, head_digest: str | None = None, encoder: EncoderConfig = EncoderConfig(mels=8)) -> Path:
    """A run folder whose model answers to its inputs but has learnt nothing; motion stays small."""
    made = make_encoder(encoder)
    description = MotionDescription(
        head=head_digest or head.digest,
        expressions=head.expressions,
        identity_width=head.identities,
        voice_width=made.width,
        frames=20,
        context=4,
        model=MotionModelConfig(width=16, depth=1, heads=2, interaction_depth=1),
        diffusion=DiffusionConfig(levels=50),
        encoder=encoder,
        voice_layers=made.num_layers,
        encoder_digest=made.digest,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make_motion_model(description)
        for weights in model.parameters():
            torch.nn.init.normal_(weights, std=0.2)
    model.motion_std.fill_(0.02)
    learner = make_learner("motion", model, OptimizerConfig(), steps=1, description=to_plain(description))
    write_checkpoint(folder / "checkpoints", 1, [learner], {}, {})
    return folder


def tiny_encoder(folder: Path, kind: str, seed: int = 0, **changes) -> str:
    """A checkpoint of wav2vec 2.0, HuBERT or WavLM: three layers of 16 with random weights, as save_pretrained writes it."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    name = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}[kind]
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "num_conv_pos_embeddings": 16,
             "num_conv_pos_embedding_groups": 2, "conv_dim": (8,) * 7, "vocab_size": 8}  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes, **changes)).save_pretrained(folder)
    return str(folder)


def tiny_avatar(path: Path, head, seed: int = 0, *, digest: str | None = None) -> Path:
    from renderer.head import AvatarConfig, new_avatar

    identity = 0.5 * torch.randn(head.identities, generator=torch.Generator().manual_seed(seed))
    template = head.with_shape(identity).template
    density = torch.ones(len(head.faces))
    avatar = new_avatar(
        template, head.faces, density, AvatarConfig(1500), identity=identity, head=digest or head.digest, person=f"p{seed:02d}", seed=seed
    )
    with torch.no_grad():  # speckled, so that movement shows, and one person darker than the other
        speckles = torch.rand(len(avatar.albedo), 1, generator=torch.Generator().manual_seed(seed))
        avatar.albedo.copy_((speckles * (0.9 if seed % 2 else 0.5)).expand(-1, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    avatar.save(path)
    return path


def tiny_voice(path: Path, seconds: float = 1.0, *, seed: int = 0, channels: int = 1, rate: int = 16_000) -> Path:
    """Noise in bursts, louder than silence by far."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * rate)
    bursts = (np.sin(2 * np.pi * 1.5 * np.arange(samples) / rate + seed) > 0).astype(float)
    sound = 0.2 * rng.standard_normal((samples, channels)) * bursts[:, None]
    soundfile.write(path, sound.clip(-1, 1), rate)
    return path
