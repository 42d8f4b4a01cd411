"""``runtime.precision: bfloat16`` is heeded by the motion model, in both stages, and by nothing else.

Faults planted, each seen red: stage two without autocast, losses of points computed in bfloat16, and the whole of a motion step under
autocast (the head's matrix products then round to eight bits).
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tiny_films import make_filmed_set, tiny_stage2
from tiny_training import ROOT, tiny_yaml, train_here

from mango.losses.motion import MotionLossWeights, motion_losses
from mango.losses.surface import lip_surface
from mango.models.motion import MotionModel
from mango.training import stage2
from mango.training.runtime import Runtime, RuntimeConfig
from mango.training.studio import open_studio

sys.path.insert(0, str(ROOT))
COARSE = torch.finfo(torch.bfloat16).eps  # 2 ** -7


@pytest.fixture(scope="module")
def filmed(tmp_path_factory, head) -> Path:
    return make_filmed_set(tmp_path_factory.mktemp("films"), head)


@pytest.fixture
def answers(monkeypatch) -> list[torch.dtype]:
    """In what type the motion model has answered."""
    types, answer = [], MotionModel.forward

    def answered(*arguments):
        types.append(answer(*arguments).dtype)
        return answer(*arguments)

    monkeypatch.setattr(MotionModel, "forward", answered)
    return types


@pytest.fixture
def coarse_parts(monkeypatch) -> set[str]:
    """The other parts of a step that were called under autocast."""
    parts: set[str] = set()

    def watched(name, part):
        def called(*arguments, **named):
            parts.update([name] * torch.is_autocast_enabled("cpu"))
            return part(*arguments, **named)

        return called

    for name in ("motion_losses", "posed", "drawn", "picture_losses"):
        monkeypatch.setattr(stage2, name, watched(name, getattr(stage2, name)))
    return parts


def test_stage_two_heeds_it_for_the_motion_model_alone(filmed, tmp_path, head, answers, coarse_parts):
    config = tiny_stage2(tmp_path, filmed, head)
    losses = {}
    for precision in ("float32", "bfloat16"):
        studio, learners = open_studio(config, Runtime(RuntimeConfig(device="cpu", precision=precision, threads=1)))
        losses[precision] = {who: values for _, who, values in stage2.alternate(studio, learners, (1, 2))}
    assert answers == [torch.float32, torch.bfloat16] and coarse_parts == set()
    assert all(value.dtype == torch.float32 for step in losses["bfloat16"].values() for value in step.values())
    exact, coarse = losses["float32"], losses["bfloat16"]
    assert all(torch.equal(exact["head"][name], value) for name, value in coarse["head"].items()), "nothing of a head step is coarse"
    assert not torch.equal(exact["motion"]["total"], coarse["motion"]["total"])
    torch.testing.assert_close(coarse["motion"]["total"], exact["motion"]["total"], rtol=4 * COARSE, atol=0)


def test_stage_one_heeds_it(tmp_path, tiny_set, answers):
    config, losses = tiny_yaml(tmp_path, tiny_set), {}
    for precision in ("float32", "bfloat16"):
        run = tmp_path / precision
        assert train_here(config, "--run", str(run), "--runtime.precision", precision, "--steps", "3", "--every.validate", "0") == 0
        losses[precision] = [json.loads(line)["total"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert set(answers) == {torch.float32, torch.bfloat16}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=4 * COARSE)


def test_losses_know_no_autocast(head):
    """Points are ten millimetres from rest and differ by a tenth: in bfloat16 the difference would be mostly rounding."""
    random = torch.Generator().manual_seed(0)
    target = 0.1 * torch.randn(2, 2, 10, head.layout.width, generator=random)
    predicted = target + 0.003 * torch.randn(target.shape, generator=random)
    keep = torch.ones(2, 2, 10, dtype=torch.bool)
    surface = lip_surface(head, head.layout, lips=8.0)

    def losses() -> dict[str, torch.Tensor]:
        weights = MotionLossWeights(**dict.fromkeys(asdict(MotionLossWeights()), 1.0))
        given = {"layout": head.layout, "std": torch.ones(head.layout.width), "mean": torch.zeros(head.layout.width)}
        made = motion_losses(predicted, target, keep, keep, **given, bilabial=keep, surface=surface, weights=weights)
        return {name: loss.values for name, loss in made.items()}

    outside = losses()
    with torch.autocast("cpu", torch.bfloat16):
        inside = losses()
    assert all(torch.equal(inside[name], value) for name, value in outside.items())
