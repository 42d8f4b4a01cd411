"""Stage two: pictures teach the motion model what the tracker got wrong.

    label bank ──noise──> motion model ──one-shot x0──> head ──vertices──> avatar ──Gaussians──> renderer ──> picture
        ▲                                   │                                                                   │
        └──── follows x0 at low levels ─────┘  <───────────────────── gradient ──────────────────────── recorded picture

In phases of the head learner the same picture is drawn from the bank's motion and the gradient ends in avatars and cameras.
Nothing here reads more than sound, pictures, and the tracker's labels and cameras.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mango.data.dialogues import DialogueSet
from mango.data.pictures import PictureBatch, Pictures
from mango.data.windows import WindowBatch, Windows
from mango.diffusion.objective import Schedule as NoiseSchedule
from mango.errors import InputError
from mango.head.model import Head
from mango.losses.motion import MotionLossWeights, Surface, motion_losses, total
from mango.models.motion import MotionModel
from mango.seeds import torch_generator
from mango.training.alternation import Schedule, learned_before
from mango.training.avatars import drawn, new_avatars, parameter_groups, posed
from mango.training.camera_refinement import CameraRefinement
from mango.training.label_bank import BankConfig, Key, LabelBank
from mango.training.optim import Learner, OptimizerConfig, make_learner
from mango.training.picture_losses import PictureLossWeights, RegionWeights, picture_losses, pixel_weights
from mango.training.run import Every
from mango.training.runtime import RuntimeConfig
from mango.training.stage1 import NO_NOISE, ConditionNoise, one_shot_x0
from mango.types import PERSONS, MotionClip
from renderer.head import AvatarConfig, HeadAvatar

Losses = dict[str, Float[Tensor, ""]]


@dataclass(frozen=True)
class Stage2Config:
    """Stage two. Sizes of the motion model, its encoder and its noise schedule are stage one's."""

    data: Path = Path("data/dialogues")
    stage1: Path = Path("runs/stage1")  # the run to start from
    run: Path = Path("runs/stage2")
    head: str = "builtin"
    seed: int = 0
    steps: int = 20_000
    windows: int = 6  # of both people, per step
    pictures: int = 2  # per person and window
    train_split: str = "train"
    validation_split: str = "val"
    schedule: Schedule = field(default_factory=Schedule)
    avatar: AvatarConfig = field(default_factory=AvatarConfig)
    background: float = 0.5  # grey behind the heads, in recorded pictures and renderings
    bank: BankConfig = field(default_factory=BankConfig)
    picture_losses: PictureLossWeights = field(default_factory=PictureLossWeights)
    picture_scale: float = 100.0  # of the picture losses against the motion losses, in steps of the motion learner
    regions: RegionWeights = field(default_factory=RegionWeights)
    motion_losses: MotionLossWeights = field(default_factory=MotionLossWeights)
    lip_weight: float = 8.0  # as in stage one
    offset_penalty: float = 0.02  # on squared offsets of Gaussians from their triangles
    conditions: ConditionNoise = field(default_factory=ConditionNoise)
    motion_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=3e-4, warmup=20, ema=0.995))
    head_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-2, warmup=0, weight_decay=0, clip=1e9, ema=0))
    camera_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=3e-4, warmup=0, weight_decay=0, clip=1e9, ema=0))
    every: Every = field(default_factory=Every)
    keep: int = 2
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


@dataclass(frozen=True)
class Studio:
    """What stays the same over a run."""

    config: Stage2Config
    head: Head
    noise: NoiseSchedule
    context: int
    placed: Mapping[Key, MotionClip]  # the tracker's clips, for placement in the world
    background: Float[Tensor, "3"]


@dataclass
class Learners:
    """Everything that learns, and the bank, which follows."""

    motion: Learner
    heads: dict[str, Learner]  # by person
    cameras: Learner
    bank: LabelBank

    @property
    def all(self) -> list[Learner]:
        return [self.motion, *self.heads.values(), self.cameras]

    @property
    def avatars(self) -> dict[str, HeadAvatar]:
        return {person: learner.model for person, learner in self.heads.items()}


