"""Every choice of stage two."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from mango.config import check_ranges
from mango.errors import InputError
from mango.losses.motion import MotionLossWeights
from mango.training.alternation import Schedule
from mango.training.label_bank import BankConfig
from mango.training.optim import OptimizerConfig
from mango.training.picture_losses import PictureLossWeights, RegionWeights
from mango.training.registration import RegistrationConfig
from mango.training.run import Every
from mango.training.runtime import RuntimeConfig
from mango.training.stage1 import ConditionNoise
from renderer.density import DensityConfig
from renderer.head import AvatarConfig


def plain_adam(lr: float) -> OptimizerConfig:
    """Without warm-up, decay, clipping and average: for parameters that are quantities, not network weights."""
    return OptimizerConfig(lr=lr, warmup=0, weight_decay=0.0, clip=1e9, ema=0.0)


@dataclass(frozen=True)
class CalibrationConfig:
    """How it is found how much larger faces move than their tracker says (`mango.training.calibration`)."""

    gains: tuple[float, ...] = (1.0, 1.4, 2.0)  # sizes to try, as shares of the tracker's; none: the tracker is believed
    steps: int = 120  # that the avatars of each trial learn for
    lessons: int = 20  # further steps' pictures that they are judged by
    people: int = 3  # whose avatars learn, those with the most pictures: avatars that are blurred still see too little movement
    known: Path | None = None  # a run whose gains are taken over: the same tracker made the labels

    def __post_init__(self):
        if min(self.steps, self.lessons, self.people) < 1 or min(self.gains, default=1.0) <= 0:
            expected = "positive gains, at least one step, one lesson and one person"
            raise InputError("calibration", expected=expected, found=str(self), remedy="gains: [] leaves calibration out")


@dataclass(frozen=True)
class ClosuresConfig:
    """How lips are closed that a tracker left open (`mango.training.seen_closures`)."""

    pictures: int = 12_000  # of speech that are looked at, at most; 0: lips stay as labelled

    def __post_init__(self):
        check_ranges(self, pictures="[0, inf)")


@dataclass(frozen=True)
class SharpeningConfig:
    """How it is found how much a tracker smooths (`mango.training.sharpening`)."""

    at: tuple[float, ...] = (0.125, 0.3125, 0.5)  # shares of the motion model's steps with pictures, after which it is done; none: never
    amounts: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5)  # to try
    lessons: int = 10  # whose pictures they are judged by
    frames: int = 7  # of the filter that takes away what is added

    def __post_init__(self):
        odd = self.frames % 2 == 1 and self.frames >= 3
        if not odd or self.lessons < 1 or not self.amounts or min(self.amounts) < 0 or any(not 0 < share < 1 for share in self.at):
            expected = "shares between 0 and 1, amounts from 0, at least one lesson, an odd number of frames from 3"
            raise InputError("sharpening", expected=expected, found=str(self), remedy="at: [] leaves sharpening out")


@dataclass(frozen=True)
class Stage2Config:
    """Sizes of the motion model, its encoder and its noise schedule are those of the run it starts from."""

    data: Path = Path("data/dialogues")  # in folders or shards
    strict: bool = False  # stop at a damaged dialogue of a packed set, instead of leaving it out and naming it
    stage1: Path = Path("runs/stage1")  # the run to start from
    run: Path = Path("runs/stage2")  # the folder that training writes, and goes on from
    head: str = "builtin"  # or a head file, that of stage one
    seed: int = 0  # of avatars, windows, pictures and noise
    steps: int = 20_000  # of both learners in all, those before a resumption included
    windows: int = 16  # of both people, per step
    pictures: int = 2  # per window, of either person, in every step
    shut_eyes: float = 5.0  # how much oftener frames of shut eyes are shown than those of open ones; 0: as often
    train_split: str = "train"  # dialogues to learn from
    validation_split: str | None = "val"  # where it is None, empty, not there or of strangers, nothing is held out
    adapter_rank: int = 0  # above 0 the motion model stays as it is, and an adapter of the one person learns instead
    adapter_strength: float = 0.5  # share of what it learnt that is kept: of minutes of film a manner is learnt too strongly
    people: tuple[str, ...] = ()  # whose pictures to learn from; empty = everybody's
    avatars: Path | None = None  # a folder of avatars to start from, with as many Gaussians: a person's own, or what all have in common
    schedule: Schedule = field(default_factory=Schedule)
    avatar: AvatarConfig = field(default_factory=AvatarConfig)
    density: DensityConfig | None = None  # where the one person's avatar gets more Gaussians; None: as many as it begins with
    avatar_dropout: float = 0.0  # share of the Gaussians that each picture lacks while avatars learn: flecks from aside against sharpness
    background: float = 0.5  # grey behind the heads, in recorded pictures and renderings
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    closures: ClosuresConfig = field(default_factory=ClosuresConfig)
    bank: BankConfig = field(default_factory=BankConfig)
    sharpening: SharpeningConfig = field(default_factory=SharpeningConfig)
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)
    head_pictures: PictureLossWeights = field(default_factory=PictureLossWeights)  # what avatars and cameras learn from
    motion_pictures: PictureLossWeights = field(default_factory=lambda: PictureLossWeights(l1=300.0, ssim=0.0, silhouette=0.0))
    head_regions: RegionWeights = field(default_factory=RegionWeights)  # where avatars look
    motion_regions: RegionWeights = field(default_factory=lambda: RegionWeights(background=0.2, head=1.0, mouth=16.0, eyes=6.0))
    motion_losses: MotionLossWeights = field(default_factory=MotionLossWeights)
    lip_weight: float = 8.0  # as in stage one
    offset_penalty: float = 0.02  # on squared offsets of Gaussians from their triangles
    looks_penalty: float = 0.0  # with ``avatars``: on how far an expression changes looks otherwise than it does theirs
    conditions: ConditionNoise = field(default_factory=ConditionNoise)
    motion_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=5e-4, warmup=20, ema=0.99))
    head_optimizer: OptimizerConfig = field(default_factory=lambda: plain_adam(1e-2))
    camera_optimizer: OptimizerConfig = field(default_factory=lambda: plain_adam(3e-4))
    every: Every = field(default_factory=Every)
    keep: int = 2  # newest checkpoints
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self):
        positive, from_zero = "[1, inf)", "[0, inf)"
        check_ranges(self, steps=positive, windows=positive, pictures=positive, keep=positive, adapter_rank=from_zero)
        check_ranges(
            self, shut_eyes=from_zero, lip_weight=from_zero, offset_penalty=from_zero, looks_penalty=from_zero, background="[0, 1]"
        )
        check_ranges(self, avatar_dropout="[0, 1)", adapter_strength="(0, 1]")
        if not self.avatar.num_gaussians:
            raise InputError("avatar.num_gaussians", expected="at least 1", found="0", remedy="5000 are a face at 128 pixels")
        learners = {phase.learner for phase in (*self.schedule.opening, *self.schedule.cycle)}
        nothing_said = not any(asdict(self.motion_losses).values())
        if nothing_said and ("labels" in learners or ("motion" in learners and not any(asdict(self.motion_pictures).values()))):
            remedy = "without one the motion model learns nothing in its phases"
            raise InputError("motion_losses", expected="one of them above 0", found="none", remedy=remedy)
        for name, config in (("head_optimizer", self.head_optimizer), ("camera_optimizer", self.camera_optimizer)):
            if config.weight_decay or config.ema:
                found = f"weight_decay {config.weight_decay:g}, ema {config.ema:g}"
                remedy = "leave them away: avatars and cameras are quantities, not network weights"
                raise InputError(name, expected="neither weight decay nor a moving average", found=found, remedy=remedy)
