"""Stage two: pictures teach the motion model what the tracker got wrong.

    label bank ──noise──> motion model ──one-shot x0──> head ──vertices──> avatar ──Gaussians──> renderer ──> picture
        ▲                                 │                                                                     │
        └─────── follows at low levels ───┘ <──────────────────── gradient ────────────────────── recorded picture

In phases of the head learner pictures are drawn from the bank's motion and the gradient ends in avatars and cameras; in phases of the
labels the motion model learns from the bank alone. Head pose is always registered before a drawing is compared
(`mango.training.registration`). The bank begins as the tracker's labels, calibrated (`mango.training.calibration`). Nothing here reads
more than sound, pictures, and the tracker's labels and cameras.

A process does its share of a lesson; until they are summed, losses are its parts of the whole lesson's (`mango.training.runtime`).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mango.data.pictures import PictureBatch
from mango.data.windows import WindowBatch
from mango.errors import InputError
from mango.evaluation.picture_metrics import psnr
from mango.head.model import Head
from mango.losses.motion import FrameLoss, frame_counts, motion_losses, total
from mango.models.adapters import NOBODY, Adapter, worn
from mango.training.alternation import Schedule, learned_before, phase_at
from mango.training.avatars import Carry, drawn, posed, with_dropout
from mango.training.camera_refinement import CameraRefinement
from mango.training.label_bank import BankConfig, LabelBank
from mango.training.lessons import Lesson
from mango.training.optim import LOWER_THE_RATE, learning_rate, warmed_up
from mango.training.picture_losses import PictureLossWeights, RegionWeights, picture_losses, pixel_weights
from mango.training.registration import AXES, correction, follows_neck, neck_places, turn_between, turned, with_flow
from mango.training.stage1 import NO_NOISE, Draws, one_shot_x0, random_draws
from mango.training.studio import Learners, Studio
from mango.types import PERSONS, MotionClip
from renderer.types import Camera, Gaussians, Rendering

Losses = dict[str, Float[Tensor, ""]]


def alternate(studio: Studio, learners: Learners, steps: Iterable[int]) -> Iterator[tuple[int, str, Losses]]:
    """Let the learner of each step's phase learn; yields the step, who learned, and the losses."""
    for step in steps:
        active = phase_at(step - 1, studio.config.schedule).learner
        if active == "labels":
            windows = studio.windows.at(step)
            losses = teach_labels(studio, learners, windows, step)
        else:
            lesson = studio.lessons.at(step).to(studio.device)
            windows, teach = lesson.whole, teach_head if active == "head" else teach_motion
            losses = teach(studio, learners, lesson, step)
        assert_finite(losses, windows, step)
        yield step, active, {name: value.detach() for name, value in losses.items()}


# One step of each learner -------------------------------------------------------------------------------------------------


def teach_head(studio: Studio, learners: Learners, lesson: Lesson, step: int) -> Losses:
    """Avatars and cameras learn to draw the recorded pictures from the bank's motion."""
    config = studio.config
    carry = with_dropout(config.avatar_dropout, lesson.share_of_shots, config.seed, step)
    losses = picture_parts(studio, learners, lesson, config.head_pictures, config.head_regions, carry=carry)
    losses["offset_penalty"] = offset_penalty(learners, lesson.people) / studio.runtime.processes  # each knows all of it
    loss = weighted(losses, config.head_pictures) + config.offset_penalty * losses["offset_penalty"]
    taught = [learners.cameras, *(learners.heads[person] for person in lesson.people)]
    for learner in taught:
        learner.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    studio.runtime.add_gradients(parameter for learner in taught for parameter in learner.model.parameters())
    own_step = learned_before(step - 1, "head", config.schedule) + 1
    for learner in taught:
        learner.apply(own_step)
    if learners.growth is not None:
        learners.growth.grow(learners.heads[lesson.people[0]], studio.head, lesson, studio.runtime, own_step)
    return studio.runtime.summed({**losses, "total": loss})


def teach_labels(studio: Studio, learners: Learners, whole: WindowBatch, step: int) -> Losses:
    """The motion model learns from the bank alone, at its full rate: the rate descends with the pictures."""
    config, share = studio.config, studio.own_windows
    _, towards_bank, _ = from_bank(studio, learners, whole.rows(share).to(studio.device), whole, share, (config.seed, step))
    loss = total(towards_bank, config.motion_losses)
    rate = warmed_up(learned_before(step - 1, "labels", config.schedule) + 1, config.motion_optimizer)
    norm = learners.moving.descend(loss, updates(step, config.schedule), studio.runtime.add_gradients, rate=rate)
    return {**studio.runtime.summed({**of_bank(towards_bank), "total": loss}), "gradient_norm": torch.tensor(norm)}


