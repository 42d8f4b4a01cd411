"""A tiny lifting bench: four dialogues of two seconds, and sizes for a handful of steps."""

import pytest
import torch

from benchmarks.lifting import sweeps
from benchmarks.lifting.scales import Scale
from benchmarks.lifting.training import Bench
from mango.data.synthetic.pictures import Shooting
from mango.data.synthetic.synthesize import SynthesisConfig

DATA = SynthesisConfig(
    people=2, train=2, val=1, test=1, seconds=(2.0, 2.0), seed=5, num_gaussians=300, shooting=Shooting(size_px=32), workers=1
)
TINY = Scale("tiny", DATA, stage1_steps=2, opening=2, labels=1, cycles=1, gaussians=200, samplings=1)


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    torch.set_num_threads(1)
    made = Bench(tmp_path_factory.mktemp("lifting"), TINY, 5)
    sweeps.make_data(made)
    return made
