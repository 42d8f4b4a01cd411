"""Scenes to draw, what a drawing and its gradients are, and the yardstick they are held against."""

import math
from contextlib import contextmanager

import torch

import renderer
from renderer.backends import reference
from renderer.backends.reference import ALPHA_CAP, TRANSMITTANCE_STOP
from renderer.cameras import look_at, pinhole
from renderer.projection import ALPHA_CUT, MAX_EXTENT, Projection, project

EPS = torch.finfo(torch.float32).eps
FLOOR = 16 * EPS  # a handful of roundings is free


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


def decided(scene, antialiased=False, band=1e-4, *, near_plane=0.01, far_plane=1e10, radius_clip=0.0, roundings=0):
    """1 where no Gaussian comes within a relative ``band`` of the alpha cut, the transmittance stop or a limit of culling, else 0.

    There one rounding decides whether a Gaussian counts at all, and no two implementations can agree. ``roundings`` widens the
    band for scenes where float32 loses more: to four times what so many runs with all numbers moved by a few roundings differ,
    and to pixels where Gaussians meet whose order in depth is as uncertain.
    """
    power, seen, opacities = footprints(scene, antialiased, project)
    depths, visible = seen.depths, (seen.radii > 0).all(-1)
    loose, loose_depths, doubtful = torch.zeros_like(power), torch.zeros_like(depths), torch.zeros_like(visible)
    for seed in range(roundings):
        with rounding(seed) as moved:
            other, moved_seen, _ = footprints(scene, antialiased, moved)
        loose = torch.maximum(loose, 4 * (other - power).abs())
        loose_depths = torch.maximum(loose_depths, 4 * (moved_seen.depths - depths).abs())
        doubtful |= (moved_seen.radii > 0).all(-1) != visible
    doubtful |= near(depths, near_plane, band, loose_depths) | near(depths, far_plane, band, loose_depths)
    alive = visible & (depths >= near_plane) & (depths <= far_plane)
    if radius_clip > 0:
        a, b, c = seen.conics.unbind(-1)
        variances = torch.stack([c, a], -1) / (a * c - b * b)[..., None]
        reach = (2 * (255 * opacities).clamp(min=1).log()).sqrt().clamp(max=MAX_EXTENT)
        doubtful |= near(reach[..., None] * variances.sqrt(), float(int(radius_clip)), 10 * band, 0).any(-1)
        alive &= (seen.radii > radius_clip).any(-1)

    shown = (alive | (visible & doubtful))[..., None, None]
    reaches = shown & (power >= math.log(ALPHA_CUT) - band - loose)
    close = (near(power, math.log(ALPHA_CUT), 0, band + loose) & shown).any(2)
    close |= (reaches & doubtful[..., None, None]).any(2)
    alphas = torch.where(alive[..., None, None] & (power >= math.log(ALPHA_CUT)), power.exp().clamp(max=ALPHA_CAP), 0)
    order = depths.argsort(dim=2, stable=True)[..., None, None].expand_as(alphas)
    left, loose_left = (torch.cumsum(v.gather(2, order), 2) for v in (torch.log1p(-alphas), alphas / (1 - alphas) * loose))
    close |= near(left, math.log(TRANSMITTANCE_STOP), 0, 10 * band + loose_left).any(2)
    if roundings:
        means = scene["means"].reshape(len(depths), 1, *scene["means"].shape[-2:])
        tied = near(depths[:, :, :, None], depths[:, :, None], 16 * EPS, loose_depths[:, :, :, None] + loose_depths[:, :, None])
        tied &= (means[:, :, :, None] != means[:, :, None]).any(-1)  # the same place has the same depth whatever the rounding
        meet = reaches.flatten(3).double()
        close |= ((tied.double() @ meet) * meet > 0).any(2).reshape(close.shape)
    return (~close).double().reshape(*scene["means"].shape[:-2], -1, *close.shape[-2:], 1)


def near(values, limit, band, loose):
    return (values - limit).abs() <= band * (limit.abs() if isinstance(limit, torch.Tensor) else abs(limit)) + loose


def footprints(scene, antialiased, project):
    """Log of alpha before the cap (scene camera gaussian row col) of all Gaussians before the camera; the projection; opacities."""
    names, batch = ("means", "quats", "scales", "opacities", "viewmats", "Ks"), scene["means"].shape[:-2]
    flat = [scene[k].double().reshape(batch.numel(), *scene[k].shape[len(batch) :]) for k in names]
    seen = project(*flat, scene["width"], scene["height"], near_plane=0.0, far_plane=math.inf, antialiased=antialiased)
    opacities = flat[3][:, None] * (seen.compensations if antialiased else torch.ones_like(seen.depths))
    y, x = torch.meshgrid(torch.arange(scene["height"]) + 0.5, torch.arange(scene["width"]) + 0.5, indexing="ij")
    dx, dy = (seen.means2d[..., None, None, k] - pixel for k, pixel in enumerate((x, y)))
    a, b, c = (seen.conics[..., k, None, None] for k in range(3))
    sigma = (0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy).clamp(min=0)
    power = opacities.clamp(min=1e-30).log()[..., None, None] - sigma
    return power.clamp(min=-60).where((seen.radii > 0).all(-1)[..., None, None], -60.0), seen, opacities


@contextmanager
def rounding(seed, ulps=4):
    """In here the reference projects with all its inputs and results moved by up to ``ulps`` float32 roundings, at random."""
    random, exact = torch.Generator().manual_seed(seed), reference.project

    def moved(values):
        return values * (1 + ulps * EPS * (2 * torch.rand(values.shape, generator=random, dtype=torch.float64) - 1)).to(values.dtype)

    def project(means, quats, scales, opacities, viewmats, Ks, *sizes, **options):
        seen = exact(moved(means), moved(quats), moved(scales), opacities, moved(viewmats), moved(Ks), *sizes, **options)
        return Projection(seen.radii, *(moved(v) for v in (seen.means2d, seen.depths, seen.conics, seen.compensations)))

    reference.project = project
    try:
        yield project
    finally:
        reference.project = exact


def assert_no_worse_than(found, *, truth, yardstick, factor=4):
    """Root-mean-square error against ``truth`` at most ``factor`` times that of ``yardstick``; the largest at most 3 x that."""
    for name, exact in truth.items():
        assert found[name].isfinite().all(), f"{name} is not finite"
        assert found[name].shape == exact.shape, f"{name}: {list(found[name].shape)} and not {list(exact.shape)}"
        for norm, allowance in ((2, factor), (float("inf"), 3 * factor)) if exact.numel() else ():
            size, error, usual = (float(torch.linalg.vector_norm(v, norm)) for v in (exact, found[name] - exact, yardstick[name] - exact))
            limit = allowance * (usual + FLOOR * size) + 1e-30
            assert error <= limit, f"{name}: norm {norm}: error {error:.3g}, allowed {limit:.3g} (float32 reference {usual:.3g})"
