"""What a CUDA device does with this project: its correctness first, then the speed and memory of everything that runs on it.

    python -m benchmarks.gpu [--out FILE.json] [--parts rasterizer "stage two" ...]

    suite        pytest -m cuda; no figure is printed when it fails
    rasterizer   gsplat's whole call on the scenes of benchmarks.scenes: forward, and forward and backward to every attribute
    stage one    the paper-scale motion model: a step on a batch that lies ready, and one that draws its batch
    stage two    two people of 60,000 Gaussians at 512 px, a head step and a motion step in turn: on a lesson that lies ready,
                 and the loop that reads its pictures
    use          a minute of dialogue generated, and its video drawn

The dialogues are synthetic, made on the spot; the motion model is untrained, which costs the same. Times are medians of the wall clock
from an idle device to an idle device. How much of everything is one dataclass, `Sizes`: a test runs the same code small, without a card.
"""

import gc
import itertools
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table

import renderer
from benchmarks.command import run, tests_pass
from benchmarks.measuring import Timing, timed
from benchmarks.rasterizer import CLOUDS, MILLION, arguments
from benchmarks.scenes import Scene, cloud_scene, lam_scene
from mango.audio.encoders import make_encoder
from mango.config import to_plain
from mango.data.dialogues import DialogueSet
from mango.data.json_files import write_json
from mango.data.synthetic.pictures import Shooting
from mango.data.synthetic.synthesize import SynthesisConfig, synthesize
from mango.data.windows import WindowBatch, Windows
from mango.diffusion.objective import schedule
from mango.head.model import Head, load_head
from mango.inference.avatars import BoundAvatar
from mango.inference.backgrounds import background_of
from mango.inference.generation import GenerationConfig
from mango.inference.recordings import generate_clips
from mango.inference.rendering import RenderConfig, film_frames, render_dialogue
from mango.losses.motion import total
from mango.losses.surface import lip_surface
from mango.provenance import provenance
from mango.training.alternation import Phase, Schedule
from mango.training.avatars import new_avatars
from mango.training.checkpoints import write_checkpoint
from mango.training.optim import make_learner
from mango.training.runtime import Runtime, RuntimeConfig
from mango.training.stage1 import Stage1Config, check_finite, load_motion_model, new_motion_model, random_draws, stage1_losses
from mango.training.stage2 import alternate, teach_head, teach_motion
from mango.training.stage2_config import Stage2Config
from mango.training.studio import open_studio
from mango.types import FRAME_RATE, PERSONS, SAMPLE_RATE, MotionClip
from renderer.head import AvatarConfig
from renderer.rasterize import BACKENDS

ROOT = Path(__file__).parents[1]
PRECISIONS = ("float32", "bfloat16")
ALTERNATIONS, TARGET = "alternations", 20.0  # a head step and a motion step, so many times a second
GIB = 2**30
Part = Literal["rasterizer", "stage one", "stage two", "use"]
console = Console(width=150)


@dataclass(frozen=True)
class Load:
    """What one step of stage two draws: ``pictures`` of each of ``windows`` windows."""

    windows: int
    pictures: int

    def __str__(self) -> str:
        return f"{self.windows * self.pictures} pictures"


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    clouds: tuple[tuple[int, int], ...] = (*CLOUDS, MILLION)  # Gaussians, pixels
    real_avatar: bool = True  # also the LAM avatar of the sample data, where there is one
    data: SynthesisConfig = field(
        default_factory=lambda: SynthesisConfig(
            people=2, train=4, val=0, test=0, seconds=(6.0, 6.0), num_gaussians=10_000, shooting=Shooting(size_px=512), workers=4
        )
    )
    stage1: Stage1Config = field(default_factory=Stage1Config)  # paper scale, batches of 32
    num_gaussians: int = 60_000  # of an avatar
    loads: tuple[Load, ...] = (Load(1, 2), Load(16, 2))  # the least there is, and configs/stage2.yaml's
    alternations: int = 8  # of the loop, in one go
    minutes: float = 1.0  # of dialogue to generate
    sampling: GenerationConfig = field(default_factory=GenerationConfig)
    film_frames: int = 250  # of both people
    film_px: int = 512
    tries: int = 30
    warm_up: int = 5


@dataclass(frozen=True)
class Options:
    """Correctness, speed and memory on this machine's CUDA device."""

    out: Path = Path("runs/benchmarks/gpu.json")
    parts: tuple[Part, ...] = ()  # all when empty; the suite is always run


