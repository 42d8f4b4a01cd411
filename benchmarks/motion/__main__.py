"""python -m benchmarks.motion [--seeds 1 2 3] [--scale ci|small] [--rows separate,own] [--out DIR] [--to docs/results.md]

For every seed: makes dialogues, trains the motion model and its baselines on them (two rows at a time, one thread each), scores all of
them by `mango evaluate`'s code on held-out dialogues, and asks our model how it behaves (muted partner, exchanged tracks, wrong
indicators; real exchanges of $MANGO_SAMPLE_DATA where there are any). Then real-time factors at paper scale, and one table over all seeds.

The same command goes on where it was killed; rows are used again while no code of theirs has changed.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import as_completed
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Literal

import torch

from benchmarks.command import run
from benchmarks.lifting.digests import LEARNING, files_digest, of
from benchmarks.lifting.running import console, say, workers
from benchmarks.motion import behaviour, report
from benchmarks.motion.rows import ROWS, SCALES, config_of, data_of
from benchmarks.motion.speed import real_time_factors
from mango.data.json_files import read_json, write_json
from mango.data.synthetic.synthesize import synthesize
from mango.data.truth import Truth
from mango.errors import InputError

JUDGING = ("mango/evaluation", "mango/inference", "mango/diffusion", "benchmarks/motion/behaviour.py")
OURS = next(iter(ROWS))


@dataclass(frozen=True)
class Options:
    seeds: tuple[int, ...] = (1, 2, 3)
    scale: Literal["ci", "small"] = "small"
    rows: str = ""  # names, comma-separated; empty = all
    out: Path = Path("runs/motion")
    to: Path | None = None  # also write the tables here, as Markdown
    at_once: int = 2


@dataclass(frozen=True)
class Place:
    """Where the files of one seed lie."""

    out: Path
    scale: str
    seed: int

    @property
    def data(self) -> Path:
        return self.out / f"data-{self.scale}-{self.seed}"

    def run(self, row: str) -> Path:
        return self.out / f"{self.scale}-{self.seed}" / row


def main(options: Options) -> int:
    rows = options.rows.split(",") if options.rows else list(ROWS)
    if unknown := [row for row in rows if row not in ROWS]:
        raise InputError("--rows", expected=", ".join(ROWS), found=", ".join(unknown), remedy="name rows that there are")
    places, started = [Place(options.out, options.scale, seed) for seed in options.seeds], time.monotonic()
    for place in places:
        synthesize(place.data, data_of(SCALES[place.scale], place.seed))
    say(started, f"data: {', '.join(str(place.data) for place in places)}")
    in_turn(options.at_once, train, [(place, row) for place in places for row in rows], started, "is trained")
    judged = in_turn(options.at_once, judge, [(place, tuple(rows)) for place in places], started, "is scored")
    speeds = measured_speed(options.out / "speed.json")
    say(started, "speeds are measured")
    text = report.markdown([judged[place, tuple(rows)] for place in places], rows, speeds, options.seeds, options.scale)
    console.print(text, markup=False, highlight=False)
    if options.to is not None:
        report.write(options.to, text)
    return 0


def in_turn(at_once: int, work, jobs: Sequence[tuple], started: float, done: str) -> dict[tuple, dict | None]:
    """Every job in a process of its own."""
    results = {}
    with workers(at_once) as pool:
        running = {pool.submit(work, *job): job for job in jobs}
        for future in as_completed(running):
            results[running[future]] = future.result()
            place, what = running[future]
            say(started, f"seed {place.seed}: {what if isinstance(what, str) else 'every row'} {done}")
    return results


def train(place: Place, row: str) -> None:
    import train_stage1

    folder, config = place.run(row), config_of(row, place.data, place.run(row), SCALES[place.scale], place.seed)
    code, stamp = of(files_digest(LEARNING), config), folder.with_suffix(".digest")
    if folder.exists() and (not stamp.exists() or stamp.read_text() != code):
        rmtree(folder)  # begun by other code: it cannot be gone on with
    folder.mkdir(parents=True, exist_ok=True)
    stamp.write_text(code)
    with (folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        if code := train_stage1.main(config):
            raise SystemExit(code)


def judge(place: Place, rows: tuple[str, ...]) -> dict:
    """Scores of every row and the behaviour of ours, from the seed's file or made and written there."""
    path = place.out / f"{place.scale}-{place.seed}" / "judged.json"
    trained = {row: place.run(row).with_suffix(".digest").read_text() for row in rows}
    digest = of(files_digest(JUDGING), trained, bool(recordings()))
    if path.exists() and (known := read_json(path))["digest"] == digest:
        return known
    from mango.evaluation.dialogue_sets import evaluate_dialogues
    from mango.evaluation.report import as_json
    from mango.inference.generation import GenerationConfig

    runs = {str(place.run(row)): row for row in rows}
    evaluation = evaluate_dialogues(
        place.data, "test", "native", GenerationConfig(), checkpoints=tuple(Path(run) for run in runs), baselines=True
    )
    scored = as_json(evaluation)
    scored["rows"] = {runs.get(name, name): row for name, row in scored["rows"].items()}
    content = {"digest": digest, "scores": scored, "weights": {row: weights(place.run(row)) for row in rows}}
    if OURS in rows:
        content["behaviour"] = behaviours(place)
    write_json(path, content)
    return read_json(path)


@torch.inference_mode()
def behaviours(place: Place) -> dict:
    talker, dialogues, truth = behaviour.Talker.of(place.run(OURS)), behaviour.held_out(place.data), Truth.open(place.data)
    found = {
        "muted_partner": behaviour.muted_partner(talker, dialogues),
        "muted_partner_in_truth": behaviour.muted_partner_in_truth(talker, place.data, data_of(SCALES[place.scale], place.seed)),
        "exchanged": {
            "told": behaviour.exchanged_tracks(talker, dialogues, told=True),
            "not_told": behaviour.exchanged_tracks(talker, dialogues, told=False),
        },
        "same_envelope": behaviour.same_envelope(talker, dialogues, truth),
        "indicator": behaviour.wrong_indicator(talker, dialogues, truth),
    }
    if files := recordings():
        found["real"] = {name: behaviour.real_exchanges(talker, files, told=name == "told") for name in ("told", "not_told")}
    return found


def recordings() -> list[tuple[Path, Path]]:
    samples = os.environ.get("MANGO_SAMPLE_DATA")
    return behaviour.real_recordings(Path(samples)) if samples else []


def weights(run: Path) -> int:
    from mango.head.model import load_head
    from mango.training.stage1 import load_motion_model

    model, _, _ = load_motion_model(run, head=load_head(), baseline=True)
    return sum(parameter.numel() for parameter in model.parameters())


def measured_speed(path: Path) -> dict[str, float]:
    digest = files_digest(("mango/models", "mango/diffusion", "mango/inference", "mango/audio", "benchmarks/motion/speed.py"))
    if not path.exists() or read_json(path)["digest"] != digest:
        write_json(path, {"digest": digest, "factors": real_time_factors()})
    return read_json(path)["factors"]


if __name__ == "__main__":
    run(main, Options)
