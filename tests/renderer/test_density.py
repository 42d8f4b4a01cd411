"""Density control: the rules, what follows the Gaussians, real fits, resuming."""

import io
import math
from dataclasses import replace

import hypothesis
import pytest
import torch
from gaussian_scenes import ball, converted
from hypothesis import strategies as st

from renderer import Camera, Gaussians, Rendering, draw
from renderer.cameras import look_at, pinhole
from renderer.density import DensityConfig, DensityControl, Observed, normal, shared_logit
from renderer.head import AvatarConfig, HeadAvatar, new_avatar
from renderer.projection import quaternion_to_matrix

NOW = DensityConfig(start=1, stop=100, every=1, reset_every=0, prune_scale=math.inf)  # every step refines
RATES = {
    "means": 2e-3,
    "offsets": 1e-2,
    "quats": 1e-2,
    "log_scales": 2e-2,
    "opacity_logits": 5e-2,
    "colors": 2e-2,
    "albedo": 2e-2,
    "tints": 2e-2,
    "fades": 2e-2,
    "light": 0.0,
}
SIZE = 48
BLACK = torch.zeros(3)
FRONT = Camera(look_at((0, 0, 1), (0, 0, 0)), pinhole(SIZE, SIZE, math.degrees(2 * math.atan(0.5))), SIZE, SIZE)  # sees 1 m x 1 m


def free(count, seed=0, container=dict):
    """Gaussians of a metre's square, in no particular order of depth."""
    random = torch.Generator().manual_seed(seed)
    means = torch.rand(count, 3, generator=random) - 0.5
    tensors = {
        "means": means * torch.tensor([1.0, 1.0, 0.1]),
        "quats": torch.randn(count, 4, generator=random),
        "log_scales": math.log(0.5 / max(count, 1) ** 0.5) + 0.5 * torch.randn(count, 3, generator=random),
        "opacity_logits": torch.randn(count, generator=random),
        "colors": torch.rand(count, 3, generator=random),
    }
    return container({name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()})


def bound(count, seed=0, side=4):
    """An avatar on a gently curved square of a metre: ``2 side^2`` triangles."""
    steps = torch.linspace(-0.5, 0.5, side + 1)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    vertices = torch.stack([x, y, 0.2 * x * y], -1).reshape(-1, 3)
    corner = (torch.arange(side)[:, None] * (side + 1) + torch.arange(side)).reshape(-1)
    faces = torch.cat(
        [torch.stack([corner, corner + 1, corner + side + 1], -1), torch.stack([corner + 1, corner + side + 2, corner + side + 1], -1)]
    )
    config = AvatarConfig(num_gaussians=count)
    return vertices, new_avatar(vertices, faces, torch.ones(len(faces)), config, identity=torch.zeros(2), head="h", person="p", seed=seed)


def named(gaussians):
    return dict(gaussians.named_parameters() if isinstance(gaussians, HeadAvatar) else gaussians.items())


def adam(gaussians):
    return torch.optim.Adam([{"params": [p], "lr": RATES[name], "name": name} for name, p in named(gaussians).items()])


def scene(gaussians, vertices=None):
    if isinstance(gaussians, HeadAvatar):
        return gaussians(vertices)
    scales, opacities = gaussians["log_scales"].exp(), gaussians["opacity_logits"].sigmoid()
    return Gaussians(gaussians["means"], gaussians["quats"], scales, opacities, gaussians["colors"])


def observed(gaussians, gradients, radii=None, vertices=None):
    """As if one picture had shown every Gaussian, with these gradients."""
    count = len(gradients)
    return Observed(
        gradients=torch.as_tensor(gradients, dtype=torch.float32),
        pictures=torch.ones(count),
        radii=torch.zeros(count) if radii is None else radii,
        sizes=scene(gaussians, vertices).scales.detach().amax(-1),
    )


def refined(gaussians, config, gradients, *optimizers, step=1, vertices=None, radii=None):
    control = DensityControl(config)
    control.observed = observed(gaussians, gradients, radii, vertices)
    return control.step(step, gaussians, *(optimizers or [adam(gaussians)]))


