"""What is trained: the motion model and each baseline, all with equal data, steps and optimizer. They have equally many weights to half a
percent, but for the regressor, which has fewer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mango.data.synthetic.corruption import Corruption
from mango.data.synthetic.synthesize import SynthesisConfig
from mango.losses.motion import MotionLossWeights
from mango.models.motion import MotionModelConfig
from mango.training.optim import OptimizerConfig
from mango.training.run import Every
from mango.training.runtime import RuntimeConfig
from mango.training.stage1 import ConditionNoise, Stage1Config


@dataclass(frozen=True)
class Row:
    title: str
    changes: Mapping[str, Any] = field(default_factory=dict)  # of Stage1Config


MODEL = MotionModelConfig(width=128, depth=4, heads=4, mlp_ratio=2, interaction_depth=1)
AS_DUALTALK = MotionLossWeights(
    parameters=1.0, velocity=1.0, vertices=0.0, vertex_velocity=0.0, neck_velocity=0.0, blink=0.0
)  # its losses and no others
WITHOUT_CONTEXT = ConditionNoise(context=1.0)  # a regressor is not told what came before
ROWS = {
    "joint": Row("MANGO: one attention, own voice added back"),
    "separate": Row("separate pathways", {"model": replace(MODEL, hearing="separate")}),
    "mixed": Row("one mixed attention", {"model": replace(MODEL, hearing="mixed")}),
    "own": Row("single speaker", {"model": replace(MODEL, hearing="own")}),
    "regressor": Row(
        "regressor that sees the partner (DualTalk-style)",
        {"model": replace(MODEL, kind="regression"), "losses": AS_DUALTALK, "conditions": WITHOUT_CONTEXT},
    ),
}


@dataclass(frozen=True)
class Scale:
    train: int  # dialogues
    test: int
    seconds: tuple[float, float]
    steps: int


SCALES = {"ci": Scale(4, 2, (8.0, 10.0), 60), "small": Scale(60, 8, (16.0, 20.0), 1600)}


def data_of(scale: Scale, seed: int) -> SynthesisConfig:
    """Voices and labels without pictures. Labels are the true motion: what a tracker gets wrong is the matter of benchmarks.lifting."""
    return SynthesisConfig(
        people=10, train=scale.train, val=2, test=scale.test, seconds=scale.seconds, seed=seed, video=False, corruption=Corruption().only()
    )


def config_of(row: str, data: Path, run: Path, scale: Scale, seed: int) -> Stage1Config:
    config = Stage1Config(
        data=data,
        run=run,
        seed=seed,
        steps=scale.steps,
        batch=12,
        frames=56,
        context=8,
        model=MODEL,
        optimizer=OptimizerConfig(lr=8e-4, warmup=100, final=0.05, ema=0.995),
        every=Every(log=20, validate=400, save=200),
        runtime=RuntimeConfig(device="cpu", threads=1),
    )
    return replace(config, **ROWS[row].changes)
