"""A new person: an avatar, and an adapter to the motion model, from their pictures, sound and tracker labels.

It is stage two on one person: the avatar begins among the known ones (`mango.training.avatar_prior`); the general motion model stays as it
is, and wears a small adapter for that person alone (`mango.models.adapters`). Everybody else in the person's dialogues is heard but
neither drawn nor learned from.
"""

import copy
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mango.config import check_ranges
from mango.data.atomic import check_place
from mango.data.dialogues import DialogueSet
from mango.errors import InputError
from mango.training.adapter_files import save_adapter
from mango.training.alternation import Phase, Schedule, learned_before
from mango.training.avatars import save_avatars
from mango.training.calibration import begin
from mango.training.cut_edges import fade_at_cut_edges
from mango.training.growth import Growth
from mango.training.optim import OptimizerConfig
from mango.training.run import Every, Run, begun_as
from mango.training.runtime import Runtime
from mango.training.seen_closures import close_when_due, open_mouths
from mango.training.sharpening import sharpen_when_due
from mango.training.stage2 import alternate, examination, kept_adapter, teach_head, teach_motion
from mango.training.stage2_config import Stage2Config
from mango.training.studio import Learners, Studio, open_studio
from renderer.density import DensityConfig, DensityControl

HELD_OUT = "val"  # the split whose pictures say how good it became, where it shows the person


WINDOWS = 8  # a step: of one person more pictures at once teach an avatar little more
DROPOUT = 0.15  # of the avatar: whoever drives it turns their head further than the film does
HELD_LOOKS = 1e-3  # `AvatarPrior.hold`: forty times as much cost shut eyes, a tenth let cheeks flash
LOOKS = 60  # at each frame of a film, on average: looked at far more often a second of film was drawn worse from aside


@dataclass(frozen=True)
class Effort:
    """How long is trained."""

    head_steps: int  # avatar alone, first
    cycles: int  # then in turn: one step of the avatar, three of the motion model

    @property
    def steps(self) -> int:
        return self.head_steps + 4 * self.cycles


EFFORTS = {"quick": Effort(200, 0), "normal": Effort(400, 100), "best": Effort(1_600, 150)}
FINER = DensityConfig(reset_every=0, split_scale=0.002, most=12_000, new_opacity="shared")


@dataclass(frozen=True)
class FinetuneConfig:
    """What to fine-tune on, and for how long."""

    data: Path  # a dialogue set with films of the person, in folders or shards
    person: str  # of the set: whom to learn
    checkpoint: Path  # a run of stage two
    out: Path  # the new run
    effort: Literal[
        "quick",  # an avatar alone, drawn by the general model's motion
        "normal",  # twice as long an avatar, and an adapter to the motion model
        "best",  # four times as long an avatar as that
    ] = "normal"
    grow: bool = False  # more Gaussians where pictures ask for them: finer hair as filmed, crumbs where a head turns further
    head_steps: int | None = None  # steps of the avatar alone, instead of the effort's
    cycles: int | None = None  # rounds of one step of the avatar and three of the motion model, instead of the effort's
    measure_gain: bool = (
        False  # find out anew how much larger faces move than labelled: they come from another tracker than the checkpoint's
    )
    adapter_rank: int = 8  # rank of the changes to each layer of the motion model
    adapter_strength: float = Stage2Config.adapter_strength  # share kept of what the adapter learnt: minutes of film teach too much
    split: str = "train"  # to learn from
    head: str = "builtin"  # or the head file of the set
    seed: int = 0  # decides everything random
    lr: float = 1e-4  # learning rate of the motion model's adapter
    strict: bool = False  # stop at a damaged dialogue of a packed set, instead of leaving it out and naming it

    def __post_init__(self):
        check_ranges(self, head_steps="[1, inf)", cycles="[0, inf)", adapter_rank="[1, inf)", lr="[0, inf)")


def finetune(config: FinetuneConfig) -> int:
    """Run or resume; 0, or the exit code of an interruption. ``out/avatars/<person>.safetensors`` is the avatar, and beside it, in
    ``adapters``, is what makes the general model move like the person.
    """
    check_place(config.out, folder=True)
    films = films_of(config)
    _check_begun_on_these(config, films)
    stage2 = stage2_config(config, films)
    runtime = Runtime(stage2.runtime)
    studio, learners = open_studio(stage2, runtime)
    with Run(stage2.run, stage2, facts=studio.facts, runtime=runtime) as run:
        minutes = expected_minutes(studio, learners)
        run.say(f"{stage2.steps} steps of {config.person}: about {minutes:.0f} min on this machine from the beginning, drawing included")
        begin(run, studio, learners)
        for step, active, losses in alternate(studio, learners, run.steps(stage2.steps)):
            close_when_due(run, studio, learners, step)
            sharpen_when_due(run, studio, learners, step)
            if run.due(step, stage2.every.log):
                run.show(f"{active} {float(losses['total']):.4f}")
                run.log(step, active, losses)
            if run.due(step, stage2.every.save) or run.stopping:
                if runtime.is_main:
                    save_avatars(stage2.run / "avatars", learners.avatars)
                    if learns_to_move(stage2):
                        save_adapter(stage2.run / "adapters" / f"{config.person}.safetensors", kept_adapter(studio, learners))
                run.save(step, learners.all, learners.tensors, samples_seen=step * stage2.windows, phase=active)
        if run.exit_code == 0:
            run.say(quality(studio, learners))  # before the avatar lacks what the pictures' edges cut
            fade_at_cut_edges(studio, learners)
            if runtime.is_main:
                save_avatars(stage2.run / "avatars", learners.avatars)
    return run.exit_code


