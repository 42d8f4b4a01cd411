"""Training, generation and rendering on a CUDA device against the same on the CPU. Needs one, and gsplat's kernels for what draws.

Not run on a card yet, so no fault was seen red there; docs/gpu.md says how to.
"""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
import torch
from tiny_films import make_filmed_set, tiny_stage2
from tiny_training import ROOT, tiny_yaml
from torch import Tensor

from mango.audio.encoders import make_encoder
from mango.config import load_config
from mango.data.dialogues import DialogueSet
from mango.data.windows import WindowBatch, Windows
from mango.diffusion.objective import DiffusionConfig, noise_scheduler, schedule
from mango.head.layout import MotionLayout
from mango.inference import rendering
from mango.inference.avatars import load_avatar
from mango.inference.generation import GenerationConfig, generate
from mango.losses.motion import total
from mango.losses.surface import lip_surface
from mango.seeds import torch_generator
from mango.training.optim import make_learner
from mango.training.runtime import Runtime, RuntimeConfig
from mango.training.stage1 import Stage1Config, load_motion_model, new_motion_model, random_draws, stage1_losses
from mango.training.stage2 import alternate, teach_head, teach_motion
from mango.training.studio import open_studio
from mango.types import MotionClip
from renderer.cameras import portrait_camera
from renderer.rasterize import BACKENDS

sys.path += [str(ROOT), str(ROOT / "tests" / "renderer")]
from gaussian_scenes import assert_no_worse_than, decided

pytestmark = pytest.mark.cuda

CARD = RuntimeConfig(device="cuda", threads=1)
CPU = RuntimeConfig(device="cpu", threads=1)
FACTOR = 16  # how much more than float32 on the CPU a card may lose: other orders of summation, other exponentials
COARSE = torch.finfo(torch.bfloat16).eps
COLOUR_STEP = 1 / 255  # of eight bits
SUMMATION = 1e-3  # relative; gradients are summed in any order, and AdamW enlarges what rounding leaves of very small ones


@pytest.fixture
def gsplat():
    reason = BACKENDS["gsplat"].obstacle()
    if reason is not None:
        pytest.skip(f"backend gsplat: {reason}")


@pytest.fixture(scope="module")
def filmed(tmp_path_factory, head) -> Path:
    return make_filmed_set(tmp_path_factory.mktemp("films"), head)


# Stage one -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """What a few steps of stage one need."""

    config: Stage1Config
    windows: Windows
    head: torch.nn.Module

    def learn(self, runtime: Runtime, dtype: torch.dtype, steps: int = 3) -> dict[str, Tensor]:
        """The losses of the first steps, and the gradient of the first: float64, on the CPU. The same draws wherever it runs."""
        config, curve = self.config, schedule(self.config.diffusion)
        model, _ = new_motion_model(config, self.windows, self.head)
        for parameter in model.parameters():  # a new model ignores its inputs
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch_generator(str(parameter.shape)))
        learner = make_learner("motion", model.to(runtime.device, dtype), config.optimizer, config.steps)
        surface = lip_surface(self.head, self.windows.layout, lips=config.lip_weight).to(runtime.device, dtype)
        seen, gradient = [], None
        for step in range(1, steps + 1):
            batch = converted(self.windows.batch(config.seed, step, config.batch).to(runtime.device), dtype)
            with runtime.autocast():
                draws = random_draws(batch, curve, config.conditions, config.context, (config.seed, step))
                losses = stage1_losses(learner.model, batch, curve, config, surface, draws)
            learner.descend(total(losses, config.losses), step)
            if gradient is None:
                gradient = torch.cat([p.grad.flatten() for p in learner.model.parameters()])
            seen.append(torch.stack([loss.mean().detach() for loss in losses.values()]))
        return {"losses": torch.stack(seen).double().cpu(), "gradient": gradient.double().cpu()}


@pytest.fixture(scope="module")
def setting(tmp_path_factory, tiny_set, head) -> Setting:
    config = load_config(Stage1Config, tiny_yaml(tmp_path_factory.mktemp("stage1"), tiny_set))
    config = replace(config, diffusion=DiffusionConfig(levels=50))  # sinusoids of higher levels enlarge an exponential's last bit
    windows = Windows(DialogueSet.open(tiny_set), "train", make_encoder(config.encoder), head.layout, config.frames, config.context)
    return Setting(config, windows, head)


def converted(batch: WindowBatch, dtype: torch.dtype) -> WindowBatch:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: v.to(dtype) for name, v in values.items() if isinstance(v, Tensor) and v.is_floating_point()})


def test_stage_one_learns_what_it_learns_on_the_cpu(setting):
    exact = setting.learn(Runtime(CPU), torch.float64)
    rounded = setting.learn(Runtime(CPU), torch.float32)
    assert_no_worse_than(setting.learn(Runtime(CARD), torch.float32), truth=exact, yardstick=rounded, factor=FACTOR)


def test_stage_one_in_bfloat16(setting):
    fine = setting.learn(Runtime(CPU), torch.float32)["losses"]
    coarse = setting.learn(Runtime(replace(CARD, precision="bfloat16")), torch.float32)["losses"]
    assert coarse.isfinite().all() and not torch.equal(coarse, fine)
    torch.testing.assert_close(coarse.sum(1), fine.sum(1), rtol=4 * COARSE, atol=0)


# Stage two -----------------------------------------------------------------------------------------------------------------


def logged(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["total"] for line in lines if line["group"] != "validation"}


