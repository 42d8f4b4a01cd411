"""``runtime.compile``: what is compiled learns the same, together with parts of a batch and the moving average, and leaves no trace in
checkpoints. Inductor itself needs a minute on a CPU; benchmarks/compiling.py has it.

Faults planted, each seen red: a module of torch.compile's own in place of the model (its weights are called otherwise in checkpoints);
compiled before the average was made, which then is the model itself; a graph that breaks at every linear layer.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_accumulation import learnt
from test_processes import logged
from tiny_training import ROOT, tiny_yaml, train_here

from mango.errors import InputError
from mango.training.runtime import Runtime, RuntimeConfig

sys.path.insert(0, str(ROOT / "tests" / "renderer"))
from gaussian_scenes import assert_no_worse_than

PARTS = ("--accumulate", "2", "--every.validate", "0")


def test_what_is_traced_learns_the_same_and_goes_on_without(tmp_path, tiny_set):
    """Yardstick: the same windows in another order."""
    folders = {name: tmp_path / name for name in ("eager", "reordered", "traced")}
    configs = {}
    for name, folder in folders.items():
        folder.mkdir()
        configs[name] = tiny_yaml(folder, tiny_set)
    command = [sys.executable, str(Path(__file__).with_name("traced_training.py")), str(configs["traced"]), "--runtime.compile", "True"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # not in this process: its annotations are checked by wrappers, which cannot be traced
    done = subprocess.run([*command, *PARTS, "--steps", "6"], env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert train_here(configs["eager"], *PARTS) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runtime, "share", lambda self, batch, key="": list(range(batch))[::-1])
        assert train_here(configs["reordered"], *PARTS) == 0
    for contents in (learnt, logged):
        eager, reordered, traced = (contents(folders[name] / "run") for name in ("eager", "reordered", "traced"))
        assert eager.keys() == traced.keys()
        assert_no_worse_than(traced, truth=eager, yardstick=reordered)
    assert train_here(configs["traced"], *PARTS, "--steps", "7") == 0


def test_without_a_compiler_it_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=r"runtime\.compile: expected a C\+\+ compiler"):
        Runtime(RuntimeConfig(device="cpu", compile=True))