def learns_to_move(config: Stage2Config) -> bool:
    """Whether there will be an adapter: without steps of the motion it would do nothing."""
    return learned_before(config.steps, "motion", config.schedule) > 0


def _check_begun_on_these(config: FinetuneConfig, films: DialogueSet) -> None:
    """Films that were tracked again are others: labels, cameras and lengths of the ones of before are all over a run."""
    record = config.out / "run.json"
    if record.exists() and begun_as(record).get("dataset") not in (None, films.facts["dataset"]):
        found = "one that was begun before they were tracked again, cut or added to"
        raise InputError(
            config.out, expected=f"a run on the films of {config.data} as they are now", found=found, remedy="give a new --out"
        )


def expected_minutes(studio: Studio, learners: Learners) -> float:
    """By one step of each kind on copies, after one that warms up; an avatar that will grow has grown in that one."""
    tried, config, lesson = copy.deepcopy(learners), studio.config, studio.lessons.at(studio.config.steps + 1).to(studio.device)
    seconds = {}
    if tried.growth is not None:
        at_once = replace(tried.growth.control.config, start=1, every=1, grow_gradient=0.0)
        tried.growth = Growth(DensityControl(at_once))
    for teach in (teach_head, teach_head, teach_motion):
        begun = time.perf_counter()
        teach(studio, tried, lesson, 1)
        seconds[teach] = time.perf_counter() - begun
    opening = sum(phase.steps for phase in config.schedule.opening)
    of_motion = (config.steps - opening) * 3 // 4
    trials = 0 if config.calibration.known else len(config.calibration.gains) * (config.calibration.steps + config.calibration.lessons)
    closures = len(open_mouths(studio, learners)) / (config.windows * config.pictures) if of_motion else 0
    return ((config.steps - of_motion + trials + closures) * seconds[teach_head] + of_motion * seconds[teach_motion]) / 60


def quality(studio: Studio, learners: Learners) -> str:
    """A line about pictures that nothing was learnt from."""
    found = examination(studio, learners)
    if found is None:
        why = f"no split {HELD_OUT!r} with a trusted frame of this person"
        return f"no pictures were held out ({why}): look at films of other motion before you trust it"
    return f"pictures that were held out: PSNR {found.psnr:.1f} dB, 1 - SSIM {found.losses['ssim']:.3f}"


def frames_of(dialogues: DialogueSet, split: str, person: str) -> int:
    """In which the person is seen, and the tracker is believed."""
    ids = [id for id in dialogues.split(split) if person in dialogues.describe(id).people.values()]
    tracks = [side.track for id in ids for side in dialogues.dialogue(id).sides.values() if side.person == person]
    return sum(int(track.keep.sum()) for track in tracks if track is not None)


def growth_during(head_steps: int) -> DensityConfig:
    """Six times, when the avatar has its broad looks, and early enough for the last ones to find theirs."""
    eighth = max(1, head_steps // 8)
    return replace(FINER, start=2 * eighth, stop=8 * eighth, every=eighth)


def of_at_most(effort: str, steps: int) -> Effort:
    """As much of an effort as so many steps hold.

    The best one is the normal one and then more: cut in proportion alone, its adapter would learn less than the normal one's.
    """
    whole, least = EFFORTS[effort], EFFORTS["normal"] if effort == "best" else Effort(0, 0)
    if steps < least.steps:
        return of_at_most("normal", steps)
    share = min(1.0, (steps - least.steps) / (whole.steps - least.steps))
    more = Effort(int(share * (whole.head_steps - least.head_steps)), int(share * (whole.cycles - least.cycles)))
    return Effort(max(1, least.head_steps + more.head_steps), least.cycles + more.cycles)


def films_of(config: FinetuneConfig) -> DialogueSet:
    """As training opens it: a damaged film of a packed set is left out, and the set is another then."""
    return DialogueSet.open(config.data, strict=config.strict, films=True)


def stage2_config(config: FinetuneConfig, films: DialogueSet) -> Stage2Config:
    """The same as a stage-two run on one person, as long as the films allow."""
    defaults = Stage2Config()
    most = max(1, LOOKS * frames_of(films, config.split, config.person) // WINDOWS)  # steps
    effort = of_at_most(config.effort, most)
    head_steps = effort.head_steps if config.head_steps is None else config.head_steps
    cycles = effort.cycles if config.cycles is None else config.cycles
    known = None if config.measure_gain else config.checkpoint
    held_out = HELD_OUT in films.splits and frames_of(films, HELD_OUT, config.person) > 0
    return replace(
        defaults,
        data=config.data,
        strict=config.strict,
        stage1=config.checkpoint,
        run=config.out,
        head=config.head,
        seed=config.seed,
        steps=head_steps + 4 * cycles,
        windows=WINDOWS,
        pictures=1,
        train_split=config.split,
        validation_split=HELD_OUT if held_out else None,
        people=(config.person,),
        adapter_rank=config.adapter_rank,
        adapter_strength=config.adapter_strength,
        avatars=config.checkpoint / "avatars",
        density=growth_during(head_steps) if config.grow else None,
        avatar_dropout=DROPOUT,
        looks_penalty=HELD_LOOKS,
        calibration=replace(defaults.calibration, known=known),
        schedule=Schedule(opening=(Phase("head", head_steps),), cycle=(Phase("head", 1), Phase("motion", 3))),
        motion_optimizer=OptimizerConfig(lr=config.lr, warmup=20, ema=0.98),
        every=Every(log=20, validate=0, save=100),
    )