# One step of each learner -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lesson:
    """What one step learns from: windows, and recorded pictures of some of their frames."""

    windows: WindowBatch
    recorded: PictureBatch
    places: tuple[list[int], list[int], list[int]]  # of each picture: window, person, frame within the window

    def to(self, device: torch.device) -> "Lesson":
        return Lesson(self.windows.to(device), self.recorded.to(device), self.places)


def teach_head(studio: Studio, learners: Learners, lesson: Lesson, step: int) -> Losses:
    """Avatars and cameras learn to draw the recorded pictures from the bank's motion."""
    config, recorded = studio.config, lesson.recorded
    banked = torch.stack([learners.bank.bank[shot[:2]][shot[2]] for shot in recorded.shots])
    losses = _picture_losses(studio, learners, learners.motion.model.denormalised(banked), recorded)
    people = sorted(set(recorded.persons))
    losses["offset_penalty"] = torch.stack([learners.avatars[person].offsets.square().mean() for person in people]).mean()
    loss = _weighted(losses, config.picture_losses) + config.offset_penalty * losses["offset_penalty"]
    taught = [learners.cameras, *(learners.heads[person] for person in people)]
    for learner in taught:
        learner.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    own_step = learned_before(step - 1, "head", config.schedule) + 1
    for learner in taught:
        learner.apply(own_step)
    return {**losses, "total": loss}


def teach_motion(studio: Studio, learners: Learners, lesson: Lesson, surface: Surface | None, step: int) -> Losses:
    """The motion model learns from the bank's labels and, through its one-shot x0, from the pictures."""
    config, model, batch = studio.config, learners.motion.model, lesson.windows
    labels = _bank_windows(learners.bank, batch)
    shot = one_shot_x0(model, batch, labels, studio.noise, config.conditions, studio.context, (config.seed, step))
    told = batch.keep & ~shot.given
    towards_bank = motion_losses(
        shot.clean, labels, told, batch.keep, layout=model.layout, std=model.motion_std, surface=surface, weights=config.motion_losses
    )
    with frozen(*learners.avatars.values(), learners.cameras.model):
        motion = _with_tracked_neck(model, shot.clean, lesson)
        towards_pictures = _picture_losses(studio, learners, motion, lesson.recorded)
        loss = total(towards_bank, config.motion_losses) + config.picture_scale * _weighted(towards_pictures, config.picture_losses)
        own_step = learned_before(step - 1, "motion", config.schedule) + 1
        norm = learners.motion.descend(loss, own_step)

    low = shot.level < config.bank.below * studio.noise.levels
    _follow(learners.bank, batch, shot.clean, told, low, config.bank)
    if config.bank.pin_every and own_step % config.bank.pin_every == 0:
        learners.bank.pin()
    named = {f"bank_{name}": loss.mean() for name, loss in towards_bank.items()}
    return {**named, **towards_pictures, "total": loss, "gradient_norm": torch.tensor(norm)}


def assert_finite(losses: Losses, lesson: Lesson, step: int) -> None:
    """NaN or infinity stops the run and says where it came from."""
    for name, value in losses.items():
        if not torch.isfinite(value):
            where = f"step {step}, loss {name!r}, dialogues {', '.join(sorted(set(lesson.windows.dialogues)))}"
            remedy = "check these dialogues (mango data validate), or lower the learning rate and go on from the last checkpoint"
            raise InputError(where, expected="a finite loss", found=str(float(value)), remedy=remedy)


def _weighted(losses: Losses, weights: PictureLossWeights) -> Float[Tensor, ""]:
    return sum(weight * losses[name] for name, weight in asdict(weights).items() if weight)


def _with_tracked_neck(
    model: MotionModel, clean: Float[Tensor, "batch person time width"], lesson: Lesson
) -> Float[Tensor, "pictures width"]:
    """Predicted motion of the pictures' frames; head pose stays the tracker's: pictures fix it poorly and lips would pay for it."""
    predicted = model.denormalised(clean[lesson.places])
    tracked = lesson.windows.motion[lesson.places]
    neck = model.layout.where("neck_pose")
    return torch.cat([predicted[:, : neck.start], tracked[:, neck], predicted[:, neck.stop :]], dim=1)


