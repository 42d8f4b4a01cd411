"""What the surface of a true person looks like: skin, lips, eyes, teeth, lashes and brows, as paint on a neutral face.

Everything is placed in metres on the person's own neutral surface; ``Paint.bound`` turns that into places on the moving mesh.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mango.data.synthetic.seeding import stream
from renderer.binding import frame_quaternion, quaternion_product, triangle_frames

SKIN_TONES = (
    (0.93, 0.76, 0.67),
    (0.58, 0.40, 0.30),
    (0.85, 0.66, 0.53),
    (0.96, 0.82, 0.75),
    (0.70, 0.50, 0.37),
    (0.89, 0.71, 0.59),
    (0.50, 0.35, 0.27),
)
HAIR_COLORS = {
    "fair": ((0.76, 0.59, 0.36), (0.55, 0.27, 0.13), (0.40, 0.26, 0.16), (0.24, 0.16, 0.11), (0.60, 0.45, 0.28), (0.62, 0.62, 0.63)),
    "dark": ((0.10, 0.08, 0.075), (0.17, 0.115, 0.085), (0.24, 0.15, 0.10)),
}
IRIS_COLORS = ((0.36, 0.52, 0.66), (0.38, 0.24, 0.14), (0.40, 0.50, 0.33), (0.30, 0.19, 0.12), (0.46, 0.40, 0.26), (0.42, 0.50, 0.55))
CUTS = ("short", "long", "crop", "bob", "fringe", "curly", "swept")
COLLARS = ((0.20, 0.30, 0.47), (0.58, 0.22, 0.24), (0.25, 0.42, 0.34), (0.80, 0.78, 0.74), (0.23, 0.22, 0.25), (0.62, 0.48, 0.28))


@dataclass(frozen=True)
class Complexion:
    skin: Float[Tensor, "3"]
    lips: Float[Tensor, "3"]
    iris: Float[Tensor, "3"]
    hair: Float[Tensor, "3"]
    collar: Float[Tensor, "3"]
    cut: str
    freckles: float  # share of small skin Gaussians that are freckles
    blush: float
    beard: float  # 0 none, 0.5 stubble, 1 full
    brow_thickness: float  # metres
    gloss: float


def complexion(seed: int) -> Complexion:
    """Looks of a person. Neighbouring seeds get different tones, cuts and colours: people of one set are to be told apart."""
    rng = stream(seed, "complexion")
    skin = (
        torch.tensor(SKIN_TONES[(3 * seed) % len(SKIN_TONES)])
        + torch.tensor([0.006, 0.006, 0.010]) * torch.from_numpy(rng.normal(size=3)).float()
    )
    luminance = float(skin.mean())
    colors = HAIR_COLORS["fair" if luminance > 0.68 else "dark"]
    hair = (
        torch.tensor(colors[int(rng.integers(len(colors)))])
        if luminance < 0.68
        else torch.tensor(colors[(2 * seed + seed // 3) % len(colors)])
    )
    redder = torch.tensor([-0.06, -0.25, -0.20]) + 0.03 * torch.from_numpy(rng.normal(size=3)).float()
    iris = torch.tensor(IRIS_COLORS[(5 * seed + 1) % len(IRIS_COLORS)] if luminance > 0.68 else IRIS_COLORS[3 if seed % 2 else 1])
    cut = CUTS[(2 * seed + 1) % len(CUTS)]
    beard = float(rng.choice([0.0, 0.45, 1.0], p=[0.5, 0.25, 0.25])) if cut in ("short", "crop", "swept") else 0.0
    return Complexion(
        skin=skin.clamp(0.2, 1),
        lips=(skin * (1 + redder)).clamp(0.12, 0.9),
        iris=iris,
        hair=hair,
        collar=torch.tensor(COLLARS[(seed + 2) % len(COLLARS)]),
        cut=cut,
        freckles=float(max(rng.normal(0.0, 0.035), 0)) if luminance > 0.68 else 0.0,
        blush=float(rng.uniform(0.03, 0.12)),
        beard=beard,
        brow_thickness=float(rng.uniform(0.0030, 0.0058)),
        gloss=float(rng.uniform(0.05, 0.14)),
    )


@dataclass(frozen=True)
class Paint:
    """Gaussians placed in metres on a neutral surface, and what they are tied to."""

    points: Float[Tensor, "gaussians 3"]
    quats: Float[Tensor, "gaussians 4"]
    scales: Float[Tensor, "gaussians 3"]  # metres
    opacities: Float[Tensor, "gaussians"]
    albedo: Float[Tensor, "gaussians 3"]
    gloss: Float[Tensor, "gaussians"]
    lit: Float[Tensor, "gaussians"]
    triangles: Int[Tensor, "gaussians 3"]
    barycentrics: Float[Tensor, "gaussians 3"]

    @staticmethod
    def joined(parts: "list[Paint]") -> "Paint":
        return Paint(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Paint)})

    def bound(self, surface: Float[Tensor, "verts 3"], normals: Float[Tensor, "verts 3"]) -> dict[str, Tensor]:
        """The same, relative to the triangles of the surface: the bound attributes of a true person."""
        frames = triangle_frames(surface, self.triangles)
        anchor = (surface[self.triangles] * self.barycentrics[..., None]).sum(1)
        rotation, size = frames.rotation(), frames.scale[:, None].clamp_min(1e-6)
        offsets = ((self.points - anchor)[:, None] @ rotation)[:, 0] / size
        w, x, y, z = torch.nn.functional.normalize(torch.stack(frame_quaternion(frames), -1), dim=-1).unbind(-1)
        local = torch.stack(quaternion_product((w, -x, -y, -z), self.quats.unbind(-1)), -1)
        smooth = torch.nn.functional.normalize((normals[self.triangles] * self.barycentrics[..., None]).sum(1), dim=-1)
        return {
            **{name: getattr(self, name) for name in ("triangles", "barycentrics", "opacities", "gloss", "lit")},
            "normals": (smooth[:, None] @ rotation)[:, 0],
            "offsets": offsets,
            "quats": local,
            "log_scales": (self.scales / size).log(),
            "albedo": self.albedo.clamp(0, 1),
        }


def oriented(along: Float[Tensor, "gaussians 3"], normal: Float[Tensor, "gaussians 3"]) -> Float[Tensor, "gaussians 4"]:
    """Quaternions whose first axis is ``along`` and whose second is, as nearly as it can be, ``normal``."""
    import roma

    first = torch.nn.functional.normalize(along, dim=-1)
    third = torch.nn.functional.normalize(torch.linalg.cross(first, normal, dim=-1), dim=-1)
    second = torch.linalg.cross(third, first, dim=-1)
    xyzw = roma.rotmat_to_unitquat(torch.stack([first, second, third], -1))
    return xyzw[:, [3, 0, 1, 2]]


def soft(head, region: str, rings: int = 2) -> Float[Tensor, "verts"]:
    """Membership of a region in [0, 1], soft over so many rings of neighbours."""
    inside = torch.zeros(len(head.template))
    inside[head.region(region)] = 1.0
    edges = torch.cat([head.faces[:, [0, 1]], head.faces[:, [1, 2]], head.faces[:, [2, 0]]])
    edges = torch.cat([edges, edges.flip(1)])
    count = torch.zeros_like(inside).index_add_(0, edges[:, 0], torch.ones(len(edges)))
    for _ in range(rings):
        around = torch.zeros_like(inside).index_add_(0, edges[:, 0], inside[edges[:, 1]])
        inside = 0.5 * inside + 0.5 * around / count.clamp_min(1)
    return inside


def ripples(
    rng: np.random.Generator, points: Float[Tensor, "points 3"], wavelength_m: float, channels: int
) -> Float[Tensor, "points channels"]:
    """Smooth colour noise of about unit variance in space."""
    waves = 8
    direction = torch.from_numpy(rng.normal(size=(waves, 3))).float()
    direction = 2 * np.pi / wavelength_m * torch.nn.functional.normalize(direction, dim=-1)
    phase = torch.from_numpy(rng.uniform(0, 2 * np.pi, (waves, 1))).float()
    mix = torch.from_numpy(rng.normal(size=(waves, channels))).float()
    return torch.sin(points @ direction.T + phase.T) @ mix * (2 / waves) ** 0.5


def hollows(surface: Float[Tensor, "verts 3"], normals: Float[Tensor, "verts 3"], reach_m: float) -> Float[Tensor, "verts"]:
    """How far the surroundings of each vertex rise above its tangent plane, over the reach: light that hollows miss."""
    from scipy.spatial import cKDTree

    tree = cKDTree(surface.numpy())
    _, near = tree.query(surface.numpy(), k=24, distance_upper_bound=reach_m)
    near = torch.from_numpy(np.where(near < len(surface), near, np.arange(len(surface))[:, None]))
    rise = ((surface[near] - surface[:, None]) * normals[:, None]).sum(-1)
    return rise.clamp_min(0).mean(-1) / reach_m


@dataclass(frozen=True)
class Canvas:
    """A neutral surface ready to be painted on."""

    surface: Float[Tensor, "verts 3"]
    normals: Float[Tensor, "verts 3"]
    faces: Int[Tensor, "faces 3"]
    landmarks: Float[Tensor, "68 3"]

    def at(self, chosen: Int[Tensor, "gaussians"], barycentrics: Float[Tensor, "gaussians 3"], what: Tensor) -> Tensor:
        """A per-vertex quantity at points of the surface."""
        weights = barycentrics.reshape(*barycentrics.shape, *[1] * (what.ndim - 1))
        return (what[self.faces[chosen]] * weights).sum(1)

    def nearest(self, points: Float[Tensor, "points 3"], allowed: Int[Tensor, "candidates"]) -> tuple[Tensor, Tensor]:
        """The allowed face whose middle is nearest to each point, and the point's barycentric coordinates there, clamped to it."""
        corners = self.surface[self.faces[allowed]]
        chosen = torch.cdist(points, corners.mean(1)).argmin(1)
        a, b, c = corners[chosen].unbind(1)
        u, v, w = b - a, c - a, points - a
        uu, uv, vv, uw, vw = ((x * y).sum(-1) for x, y in ((u, u), (u, v), (v, v), (u, w), (v, w)))
        det = (uu * vv - uv * uv).clamp_min(1e-18)
        s, t = (vv * uw - uv * vw) / det, (uu * vw - uv * uw) / det
        bary = torch.stack([1 - s - t, s, t], -1).clamp(0, 1)
        return allowed[chosen], bary / bary.sum(-1, keepdim=True)