def teach_motion(studio: Studio, learners: Learners, lesson: Lesson, step: int) -> Losses:
    """The motion model learns from the bank, and through its one-shot x0 from pixels."""
    config, model, everybodys, bank = studio.config, learners.motion.model, lesson.whole, learners.bank
    clean, towards_bank, draws = from_bank(studio, learners, lesson.windows, everybodys, lesson.share, (config.seed, step))
    loss, losses = total(towards_bank, config.motion_losses), {}
    with frozen(*learners.avatars.values(), learners.cameras.model):
        if any(asdict(config.motion_pictures).values()):
            losses = from_pixels(studio, learners, lesson, model.denormalised(clean[lesson.places]))
            loss = loss + weighted(losses, config.motion_pictures)
        own_step = learned_before(step - 1, "motion", config.schedule) + 1
        rate = learning_rate(own_step, learners.moving.steps, config.motion_optimizer)
        norm = learners.moving.descend(loss, updates(step, config.schedule), studio.runtime.add_gradients, rate=rate)

    _follow(bank, everybodys, studio.runtime.gathered(clean, lesson.share, len(everybodys)), draws, studio.noise.levels, config.bank)
    if config.bank.pin_every and own_step % config.bank.pin_every == 0:
        bank.pin()
    return {**studio.runtime.summed({**of_bank(towards_bank), **losses, "total": loss}), "gradient_norm": torch.tensor(norm)}


def updates(step: int, schedule: Schedule) -> int:
    """Of the motion model, that of this step included: its moving average goes on from one phase to the other."""
    return sum(learned_before(step - 1, who, schedule) for who in ("labels", "motion")) + 1


def from_bank(
    studio: Studio, learners: Learners, batch: WindowBatch, everybodys: WindowBatch, share: Sequence[int], position: tuple[int, int]
) -> tuple[Float[Tensor, "batch person time width"], dict[str, FrameLoss], Draws]:
    """One-shot x0 of this process's windows, its losses against the bank, and the draws of everybody's, a function of ``position``."""
    config, model = studio.config, learners.motion.model
    draws = random_draws(everybodys, studio.noise, config.conditions, studio.context, position)
    own = draws.rows(share)
    labels = _bank_windows(learners.bank, batch)
    with studio.runtime.autocast(), moving_as(studio, learners, batch):  # losses, head, avatars and rasterizer compute in float32
        clean = one_shot_x0(model, batch, labels, studio.noise, own)
    losses = motion_losses(
        clean,
        labels,
        batch.keep & ~own.given.to(studio.device),
        batch.keep,
        layout=model.layout,
        std=model.motion_std,
        mean=model.motion_mean,
        bilabial=batch.bilabial,
        surface=studio.surface,
        weights=config.motion_losses,
        whole=frame_counts(config.motion_losses, everybodys.keep & ~draws.given, everybodys.keep, everybodys.bilabial),
    )
    return clean, losses, draws


def of_bank(losses: Mapping[str, FrameLoss]) -> Losses:
    """As they are logged."""
    return {f"bank_{name}": loss.mean() for name, loss in losses.items()}


@contextmanager
def moving_as(studio: Studio, learners: Learners, batch: WindowBatch, *, averaged: bool = False) -> Iterator[None]:
    """Inside, rows of the person that an adapter learns of wear it. Without an adapter nothing changes."""
    if learners.adapter is None:
        yield
        return
    model, adapter = learners.motion.model, learners.adapter.model
    if averaged:
        model, adapter = learners.motion.averaged, kept_adapter(studio, learners)
    whose = studio.people.get
    who = [[0 if whose((id, side)) == adapter.person else NOBODY for side in PERSONS] for id in batch.dialogues]
    with worn(model, [adapter], torch.tensor(who, device=studio.device)):
        yield


def kept_adapter(studio: Studio, learners: Learners) -> Adapter:
    """What is worn when all is learnt: the averaged adapter, weakened."""
    return learners.adapter.averaged.weakened(studio.config.adapter_strength)


def from_pixels(studio: Studio, learners: Learners, lesson: Lesson, motion: Float[Tensor, "pictures width"]) -> Losses:
    """What pixels say about ``motion``, where people speak: rest is the labels' to say."""
    config, speaking = studio.config, lesson.windows.speaking[lesson.places]
    return picture_parts(studio, learners, lesson, config.motion_pictures, config.motion_regions, motion, speaking)