def test_gradients_are_those_of_each_picture_alone():
    """A mean over three pictures, one of which shows next to nothing, counts like three losses drawn one by one.

    Planted and seen red: no factor for the number of pictures, width and height exchanged, invisible pictures counted.
    """
    arguments = converted(ball(60, batch=(), width=50, height=31), torch.float32)
    gaussians = Gaussians(*(arguments[k] for k in ("means", "quats", "scales", "opacities", "colors")))
    targets = [(0, 0, 0), (0.05, 0.1, 0), (0, 0.2, 0)]
    views = torch.stack([look_at((0.3, 0.2, 0.9), target) for target in targets])
    camera = Camera(views, arguments["Ks"].expand(3, 3, 3), 50, 31)

    def drawn(pictures):
        leaf = gaussians.means.clone().requires_grad_()
        seen = draw(
            replace(gaussians, means=leaf), replace(camera, camera_from_world=views[pictures], intrinsics=camera.intrinsics[pictures])
        )
        seen.means2d.retain_grad()
        seen.colors.square().sum((-1, -2, -3)).mean().backward()
        return seen

    sums, counts = torch.zeros(60), torch.zeros(60)
    for picture in range(3):
        alone = drawn([picture])
        for i in range(60):
            if (alone.radii[0, i] > 0).all():
                dx, dy = alone.means2d.grad[0, i].tolist()
                sums[i] += math.hypot(dx * 50 / 2, dy * 31 / 2)
                counts[i] += 1
    control = DensityControl(NOW)
    together = drawn([0, 1, 2])
    for _ in range(2):
        control.observe(gaussians.scales, together.means2d.grad, together.radii, 50, 31)
    torch.testing.assert_close(control.observed.gradients, 2 * sums)
    assert torch.equal(control.observed.pictures, 2 * counts) and {2, 3} == set(counts.tolist())
    assert torch.equal(control.observed.radii, (together.radii * (together.radii > 0).all(-1, keepdim=True)).amax((0, 2)) / 50)
    assert torch.equal(control.observed.sizes, gaussians.scales.amax(-1))


def test_batches_of_scenes_count_like_pictures():
    """Two poses of one avatar in one call: gradients come in axes ``batch cameras gaussians``."""
    vertices, avatar = bound(30)
    rendering = draw(avatar(torch.stack([vertices, 1.1 * vertices])), FRONT, BLACK)
    rendering.means2d.retain_grad()
    rendering.colors.sum().backward()
    control = DensityControl(NOW)
    control.observe(avatar(vertices).scales, rendering.means2d.grad, rendering.radii, SIZE, SIZE, mean_over=1)
    expected = (rendering.means2d.grad[:, 0].norm(dim=-1) * SIZE / 2).sum(0)
    torch.testing.assert_close(control.observed.gradients, expected)
    assert (control.observed.pictures == 2).all()


def test_same_choices_and_rows_as_gsplat(monkeypatch):
    """gsplat's strategy on the same numbers: same rows in the same order, down to the places of the halves.

    Planted and seen red: scale not divided, offset not rotated, clones and halves in another order.
    """
    strategy = pytest.importorskip("gsplat.strategy", reason="gsplat is not installed")
    count, config = 200, replace(NOW, split_scale=0.04, most=10_000)
    ours, theirs = free(count), free(count)
    theirs = {{"log_scales": "scales", "opacity_logits": "opacities"}.get(name, name): tensor for name, tensor in theirs.items()}
    with torch.no_grad():
        ours["opacity_logits"][:20] = theirs["opacities"][:20] = -6.0
    gradients = torch.rand(count, generator=torch.Generator().manual_seed(1)) * 4e-4
    report = refined(ours, config, gradients)

    yardstick = strategy.DefaultStrategy(refine_start_iter=0, grow_scale3d=config.split_scale, refine_every=1)
    state = {"grad2d": gradients.clone(), "count": torch.ones(count), "scene_scale": 1.0}
    optimizers = {name: torch.optim.Adam([tensor]) for name, tensor in theirs.items()}
    noise = normal(config.seed, 1, (2 * report.split, 3)).reshape(2, -1, 3)
    doomed = int((gradients[:20] > config.grow_gradient)[theirs["scales"][:20].exp().amax(-1) > config.split_scale].sum())
    with monkeypatch.context() as patched:  # it also splits the faint, which are the first, and then prunes their halves
        patched.setattr(torch, "randn", lambda *_, **__: torch.cat([torch.zeros(2, doomed, 3), noise], 1))
        yardstick._grow_gs(theirs, optimizers, state, step=1)
    yardstick._prune_gs(theirs, optimizers, state, step=1)
    assert report.cloned > 20 and report.split > 20 and report.total == len(theirs["means"])
    for name, other in {
        "means": "means",
        "quats": "quats",
        "log_scales": "scales",
        "opacity_logits": "opacities",
        "colors": "colors",
    }.items():
        torch.testing.assert_close(ours[name], theirs[other], msg=lambda words, name=name: f"{name}: {words}")


