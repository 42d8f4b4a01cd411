"""Head pose found from pictures: the flow is the derivative of the drawing, and a wrong pose is mended by it."""

from dataclasses import replace

import pytest
import roma
import torch

from mango.data.pictures import PictureBatch
from mango.head.assets import JOINTS
from mango.training.registration import RegistrationConfig, turn_towards, turned, with_flow
from renderer import Camera, draw
from renderer.cameras import portrait_camera
from renderer.head import AvatarConfig, new_avatar

SIZE, DEGREE = 96, torch.pi / 180


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
    """The Gaussians of one picture with their flow, as stage two makes them."""
    joints = head.with_shape(torch.zeros(head.identities)).joints
    root, neck = joints[JOINTS.index("root")], joints[JOINTS.index("neck")]
    if rotation is not None:
        neck = root + roma.rotvec_to_rotmat(rotation) @ (neck - root)
    follows = ((1 - head.skin_weights[:, 0])[avatar.triangles] * avatar.barycentrics).sum(-1)
    return with_flow(avatar(posed(head, neck_pose, rotation)), follows[None], neck[None], camera)


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
    flow = flowing(head, sitter, neck_pose, camera, rotation).colors[0, :, 3:].unflatten(-1, (3, 2))

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
    assert turn_towards(other, drawing, RegistrationConfig(largest_degrees=0.5)).norm() <= 0.5 * DEGREE * 1.0001


def test_lips_do_not_turn_the_head(head, sitter):
    """A picture that differs in the mouth alone says little about the pose: its region counts a tenth."""
    camera = batched(portrait_camera(SIZE))
    drawing = draw(flowing(head, sitter, torch.zeros(3), camera), camera, torch.zeros(9)).colors
    picture = recorded(drawing[..., :3].clone(), camera)
    picture.colors[:, 58:70, 38:58] = picture.colors[:, 61:73, 38:58].clone()  # the mouth moved by three pixels
    mouth = picture.landmarks.clone()
    mouth[:, 48:68] = torch.tensor([38.0, 58.0]) + torch.rand(20, 2) * torch.tensor([20.0, 12.0])
    blind = turn_towards(picture, drawing, RegistrationConfig())
    told = turn_towards(replace(picture, landmarks=mouth), drawing, RegistrationConfig())
    assert told.norm() < 0.5 * blind.norm()
