"""The compiled binding is the plain one, forward and backward, and computes only what somebody asked for."""

import pytest
import torch
from gaussian_scenes import assert_no_worse_than

from renderer.backends import cpu
from renderer.binding import check_rows, placed, placed_plainly, triangle_frames

ATTRIBUTES = ("barycentrics", "offsets", "quats", "log_scales")


@pytest.fixture(autouse=True)
def compiler():
    reason = cpu.obstacle()
    if reason is not None:
        pytest.skip(f"backend cpu: {reason}")


def riding(gaussians=203, *, batch=(3,), vertices=60, seed=0):
    """Arguments of `placed` in float64: Gaussians on triangles that share their corners, in numbers that fill no vector evenly."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    return {
        "vertices": normal(*batch, vertices, 3),
        "triangles": torch.stack([torch.randperm(vertices, generator=random)[:3] for _ in range(gaussians)]),
        "barycentrics": normal(gaussians, 3).softmax(-1),
        "offsets": normal(gaussians, 3),
        "quats": normal(gaussians, 4),
        "log_scales": normal(gaussians, 3),
    }


def without_area(*corners, batch=(2,)):
    """The same triangle everywhere. Its corners are numbers that float32 has, so what vanishes does so in every precision."""
    scene = riding(20, batch=batch, vertices=3, seed=3)
    scene["vertices"] = torch.tensor(corners, dtype=torch.float64).expand(*batch, 3, 3).clone()
    scene["triangles"] = torch.tensor([[0, 1, 2]]).expand(20, 3).clone()
    return scene


SCENES = {
    "many": riding(),
    "no batch": riding(batch=()),
    "two axes of batch": riding(33, batch=(2, 2), seed=1),
    "fewer than a vector": riding(3, seed=2),
    "a point": without_area((0.5, 0.25, 1), (0.5, 0.25, 1), (0.5, 0.25, 1)),
    "no first edge": without_area((0.5, 0, 0), (0.5, 0, 0), (0, 1, 0)),
    "no second edge": without_area((0, 0.5, 0), (1, 0.5, 0), (0, 0.5, 0)),
    "a line": without_area((0, 0, 0), (0, 0, 1), (0, 0, 2)),
    "just too short for a direction": without_area((0, 0, 0), (2**-40, 0, 0), (0, 2**-41, 0)),
}


def converted(scene, dtype):
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in scene.items()}


def plainly(vertices, triangles, **attributes):
    return placed_plainly(triangle_frames(vertices, triangles), **attributes)


def everything(place, scene, dtype=torch.float32, heeded=("means", "quats", "scales", "normals", "sides")):
    """Places and the gradients of a random loss of those ``heeded``, by name, in float64."""
    scene = converted(scene, dtype)
    leaves = {name: value.detach().clone().requires_grad_() for name, value in scene.items() if value.is_floating_point()}
    places = vars(place(**{**scene, **leaves}))
    random = torch.Generator().manual_seed(7)
    directions = {name: torch.randn(value.shape, generator=random, dtype=torch.float64).to(dtype) for name, value in places.items()}
    sum((places[name] * directions[name]).sum() for name in heeded).backward()
    results = {**places, **{f"gradient of {name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}}
    return {name: value.detach().double() for name, value in results.items()}


@pytest.mark.parametrize("name", SCENES)
def test_compiled_as_defined(name):
    """Planted and seen red: a sign in the gradient of a quaternion's column, the second column taken where two are equal, the
    direction's gradient of an edge that has none, a vertex shared by two Gaussians that keeps the last one's
    gradient only, a sign in that of the last side.
    """
    exact, rounded = everything(plainly, SCENES[name], torch.float64), everything(plainly, SCENES[name])
    assert_no_worse_than(everything(placed, SCENES[name]), truth=exact, yardstick=rounded)


def test_compiled_half_turns():
    """Frames turned by half a turn about an axis, and about none: each column of the quaternion's matrix is taken once."""
    scene = riding(4, batch=(), vertices=12, seed=4)
    axes = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double()  # diagonals of the rotations
    first, third = torch.zeros(4, 3).double(), torch.zeros(4, 3).double()
    first[:, 0], third[:, 2] = axes[:, 0], -axes[:, 2]
    scene["vertices"] = torch.stack([torch.zeros(4, 3).double(), first, third], dim=1).reshape(12, 3)
    scene["triangles"] = torch.arange(12).reshape(4, 3)
    assert_no_worse_than(everything(placed, scene), truth=everything(plainly, scene, torch.float64), yardstick=everything(plainly, scene))


