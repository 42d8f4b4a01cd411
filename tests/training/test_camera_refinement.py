"""Camera corrections start as nothing, move on the camera's side, and learn."""

import torch

from mango.training.camera_refinement import CameraRefinement


def test_a_new_correction_is_the_identity():
    cameras = torch.randn(2, 4, 4)
    torch.testing.assert_close(CameraRefinement(["d.0/a", "d.0/b"])(["d.0/b", "d.0/a"], cameras), cameras)


def test_a_shift_is_in_camera_coordinates_and_belongs_to_its_clip():
    refine = CameraRefinement(["d.0/a", "d.0/b"])
    refine.twists["d%2E0/b"].data[3] = 0.25
    world = torch.eye(4).repeat(2, 1, 1)
    moved = refine(["d.0/a", "d.0/b"], world)
    torch.testing.assert_close(moved[0], world[0])
    torch.testing.assert_close(moved[1, :3, 3], torch.tensor([0.25, 0, 0]))


def test_rotation_has_a_gradient_at_the_start():
    refine = CameraRefinement(["d/a"])
    refine(["d/a"], torch.eye(4)[None])[0, 0, 2].backward()
    assert refine.twists["d/a"].grad[1] == 1
