"""What a row's result depends on, as one number: a row is used again only while none of it has changed."""

from dataclasses import fields
from functools import cache
from pathlib import Path

from benchmarks.code_digests import MAKING_DATA, code_digest, of, of_folder
from benchmarks.lifting.controls import CONTROLS
from benchmarks.lifting.rows import ROWS, Changed
from benchmarks.lifting.training import Bench
from mango.data.dialogues import DialogueSet
from mango.data.truth import Truth

BY_SOUND = ("stage1", "oracle", "longer_steps", "longer_time")  # rows that no picture enters
STAGE_ONE = ("train_stage1.py",)
TRUTH = ("mango/data/truth.py",)
STAGE_TWO = ("benchmarks/lifting/training.py", "benchmarks/lifting/refit.py")
DESCRIPTIONS = (  # what a row is trained on; a new title costs its rows, too
    "benchmarks/lifting/training.py",
    "benchmarks/lifting/rows.py",
    "benchmarks/lifting/sweeps.py",
)
MISLEADING = ("benchmarks/lifting/controls.py",)
SCORING = ("benchmarks/lifting/scoring.py",)
TRAINING = ("benchmarks/lifting/training.py",)  # what scores says of it is where rows lie


def of_row(bench: Bench, row: str) -> str:
    """Code, sizes, seed, data, and the rows that it starts from."""
    knows_the_truth = row in ("oracle", "true_head")
    if row in BY_SOUND:
        code = code_digest(*STAGE_ONE, *(TRUTH if knows_the_truth else ()), plain=DESCRIPTIONS)
    else:
        code = code_digest(*STAGE_TWO, plain=DESCRIPTIONS, without=MAKING_DATA + (() if row in CONTROLS else MISLEADING))
    sizes = {field.name: getattr(bench.scale, field.name) for field in fields(bench.scale) if field.name not in ("data", "samplings")}
    parents = [of_row(bench, parent) for parent in ROWS[row].after]
    settings = ROWS[row].train.settings if isinstance(ROWS[row].train, Changed) else {}
    seen = [DialogueSet.open(bench.data).digest, *([of_truth(bench.data)] if knows_the_truth else [])]
    return of(code, sizes, bench.seed, seen, row, parents, dict(settings))


def of_scores(bench: Bench, row: str) -> str:
    known = of_row(bench, row) if row in ROWS else DialogueSet.open(bench.data).digest
    return of(code_digest(*SCORING, without=MAKING_DATA + TRAINING), bench.scale.samplings, known, of_truth(bench.data))


def of_code() -> str:
    """Of everything that trains and scores."""
    return code_digest(*STAGE_ONE, *STAGE_TWO, *SCORING, plain=DESCRIPTIONS)


@cache
def of_truth(data: Path) -> str:
    return of_folder(Truth.open(data).folder)
