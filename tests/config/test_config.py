"""Faults noticed: an unknown key ignored, 1e-4 read as text, a boolean taken for a number, a key given twice, an override that loses the
file's other values, a saved config that does not load."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import pytest

from mango.config import changed_fields, config_digest, load_config, load_plain, parse_command_line, save_config, to_plain
from mango.errors import InputError
from mango.losses.motion import MotionLossWeights
from mango.training.stage1 import Stage1Config
from mango.training.stage2_config import Stage2Config

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Optimizer:
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True)
class Rates:
    slow: Optimizer = field(default_factory=lambda: Optimizer(1e-6, (0.5, 0.6)))
    fast: Optimizer | None = Optimizer(0.1)


@dataclass(frozen=True)
class Phase:
    learner: Literal["head", "motion"]
    steps: int = 10


@dataclass(frozen=True)
class Config:
    data: Path = Path("data")
    name: str | None = None
    steps: int = 5
    fast: bool = False
    optimizer: Optimizer = field(default_factory=Optimizer)
    phases: tuple[Phase, ...] = (Phase("head"),)
    scales: dict[str, float] = field(default_factory=dict)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_differences_over_defaults(tmp_path):
    text = "optimizer: {lr: 1e-4}\nphases: [{learner: motion, steps: 3}, {learner: head}]\ndata: some/where\nscales: {own: 2}\n"
    config = load_config(Config, written(tmp_path, text))
    assert config == Config(Path("some/where"), None, 5, False, Optimizer(1e-4), (Phase("motion", 3), Phase("head")), {"own": 2.0})
    assert load_config(Config, written(tmp_path, "")) == Config()


def test_a_nested_part_that_is_given_in_part_stays_its_owners_otherwise(tmp_path):
    """Not its class's: stage two's optimizers have defaults of their own, and one line of YAML brought back stage one's."""

    @dataclass(frozen=True)
    class Whole:
        rates: Rates = field(default_factory=lambda: Rates(slow=Optimizer(1e-5, (0.7, 0.8))))

    whole = load_config(Whole, written(tmp_path, "rates: {slow: {lr: 2.0}, fast: {betas: [0, 1]}}"))
    assert whole.rates == Rates(slow=Optimizer(2.0, (0.7, 0.8)), fast=Optimizer(0.1, (0.0, 1.0)))
    assert load_config(Rates, written(tmp_path, "slow: {betas: [0, 1]}")).slow == Optimizer(1e-6, (0.0, 1.0))
    assert load_config(Whole, written(tmp_path, "rates: {fast: }")).rates.fast is None


@pytest.mark.parametrize(
    "text, said",
    [
        ("optimizer: {lrr: 1}", "unknown key 'optimizer.lrr'; did you mean 'lr'?"),
        ("stepz: 3", "unknown key 'stepz'; did you mean 'steps'?"),
        ("zzz: 3", "the fields are data, name, steps"),
        ("steps: 2.5", "a whole number for 'steps', found float 2.5"),
        ("steps: true", "a whole number for 'steps', found bool True"),
        ("steps: many", "a whole number for 'steps', found str 'many'"),
        ("steps:", "a whole number for 'steps', found nothing"),
        ("fast: 1", "true or false for 'fast', found int 1"),
        ("optimizer: 3", "a mapping for optimizer, found int 3"),
        ("optimizer: {betas: [0.9]}", r"2 values for 'optimizer.betas'"),
        ("phases: [{learner: tail}]", "'head' or 'motion' for 'phases[0].learner', found str 'tail'"),
        ("phases: [{steps: 2}]", "every required field of phases[0]"),
        ("steps: 1\nsteps: 2", "the key 'steps' is given twice"),
        ("steps: [1", "valid YAML"),
        ("[1, 2]", "a mapping for Config"),
        ("data: !!python/object/apply:os.system ['true']", "valid YAML"),
    ],
)
def test_wrong_files_are_input_errors(tmp_path, text, said):
    with pytest.raises(InputError) as error:
        load_config(Config, written(tmp_path, text))
    assert said in str(error.value) and "c.yaml" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load_config(Config, tmp_path / "none.yaml")


def test_command_line_overrides_the_file(tmp_path):
    path = written(tmp_path, "steps: 7\noptimizer: {lr: 0.5}")
    config = parse_command_line(Config, [str(path), "--optimizer.betas", "0.1", "0.2", "--data", "x", "--fast", "True"])
    assert (config.steps, config.optimizer, config.data, config.fast) == (7, Optimizer(0.5, (0.1, 0.2)), Path("x"), True)
    with pytest.raises(InputError, match="a config file first"):
        parse_command_line(Config, ["--steps", "3"])
    with pytest.raises(SystemExit) as stopped:
        parse_command_line(Config, [str(path), "--stepz", "3"])
    assert stopped.value.code == 2


