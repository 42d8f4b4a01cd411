"""Head pose from pictures: the small turn of the neck that lays a drawing onto its recorded picture.

A tracker's head pose is off by a degree or so in every frame. That is a pixel: avatars learnt under it are blurred, and what is left of
the picture loss is registration, not lips. The turn is found as image registration finds it (Lucas and Kanade 1981; Baker and Matthews,
"Lucas-Kanade 20 Years On", 2004): with r the recorded minus the drawn picture and J the change of each pixel per radian,

    turn = (J^T W J + prior)^-1 J^T W r,     J = -(gradient of the drawing) . (how far a turn about each axis moves each pixel)

The second factor is drawn like a colour: every Gaussian carries how its centre moves in the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.pictures import PictureBatch
from mango.head.assets import JOINTS
from mango.head.model import Head
from mango.training.picture_losses import RegionWeights, pixel_weights
from mango.types import MotionClip
from renderer.head import HeadAvatar
from renderer.types import Camera, Gaussians


@dataclass(frozen=True)
class RegistrationConfig:
    """How head pose follows pictures."""

    iterations: int = 2  # per picture each time it is looked at; 0 = the tracker's pose is believed
    prior_degrees: float = 1.0  # how far off a tracker's pose usually is
    noise: float = 0.05  # of a picture against its drawing, per pixel, that pixels do not share
    outlier: float = 0.15  # differences beyond this count less and less (Geman and McClure)
    largest_degrees: float = 3.0  # turn of one iteration
    regions: RegionWeights = field(
        default_factory=lambda: RegionWeights(background=0.0, head=1.0, mouth=0.1, eyes=1.0)
    )  # lips move by themselves


def with_flow(
    gaussians: Gaussians, follows: Float[Tensor, "pictures gaussians"], neck: Float[Tensor, "pictures 3"], camera: Camera
) -> Gaussians:
    """The same Gaussians with nine channels: RGB, and how a turn of the neck about x, y and z moves them in the picture (u, v each),
    pixels per radian.
    """
    rotation, shift = camera.camera_from_world[:, :3, :3], camera.camera_from_world[:, None, :3, 3]
    seen = gaussians.means @ rotation.mT + shift
    arms = follows[..., None] * (gaussians.means - neck[:, None])
    focal = camera.intrinsics[:, None, [0, 1], [0, 1]]
    flows = []
    for axis in torch.eye(3).to(arms):
        moves = torch.linalg.cross(axis.expand_as(arms), arms) @ rotation.mT
        depth = seen[..., 2:].clamp_min(1e-3)
        flows.append(focal * (moves[..., :2] - seen[..., :2] / depth * moves[..., 2:]) / depth)
    colors = torch.cat([gaussians.colors, *flows], dim=-1)
    return Gaussians(gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, colors)


def turn_towards(
    recorded: PictureBatch, drawn: Float[Tensor, "pictures rows cols 9"], config: RegistrationConfig
) -> Float[Tensor, "pictures 3"]:
    """The turn about the axes of the world, radians, that brings the drawing (with its flow channels) nearer to the picture."""
    weights = pixel_weights(recorded, config.regions)
    pictures = zip(recorded.colors, drawn, weights, strict=True)
    normal, towards = map(torch.stack, zip(*(_normal_equations(*picture, config.outlier) for picture in pictures), strict=True))
    prior = (config.noise / torch.deg2rad(torch.tensor(config.prior_degrees))).square() * torch.eye(3)
    turn = torch.linalg.solve(normal + prior.to(normal), towards)
    largest = torch.deg2rad(torch.tensor(config.largest_degrees)).to(turn)
    return turn * (largest / turn.norm(dim=-1, keepdim=True).clamp_min(1e-9)).clamp_max(1)


def _normal_equations(
    recorded: Float[Tensor, "rows cols 3"], drawn: Float[Tensor, "rows cols 9"], weight: Float[Tensor, "rows cols 1"], outlier: float
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3"]]:
    """J^T W J and J^T W r of one picture.

    Flow is the same for the three colours, so colours are summed before flow comes in: J = -slope . flow is never written down.
    """
    planes = drawn.movedim(-1, 0).contiguous()
    colors, flow = planes[:3], planes[3:].unflatten(0, (3, 2)).flatten(2)  # axis uv pixels
    residual = (recorded.movedim(-1, 0) - colors).flatten(1)
    slope = torch.stack(torch.gradient(colors, dim=(2, 1)), dim=1).flatten(2)  # colour uv pixels
    trust = weight.flatten() / (1 + (residual / outlier).square()).square()
    weighed = trust[:, None] * slope
    pull = (weighed * residual[:, None]).sum(0)  # uv pixels
    structure = (weighed[:, :, None] * slope[:, None]).sum(0)  # uv uv pixels
    bent = (structure * flow[:, None]).sum(2)  # axis uv pixels
    # Minus: what comes along was upstream before.
    return flow.flatten(1) @ bent.flatten(1).mT, -(flow.flatten(1) @ pull.flatten())


def turned(neck_pose: Float[Tensor, "pictures 3"], turn: Float[Tensor, "pictures 3"]) -> Float[Tensor, "pictures 3"]:
    """Neck poses after a further turn about the axes of the root."""
    return roma.rotvec_composition((turn, neck_pose))


def follow_weights(head: Head, avatars: Mapping[str, HeadAvatar], persons: Sequence[str]) -> dict[str, Float[Tensor, "gaussians"]]:
    """How far each person's Gaussians go along with the neck: all the way but for the shoulders."""
    follows = 1 - head.skin_weights[:, 0]
    return {person: (follows[avatars[person].triangles] * avatars[person].barycentrics).sum(-1) for person in sorted(set(persons))}


def neck_places(
    head: Head, avatars: Mapping[str, HeadAvatar], persons: Sequence[str], placed: Sequence[MotionClip]
) -> tuple[Float[Tensor, "pictures 3 3"], Float[Tensor, "pictures 3"]]:
    """The root's rotation in the world, and where the neck joint is."""
    identity = torch.stack([avatars[person].identity for person in persons])
    joints = head.with_shape(identity).joints
    root = roma.rotvec_to_rotmat(torch.cat([clip.rotation for clip in placed]).to(joints))
    shift = torch.cat([clip.translation for clip in placed]).to(joints)
    base, neck = joints[:, JOINTS.index("root")], joints[:, JOINTS.index("neck")]
    return root, base + (root @ (neck - base)[..., None])[..., 0] + shift
