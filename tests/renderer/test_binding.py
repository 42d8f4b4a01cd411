"""Bound Gaussians are glued to their triangles."""

import roma
import torch

from renderer.binding import bound_gaussians, frame_quaternion, squared_sides, strains, triangle_frames


def mesh(dtype=torch.float64, triangles=7):
    torch.manual_seed(0)
    return torch.randn(3 * triangles, 3, dtype=dtype), torch.arange(3 * triangles).reshape(triangles, 3)


def bound(vertices, faces):
    torch.manual_seed(1)
    count = len(faces)
    random = [torch.randn(count, width, dtype=vertices.dtype) for width in (3, 4, 3)]
    barycentrics = torch.rand(count, 3, dtype=vertices.dtype).softmax(-1)
    colors = torch.rand(count, 3, dtype=vertices.dtype)
    return bound_gaussians(triangle_frames(vertices, faces), barycentrics, *random, torch.rand(count, dtype=vertices.dtype), colors)


def covariance(gaussians):
    turn = roma.unitquat_to_rotmat(roma.quat_wxyz_to_xyzw(gaussians.quats / gaussians.quats.norm(dim=-1, keepdim=True)))
    return turn @ torch.diag_embed(gaussians.scales**2) @ turn.mT


def test_frames_are_rotations_with_the_normal_in_the_middle():
    vertices, faces = mesh()
    frames = triangle_frames(vertices, faces)
    rotation = frames.rotation()
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(7, 3, 3))
    assert (torch.linalg.det(rotation) > 0).all()
    edges = vertices[faces][:, 1:] - vertices[faces][:, :1]
    torch.testing.assert_close(edges @ rotation[:, :, 1, None], torch.zeros(7, 2, 1, dtype=torch.float64))


def test_frames_follow_the_formula_of_gaussian_avatars():
    """A right triangle with legs 2 (first edge, along x) and 1 (along y): scale (2 + 1) / 2, columns x, z, minus z cross x."""
    frames = triangle_frames(torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]]))
    torch.testing.assert_close(frames.scale, torch.tensor([1.5]))
    torch.testing.assert_close(frames.rotation()[0], torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))


def test_quaternions_are_the_matrices_for_every_rotation():
    """Half turns included, where a formula that divides by the trace breaks."""
    half_turns = torch.diag_embed(torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double())
    turns = torch.cat([roma.random_rotmat(500, dtype=torch.float64), half_turns])
    vertices = torch.stack([torch.zeros(503, 3).double(), turns[:, :, 0], -turns[:, :, 2]], dim=1).reshape(-1, 3)
    frames = triangle_frames(vertices, torch.arange(len(vertices)).reshape(-1, 3))
    torch.testing.assert_close(frames.rotation(), turns)
    quaternion = torch.stack(frame_quaternion(frames), dim=-1)
    assert (quaternion.norm(dim=-1) >= 2 - 1e-9).all()
    unit = quaternion / quaternion.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(roma.unitquat_to_rotmat(roma.quat_wxyz_to_xyzw(unit)), turns)


def test_a_rigid_move_of_the_mesh_moves_the_gaussians_rigidly():
    vertices, faces = mesh()
    turn, shift = roma.random_rotmat(dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    still, moved = bound(vertices, faces), bound(vertices @ turn.T + shift, faces)
    torch.testing.assert_close(moved.means, still.means @ turn.T + shift)
    torch.testing.assert_close(covariance(moved), turn @ covariance(still) @ turn.T)


def test_a_mesh_twice_as_large_has_gaussians_twice_as_large():
    vertices, faces = mesh()
    small, large = bound(vertices, faces), bound(2 * vertices, faces)
    torch.testing.assert_close(large.means, 2 * small.means)
    torch.testing.assert_close(large.scales, 2 * small.scales)


def test_gradients_reach_the_vertices():
    vertices, faces = mesh(triangles=3)

    def everything(vertices):
        gaussians = bound(vertices, faces)
        return gaussians.means, gaussians.quats, gaussians.scales

    assert torch.autograd.gradcheck(everything, vertices.requires_grad_())


def test_a_triangle_without_area_gives_no_nan():
    vertices = torch.zeros(3, 3, requires_grad=True)
    gaussians = bound(vertices, torch.tensor([[0, 1, 2]]))
    (gaussians.means.sum() + gaussians.quats.sum() + gaussians.scales.sum()).backward()
    for tensor in (gaussians.means, gaussians.quats, gaussians.scales, vertices.grad):
        assert tensor.isfinite().all()


def test_squared_sides_by_hand():
    """Corners (0, 0), (2, 0), (0.5, 1), wherever they lie and however they are turned."""
    flat = torch.tensor([[0.0, 0, 0], [2, 0, 0], [0.5, 1, 0]], dtype=torch.float64)
    for turn in roma.random_rotmat(5, dtype=torch.float64):
        found = squared_sides(triangle_frames(flat @ turn.T + 3.0, torch.tensor([[0, 1, 2]])))
        torch.testing.assert_close(found, torch.tensor([[4.0, 1.25, 3.25]], dtype=torch.float64))


def test_strains_by_hand():
    """Twice as long, as long, no length left, and no length at any time. Planted: sides not squared."""
    rest = torch.tensor([[1.0, 4.0, 9.0], [0.0, 1.0, 1.0]], requires_grad=True)
    found = strains(torch.tensor([[4.0, 4.0, 0.0], [0.0, 0.25, 1.0]]), rest)
    half = torch.tensor(2.0).log().tanh()
    torch.testing.assert_close(found, torch.stack([half, *torch.tensor([0.0, -1.0, 0.0]), -half, torch.tensor(0.0)]).view(2, 3))
    found.sum().backward()
    assert torch.isfinite(rest.grad).all()
