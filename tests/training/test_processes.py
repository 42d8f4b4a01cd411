"""Two processes learn what one learns, up to rounding: sums are taken in another order, and matrix products of a batch of one are rounded
otherwise than the same row's of a larger batch (on some processors; Adam makes it visible where gradients are next to nothing). Both are
in the yardstick: one process that takes its windows in another order, and poses the head of each picture by itself.

Faults planted, each seen red: means of each process's means, over frames and over pictures; noise drawn per process, in either stage; an
avatar left alone by the process that has no picture of it; zeros for gradients that nobody has; an offset penalty counted twice; a bank
that follows its own process's windows; head poses that one process remembers; rows gathered in the order of processes; losses logged, or
trials judged, by a process's own share; lips closed by the process that looked; Ctrl-C obeyed by the process that got it.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from both_stages import PRESSED_AT, train_both
from safetensors.torch import load_file
from tiny_films import make_filmed_set, tiny_stage2
from tiny_training import ROOT, TINY
from torch import Tensor

from mango.config import save_config
from mango.data.json_files import read_json
from mango.errors import InputError
from mango.training import stage2
from mango.training.alternation import Phase, Schedule
from mango.training.avatars import posed
from mango.training.label_bank import BankConfig
from mango.training.optim import OptimizerConfig
from mango.training.run import INTERRUPTED, Every
from mango.training.runtime import Runtime, RuntimeConfig
from mango.training.stage2_config import CalibrationConfig, Stage2Config
from mango.training.studio import open_studio

sys.path.insert(0, str(ROOT / "tests" / "renderer"))
from gaussian_scenes import assert_no_worse_than

STEPS = 8
SPEEDS = ("samples_per_second", "waiting_for_data")  # are not learnt


@pytest.fixture(scope="module")
def films(tmp_path_factory, head) -> Path:
    """In half of the windows there is nothing to see."""
    return make_filmed_set(tmp_path_factory.mktemp("films"), head, doubted=["d1"])


@pytest.fixture(scope="module")
def config(tmp_path_factory, films, head) -> Stage2Config:
    return tiny_stage2(
        tmp_path_factory.mktemp("start"),
        films,
        head,
        steps=STEPS,
        schedule=Schedule(opening=(Phase("head", 1), Phase("labels", 1)), cycle=(Phase("head", 1), Phase("motion", 1))),
        windows=4,
        bank=BankConfig(pin_every=2),
        calibration=CalibrationConfig(gains=(1.0, 2.0), steps=1, lessons=2),
        motion_optimizer=OptimizerConfig(lr=1e-3, warmup=1, ema=0.9),  # what differs shall be seen after three steps
        every=Every(log=1, validate=0, save=2),
        keep=10,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory, films, config) -> dict[str, Path]:
    """Folders with both stages in them: of one process, of one that rounds otherwise, and of two.

    The two do their share of a batch of stage one in two parts each.
    """
    folders = {name: tmp_path_factory.mktemp(name) for name in ("one", "reordered", "two")}
    for folder in folders.values():
        (folder / "stage1.yaml").write_text(f"data: {films}\nrun: {folder / 'run'}\nkeep: 10\n{TINY}".replace("validate: 3", "validate: 0"))
        save_config(replace(config, run=folder / "stage2"), folder / "stage2.yaml")
    with (folders["two"] / "stage1.yaml").open("a") as file:
        file.write("accumulate: 2\n")
    script = Path(__file__).with_name("both_stages.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--", str(script)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pair = subprocess.Popen([*command, str(folders["two"])], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert train_both(folders["one"]) == [0, 0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Runtime, "share", lambda self, batch, key="": list(range(batch))[::-1])
            patch.setattr(stage2, "posed", posed_one_by_one)
            assert train_both(folders["reordered"]) == [0, 0]
        said, _ = pair.communicate(timeout=120)
    finally:
        pair.kill()
    assert pair.returncode == 0, said
    return folders


def posed_one_by_one(head, avatars, persons, motion, placed) -> Tensor:
    rows = range(len(persons))
    return torch.cat([posed(head, avatars, persons[row : row + 1], motion[row : row + 1], placed[row : row + 1]) for row in rows])


def learnt(run: Path) -> dict[str, Tensor]:
    """Every tensor of the last checkpoint but the optimizers', by file and first part of its name."""
    last, found = run / "checkpoints" / "last", {}
    for file in sorted(last.rglob("*.safetensors")):
        for name, value in load_file(file).items():
            found.setdefault(f"{file.relative_to(last)}:{name.split('/')[0]}", []).append(value.double().flatten())
    return {name: torch.cat(values) for name, values in found.items()}


def logged(run: Path) -> dict[str, Tensor]:
    """Every logged number over the steps."""
    found: dict[str, list[float]] = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        for name, value in line.items():
            if name not in ("group", *SPEEDS):
                found.setdefault(f"{line['group']}/{name}", []).append(value)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


@pytest.mark.parametrize("stage", ["run", "stage2"])
def test_two_processes_learn_and_log_what_one_does(runs, stage):
    for contents in (learnt, logged):
        one, reordered, two = (contents(runs[name] / stage) for name in ("one", "reordered", "two"))
        assert one.keys() == two.keys()
        assert_no_worse_than(two, truth=one, yardstick=reordered)


def test_two_processes_measure_the_same_amplitude(runs):
    one, reordered, two = (read_json(runs[name] / "stage2" / "calibration.json") for name in ("one", "reordered", "two"))
    errors = [{gain: torch.tensor([error]).double() for gain, error in found["errors"].items()} for found in (one, reordered, two)]
    assert len(errors[0]) == 2 and one["gain"] == two["gain"]
    assert_no_worse_than(errors[2], truth=errors[0], yardstick=errors[1])


def test_ctrl_c_in_one_process_stops_both_after_one_step_and_both_go_on(runs):
    codes = [json.loads((runs["two"] / f"codes.{rank}.json").read_text()) for rank in (0, 1)]
    assert codes == [[[INTERRUPTED, INTERRUPTED], [0, 0]]] * 2
    for stage in ("run", "stage2"):
        saved, uninterrupted = ({file.name for file in (runs[name] / stage / "checkpoints").iterdir()} for name in ("two", "one"))
        assert saved - uninterrupted == {f"{PRESSED_AT:08d}"}


def test_this_was_not_the_easy_case(config, tmp_path):
    """A process alone sees somebody while an avatar learns."""
    studio, _ = open_studio(replace(config, run=tmp_path), Runtime(config.runtime))
    seen = []
    for step in range(1, STEPS + 1):
        lesson = studio.lessons.at(step)
        pictures = list(zip(lesson.places[0], lesson.recorded.persons, strict=True))
        seen.append([{person for row, person in pictures if row % 2 == rank} for rank in (0, 1)])
    assert all(people for both in seen for people in both), "no process has nothing to look at"
    assert any(one != other and one and other for one, other in seen[::2]), "odd steps are the avatars'"


def test_a_batch_that_cannot_be_shared_is_refused(config):
    runtime = Runtime(RuntimeConfig())
    runtime.processes = 3
    with pytest.raises(InputError, match="windows: expected a multiple of 3 processes, found 4"):
        open_studio(config, runtime)
    with pytest.raises(InputError, match="batch"):
        runtime.share(4)
