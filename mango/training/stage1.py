"""Stage one: the denoising objective of the motion model, its validation, and reading a trained model back."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mango.audio.encoders import Encoder, EncoderConfig
from mango.config import changed_fields, check_ranges, from_plain, to_plain
from mango.data.windows import WindowBatch, Windows
from mango.diffusion.objective import DiffusionConfig, Schedule, levels, noised
from mango.errors import InputError
from mango.head.layout import MotionLayout
from mango.losses.motion import FrameLoss, MotionLossWeights, Surface, motion_losses
from mango.models.motion import MotionModel, MotionModelConfig, PathwayDrop
from mango.models.regressor import PartnerMotionRegressor
from mango.seeds import torch_generator
from mango.training.checkpoints import newest_checkpoint, read_description, read_state, read_weights
from mango.training.optim import LOWER_THE_RATE, OptimizerConfig
from mango.training.run import Every
from mango.training.runtime import Runtime, RuntimeConfig

AnyMotionModel = MotionModel | PartnerMotionRegressor


@dataclass(frozen=True)
class ConditionNoise:
    """How often training withholds or spoils a condition, so that generation can do without it or stand its errors."""

    own: float = 0.1  # probability of withholding the own voice, per person and window, as the next three
    heard: float = 0.1  # of the partner's voice
    identity: float = 0.1  # of the face's shape
    speaking: float = 0.2  # of who speaks when
    context: float = 0.3  # of a window without clean context: a dialogue's beginning
    speaking_flips: float = 0.1  # share of frames whose speaking indicator is wrong, in runs of about ``flip_frames``
    flip_frames: int = 5  # length of such a run
    voice: float = 0.1  # noise on the voice features, in their standard deviations: per frame ...
    colour: float = 0.1  # ... and constant over a window, as another microphone or room would be

    def __post_init__(self):
        share = "[0, 1]"
        check_ranges(self, own=share, heard=share, identity=share, speaking=share, context=share, speaking_flips=share)
        check_ranges(self, flip_frames="[1, inf)", voice="[0, inf)", colour="[0, inf)")


@dataclass(frozen=True)
class Stage1Config:
    """Stage one; the defaults are the paper-scale model."""

    data: Path = Path("data/dialogues")  # in folders or shards
    strict: bool = False  # stop at a damaged dialogue of a packed set, instead of leaving it out and naming it
    run: Path = Path("runs/stage1")  # the folder that training writes, and goes on from
    head: str = "builtin"  # or a head file
    seed: int = 0  # of weights, windows and noise
    steps: int = 200_000  # in all, those before a resumption included
    batch: int = 32  # windows of both people
    accumulate: int = 1  # parts that a batch is done in, one after the other, where memory is short: 4 learn what 1 does, up to rounding
    frames: int = 100  # of a window, without its context
    context: int = 10  # frames before a window that the model is shown as they were
    train_split: str = "train"  # dialogues to learn from
    validation_split: str | None = "val"  # where it is None, empty or not there, nothing is held out
    validation_windows: int | None = 2000  # of the split, evenly chosen, at most; None: all
    start_from: Path | None = None  # begin with the weights of this run (its moving average) instead of at random
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    model: MotionModelConfig = field(default_factory=MotionModelConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    losses: MotionLossWeights = field(default_factory=MotionLossWeights)
    high_levels: float = 1.6  # above 1 high noise levels, where it is decided what happens at all, are drawn oftener (`levels`)
    lip_weight: float = 8.0  # of a lip point against another point of the face, in the vertex losses
    conditions: ConditionNoise = field(default_factory=ConditionNoise)
    muted: float = 0.3  # share of windows in which one of the two says nothing (`mango.training.muting`)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    every: Every = field(default_factory=Every)
    keep: int = 2  # newest checkpoints
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self):
        positive = "[1, inf)"
        check_ranges(self, steps=positive, batch=positive, frames=positive, context="[0, inf)", keep=positive, validation_windows=positive)
        check_ranges(self, high_levels="(0, inf)", lip_weight="[0, inf)", muted="[0, 1]")
        if self.accumulate < 1 or self.batch % self.accumulate:
            expected, remedy = f"1 or another divisor of 'batch' ({self.batch})", "choose one"
            raise InputError("accumulate", expected=expected, found=str(self.accumulate), remedy=remedy)
        if not any(asdict(self.losses).values()):
            raise InputError("losses", expected="one of them above 0", found="none", remedy="without one nothing is learnt")


@dataclass(frozen=True)
class MotionDescription:
    """What is needed to rebuild a motion model and to use it; stored beside its weights in runs of every stage."""

    head: str  # digest
    expressions: int
    identity_width: int
    voice_width: int
    frames: int
    context: int
    model: MotionModelConfig
    diffusion: DiffusionConfig
    encoder: EncoderConfig
    voice_layers: int = 1  # of the encoder, side by side in voice_width
    encoder_digest: str | None = None  # None: not known, in runs from before it was kept


# The objective ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draws:
    """Everything random in one evaluation of the model. Made for the whole batch, whoever does which of its windows."""

    level: Int[Tensor, "batch"]
    gaussian: Float[Tensor, "batch person time width"]  # standard normal
    drop: PathwayDrop
    flipped: Bool[Tensor, "batch person time"]  # frames whose speaking indicator is wrong
    given: Bool[Tensor, "batch person time"]  # clean context shown to the model
    voices: Float[Tensor, "batch person time layer_features"]  # noise on the features, in their standard deviations

    def rows(self, chosen: list[int]) -> "Draws":
        """Of some of the windows."""
        return self._each(lambda tensor: tensor[chosen])

    def to(self, device: torch.device) -> "Draws":
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Draws":
        drop = PathwayDrop(**{name: change(tensor) for name, tensor in vars(self.drop).items()})
        return Draws(**{name: drop if name == "drop" else change(value) for name, value in vars(self).items()})


def random_draws(
    batch: WindowBatch,
    schedule: Schedule,
    noise: ConditionNoise,
    context: int,
    position: tuple[int | str, ...],
    high_levels: float = 1.0,
) -> Draws:
    """Levels (`levels`), noise, withheld conditions, spoilt indicators. ``position``, e.g. (seed, step), decides all of them."""
    random = torch_generator(*position, "diffusion")
    return Draws(  # in the order of the generator's draws
        level=levels(len(batch), schedule, random, high_levels),
        gaussian=torch.randn(batch.motion.shape, generator=random),
        drop=_withheld(noise, len(batch), random),
        flipped=_flipped(batch.speaking.shape, noise, random),
        given=_given(batch.keep, noise, context, random),
        voices=_coloured((*batch.voices.shape[:3], batch.voices.shape[3] // batch.voice_layers), noise, random),
    )


def one_shot_x0(
    model: MotionModel, batch: WindowBatch, labels: Float[Tensor, "batch person time width"], schedule: Schedule, draws: Draws
) -> Float[Tensor, "batch person time width"]:
    """The model's clean motion (x0, normalised) from noised ``labels`` (normalised), with gradient; the labels where they were given."""
    draws = draws.to(labels.device)
    given, speaking = draws.given[..., None], torch.where(draws.flipped, 1 - batch.speaking, batch.speaking)
    noisy = torch.where(given, labels, noised(labels, draws.gaussian, draws.level, schedule))
    conditions = model.listen(_spoilt(batch, model, draws), speaking, batch.inside, draws.drop)
    clean = model(noisy, draws.level, conditions, batch.identity, batch.keep, draws.given)
    return torch.where(given, labels, clean.to(labels.dtype))


