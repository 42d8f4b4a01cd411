"""Ten thousand damages of every format that `mango data import` reads: only `InputError` may leave a reader.

    python -m benchmarks.fuzzing [--mutations 10000] [--formats dualtalk vhap ...] [--seed 0] [--out FILE.json] [--to docs/results.md]

Sources and damages are those of the tests (tests/data/formats). For every format: how many damaged sources were refused and how many were
still readable (numbers changed), the longest time one took, how much memory all of them took, and every error that left a reader. All of
them take hours; with --formats they are done in pieces, and FILE.json keeps what earlier pieces of the same size and seed found.
"""

import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.command import run
from benchmarks.measuring import peak_bytes
from benchmarks.page import write_between
from mango.data.json_files import read_json, write_json
from mango.errors import InputError
from mango.provenance import commit, processor, provenance

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "data" / "formats"))


@dataclass(frozen=True)
class Options:
    """Damage every format's files and read them."""

    mutations: int = 10_000  # of each format
    formats: tuple[str, ...] = ()  # names as in the table; all when empty
    seed: int = 0
    out: Path = Path("runs/benchmarks/fuzzing.json")
    to: Path | None = None  # also write the table here, as Markdown: of all formats that the file knows


def main(options: Options) -> int:
    """1 when anything but an InputError left a reader."""
    from mutations import all_names, fuzzed

    torch.set_num_threads(1)
    there = tuple(all_names())
    unknown = sorted(set(options.formats) - set(there))
    if unknown:
        raise InputError(
            "--formats", expected="formats that can be read here", found=", ".join(unknown), remedy=f"there are {', '.join(there)}"
        )
    rows = []
    for name in options.formats or there:
        outcomes, began = [], time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            work = partial(fuzzed, name, Path(folder), options.mutations, options.seed)
            grown = peak_bytes(lambda work=work, outcomes=outcomes: outcomes.append(work()))
        (outcome,), seconds = outcomes, time.perf_counter() - began
        mib = None if grown is None else grown / 2**20
        rows.append({"format": name, "commit": commit(), **asdict(outcome), "seconds": seconds, "peak_growth_mib": mib})
        Console(stderr=True).print(f"{name}: {seconds:.0f} s, {len(outcome.escaped)} escaped")
        known = with_earlier(options, rows)
        write_json(options.out, {**provenance(), "mutations": options.mutations, "seed": options.seed, "rows": known})
    Console(width=130).print(table(rows))
    if options.to is not None:
        write_between(options.to, "benchmarks.fuzzing", markdown(options, known))
    return 1 if any(row["escaped"] for row in rows) else 0


def with_earlier(options: Options, rows: list[dict]) -> list[dict]:
    """By name; a format that was done again counts as it is now."""
    before = read_json(options.out) if options.out.is_file() else {}
    same = (before.get("mutations"), before.get("seed")) == (options.mutations, options.seed)
    found = {row["format"]: row for row in [*(before["rows"] if same else []), *rows]}
    return [found[name] for name in sorted(found)]


def markdown(options: Options, rows: list[dict]) -> str:
    asked = f"python -m benchmarks.fuzzing --mutations {options.mutations} --seed {options.seed}"
    lines = [
        "## Damaged files of every format",
        "",
        f"`{asked}`, {processor()}. Only an input error may leave a reader.",
        "",
        "| format | damaged | refused | read | escaped | slowest, ms | memory, MiB | commit |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        slowest, grown = round(1000 * row["slowest"]), mib(row)
        numbers = (row["mutations"], row["refused"], row["read"], len(row["escaped"]), slowest, grown)
        lines.append(f"| {row['format']} | {' | '.join(map(str, numbers))} | {row['commit'][:9]} |")
    return "\n".join(lines)


def mib(row: dict) -> str:
    """How far memory rose; not every system tells."""
    return "-" if row["peak_growth_mib"] is None else f"{row['peak_growth_mib']:.0f}"


def table(rows: list[dict]) -> Table:
    columns = ("format", "mutations", "refused", "read", "escaped", "slowest ms", "peak MiB more", "unforeseen by their reader")
    shown = Table(*columns, title="damaged files")
    for row in rows:
        causes = ", ".join(f"{cause} {times}" for cause, times in row["causes"].items())
        numbers = (row["mutations"], row["refused"], row["read"], len(row["escaped"]), f"{1000 * row['slowest']:.0f}")
        shown.add_row(row["format"], *(str(number) for number in numbers), mib(row), causes)
        for words in row["escaped"]:
            shown.add_row("", "", "", "", "", "", "", words)
    return shown


if __name__ == "__main__":
    run(main, Options)
