"""Setting up stage two: what stays the same over a run, and what learns in it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.audio.encoders import make_encoder
from mango.config import to_plain
from mango.data.dialogues import DialogueSet
from mango.data.holding_out import nothing_held_out
from mango.data.pictures import Pictures
from mango.data.windows import WindowBatch, Windows
from mango.diffusion.objective import Schedule as NoiseSchedule
from mango.diffusion.objective import schedule as noise_schedule
from mango.errors import InputError
from mango.head.arkit import LIDS
from mango.head.closed_lips import lip_openings, resting_frames
from mango.head.model import Head, load_head
from mango.losses.motion import Surface
from mango.losses.surface import lip_surface
from mango.models.adapters import Adapter, weights_digest
from mango.models.motion import MotionModel
from mango.progress import progress_bar
from mango.training.alternation import learned_before
from mango.training.avatar_prior import avatar_prior
from mango.training.avatars import check_drawing, new_avatars, parameter_groups, read_avatars, rest_on_own_face
from mango.training.camera_refinement import CameraRefinement
from mango.training.feed import Feed
from mango.training.growth import Growth
from mango.training.label_bank import Key, LabelBank
from mango.training.lessons import Supply
from mango.training.optim import Learner, make_learner
from mango.training.rest import ENOUGH, Rest, filled, lips_at_rest, lopsided, stilled
from mango.training.runtime import Runtime
from mango.training.stage1 import check_encoder, load_motion_model
from mango.training.stage2_config import Stage2Config
from mango.types import PERSONS, MotionClip
from renderer.density import DensityConfig, DensityControl
from renderer.head import HeadAvatar

ROOM = 1.2  # times as many Gaussians in the end, where an avatar begins with all that density.most allows


@dataclass(frozen=True)
class Studio:
    """What stays the same over a run: the equipment."""

    config: Stage2Config
    head: Head
    noise: NoiseSchedule
    context: int
    runtime: Runtime
    placed: Mapping[Key, MotionClip]  # the tracker's clips, for placement in the world
    people: Mapping[Key, str]  # whose they are
    background: Float[Tensor, "3"]
    surface: Surface
    lessons: Supply
    windows: Feed[WindowBatch]  # everybody's, by step, for what is learnt without pictures
    own_windows: Sequence[int]  # which of a step's windows are this process's
    trials: Supply  # of the few people that calibration asks; all frames alike, for shut eyes shall have no say in the size of mouths
    examination: Supply | None  # on held-out dialogues of the same people; None when there are none
    remarks: tuple[str, ...]  # to be said when a run begins: what it cannot do, and why
    facts: Mapping[str, Any]  # for run.json

    @property
    def device(self) -> torch.device:
        return self.runtime.device


@dataclass
class Learners:
    """Everything that learns, and the bank, which follows."""

    motion: Learner
    heads: dict[str, Learner]  # by person
    cameras: Learner
    bank: LabelBank
    adapter: Learner | None = None  # learns instead of the motion model
    growth: Growth | None = None  # of the only avatar

    @property
    def all(self) -> list[Learner]:
        return [self.motion, *self.heads.values(), self.cameras, *([] if self.adapter is None else [self.adapter])]

    @property
    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint holds beside learners, by file."""
        watched = {} if self.growth is None else self.growth.control.state_dict()
        return {"bank": self.bank.state()} | ({"growth": watched} if watched else {})

    def check(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Errors: InputError where a checkpoint's tensors are of other clips: its learners are of other people or cameras, too."""
        if "bank" in tensors:
            self.bank.check(tensors["bank"])

    def restore(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        if "bank" in tensors:
            self.bank.restore(tensors["bank"])
        if self.growth is not None:
            self.growth.control.load_state_dict(tensors.get("growth", {}))

    @property
    def moving(self) -> Learner:
        """Whatever learns to move."""
        return self.motion if self.adapter is None else self.adapter

    @property
    def avatars(self) -> dict[str, HeadAvatar]:
        return {person: learner.model for person, learner in self.heads.items()}


def open_studio(config: Stage2Config, runtime: Runtime) -> tuple[Studio, Learners]:
    """Everything a run needs, before any checkpoint of its own is read."""
    check_drawing(runtime.device)
    share = runtime.share(config.windows, "windows")
    head, dialogues = load_head(config.head), DialogueSet.open(config.data, strict=config.strict, films=True)
    dialogues.require_head(head)
    model, description, encoder_config = load_motion_model(config.stage1, head=head)
    encoder = make_encoder(encoder_config).to(runtime.device)
    check_encoder(encoder, description)

    def windows(split: str, people: tuple[str, ...]) -> Windows:
        with progress_bar(f"reading {config.data}", "dialogues", shown=runtime.is_main) as told:
            return Windows(dialogues, split, encoder, head.layout, description.frames, description.context, people or None, told)

    training = windows(config.train_split, config.people)
    if config.motion_losses.closure:
        training.require_phones("motion_losses.closure")
    people = tuple(sorted(set(training.clips.values())))
    asked = most_filmed(training, config.calibration.people)
    unexamined = nothing_held_out(dialogues, config.validation_split, people)
    held_out = None if unexamined else windows(config.validation_split, people)
    placed = {clip: side.motion for part in (training, held_out) if part for clip, side in dialogues.sides(part.clips)}
    background = torch.full((3,), config.background)

    lids = [head.layout.where("expr").start + head.expression_names.index(name) for name in LIDS if name in head.expression_names]
    unblinking = None
    if config.shut_eyes and not lids:
        unblinking = (
            f"shut_eyes {config.shut_eyes:g} does nothing: the head has no expression {' or '.join(LIDS)} that says when eyes are shut"
        )

    def supply(of: Windows, share: list[int] | None = None, shut_eyes: float = 0.0) -> Supply:
        pictures = Pictures(dialogues, of.clips, background)
        return Supply(
            of, pictures, seed=config.seed, num_windows=config.windows, each=config.pictures, share=share, lids=lids, shut_eyes=shut_eyes
        )

    surface = lip_surface(head, head.layout, lips=config.lip_weight)
    begun_from = weights_digest(model)
    base = {"base": begun_from} if config.adapter_rank else {}  # whom an adapter belongs to
    studio = Studio(
        config=config,
        head=head,
        noise=noise_schedule(description.diffusion),
        context=description.context,
        runtime=runtime,
        placed=placed,
        people={clip: person for part in (training, held_out) if part for clip, person in part.clips.items()},
        background=background.to(runtime.device),
        surface=surface.to(runtime.device),
        lessons=supply(training, share, config.shut_eyes),
        windows=Feed(lambda step: training.batch(config.seed, step, config.windows)),
        own_windows=share,
        trials=supply(windows(config.train_split, asked) if set(asked) < set(people) else training, share),
        examination=supply(held_out) if held_out else None,  # every process examines all of it: they would only wait for each other
        remarks=tuple(remark for remark in (unexamined, unblinking) if remark),
        facts={
            "stage": 2,
            **dialogues.facts,
            "head": head.digest,
            "encoder": encoder.digest,
            "stage1": begun_from,
            **base,
            **runtime.describe(),
        },
    )
    model = model.train().requires_grad_(True).to(runtime.device)
    learners = make_learners(studio, training, model, to_plain(description))
    runtime.compile(learners.motion.model)
    head.to(runtime.device)
    return studio, learners


def most_filmed(windows: Windows, number: int) -> tuple[str, ...]:
    """Of the people who are heard to speak, those with the most frames to learn from; of equals those first in the alphabet.

    Where nobody is heard, all count.
    """
    frames: Counter[str] = Counter()
    heard: set[str] = set()
    for held in windows.dialogues:
        for person, kept, speaking in zip(held.people, held.keep, held.speaking, strict=True):
            frames[person] += int(kept.sum())
            if (speaking[kept] >= 0.5).any():
                heard.add(person)
    return tuple(sorted(heard or +frames, key=lambda person: (-frames[person], person))[:number])


def make_learners(studio: Studio, training: Windows, model: MotionModel, description: dict[str, Any]) -> Learners:
    """New avatars on the people's mean tracked shapes, cameras as tracked, the bank as labelled, the motion model as given."""
    config = studio.config
    motion_steps, head_steps = (learned_before(config.steps, who, config.schedule) for who in ("motion", "head"))
    heads, cameras = picture_learners(studio, training, head_steps)
    adapter = None
    if config.adapter_rank:
        adapter = _adapter_learner(studio, training, model.requires_grad_(False), motion_steps)
    return Learners(
        motion=make_learner("motion", model, config.motion_optimizer, motion_steps, description=description),
        heads=heads,
        cameras=cameras,
        bank=new_bank(studio.head, training, model, neutral=config.bank.rest == "neutral"),
        adapter=adapter,
        growth=None if config.density is None else _growth(config.density, heads),
    )


def _growth(config: DensityConfig, heads: Mapping[str, Learner]) -> Growth:
    if len(heads) != 1:
        remedy = "name one person in people, or leave density out"
        raise InputError("density", expected="one person's avatar to grow", found=f"{len(heads)}", remedy=remedy)
    begun = max(len(learner.model.offsets) for learner in heads.values())
    return Growth(DensityControl(config if begun < config.most else replace(config, most=round(ROOM * begun))))


def picture_learners(studio: Studio, training: Windows, steps: int) -> tuple[dict[str, Learner], Learner]:
    """What draws, and will learn to for ``steps``: each person's new avatar, and the cameras."""
    config = studio.config
    shapes = mean_shapes(training.clips, studio.placed)
    head = load_head(config.head)  # on no device
    avatars = new_avatars(head, shapes, config.avatar, config.seed)
    for person, avatar in avatars.items():
        avatar.pixels_per_metre = _finest(studio, [clip for clip, whose in training.clips.items() if whose == person])
    prior = None if config.avatars is None else avatar_prior(read_avatars(config.avatars, head))
    if prior is not None:
        for avatar in avatars.values():
            prior.begin(avatar)
            rest_on_own_face(avatar, head)  # not on that of the person whose triangles it took over
    cameras = CameraRefinement("/".join(clip) for clip in training.clips).to(studio.device)
    groups = [{"params": list(cameras.parameters()), "weight_decay": 0.0}]
    heads = {person: _head_learner(avatar.to(studio.device), config, steps) for person, avatar in avatars.items()}
    if prior is not None:
        for learner in heads.values():
            prior.lead(learner.model, learner.optimizer)
            prior.hold(learner.model, learner.optimizer, config.looks_penalty)
    return heads, make_learner("cameras", cameras, config.camera_optimizer, steps, groups=groups)


def _finest(studio: Studio, clips: Sequence[Key]) -> float:
    """Pixels per metre of the clip that shows its person the largest."""
    return max(studio.lessons.pictures.pixels_per_metre(clip, studio.placed[clip].translation) for clip in clips)


def mean_shapes(clips: Mapping[Key, str], placed: Mapping[Key, MotionClip]) -> dict[str, Float[Tensor, "identity"]]:
    """Each person's shape: the mean over the tracker's clips of them, so that all clips share one mesh."""
    shapes: dict[str, list[Tensor]] = {}
    for clip, person in clips.items():
        shapes.setdefault(person, []).append(placed[clip].shape)
    return {person: torch.stack(found).mean(0) for person, found in sorted(shapes.items())}


def new_bank(head: Head, windows: Windows, model: MotionModel, *, neutral: bool) -> LabelBank:
    """The tracker's labels, normalised; silence by the speaking indicator, which is computed from the sound, unless mouths are open in it.

    ``neutral``: silent faces are laid right and open eyes held still (`mango.training.rest`); without, they stand as tracked.
    """
    motion, silent, necks, kept = {}, {}, {}, {}
    neck = model.layout.where("neck_pose")
    lids = torch.zeros(model.layout.width, dtype=torch.bool)
    lids[model.layout.where("expr")] = head.expressions_of("eyelids").cpu()
    labelled = lids.clone()
    labelled[neck] = True
    for held in windows.dialogues:
        for number, side in enumerate(PERSONS):
            kept[held.id, side] = held.keep[number]
            motion[held.id, side] = filled(held.motion[number], held.keep[number]).to(model.motion_mean, copy=True)
            silent[held.id, side] = silence(head, held.motion[number], held.speaking[number], held.keep[number])
            necks[held.id, side] = held.motion[number][:, neck].to(model.motion_mean)
    rest = None
    if neutral:
        for clip in motion.values():
            clip[:, lids] = stilled(clip[:, lids])
        resting = [clip[silent[key]].median(0).values for key, clip in motion.items() if silent[key].sum() >= ENOUGH]
        if resting:
            off = lopsided(head, torch.stack(resting))
            motion = {key: clip - off for key, clip in motion.items()}
        rest = how_lips_rest(head, [clip[kept[key]] for key, clip in motion.items()], model, labelled)
    labels = {key: model.normalised(clip) for key, clip in motion.items()}
    people = {(held.id, side): person for held in windows.dialogues for side, person in zip(PERSONS, held.people, strict=True)}
    return LabelBank(labels, silent, labelled.to(model.motion_mean.device), necks, rest, people)


def silence(
    head: Head, motion: Float[Tensor, "time width"], speaking: Float[Tensor, "time"], keep: Bool[Tensor, "time"]
) -> Bool[Tensor, "time"]:
    """Frames that say what rest is (`resting_frames`); where the sound has too few of them, those few."""
    silent = keep & (speaking < 0.5)
    return silent if silent.sum() < ENOUGH else resting_frames(lip_openings(head, motion), silent, keep, enough=ENOUGH)


def how_lips_rest(head: Head, motion: Sequence[Float[Tensor, "_ width"]], model: MotionModel, held: Bool[Tensor, "width"]) -> Rest:
    covariance = torch.cov(torch.cat(list(motion)).cpu().T)
    return lips_at_rest(head, model.motion_mean.cpu(), model.motion_std.cpu(), covariance, held).to(model.motion_mean.device)


def _adapter_learner(studio: Studio, training: Windows, model: MotionModel, steps: int) -> Learner:
    """Of the one person there is."""
    config, people = studio.config, sorted(set(training.clips.values()))
    if len(people) != 1:
        remedy = "name one person in people, or let the model itself learn with adapter_rank: 0"
        raise InputError("adapter_rank", expected="one person to learn from", found=f"{len(people)}", remedy=remedy)
    adapter = Adapter(model, people[0], config.adapter_rank, config.seed).to(studio.device)
    described = {"person": adapter.person, "rank": adapter.rank, "base": adapter.base}
    return make_learner(f"adapter/{adapter.person}", adapter, config.motion_optimizer, steps, description=described)


def _head_learner(avatar: HeadAvatar, config: Stage2Config, steps: int) -> Learner:
    described = {"head": avatar.head, "person": avatar.person}
    return make_learner(
        f"head/{avatar.person}", avatar, config.head_optimizer, steps, groups=parameter_groups(avatar), description=described
    )