def regressed(
    model: PartnerMotionRegressor, batch: WindowBatch, labels: Float[Tensor, "batch person time width"], draws: Draws
) -> Float[Tensor, "batch person time width"]:
    """What the baseline makes of both voices and, for each person, of the partner's labels: at the mean pose where there are none."""
    seen = torch.where(batch.keep[..., None], labels, 0.0)
    return model(_spoilt(batch, model, draws), seen, batch.inside).to(labels.dtype)


def _spoilt(batch: WindowBatch, model: AnyMotionModel, draws: Draws) -> Float[Tensor, "batch person time features"]:
    """Voices with their noise, which is the same on every layer: the mean of independent ones would be less."""
    noise = draws.voices.repeat(1, 1, 1, batch.voice_layers)
    return batch.voices + model.voice_std * noise.to(batch.voices)


def stage1_losses(
    model: AnyMotionModel,
    batch: WindowBatch,
    schedule: Schedule,
    config: Stage1Config,
    surface: Surface | None,
    draws: Draws,
    whole: Mapping[str, int] | None = None,
) -> dict[str, FrameLoss]:
    """``whole``: `frame_counts` of the batch that these windows are a part of; None: they are all of it."""
    labels = model.normalised(batch.motion)
    if isinstance(model, PartnerMotionRegressor):
        clean = regressed(model, batch, labels, draws)
    else:
        clean = one_shot_x0(model, batch, labels, schedule, draws)
    return motion_losses(
        clean,
        labels,
        batch.taught & ~draws.given.to(labels.device),
        batch.keep,
        layout=model.layout,
        std=model.motion_std,
        mean=model.motion_mean,
        bilabial=batch.bilabial,
        surface=surface,
        weights=config.losses,
        whole=whole,
    )