@dataclass(frozen=True)
class Figure:
    """One line of the table: so many ``unit`` a second."""

    part: Part
    what: str
    precision: str | None  # of the motion model; None where it has no part
    seconds: float  # median
    best_seconds: float
    rate: float
    unit: str
    peak_bytes: int | None

    @staticmethod
    def of(part: Part, what: str, timing: Timing, *, count: float, unit: str, precision: str | None = None) -> "Figure":
        """``count`` units were done in the time."""
        return Figure(part, what, precision, timing.median, timing.best, count / timing.median, unit, timing.peak_bytes)


@dataclass
class Report:
    """Everything measured, what was asked of it, and what broke."""

    facts: dict = field(default_factory=provenance)
    figures: list[Figure] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # part -> traceback

    @property
    def targets(self) -> list[dict]:
        judged = [figure for figure in self.figures if figure.unit == ALTERNATIONS]
        return [{"what": f"{f.what}, {f.precision}", "found": f.rate, "limit": TARGET, "met": f.rate >= TARGET} for f in judged]


def main(options: Options) -> int:
    began = time.perf_counter()
    obstacle = BACKENDS["gsplat"].obstacle()  # compiles gsplat's kernels where that was never done: minutes
    if obstacle is not None:
        console.print(f"nothing to measure: the gsplat backend cannot run here: {obstacle}", markup=False, highlight=False)
        return 2
    report = Report()
    report.facts |= card_facts() | {"gsplat_ready_s": time.perf_counter() - began}
    console.print(f"{report.facts['card']}, torch {report.facts['torch']}; gsplat ready after {report.facts['gsplat_ready_s']:.0f} s")
    if not correct(report):
        return 1
    with tempfile.TemporaryDirectory(prefix="mango-gpu-") as folder:
        for part in measured(Bench(Sizes(), "cuda", Path(folder)), report, options.parts):
            console.print(f"{part}: done, {time.perf_counter() - began:.0f} s since the start", highlight=False)
            write(options.out, report)  # what is measured stays, whatever comes
    console.print(table(report.figures))
    print_verdicts(report)
    console.print(f"{report.facts.get('data', 'no dialogues were needed')}; written: {options.out}", highlight=False)
    return 1 if report.failures else 0


def card_facts() -> dict:
    card = torch.cuda.get_device_properties(0)
    return {"card": card.name, "card_bytes": card.total_memory, "cuda": torch.version.cuda}


def correct(report: Report) -> bool:
    """Whether the CUDA tests pass; their last line is a fact of the report, all of their words are printed when they fail."""
    passed, lines = tests_pass(["-m", "cuda", "-rs"])
    report.facts["suite"] = lines[-1]
    for line in lines[-1:] if passed else lines:
        console.print(line, markup=False, highlight=False)
    if not passed:
        console.print("[red]The CUDA tests fail: no figure is worth printing. They are: python -m pytest -m cuda")
    return passed


