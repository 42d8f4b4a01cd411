"""A batch done in parts teaches what it teaches whole, up to the order of summation, which is also the yardstick: the batch whole, its
windows in another order.

Faults planted, each seen red: means of each part's mean; gradients of the last part alone; losses logged of the last part; a step of the
optimizer for each part.
"""

import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from test_processes import logged
from tiny_training import ROOT, tiny_yaml, train_here
from torch import Tensor

from mango.audio.encoders import make_encoder
from mango.config import load_config
from mango.data.dialogues import DialogueSet
from mango.data.windows import Windows
from mango.diffusion.objective import schedule
from mango.errors import InputError
from mango.losses.motion import valid_frames
from mango.training.exercises import exercises
from mango.training.runtime import Runtime
from mango.training.stage1 import Stage1Config

sys.path.insert(0, str(ROOT / "tests" / "renderer"))
from gaussian_scenes import assert_no_worse_than


def learnt(run: Path) -> dict[str, Tensor]:
    last = run / "checkpoints" / "last" / "motion"
    tensors = {f"{name}:{key}": value for name in ("model", "ema") for key, value in load_file(last / f"{name}.safetensors").items()}
    return {name: value.double() for name, value in tensors.items() if value.is_floating_point()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_set) -> dict[str, Path]:
    """Six steps of a batch of four windows: whole, in four parts, and both in half precision."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("whole", "reordered", "parts", "coarse", "coarse-parts")}
    for name, folder in folders.items():
        parts = ("--accumulate", "4") if "parts" in name else ()
        coarse = ("--runtime.precision", "bfloat16") if "coarse" in name else ()
        with pytest.MonkeyPatch.context() as patch:
            if name == "reordered":
                patch.setattr(Runtime, "share", lambda self, batch, key="": list(range(batch))[::-1])
            assert train_here(tiny_yaml(folder, tiny_set), *parts, *coarse, "--every.validate", "0") == 0
    return {name: folder / "run" for name, folder in folders.items()}


def test_four_parts_of_a_batch_teach_and_log_what_the_batch_does(runs):
    for contents in (learnt, logged):
        whole, reordered, parts = (contents(runs[name]) for name in ("whole", "reordered", "parts"))
        assert whole.keys() == parts.keys()
        assert_no_worse_than(parts, truth=whole, yardstick=reordered)


def test_in_half_precision_too(runs):
    """Yardstick: what half precision loses; rounded otherwise, some weights are off by more than that."""
    for contents in (learnt, logged):
        exact, coarse, parts = (contents(runs[name]) for name in ("whole", "coarse", "coarse-parts"))
        assert_no_worse_than(parts, truth=coarse, yardstick=exact, factor=3)


def test_this_was_not_the_easy_case(tmp_path, tiny_set, head):
    """Parts have unlike numbers of valid frames, windows are padded, conditions are withheld."""
    config = load_config(Stage1Config, tiny_yaml(tmp_path, tiny_set))
    windows = Windows(DialogueSet.open(tiny_set), "train", make_encoder(config.encoder), head.layout, config.frames, config.context)
    feed = exercises(config, windows, schedule(config.diffusion), Runtime(config.runtime).parts(config.batch, 4))
    steps = [feed.at(step) for step in range(1, config.steps + 1)]
    unlike = 0
    for exercise in steps:
        frames = [int(valid_frames("velocity", batch.taught & ~draws.given, batch.keep).sum()) for batch, draws in exercise.parts]
        assert len(frames) == 4 and sum(frames) == exercise.frames["velocity"]
        unlike += len(set(frames)) > 1
    assert unlike > len(steps) / 2
    assert any(draws.drop.own.any() or draws.drop.heard.any() for exercise in steps for _, draws in exercise.parts)
    assert any(not draws.given.any() for exercise in steps for _, draws in exercise.parts)


def test_parts_that_do_not_come_out_even_are_refused(tmp_path, tiny_set, monkeypatch):
    config = tiny_yaml(tmp_path, tiny_set)
    for wrong in (3, 0):
        with pytest.raises(InputError, match=rf"accumulate: expected 1 or another divisor of 'batch' \(4\), found {wrong}"):
            Stage1Config(batch=4, accumulate=wrong)
    runtime = Runtime(load_config(Stage1Config, config).runtime)
    monkeypatch.setattr(runtime, "processes", 2)
    assert runtime.parts(8, 2) == [[0, 2], [4, 6]]
    with pytest.raises(InputError, match="batch: expected a multiple of 2 processes x 4 parts, found 4"):
        runtime.parts(4, 4)


def test_closure_needs_phones(tmp_path, tiny_set):
    with pytest.raises(InputError, match=r"losses\.closure: expected phones"):
        train_here(tiny_yaml(tmp_path, tiny_set), "--losses.closure", "0.1")