def _picture_losses(studio: Studio, learners: Learners, motion: Float[Tensor, "pictures width"], recorded: PictureBatch) -> Losses:
    """Means over the pictures, drawn from ``motion`` by the avatars as they are."""
    placed = [studio.placed[shot[:2]].frames(slice(shot[2], shot[2] + 1)) for shot in recorded.shots]
    vertices = posed(studio.head, learners.avatars, recorded.persons, motion, placed)
    cameras = learners.cameras.model(recorded.clips, recorded.camera_from_world)
    rendering = drawn(learners.avatars, vertices, recorded, cameras, studio.background)
    looked_at = posed(studio.head, learners.avatars, recorded.persons, _labels(studio, recorded), placed)
    weights = pixel_weights(looked_at, studio.head, recorded, studio.config.regions)
    losses = picture_losses(rendering.colors, rendering.alphas, recorded, weights, studio.config.picture_losses)
    return {name: values.mean() for name, values in losses.items()}


def _labels(studio: Studio, recorded: PictureBatch) -> Float[Tensor, "pictures width"]:
    labels = [studio.head.layout.pack(studio.placed[shot[:2]].frames(slice(shot[2], shot[2] + 1))) for shot in recorded.shots]
    return torch.cat(labels).to(recorded.colors.device)


def _bank_windows(bank: LabelBank, batch: WindowBatch) -> Float[Tensor, "batch person time width"]:
    frames = batch.motion.shape[2]
    return torch.stack(
        [
            torch.stack([bank.window((dialogue, side), start, frames) for side in PERSONS])
            for dialogue, start in zip(batch.dialogues, batch.starts, strict=True)
        ]
    )


def _follow(
    bank: LabelBank,
    batch: WindowBatch,
    clean: Tensor,
    believed: Bool[Tensor, "batch person time"],
    low: Bool[Tensor, "batch"],
    config: BankConfig,
) -> None:
    for row in low.nonzero()[:, 0].tolist():
        for number, side in enumerate(PERSONS):
            bank.follow((batch.dialogues[row], side), batch.starts[row], clean[row, number], believed[row, number], config)


@contextmanager
def frozen(*models: nn.Module) -> Iterator[None]:
    """No gradients for these: the rasterizer and the binding then skip what nobody asked for."""
    for model in models:
        model.requires_grad_(False)
    try:
        yield
    finally:
        for model in models:
            model.requires_grad_(True)


# What a step learns from ---------------------------------------------------------------------------------------------------


class Supply:
    """Lessons by step, a pure function of (seed, step); the next step's pictures are read while this one learns."""

    def __init__(self, windows: Windows, pictures: Pictures, config: Stage2Config):
        self.windows, self.pictures, self.config = windows, pictures, config
        self._reader = ThreadPoolExecutor(1, "pictures")
        self._ahead: dict[int, Future[Lesson]] = {}

    def at(self, step: int) -> Lesson:
        now = self._ahead.pop(step, None) or self._reader.submit(self._read, step)
        self._ahead = {step + 1: self._reader.submit(self._read, step + 1)}
        return now.result()

    def _read(self, step: int) -> Lesson:
        batch = self.windows.batch(self.config.seed, step, self.config.windows)
        places = shown(batch, self.windows.context, self.config.pictures, torch_generator(self.config.seed, step, "pictures"))
        shots = [(batch.dialogues[row], PERSONS[side], batch.starts[row] + frame) for row, side, frame in zip(*places, strict=True)]
        return Lesson(batch, self.pictures.read(shots), places)


def shown(batch: WindowBatch, context: int, each: int, random: torch.Generator) -> tuple[list[int], list[int], list[int]]:
    """Windows, persons and frames to draw: ``each`` kept frames per window and person, none of them context."""
    places: tuple[list[int], list[int], list[int]] = ([], [], [])
    for row in range(len(batch)):
        for side in range(len(PERSONS)):
            choice = batch.keep[row, side].clone()
            choice[:context] = False
            frames = choice.nonzero()[:, 0]
            for frame in frames[torch.randperm(len(frames), generator=random)[:each]].sort().values.tolist():
                for column, value in zip(places, (row, side, frame), strict=True):
                    column.append(value)
    return places


# Beginning -----------------------------------------------------------------------------------------------------------------