NO_NOISE = ConditionNoise(own=0.0, heard=0.0, identity=0.0, speaking=0.0, context=0.0, speaking_flips=0.0, voice=0.0, colour=0.0)


@torch.no_grad()
def validation_losses(
    model: AnyMotionModel, windows: Windows, schedule: Schedule, config: Stage1Config, surface: Surface | None, runtime: Runtime
) -> dict[str, float]:
    """Mean of each loss over the split's frames, at fixed noise: comparable between steps and runs. Processes share the work."""
    names = [name for name, weight in asdict(config.losses).items() if weight]
    sums, counts = ({name: torch.zeros((), dtype=torch.float64) for name in names} for _ in range(2))
    for number, places in enumerate(windows.tiles(config.batch, config.validation_windows)):
        if number % runtime.processes == runtime.rank:
            batch = windows.at(places)
            draws = random_draws(batch, schedule, NO_NOISE, config.context, (0, number, "validation"))
            losses = stage1_losses(model, batch.to(runtime.device), schedule, config, surface, draws)
            for name, loss in losses.items():
                sums[name] += float(loss.per_dialogue_sum().sum())
                counts[name] += int(loss.valid.sum())
    sums, counts = runtime.summed(sums), runtime.summed(counts)
    means = {name: float(sums[name] / counts[name].clamp(min=1)) for name in names}
    weighted = sum(getattr(config.losses, name) * mean for name, mean in means.items())
    return {**means, "total": weighted}


def check_finite(losses: dict[str, FrameLoss], batch: WindowBatch, step: int) -> None:
    """NaN or infinity stops the run and says where it came from."""
    for name, loss in losses.items():
        sums = loss.per_dialogue_sum().detach()
        if not torch.isfinite(sums).all():
            first = int((~torch.isfinite(sums)).nonzero()[0])
            where = f"step {step}, loss {name!r}, dialogue {batch.dialogues[first]} from frame {batch.starts[first]}"
            remedy = f"check this dialogue (mango data validate), or {LOWER_THE_RATE}"
            raise InputError(where, expected="a finite loss", found=str(float(sums[first])), remedy=remedy)


def _withheld(noise: ConditionNoise, size: int, random: torch.Generator) -> PathwayDrop:
    drawn = torch.rand(4, size, 2, generator=random)
    limits = torch.tensor([noise.own, noise.heard, noise.identity, noise.speaking])
    return PathwayDrop(*(drawn < limits[:, None, None]))


