"""Backends against the float64 reference, and the reference against itself and gsplat's own torch code."""

import pytest
import torch
from gaussian_scenes import assert_no_worse_than, ball, converted, decided, drawn

import renderer
from renderer import rasterize as rasterize_function
from renderer.cameras import look_at
from renderer.projection import project, quaternion_to_matrix
from renderer.rasterize import BACKENDS
from renderer.spherical_harmonics import shade

SCENES = {
    "one scene, one camera": (ball(batch=()), {}),
    "two scenes of two cameras": (ball(120, cameras=2, seed=1), {}),
    "large Gaussians, opaque pixels": (ball(300, size=0.06, seed=2), {}),
    "one channel": (ball(channels=1, seed=3), {}),
    "four channels, sizes a multiple of the tile": (ball(channels=4, width=32, height=48, seed=4), {}),
    "32 channels": (ball(80, channels=32, batch=(1,), seed=5), {}),
    "antialiased": (ball(seed=6, size=0.004), {"rasterize_mode": "antialiased"}),
    "more Gaussians than one piece of binning": (ball(6000, batch=(), width=33, height=25, seed=10, size=0.002), {}),
    "colour and depth": (ball(150, seed=7), {"render_mode": "RGB+D"}),
    "expected depth": (ball(150, seed=8), {"render_mode": "ED"}),
    "colour and expected depth": (ball(150, seed=9), {"render_mode": "RGB+ED"}),
}


def backend_or_skip(name):
    reason = BACKENDS[name].obstacle()
    if reason is not None:
        pytest.skip(f"backend {name}: {reason}")
    return name


@pytest.mark.parametrize("name", SCENES)
def test_cpu_backend_matches_the_reference(name):
    """Fault it notices: any wrong term in the kernels or their gradients (planted: moments of the conic exchanged)."""
    scene, options = SCENES[name]
    backend = backend_or_skip("cpu")
    weights = decided(scene, antialiased="rasterize_mode" in options)
    assert weights.mean() > 0.9, "the boundary band swallowed the picture"
    exact = drawn(scene, "reference", torch.float64, weights, **options)
    rounded = drawn(scene, "reference", torch.float32, weights, **options)
    assert_no_worse_than(drawn(scene, backend, weights=weights, **options), truth=exact, yardstick=rounded)


def test_many_gaussians_may_come_in_any_order():
    """The same bits: more of them than one piece of sorting, at depths of their own.

    Faults planted: pieces that lose their first ones when they are joined; places of later pieces in the sort counted wrongly.
    """
    scene = ball(40_000, batch=(), width=60, height=50, size=0.002)
    scene["means"][:, 2] = torch.linspace(-0.1, 0.1, 40_000).double()
    scene["viewmats"] = look_at((0.0, 0.0, 0.9), (0.0, 0.0, 0.0)).double()[None]
    order = torch.randperm(40_000, generator=torch.Generator().manual_seed(1))
    names = ("means", "quats", "scales", "opacities", "colors")
    sorted_by_depth = drawn(scene, backend_or_skip("cpu"))
    shuffled = drawn({**scene, **{name: scene[name][order] for name in names}}, "cpu")
    assert torch.equal(shuffled["colors"], sorted_by_depth["colors"]) and torch.equal(shuffled["alphas"], sorted_by_depth["alphas"])
    for name in names:
        assert torch.equal(shuffled[f"gradient of {name}"], sorted_by_depth[f"gradient of {name}"][order]), name


