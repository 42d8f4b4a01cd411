"""Faults noticed: a config change that goes unseen on resume, a damaged or foreign checkpoint that loads, files that differ in name between
writer and reader, old checkpoints kept for ever, a full disk that leaves half a checkpoint, NaN that trains on."""

import json
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import tiny_yaml, train_here

from mango.config import load_config
from mango.errors import InputError
from mango.training import stage1
from mango.training.checkpoints import newest_checkpoint, read_learner
from mango.training.optim import OptimizerConfig, make_learner
from mango.training.run import Run
from mango.training.runtime import Runtime, RuntimeConfig
from mango.training.stage1 import Stage1Config, load_motion_model


@pytest.fixture
def copied(uninterrupted, tmp_path) -> Path:
    """A finished run to damage."""
    return Path(shutil.copytree(uninterrupted, tmp_path / "copied", symlinks=True))


def test_a_changed_config_names_its_fields(copied, tmp_path, tiny_set):
    config = tiny_yaml(tmp_path, tiny_set)
    with pytest.raises(InputError, match=r"optimizer\.warmup was .*, is 7"):
        train_here(config, "--steps", "12", "--run", str(copied), "--optimizer.warmup", "7")
    with pytest.raises(InputError, match="steps was 12, is 6"):
        train_here(config, "--run", str(copied))


def test_a_run_from_before_an_option_came_goes_on(copied, tmp_path, tiny_set):
    """Planted and seen red: what the old file does not say taken for a change."""
    known = copied / "config.yaml"
    kept = [
        line for line in known.read_text().splitlines() if line.split(":")[0].strip() not in ("accumulate", "closure", "blink", "compile")
    ]
    assert len(kept) == len(known.read_text().splitlines()) - 4
    known.write_text("\n".join(kept) + "\n")
    assert train_here(tiny_yaml(tmp_path, tiny_set), "--steps", "13", "--run", str(copied)) == 0
    assert "accumulate: 1" in known.read_text()
    known.write_text(known.read_text().replace("accumulate: 1\n", "").replace("blink: 0.06", "blink: 0.5"))
    with pytest.raises(InputError, match=r"losses\.blink was 0\.5, is 0\.06"):
        train_here(tiny_yaml(tmp_path, tiny_set), "--steps", "14", "--run", str(copied))


def test_a_run_goes_on_with_another_rate_and_says_so(copied, tmp_path, tiny_set, capsys):
    """What is advised where a loss is NaN was refused."""
    assert train_here(tiny_yaml(tmp_path, tiny_set), "--steps", "13", "--run", str(copied), "--optimizer.lr", "0.0005") == 0
    assert "goes on with optimizer.lr 0.0005, which was 0.001" in " ".join(capsys.readouterr().out.split())
    assert "lr: 0.0005" in (copied / "config.yaml").read_text()


def test_a_run_tells_what_it_was_begun_with(copied, tmp_path, tiny_set, capsys):
    """Other dialogues are said, another encoder is refused; what the run began with stays in its record, however often it goes on."""
    record = copied / "run.json"
    begun = json.loads(record.read_text()) | {"dataset": "another"}
    begun.pop("begun", None)  # of a run that another test has gone on with
    record.write_text(json.dumps(begun))
    for steps in ("13", "14"):
        assert train_here(tiny_yaml(tmp_path, tiny_set), "--steps", steps, "--run", str(copied)) == 0
        assert "the data have changed since" in " ".join(capsys.readouterr().out.split())
        found = json.loads(record.read_text())
        assert found["begun"] == begun and found["dataset"] != "another"
    record.write_text(json.dumps(begun | {"encoder": "e" * 64}))
    with pytest.raises(InputError, match="expected encoder eeeeeeeeeeee, which this run was begun with"):
        train_here(tiny_yaml(tmp_path, tiny_set), "--steps", "15", "--run", str(copied))


def test_steps_may_grow(copied, tmp_path, tiny_set):
    assert train_here(tiny_yaml(tmp_path, tiny_set), "--steps", "13", "--run", str(copied)) == 0
    assert json.loads((copied / "checkpoints/last/state.json").read_text())["step"] == 13


