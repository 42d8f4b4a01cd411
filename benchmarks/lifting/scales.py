"""How large the experiment is. The data of a scale are frozen: what makes them may not change once a stage two has been run on them.

True people have shapes outside the identity basis, expressions outside the expression basis, three times as many Gaussians in other
places, clamped shading with highlights, hair; they are filmed by another camera than the tracker believes in, with sensor noise and
video compression. Labels are corrupted kind by kind at the default strength (`mango.data.synthetic.corruption`).
"""

from dataclasses import dataclass
from pathlib import Path

from mango.data.synthetic.pictures import Shooting
from mango.data.synthetic.synthesize import SynthesisConfig


@dataclass(frozen=True)
class Scale:
    name: str
    data: SynthesisConfig
    stage1_steps: int
    opening: int  # steps in which avatars alone learn
    labels: int  # then of the motion model without pictures
    cycles: int  # of one head step and three motion steps
    gaussians: int  # of a learned avatar
    samplings: int  # seeds of the diffusion sampler that every clip is scored with

    @property
    def motion_steps(self) -> int:
        """Of the motion model in stage two, with pictures and without."""
        return self.labels + 3 * self.cycles

    @property
    def stage2_steps(self) -> int:
        return self.opening + self.labels + 4 * self.cycles


def data_of(scale: str, seed: int) -> SynthesisConfig:
    """The frozen data sets."""
    shooting = Shooting(size_px=128)
    if scale == "ci":
        return SynthesisConfig(
            people=3, train=6, val=1, test=2, seconds=(8.0, 10.0), seed=seed, num_gaussians=6_000, crf=18, shooting=shooting
        )
    return SynthesisConfig(
        people=10, train=30, val=4, test=8, seconds=(16.0, 20.0), seed=seed, num_gaussians=14_000, crf=18, shooting=shooting
    )


def scale_of(name: str, seed: int) -> Scale:
    """``full`` is ``small`` with more rows: it has the same sizes, and its rows lie in the same place."""
    data = data_of(name, seed)
    if name == "ci":
        return Scale(name, data, stage1_steps=150, opening=30, labels=45, cycles=15, gaussians=2_500, samplings=1)
    return Scale("small", data, stage1_steps=1_600, opening=240, labels=480, cycles=160, gaussians=5_000, samplings=6)


def data_folder(out: Path, seed: int, scale: str) -> Path:
    return out / f"data-{scale}-{seed}"