def _flipped(shape: tuple[int, int, int], noise: ConditionNoise, random: torch.Generator) -> Bool[Tensor, "batch person time"]:
    """Runs of frames."""
    batch, person, time = shape
    runs = torch.rand(batch, person, -(-time // noise.flip_frames) + 1, generator=random) < noise.speaking_flips
    shift = int(torch.randint(noise.flip_frames, (), generator=random))
    return runs.repeat_interleave(noise.flip_frames, dim=2)[..., shift : shift + time]


def _coloured(
    shape: tuple[int, int, int, int], noise: ConditionNoise, random: torch.Generator
) -> Float[Tensor, "batch person time features"]:
    """Noise for the features: fresh in every frame, plus one colour a window."""
    batch, person, _, features = shape
    fresh = torch.randn(shape, generator=random)
    colour = torch.randn(batch, person, 1, features, generator=random)
    return noise.voice * fresh + noise.colour * colour


def _given(
    keep: Bool[Tensor, "batch person time"], noise: ConditionNoise, context: int, random: torch.Generator
) -> Bool[Tensor, "batch person time"]:
    """Clean context for both people of a window or for neither; never where there is no label."""
    shown = (torch.rand(len(keep), generator=random) >= noise.context).to(keep.device)
    first = torch.arange(keep.shape[2], device=keep.device) < context
    return keep & shown[:, None, None] & first


# Building and reading -----------------------------------------------------------------------------------------------------


def make_motion_model(description: MotionDescription) -> AnyMotionModel:
    d = description
    if d.model.kind == "regression":
        return PartnerMotionRegressor(d.model, MotionLayout(d.expressions), d.voice_width, d.voice_layers)
    return MotionModel(d.model, MotionLayout(d.expressions), d.voice_width, d.identity_width, d.voice_layers)


def describe(config: Stage1Config, windows: Windows, head_digest: str) -> MotionDescription:
    return MotionDescription(
        head=head_digest,
        expressions=windows.layout.expressions,
        identity_width=windows.identity_width,
        voice_width=windows.encoder.width,
        frames=config.frames,
        context=config.context,
        model=config.model,
        diffusion=config.diffusion,
        encoder=config.encoder,
        voice_layers=windows.encoder.num_layers,
        encoder_digest=windows.encoder.digest,
    )


def new_motion_model(config: Stage1Config, windows: Windows, head) -> tuple[AnyMotionModel, MotionDescription]:
    """A model with the training split's statistics: at random by the seed, or from ``start_from``, whose statistics it keeps."""
    description = describe(config, windows, head.digest)
    if config.start_from is not None:
        model, found, _ = load_motion_model(config.start_from, head=head, baseline=True)
        known = replace(description, encoder_digest=found.encoder_digest and description.encoder_digest)
        if found.encoder_digest == description.encoder_digest:  # wherever it lies now
            known = replace(known, encoder=found.encoder)
        if changes := changed_fields(to_plain(found), to_plain(known)):
            raise InputError(
                config.start_from,
                expected="a model of this config",
                found=f"another {', '.join(sorted(changes))}",
                remedy="start from a run of the same config",
            )
        return model.train().requires_grad_(True), description
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_generator(config.seed, "weights").initial_seed())
        model = make_motion_model(description)
    model.set_statistics(*windows.motion_statistics(), *windows.voice_statistics())
    return model, description


def load_motion_model(run_or_checkpoint: Path, *, head, baseline: bool = False) -> tuple[AnyMotionModel, MotionDescription, EncoderConfig]:
    """The averaged weights of a run's newest checkpoint (any stage) or of a checkpoint folder, ready to generate.

    ``baseline``: a regressor will do, which needs the partner's motion; otherwise it is refused.
    """
    place = Path(run_or_checkpoint)
    checkpoint = place if (place / "state.json").exists() else newest_checkpoint(place / "checkpoints")
    if checkpoint is None:
        found = "no such folder" if not place.exists() else "no checkpoints in it" if place.is_dir() else "a file"
        raise InputError(
            place,
            expected="a run folder or a checkpoint folder",
            found=found,
            remedy="give the folder that training wrote, e.g. runs/demo/stage1",
        )
    read_state(checkpoint)  # refuses other formats
    described = checkpoint / "motion" / "description.json"
    description = from_plain(MotionDescription, read_description(described), where=str(described))
    if description.head != head.digest:
        raise InputError(
            checkpoint,
            expected=f"a model for the head {head.name} ({head.digest[:12]})",
            found=f"one for head {description.head[:12]}",
            remedy="give --head the file it was trained with",
        )
    if description.model.kind == "regression" and not baseline:
        raise InputError(
            checkpoint,
            expected="a model that hears and generates (model.kind: diffusion)",
            found="a regressor that has to be shown the partner's motion",
            remedy="score it with `mango evaluate`; to generate, train with model.kind diffusion",
        )
    model = make_motion_model(description)
    averaged = checkpoint / "motion" / "ema.safetensors"
    read_weights(averaged if averaged.exists() else averaged.with_name("model.safetensors"), model)
    return model.eval().requires_grad_(False), description, description.encoder


def check_encoder(encoder: Encoder, description: MotionDescription) -> None:
    """Features that are not what the model has learnt from would be noise to it: an error."""
    learnt, asked = description.encoder_digest, description.encoder
    if encoder.width != description.voice_width or learnt not in (None, encoder.digest):
        raise InputError(
            f"encoder {asked.path or asked.kind}",
            expected=f"the features the model learnt from ({description.voice_width} wide, digest {(learnt or 'unknown')[:12]})",
            found=f"others ({encoder.width} wide, digest {encoder.digest[:12]})",
            remedy="put back the encoder's checkpoint that training used, or train again with this one",
        )
