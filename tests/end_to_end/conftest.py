"""One tiny synthetic set, and both stages trained on it by the real scripts with the truth taken away."""

import pytest
from guarded_scripts import run_script

from mango.app.demo import Folders
from mango.data.truth import truth_folder

STAGE1 = """
data: {data}
run: {out}/stage1
steps: 4
batch: 2
frames: 20
context: 4
encoder: {{mels: 8}}
model: {{width: 16, depth: 1, heads: 2, mlp_ratio: 2, interaction_depth: 1}}
diffusion: {{levels: 50}}
optimizer: {{lr: 1e-3, warmup: 2}}
every: {{log: 1, validate: 4, save: 2}}
"""
STAGE2 = """
data: {data}
stage1: {out}/stage1
run: {out}/stage2
steps: 8
windows: 2
pictures: 1
avatar: {{num_gaussians: 300}}
schedule:
  opening: [{{learner: head, steps: 3}}]
  cycle: [{{learner: head, steps: 1}}, {{learner: motion, steps: 2}}]
bank: {{pin_every: 2}}
calibration: {{steps: 1, lessons: 1}}
every: {{log: 1, validate: 4, save: 2}}
keep: 10
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Folders:
    """Laid out as the demo lays itself out."""
    from mango.data.synthetic.pictures import Shooting
    from mango.data.synthetic.synthesize import SynthesisConfig, synthesize

    folders = Folders(tmp_path_factory.mktemp("both_stages"))
    config = SynthesisConfig(
        people=2, train=2, val=1, test=1, seconds=(2.0, 3.0), num_gaussians=1500, shooting=Shooting(size_px=64), workers=1
    )
    synthesize(folders.data, config, progress=False)
    truth, hidden = truth_folder(folders.data), folders.out / "hidden"
    truth.rename(hidden)  # nothing that learns may miss it
    for name, text in (("stage1", STAGE1), ("stage2", STAGE2)):
        (folders.out / f"{name}.yaml").write_text(text.format(data=folders.data, out=folders.out))
        run_script(f"train_{name}.py", folders.out / f"{name}.yaml")
    hidden.rename(truth)
    return folders