def test_bound_gaussians_split_like_free_ones():
    """An avatar's halves, posed, lie where those of its posed Gaussians lie (fault: the triangle's scale applied twice or not at all)."""
    vertices, avatar = bound(60)
    with torch.no_grad():
        avatar.quats.add_(torch.randn(60, 4, generator=torch.Generator().manual_seed(0)))
        posed = scene(avatar, vertices)
        logits, colors = avatar.opacity_logits.clone(), posed.colors.clone()
        tensors = {"means": posed.means, "quats": posed.quats, "log_scales": posed.scales.log(), "opacity_logits": logits, "colors": colors}
    free_ones = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}
    gradients, config = torch.arange(60) % 3 * 1e-3, replace(NOW, split_scale=0.0)
    assert refined(avatar, config, gradients, vertices=vertices).split == 40
    assert refined(free_ones, config, gradients).split == 40
    ours, theirs = scene(avatar, vertices), scene(free_ones)
    torch.testing.assert_close(ours.means, theirs.means)
    torch.testing.assert_close(ours.scales, theirs.scales)


def test_halves_are_drawn_from_their_gaussian():
    """Means of 20,000 halves: the mean and covariance of the Gaussian within five standard errors."""
    count = 10_000
    gaussians = free(count)
    with torch.no_grad():
        for name in ("means", "quats", "log_scales"):
            gaussians[name].copy_(gaussians[name][:1].expand(count, -1))
        half = quaternion_to_matrix(gaussians["quats"][0]) * gaussians["log_scales"][0].exp()
        middle = gaussians["means"][0].clone()
    assert refined(gaussians, replace(NOW, split_scale=0.0), torch.ones(count)).split == count
    places = torch.linalg.solve(half, (gaussians["means"].detach() - middle).T)  # standard normal if all is well
    error = 5 / (2 * count) ** 0.5
    torch.testing.assert_close(places.mean(1), torch.zeros(3), atol=error, rtol=0)
    torch.testing.assert_close(places.cov(), torch.eye(3), atol=2**0.5 * error, rtol=0)


@pytest.mark.parametrize("container", [dict, torch.nn.ParameterDict])
@pytest.mark.parametrize(
    "make",
    [
        torch.optim.Adam,
        lambda groups: torch.optim.AdamW(groups, fused=True, amsgrad=True),
        lambda groups: torch.optim.SGD(groups, momentum=0.9),
    ],
)
def test_optimizer_rows_follow_their_gaussians(make, container):
    """Planted and seen red: moments not gathered, new rows with their parent's moments, groups rebuilt from scratch."""
    gaussians = free(50, container=container)
    optimizer = make([{"params": [p], "lr": RATES[name], "name": name} for name, p in gaussians.items()])
    sum(p.square().sum() for p in gaussians.values()).backward()
    optimizer.step()
    with torch.no_grad():
        gaussians["opacity_logits"][::7] = -8.0
    before = {
        name: (p.detach().clone(), {k: v.clone() for k, v in optimizer.state[p].items() if v is not None}) for name, p in gaussians.items()
    }
    groups = list(optimizer.param_groups)
    report = refined(gaussians, replace(NOW, split_scale=0.12), torch.arange(50) % 4 * 1e-3, optimizer)
    assert report.pruned == 8 and report.cloned > 3 and report.split > 3
    kept, rows = report.origins >= 0, report.origins[report.origins >= 0]
    assert all(mine is theirs for mine, theirs in zip(optimizer.param_groups, groups, strict=True))
    assert len(optimizer.state) == len(gaussians)
    for group in optimizer.param_groups:
        name, parameter = group["name"], gaussians[group["name"]]
        assert group["params"][0] is parameter and group["lr"] == RATES[name] and isinstance(parameter, torch.nn.Parameter)
        values, state = before[name]
        assert torch.equal(parameter[kept], values[rows])
        for key, value in state.items():
            found = optimizer.state[parameter][key]
            if value.ndim == 0:
                assert torch.equal(found, value), key
            else:
                assert torch.equal(found[kept], value[rows]) and not found[~kept].any(), key
    sum(p.square().sum() for p in gaussians.values()).backward()
    optimizer.step()


