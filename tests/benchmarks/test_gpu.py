"""The benchmark's own code, small and without a card, so that it runs the first time it meets one.

Faults planted, each seen red: a part that raises and is passed over in silence, figures in spite of failing tests, no word without a card.
"""

import json
import subprocess

import pytest
import torch

from benchmarks import command, gpu
from benchmarks.gpu import Bench, Figure, Load, Options, Report, Sizes
from mango.data.synthetic.pictures import Shooting
from mango.data.synthetic.synthesize import SynthesisConfig
from mango.inference.generation import GenerationConfig
from mango.models.motion import MotionModelConfig
from mango.training.stage1 import Stage1Config
from renderer.rasterize import BACKENDS

TINY = Sizes(
    clouds=((1000, 32),),
    real_avatar=False,
    data=SynthesisConfig(people=2, train=1, val=0, test=0, seconds=(1.0, 1.0), num_gaussians=500, shooting=Shooting(size_px=32), workers=1),
    stage1=Stage1Config(batch=2, frames=16, context=4, model=MotionModelConfig(width=16, depth=1, heads=2, interaction_depth=1)),
    num_gaussians=200,
    loads=(Load(1, 1),),
    alternations=1,
    minutes=0.02,
    sampling=GenerationConfig(steps=2),
    film_frames=4,
    film_px=32,
    tries=1,
    warm_up=0,
)


def test_every_part_is_measured_and_written(tmp_path):
    report = Report()
    done = list(gpu.measured(Bench(TINY, "cpu", tmp_path), report))
    assert done == ["rasterizer", "stage one", "stage two", "use"] and report.failures == {}
    assert len(report.figures) == 2 + 2 * 2 + (4 * 2 + 1) + 3
    assert all(figure.seconds > 0 and figure.rate > 0 for figure in report.figures)
    assert {figure.precision for figure in report.figures if figure.part == "stage two"} == {"float32", "bfloat16", None}
    assert len(report.targets) == 2 * 2, "alone and with reading, in both precisions"
    gpu.write(tmp_path / "gpu.json", report)
    assert len(json.loads((tmp_path / "gpu.json").read_text())["figures"]) == len(report.figures)
    gpu.console.print(gpu.table(report.figures))
    gpu.print_verdicts(report)


def test_a_part_that_breaks_is_told_and_costs_no_other(tmp_path, monkeypatch):
    def broken(bench):
        yield Figure("stage two", "head step", "float32", 1.0, 1.0, 1.0, "steps", None)
        raise ValueError("out of memory, say")

    monkeypatch.setattr(gpu, "stage_two", broken)
    report = Report()
    assert list(gpu.measured(Bench(TINY, "cpu", tmp_path), report, ("rasterizer", "stage two"))) == ["rasterizer", "stage two"]
    assert len(report.figures) == 3 and "out of memory, say" in report.failures["stage two"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_card_it_says_why(tmp_path, capsys):
    assert gpu.main(Options(out=tmp_path / "gpu.json")) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert BACKENDS["gsplat"].obstacle() in said
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.parametrize("outcome", [(1, "3 failed, 20 passed"), (0, "23 skipped"), (5, "no tests ran")])
def test_no_figure_when_the_suite_does_not_pass(tmp_path, monkeypatch, capsys, outcome):
    code, words = outcome
    monkeypatch.setattr(type(BACKENDS["gsplat"]), "obstacle", lambda self: None)
    monkeypatch.setattr(gpu, "card_facts", lambda: {"card": "a card"})
    done = subprocess.CompletedProcess([], code, stdout=f"E  the reason\n{words}", stderr="")
    monkeypatch.setattr(command.subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(gpu, "measured", lambda *_: pytest.fail("it measured"))
    assert gpu.main(Options(out=tmp_path / "gpu.json")) == 1
    said = capsys.readouterr().out
    assert words in said and "the reason" in said
