"""What a row's result depends on, as one number: a row is used again only while none of it has changed."""

import hashlib
import json
from dataclasses import asdict, fields
from pathlib import Path

import mango
from benchmarks.lifting.controls import CONTROLS
from benchmarks.lifting.rows import ROWS, Changed
from benchmarks.lifting.training import Bench
from mango.data.dialogues import DialogueSet

ROOT = Path(mango.__file__).parents[1]
LEARNING = (
    "mango/audio",
    "mango/diffusion",
    "mango/head",
    "mango/losses",
    "mango/models",
    "mango/training",
    "mango/data/windows.py",
    "mango/data/dialogues.py",
    "mango/seeds.py",
    "train_stage1.py",
    "benchmarks/lifting/training.py",
    "benchmarks/lifting/rows.py",  # what a row is trained on; a new title costs its rows, too
    "benchmarks/lifting/sweeps.py",
)
STAGE_TWO_ONLY = (
    "mango/training/stage2.py",
    "mango/training/stage2_config.py",
    "mango/training/studio.py",
    "mango/training/avatars.py",
    "mango/training/avatar_prior.py",
    "mango/training/lessons.py",
    "mango/training/label_bank.py",
    "mango/training/picture_losses.py",
    "mango/training/finetune.py",
    "mango/training/growth.py",
    "mango/training/cut_edges.py",
    "mango/training/adapter_files.py",
    "mango/training/drawn_mouths.py",
    "mango/training/sharpening.py",
    "mango/training/camera_refinement.py",
    "mango/training/registration.py",
    "mango/training/rest.py",
    "mango/training/calibration.py",
    "mango/training/alternation.py",
    "mango/losses/image.py",
)
DRAWING = ("renderer", "mango/data/pictures.py", "mango/data/foreground.py", "mango/data/video.py", "benchmarks/lifting/refit.py")
MISLEADING = ("benchmarks/lifting/controls.py",)
FINE_TUNING = ("mango/training/finetune.py",)  # which no row does
SCORING = (
    "mango/evaluation",
    "mango/inference/generation.py",
    "mango/inference/recordings.py",
    "mango/inference/regression.py",
    "benchmarks/lifting/scoring.py",
)
BY_SOUND = ("stage1", "oracle", "longer_steps", "longer_time")  # rows that no picture enters


def of_row(bench: Bench, row: str) -> str:
    """Code, sizes, seed, data, and the rows that it starts from."""
    pictures = row not in BY_SOUND
    drawing = (DRAWING if pictures else ()) + (MISLEADING if row in CONTROLS else ())
    code = files_digest(LEARNING + drawing, without=FINE_TUNING if pictures else STAGE_TWO_ONLY)
    sizes = {field.name: getattr(bench.scale, field.name) for field in fields(bench.scale) if field.name not in ("data", "samplings")}
    parents = [of_row(bench, parent) for parent in ROWS[row].after]
    settings = ROWS[row].train.settings if isinstance(ROWS[row].train, Changed) else {}
    return of(code, sizes, bench.seed, DialogueSet.open(bench.data).digest, row, parents, dict(settings))


def of_scores(bench: Bench, row: str) -> str:
    known = of_row(bench, row) if row in ROWS else DialogueSet.open(bench.data).digest
    return of(files_digest(SCORING), bench.scale.samplings, known)


def of_code() -> str:
    """Of everything that makes the numbers."""
    return files_digest(
        ("mango", "renderer", "benchmarks/lifting", "train_stage1.py"),
        without=("mango/app", "mango/cli.py", "benchmarks/lifting/figures.py"),
    )


def files_digest(names: tuple[str, ...], *, without: tuple[str, ...] = ()) -> str:
    known = hashlib.sha256()
    excluded = {ROOT / name for name in without}
    for name in names:
        place = ROOT / name
        for file in [place] if place.is_file() else sorted(place.rglob("*")):
            if file.suffix in (".py", ".cpp", ".h", ".npz") and not excluded & {file, *file.parents}:
                known.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return known.hexdigest()[:16]


def of(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=asdict).encode()).hexdigest()[:16]