def picture_parts(
    studio: Studio,
    learners: Learners,
    lesson: Lesson,
    weights: PictureLossWeights,
    regions: RegionWeights,
    motion: Float[Tensor, "pictures width"] | None = None,
    of_picture: Float[Tensor, "pictures"] | None = None,
    carry: Carry | None = None,
) -> Losses:
    """Losses of this process's pictures drawn from ``motion`` (None: the bank's), as parts of the means over all pictures of the lesson.

    Head pose is what lays the bank's motion onto the pictures, never the model's: a nod predicted for another moment would be paid for by
    the lips. Eyelids are the bank's too: a blink predicted for another moment costs more than none, and faces would cease to blink.
    The bank remembers the head poses that all processes find.
    """
    recorded, bank, head = lesson.recorded, learners.bank, studio.head
    banked = registered(studio, learners, learners.motion.model.denormalised(bank.frames(recorded.shots)), recorded)
    found = studio.runtime.gathered(banked[:, head.layout.where("neck_pose")], lesson.share_of_shots, len(lesson.shots))
    bank.remember(lesson.shots, found)
    banked = with_neck(head, banked, bank.poses(recorded.shots))
    drawing = rendered(studio, learners, banked if motion is None else torch.where(bank.held, banked, motion), recorded, carry)
    if learners.growth is not None and motion is None:
        learners.growth.watch(drawing)
    return compared(drawing, recorded, weights, regions, of_picture, of=len(lesson.shots))


def offset_penalty(learners: Learners, people: Iterable[str]) -> Float[Tensor, ""]:
    """How far Gaussians have left their triangles: mean square over each person's, then over people."""
    return torch.stack([learners.avatars[person].offsets.square().mean() for person in people]).mean()


def assert_finite(losses: Losses, windows: WindowBatch, step: int) -> None:
    """NaN or infinity stops the run and says where it came from."""
    for name, value in losses.items():
        if not torch.isfinite(value):
            where = f"step {step}, loss {name!r}, dialogues {', '.join(sorted(set(windows.dialogues)))}"
            remedy = f"check these dialogues (mango data validate), or {LOWER_THE_RATE}"
            raise InputError(where, expected="a finite loss", found=str(float(value)), remedy=remedy)


def weighted(losses: Losses, weights: PictureLossWeights) -> Float[Tensor, ""]:
    return sum(weight * losses[name] for name, weight in asdict(weights).items() if weight)


def with_neck(
    head: Head, motion: Float[Tensor, "pictures width"], neck_pose: Float[Tensor, "pictures 3"]
) -> Float[Tensor, "pictures width"]:
    neck = head.layout.where("neck_pose")
    return torch.cat([motion[:, : neck.start], neck_pose, motion[:, neck.stop :]], dim=1)


def registered(
    studio: Studio, learners: Learners, motion: Float[Tensor, "pictures width"], recorded: PictureBatch, iterations: int | None = None
) -> Float[Tensor, "pictures width"]:
    """``motion`` with the head pose that lays its drawing best onto the recorded pictures.

    The pose starts from what the bank remembers of each frame. ``iterations``: the config's if None.
    """
    head, config = studio.head, studio.config.registration
    where, unit = placed(studio, recorded), math.radians(config.degrees)
    recorded, blur = recorded.shrunk(config.shrink), 0.3 / config.shrink**2
    tracked = torch.cat([clip.neck_pose for clip in where]).to(motion)
    with torch.no_grad():
        pose = learners.bank.poses(recorded.shots)
        root, joint = neck_places(head, learners.avatars, recorded.persons, where)
        cameras = learners.cameras.model(recorded.clips, recorded.camera_from_world)
        behind = torch.cat([studio.background, studio.background.new_zeros(2 * AXES)])
        follows = {person: follows_neck(learners.avatars[person], head) for person in set(recorded.persons)}

        def carry(gaussians: Gaussians, person: str, pictures: list[int]) -> Gaussians:
            rows, cols = recorded.size
            camera = Camera(cameras[pictures], recorded.intrinsics[pictures], width=cols, height=rows)
            return with_flow(gaussians, follows[person], camera, joint[pictures], unit)

        for _ in range(config.iterations if iterations is None else iterations):
            vertices = posed(head, learners.avatars, recorded.persons, with_neck(head, motion, pose), where)
            drawing = drawn(learners.avatars, vertices, recorded, cameras, behind, carry, eps2d=blur)
            already = (root @ turn_between(tracked, pose)[..., None])[..., 0] / unit
            turn = correction(recorded, drawing.colors, already, config)
            pose = turned(pose, (root.mT @ (unit * turn[..., None]))[..., 0])  # the neck turns in the frame of the root
    return with_neck(head, motion, pose)