@pytest.mark.parametrize("degree", range(4))
def test_harmonics_match_the_reference_and_gsplat(degree):
    from gsplat.cuda._torch_impl import _spherical_harmonics

    scene = ball(60, cameras=2, seed=degree)
    random = torch.Generator().manual_seed(degree)
    scene["colors"] = torch.randn(2, 60, 16, 3, generator=random, dtype=torch.float64)
    weights = decided(scene)
    exact = drawn(scene, "reference", torch.float64, weights, sh_degree=degree)
    rounded = drawn(scene, "reference", torch.float32, weights, sh_degree=degree)
    assert_no_worse_than(drawn(scene, backend_or_skip("cpu"), weights=weights, sh_degree=degree), truth=exact, yardstick=rounded)

    directions = torch.randn(60, 3, generator=random, dtype=torch.float64)
    theirs = _spherical_harmonics(degree, torch.nn.functional.normalize(directions, dim=-1), scene["colors"][0])
    torch.testing.assert_close(shade(degree, directions, scene["colors"][0]), (theirs + 0.5).clamp(min=0), rtol=1e-6, atol=1e-7)


def test_cameras_gradient_with_harmonics_is_gsplats():
    """Of every number of a camera, rigid or not, as gsplat takes its place from the inverse.

    Fault planted: the place is -R^T t, which gave another gradient by a twentieth.
    """
    scene = ball(60, cameras=2, seed=2)
    harmonics = torch.randn(2, 60, 16, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    cameras = scene.pop("viewmats").requires_grad_()
    eyes = torch.inverse(cameras)[..., :3, 3]  # gsplat.rasterization, line by line
    colors = shade(3, scene["means"][:, None] - eyes[:, :, None], harmonics[:, None].expand(2, 2, 60, 16, 3))
    expected, found = (
        torch.autograd.grad(rasterize_function(**{**scene, **chosen}, viewmats=cameras, backend="reference")[0].square().sum(), cameras)[0]
        for chosen in ({"colors": colors}, {"colors": harmonics, "sh_degree": 3})
    )
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("compiled", [False, True])
def test_projection_matches_gsplats(compiled):
    """gsplat's own torch projection runs on CPU: means, depths and conics agree wherever both see a Gaussian."""
    from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci

    scene = ball(200, cameras=2, seed=11)
    scene["means"] *= 4  # some off the image and some far to the side, where the Jacobian is held to the frustum
    scene = converted(scene, torch.float32 if compiled else torch.float64)
    covariances, _ = _quat_scale_to_covar_preci(scene["quats"], scene["scales"], compute_preci=False)
    views = (scene["viewmats"], scene["Ks"], scene["width"], scene["height"])
    radii, means2d, depths, conics, compensations = _fully_fused_projection(scene["means"], covariances, *views, calc_compensations=True)
    arguments = (scene["means"], scene["quats"], scene["scales"], torch.ones_like(scene["opacities"]), *views)
    if compiled:
        from renderer.backends import cpu

        backend_or_skip("cpu")
        options = {"eps2d": 0.3, "near_plane": 0.01, "far_plane": 1e10, "radius_clip": 0.0, "antialiased": False}
        ours = cpu.project(*arguments, **options)
    else:
        ours = project(*arguments)
    seen = (ours.radii > 0).all(-1)
    assert torch.equal(seen, (radii > 0).all(-1)) and 20 < seen.sum() < seen.numel()
    pairs = [(ours.means2d, means2d), (ours.depths, depths), (ours.conics, conics), (ours.compensations, compensations)]
    pairs.append((ours.radii.float(), radii.float()))
    for mine, theirs in pairs:
        torch.testing.assert_close(mine[seen], theirs[seen], rtol=2e-4 if compiled else 1e-7, atol=1e-5 if compiled else 1e-9)


def test_reference_gradients_are_its_derivatives():
    scene = ball(4, batch=(), width=5, height=4, size=0.08, seed=12)
    names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds")
    scene["opacities"] = scene["opacities"] * 0.5 + 0.2

    for mode in ("classic", "antialiased"):

        def picture(*values, mode=mode):
            arguments = {**scene, **dict(zip(names, values, strict=True))}
            return renderer.rasterize(**arguments, backend="reference", rasterize_mode=mode)[:2]

        leaves = [scene[name].clone().requires_grad_() for name in names]
        assert torch.autograd.gradcheck(picture, leaves, fast_mode=True)


def degenerate():
    """name -> scene of three scenes' worth of trouble, each beside Gaussians that are all right."""

    def changed(**entries):
        scene = ball(24, batch=(), seed=13, size=0.03)
        for name, change in entries.items():
            scene[name] = change(scene[name].clone())
        return scene

    def put(value, rows=slice(0, 8)):
        def change(tensor):
            tensor[rows] = torch.as_tensor(value, dtype=tensor.dtype)
            return tensor

        return change

    empty = ball(0, batch=())
    return {
        "zero scale": changed(scales=put(0.0)),
        "flat": changed(scales=put([0.02, 0.02, 0.0])),
        "needle": changed(scales=put([3.0, 1e-6, 1e-6])),
        "huge scale": changed(scales=put(1e4)),
        **{f"monstrous scale 1e{k}": changed(scales=put(10.0**k, slice(0, 2))) for k in (8, 12, 20, 38)},
        "zero quaternion": changed(quats=put(0.0)),
        "long quaternion": changed(quats=lambda q: q * 1e6),
        "behind the camera": changed(means=put([0.0, 0.1, 5.0])),
        "at the camera": changed(means=put([-0.12, 0.2, 0.9])),
        "off the image": changed(means=put([1.0, 0.0, 0.0])),
        "infinitely far off the image": changed(means=put([1e30, 0.0, 0.0])),
        "opacity 0": changed(opacities=put(0.0)),
        "opacity 1": changed(opacities=put(1.0)),
        "all opaque": changed(opacities=put(1.0, slice(None)), scales=lambda s: s + 0.05),
        "coincident": changed(means=put([0.0, 0.0, 0.0], slice(None))),
        "one pixel": ball(24, batch=(), width=1, height=1, seed=14),
        "one row": ball(24, batch=(), width=33, height=1, seed=15),
        "17 x 33": ball(24, batch=(), width=17, height=33, seed=16),
        "no Gaussians": empty,
        "one Gaussian": ball(1, batch=(), seed=17),
    }


BEYOND_FLOAT32 = ("monstrous scale", "infinitely far off the image")  # only finiteness can be asked for
SUFFIX_LOSS = 8  # "all opaque": what lies behind is a difference, which loses eps / (1 - alpha)


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("name", degenerate())
def test_degenerate_scenes(name, mode):
    """No NaN or infinity leaves for finite input, and what is drawn is still right."""
    scene, backend = degenerate()[name], backend_or_skip("cpu")
    comparable = scene["means"].numel() > 0 and not name.startswith(BEYOND_FLOAT32)
    weights = decided(scene, antialiased=mode == "antialiased") if comparable else None
    rounded = drawn(scene, "reference", torch.float32, weights, rasterize_mode=mode)
    found = drawn(scene, backend, weights=weights, rasterize_mode=mode)
    for results in (rounded, found):
        for part, value in results.items():
            assert value.isfinite().all(), f"{part} is not finite"
    if comparable:
        exact = drawn(scene, "reference", torch.float64, weights, rasterize_mode=mode)
        factor = 4 * SUFFIX_LOSS if name == "all opaque" else 4
        assert_no_worse_than(found, truth=exact, yardstick=rounded, factor=factor)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_nothing_to_see_is_the_background(backend):
    scene = converted(ball(0, batch=(2,)), torch.float32)
    colors, alphas, _ = renderer.rasterize(**scene, backend=backend_or_skip(backend))
    assert torch.equal(colors, scene["backgrounds"][:, :, None, None].expand_as(colors)) and not alphas.any()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_batch_of_nothing(backend):
    scene = converted(ball(5, batch=(0,)), torch.float32)
    means = scene.pop("means").requires_grad_()
    colors, alphas, meta = renderer.rasterize(means, **scene, backend=backend_or_skip(backend))
    assert colors.shape == (0, 1, 37, 50, 3) and alphas.shape == (0, 1, 37, 50, 1) and meta["radii"].shape == (0, 1, 5, 2)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_one_opaque_gaussian_by_hand(backend):
    """A round Gaussian in the middle of an odd image: alpha at the centre pixel is its opacity, its neighbour by the formula."""
    K = torch.tensor([[[10.0, 0.0, 2.5], [0.0, 10.0, 2.5], [0.0, 0.0, 1.0]]])
    arguments = (torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.full((1, 3), 0.1))
    colors, alphas, _ = renderer.rasterize(
        *arguments, torch.tensor([0.8]), torch.tensor([[2.0]]), torch.eye(4)[None], K, 5, 5, backend=backend_or_skip(backend)
    )
    variance = 10.0**2 * 0.1**2 + 0.3
    torch.testing.assert_close(alphas[0, 2, 2, 0], torch.tensor(0.8))
    torch.testing.assert_close(alphas[0, 2, 3, 0], 0.8 * torch.exp(torch.tensor(-0.5 / variance)))
    torch.testing.assert_close(colors, 2 * alphas)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_near_far_and_radius_clip(backend):
    scene = converted(ball(100, seed=18), torch.float32)
    depths = renderer.rasterize(**scene, backend=backend_or_skip(backend))[2]["depths"]
    middle = float(depths[depths > 0].median())
    for options, expected in (
        ({"near_plane": middle}, lambda d, r: d >= middle),
        ({"far_plane": middle}, lambda d, r: d <= middle),
        ({"radius_clip": 3.0}, lambda d, r: (r > 3).any(-1)),
    ):
        everything = renderer.rasterize(**scene, backend=backend)[2]
        meta = renderer.rasterize(**scene, backend=backend, **options)[2]
        seen = (meta["radii"] > 0).all(-1)
        assert torch.equal(seen, (everything["radii"] > 0).all(-1) & expected(everything["depths"], everything["radii"]))
        assert 0 < seen.sum() < seen.numel()


def test_quaternions_are_wxyz():
    quarter = torch.tensor([0.5**0.5, 0.0, 0.0, 0.5**0.5], dtype=torch.float64)  # a quarter turn about z takes x to y
    torch.testing.assert_close(quaternion_to_matrix(quarter) @ torch.tensor([1.0, 0, 0]).double(), torch.tensor([0.0, 1, 0]).double())


def test_draw_broadcasts_scenes_and_cameras():
    """One camera for many scenes, many cameras for one scene, and a batch of both equal drawing one by one."""
    scene = converted(ball(40, batch=(3,), seed=19), torch.float32)
    gaussians = renderer.Gaussians(*(scene[k] for k in ("means", "quats", "scales", "opacities", "colors")))
    background = torch.tensor([0.1, 0.2, 0.3])
    views, K = scene["viewmats"][:, 0].clone(), scene["Ks"][0, 0]
    views[:, 2, 3] += torch.tensor([0.0, 0.1, 0.2])

    def only(i):
        return renderer.Gaussians(*(getattr(gaussians, k)[i] for k in ("means", "quats", "scales", "opacities", "colors")))

    def camera(view):
        return renderer.Camera(view, K.expand(*view.shape[:-2], 3, 3), scene["width"], scene["height"])

    one_by_one = [[renderer.draw(only(i), camera(views[j]), background).colors for j in range(3)] for i in range(3)]
    together = renderer.draw(gaussians, camera(views), background).colors
    same_camera = renderer.draw(gaussians, camera(views[1]), background)
    same_scene = renderer.draw(only(2), camera(views), background).colors
    for i in range(3):
        assert torch.equal(together[i], one_by_one[i][i])
        assert torch.equal(same_camera.colors[i], one_by_one[i][1])
        assert torch.equal(same_scene[i], one_by_one[2][i])
    assert same_camera.alphas.shape == (3, scene["height"], scene["width"], 1)


def test_the_function_is_not_shadowed_by_its_module():
    import renderer.rasterize

    assert callable(renderer.rasterize) and renderer.rasterize is rasterize_function
