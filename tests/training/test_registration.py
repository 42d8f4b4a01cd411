"""Head pose found from pictures: the flow is the derivative of the drawing, and a wrong pose is mended by it."""

from dataclasses import replace

import pytest
import roma
import torch

from mango.data.pictures import PictureBatch
from mango.head.assets import JOINTS
from mango.training.registration import RegistrationConfig, correction, follows_neck, turned, with_flow
from renderer import Camera, draw
from renderer.cameras import portrait_camera
from renderer.head import AvatarConfig, new_avatar

SIZE, DEGREE = 96, torch.pi / 180
NOWHERE = torch.zeros(1, 3)  # the tracker's pose, still


@pytest.fixture(scope="module")
def sitter(head):
    """A head with a face to be told by: dark patches where hollows would be."""
    identity = torch.zeros(head.identities)
    avatar = new_avatar(head.template, head.faces, torch.ones(len(head.faces)), AvatarConfig(num_gaussians=4000), identity=identity,
                        head=head.digest, person="p", seed=0)  # fmt: skip
    places = (head.template[avatar.triangles] * avatar.barycentrics[..., None]).sum(1)
    with torch.no_grad():
        avatar.albedo.copy_((0.5 + 0.4 * torch.sin(110 * places[:, :1]) * torch.sin(90 * places[:, 1:2])).expand(-1, 3))
        avatar.opacity_logits.fill_(3.0)
    return avatar.requires_grad_(False)


def posed(head, neck_pose, rotation=None):
    expr, still = torch.zeros(1, 1, head.expressions), torch.zeros(1, 1, 3)
    root = None if rotation is None else rotation[None, None]
    return head.with_shape(torch.zeros(1, head.identities)).vertices(expr, neck_pose[None, None], still, torch.zeros(1, 1, 6), root)[:, 0]


def flowing(head, avatar, neck_pose, camera, rotation=None):
    """The Gaussians of one picture with the flow of the neck's three turns, as stage two makes them."""
    joints = head.with_shape(torch.zeros(head.identities)).joints
    root, neck = joints[JOINTS.index("root")], joints[JOINTS.index("neck")]
    if rotation is not None:
        neck = root + roma.rotvec_to_rotmat(rotation) @ (neck - root)
    return with_flow(avatar(posed(head, neck_pose, rotation)), follows_neck(avatar, head), camera, neck[None], 1.0)


def turn_towards(picture, drawing, config):
    """With a prior of one radian, which is none."""
    return correction(picture, drawing, NOWHERE, config)


def batched(camera):
    return Camera(camera.camera_from_world[None], camera.intrinsics[None], camera.width, camera.height)


def recorded(colors, camera):
    landmarks = torch.full((1, 68, 2), -100.0)  # no mouth and no eyes to look at differently
    mattes = torch.ones(1, SIZE, SIZE, 1)
    return PictureBatch((("d", "a", 0),), ("p",), colors, mattes, camera.camera_from_world, camera.intrinsics, landmarks)


@pytest.mark.parametrize("rotation", [None, (0.1, 0.4, -0.2)])
def test_the_flow_is_how_the_neck_moves_gaussians(head, sitter, rotation):
    """Against differences of the posed head. Notices another joint, another frame of the turn, exchanged axes, a lost depth term."""
    camera, neck_pose = batched(portrait_camera(SIZE)), torch.tensor([0.1, -0.2, 0.05])
    rotation = None if rotation is None else torch.tensor(rotation)
    root = torch.eye(3) if rotation is None else roma.rotvec_to_rotmat(rotation)
    flow = flowing(head, sitter, neck_pose, camera, rotation).colors[0, :, 3:].unflatten(-1, (2, 3)).mT

    def seen(pose):
        points = sitter(posed(head, pose, rotation)).means[0].double() @ camera.camera_from_world[0, :3, :3].double().T
        points = (points + camera.camera_from_world[0, :3, 3]) @ camera.intrinsics[0].double().T
        return points[:, :2] / points[:, 2:]

    step = 1e-2
    for axis in range(3):
        turn = root.T @ (step * torch.eye(3)[axis])
        difference = (seen(turned(neck_pose[None], turn[None])[0]) - seen(turned(neck_pose[None], -turn[None])[0])) / (2 * step)
        # pose correctives, which the flow leaves out, move the skin of the neck a little
        assert (flow[:, axis] - difference).norm() < 0.03 * difference.norm()