def test_a_graph_of_the_last_step_may_live_on():
    """Fault it notices: new ``.data`` of another shape in the old parameter, which a living graph's accumulator refuses (planted)."""
    gaussians = free(20)
    optimizer = adam(gaussians)
    held = draw(scene(gaussians), FRONT, BLACK)
    held.colors.sum().backward()
    refined(gaussians, NOW, torch.ones(20), optimizer)
    draw(scene(gaussians), FRONT, BLACK).colors.sum().backward()
    optimizer.step()
    assert held.colors.grad_fn is not None


def test_pruning_what_nobody_sees_changes_no_pixel():
    gaussians = free(80)
    with torch.no_grad():
        gaussians["opacity_logits"][torch.arange(0, 80, 3)] = math.log(1e-3)
        before = draw(scene(gaussians), FRONT, BLACK).colors
    assert refined(gaussians, NOW, torch.zeros(80)).pruned == 27
    with torch.no_grad():
        assert torch.equal(draw(scene(gaussians), FRONT, BLACK).colors, before)


@pytest.mark.parametrize("opacity", [0.1, 0.5, 0.9])
def test_what_a_clone_does_to_the_picture(opacity):
    """Inherited: two layers of the same, 1 - (1 - alpha)^2. Shared: as before at the centre, elsewhere at most (new opacity)^2 / 4 more."""

    def alphas(new_opacity=None):
        gaussians = free(1)
        with torch.no_grad():
            gaussians["means"].copy_(torch.tensor([[0.5 / SIZE, 0.5 / SIZE, 0.0]]))  # a pixel's centre
            gaussians["log_scales"].fill_(math.log(0.1))
            gaussians["opacity_logits"].fill_(math.log(opacity / (1 - opacity)))
        if new_opacity is not None:
            assert refined(gaussians, replace(NOW, split_scale=1.0, new_opacity=new_opacity), torch.ones(1)).cloned == 1
        with torch.no_grad():
            return draw(scene(gaussians), FRONT, BLACK).alphas

    one, two, shared = alphas(), alphas("inherited"), alphas("shared")
    covered = one > 2 / 255  # near 1/255 the alpha cut takes the fainter of the two
    torch.testing.assert_close(two[covered], (1 - (1 - one) ** 2)[covered])
    torch.testing.assert_close(shared.max(), one.max())
    excess, smaller = (shared - one)[one > 4 / 255], 1 - (1 - opacity) ** 0.5
    assert float(excess.min()) > -1e-6 and 0.5 * smaller**2 / 4 < float(excess.max()) <= smaller**2 / 4 + 1e-6


def test_shared_logits_are_finite_and_right():
    logits = torch.tensor([-60.0, -5.0, 0.0, 5.0, 60.0], dtype=torch.float64)
    expected = 1 - (1 - logits[:4].sigmoid()).sqrt()
    torch.testing.assert_close(shared_logit(logits).sigmoid()[1:4], expected[1:])
    torch.testing.assert_close(shared_logit(logits)[0], logits[0] - math.log(2))
    assert shared_logit(logits.float()).isfinite().all()


def test_too_large_ones_go_unless_they_split():
    """In the world and on the screen; the size is that in the world, the triangle's included."""
    gaussians = free(6)
    with torch.no_grad():
        gaussians["log_scales"].fill_(math.log(0.02))
        gaussians["log_scales"][:4, 1] = math.log(0.2)
    gradients = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    radii = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.6, 0.0])
    config = replace(NOW, split_scale=0.03, prune_scale=0.1, prune_radius=0.5)
    report = refined(gaussians, config, gradients, radii=radii)
    assert (report.cloned, report.split, report.pruned, report.total) == (1, 2, 3, 6) and report.origins.tolist() == [5, -1, -1, -1, -1, -1]

    vertices, avatar = bound(60)
    tenth = refined(
        avatar, replace(NOW, prune_scale=float(avatar(vertices).scales.detach().median())), torch.zeros(60), vertices=10 * vertices
    )
    assert tenth.pruned == 60 - len(avatar.triangles.unique(dim=0)) and tenth.total == len(avatar.offsets)


def test_large_ones_stay_until_opacities_were_reset():
    """Seen red: they went at the first refinement, before they could split; Kerbl et al. and gsplat wait."""
    control = DensityControl(replace(NOW, reset_every=4, prune_scale=0.1))
    gaussians, large = free(6), 0
    with torch.no_grad():
        gaussians["log_scales"].fill_(math.log(0.02))
        gaussians["log_scales"][large] = math.log(0.2)
    totals = []
    for step in range(1, 7):
        seen = torch.zeros(1, len(gaussians["means"]), 2)
        control.observe(gaussians["log_scales"].exp(), seen, (seen + 1).int(), SIZE, SIZE)
        totals.append(control.step(step, gaussians, adam(gaussians)).total)
    assert totals == [6, 6, 6, 6, 5, 5]


def test_every_triangle_keeps_one():
    """The most opaque, if all would go; then only. Without the option none stays."""
    vertices, avatar = bound(100)
    with torch.no_grad():
        avatar.opacity_logits.copy_(torch.linspace(-9, -8, 100))
    before = avatar.triangles.clone()
    best = {tuple(row.tolist()): i for i, row in enumerate(before)}  # the later, the more opaque
    report = refined(avatar, NOW, torch.zeros(100), vertices=vertices)
    assert report.origins.tolist() == sorted(best.values()) and torch.equal(avatar.triangles, before[report.origins])
    _, avatar = bound(100)
    with torch.no_grad():
        avatar.opacity_logits.copy_(torch.linspace(0, 1, 100))
        avatar.log_scales[list(best.values())] += 5.0
    report = refined(avatar, replace(NOW, prune_scale=1.0), torch.zeros(100), vertices=vertices)
    assert report.pruned == len(best) and not set(best.values()) & set(report.origins.tolist())
    _, avatar = bound(100)
    with torch.no_grad():
        avatar.opacity_logits.fill_(-9)
    assert refined(avatar, replace(NOW, one_per_triangle=False), torch.zeros(100), vertices=vertices).total == 0
    assert avatar(vertices).means.shape == (0, 3)


def test_children_ride_on_their_parents_triangle():
    vertices, avatar = bound(40)
    triangles, points = avatar.triangles.clone(), avatar.barycentrics.clone()
    report = refined(avatar, replace(NOW, split_scale=0.0), (torch.arange(40) < 10).float(), vertices=vertices)
    assert report.split == 10
    for now, then in ((avatar.triangles, triangles), (avatar.barycentrics, points)):
        assert torch.equal(now, torch.cat([then[10:], then[:10], then[:10]])) and not now.requires_grad
    assert set(dict(avatar.named_buffers())) == {"triangles", "barycentrics", "rest", "identity"}


def test_the_cap_takes_the_most_wanted():
    gaussians = free(50)
    gradients = torch.rand(50, generator=torch.Generator().manual_seed(0)) + 1.0
    report = refined(gaussians, replace(NOW, split_scale=10.0, most=57), gradients)
    assert (report.cloned, report.total) == (7, 57)
    chosen = gradients.argsort(descending=True)[:7].sort().values
    assert torch.equal(gaussians["means"][50:], gaussians["means"][chosen])
    assert refined(free(50), replace(NOW, most=20), gradients).total == 50, "the cap removes nothing"


def test_the_cap_counts_those_that_only_stay_for_their_triangle():
    """Planted and seen red: room taken from the faint that stay after all."""
    vertices, avatar = bound(100, side=2)
    faint = avatar.triangles.unique(dim=0, return_inverse=True)[1] < 4
    with torch.no_grad():
        avatar.opacity_logits[faint] = -9.0
    report = refined(avatar, replace(NOW, most=100), (~faint).float(), vertices=vertices)
    assert report.pruned == int(faint.sum()) - 4 and report.cloned + report.split == 100 - 4 - int((~faint).sum()) and report.total == 100


