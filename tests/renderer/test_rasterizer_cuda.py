"""gsplat's CUDA kernels behind the same door: same meaning as the reference and the CPU backend. Needs a CUDA device."""

import pytest
import torch
from gaussian_scenes import assert_no_worse_than, ball, converted, decided, drawn

import renderer
from renderer.rasterize import BACKENDS, resolve

pytestmark = pytest.mark.cuda

BAND = 1e-3  # gsplat's exp is __expf: how far from a decision its alphas may stray
FACTOR = 16  # and how much more than our float32 reference it may lose, for the same reason


@pytest.fixture(autouse=True)
def gsplat():
    reason = BACKENDS["gsplat"].obstacle()
    if reason is not None:
        pytest.skip(f"backend gsplat: {reason}")


def on_cuda(scene):
    return {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in scene.items()}


def drawn_on_cuda(scene, weights, **options):
    """`drawn` on the device; the random directions of the loss are those of the CPU."""
    scene = on_cuda(converted(scene, torch.float32))
    leaves = {k: v.detach().clone().requires_grad_() for k, v in scene.items() if isinstance(v, torch.Tensor) and k != "Ks"}
    colors, alphas, meta = renderer.rasterize(**{**scene, **leaves}, backend="gsplat", **options)
    meta["means2d"].retain_grad()
    random, weights, loss = torch.Generator().manual_seed(7), weights.float().cuda(), 0
    for part in (colors, alphas):
        loss = loss + (part * torch.randn(part.shape, generator=random, dtype=torch.float64).float().cuda() * weights).sum()
    loss.backward()
    results = {"colors": colors * weights, "alphas": alphas * weights, "gradient of means2d": meta["means2d"].grad}
    results |= {f"gradient of {name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    return {name: value.detach().double().cpu() for name, value in results.items()}


@pytest.mark.parametrize(
    ("scene", "options"),
    [
        (ball(batch=()), {}),
        (ball(120, cameras=2, seed=1), {}),
        (ball(seed=6, size=0.004), {"rasterize_mode": "antialiased"}),
        (ball(150, seed=7), {"render_mode": "RGB+D"}),
        (ball(150, seed=9), {"render_mode": "RGB+ED"}),
    ],
    ids=["plain", "batch and cameras", "antialiased", "depth", "expected depth"],
)
def test_gsplat_matches_the_reference(scene, options):
    weights = decided(scene, antialiased="rasterize_mode" in options, band=BAND)
    assert weights.mean() > 0.5, "the boundary band swallowed the picture"
    exact = drawn(scene, "reference", torch.float64, weights, **options)
    rounded = drawn(scene, "reference", torch.float32, weights, **options)
    assert_no_worse_than(drawn_on_cuda(scene, weights, **options), truth=exact, yardstick=rounded, factor=FACTOR)


@pytest.mark.parametrize("degree", range(4))
def test_harmonics(degree):
    scene = ball(60, cameras=2, seed=degree)
    scene["colors"] = torch.randn(2, 60, 16, 3, generator=torch.Generator().manual_seed(degree), dtype=torch.float64)
    weights = decided(scene, band=BAND)
    exact = drawn(scene, "reference", torch.float64, weights, sh_degree=degree)
    rounded = drawn(scene, "reference", torch.float32, weights, sh_degree=degree)
    assert_no_worse_than(drawn_on_cuda(scene, weights, sh_degree=degree), truth=exact, yardstick=rounded, factor=FACTOR)


def test_auto_takes_gsplat_for_cuda_tensors():
    assert resolve("cuda", torch.float32) == "gsplat"


def test_tensors_on_the_wrong_device_are_refused():
    with pytest.raises(ValueError, match=r"expected float32 tensors on a CUDA device, found torch\.float32 on cpu"):
        renderer.rasterize(**converted(ball(5), torch.float32), backend="gsplat")
    with pytest.raises(ValueError, match="expected float32 tensors on the CPU"):
        renderer.rasterize(**on_cuda(converted(ball(5), torch.float32)), backend="cpu")


def test_cpu_and_gsplat_draw_the_same_portrait():
    """A thousand small Gaussians: the two differ by no more than a step of eight-bit colour outside the boundary band."""
    scene = ball(1000, batch=(), width=96, height=96, size=0.01, seed=3)
    weights = decided(scene, band=BAND)
    ours = drawn(scene, "cpu", weights=weights)["colors"]
    theirs = drawn_on_cuda(scene, weights)["colors"]
    assert float((ours - theirs).abs().max()) < 1 / 255
