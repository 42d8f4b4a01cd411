"""Scenes to draw, what a drawing and its gradients are, and the yardstick they are held against."""

import torch

import renderer
from renderer.cameras import look_at, pinhole
from renderer.projection import project

FLOOR = 16 * torch.finfo(torch.float32).eps  # a handful of roundings is free


def ball(gaussians=250, *, batch=(2,), cameras=1, channels=3, width=50, height=37, seed=0, size=0.02):
    """Arguments of `rasterize` in float64: random Gaussians on a ball of 20 cm, seen from 0.9 m."""
    random = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    means = torch.nn.functional.normalize(normal(*batch, gaussians, 3), dim=-1) * 0.1
    eyes = [(0.3 * (i - 0.4), 0.2, 0.9) for i in range(cameras)]
    views = torch.stack([look_at(eye, (0.0, 0.0, 0.0)).double() for eye in eyes])
    return {
        "means": means,
        "quats": normal(*batch, gaussians, 4),
        "scales": uniform(*batch, gaussians, 3) * size + size / 10,
        "opacities": uniform(*batch, gaussians),
        "colors": uniform(*batch, gaussians, channels),
        "viewmats": views.expand(*batch, cameras, 4, 4).clone(),
        "Ks": pinhole(width, height, 20.0).double().expand(*batch, cameras, 3, 3).clone(),
        "width": width,
        "height": height,
        "backgrounds": uniform(*batch, cameras, channels),
    }


def converted(scene, dtype):
    return {k: v.to(dtype) if isinstance(v, torch.Tensor) else v for k, v in scene.items()}


def drawn(scene, backend, dtype=torch.float32, weights=None, **options):
    """Everything that leaves the rasterizer, by name, in float64: colours, alphas and the gradient of a random loss."""
    scene = converted(scene, dtype)
    leaves = {k: v.detach().clone().requires_grad_() for k, v in scene.items() if isinstance(v, torch.Tensor) and k != "Ks"}
    colors, alphas, meta = renderer.rasterize(**{**scene, **leaves}, backend=backend, **options)
    meta["means2d"].retain_grad()
    random = torch.Generator().manual_seed(7)
    loss = 0
    for part in (colors, alphas):
        direction = torch.randn(part.shape, generator=random, dtype=torch.float64).to(dtype)
        loss = loss + (part * direction * (1 if weights is None else weights.to(dtype))).sum()
    loss.backward()
    mask = torch.ones_like(alphas) if weights is None else weights.to(dtype)
    results = {"colors": colors * mask, "alphas": alphas * mask, "gradient of means2d": meta["means2d"].grad}
    results |= {f"gradient of {name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    return {name: value.detach().double() for name, value in results.items()}


def decided(scene, antialiased=False, band=1e-4):
    """1 where no Gaussian comes within a relative ``band`` of the alpha cut or the transmittance stop, else 0.

    There one rounding decides whether a Gaussian counts at all, and no two implementations can agree.
    """
    batch, width, height = scene["means"].shape[:-2], scene["width"], scene["height"]
    names = ("means", "quats", "scales", "opacities", "viewmats", "Ks")
    flat = [scene[k].double().flatten(0, len(batch) - 1) if batch else scene[k].double()[None] for k in names]
    seen = project(*flat, width, height, antialiased=antialiased)
    opacities = flat[3][:, None] * (seen.compensations if antialiased else 1)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    dx = seen.means2d[..., None, None, 0] - x
    dy = seen.means2d[..., None, None, 1] - y
    a, b, c = (seen.conics[..., k, None, None] for k in range(3))
    alphas = (opacities.expand(seen.depths.shape)[..., None, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)).clamp(
        max=0.999
    )
    alphas = torch.where((seen.radii > 0).all(-1)[..., None, None], alphas, 0)
    close = ((alphas * 255 - 1).abs() < band).any(2)
    order = seen.depths.argsort(dim=2, stable=True)[..., None, None].expand_as(alphas)
    left = torch.cumprod(1 - torch.where(alphas >= 1 / 255, alphas, 0).gather(2, order), dim=2)
    close |= ((left / 1e-4 - 1).abs() < 10 * band).any(2)
    return (~close).double().reshape(*batch, -1, height, width, 1)


def assert_no_worse_than(found, *, truth, yardstick, factor=4):
    """Root-mean-square error against ``truth`` at most ``factor`` times that of ``yardstick``; the largest at most 3 x that."""
    for name, exact in truth.items():
        assert found[name].isfinite().all(), f"{name} is not finite"
        for norm, allowance in ((2, factor), (float("inf"), 3 * factor)):
            size, error, usual = (float(torch.linalg.vector_norm(v, norm)) for v in (exact, found[name] - exact, yardstick[name] - exact))
            limit = allowance * (usual + FLOOR * size) + 1e-30
            assert error <= limit, f"{name}: norm {norm}: error {error:.3g}, allowed {limit:.3g} (float32 reference {usual:.3g})"