def test_resets_forget_where_opacities_were_going():
    """Only opacities; and moments of nothing else (fault planted: all state zeroed)."""
    gaussians = free(30)
    optimizer = adam(gaussians)
    sum(p.square().sum() for p in gaussians.values()).backward()
    optimizer.step()
    before = {name: p.detach().clone() for name, p in gaussians.items()}
    control = DensityControl(DensityConfig(start=1, stop=100, every=50, reset_every=7))
    assert not control.step(6, gaussians, optimizer).reset and control.step(7, gaussians, optimizer) == replace(
        control.step(6, gaussians, optimizer), reset=True
    )
    assert torch.equal(gaussians["means"], before["means"])
    expected = before["opacity_logits"].sigmoid().clamp(max=0.01)
    torch.testing.assert_close(gaussians["opacity_logits"].sigmoid(), expected)
    moments = {name: optimizer.state[p]["exp_avg"].any().item() for name, p in gaussians.items()}
    assert moments == {name: name != "opacity_logits" for name in gaussians}
    assert optimizer.state[gaussians["opacity_logits"]]["step"] == 1


def test_when():
    config = DensityConfig(start=20, stop=60, every=10, reset_every=15)
    assert [s for s in range(100) if config.refines(s)] == [20, 30, 40, 50] and [s for s in range(100) if config.resets(s)] == [15, 30, 45]
    gaussians = free(5)
    control = DensityControl(config)
    assert control.step(19, gaussians, adam(gaussians)).total == 5
    with pytest.raises(ValueError, match="expected observations before step 20, found none"):
        control.step(20, gaussians, adam(gaussians))


# Real fits: a flat grey picture with a chequered corner, which an even covering cannot resolve.
def chequered():
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    squares = ((x // 3 + y // 3) % 2).float()[..., None] * torch.tensor([0.9, 0.3, 0.1]) + torch.tensor([0.05, 0.1, 0.6])
    return torch.where(((x < 15) & (y < 15))[..., None], squares, 0.5)


def even(count, seed):
    """Round Gaussians of a size that covers the square."""
    gaussians = free(count, seed)
    with torch.no_grad():
        gaussians["quats"].copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(count, 4))
        gaussians["log_scales"].fill_(math.log(0.5 / count**0.5))
        gaussians["opacity_logits"].zero_()
        gaussians["colors"].fill_(0.5)
    return gaussians


def fitted(gaussians, optimizer, control, steps, vertices=None):
    """The mean square error after the last step."""
    wanted = chequered()
    for step in steps:
        drawn = scene(gaussians, vertices)
        rendering = draw(drawn, FRONT, BLACK)
        rendering.means2d.retain_grad()
        optimizer.zero_grad()
        (rendering.colors - wanted).square().mean().backward()
        optimizer.step()
        if control is not None:
            control.observe(drawn.scales, rendering.means2d.grad, rendering.radii, SIZE, SIZE)
            control.step(step, gaussians, optimizer)
    with torch.no_grad():
        return float((draw(scene(gaussians, vertices), FRONT, BLACK).colors - wanted).square().mean())


FIT = DensityConfig(start=30, stop=150, every=10, reset_every=0, grow_gradient=1e-4, split_scale=0.03, most=100)


def test_a_fit_ends_lower_with_no_more_gaussians():
    """By the factor 1.4 when the test was written; 1.4, 4.1 and 1.6 for the seeds 1 to 3."""
    plain, controlled = even(100, 0), even(60, 0)
    without = fitted(plain, adam(plain), None, range(1, 201))
    with_control = fitted(controlled, adam(controlled), DensityControl(FIT), range(1, 201))
    assert with_control < without and 60 < len(controlled["means"]) <= 100, (with_control, without, len(controlled["means"]))


def test_a_fit_of_an_avatar_ends_lower_with_no_more_gaussians():
    """By the factor 4.3 when the test was written; 5.3, 1.7 and 2.5 for the seeds 1 to 3."""
    vertices, plain = bound(100)
    _, controlled = bound(60)
    without = fitted(plain, adam(plain), None, range(1, 201), vertices)
    with_control = fitted(controlled, adam(controlled), DensityControl(FIT), range(1, 201), vertices)
    assert with_control < without and 60 < len(controlled.offsets) <= 100, (with_control, without, len(controlled.offsets))


def test_a_resumed_fit_is_the_same_fit():
    """Bit for bit, whether it stopped just after a refinement, in between, or on a reset; through files.

    Planted and seen red: observations not stored; halves drawn from torch's global generator.
    """
    config = replace(FIT, start=10, every=10, reset_every=25, grow_gradient=1e-3)
    vertices, whole = bound(50)
    optimizer, control = adam(whole), DensityControl(config)
    torch.manual_seed(1)
    fitted(whole, optimizer, control, range(1, 46), vertices)
    for stop in (20, 25, 33):
        _, part = bound(50)
        optimizer, control = adam(part), DensityControl(config)
        fitted(part, optimizer, control, range(1, stop + 1), vertices)
        file = io.BytesIO()
        torch.save({"avatar": part.state_dict(), "optimizer": optimizer.state_dict(), "control": control.state_dict()}, file)
        stored = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
        resumed = HeadAvatar(*(stored["avatar"][k] for k in (*HeadAvatar.binding, "identity")), head="h", person="p")
        resumed.load_state_dict(stored["avatar"])
        optimizer, control = adam(resumed), DensityControl(config)
        optimizer.load_state_dict(stored["optimizer"])
        control.load_state_dict(stored["control"])
        torch.manual_seed(2)
        fitted(resumed, optimizer, control, range(stop + 1, 46), vertices)
        for name, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], value), f"{name} after stopping at {stop}"
    assert len(whole.offsets) != 50