def make_studio(
    config: Stage2Config, head: Head, noise: NoiseSchedule, dialogues: DialogueSet, context: int, device: torch.device
) -> Studio:
    ids = (*dialogues.split(config.train_split), *dialogues.split(config.validation_split))
    placed = {(id, side): _tracked(dialogues, id, side) for id in ids for side in PERSONS}
    return Studio(config, head, noise, context, placed, torch.full((3,), config.background, device=device))


def make_learners(
    studio: Studio, dialogues: DialogueSet, windows: Windows, model: MotionModel, description: dict, device: torch.device
) -> Learners:
    """New avatars on the people's mean tracked shapes, cameras as tracked, the bank as labelled, the motion model as given."""
    config = studio.config
    motion_steps, head_steps = (learned_before(config.steps, who, config.schedule) for who in ("motion", "head"))
    clips = [(id, side) for id in dialogues.split(config.train_split) for side in PERSONS]
    avatars = new_avatars(studio.head, mean_shapes(dialogues, studio.placed, clips), config.avatar, config.seed)
    cameras = CameraRefinement("/".join(clip) for clip in clips).to(device)
    return Learners(
        motion=make_learner("motion", model, config.motion_optimizer, motion_steps, description=description),
        heads={person: _head_learner(avatar.to(device), config, head_steps) for person, avatar in avatars.items()},
        cameras=make_learner(
            "cameras", cameras, config.camera_optimizer, head_steps, groups=[{"params": list(cameras.parameters()), "weight_decay": 0.0}]
        ),
        bank=new_bank(windows, model),
    )


def mean_shapes(dialogues: DialogueSet, placed: Mapping[Key, MotionClip], clips: list[Key]) -> dict[str, Float[Tensor, "identity"]]:
    """Each person's shape: the mean over the tracker's clips of them, so that all clips share one mesh."""
    shapes: dict[str, list[Tensor]] = {}
    for id, side in clips:
        shapes.setdefault(dialogues.describe(id).people[side], []).append(placed[id, side].shape)
    return {person: torch.stack(found).mean(0) for person, found in sorted(shapes.items())}


def new_bank(windows: Windows, model: MotionModel) -> LabelBank:
    """The tracker's labels, normalised; silence by the speaking indicator, which is computed from the sound."""
    labels, silent = {}, {}
    for held in windows.dialogues:
        for number, side in enumerate(PERSONS):
            labels[held.id, side] = model.normalised(held.motion[number].to(model.motion_mean))
            silent[held.id, side] = held.keep[number] & (held.speaking[number] < 0.5)
    return LabelBank(labels, silent, model.layout.where("neck_pose"))


def _head_learner(avatar: HeadAvatar, config: Stage2Config, steps: int) -> Learner:
    described = {"head": avatar.head, "person": avatar.person}
    return make_learner(
        f"head/{avatar.person}", avatar, config.head_optimizer, steps, groups=parameter_groups(avatar), description=described
    )


def _tracked(dialogues: DialogueSet, id: str, side: str) -> MotionClip:
    clip = dialogues.dialogue(id).side(side).motion
    if clip is None:
        where = f"{dialogues.folder(id)}/{side}.motion.npz"
        raise InputError(
            where, expected="a tracker's labels", found="none", remedy="give this video labels first, or leave it out of the split"
        )
    return clip


# Validation ----------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def validation(studio: Studio, learners: Learners, supply: Supply, device: torch.device) -> dict[str, float]:
    """Picture losses of the averaged model's one-shot motion on held-out dialogues of known people; fixed windows and noise.

    The tracker's cameras stand as they are: those of held-out clips were never refined.
    """
    lesson = supply.at(0).to(device)
    model, batch = learners.motion.averaged, lesson.windows
    shot = one_shot_x0(model, batch, model.normalised(batch.motion), studio.noise, NO_NOISE, studio.context, (0, "validation"))
    motion = _with_tracked_neck(model, shot.clean, lesson)
    unrefined = replace(learners.cameras, model=CameraRefinement(sorted(set(lesson.recorded.clips))).to(device))
    losses = _picture_losses(studio, replace(learners, cameras=unrefined), motion, lesson.recorded)
    return {name: float(value) for name, value in {**losses, "total": _weighted(losses, studio.config.picture_losses)}.items()}
