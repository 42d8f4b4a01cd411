"""Faults noticed: optimizer or moving average not restored, the same noise drawn in every step, randomness that counts from the process's
start, metrics logged twice, a checkpoint that is half written, Ctrl-C that loses the step."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from tiny_training import tiny_yaml, train_here

from mango.training import stage1

SPEEDS = {"samples_per_second", "waiting_for_data"}  # of this machine at this moment


def metrics(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in SPEEDS} for line in lines]


def weights(run: Path) -> dict[str, bytes]:
    folder = run / "checkpoints" / "last" / "motion"
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", "ema.safetensors")}


def wait_for(path: Path, process, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, f"training ended before {path.name}: {process.communicate()}"
        assert time.monotonic() < end, f"no {path} after {seconds} s"
        time.sleep(0.01)


def test_killed_and_resumed_equals_uninterrupted(tiny_config, tmp_path, train, uninterrupted):
    run = tmp_path / "run"
    process = train(tiny_config, "--steps", "12", start=True)
    wait_for(run / "checkpoints" / "00000004", process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was killed while training"
    with (run / "metrics.jsonl").open("a") as file:  # a step that was logged but not saved, and a line cut off
        file.write('{"step": 11, "group": "train", "total": 99.0}\n{"step": 11, "gro')
    done = train(tiny_config, "--steps", "12")
    assert done.returncode == 0, done.stderr
    assert weights(run) == weights(uninterrupted)
    assert metrics(run) == metrics(uninterrupted)


def test_steps_draw_different_noise(tiny_config, monkeypatch):
    """The script's own loop: what it draws beside the windows differs from step to step."""
    one_shot, levels = stage1.one_shot_x0, []

    def recorded(model, batch, labels, schedule, draws):
        levels.append(tuple(draws.level.tolist()))
        return one_shot(model, batch, labels, schedule, draws)

    monkeypatch.setattr(stage1, "one_shot_x0", recorded)
    assert train_here(tiny_config, "--every.validate", "0") == 0
    assert len(set(levels[:6])) == 6


def test_speeds_are_logged_with_every_training_line(uninterrupted):
    """In windows a second, and as a share."""
    lines = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    assert all((line.keys() >= SPEEDS) == (line["group"] == "train") for line in lines)
    assert all(0 <= line["waiting_for_data"] <= 1 < line["samples_per_second"] for line in lines if line["group"] == "train")


def test_validation_happens_when_it_is_due(uninterrupted):
    assert [line["step"] for line in metrics(uninterrupted) if line["group"] == "validation"] == [3, 6, 9, 12]


def test_a_finished_run_finishes_at_once(tmp_path, tiny_set, uninterrupted):
    before, lines = weights(uninterrupted), len(metrics(uninterrupted))
    assert train_here(tiny_yaml(tmp_path, tiny_set), "--steps", "12", "--run", str(uninterrupted)) == 0
    assert weights(uninterrupted) == before and len(metrics(uninterrupted)) == lines


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_being_stopped_saves_and_says_how_to_go_on(tiny_config, tmp_path, train, number, name):
    """Seen red: SIGTERM, which clusters send before they kill, lost everything since the last checkpoint."""
    run = tmp_path / "run"
    process = train(tiny_config, "--steps", "100000", "--every.save", "0", start=True)
    wait_for(run / "metrics.jsonl", process)
    while not metrics(run):
        time.sleep(0.01)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert f"{name}: saving" in out and "run the same command again" in out.replace("\n", " ")
    assert "train_stage1.py" in out.replace("\n", "") and "Traceback" not in errors
    step = json.loads((run / "checkpoints" / "last" / "state.json").read_text())["step"]
    assert step == metrics(run)[-1]["step"]


def test_an_older_run_says_what_it_goes_on_with(tmp_path, tiny_set, capsys):
    """Settings that its config.yaml does not know. Planted: taken without a word."""
    config, known = tiny_yaml(tmp_path, tiny_set), tmp_path / "run" / "config.yaml"
    assert train_here(config) == 0 and train_here(config) == 0
    assert "it goes on with" not in capsys.readouterr().out
    whole = known.read_text()
    assert "lr: 0.001\n" in whole
    lines = whole.replace("lr: 0.001\n", "lr: 1e-3\n").splitlines(keepends=True)  # the same, written otherwise
    known.write_text("".join(line for line in lines if not line.startswith("high_levels:")))
    assert train_here(config) == 0
    assert "begun before these settings were there; it goes on with high_levels 1.6\n" in capsys.readouterr().out
    assert known.read_text() == whole
