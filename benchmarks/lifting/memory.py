"""python -m benchmarks.lifting.memory [--steps 10000] [--out DIR]

Does a long stage two keep its memory? Trains it at scale ci with one window and two pictures a step, and prints the process's resident
memory as it goes. Flat: over the second half of the steps it grows by less than a hundredth.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.command import run
from benchmarks.lifting import digests
from benchmarks.lifting.running import trained
from benchmarks.lifting.scales import scale_of
from benchmarks.lifting.scoring import trained_digest
from benchmarks.lifting.sweeps import make_data
from benchmarks.lifting.training import Bench, stage_two_config
from mango.training.calibration import begin
from mango.training.run import Run
from mango.training.runtime import Runtime
from mango.training.stage2 import alternate
from mango.training.studio import open_studio

MEASUREMENTS = 40


@dataclass(frozen=True)
class Options:
    steps: int = 10_000
    seed: int = 1
    out: Path = Path("runs/lifting")


def main(options: Options) -> int:
    bench = Bench(options.out, scale_of("ci", options.seed), options.seed)
    make_data(bench)
    if trained_digest(bench, "stage1") != digests.of_row(bench, "stage1"):
        trained(bench, "stage1", digests.of_row(bench, "stage1"))
    with TemporaryDirectory() as folder:
        config = replace(stage_two_config(bench, "memory"), run=Path(folder), windows=1, pictures=2, steps=options.steps)
        studio, learners = open_studio(config, Runtime(config.runtime))
        every, resident = max(1, options.steps // MEASUREMENTS), []
        with Run(config.run, config) as run:
            begin(run, studio, learners)
            for step, _, _ in alternate(studio, learners, run.steps(config.steps)):
                if step % every == 0:
                    resident.append(megabytes())
                    run.say(f"step {step:6d}  {resident[-1]:8.1f} MB")
    half = len(resident) // 2
    growth = float(np.polyfit(range(half), resident[-half:], 1)[0]) * half / mean(resident[-half:])
    found = f"{mean(resident[-half:]):.0f} MB, grows by {100 * growth:.2f} % (flat: below 1 %)"
    print(f"resident memory over the last {half * every} steps: {found}")
    return 0 if growth < 0.01 else 1


def megabytes() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    run(main, Options)