def test_saved_configs_load_again(tmp_path):
    config = Config(name="x", optimizer=Optimizer(3e-7), phases=(Phase("motion", 2),), scales={"own": 1.5})
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(Config, tmp_path / "saved.yaml") == config
    assert config_digest(config) == config_digest(load_config(Config, tmp_path / "saved.yaml")) != config_digest(Config())


def test_changed_fields_are_named():
    before, after = to_plain(Config()), to_plain(Config(steps=6, optimizer=Optimizer(2.0)))
    assert changed_fields(before, after) == {"steps": (5, 6), "optimizer.lr": (1e-3, 2.0)}


NO_LOSSES = {field.name: 0 for field in fields(MotionLossWeights)}


@pytest.mark.parametrize(
    "kind, text, said",
    [
        (Stage1Config, "batch: 0", "batch: expected at least 1, found 0"),
        (Stage1Config, "frames: 0", "frames: expected at least 1"),
        (Stage1Config, "keep: 0", "keep: expected at least 1"),
        (Stage1Config, "model: {width: 100}", "model.width: expected a multiple of twice its heads (16), found 100"),
        (Stage2Config, "keep: 0", "keep: expected at least 1"),
        (Stage2Config, "windows: 0", "windows: expected at least 1"),
        (Stage2Config, "schedule: {cycle: []}", "schedule.cycle: expected at least one phase, found none"),
        (
            Stage2Config,
            "head_optimizer: {ema: 0.9}",
            "head_optimizer: expected neither weight decay nor a moving average",
        ),
        (Stage2Config, "camera_optimizer: {weight_decay: 0.1}", "camera_optimizer: expected neither"),
        (Stage1Config, "optimizer: {clip: 0}", "c.yaml, optimizer.clip: expected above 0, found 0.0"),
        (Stage1Config, "optimizer: {clip: .nan}", "optimizer.clip: expected above 0, found nan"),
        (Stage1Config, "optimizer: {betas: [0.9, 1]}", "optimizer.betas: expected at least 0, below 1, found (0.9, 1.0)"),
        (Stage1Config, "muted: 3", "muted: expected at least 0, at most 1"),
        (Stage1Config, "conditions: {flip_frames: 0}", "conditions.flip_frames: expected at least 1"),
        (Stage1Config, "runtime: {threads: 0}", "runtime.threads: expected at least 1"),
        (Stage1Config, "diffusion: {levels: 0}", "diffusion.levels: expected at least 1"),
        (Stage1Config, f"losses: {NO_LOSSES}", "losses: expected one of them above 0, found none"),
        (Stage2Config, f"motion_losses: {NO_LOSSES}", "motion_losses: expected one of them above 0, found none"),
        (Stage2Config, "motion_losses: {vertices: -1}", "motion_losses.vertices: expected at least 0"),
        (Stage2Config, "head_regions: {mouth: -1}", "head_regions.mouth: expected at least 0"),
        (Stage2Config, "bank: {rate: 3}", "bank.rate: expected at least 0, at most 1"),
        (Stage2Config, "registration: {shrink: 0}", "registration.shrink: expected at least 1"),
        (Stage2Config, "density: {every: 0}", "density: expected values that fit, found every, start, stop"),
        (Stage2Config, "avatar: {opacity: 2}", "avatar: expected values that fit, found expected no Gaussians or more, an opacity"),
        (Stage2Config, "avatar: {num_gaussians: 0}", "avatar.num_gaussians: expected at least 1"),
    ],
)
def test_settings_that_cannot_work_or_do_nothing_are_refused(tmp_path, kind, text, said):
    """``keep: 0`` forgot the checkpoint that had just been written."""
    with pytest.raises(InputError) as error:
        load_config(kind, written(tmp_path, text))
    assert said in str(error.value)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("stage1*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_load(path):
    assert load_config(Stage1Config, path).steps > 0


def test_the_demos_control_has_as_many_steps_as_its_stage_two():
    """Planted and seen red: another number."""
    configs = Path(__file__).parents[2] / "configs"
    control, stage2 = (load_plain(configs / f"{name}_demo{longer}.yaml") for name, longer in (("stage1", "_longer"), ("stage2", "")))
    assert control["steps"] == stage2["steps"]
