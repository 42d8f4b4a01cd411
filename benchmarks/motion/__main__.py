"""python -m benchmarks.motion [--seeds 1 2 3] [--scale ci|small] [--rows joint,own] [--out DIR] [--to docs/results.md]

For every seed: makes dialogues, trains the motion model and its baselines on them (two rows at a time, one thread each), scores all of
them by `mango evaluate`'s code on held-out dialogues, and asks our model how it behaves (muted partner, exchanged tracks, wrong
indicators; real exchanges of $MANGO_SAMPLE_DATA where there are any). Then real-time factors at paper scale, and one table over all seeds.

The same command goes on where it was killed; rows are used again while no code of theirs has changed.
"""

import time
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.command import check_some, run
from benchmarks.lifting.running import console, say, workers
from benchmarks.motion import report
from benchmarks.motion.rows import ROWS, SCALES, data_of
from benchmarks.motion.running import Place, judge, measured_speed, train
from benchmarks.page import write_between
from mango.config import check_ranges
from mango.data.synthetic.synthesize import synthesize
from mango.errors import InputError


@dataclass(frozen=True)
class Options:
    seeds: tuple[int, ...] = (1, 2, 3)
    scale: Literal["ci", "small"] = "small"
    rows: str = ""  # names, comma-separated; empty = all
    out: Path = Path("runs/motion")
    to: Path | None = None  # also write the tables here, as Markdown
    at_once: int = 2


def main(options: Options) -> int:
    check_some(options, "seeds")
    check_ranges(options, seeds="[0, inf)", at_once="[1, inf)")
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
        write_between(options.to, "benchmarks.motion", text)
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


if __name__ == "__main__":
    run(main, Options)