def test_stage_two_draws_what_it_draws_on_the_cpu(gsplat, filmed, tmp_path, head):
    """One head step and one motion step: pictures, and how they differ from the recorded ones, are the CPU's."""
    config, seen = tiny_stage2(tmp_path, filmed, head), {}
    for runtime in (Runtime(CPU), Runtime(CARD)):
        studio, learners = open_studio(config, runtime)
        seen[runtime.device.type] = {who: losses for _, who, losses in alternate(studio, learners, (1, 2))}
    for who, names in {"head": ("l1", "ssim", "silhouette"), "motion": ("l1",)}.items():
        for name in names:
            ours, theirs = (float(seen[device][who][name]) for device in (CPU.device, CARD.device))
            assert abs(ours - theirs) < COLOUR_STEP, f"{who} step, {name}: {ours} on the CPU, {theirs} on the card"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_stage_two_goes_on_from_its_checkpoint(gsplat, filmed, tmp_path, head, precision):
    """Its second half once more, as after a kill: the same command finds the checkpoint in the middle."""
    import train_stage2

    config = tiny_stage2(tmp_path, filmed, head, runtime=replace(CARD, precision=precision))
    assert train_stage2.main(config) == 0
    whole, middle = logged(config.run), config.run / "checkpoints" / "00000002"
    written = middle.stat().st_mtime_ns
    shutil.rmtree(middle.with_name("00000004"))
    assert train_stage2.main(config) == 0
    assert middle.stat().st_mtime_ns == written, "it began again"
    assert sorted(whole) == [1, 2, 3, 4]
    assert logged(config.run) == pytest.approx(whole, rel=SUMMATION if precision == "float32" else COARSE)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_stage_two_learns(gsplat, filmed, tmp_path, head, precision):
    """One lesson again and again: avatars draw it better, and the motion model follows its labels and pictures."""
    config = tiny_stage2(tmp_path, filmed, head, steps=60)
    studio, learners = open_studio(config, Runtime(replace(CARD, precision=precision)))
    lesson = studio.lessons.at(1).to(studio.device)

    def again(teach: Callable, steps: range) -> list[float]:
        return [float(teach(studio, learners, lesson, step)["total"].detach()) for step in steps]

    for losses in (again(teach_head, range(1, 60, 2)), again(teach_motion, range(2, 61, 2))):
        assert all(loss == loss for loss in losses)
        assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


# Use -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_generation_is_the_cpus(run_folder, head, sampler):
    model, description, encoder = load_motion_model(run_folder, head=head)
    voices = torch.randn(2, 60, make_encoder(encoder).width, generator=torch.Generator().manual_seed(0))

    def made(runtime: Runtime, dtype: torch.dtype) -> dict[str, Tensor]:
        motion = generate(
            model.to(runtime.device, dtype),
            noise_scheduler(description.diffusion, sampler),
            voices.to(runtime.device, dtype),
            torch.ones(2, 60, device=runtime.device, dtype=dtype),
            GenerationConfig(steps=5, sampler=sampler),
            window=description.context + description.frames,
            context=description.context,
        )
        return {"motion": motion.double().cpu()}

    exact, rounded = made(Runtime(CPU), torch.float64), made(Runtime(CPU), torch.float32)
    assert_no_worse_than(made(Runtime(CARD), torch.float32), truth=exact, yardstick=rounded, factor=FACTOR)


def test_ddpms_noise_is_the_cpus(run_folder, head):
    """It draws at every step, from the CPU's generator: the same performance on every machine, up to rounding."""
    model, description, encoder = load_motion_model(run_folder, head=head)
    voices = torch.randn(2, 30, make_encoder(encoder).width, generator=torch.Generator().manual_seed(0))
    made = []
    for runtime in (Runtime(CPU), Runtime(CARD)):
        scheduler, on = noise_scheduler(description.diffusion, "ddpm"), voices.to(runtime.device)
        speaking, config = on.new_ones(2, 30), GenerationConfig(steps=5, sampler="ddpm")
        made.append(generate(model.to(runtime.device), scheduler, on, speaking, config, window=24, context=4).cpu())
    assert (made[0] - made[1]).norm() < SUMMATION * made[0].norm()


def test_rendering_is_the_cpus(gsplat, head, avatars, monkeypatch):
    """No further apart than a step of eight-bit colour, where no Gaussian is about to be cut off."""
    clip, camera = open_mouth(head.layout, head.identities, head.digest), portrait_camera(48)
    drawn = []
    for config in (CPU, CARD):
        monkeypatch.setattr(rendering, "Runtime", lambda _, config=config: Runtime(config))
        drawn.append(torch.stack(list(rendering.person_layers(clip, load_avatar(avatars[0], head), camera))))
    with torch.no_grad():
        seen = load_avatar(avatars[0], head).gaussians(clip)
    scene = {name: getattr(seen, name).double() for name in ("means", "quats", "scales", "opacities")}
    cameras = {"viewmats": camera.camera_from_world.double().expand(2, 1, 4, 4), "Ks": camera.intrinsics.double().expand(2, 1, 3, 3)}
    weights = decided({**scene, **cameras, "width": 48, "height": 48}, band=1e-3)[:, 0]
    assert drawn[0].std() > 0.01 and weights.mean() > 0.5
    assert float(((drawn[0] - drawn[1]) * weights).abs().max()) < COLOUR_STEP


def open_mouth(layout: MotionLayout, identities: int, digest: str) -> MotionClip:
    flat = torch.zeros(2, layout.width)
    flat[1, layout.where("jaw_pose")] = torch.tensor([0.2, 0.0, 0.0])
    return layout.clip(flat, torch.zeros(identities), digest)