def canvas(head, surface: Float[Tensor, "verts 3"]) -> Canvas:
    corners = surface[head.faces]
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.zeros_like(surface)
    for k in range(3):
        normals.index_add_(0, head.faces[:, k], across)
    return Canvas(surface, torch.nn.functional.normalize(normals, dim=-1), head.faces, head.landmarks(surface[None])[0])


def strokes(
    on: Canvas,
    chosen: Tensor,
    bary: Tensor,
    along: Tensor,
    *,
    lift_m: float,
    length_m: float,
    width_m: float,
    color: Tensor,
    opacity: float = 0.85,
) -> Paint:
    """Thin Gaussians (hairs) that lie along a direction, a little above the surface."""
    normal = torch.nn.functional.normalize(on.at(chosen, bary, on.normals), dim=-1)
    count = len(chosen)
    return Paint(
        points=on.at(chosen, bary, on.surface) + lift_m * normal,
        quats=oriented(along, normal),
        scales=torch.tensor([length_m, width_m, width_m]).repeat(count, 1),
        opacities=torch.full((count,), opacity),
        albedo=color.expand(count, 3).clone(),
        gloss=torch.zeros(count),
        lit=torch.full((count,), 0.8),
        triangles=on.faces[chosen],
        barycentrics=bary,
    )
