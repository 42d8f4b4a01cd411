"""Cameras look where they are told, upright."""

import pytest
import torch

from renderer.cameras import look_at, portrait_camera


def pixel(camera, point):
    x, y, z = (camera.camera_from_world @ torch.tensor([*point, 1.0]))[:3]
    u, v, _ = camera.intrinsics @ torch.stack([x / z, y / z, torch.ones(())])
    return float(u), float(v), float(z)


def test_portrait_is_upright_and_unmirrored():
    """Fault it notices: a flipped axis. Up in the world is up in the picture; the person's left is on our right."""
    camera = portrait_camera(100)
    u, v, depth = pixel(camera, (0.0, -0.02, 0.0))
    assert (u, v) == (pytest.approx(50), pytest.approx(50)) and depth == pytest.approx(0.9)
    assert pixel(camera, (0.0, 0.1, 0.0))[1] < 50 and pixel(camera, (0.05, -0.02, 0.0))[0] > 50
    assert pixel(camera, (0.0, -0.02, 0.1))[2] == pytest.approx(0.8)  # the nose is nearer


def test_yaw_shows_the_persons_left_and_pitch_the_top():
    left_ear, top = (0.08, -0.02, 0.0), (0.0, 0.1, 0.0)
    assert pixel(portrait_camera(100, yaw_degrees=40), left_ear)[2] < pixel(portrait_camera(100), left_ear)[2]
    assert pixel(portrait_camera(100, pitch_degrees=40), top)[2] < pixel(portrait_camera(100), top)[2]


def test_look_at_is_a_rotation():
    matrix = look_at((0.3, 0.4, 0.5), (0.0, 0.1, 0.0)).double()
    torch.testing.assert_close(matrix[:3, :3] @ matrix[:3, :3].T, torch.eye(3).double(), atol=1e-6, rtol=0)
    assert float(torch.linalg.det(matrix[:3, :3])) == pytest.approx(1)
    torch.testing.assert_close(
        matrix @ torch.tensor([0.3, 0.4, 0.5, 1.0]).double(), torch.tensor([0.0, 0, 0, 1]).double(), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(("eye", "target"), [((0, 0, 0), (0, 0, 0)), ((0, 1, 0), (0, 0, 0))])
def test_impossible_views_are_refused(eye, target):
    with pytest.raises(ValueError, match="look_at: expected"):
        look_at(eye, target)
