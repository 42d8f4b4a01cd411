"""What surrounds gsplat's kernels, on a CPU: slow doubles play them, which take the same arguments and make the same mistakes."""

import os
import subprocess
import sys
from functools import partial

import gsplat
import pytest
import torch
from gaussian_scenes import ball
from gsplat.cuda._torch_impl import _isect_offset_encode, _isect_tiles

from renderer.backends import gsplat as backend
from renderer.backends import reference
from renderer.pipeline import Request, compose
from renderer.projection import project

REST = {"near_plane": 0.01, "far_plane": 1e10, "radius_clip": 0.0, "eps2d": 0.3, "sh_degree": None, "render_mode": "RGB"}
REST |= {"rasterize_mode": "classic", "packed": None, "segmented": False, "channel_chunk": 32}


def projection_by_warps(means, covars, quats, scales, viewmats, Ks, width, height, *, calc_compensations, opacities, **limits):
    """gsplat 1.5.3's `fully_fused_projection`: the gradient of a warp's threads with the same number of camera, or of Gaussian, goes to
    the scene of the first of them (ProjectionEWA3DGSFused.cu; threads of culled Gaussians have left by then)."""
    assert covars is None
    scenes, cameras, count = len(means), viewmats.shape[1], means.shape[1]
    scene, camera, gaussian = (n.flatten() for n in torch.meshgrid(*map(torch.arange, (scenes, cameras, count)), indexing="ij"))

    def seen_by_thread(means, quats, scales, viewmats):
        flat = (means[:, None], quats[:, None], scales[:, None], opacities[scene, gaussian][:, None], viewmats[:, None])
        return project(*flat, Ks[scene, camera][:, None], width, height, antialiased=calc_compensations, **limits)

    given = (means[scene, gaussian], quats[scene, gaussian], scales[scene, gaussian], viewmats[scene, camera])
    there = (seen_by_thread(*given).radii > 0).all(-1).flatten()

    def scene_that_gets_it(number):
        first, key = {}, list(zip((torch.arange(len(scene)) // 32).tolist(), number.tolist(), strict=True))
        for thread in there.nonzero()[:, 0].tolist():
            first.setdefault(key[thread], int(scene[thread]))
        return torch.tensor([first.get(k, 0) for k in key])

    def routed(values, number):
        path = values[scene_that_gets_it(number), number]
        return values[scene, number].detach() + path - path.detach()

    found = seen_by_thread(routed(means, gaussian), routed(quats, gaussian), routed(scales, gaussian), routed(viewmats, camera))
    parts = (found.radii, found.means2d, found.depths, found.conics, found.compensations)
    radii, *others = (part.reshape(scenes, cameras, count, *part.shape[3:]) for part in parts)
    culled = (radii <= 0).any(-1)  # their places are never written, but for the compensations, which begin as zeros
    for values in others[:3]:
        values.data[culled] = torch.nan
    return radii, *others[:3], others[3] if calc_compensations else None


def pixels_by_tiles(means2d, conics, colors, opacities, width, height, tile, starts, gaussians, *, backgrounds):
    """gsplat's `rasterize_to_pixels`."""
    flat = (means2d.flatten(0, 1), conics.flatten(0, 1), colors.flatten(0, 1), opacities.flatten(0, 1))
    ends, canvas = torch.cat([starts.flatten()[1:], torch.tensor([len(gaussians)])]).reshape(starts.shape), []
    for image in range(len(means2d)):
        background = None if backgrounds is None else backgrounds[image]
        for place in torch.cartesian_prod(torch.arange(height), torch.arange(width)):
            at = (image, *(place // tile).tolist())
            chosen = gaussians[starts[at] : ends[at]].long()
            pixel = (place.flip(0)[None] + 0.5).to(means2d)
            canvas.append(reference.blend_pixels(pixel, *(values[chosen] for values in flat), background))
    canvas = torch.cat(canvas).reshape(len(means2d), height, width, -1)
    return canvas[..., :-1], canvas[..., -1:]


@pytest.fixture
def doubles(monkeypatch):
    def tiles(*inputs, segmented):
        return _isect_tiles(*(values.detach() if isinstance(values, torch.Tensor) else values for values in inputs))

    monkeypatch.setattr(gsplat, "fully_fused_projection", projection_by_warps)
    monkeypatch.setattr(gsplat, "isect_tiles", tiles)
    monkeypatch.setattr(gsplat, "isect_offset_encode", _isect_offset_encode)
    monkeypatch.setattr(gsplat, "rasterize_to_pixels", pixels_by_tiles)


def drawn(scene, rasterize, **options):
    """Pictures, sizes and gradients, by name."""
    leaves = {k: v.clone().requires_grad_() for k, v in scene.items() if isinstance(v, torch.Tensor) and k != "Ks"}
    colors, alphas, meta = rasterize(Request(**{**REST, **scene, **leaves, **options}))
    meta["means2d"].retain_grad()
    random = torch.Generator().manual_seed(7)
    sum((part * torch.randn(part.shape, generator=random, dtype=part.dtype)).sum() for part in (colors, alphas)).backward()
    gradients = {f"gradient of {name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    return {"colors": colors, "alphas": alphas, "radii": meta["radii"], "gradient of means2d": meta["means2d"].grad} | gradients


def by_doubles(request):
    """`backend.rasterize`, but that it refuses tensors of the CPU."""
    return compose(request, backend.project, partial(backend.blend, segmented=request.segmented, channel_chunk=request.channel_chunk))


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize(("gaussians", "cameras"), [(40, 1), (20, 1), (10, 2), (64, 1)])
def test_gradients_stay_in_their_scene(doubles, gaussians, cameras, mode):
    """Faults planted: scenes not filled up to whole warps; fillers that are handed out."""
    scene = ball(gaussians, batch=(3,), cameras=cameras, width=20, height=18, seed=gaussians)
    assert_same(drawn(scene, by_doubles, rasterize_mode=mode), drawn(scene, reference.rasterize, rasterize_mode=mode))


def test_one_scene_is_not_copied(doubles, monkeypatch):
    """Its warps hold nobody else's Gaussians."""
    scene, given = ball(40, batch=(), cameras=2, width=20, height=18), []
    monkeypatch.setattr(
        gsplat,
        "fully_fused_projection",
        lambda means, *rest, **options: (given.append(means), projection_by_warps(means, *rest, **options))[1],
    )
    assert_same(drawn(scene, by_doubles), drawn(scene, reference.rasterize))
    assert given[0].shape == (1, 40, 3)


def test_channels_in_parts(doubles):
    scene = ball(30, channels=5, width=20, height=18)
    assert_same(drawn(scene, by_doubles, channel_chunk=2, render_mode="RGB+ED"), drawn(scene, reference.rasterize, render_mode="RGB+ED"))


def test_several_scenes_are_not_packed():
    """gsplat 1.5.3 would cull them all by the opacities of the first. Fault planted: passed on."""
    with pytest.raises(ValueError, match=r"packed: expected one scene, found 2; .* leave packed out"):
        backend.rasterize(Request(**{**REST, **ball(5), "packed": True}))


def test_processes_build_one_after_the_other(tmp_path):
    """Several ranks on a new machine. Fault planted: no lock; gsplat's import removes the folder in which another process builds."""
    backend_folder = tmp_path / "site" / "gsplat" / "cuda"
    backend_folder.mkdir(parents=True)
    for package in (backend_folder.parent, backend_folder):
        (package / "__init__.py").touch()
    building = f"import os, time\nos.mkdir({str(tmp_path / 'build')!r}); time.sleep(1); os.rmdir({str(tmp_path / 'build')!r})\n_C = 1"
    (backend_folder / "_backend.py").write_text(building)
    code = "import torch; torch.version.cuda = '12'; torch.cuda.is_available = lambda: True; from renderer.backends import gsplat; "
    code += "assert gsplat.obstacle() is None, gsplat.obstacle()"
    paths = os.pathsep.join([str(backend_folder.parents[1]), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "RENDERER_CACHE": str(tmp_path / "cache" / "renderer")}
    running = [subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in running:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint
