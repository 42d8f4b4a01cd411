"""Laws that any head in FLAME's layout obeys."""

import torch

from mango.head.conventions import axis_angle_to_matrix, matrix_to_axis_angle
from mango.head.skinning import joint_transforms


def motion(head, frames: int, seed: int = 0, scale: float = 0.3):
    draw = torch.Generator().manual_seed(seed)
    random = lambda *size: scale * torch.randn(*size, generator=draw, dtype=torch.float64)  # noqa: E731
    return random(frames, head.expressions), random(frames, 3), random(frames, 3), random(frames, 6), random(frames, 3), random(frames, 3)


def test_zero_motion_is_template_plus_shape(tiny):
    shape = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    still = [torch.zeros_like(part) for part in motion(tiny, 2)]
    expected = tiny.template + tiny.shape_directions @ shape
    assert torch.allclose(tiny.with_shape(shape).vertices(*still), expected.expand(2, -1, -1), atol=1e-15)


def test_a_short_shape_is_padded_with_zeros(tiny):
    short, full = torch.tensor([1.0], dtype=torch.float64), torch.tensor([1.0, 0, 0], dtype=torch.float64)
    assert torch.equal(tiny.with_shape(short).template, tiny.with_shape(full).template)


def test_rotation_is_rigid_about_the_root_and_translation_comes_last(tiny):
    person = tiny.with_shape(torch.ones(3, dtype=torch.float64))
    expr, neck, jaw, eyes, rotation, translation = motion(tiny, 3)
    unplaced = person.vertices(expr, neck, jaw, eyes)
    turn, root = axis_angle_to_matrix(rotation), person.joints[0]
    expected = (unplaced - root) @ turn.mT + root + translation[:, None]
    assert torch.allclose(person.vertices(expr, neck, jaw, eyes, rotation, translation), expected, atol=1e-14)


def test_vertices_follow_the_equation_written_out(tiny):
    """The flattened bases, the subtree form of skinning and the unused-corrective shortcut against FLAME's formula, term by term."""
    person = tiny.with_shape(torch.ones(3, dtype=torch.float64))
    expr, neck, jaw, eyes, rotation, _ = motion(tiny, 1)
    rotations = axis_angle_to_matrix(torch.cat([rotation, neck, jaw, eyes], dim=1).view(5, 3))
    features = (rotations[1:] - torch.eye(3, dtype=torch.float64)).reshape(36)
    rest = person.template + tiny.expression_directions @ expr[0] + (features @ tiny.pose_correctives).view(-1, 3)
    globals_ = []
    for joint, parent in enumerate((-1, 0, 1, 1, 1)):
        local = torch.eye(4, dtype=torch.float64)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = person.joints[joint] - (person.joints[parent] if parent >= 0 else 0)
        globals_.append(local if parent < 0 else globals_[parent] @ local)
    expected = torch.zeros_like(rest)
    for joint, world in enumerate(globals_):
        from_joint = rest - person.joints[joint]
        expected += tiny.skin_weights[:, joint : joint + 1] * (from_joint @ world[:3, :3].T + world[:3, 3])
    assert torch.allclose(person.vertices(expr, neck, jaw, eyes, rotation)[0], expected, atol=1e-14)


def test_subtree_skinning_is_blended_skinning(tiny):
    _, neck, jaw, eyes, rotation, _ = motion(tiny, 2)
    rotations = axis_angle_to_matrix(torch.cat([rotation, neck, jaw, eyes], dim=1).view(2, 5, 3))
    person = tiny.with_shape(torch.zeros(3, dtype=torch.float64))
    moves = joint_transforms(rotations, person.joints)
    points = person.template.expand(2, -1, -1)
    assert torch.allclose(tiny.skin(points, *moves), tiny.skin.blended(points, *moves), atol=1e-14)


def test_people_in_a_batch_do_not_touch_each_other(tiny):
    shapes = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    moving = [torch.stack(parts) for parts in zip(motion(tiny, 4, seed=2), motion(tiny, 4, seed=3), strict=True)]
    together = tiny.with_shape(shapes).vertices(*moving)
    for person in (0, 1):
        alone = tiny.with_shape(shapes[person]).vertices(*(part[person] for part in moving))
        assert torch.allclose(together[person], alone, atol=1e-14)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_gradients_of_everything(tiny):
    """Also at zero pose, where an axis-angle formula divides by zero."""
    shape = torch.zeros(3, dtype=torch.float64)
    for scale in (0.3, 0.0):
        inputs = [part.requires_grad_() for part in (shape.clone(), *motion(tiny, 1, scale=scale))]
        assert torch.autograd.gradcheck(lambda shape, *moving: tiny.with_shape(shape).vertices(*moving), inputs, atol=1e-6)


def test_axis_angle_round_trip():
    rotation = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rotation *= 3.0 / rotation.norm(dim=-1).max()  # short of half a turn
    assert torch.allclose(matrix_to_axis_angle(axis_angle_to_matrix(rotation)), rotation, atol=1e-12)
    quarter = axis_angle_to_matrix(torch.tensor([torch.pi / 2, 0, 0], dtype=torch.float64))
    assert torch.allclose(quarter @ quarter.new_tensor([0, 0, 1]), quarter.new_tensor([0, -1, 0]))  # +x takes forward down: a jaw opens


def test_float32_loses_no_more_than_its_rounding(head):
    exact = Head64(head)
    moving = motion(head, 3, scale=0.2)
    truth = exact.with_shape(torch.zeros(head.identities, dtype=torch.float64)).vertices(*moving)
    single = head.with_shape(torch.zeros(head.identities)).vertices(*(part.float() for part in moving))
    rounded = truth.float().double()  # the yardstick: the exact answer, stored in float32
    assert (single - truth).abs().max() < 16 * (rounded - truth).abs().max()


def Head64(head):
    import copy

    return copy.deepcopy(head).double()
