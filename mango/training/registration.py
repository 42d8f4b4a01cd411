"""Motion from pictures: the small correction of head pose, lips and eyes that lays a drawing onto its recorded picture.

A tracker's head pose is off by a degree or so in every frame. That is a pixel: avatars learnt under it are blurred, and what is left of
the picture loss is registration, not lips. And the gradient of a picture loss is a poor step for lips: the jaw moves a hundred pixels, the
corner of the mouth three. Both are found as image registration finds them (Lucas and Kanade 1981; Baker and Matthews, "Lucas-Kanade 20
Years On", 2004): with r the recorded minus the drawn picture and J the change of each pixel per unit of each unknown,

    step = (J^T W J + prior)^-1 (J^T W r - prior . corrected already)
    J = -(gradient of the drawing) . (how far a unit of each unknown moves each pixel)

The second factor is drawn like a colour: every Gaussian carries how its centre moves in the picture. The unknowns are three turns of the
neck and the directions in which the tracker's labels vary most where the eye looks; all in units of their prior standard deviation.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.pictures import PictureBatch
from mango.head.assets import JOINTS
from mango.head.model import Head
from mango.losses.surface import LinearSurface, derivative_at_rest
from mango.training.picture_losses import RegionWeights, pixel_weights
from mango.types import MotionClip
from renderer.head import HeadAvatar
from renderer.types import Camera, Gaussians

TURNS = 3  # unknowns that turn the neck, about x, y and z of the world


@dataclass(frozen=True)
class RegistrationConfig:
    """How motion follows pictures."""

    iterations: int = 1  # each time a picture is looked at for all of its motion: the bank remembers, the next look goes on from there
    pose_iterations: int = 2  # each time a picture is drawn and only head pose is looked for; 0 = the bank's is believed
    shrink: int = 2  # pictures are compared this many times smaller: a quarter of the work says almost as much
    directions: int = 11  # of lips and face that are looked for besides the head's pose; each costs two channels of 32
    neck_degrees: float = 1.0  # how far off a tracker's head pose usually is
    motion: float = 0.5  # how far off motion usually is, in standard deviations of the labels along a direction
    alike: float = 16.0  # neighbouring pixels (before shrinking) differ from the drawing for the same reason: that many count as one
    outlier: float = 0.15  # differences beyond this count less and less (Geman and McClure)
    largest: float = 3.0  # step of one iteration, in prior standard deviations
    regions: RegionWeights = field(default_factory=lambda: RegionWeights(background=0.0, head=1.0, mouth=2.0, eyes=2.0))
    pose_regions: RegionWeights = field(
        default_factory=lambda: RegionWeights(background=0.0, head=1.0, mouth=0.1, eyes=1.0)
    )  # where head pose alone is looked for: lips move by themselves


@dataclass(frozen=True)
class Directions:
    """Ways in which a face moves, each as long as labels usually are off along it."""

    motion: Float[Tensor, "directions width"]
    vertices: Float[Tensor, "directions verts 3"]  # metres at rest, in the frame of the skull

    def __getitem__(self, chosen: slice) -> "Directions":
        return Directions(self.motion[chosen], self.vertices[chosen])

    def to(self, device: torch.device) -> "Directions":
        return Directions(self.motion.to(device), self.vertices.to(device))


def principal_directions(
    head: Head,
    labels: Iterable[Float[Tensor, "_ width"]],
    surface: LinearSurface,
    config: RegistrationConfig,
    *,
    spare: float = 0.3,
) -> Directions:
    """The directions of ``labels`` (motion in the head's units) that move the points of ``surface`` most.

    Errors of labels need not look like labels, so that ``spare`` of the covariance is that of independent channels.
    """
    frames = torch.cat(list(labels)).double()
    covariance = torch.cov(frames.T)
    covariance = (1 - spare) * covariance + spare * covariance.diag().diag()
    neck = head.layout.where("neck_pose")
    covariance[neck], covariance[:, neck] = 0.0, 0.0
    values, axes = torch.linalg.eigh(covariance)
    root = axes * values.clamp_min(0).sqrt()  # covariance = root root^T
    seen = root.T @ surface.directions.double()
    _, turned = torch.linalg.eigh(seen @ seen.T)  # ascending
    motion = config.motion * (root @ turned).T.flip(0)[: config.directions].float()
    at_rest = derivative_at_rest(head, head.layout, torch.arange(len(head.template)))
    return Directions(motion, torch.einsum("kw,wvi->kvi", motion, at_rest))


@dataclass(frozen=True)
class Moves:
    """What moves one person's Gaussians, and how far."""

    follows: Float[Tensor, "gaussians"]  # the neck: all the way but for the shoulders
    directions: Float[Tensor, "3 gaussians directions"]  # metres at rest, in the frame of the skull


def moves_of(avatar: HeadAvatar, head: Head, directions: Directions) -> Moves:
    follows = ((1 - head.skin_weights[:, 0])[avatar.triangles] * avatar.barycentrics).sum(-1)
    of_vertices = directions.vertices.movedim(-1, 0).movedim(1, -1).contiguous()  # 3 verts directions
    corners = (of_vertices[:, avatar.triangles[:, corner]] * avatar.barycentrics[:, corner, None] for corner in range(3))
    return Moves(follows, sum(corners))


def with_flow(
    gaussians: Gaussians,
    moves: Moves,
    camera: Camera,
    neck: Float[Tensor, "pictures 3"],
    skull: Float[Tensor, "pictures 3 3"],
    unit: float,
) -> Gaussians:
    """The same Gaussians with channels RGB and how far they move in the picture, pixels: first u of every unknown, then v of every one.

    The unknowns: turns of the neck by ``unit`` radians about x, y and z of the world, through the joint ``neck``; then the directions, in
    the frame ``skull`` (its axes in the world). A displacement m, as the camera sees it, moves a point at (x, y, z) by
    u = fx/z mx - fx x/z^2 mz and v = fy/z my - fy y/z^2 mz.
    """
    rotation, shift = camera.camera_from_world[:, :3, :3], camera.camera_from_world[:, None, :3, 3]
    seen = gaussians.means @ rotation.mT + shift
    x, y, z = seen[..., 0], seen[..., 1], seen[..., 2].clamp_min(1e-3)
    along_u, along_v = camera.intrinsics[:, None, 0, 0] / z, camera.intrinsics[:, None, 1, 1] / z
    away_u, away_v = along_u * x / z, along_v * y / z
    arm = unit * moves.follows[:, None] * (seen - (neck[:, None] @ rotation.mT + shift))
    right, down, forward = arm.unbind(-1)
    # A turn about the axis a moves by a x arm: linear in a, whose x, y and z stand in the columns.
    turn_u = torch.stack([-away_u * down, along_u * forward + away_u * right, -along_u * down], dim=-1) @ rotation
    turn_v = torch.stack([-along_v * forward - away_v * down, away_v * right, along_v * right], dim=-1) @ rotation
    axes = (rotation @ skull)[:, :, :, None]  # of the skull, as the camera sees them
    talk_u = sum((along_u * axes[:, 0, k] - away_u * axes[:, 2, k])[..., None] * moves.directions[k] for k in range(3))
    talk_v = sum((along_v * axes[:, 1, k] - away_v * axes[:, 2, k])[..., None] * moves.directions[k] for k in range(3))
    colors = torch.cat([gaussians.colors, turn_u, talk_u, turn_v, talk_v], dim=-1)
    return Gaussians(gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, colors)


def correction(
    recorded: PictureBatch,
    drawn: Float[Tensor, "pictures rows cols channels"],
    already: Float[Tensor, "pictures unknowns"],
    config: RegistrationConfig,
) -> Float[Tensor, "pictures unknowns"]:
    """The step that brings the drawing (RGB, then u of every unknown, then v) nearer to the picture, in prior standard deviations.

    ``already``: what has been corrected before. The prior holds the sum: avatars that move with all their poses the other way would draw
    the same pictures, and nothing else keeps them from it.
    """
    weights = pixel_weights(recorded, config.regions if already.shape[1] > TURNS else config.pose_regions)
    pictures = zip(recorded.colors, drawn, weights, strict=True)
    normal, towards, noise = map(torch.stack, zip(*(_normal_equations(*picture, config.outlier) for picture in pictures), strict=True))
    prior = config.alike / config.shrink**2 * noise.clamp_min(1e-6)[:, None]
    step = torch.linalg.solve(normal + torch.diag_embed(prior.expand_as(already)), towards - prior * already)
    return step.clamp(-config.largest, config.largest)


def _normal_equations(
    recorded: Float[Tensor, "rows cols 3"], drawn: Float[Tensor, "rows cols channels"], weight: Float[Tensor, "rows cols 1"], outlier: float
) -> tuple[Float[Tensor, "unknowns unknowns"], Float[Tensor, "unknowns"], Float[Tensor, ""]]:
    """J^T W J, J^T W r, and the mean square of r of one picture.

    Flow is the same for the three colours, so colours are summed before flow comes in: J = -slope . flow is never written down.
    """
    planes = drawn.movedim(-1, 0).contiguous()
    colors, flow = planes[:3], planes[3:].unflatten(0, (2, -1)).flatten(2)  # uv unknown pixels
    residual = (recorded.movedim(-1, 0) - colors).flatten(1)
    slope = torch.stack(torch.gradient(colors, dim=(2, 1)), dim=1).flatten(2)  # colour uv pixels
    trust = weight.flatten() / (1 + (residual / outlier).square()).square()
    weighed = trust[:, None] * slope
    pull = (weighed * residual[:, None]).sum(0)  # uv pixels
    structure = (weighed[:, :, None] * slope[:, None]).sum(0)  # uv uv pixels
    bent = (structure[:, :, None] * flow).sum(1)  # uv unknown pixels
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