def test_the_checkpoint_of_the_lowest_validation_loss_is_kept(tmp_path, tiny_set, head, monkeypatch, capsys):
    """Small sets are learnt by heart. Seen red: the highest loss, no number as the lowest, a best one that goes with the old ones."""
    import train_stage1

    losses = iter([float("nan"), 0.3, 0.5, 0.4, 0.6])
    monkeypatch.setattr(train_stage1, "validation_losses", lambda *_: {"total": next(losses)})
    config, words = tiny_yaml(tmp_path, tiny_set), ["--keep", "1", "--every.validate", "2", "--every.save", "1"]
    assert train_here(config, "--steps", "6", *words) == 0
    checkpoints = tmp_path / "run" / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["00000004", "00000006", "best", "last"]
    assert train_here(config, "--steps", "9", *words) == 0
    assert sorted(path.name for path in checkpoints.iterdir()) == ["00000004", "00000009", "best", "last"]
    assert (checkpoints / "best").resolve().name == "00000004" and (checkpoints / "last").resolve().name == "00000009"
    assert f"validation was better at step 4: {checkpoints / 'best'}" in capsys.readouterr().out
    best, _, _ = load_motion_model(checkpoints / "best", head=head)
    stored = load_file(checkpoints / "00000004/motion/ema.safetensors")
    assert all(torch.equal(stored[name], value) for name, value in best.state_dict().items())


def test_the_run_folder_says_what_was_done(uninterrupted):
    facts = json.loads((uninterrupted / "run.json").read_text())
    assert {"commit", "torch", "dataset", "head", "encoder", "device", "config_digest"} <= set(facts)
    assert "mlp_ratio: 2" in (uninterrupted / "config.yaml").read_text()
    assert sorted(path.name for path in (uninterrupted / "checkpoints").iterdir()) == ["00000010", "00000012", "best", "last"]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(uninterrupted / "tb"))
    board.Reload()
    logged = {json.dumps([line["group"], name]) for line in _metrics(uninterrupted) for name in line if name not in ("step", "group")}
    assert {json.dumps(tag.split("/")) for tag in board.Tags()["scalars"]} == logged
    assert [event.step for event in board.Scalars("train/total")] == list(range(1, 13))


def test_the_model_read_back_is_the_average_and_generates(uninterrupted, head):
    model, description, encoder = load_motion_model(uninterrupted, head=head)
    stored = load_file(uninterrupted / "checkpoints/last/motion/ema.safetensors")
    assert all(torch.equal(stored[name], value) for name, value in model.state_dict().items())
    assert (description.frames, description.context, encoder.mels) == (20, 4, 8)
    assert not model.training
    same, _, _ = load_motion_model(uninterrupted / "checkpoints" / "last", head=head)
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), model.parameters(), strict=True))


def _break(folder: Path, how: str) -> None:
    last = folder / "checkpoints" / "last"
    if how == "truncated":
        file = last / "motion" / "ema.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "format":
        (last / "state.json").write_text('{"format": 99, "step": 12}')
    elif how == "state":
        (last / "state.json").write_text('{"for')
    elif how == "empty":
        shutil.rmtree(folder / "checkpoints")
    elif how == "optimizer":
        file = last / "motion" / "optimizer.pt"
        file.write_bytes(file.read_bytes()[:500])


@pytest.mark.parametrize(
    "how, said", [("truncated", "damaged"), ("format", "format 99"), ("state", "damaged"), ("empty", "no checkpoints in it")]
)
def test_a_broken_checkpoint_is_an_input_error(copied, head, how, said):
    _break(copied, how)
    with pytest.raises(InputError, match=said):
        load_motion_model(copied, head=head)


@pytest.mark.parametrize("how", ["truncated", "optimizer"])
def test_resuming_from_a_broken_checkpoint_is_an_input_error(copied, tmp_path, tiny_set, how):
    _break(copied, how)
    with pytest.raises(InputError, match="go on from the one before"):
        train_here(tiny_yaml(tmp_path, tiny_set), "--steps", "14", "--run", str(copied))


def test_another_head_is_refused(uninterrupted, head):
    class Other:
        name, digest = "other", "0" * 64

    with pytest.raises(InputError, match="a model for the head other"):
        load_motion_model(uninterrupted, head=Other())


def test_not_a_run_is_refused(tmp_path, head):
    with pytest.raises(InputError, match="no such folder"):
        load_motion_model(tmp_path / "nothing", head=head)


def test_nan_stops_the_run_and_names_the_dialogue(tiny_config, monkeypatch):
    sound = stage1.one_shot_x0

    def spoilt(*arguments):
        clean = sound(*arguments).clone()
        clean[1] = float("nan")
        return clean

    monkeypatch.setattr(stage1, "one_shot_x0", spoilt)
    with pytest.raises(InputError, match=r"step 1, loss 'parameters', dialogue d\d from frame .* expected a finite loss, found nan"):
        train_here(tiny_config)


