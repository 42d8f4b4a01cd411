"""`mango demo`: the whole path on synthetic people, from nothing to a video and a report.

    data -> stage one -> stage two ------> evaluation -> a held-out dialogue from its two voices -> dialogue.mp4 -> report.html
                   `---> stage one, longer --^   (the control: as many steps as stage two, no pictures)

Everything lies in one folder. Parts that are finished are skipped, so the same command goes on where it stopped; after a run's folder
was removed, the run is trained again, and what was made of the earlier one is made anew.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from mango.errors import InputError
from mango.progress import progress_bar

CHECKOUT = Path(__file__).parents[2]
SAMPLING_STEPS = 10
TOLD = "test000"  # the held-out dialogue of the video
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Folders:
    """Where the demo's parts lie."""

    out: Path

    @property
    def data(self) -> Path:
        return self.out / "data"

    @property
    def stage1(self) -> Path:
        return self.out / "stage1"

    @property
    def longer(self) -> Path:
        return self.out / "stage1_longer"

    @property
    def stage2(self) -> Path:
        return self.out / "stage2"

    @property
    def told(self) -> Path:
        """Motion and sound of the dialogue in the video."""
        return self.out / "generated"

    @property
    def video(self) -> Path:
        return self.out / "dialogue.mp4"

    @property
    def report(self) -> Path:
        return self.out / "report.html"

    @property
    def scores(self) -> Path:
        return self.out / "scores.json"


def main(out: Path, seed: int) -> int:
    from mango.training.avatars import check_drawing
    from mango.training.runtime import default_device

    if not (CHECKOUT / "train_stage1.py").exists():
        remedy = "clone the repository and run `python3 bootstrap.py demo` there"
        raise InputError(CHECKOUT, expected="a checkout with train_stage1.py and configs/", found="an installed package", remedy=remedy)
    check_drawing(default_device())  # or stage one would be trained for nothing
    out = out.resolve()
    folders, clock = Folders(out), Clock(out / "times.json")
    if not all(training(folders, seed).finished for training in (stage1_training, stage2_training, control_training)):
        forget_results(folders)
    parts: Sequence[tuple[str, Callable[[], None]]] = (
        ("synthetic dialogues", lambda: make_data(folders, seed)),
        ("stage one", lambda: train(stage1_training(folders, seed))),
        ("stage two, avatars included; beside it the control, stage one for longer", lambda: train_second(folders, seed)),
        ("evaluation on held-out dialogues", lambda: evaluate(folders)),
        ("a dialogue from its two voices", lambda: tell(folders)),
        ("its video", lambda: film(folders)),
        ("report", lambda: report(folders, seed, clock)),
    )
    for number, (name, work) in enumerate(parts, start=1):
        console.print(f"[bold]{number}/{len(parts)} {name}[/bold]")
        with clock.measuring(name):
            work()
    console.print(f"video   {folders.video}\nreport  {folders.report}\n{clock.total / 60:.1f} minutes of work in all")
    return 0


# The parts ----------------------------------------------------------------------------------------------------------------


def make_data(folders: Folders, seed: int) -> None:
    from mango.data.synthetic.synthesize import SynthesisConfig, synthesize

    synthesize(folders.data, SynthesisConfig(seed=seed))


def stage1_training(folders: Folders, seed: int) -> "Training":
    return Training("train_stage1.py", "configs/stage1_demo.yaml", folders.stage1, folders.data, seed)


def stage2_training(folders: Folders, seed: int) -> "Training":
    return Training("train_stage2.py", "configs/stage2_demo.yaml", folders.stage2, folders.data, seed, ("--stage1", str(folders.stage1)))


def control_training(folders: Folders, seed: int) -> "Training":
    """Stage one for as many more steps as stage two has, on the same labels without the pictures."""
    start = ("--start-from", str(folders.stage1))
    return Training("train_stage1.py", "configs/stage1_demo_longer.yaml", folders.longer, folders.data, seed + 1, start)


@dataclass(frozen=True)
class Training:
    """One run of a training script; it resumes by itself."""

    script: str
    config: str
    run: Path
    data: Path
    seed: int
    more: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        config = self.run / "config.yaml"
        return config.exists() and (self.run / "checkpoints" / f"{_steps(config):08d}").exists()

    def start(self, *more: str, log: Path | None = None) -> subprocess.Popen:
        """The script as a process; what it says goes to the terminal, or to ``log``."""
        where = ["--data", str(self.data), "--run", str(self.run), "--seed", str(self.seed)]
        command = [sys.executable, self.script, self.config, *where, *self.more, *more]
        if log is None:
            return subprocess.Popen(command, cwd=CHECKOUT)
        with log.open("w") as file:
            return subprocess.Popen(command, cwd=CHECKOUT, stdout=file, stderr=subprocess.STDOUT)


