"""Head pose from pictures: the small turn of the neck that lays a drawing onto its recorded picture.

A tracker's head pose is off by a degree or so in every frame. That is a pixel: avatars learnt under it are blurred, and what is left of
the picture loss is registration, not lips. The turn is found as image registration finds shifts (Lucas and Kanade 1981; Baker and
Matthews, "Lucas-Kanade 20 Years On", 2004): with r the recorded minus the drawn picture and J the change of each pixel per turn,

    step = (J^T W J + prior)^-1 (J^T W r - prior . turned already)
    J = -(gradient of the drawing) . (how far a turn about each axis moves each pixel)

The second factor is drawn like a colour: every Gaussian carries how its centre moves in the picture. The lips are left out of W: they
move by themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from mango.config import check_ranges
from mango.data.pictures import PictureBatch
from mango.head.assets import JOINTS
from mango.head.model import Head
from mango.training.picture_losses import RegionWeights, pixel_weights
from mango.types import MotionClip
from renderer.head import HeadAvatar
from renderer.types import Camera, Gaussians

AXES = 3  # turns of the neck, about x, y and z of the world
SETTLED = 8  # iterations after which nothing moves any more


@dataclass(frozen=True)
class RegistrationConfig:
    """How head pose follows pictures."""

    iterations: int = 2  # each time a picture is drawn; the next time goes on from there; 0 = the tracker's pose is believed
    shrink: int = 2  # pictures are compared this many times smaller: a quarter of the work says almost as much
    degrees: float = 1.0  # how far off a tracker's head pose usually is
    alike: float = 16.0  # neighbouring pixels (before shrinking) differ from the drawing for the same reason: that many count as one
    outlier: float = 0.15  # differences beyond this count less and less (Geman and McClure)
    largest: float = 3.0  # turn of one iteration, in ``degrees``
    regions: RegionWeights = field(default_factory=lambda: RegionWeights(background=0.0, head=1.0, mouth=0.1, eyes=1.0))

    def __post_init__(self):
        check_ranges(self, iterations="[0, inf)", shrink="[1, inf)", degrees="(0, inf)", alike="(0, inf)")
        check_ranges(self, outlier="(0, inf)", largest="(0, inf)")

    @property
    def of_one_look(self) -> int:
        """Iterations for a picture that is looked at once, as held-out ones are: no later look goes on from there."""
        return SETTLED if self.iterations else 0


def follows_neck(avatar: HeadAvatar, head: Head) -> Float[Tensor, "gaussians"]:
    """How much of a turn of the neck each Gaussian follows: all of it, but for the shoulders."""
    return ((1 - head.skin_weights[:, 0])[avatar.triangles] * avatar.barycentrics).sum(-1)


def with_flow(
    gaussians: Gaussians, follows: Float[Tensor, "gaussians"], camera: Camera, neck: Float[Tensor, "pictures 3"], unit: float
) -> Gaussians:
    """The same Gaussians with channels RGB and how far they move in the picture, pixels: first u of every turn, then v of every turn.

    The turns: of the neck by ``unit`` radians about x, y and z of the world, through the joint ``neck``. A displacement m, as the camera
    sees it, moves a point at (x, y, z) by u = fx/z mx - fx x/z^2 mz and v = fy/z my - fy y/z^2 mz.
    """
    rotation, shift = camera.camera_from_world[:, :3, :3], camera.camera_from_world[:, None, :3, 3]
    seen = gaussians.means @ rotation.mT + shift
    x, y, z = seen[..., 0], seen[..., 1], seen[..., 2].clamp_min(1e-3)
    along_u, along_v = camera.intrinsics[:, None, 0, 0] / z, camera.intrinsics[:, None, 1, 1] / z
    away_u, away_v = along_u * x / z, along_v * y / z
    arm = unit * follows[:, None] * (seen - (neck[:, None] @ rotation.mT + shift))
    right, down, forward = arm.unbind(-1)
    # A turn about the axis a moves by a x arm: linear in a, whose x, y and z stand in the columns.
    turn_u = torch.stack([-away_u * down, along_u * forward + away_u * right, -along_u * down], dim=-1) @ rotation
    turn_v = torch.stack([-along_v * forward - away_v * down, away_v * right, along_v * right], dim=-1) @ rotation
    colors = torch.cat([gaussians.colors, turn_u, turn_v], dim=-1)
    return Gaussians(gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, colors)


def correction(
    recorded: PictureBatch,
    drawn: Float[Tensor, "pictures rows cols channels"],
    already: Float[Tensor, "pictures 3"],
    config: RegistrationConfig,
) -> Float[Tensor, "pictures 3"]:
    """The turn that brings the drawing (RGB, then u of every turn, then v) nearer to the picture, in prior standard deviations.

    ``already``: how far it has been turned before. The prior holds the sum: avatars that move with all their poses the other way would draw
    the same pictures, and nothing else keeps them from it.
    """
    weights = pixel_weights(recorded, config.regions)
    pictures = zip(recorded.colors, drawn, weights, strict=True)
    normal, towards, noise = map(torch.stack, zip(*(_normal_equations(*picture, config.outlier) for picture in pictures), strict=True))
    prior = config.alike / config.shrink**2 * noise.clamp_min(1e-6)[:, None]
    step = torch.linalg.solve(normal + torch.diag_embed(prior.expand_as(already)), towards - prior * already)
    return step.clamp(-config.largest, config.largest)


def _normal_equations(
    recorded: Float[Tensor, "rows cols 3"], drawn: Float[Tensor, "rows cols channels"], weight: Float[Tensor, "rows cols 1"], outlier: float
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3"], Float[Tensor, ""]]:
    """J^T W J, J^T W r, and the mean square of r of one picture.

    Flow is the same for the three colours, so colours are summed before flow comes in: J = -slope . flow is never written down.
    """
    planes = drawn.movedim(-1, 0).contiguous()
    colors, flow = planes[:3], planes[3:].unflatten(0, (2, -1)).flatten(2)  # uv turn pixels
    residual = (recorded.movedim(-1, 0) - colors).flatten(1)
    slope = torch.stack(torch.gradient(colors, dim=(2, 1)), dim=1).flatten(2)  # colour uv pixels
    trust = weight.flatten() / (1 + (residual / outlier).square()).square()
    weighed = trust[:, None] * slope
    pull = (weighed * residual[:, None]).sum(0)  # uv pixels
    structure = (weighed[:, :, None] * slope[:, None]).sum(0)  # uv uv pixels
    bent = (structure[:, :, None] * flow).sum(1)  # uv turn pixels
    noise = (trust * residual.square()).sum() / trust.sum().clamp_min(1e-9)
    # Minus: what comes along was upstream before.
    normal = flow[0] @ bent[0].mT + flow[1] @ bent[1].mT
    return normal, -(flow[0] @ pull[0] + flow[1] @ pull[1]), noise


def turned(neck_pose: Float[Tensor, "pictures 3"], turn: Float[Tensor, "pictures 3"]) -> Float[Tensor, "pictures 3"]:
    """Neck poses after a further turn about the axes of the root."""
    return roma.rotvec_composition((turn, neck_pose))


def turn_between(first: Float[Tensor, "pictures 3"], second: Float[Tensor, "pictures 3"]) -> Float[Tensor, "pictures 3"]:
    """The turn about the axes of the root that leads from one neck pose to the other."""
    return roma.rotvec_composition((second, -first))


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