@pytest.mark.parametrize("degrees", [(1.5, 0.0, 0.0), (0.0, -1.5, 0.0), (0.0, 0.0, 1.5), (1.0, 1.0, -1.0)])
def test_a_wrong_pose_is_mended(head, sitter, degrees):
    """Fault it notices: the sign of the change (planted: the pose runs away), axes exchanged, a turn applied on the other side."""
    camera, right = batched(portrait_camera(SIZE)), torch.tensor([0.1, -0.2, 0.05])
    picture = recorded(draw(sitter(posed(head, right)), camera, torch.zeros(3)).colors, camera)
    pose = turned(right[None], torch.tensor([degrees]) * DEGREE)[0]
    for _ in range(4):
        drawing = draw(flowing(head, sitter, pose, camera), camera, torch.zeros(9)).colors
        pose = turned(pose[None], turn_towards(picture, drawing, RegistrationConfig()))[0]
    left = roma.rotmat_geodesic_distance(roma.rotvec_to_rotmat(pose), roma.rotvec_to_rotmat(right))
    assert left < 0.1 * torch.tensor(degrees).norm() * DEGREE


def test_what_fits_is_left_alone_and_no_turn_is_large(head, sitter):
    camera, pose = batched(portrait_camera(SIZE)), torch.zeros(3)
    drawing = draw(flowing(head, sitter, pose, camera), camera, torch.zeros(9)).colors
    picture = recorded(drawing[..., :3], camera)
    assert not turn_towards(picture, drawing, RegistrationConfig()).any()
    other = replace(picture, colors=picture.colors.flip(2))
    assert turn_towards(other, drawing, RegistrationConfig(largest=0.5 * DEGREE)).abs().max() <= 0.5 * DEGREE * 1.0001


def test_a_shrunk_picture_is_the_same_scene(head, sitter):
    """Noticed: cameras that stay as they were, a shift by half a pixel, a blur that grows with the pixels and with it the head."""
    camera = batched(portrait_camera(SIZE))
    picture = recorded(draw(sitter(posed(head, torch.zeros(3))), camera, torch.zeros(3)).colors, camera)
    half = picture.shrunk(2)
    small = Camera(half.camera_from_world, half.intrinsics, width=SIZE // 2, height=SIZE // 2)

    def turn(eps2d):
        joints = head.with_shape(torch.zeros(head.identities)).joints
        gaussians = sitter(posed(head, torch.zeros(3)))
        flowing = with_flow(gaussians, follows_neck(sitter, head), small, joints[None, JOINTS.index("neck")], 1.0)
        drawing = draw(flowing, small, torch.zeros(9), eps2d=eps2d).colors
        return turn_towards(half, drawing, RegistrationConfig()).norm() / DEGREE

    assert turn(0.3 / 4) < 0.1
    assert turn(0.3) > 2 * turn(0.3 / 4)


def test_what_pictures_do_not_say_the_tracker_says(head, sitter):
    """A picture of nothing: the pose goes back to the tracker's. Noticed: a prior on the last turn alone, which lets poses wander."""
    camera, already = batched(portrait_camera(SIZE)), torch.tensor([[2.0, -1.0, 0.5]]) * DEGREE
    drawing = draw(flowing(head, sitter, torch.zeros(3), camera), camera, torch.zeros(9)).colors
    drawing[..., :3] = 0.5
    picture = recorded(torch.rand(1, SIZE, SIZE, 3), camera)
    torch.testing.assert_close(correction(picture, drawing, already, RegistrationConfig()), -already, rtol=0.05, atol=0)
