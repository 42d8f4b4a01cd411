"""python -m benchmarks.lifting --seed 1 --scale ci|small|full [--rows stage1,stage2] [--variant dialogues-10] [--out DIR]

Makes the data, trains the rows (two at a time, one thread each), scores them and writes OUT/<scale>-<seed>/lifting.json with the table. The
same command goes on where it was killed, and uses again what nothing has changed; the file holds every row that is up to date, so that
`full` can be run piece by piece. ``--variant`` trains the main rows on other data (sweeps.py). Dialogues of the test split are scored
once, when every row is trained; ``--validate`` scores the validation split instead, for choosing. Figures: figures.py.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.markup import escape

from benchmarks.command import run
from benchmarks.lifting import digests, report
from benchmarks.lifting.rows import OF_CI, ROWS
from benchmarks.lifting.running import console, say, score, train
from benchmarks.lifting.scales import scale_of
from benchmarks.lifting.scoring import scored_digest, trained_digest
from benchmarks.lifting.sweeps import VARIANTS, make_data, variant_bench
from benchmarks.lifting.training import Bench
from mango.config import check_ranges
from mango.errors import InputError


@dataclass(frozen=True)
class Options:
    seed: int = 1
    scale: Literal["ci", "small", "full"] = "ci"
    rows: str = ""  # names, comma-separated; what they start from comes along. Empty = all of the scale
    variant: str = ""  # of the data
    out: Path = Path("runs/lifting")
    validate: bool = False
    at_once: int = 2


def main(options: Options) -> int:
    check_ranges(options, seed="[0, inf)", at_once="[1, inf)")
    base = Bench(options.out, scale_of(options.scale, options.seed), options.seed)
    check_names("--variant", [options.variant] if options.variant else [], VARIANTS)
    bench = variant_bench(base, options.variant) if options.variant else base
    rows, skipped = possible(wanted(options))
    started = time.monotonic()
    make_data(base, options.variant)
    say(started, f"data: {bench.data}")
    for row, reason in skipped.items():
        say(started, escape(f"{row} is left out: {reason}"))
    train(bench, rows, options.at_once, started)
    split = "val" if options.validate else "test"
    shown = [row for row in ROWS if row in rows or up_to_date(bench, row, split)]
    scores = score(bench, shown, split, options.at_once)
    say(started, f"scored on {split}")
    console.print(report.write(bench, shown, scores, split, skipped))
    return 0


def wanted(options: Options) -> list[str]:
    """In an order in which every row comes after what it starts from."""
    few = options.scale == "ci" or options.variant
    every = [name for name, row in ROWS.items() if (name in OF_CI if few else row.main or options.scale == "full")]
    asked = [name for name in options.rows.split(",") if name] or every
    check_names("--rows", asked, ROWS)
    needed: list[str] = []

    def add(name: str) -> None:
        for parent in ROWS[name].after:
            add(parent)
        if name not in needed:
            needed.append(name)

    for name in asked:
        add(name)
    return needed


def check_names(option: str, asked: Sequence[str], known: Collection[str]) -> None:
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise InputError(option, expected=f"names among {', '.join(known)}", found=", ".join(unknown), remedy="correct the names")


def possible(rows: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """What can be trained on this machine; and what cannot, with the reason."""
    obstacles = {row: ROWS[row].obstacle() for row in rows}
    return [row for row in rows if not obstacles[row]], {row: reason for row, reason in obstacles.items() if reason}


def up_to_date(bench: Bench, row: str, split: str) -> bool:
    """Trained and scored by the code and the data as they are."""
    if trained_digest(bench, row) is None:
        return False
    trained = trained_digest(bench, row) == digests.of_row(bench, row)
    return trained and scored_digest(bench, row, split) == digests.of_scores(bench, row)


if __name__ == "__main__":
    run(main, Options)
