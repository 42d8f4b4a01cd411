"""Every baseline that is trained: by train_stage1.py's loop from the model's own config, scored beside the model by one command."""

import json

import pytest
from tiny_models import tiny_voice

import train_stage1
from mango.cli import main
from mango.config import parse_command_line
from mango.training.stage1 import Stage1Config

BASELINES = {
    "separate": ("hearing", "separate"),
    "mixed": ("hearing", "mixed"),
    "own": ("hearing", "own"),
    "regressor": ("kind", "regression"),
}


@pytest.fixture(scope="module")
def baselines(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("baselines")
    for name, (field, value) in BASELINES.items():
        words = [str(trained.out / "stage1.yaml"), f"--model.{field}", value, "--run", str(folder / name)]
        assert train_stage1.main(parse_command_line(Stage1Config, words)) == 0
    return folder


def test_all_rows_come_from_one_command(trained, baselines, tmp_path):
    """Notices a baseline that cannot be read back, and one that is read back as another: their numbers differ."""
    checkpoints = [word for run in (trained.stage1, *(baselines / name for name in BASELINES)) for word in ("--checkpoint", str(run))]
    out = tmp_path / "out.json"
    assert main(["evaluate", "--data", str(trained.data), *checkpoints, "--baselines", "--steps", "2", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    errors = [rows[name]["metrics"]["LVE_max"]["all"] for name in rows if "/" in name]
    assert len(errors) == 1 + len(BASELINES) and len(set(errors)) == len(errors)
    assert {"mean motion", "nearest neighbour"} < set(rows)


def test_a_regressor_neither_generates_nor_starts_stage_two(trained, baselines, tmp_path, capsys):
    voices = [str(tiny_voice(tmp_path / f"{side}.wav", seed=seed)) for seed, side in enumerate("ab")]
    run = str(baselines / "regressor")
    assert main(["generate", "--own", voices[0], "--partner", voices[1], "--checkpoint", run, "--out", str(tmp_path / "out")]) == 2
    assert "shown the partner's motion" in capsys.readouterr().err and not (tmp_path / "out").exists()