def test_a_set_of_another_head_is_refused(tmp_path, tiny_set):
    """Seen red: of a head with as many numbers it was learnt without a word, of another one there was a traceback."""
    other = Path(shutil.copytree(tiny_set, tmp_path / "other"))
    described = json.loads((other / "dataset.json").read_text())
    described["head"] |= {"name": "flame", "digest": "f" * 64}
    (other / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"expected dialogues of head .*, found flame \(ffffffffffff\); give --head the file of the set"):
        train_here(tiny_yaml(tmp_path, other))
    assert not (tmp_path / "run").exists()


def test_data_that_lie_elsewhere_now_are_gone_on_with(copied, tmp_path, tiny_set, capsys):
    """Planted: other data, too."""
    moved = Path(shutil.copytree(tiny_set, tmp_path / "moved"))
    assert train_here(tiny_yaml(tmp_path, moved), "--steps", "13", "--run", str(copied)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"goes on with data '{moved}', which was '{tiny_set}'" in said
    assert "goes on to step 13, not 12: learning rates are the longer run's, higher than they had fallen to" in said
    (moved / "dialogues" / "d0" / "a.motion.npz").unlink()
    (moved / "dialogues" / "d0" / "a.motion.json").unlink(missing_ok=True)
    shutil.move(moved, tmp_path / "less")
    with pytest.raises(InputError, match="data was"):
        train_here(tiny_yaml(tmp_path, tmp_path / "less"), "--steps", "13", "--run", str(copied))


def test_what_killed_processes_left_among_checkpoints_goes(copied, tmp_path, tiny_set):
    """Old ones on their way out, and halves of other machines, which lie there for ever. Whoever goes on is alone in the run."""
    for name in (".00000002.old", ".00000006.elsewhere-7-0.partial", ".00000007.elsewhere-7-1.partial"):
        (copied / "checkpoints" / name).mkdir()
    assert train_here(tiny_yaml(tmp_path, tiny_set), "--steps", "12", "--run", str(copied)) == 0
    assert not list((copied / "checkpoints").glob(".*"))


def test_a_disk_without_links_keeps_checkpoints(tmp_path, tiny_set, monkeypatch):
    """Seen red: a traceback at the first save."""

    def refused(self, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refused)
    assert train_here(tiny_yaml(tmp_path, tiny_set), "--steps", "2") == 0
    assert newest_checkpoint(tmp_path / "run" / "checkpoints").name == "00000002"


def test_a_path_told_from_here_is_the_same_path(tmp_path, tiny_config, monkeypatch):
    config = load_config(Stage1Config, tiny_config)
    data = Path(config.data).resolve()
    with Run(tmp_path / "r", replace(config, data=data)):
        pass
    monkeypatch.chdir(data.parent)
    with Run(tmp_path / "r", replace(config, data=Path(data.name))):
        pass
    with pytest.raises(InputError, match="data was"), Run(tmp_path / "r", replace(config, data=data.parent)):
        pass


def test_a_gradient_that_is_nan_changes_no_weight():
    """A finite loss may have one; weights would be NaN, and the newest checkpoint, too."""
    learner = small_learner()
    before = learner.model.weight.clone()
    with pytest.raises(InputError, match="step 1 of head/p00: expected a finite gradient, found one of norm nan; lower the optimizer's lr"):
        learner.descend((0 * learner.model(torch.ones(1, 3))).clamp_min(0).sqrt().sum(), 1)
    assert torch.equal(learner.model.weight, before)


def test_processes_compare_where_they_go_on_from(copied):
    """Of several machines without a common run folder one went on and the others began anew: gradients of different weights were summed."""
    said = []

    class Compared(Runtime):
        def check_same(self, what, value):
            said.append((what, value))

    with Run(copied, load_config(Stage1Config, copied / "config.yaml"), runtime=Compared(RuntimeConfig())) as run:
        assert ("the newest checkpoint", "00000012") in said, "before calibration, in which processes already wait for each other"
        assert run.noted("calibration.json") == {}
        run.note("calibration.json", {"gain": 1.5})
        assert run.noted("calibration.json") == {"gain": 1.5}
    assert said[-2:] == [("calibration.json", "{}"), ("calibration.json", '{"gain": 1.5}')]


def small_learner(name: str = "head/p00"):
    torch.manual_seed(0)
    return make_learner(name, torch.nn.Linear(3, 2), OptimizerConfig(lr=0.1, warmup=1, ema=0.5), 10)


def test_several_learners_and_tensors_come_back(tmp_path, tiny_config):
    config = load_config(Stage1Config, tiny_config)
    first, second = small_learner("head/p00"), small_learner("motion")
    bank = {"d0/a": torch.randn(4, 3), "d0/b": torch.randn(4, 3).T}
    with Run(tmp_path / "r", config) as run:
        run.restore([first, second])
        for step in run.steps(3):
            for learner in (first, second):
                learner.descend(learner.model(torch.ones(3)).square().sum() * (2 if learner is second else 1), step)
            run.save(step, [first, second], {"bank": bank}, phase="motion")
    again = [small_learner("head/p00"), small_learner("motion")]
    with Run(tmp_path / "r", config) as run:
        restored = run.restore(again)
    assert restored.step == 3 and restored.state["phase"] == "motion"
    assert all(torch.equal(restored.tensors["bank"][key], value) for key, value in bank.items())
    for old, new in zip((first, second), again, strict=True):
        for a, b in ((old.model, new.model), (old.average.model, new.average.model)):
            assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
        moments = [[state["exp_avg"] for state in learner.optimizer.state.values()] for learner in (old, new)]
        assert all(torch.equal(x, y) for x, y in zip(*moments, strict=True))
    assert not torch.equal(first.model.weight, second.model.weight)


@pytest.mark.parametrize("room", [10_000, 300_000], ids=["weights", "optimizer"])
def test_a_full_disk_leaves_the_checkpoint_before(copied, tmp_path, tiny_set, room):
    """The disk is full while the weights, or the optimizer state, are written (here by the limit on a file's size)."""
    import resource

    sizes = {path.name: path.stat().st_size for path in (copied / "checkpoints/last/motion").iterdir()}
    assert 10_000 < sizes["model.safetensors"] < 300_000 < sizes["optimizer.pt"], f"choose other limits: {sizes}"
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, former[1]))
    try:
        with pytest.raises(InputError, match=r"checkpoints.* expected a place to write to, found file too large"):
            train_here(tiny_yaml(tmp_path, tiny_set), "--steps", "14", "--run", str(copied))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert sorted(path.name for path in (copied / "checkpoints").iterdir()) == ["00000010", "00000012", "best", "last"]
    assert train_here(tiny_yaml(tmp_path, tiny_set), "--steps", "14", "--run", str(copied)) == 0, "with room it goes on"