def test_same_bits_on_any_number_of_threads():
    """Planted and seen red: vertices' gradients added up by Gaussians in pieces, in the order in which threads finish."""
    scene, results = riding(3000, batch=(11,), vertices=500), []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(everything(placed, scene))
    for other in results[1:]:
        for name, value in results[0].items():
            assert torch.equal(value, other[name]), name


def test_ops_obey_torchs_rules():
    from renderer.backends.cpu_binding import bind_op

    scene = converted(riding(7, batch=(2,), vertices=9), torch.float32)
    leaves = [value.clone().requires_grad_() if value.is_floating_point() else value for value in scene.values()]
    torch.library.opcheck(bind_op, leaves)


@pytest.mark.parametrize(("frozen", "idle"), [(ATTRIBUTES, "attribute_gradients_op"), (("vertices",), "vertex_gradient_op")])
def test_gradients_that_nobody_asks_for_are_not_computed(frozen, idle, monkeypatch):
    """A motion step freezes the avatars, a head step has no gradient for the mesh. Each op costs as much as the forward pass."""
    from renderer.backends import cpu_binding

    def unasked(*_):
        raise AssertionError(f"{idle} was not asked for")

    scene = converted(riding(), torch.float32)
    leaves = {name: value.requires_grad_(name not in frozen) for name, value in scene.items() if value.is_floating_point()}
    monkeypatch.setattr(cpu_binding, idle, unasked)
    placed(**scene).means.sum().backward()
    assert {name for name, leaf in leaves.items() if leaf.grad is None} == set(frozen)


@pytest.mark.parametrize("part", ["means", "quats", "scales", "normals", "sides"])
def test_a_loss_of_one_result(part):
    """The others' gradients do not arrive as zeros but not at all. Attributes that the plain form then leaves alone get zeros."""
    exact, rounded = (everything(plainly, SCENES["many"], dtype, [part]) for dtype in (torch.float64, torch.float32))
    found = everything(placed, SCENES["many"], heeded=[part])
    assert_no_worse_than(found, truth=exact, yardstick=rounded)
    assert all((found[name] == 0).all() for name in found.keys() - exact.keys())


def test_other_triangles_are_refused():
    scene = converted(riding(), torch.float32)
    scene["triangles"][5, 1] = 60
    with pytest.raises(ValueError, match="faces: expected vertex numbers from 0 to 59, found 0 to 60"):
        placed(**scene)


def test_plain_where_there_is_no_compiler(monkeypatch):
    monkeypatch.setattr(cpu, "obstacle", lambda: "no C++ compiler found")
    for name, value in everything(placed, SCENES["many"]).items():
        assert torch.equal(value, everything(plainly, SCENES["many"])[name]), name


def test_plain_in_double_precision():
    for name, value in everything(placed, SCENES["many"], torch.float64).items():
        assert torch.equal(value, everything(plainly, SCENES["many"], torch.float64)[name]), name


def test_triangles_in_other_whole_numbers():
    """Seen red: a crash, for int32 was read as int64."""
    scene = converted(riding(), torch.float32)
    torch.testing.assert_close(placed(**{**scene, "triangles": scene["triangles"].int()}).means, placed(**scene).means)


@pytest.mark.parametrize(("name", "shape"), [("barycentrics", (1, 3)), ("offsets", (100, 3)), ("quats", (203, 3))])
def test_rows_that_do_not_belong_to_the_triangles_are_refused(name, shape):
    """Seen red: where no hook checks shapes, numbers from anywhere in memory."""
    with pytest.raises(ValueError, match=rf"{name}: expected shape \(203, [34]\), a row for each triangle, found \("):
        check_rows(203, **{name: torch.zeros(shape)})
