"""From recordings to motion files: two voices and a trained model in, a folder for `mango render` out.

OUT/{a,b}.motion.npz + .json   motion of both people       OUT/{a,b}.wav   their voices, as finely as recorded, up to 48 kHz
OUT/generation.json            what made them
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mango.audio.activity import speaking_indicator
from mango.audio.alignment import frame_count
from mango.audio.channels import SEPARATE, likeness
from mango.audio.encoders import Encoder, make_encoder
from mango.audio.reading import FINEST_RATE, read_audio, read_voices, sound_rate, write_audio
from mango.data.atomic import atomic_folder, check_place
from mango.data.json_files import write_json
from mango.data.motion_files import save_motion
from mango.diffusion.objective import noise_scheduler
from mango.errors import InputError
from mango.head.model import Head, load_head
from mango.inference.avatars import load_avatar
from mango.inference.generation import Codes, GenerationConfig, Progress, generate
from mango.models.adapters import NOBODY, worn
from mango.training.adapter_files import load_adapter, unworn
from mango.training.runtime import default_device
from mango.training.stage1 import MotionDescription, check_encoder, load_motion_model
from mango.types import FRAME_RATE, MOVING, PERSONS, SAMPLE_RATE, MotionClip

FORMAT = 1
RECORD = "generation.json"
COMPARED_S = 5.0  # of two voices, at least, to say that they are one mix: for less, real exchanges look it
ARRIVING = ".arriving"  # in the folder: files that are all written, on their way to their places


def generate_from_files(
    own: Path,
    partner: Path | None,
    checkpoint: Path,
    out: Path,
    config: GenerationConfig,
    *,
    pad: bool = False,
    head: str | Path = "builtin",
    avatars: Sequence[Path] = (),
    adapters: Sequence[Path | None] = (),
    progress: Progress | None = None,
) -> list[str]:
    """Motion of both people into the folder ``out``, whole or not at all; other files in it stay. What is to be said about it.

    Person a is ``own``, b is ``partner``; without ``partner``, ``own`` is a stereo file of both. ``avatars`` (one per person) say whose
    heads are moved: the model is told their identity and the clips carry it. ``adapters`` (one per person, None for none) say who moves.

    Errors: InputError also where ``out`` has files that no earlier call wrote: they might be somebody's recordings.
    """
    _arrive(Path(out))
    _check_out(Path(out), [path for path in (own, partner) if path is not None])
    voices = read_voices(own, partner, pad=pad)
    loaded = load_head(head)
    heads = [load_avatar(path, loaded) for path in avatars]
    model, description, encoder_config = load_motion_model(checkpoint, head=loaded)
    worn_by = {person: load_adapter(path, model) for person, path in enumerate(adapters) if path is not None}
    who = torch.tensor([[list(worn_by).index(person) if person in worn_by else NOBODY for person in range(len(PERSONS))]])
    device = default_device()
    encoder = make_encoder(encoder_config).to(device)
    with worn(model, [adapter.to(device) for adapter in worn_by.values()], who.to(device)):
        clips = generate_clips(
            model, description, encoder, loaded, voices, config, identities=[avatar.identity for avatar in heads], progress=progress
        )
    _check_finite(clips, checkpoint)
    made_by = {
        "format": FORMAT,
        "own": str(own),
        "partner": None if partner is None else str(partner),
        "checkpoint": str(checkpoint),
        "avatars": [str(path) for path in avatars],
        "adapters": [None if path is None else str(path) for path in adapters],
        "head": loaded.digest,
        "encoder": encoder.digest,
        "fps": FRAME_RATE,
        "frames": frame_count(len(voices[0])),
        **asdict(config),
    }
    with _filling(Path(out)) as folder:
        for person, clip in clips.items():
            save_motion(folder / f"{person}.motion.npz", clip, more={"created_by": "mango generate"})
        _write_voices(folder, own, partner, seconds=made_by["frames"] / FRAME_RATE)
        write_json(folder / RECORD, made_by)
    remarks = [unworn(Path(checkpoint))] if not worn_by else []
    if len(voices[0]) >= COMPARED_S * SAMPLE_RATE and likeness(*voices) >= SEPARATE:
        remarks.append("both voices rise and fall together, as in one mixed recording: both people will say the same words (a file or a "
                       "channel for each is wanted)")  # fmt: skip
    if worn_by and not heads:
        remarks.append("the model is not told whose face moves, as it was when the adapter learnt: --avatar tells it")
    wearing = zip(PERSONS, heads, strict=True) if heads else ()
    return [*filter(None, remarks)] + [
        f"{side} looks like {avatar.whose} and moves like {worn_by[person].person}"
        for person, (side, avatar) in enumerate(wearing)
        if person in worn_by and avatar.whose not in (None, worn_by[person].person)
    ]


def _write_voices(folder: Path, own: Path, partner: Path | None, seconds: float) -> None:
    """For the film: at the rate of the finer recording, as long as the motion."""
    recorded = ((own, 0), (own, 1)) if partner is None else ((own, None), (partner, None))
    rate = min(max(SAMPLE_RATE, *(sound_rate(file) for file, _ in recorded)), FINEST_RATE)
    length = round(seconds * rate)
    for person, (file, channel) in zip(PERSONS, recorded, strict=True):
        voice = read_audio(file, channel=channel, rate=rate)[:length]
        write_audio(folder / f"{person}.wav", torch.nn.functional.pad(voice, (0, length - len(voice))), rate)


def _check_out(out: Path, recordings: Sequence[Path]) -> None:
    check_place(out, folder=True)
    names = [f"{person}.{suffix}" for person in PERSONS for suffix in ("motion.npz", "motion.json", "wav")]
    for name in names:
        for recording in recordings:
            if (out / name).exists() and recording.exists() and (out / name).samefile(recording):
                raise InputError(out, expected="a folder without the recordings", found=str(recording), remedy="choose another --out")
    there = [name for name in names if (out / name).exists()]
    if there and not (out / RECORD).exists():
        found = f"{', '.join(there)} of something else"
        raise InputError(out, expected="a new folder, or one that mango generate wrote", found=found, remedy="choose another --out")


def _check_finite(clips: Mapping[str, MotionClip], checkpoint: Path) -> None:
    for person, clip in clips.items():
        frames = torch.cat([getattr(clip, name) for name in MOVING], dim=1).isfinite().all(1)
        if not frames.all():
            found = f"NaN or infinity for person {person}, first in frame {int((~frames).nonzero()[0])}"
            remedy = "try it without guidance and with other --steps; if that fails too, the checkpoint is damaged or diverged"
            raise InputError(checkpoint, expected="motion of finite numbers", found=found, remedy=remedy)


def generate_clips(
    model: torch.nn.Module,
    description: MotionDescription,
    encoder: Encoder,
    head: Head,
    voices: Sequence[Float[Tensor, "samples"]] | Float[Tensor, "person samples"],
    config: GenerationConfig,
    *,
    speaking: Float[Tensor, "person time"] | None = None,
    identities: Codes = (),
    progress: Progress | None = None,
) -> dict[str, MotionClip]:
    """Clips of a and b from their sound. Without an identity (a's, b's) the average head moves, like nobody in particular."""
    check_encoder(encoder, description)
    device = default_device()
    speaking = torch.stack([speaking_indicator(voice) for voice in voices]) if speaking is None else speaking
    codes = [None if code is None else _padded(code, model.identity_width) for code in identities or (None, None)]
    flat = generate(
        model.to(device),
        noise_scheduler(description.diffusion, config.sampler),
        Hearing(encoder, voices),
        speaking.to(device),
        config,
        window=description.context + description.frames,
        context=description.context,
        identity=codes,
        progress=progress,
    ).cpu()
    shapes = [torch.zeros(head.identities) if code is None else code for code in codes]
    return {person: head.layout.clip(flat[k], shapes[k], head.digest) for k, person in enumerate(PERSONS)}


class Hearing:
    """Features of both voices, encoded when they are asked for and forgotten when no later window can ask for them again."""

    def __init__(self, encoder: Encoder, voices: Sequence[Float[Tensor, "samples"]] | Float[Tensor, "person samples"]):
        self.coming = [encoder.parts(voice) for voice in voices]
        self.held = [torch.zeros(0, encoder.width, dtype=encoder.dtype) for _ in self.coming]
        self.held_from = 0

    def __call__(self, first: int, last: int) -> Float[Tensor, "person some_time features"]:
        """Of frames first to last - 1; ``first`` never goes back."""
        for k, parts in enumerate(self.coming):
            rows = self.held[k][first - self.held_from :]
            while len(rows) < last - first:
                rows = torch.cat([rows, next(parts)]) if len(rows) else next(parts)
            self.held[k] = rows
        self.held_from = first
        return torch.stack([rows[: last - first] for rows in self.held])


def _padded(code: Float[Tensor, "some_identity"], width: int) -> Float[Tensor, "identity"]:
    """Shape coefficients beyond a shorter code are zero."""
    return torch.nn.functional.pad(code.float(), (0, width - code.shape[0]))


@contextmanager
def _filling(folder: Path) -> Iterator[Path]:
    """A place to write files to that arrive in ``folder`` when all are written; files of other names in it stay."""
    if not folder.exists():
        with atomic_folder(folder) as partial:
            yield partial
        return
    with atomic_folder(folder / ARRIVING, replace=True) as partial:
        yield partial
    _arrive(folder)


def _arrive(folder: Path) -> None:
    """What is written and on its way arrives, whoever sent it: until then ``folder`` may hold files of two generations."""
    arriving = folder / ARRIVING
    if arriving.is_dir():
        for file in sorted(arriving.iterdir()):
            os.replace(file, folder / file.name)
        arriving.rmdir()