def test_weights_of_another_model_are_refused(tmp_path, tiny_config):
    with Run(tmp_path / "r", load_config(Stage1Config, tiny_config)) as run:
        run.restore([])
        run.save(1, [small_learner()])
    other = make_learner("head/p00", torch.nn.Linear(3, 4), OptimizerConfig(), 10)
    with pytest.raises(InputError, match="a difference in 'bias'"):
        read_learner(tmp_path / "r/checkpoints/00000001", other)


def test_one_process_at_a_time_trains_into_a_run(tmp_path, tiny_config):
    """Two removed each other's checkpoints and wrote to one file of metrics."""
    config = load_config(Stage1Config, tiny_config)
    with Run(tmp_path / "r", config) as run, pytest.raises(InputError, match="expected no other training into it, found one at work"):
        run.restore([])
        with Run(tmp_path / "r", config):
            pytest.fail("a second run began")
    with pytest.raises(InputError, match="steps was"), Run(tmp_path / "r", replace(config, steps=1)):
        pytest.fail("a run of another config began")
    with Run(tmp_path / "r", config):
        pass  # nobody is in it any more, and who was refused never was


def test_what_does_not_fit_is_told_before_weights_are_read(tmp_path, tiny_config):
    """Seen red: of a set that had grown it was said that the checkpoint was damaged and should be removed."""
    config = load_config(Stage1Config, tiny_config)
    with Run(tmp_path / "r", config) as run:
        run.restore([])
        run.save(1, [small_learner()], {"bank": {"d0/a": torch.zeros(2)}})

    def refuse(tensors):
        assert set(tensors["bank"]) == {"d0/a"}
        raise InputError("the bank", expected="its clips", found="others", remedy="give a new run folder")

    with Run(tmp_path / "r", config) as run, pytest.raises(InputError, match="give a new run folder"):
        run.restore([small_learner(), small_learner("head/p01")], check=refuse)


def test_a_full_disk_while_logging_is_an_input_error(tmp_path, tiny_config):
    with pytest.raises(InputError, match="no space left"), Run(tmp_path / "r", load_config(Stage1Config, tiny_config)) as run:
        run.restore([])
        run._metrics = Path("/dev/full").open("w")  # noqa: SIM115
        run.log(1, "train", {"loss": 1.0})


@pytest.mark.parametrize("stage", [1, 2])
def test_ctrl_c_before_the_first_step_is_no_traceback(stage, monkeypatch):
    def pressed(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("mango.config.parse_command_line", pressed)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(Path(__file__).parents[2] / f"train_stage{stage}.py"), run_name="__main__")
    assert ended.value.code == 130


def _metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