def train(training: Training) -> None:
    """To its end; a run that reached its last step is left alone."""
    if not training.finished:
        _completed(training.start())


def train_second(folders: Folders, seed: int) -> None:
    """Stage two and its control, each on one core: neither needs the other, and two threads for one are hardly faster than one."""
    shown, beside = stage2_training(folders, seed), control_training(folders, seed)
    one_core = ("--runtime.threads", "1")
    log = folders.out / "stage1_longer.log"
    control = None if beside.finished else beside.start(*one_core, log=log)
    try:
        if not shown.finished:
            _completed(shown.start(*one_core))
        if control is not None:
            console.print("   waiting for the control")
            _completed(control, log)
    finally:
        if control is not None:
            _let_save(control)


def _let_save(process: subprocess.Popen, seconds: float = 30.0) -> None:
    """The terminal's Ctrl-C reached it too: it saves after its step. Whatever else is still running then is ended."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.terminate()


def _completed(process: subprocess.Popen, log: Path | None = None) -> None:
    """Wait; an interruption or a failure of the script is ours too. It has said why, here or in its log."""
    try:
        process.wait()
    except KeyboardInterrupt:  # the terminal interrupted the script too: let it save
        process.wait()
        raise
    if process.returncode == 130:
        raise KeyboardInterrupt
    if process.returncode != 0:
        if log is not None:
            sys.stderr.write(log.read_text())
        sys.exit(process.returncode)


def forget_results(folders: Folders) -> None:
    """Whatever figures and films there are: of runs that are gone."""
    for file in (folders.scores, folders.video, folders.report):
        file.unlink(missing_ok=True)
    shutil.rmtree(folders.told, ignore_errors=True)


def evaluate(folders: Folders) -> None:
    """Rows of the table, at the end of each run, and the curves, at each of its checkpoints."""
    from mango.app.demo_scores import score

    if folders.scores.exists():
        return
    with progress_bar("evaluating", "dialogues") as progress:
        score(folders, SAMPLING_STEPS, progress)


def tell(folders: Folders) -> None:
    from mango.inference.generation import GenerationConfig
    from mango.inference.recordings import generate_from_files

    if (folders.told / "generation.json").exists():
        return
    voices = [folders.data / "dialogues" / TOLD / f"{person}.wav" for person in "ab"]
    with progress_bar("generating", "frames") as progress:
        config = GenerationConfig(steps=SAMPLING_STEPS)
        generate_from_files(*voices, folders.stage2, folders.told, config, avatars=avatars_of(folders, TOLD), progress=progress)


def film(folders: Folders) -> None:
    from mango.inference.rendering import RenderConfig, render_motion_folder

    if folders.video.exists():
        return
    with progress_bar("rendering", "frames") as progress:
        render_motion_folder(folders.told, avatars_of(folders, TOLD), folders.video, RenderConfig(size=320), progress=progress)


def report(folders: Folders, seed: int, clock: "Clock") -> None:
    from mango.app.demo_report import write

    write(folders, seed, clock.parts)


def avatars_of(folders: Folders, id: str) -> list[Path]:
    """Avatars of person a and person b of a dialogue."""
    from mango.data.dialogues import DialogueSet

    people = DialogueSet.open(folders.data).describe(id).people
    return [folders.stage2 / "avatars" / f"{people[side]}.safetensors" for side in ("a", "b")]


def _steps(config: Path) -> int:
    import yaml

    return int(yaml.safe_load(config.read_text())["steps"])


class Clock:
    """Seconds of work per part, kept in a file: a demo that was stopped and continued has worked as long as both together."""

    def __init__(self, file: Path):
        self.file = file
        self.parts: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def measuring(self, name: str) -> "_Measured":
        return _Measured(self, name)


@dataclass
class _Measured:
    clock: Clock
    name: str

    def __enter__(self) -> None:
        self.start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        from mango.data.json_files import write_json

        self.clock.parts[self.name] = round(self.clock.parts.get(self.name, 0.0) + time.monotonic() - self.start, 1)
        write_json(self.clock.file, self.clock.parts)
