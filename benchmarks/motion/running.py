"""One row trained and one seed judged, each in a process of its own; what has not changed is used again."""

import hashlib
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import torch

from benchmarks.code_digests import code_digest, of, of_folder
from benchmarks.command import check_correct
from benchmarks.lifting.scoring import without_nan
from benchmarks.motion import behaviour
from benchmarks.motion.rows import ROWS, SCALES, config_of, data_of
from benchmarks.motion.speed import real_time_factors
from mango.config import config_digest
from mango.data.dialogues import DialogueSet
from mango.data.json_files import read_json, write_json
from mango.data.truth import Truth
from mango.provenance import processor

TRAINING = ("train_stage1.py", "benchmarks/motion/rows.py")
JUDGING = ("mango/evaluation/dialogue_sets.py", "mango/evaluation/report.py", "benchmarks/motion/behaviour.py")
OURS = next(iter(ROWS))


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


def train(place: Place, row: str) -> None:
    import train_stage1

    folder, config = place.run(row), config_of(row, place.data, place.run(row), SCALES[place.scale], place.seed)
    code, stamp = of(code_digest(*TRAINING), config_digest(config), DialogueSet.open(place.data).digest), folder.with_suffix(".digest")
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
    heard = [hashlib.sha256(file.read_bytes()).hexdigest() for pair in recordings() for file in pair]
    digest = of(code_digest(*JUDGING, without=()), trained, of_folder(Truth.open(place.data).folder), heard)
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
        content["behaviour"] = without_nan(behaviours(place))
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
    digest = of(code_digest("benchmarks/motion/speed.py"), processor(), torch.__version__, torch.get_num_threads())
    if not path.exists() or read_json(path)["digest"] != digest:
        check_correct("tests/inference/test_generation.py", "tests/inference/test_seams.py")
        write_json(path, {"digest": digest, "factors": real_time_factors()})
    return read_json(path)["factors"]