def placed(studio: Studio, recorded: PictureBatch) -> list[MotionClip]:
    """Where the tracker puts each picture's person in the world."""
    return [studio.placed[shot[:2]].frames(slice(shot[2], shot[2] + 1)) for shot in recorded.shots]


def rendered(
    studio: Studio, learners: Learners, motion: Float[Tensor, "pictures width"], recorded: PictureBatch, carry: Carry | None = None
) -> Rendering:
    """The recorded pictures drawn from ``motion`` by the avatars as they are, or as ``carry`` has them."""
    vertices = posed(studio.head, learners.avatars, recorded.persons, motion, placed(studio, recorded))
    cameras = learners.cameras.model(recorded.clips, recorded.camera_from_world)
    return drawn(learners.avatars, vertices, recorded, cameras, studio.background, carry)


def compared(
    rendering: Rendering,
    recorded: PictureBatch,
    weights: PictureLossWeights,
    regions: RegionWeights,
    of_picture: Float[Tensor, "pictures"] | None = None,
    of: int | None = None,
) -> Losses:
    """Means of the picture losses; ``of_picture`` weighs whole pictures. ``of``: how many there are where these are some."""
    losses = picture_losses(rendering.colors, rendering.alphas, recorded, pixel_weights(recorded, regions), weights)
    of = len(recorded.shots) if of is None else of
    return {name: (values if of_picture is None else of_picture * values).sum() / of for name, values in losses.items()}


def _bank_windows(bank: LabelBank, batch: WindowBatch) -> Float[Tensor, "batch person time width"]:
    frames = batch.motion.shape[2]
    return torch.stack(
        [
            torch.stack([bank.window((dialogue, side), start, frames) for side in PERSONS])
            for dialogue, start in zip(batch.dialogues, batch.starts, strict=True)
        ]
    )


def _follow(
    bank: LabelBank, batch: WindowBatch, clean: Float[Tensor, "batch person time width"], draws: Draws, levels: int, config: BankConfig
) -> None:
    believed = (batch.keep & ~draws.given).to(clean.device)
    for row in (draws.level < config.below * levels).nonzero()[:, 0].tolist():
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


# Validation ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Examination:
    """How well held-out frames are drawn from the averaged model's one-shot motion."""

    losses: dict[str, float]
    psnr: float  # dB, mean over the pictures, their common background included
    pictures: Float[Tensor, "pictures 3 rows cols"]  # recorded beside drawn


@torch.no_grad()
def examination(studio: Studio, learners: Learners) -> Examination | None:
    """On held-out dialogues of known people, with fixed windows and noise; None where there are none.

    Head pose is registered from the tracker's; the tracker's cameras stand as they are: those of held-out clips were never refined.
    """
    if studio.examination is None:
        return None
    lesson = studio.examination.at(0).to(studio.device)
    model, batch, recorded, config = learners.motion.averaged, lesson.windows, lesson.recorded, studio.config
    draws = random_draws(batch, studio.noise, NO_NOISE, studio.context, (0, "validation"))
    with moving_as(studio, learners, batch, averaged=True):
        clean = one_shot_x0(model, batch, model.normalised(batch.motion), studio.noise, draws)
    unrefined = replace(learners.cameras, model=CameraRefinement(sorted(set(recorded.clips))).to(studio.device))
    necks = {shot[:2]: studio.placed[shot[:2]].neck_pose.to(studio.device) for shot in recorded.shots}
    examined = replace(learners, cameras=unrefined, bank=LabelBank({}, {}, learners.bank.held, necks))
    motion = registered(studio, examined, model.denormalised(clean[lesson.places]), recorded, config.registration.of_one_look)
    rendering = rendered(studio, examined, motion, recorded)
    losses = compared(rendering, recorded, config.head_pictures, config.head_regions)
    losses["total"] = weighted(losses, config.head_pictures)
    pictures = torch.cat([recorded.colors, rendering.colors.clamp(0, 1)], dim=2)[:8].movedim(-1, 1)
    fidelity = float(psnr(rendering.colors.clamp(0, 1), recorded.colors).mean())
    return Examination({name: float(value) for name, value in losses.items()}, fidelity, pictures.cpu())