def test_seeds_and_steps_draw_different_halves():
    def places(seed, step):
        gaussians = free(5)
        refined(gaussians, replace(NOW, split_scale=0.0, seed=seed), torch.ones(5), step=step)
        return gaussians["means"].detach()

    assert torch.equal(places(0, 1), places(0, 1))
    assert not torch.equal(places(0, 1), places(0, 2)) and not torch.equal(places(0, 1), places(1, 1))


def test_an_avatar_names_all_its_rows(tmp_path):
    """Fault it notices: a new per-Gaussian tensor of HeadAvatar that density control does not know of."""
    vertices, avatar = bound(57)
    assert {name for name, tensor in avatar.state_dict().items() if len(tensor) == 57} == set(avatar.per_gaussian)
    refined(avatar, NOW, torch.ones(57), vertices=vertices)
    avatar.save(tmp_path / "a.safetensors")
    again = HeadAvatar.load(tmp_path / "a.safetensors")
    assert len(again.offsets) == len(avatar.offsets) > 57 and torch.equal(again(vertices).means, avatar(vertices).means)


@pytest.mark.cuda
def test_on_cuda_as_on_the_cpu():
    """The same Gaussians grow and go, and halves lie in the same places: the noise is the CPU's."""
    (vertices, here), (_, there) = bound(60), bound(60)
    there.cuda()
    gradients, config = torch.arange(60) % 3 * 1e-3, replace(NOW, split_scale=0.05, reset_every=1)
    expected = refined(here, config, gradients, vertices=vertices)
    found = refined(there, config, gradients, vertices=vertices.cuda())
    assert torch.equal(found.origins.cpu(), expected.origins) and found.split == expected.split > 0 and found.reset
    for name in here.per_gaussian:
        assert getattr(there, name).is_cuda
        torch.testing.assert_close(getattr(there, name).cpu(), getattr(here, name))


