"""The z-buffer against its naive twin, by hand, and on edges."""

import pytest
import torch

from renderer.cameras import look_at, pinhole, portrait_camera
from renderer.mesh import at_pixels, check_faces, rasterize_mesh, shaded, triangles_at_pixels, visible_vertices
from renderer.rasterize import BACKENDS
from renderer.types import Camera


@pytest.fixture(autouse=True)
def compiled():
    reason = BACKENDS["cpu"].obstacle()
    if reason is not None:
        pytest.skip(reason)


def soup(triangles=60, seed=0):
    random = torch.Generator().manual_seed(seed)
    middles = torch.randn(triangles, 1, 3, generator=random) * 0.08
    vertices = (middles + torch.randn(triangles, 3, 3, generator=random) * 0.06).reshape(-1, 3)
    return vertices, torch.arange(3 * triangles).reshape(-1, 3)


@pytest.mark.parametrize("seed", range(3))
def test_same_as_every_triangle_at_every_pixel(seed):
    """Fault it notices: barycentrics in the wrong order (planted) or not perspective-correct."""
    vertices, faces = soup(seed=seed)
    vertices[:3] += torch.tensor([0.0, 0.0, 2.0])  # a triangle behind the camera
    camera = Camera(look_at((0.1, 0.2, 0.7), (0, 0, 0)), pinhole(43, 31, 30.0), 43, 31)
    found, expected = rasterize_mesh(vertices, faces, camera), triangles_at_pixels(vertices, faces, camera)
    assert torch.equal(found.triangles, expected.triangles) and 200 < (found.triangles >= 0).sum() < 43 * 31
    torch.testing.assert_close(found.barycentrics, expected.barycentrics)
    torch.testing.assert_close(found.depths, expected.depths)


def test_interpolated_positions_lie_on_the_pixels_ray():
    """Perspective-correct: the point that the barycentrics name projects to the pixel's centre, at the depth said."""
    vertices, faces = soup()
    camera = Camera(look_at((0.1, 0.2, 0.5), (0, 0, 0)), pinhole(32, 32, 40.0), 32, 32)
    surface = rasterize_mesh(vertices, faces, camera)
    points = at_pixels(surface, faces, vertices)
    seen = points @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
    plane = seen @ camera.intrinsics.T / seen[..., 2:]
    rows, cols = (surface.triangles >= 0).nonzero().unbind(-1)
    torch.testing.assert_close(plane[rows, cols, :2], torch.stack([cols + 0.5, rows + 0.5], -1), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[rows, cols, 2], surface.depths[rows, cols])


def test_no_cracks_between_neighbours():
    """A grid of triangles fills every pixel inside: shared edges leave no holes."""
    steps = torch.linspace(-0.2, 0.2, 8)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    vertices = torch.stack([x, y, 0.3 * x * y], -1).reshape(-1, 3)
    corner = (torch.arange(7)[:, None] * 8 + torch.arange(7)).reshape(-1)
    faces = torch.cat([torch.stack([corner, corner + 1, corner + 8], -1), torch.stack([corner + 1, corner + 9, corner + 8], -1)])
    camera = Camera(look_at((0, 0, 1.0), (0, 0, 0)), pinhole(64, 64, 20.0), 64, 64)
    assert (rasterize_mesh(vertices, faces, camera).triangles >= 0).all()


def test_batches_equal_single_pictures():
    vertices, faces = soup()
    camera = portrait_camera(24)
    together = rasterize_mesh(torch.stack([vertices, vertices * 0.7]), faces, camera)
    alone = rasterize_mesh(vertices * 0.7, faces, camera)
    assert torch.equal(together.triangles[1], alone.triangles) and not torch.equal(together.triangles[0], alone.triangles)


def test_what_is_behind_is_not_visible():
    near_and_far = torch.tensor([[-0.1, -0.1, 0.0], [0.1, -0.1, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, -0.2], [0.0, 0.0, 0.1], [0.0, 0.3, 5.0]])
    faces, camera = torch.tensor([[0, 1, 2]]), portrait_camera(64, target=(0, 0, 0))
    surface = rasterize_mesh(near_and_far, faces, camera)
    assert visible_vertices(surface, near_and_far, camera).tolist() == [1, 1, 1, 0, 1, 0]
    preview = shaded(surface, near_and_far, faces, camera)
    assert preview.shape == (64, 64, 3) and float(preview[0, 0, 0]) == 1 and 0 < float(preview[32, 32, 0]) < 1


def test_foreign_faces_are_refused():
    """Fault it notices: reading beyond the vertices."""
    with pytest.raises(ValueError, match="expected vertex numbers from 0 to 2, found 0 to 3"):
        rasterize_mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 3]]), portrait_camera(8))


def test_nothing_to_draw():
    surface = rasterize_mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int64), portrait_camera(8))
    assert (surface.triangles == -1).all() and not surface.depths.any() and not surface.barycentrics.any()


def test_torchs_defaults_change_nothing():
    """Seen red: with float64 as the default type, depths of 1e257."""
    vertices, faces = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([[0, 1, 2]])
    plain = rasterize_mesh(vertices, faces, portrait_camera(16))
    torch.set_default_dtype(torch.float64)
    try:
        found = rasterize_mesh(vertices, faces, portrait_camera(16))
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(vars(found).values(), vars(plain).values(), strict=True)) and found.depths.max() > 0.5


def test_faces_of_four_corners_are_refused():
    """Seen red: read as triangles, of which some were wrong."""
    with pytest.raises(ValueError, match=r"expected triangles, shape \(faces, 3\), found \(1, 4\)"):
        check_faces(torch.tensor([[0, 1, 2, 3]]), 4)
