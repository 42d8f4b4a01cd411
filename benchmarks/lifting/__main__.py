"""python -m benchmarks.lifting --seed 1 --scale ci|small|full [--rows stage1,stage2] [--out DIR]

Makes the data, trains the rows (two at a time, one thread each), scores them and writes OUT/<scale>-<seed>/lifting.json with the table and
figures. The same command goes on where it was killed, and uses again what nothing has changed. Dialogues of the test split are scored
once, when every row is trained; ``--validate`` scores the validation split instead, for choosing.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from benchmarks.lifting import report
from benchmarks.lifting.rows import OF_CI, ROWS
from benchmarks.lifting.running import console, say, score, train
from benchmarks.lifting.scales import scale_of
from benchmarks.lifting.training import Bench
from mango.data.synthetic.synthesize import synthesize
from mango.errors import InputError


@dataclass(frozen=True)
class Options:
    seed: int = 1
    scale: Literal["ci", "small", "full"] = "ci"
    rows: str = ""  # names, comma-separated; what they start from comes along. Empty = all of the scale
    out: Path = Path("runs/lifting")
    validate: bool = False
    at_once: int = 2


def main(options: Options) -> int:
    bench = Bench(options.out, scale_of(options.scale, options.seed), options.seed)
    started = time.monotonic()
    synthesize(bench.data, bench.scale.data)
    say(started, f"data: {bench.data}")
    rows = wanted(options)
    train(bench, rows, options.at_once, started)
    split = "val" if options.validate else "test"
    scores = score(bench, rows, split, options.at_once)
    say(started, f"scored on {split}")
    console.print(report.write(bench, rows, scores, split))
    return 0


def wanted(options: Options) -> list[str]:
    """In an order in which every row comes after what it starts from."""
    every = [name for name, row in ROWS.items() if (name in OF_CI if options.scale == "ci" else row.main or options.scale == "full")]
    asked = [name for name in options.rows.split(",") if name] or every
    unknown = [name for name in asked if name not in ROWS]
    if unknown:
        raise InputError("--rows", expected=f"names among {', '.join(ROWS)}", found=", ".join(unknown), remedy="correct the names")
    needed: list[str] = []

    def add(name: str) -> None:
        for parent in ROWS[name].after:
            add(parent)
        if name not in needed:
            needed.append(name)

    for name in asked:
        add(name)
    return needed


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Options)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