@hypothesis.settings(max_examples=60, derandomize=True, deadline=None, database=None)
@hypothesis.given(
    count=st.integers(0, 40),
    seed=st.integers(0, 10**6),
    on_mesh=st.booleans(),
    config=st.builds(
        DensityConfig,
        start=st.just(1),
        stop=st.just(10),
        every=st.just(1),
        reset_every=st.sampled_from([0, 1]),
        grow_gradient=st.sampled_from([0.0, 0.3, 0.8, 2.0]),
        split_scale=st.sampled_from([0.0, 0.08, 10.0]),
        prune_opacity=st.sampled_from([0.005, 0.3, 0.49]),
        prune_scale=st.sampled_from([0.08, 0.15, math.inf]),
        prune_radius=st.sampled_from([0.5, math.inf]),
        new_opacity=st.sampled_from(["inherited", "shared"]),
        one_per_triangle=st.booleans(),
        most=st.sampled_from([0, 10, 45, 10_000]),
    ),
)
def test_invariants(count, seed, on_mesh, config):
    vertices, gaussians = bound(count, seed, side=2) if on_mesh else (None, free(count, seed))
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        named(gaussians)["opacity_logits"].copy_(torch.randn(count, generator=random))
    optimizer = adam(gaussians)
    sum(p.square().sum() for p in named(gaussians).values()).backward()
    optimizer.step()
    triangles = gaussians.triangles.clone() if on_mesh else None
    before = {name: p.detach().clone() for name, p in named(gaussians).items()}
    gradients, radii = torch.rand(2, count, generator=random)
    report = refined(gaussians, config, gradients, optimizer, vertices=vertices, radii=radii)

    after = named(gaussians)
    assert report.total == count + report.cloned + report.split - report.pruned <= max(count, config.most)
    assert report.reset == (config.reset_every == 1)
    changed = report.cloned + report.split + report.pruned > 0
    assert changed == (report.origins is not None)
    origins = report.origins if changed else torch.arange(count)
    kept = origins >= 0
    assert int((~kept).sum()) == report.cloned + 2 * report.split and (origins[kept].diff() > 0).all()
    rows = {name for name in after if name != "light"}
    for name in rows:
        assert len(after[name]) == report.total and after[name].isfinite().all() and after[name].requires_grad
        if name != "opacity_logits":
            assert torch.equal(after[name][kept], before[name][origins[kept]])
        assert optimizer.state[after[name]]["exp_avg"].shape == after[name].shape
        assert not optimizer.state[after[name]]["exp_avg"][~kept].any()
    if report.reset:
        assert (after["opacity_logits"].sigmoid() <= 2 * config.prune_opacity + 1e-6).all()
    if on_mesh:
        assert gaussians.triangles.shape == (report.total, 3)
        mine, theirs = ({tuple(row) for row in t.tolist()} for t in (gaussians.triangles, triangles))
        assert mine == theirs if config.one_per_triangle else mine <= theirs
        assert torch.equal(gaussians.triangles[kept], triangles[origins[kept]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"every": 0}, "expected every >= 1"),
        ({"start": 20, "stop": 10}, "expected every >= 1 and start <= stop, found 100, 20, 10"),
        ({"prune_opacity": 0.6}, "prune_opacity: expected between 0 and 0.5, found 0.6"),
        ({"grow_gradient": -1.0}, "grow_gradient: expected at least 0, found -1.0"),
        ({"split_scale": math.nan}, "split_scale: expected at least 0, found nan"),
    ],
)
def test_impossible_settings_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        replace(DensityConfig(), **change)


def test_what_cannot_be_controlled_is_refused():
    gaussians, control = free(6), DensityControl(NOW)
    rendering = draw(scene(gaussians), FRONT, BLACK)
    rendering.colors.sum().backward()
    scales = gaussians["log_scales"].exp()
    with pytest.raises(ValueError, match=r"call means2d\.retain_grad\(\) before backward"):
        control.observe(scales, None, rendering.radii, SIZE, SIZE)
    control.observe(scales, torch.ones(1, 6, 2), rendering.radii, SIZE, SIZE)
    with pytest.raises(ValueError, match="expected the 6 Gaussians it has observed so far, found 7"):
        control.step(1, free(7), adam(free(7)))
    with pytest.raises(ValueError, match="means: expected in an optimizer that is given, found in none"):
        control.step(1, gaussians, adam(free(6)))
    for broken, words in (
        (
            {k: v for k, v in gaussians.items() if k != "quats"},
            "expected means or offsets, quats, log_scales and opacity_logits, found colors",
        ),
        ({**gaussians, "opacity_logits": torch.zeros(6, 1)}, r"opacity_logits: expected shape \[6\], found \[6, 1\]"),
        ({**gaussians, "light": torch.zeros(4)}, "light: expected 6 rows like quats"),
        (torch.nn.Linear(2, 2), "expected a dict of tensors or a module with `per_gaussian`, found Linear"),
    ):
        with pytest.raises(ValueError, match=words):
            control.step(1, broken)


def test_a_rendering_needs_no_footprints():
    """Whoever builds one from pictures alone may."""
    rendering = Rendering(torch.zeros(2, 2, 3), torch.zeros(2, 2, 1))
    assert rendering.means2d is None and rendering.radii is None
