"""PyTorch3D's z-buffer against ours where it is installed; elsewhere only what lies around it."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from renderer import mesh, mesh_pytorch3d
from renderer.cameras import look_at, pinhole
from renderer.rasterize import BACKENDS
from renderer.types import Camera


def soup(triangles=40, seed=0):
    random = torch.Generator().manual_seed(seed)
    middles = torch.randn(triangles, 1, 3, generator=random) * 0.08
    vertices = (middles + torch.randn(triangles, 3, 3, generator=random) * 0.06).reshape(-1, 3)
    vertices[:3] += torch.tensor([0.0, 0.0, 2.0])  # behind the camera
    vertices[3] += torch.tensor([0.0, 0.0, 0.5])  # a corner nearer than the near plane of the tests below
    return vertices, torch.arange(3 * triangles).reshape(-1, 3)


def assert_same_surface(found, expected, differing=0.01):
    """The same triangle at all but a few pixels, whose centres lie on an edge; the same places on them there."""
    same = found.triangles == expected.triangles
    assert same.shape == expected.triangles.shape and (~same).double().mean() <= differing, f"{int((~same).sum())} pixels differ"
    assert 0.1 < (expected.triangles >= 0).double().mean() < 0.95
    torch.testing.assert_close(found.depths[same], expected.depths[same], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.barycentrics[same], expected.barycentrics[same], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (90, 40), (40, 90), (33, 51)])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_same_as_ours(width, height, device):
    """Faults it is for: an axis flipped, a picture that is not square squeezed, half a pixel, barycentrics that ignore perspective."""
    pytest.importorskip("pytorch3d", reason="pytorch3d is not installed: mesh_pytorch3d stays unverified")
    vertices, faces = soup()
    intrinsics = pinhole(width, height, 35.0) + torch.tensor([[0.0, 0.0, 3.0], [0.0, 4.0, -2.0], [0.0, 0.0, 0.0]])
    camera = Camera(look_at((0.1, 0.2, 0.7), (0, 0, 0)), intrinsics, width, height)
    here = Camera(camera.camera_from_world.to(device), camera.intrinsics.to(device), width, height)
    found = mesh_pytorch3d.rasterize_mesh(vertices.to(device), faces.to(device), here, near_plane=0.3)
    assert found.triangles.device.type == device
    found = mesh.Surface(*(value.cpu() for value in vars(found).values()))
    assert_same_surface(found, mesh.triangles_at_pixels(vertices, faces, camera, near_plane=0.3))


class Meshes(SimpleNamespace):
    """Stands in for pytorch3d.structures.Meshes: one mesh."""


def rasterize_meshes(meshes, image_size, perspective_correct, faces_per_pixel, cull_backfaces, **_):
    """Stands in for PyTorch3D's rasterizer, by its documentation: every triangle at every pixel, from the top left, x to the left."""
    assert perspective_correct and faces_per_pixel == 1 and not cull_backfaces
    (rows, cols), (corners,), (faces,) = image_size, meshes.verts, meshes.faces
    assert corners.dtype == torch.float32
    shorter = min(rows, cols)
    found, depths, weights = torch.full(image_size, -1), torch.full(image_size, -1.0), torch.full((*image_size, 3), -1.0)
    a, b, c = corners.double()[faces].unbind(-2)
    for row in range(rows):
        for col in range(cols):
            point = torch.tensor([cols - 1 - 2 * col, rows - 1 - 2 * row], dtype=torch.float64) / shorter

            def side(p, q, r=point):
                return (q[:, 0] - p[:, 0]) * (r[..., 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (r[..., 0] - p[:, 0])

            flat = torch.stack([side(b, c), side(c, a), side(a, b)], -1) / side(a, b, c)[:, None]
            true = flat / torch.stack([a[:, 2], b[:, 2], c[:, 2]], -1)
            true = true / true.sum(-1, keepdim=True)
            depth = (true * torch.stack([a[:, 2], b[:, 2], c[:, 2]], -1)).sum(-1)
            depth = torch.where((flat > 0).all(-1), depth, torch.inf)
            nearest = int(depth.argmin())
            if depth[nearest].isfinite():
                found[row, col], depths[row, col], weights[row, col] = nearest, depth[nearest].float(), true[nearest].float()
    return found[None, ..., None], depths[None, ..., None], weights[None, ..., None, :], None


@pytest.fixture
def stand_in(monkeypatch):
    names = ("pytorch3d", "pytorch3d.renderer", "pytorch3d.renderer.mesh", "pytorch3d.structures")
    modules = {name: ModuleType(name) for name in names}
    modules["pytorch3d.renderer.mesh"].rasterize_meshes = rasterize_meshes
    modules["pytorch3d.structures"].Meshes = Meshes
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(mesh_pytorch3d, "obstacle", lambda: None)


@pytest.mark.parametrize(("width", "height"), [(24, 24), (30, 16), (17, 31)])
def test_what_lies_around_it(stand_in, width, height):
    """Coordinates in, triangles out: against a stand-in that follows the documentation. It says nothing about PyTorch3D itself.

    Planted and seen red: x not mirrored, the longer side for the shorter, triangles not numbered as they came.
    """
    vertices, faces = soup()
    intrinsics = pinhole(width, height, 35.0) + torch.tensor([[0.0, 0.0, 3.0], [0.0, 4.0, -2.0], [0.0, 0.0, 0.0]])
    camera = Camera(look_at((0.1, 0.2, 0.7), (0, 0, 0)), intrinsics, width, height)
    found = mesh_pytorch3d.rasterize_mesh(vertices, faces, camera, near_plane=0.3)
    assert_same_surface(found, mesh.triangles_at_pixels(vertices, faces, camera, near_plane=0.3))
    nothing = mesh_pytorch3d.rasterize_mesh(vertices, faces, camera, near_plane=50.0)
    assert (nothing.triangles == -1).all() and not nothing.depths.any() and nothing.barycentrics.shape == (height, width, 3)


def test_batches(stand_in):
    reason = BACKENDS["cpu"].obstacle()
    if reason is not None:
        pytest.skip(reason)
    vertices, faces = soup()
    camera = Camera(look_at((0.1, 0.2, 0.7), (0, 0, 0)), pinhole(20, 12, 35.0), 20, 12)
    both = torch.stack([vertices, vertices * 0.7])[:, None]
    found, expected = (module.rasterize_mesh(both, faces, camera) for module in (mesh_pytorch3d, mesh))
    assert found.triangles.shape == (2, 1, 12, 20) and found.triangles.dtype == expected.triangles.dtype
    assert_same_surface(found, expected)


def test_without_pytorch3d_it_says_so(monkeypatch):
    monkeypatch.setattr(mesh_pytorch3d, "find_spec", lambda name: None)
    vertices, faces = soup()
    camera = Camera(look_at((0.1, 0.2, 0.7), (0, 0, 0)), pinhole(8, 8, 35.0), 8, 8)
    with pytest.raises(ValueError, match="expected PyTorch3D, found none: the pytorch3d package is not installed"):
        mesh_pytorch3d.rasterize_mesh(vertices, faces, camera)
