"""`mango demo`: the whole path on synthetic people, from nothing to a video and a report.

    data -> stage one -> stage two -> evaluation -> a held-out dialogue from its two voices -> dialogue.mp4 -> report.html
                   `---> stage one for as many steps again (the control)

Everything lies in one folder. Parts that are finished are skipped, so the same command goes on where it stopped.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from mango.app.commands import progress_bar
from mango.errors import InputError

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
    if not (CHECKOUT / "train_stage1.py").exists():
        remedy = "clone the repository and run `python3 bootstrap.py demo` there"
        raise InputError(CHECKOUT, expected="a checkout with train_stage1.py and configs/", found="an installed package", remedy=remedy)
    out = out.resolve()
    folders, clock = Folders(out), Clock(out / "times.json")
    parts: Sequence[tuple[str, Callable[[], None]]] = (
        ("synthetic dialogues", lambda: make_data(folders, seed)),
        ("stage one", lambda: train(stage1_command(folders, seed), folders.stage1)),
        ("stage two, avatars included", lambda: train(stage2_command(folders, seed), folders.stage2)),
        ("stage one, longer (control)", lambda: train(longer_command(folders, seed), folders.longer)),
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


def stage1_command(folders: Folders, seed: int) -> list[str]:
    return ["train_stage1.py", "configs/stage1_demo.yaml", "--data", str(folders.data), "--run", str(folders.stage1), "--seed", str(seed)]


def stage2_command(folders: Folders, seed: int) -> list[str]:
    where = ["--data", str(folders.data), "--stage1", str(folders.stage1), "--run", str(folders.stage2)]
    return ["train_stage2.py", "configs/stage2_demo.yaml", *where, "--seed", str(seed)]


def longer_command(folders: Folders, seed: int) -> list[str]:
    """Stage one for as many more steps as stage two has, at stage two's learning rate, on the same labels without the pictures."""
    return [
        "train_stage1.py", "configs/stage1_demo_longer.yaml", "--data", str(folders.data), "--run", str(folders.longer),
        "--start-from", str(folders.stage1), "--seed", str(seed + 1),
    ]  # fmt: skip


def train(command: list[str], run: Path) -> None:
    """Run a training script to its end; it resumes by itself. A run that reached its last step is left alone."""
    config = run / "config.yaml"
    if config.exists() and (run / "checkpoints" / f"{_steps(config):08d}").exists():
        return
    done = subprocess.run([sys.executable, *command], cwd=CHECKOUT)
    if done.returncode == 130:
        raise KeyboardInterrupt
    if done.returncode != 0:
        sys.exit(done.returncode)  # it has said why


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
    from mango.inference.rendering import render_motion_folder

    if folders.video.exists():
        return
    with progress_bar("rendering", "frames") as progress:
        render_motion_folder(folders.told, avatars_of(folders, TOLD), folders.video, size=320, progress=progress)


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
