"""Fine-tuning with an adapter: the general model stays, what was learnt goes into a file, and only the right model wears it.

Faults planted, each seen red: the model itself descending, an adapter that is not saved with the run, a digest that forgets a weight.
"""

from dataclasses import replace

import pytest
import torch
from tiny_films import make_filmed_set, tiny_stage2
from tiny_models import tiny_run

from mango.errors import InputError
from mango.models.adapters import Adapter
from mango.training.adapter_files import load_adapter, save_adapter
from mango.training.run import Run
from mango.training.runtime import Runtime
from mango.training.stage1 import load_motion_model
from mango.training.stage2 import alternate, examination, kept_adapter
from mango.training.stage2_config import Stage2Config
from mango.training.studio import open_studio


@pytest.fixture(scope="module")
def filmed(tmp_path_factory, head):
    return make_filmed_set(tmp_path_factory.mktemp("adapters"), head)


def train(config, steps: int):
    studio, learners = open_studio(config, Runtime(config.runtime))
    with Run(config.run, config) as run:
        learners.restore(run.restore(learners.all).tensors)
        for step, _, _ in alternate(studio, learners, run.steps(steps)):
            run.save(step, learners.all, {"bank": learners.bank.state()})
    return studio, learners


def test_only_the_adapter_learns_and_a_resumed_run_is_the_same(filmed, head, tmp_path):
    settings = {"adapter_rank": 2, "people": ("p0",), "steps": 8}
    whole, parts = (tiny_stage2(tmp_path, filmed, head, run=tmp_path / name, **settings) for name in ("whole", "parts"))
    studio, learners = train(whole, 8)
    general, _, _ = load_motion_model(whole.stage1, head=head)
    assert all(torch.equal(value, general.state_dict()[name]) for name, value in learners.motion.model.state_dict().items())
    adapter = learners.adapter.model
    assert any(up.abs().max() > 0 for up in adapter.up.values()) and adapter.style.abs().max() > 0
    assert examination(studio, learners) is not None
    kept = kept_adapter(studio, learners)
    torch.testing.assert_close(kept.style, studio.config.adapter_strength * learners.adapter.averaged.style)
    train(parts, 4)
    _, resumed = train(parts, 8)
    for name, value in resumed.adapter.model.state_dict().items():
        assert torch.equal(value, adapter.state_dict()[name]), name


def test_an_adapter_goes_on_with_the_model_it_was_begun_for(filmed, head, tmp_path):
    """Seen red: of a base run that had gone on meanwhile the adapter took the name, while it learnt with the weights of before."""
    config = tiny_stage2(tmp_path, filmed, head, adapter_rank=2, people=("p0",), steps=4)
    studio, learners = open_studio(config, Runtime(config.runtime))
    assert studio.facts["base"] == learners.adapter.model.base
    with Run(config.run, config, facts=studio.facts):
        pass
    elsewhere = {**studio.facts, "base": "of later weights"}
    with (
        pytest.raises(InputError, match=r"expected base .*that run has gone on since: give a new run folder"),
        Run(config.run, config, facts=elsewhere),
    ):
        pytest.fail("it went on")


def test_held_out_pictures_are_drawn_in_what_is_kept(filmed, head, tmp_path):
    """Planted and seen red: all that was learnt worn."""
    config = tiny_stage2(tmp_path, filmed, head, adapter_rank=2, people=("p0",))
    studio, learners = open_studio(config, Runtime(config.runtime))
    learners.adapter.averaged.style.data.normal_(std=10.0)
    as_kept = examination(studio, learners).losses
    learners.adapter.averaged.style.data.mul_(config.adapter_strength)
    assert examination(replace(studio, config=replace(config, adapter_strength=1.0)), learners).losses == as_kept
    assert examination(studio, learners).losses != as_kept


@pytest.mark.parametrize("strength", [0.0, 1.5])
def test_nothing_and_more_than_was_learnt_is_not_kept(strength):
    with pytest.raises(InputError, match=r"adapter_strength.*above 0, at most 1"):
        Stage2Config(adapter_strength=strength)


def test_several_people_have_no_common_adapter(filmed, head, tmp_path):
    config = tiny_stage2(tmp_path, filmed, head, adapter_rank=2)
    with pytest.raises(InputError, match=r"adapter_rank.*one person"):
        open_studio(config, Runtime(config.runtime))


def test_files(head, tmp_path):
    model, _, _ = load_motion_model(tiny_run(tmp_path / "run", head), head=head)
    adapter = Adapter(model, "anna", rank=3)
    torch.nn.init.normal_(adapter.style)
    save_adapter(tmp_path / "anna.safetensors", adapter)
    read = load_adapter(tmp_path / "anna.safetensors", model)
    assert read.person == "anna" and all(torch.equal(value, adapter.state_dict()[name]) for name, value in read.state_dict().items())
    model.out.bias.data[0] += 1e-6
    with pytest.raises(InputError, match="an adapter of this model"):
        load_adapter(tmp_path / "anna.safetensors", model)
    (tmp_path / "empty").write_bytes(b"")
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"adapters/<person>\.safetensors"):
            load_adapter(path, model)