# What the parts share -------------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """A device, and the data, which is made when a part first asks for it."""

    sizes: Sizes
    device: Literal["cpu", "cuda"]
    folder: Path
    facts: dict = field(default_factory=dict)

    def runtime(self, precision: str = "float32") -> Runtime:
        return Runtime(RuntimeConfig(device=self.device, precision=precision))

    def timed(self, work: Callable[[], object], *, tries: int | None = None, warm_up: int | None = None) -> Timing:
        tries, warm_up = self.sizes.tries if tries is None else tries, self.sizes.warm_up if warm_up is None else warm_up
        return timed(work, self.runtime().device, tries=tries, warm_up=warm_up)

    @cached_property
    def head(self) -> Head:
        return load_head()

    @cached_property
    def data(self) -> Path:
        began, config = time.perf_counter(), self.sizes.data
        synthesize(self.folder / "data", config, progress=False)
        made = f"{config.train} synthetic dialogues of {config.seconds[1]:g} s at {config.shooting.size_px} px"
        self.facts["data"] = f"{made}, made in {time.perf_counter() - began:.0f} s by {config.workers} processes"
        return self.folder / "data"

    @cached_property
    def stage1(self) -> Stage1Config:
        return replace(self.sizes.stage1, data=self.data)

    @cached_property
    def windows(self) -> Windows:
        config = self.stage1
        encoder = make_encoder(config.encoder)
        return Windows(DialogueSet.open(self.data), "train", encoder, self.head.layout, config.frames, config.context)

    @cached_property
    def run(self) -> Path:
        """A run of stage one that has learnt nothing, for stage two and generation to start from."""
        model, description = new_motion_model(self.stage1, self.windows, self.head)
        learner = make_learner("motion", model, replace(self.stage1.optimizer, ema=0.0), 1, description=to_plain(description))
        write_checkpoint(self.folder / "stage1" / "checkpoints", 1, [learner], {}, {})
        return self.folder / "stage1"

    def tidy(self) -> None:
        """What the last figure left behind must not count in the next one's memory."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()


def measured(bench: Bench, report: Report, parts: tuple[Part, ...] = ()) -> Iterator[Part]:
    """Measure every part into ``report``; its name when it is done. What breaks is noted, and the rest is measured all the same."""
    works: dict[Part, Callable[[Bench], Iterator[Figure]]]
    works = {"rasterizer": rasterizer, "stage one": stage_one, "stage two": stage_two, "use": use}
    for name, work in works.items():
        if parts and name not in parts:
            continue
        try:
            for figure in work(bench):
                report.figures.append(figure)
                bench.tidy()
        except Exception:  # a card is borrowed by the minute: one broken part must not cost the others
            report.failures[name] = traceback.format_exc()
        bench.tidy()
        report.facts |= {"sizes": to_plain(bench.sizes), **bench.facts}
        yield name


# The parts -----------------------------------------------------------------------------------------------------------------


def rasterizer(bench: Bench) -> Iterator[Figure]:
    sizes = bench.sizes
    for count, size in sizes.clouds:
        yield from drawn(bench, cloud_scene(count, size))
    avatar = lam_scene() if sizes.real_avatar else None
    if avatar is not None:
        yield from drawn(bench, avatar)


def drawn(bench: Bench, scene: Scene) -> Iterator[Figure]:
    device = bench.runtime().device
    known = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in arguments(scene).items()}
    leaves = {name: known[name].clone().requires_grad_() for name in ("means", "quats", "scales", "opacities", "colors")}
    toward = torch.rand(1, scene.size, scene.size, 3, generator=torch.Generator().manual_seed(1)).to(device)

    def forward() -> None:
        with torch.no_grad():
            renderer.rasterize(**known)

    def both() -> None:
        colors, _, _ = renderer.rasterize(**{**known, **leaves})
        torch.autograd.grad(colors, list(leaves.values()), toward)

    yield Figure.of("rasterizer", f"{scene.name}, forward", bench.timed(forward), count=1, unit="pictures")
    yield Figure.of("rasterizer", f"{scene.name}, forward and backward", bench.timed(both), count=1, unit="pictures")


def stage_one(bench: Bench) -> Iterator[Figure]:
    for precision in PRECISIONS:
        yield from stage_one_in(bench, precision)


def stage_one_in(bench: Bench, precision: str) -> Iterator[Figure]:
    config, windows, runtime = bench.stage1, bench.windows, bench.runtime(precision)
    model, _ = new_motion_model(config, windows, bench.head)
    learner = make_learner("motion", model.to(runtime.device), config.optimizer, config.steps)
    curve, surface = schedule(config.diffusion), lip_surface(bench.head, windows.layout, lips=config.lip_weight).to(runtime.device)

    def learn(batch: WindowBatch, step: int) -> None:
        """As train_stage1.py does it."""
        with runtime.autocast():
            draws = random_draws(batch, curve, config.conditions, config.context, (config.seed, step))
            losses = stage1_losses(learner.model, batch, curve, config, surface, draws)
        check_finite(losses, batch, step)
        learner.descend(total(losses, config.losses), step)

    def batch_of(step: int) -> WindowBatch:
        return windows.batch(config.seed, step, config.batch).to(runtime.device)

    ready, steps = batch_of(1), itertools.count(1)

    def draw_and_learn() -> None:
        step = next(steps)
        learn(batch_of(step), step)

    for what, work in (("step", lambda: learn(ready, 1)), ("step with its batch drawn", draw_and_learn)):
        what = f"{what}, {config.batch} windows of {config.context + config.frames} frames"
        yield Figure.of("stage one", what, bench.timed(work), count=config.batch, unit="samples", precision=precision)


def stage_two(bench: Bench) -> Iterator[Figure]:
    for load, precision in itertools.product(bench.sizes.loads, PRECISIONS):
        yield from stage_two_in(bench, load, precision)


def stage_two_in(bench: Bench, load: Load, precision: str) -> Iterator[Figure]:
    """A head step, a motion step, both in turn, and the same with pictures read from video."""
    runtime = bench.runtime(precision)
    config = Stage2Config(
        data=bench.data,
        stage1=bench.run,
        windows=load.windows,
        pictures=load.pictures,
        validation_split=None,
        schedule=Schedule(opening=(), cycle=(Phase("head", 1), Phase("motion", 1))),
        avatar=AvatarConfig(num_gaussians=bench.sizes.num_gaussians),
        runtime=runtime.config,
    )
    studio, learners = open_studio(config, runtime)
    lesson = studio.lessons.at(1).to(studio.device)

    def figure(what: str, timing: Timing, unit: str) -> Figure:
        return Figure.of("stage two", f"{what}, {load}", timing, count=1, unit=unit, precision=precision)

    head = bench.timed(lambda: teach_head(studio, learners, lesson, 1))
    motion = bench.timed(lambda: teach_motion(studio, learners, lesson, 2))
    yield figure("head step", head, "steps")
    yield figure("motion step", motion, "steps")
    yield figure("head and motion step", in_turn(head, motion), ALTERNATIONS)

    if precision == PRECISIONS[0]:
        shots = lesson.recorded.shots
        reading = replace(bench.timed(lambda: studio.lessons.pictures.read(shots), warm_up=1), peak_bytes=None)
        yield Figure.of("stage two", f"reading {len(shots)} pictures, one thread", reading, count=len(shots), unit="pictures")

    steps, alternations = alternate(studio, learners, itertools.count(1)), bench.sizes.alternations

    def loop() -> None:
        for _ in range(2 * alternations):
            next(steps)

    yield figure("the loop, reading included", per_round(bench.timed(loop, tries=3, warm_up=1), alternations), ALTERNATIONS)


def in_turn(first: Timing, second: Timing) -> Timing:
    peaks = [timing.peak_bytes for timing in (first, second) if timing.peak_bytes is not None]
    return Timing(first.median + second.median, first.best + second.best, max(peaks, default=None))


def per_round(timing: Timing, rounds: int) -> Timing:
    return replace(timing, median=timing.median / rounds, best=timing.best / rounds)


def use(bench: Bench) -> Iterator[Figure]:
    """The device is the one that `mango generate` and `mango render` would take."""
    sizes, head, made = bench.sizes, bench.head, {}
    model, description, encoder = load_motion_model(bench.run, head=head)
    frames = round(60 * sizes.minutes * FRAME_RATE)
    voices = 0.1 * torch.randn(2, frames * SAMPLE_RATE // FRAME_RATE, generator=torch.Generator().manual_seed(0))

    def talk() -> None:
        made.update(generate_clips(model, description, make_encoder(encoder), head, voices, sizes.sampling))

    what = f"generating, {sizes.sampling.steps} evaluations a window"
    yield Figure.of("use", what, bench.timed(talk, tries=3, warm_up=1), count=60 * sizes.minutes, unit="s of dialogue", precision="float32")

    shown = min(frames, sizes.film_frames)
    clips: dict[str, MotionClip] = {person: made[person].frames(slice(0, shown)) for person in PERSONS}
    nobody = {person: torch.zeros(head.identities) for person in PERSONS}
    bound = new_avatars(head, nobody, AvatarConfig(num_gaussians=sizes.num_gaussians), seed=0)
    avatars = {person: BoundAvatar(head, avatar.eval().requires_grad_(False)) for person, avatar in bound.items()}
    sound, config = voices[:, : shown * SAMPLE_RATE // FRAME_RATE], RenderConfig(size=sizes.film_px)

    def draw() -> None:
        for _ in film_frames(clips, avatars, sound, config, background_of(config.background)):
            pass

    def film() -> None:
        render_dialogue(clips, avatars, sound, bench.folder / "film.mp4", config)

    for what, work in (("drawing both people", draw), ("drawing and writing the video", film)):
        timing = bench.timed(work, tries=3, warm_up=1)
        yield Figure.of("use", f"{what}, {sizes.film_px} px", timing, count=shown, unit="frames")


# Words ---------------------------------------------------------------------------------------------------------------------


def write(out: Path, report: Report) -> None:
    figures = [asdict(figure) for figure in report.figures]
    write_json(out, {**report.facts, "figures": figures, "targets": report.targets, "failures": report.failures})


def table(figures: list[Figure]) -> Table:
    shown = Table(title="one piece of work: median and best time, how much a second that is, most memory allocated meanwhile")
    for name in ("part", "what", "motion model", "ms", "best", "a second", "", "peak GiB"):
        shown.add_column(name, justify="right" if name in ("ms", "best", "a second", "peak GiB") else "left")
    for f in figures:
        peak = "" if f.peak_bytes is None else f"{f.peak_bytes / GIB:.2f}"
        shown.add_row(
            f.part, f.what, f.precision or "", f"{1e3 * f.seconds:.2f}", f"{1e3 * f.best_seconds:.2f}", f"{f.rate:,.1f}", f.unit, peak
        )
    return shown


def print_verdicts(report: Report) -> None:
    for name, words in report.failures.items():
        console.print(f"{name} broke off:\n{words}", style="red", markup=False, highlight=False)
    for target in report.targets:
        verdict = "[green]met[/]    " if target["met"] else "[red]not met[/]"
        console.print(f"{verdict} stage two, {target['what']}: {target['found']:.1f} (>= {target['limit']:g} a second)", highlight=False)


if __name__ == "__main__":
    run(main, Options)
