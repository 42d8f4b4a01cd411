"""What ``runtime.compile`` costs and gives in stage one: the same steps of a config without and with it.

    python -m benchmarks.compiling [--config configs/stage1_demo.yaml --steps 40 --out FILE.json]

The tests of compiled training run first; no figure is printed when they fail. Then windows a second once it runs, seconds until then, and
how far the logged losses are apart. The config's data must be there; its run folder is left alone. torch keeps what it has compiled: the
first seconds of a second call are fewer.
"""

import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.command import check_correct, run
from mango.config import load_config
from mango.data.json_files import write_json
from mango.training.run import Every
from mango.training.stage1 import Stage1Config


@dataclass(frozen=True)
class Options:
    config: Path = Path("configs/stage1_demo.yaml")
    steps: int = 40
    out: Path | None = None


def main(options: Options) -> int:
    check_correct("tests/training/test_compile.py")
    with tempfile.TemporaryDirectory() as folder:
        found = {name: trained(options, Path(folder) / name, name == "compiled") for name in ("eager", "compiled")}
    print(f"{'':10} {'windows/s':>10} {'first step, s':>14}")
    for name, row in found.items():
        print(f"{name:10} {row['windows_per_second']:10.1f} {row['first_step_seconds']:14.1f}")
    eager, compiled = (found[name]["losses"] for name in ("eager", "compiled"))
    found["largest_relative_difference"] = max(abs(b - a) / abs(a) for a, b in zip(eager, compiled, strict=True))
    print(f"losses differ by at most {found['largest_relative_difference']:.1e} of themselves over {options.steps} steps")
    if options.out is not None:
        write_json(options.out, found)
    return 0


def trained(options: Options, folder: Path, compiled: bool) -> dict:
    import train_stage1

    config = load_config(Stage1Config, options.config)
    runtime = replace(config.runtime, compile=compiled)
    config = replace(config, run=folder, steps=options.steps, every=Every(log=1, validate=0, save=0), runtime=runtime)
    start = time.perf_counter()
    assert train_stage1.main(config) == 0
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["group"] == "train"]
    seconds = [config.batch / line["samples_per_second"] for line in steps]
    later = sorted(seconds[len(seconds) // 2 :])
    return {
        "windows_per_second": config.batch / later[len(later) // 2],
        "first_step_seconds": seconds[0],
        "seconds": time.perf_counter() - start,
        "losses": [line["total"] for line in steps],
    }


if __name__ == "__main__":
    run(main, Options)
