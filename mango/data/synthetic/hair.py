"""Hair: strands grown from the scalp as chains of elongated Gaussians, combed by cut, kept outside the head.

A strand is tied to the triangle of its root, so hair is rigid with the skull, which at conversation's speeds it nearly is.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.synthetic.appearance import Canvas, Complexion, Paint, canvas, oriented, ripples, soft
from mango.data.synthetic.seeding import stream


@dataclass(frozen=True)
class Cut:
    """How hair lies. Lengths in metres."""

    length: float  # of a strand from crown and sides
    fringe: float = 0.0  # of strands at the front that fall over the forehead; 0: they are combed back
    lift: float = 0.006  # how far the strands stand off the skin
    droop: float = 0.5  # how soon they hang
    curl: float = 0.0
    sweep: float = 0.0  # sideways
    strands: int = 900
    joints: int = 4  # Gaussians per strand
    width: float = 0.0021


CUTS = {
    "crop": Cut(length=0.012, lift=0.003, droop=0.1, strands=1400, joints=2, width=0.0023),
    "short": Cut(length=0.042, fringe=0.022, lift=0.008, droop=0.35, sweep=0.5, strands=1100, joints=3),
    "swept": Cut(length=0.055, lift=0.012, droop=0.2, sweep=1.0, strands=1000, joints=3),
    "fringe": Cut(length=0.13, fringe=0.052, lift=0.009, droop=0.9, strands=750, joints=5),
    "bob": Cut(length=0.16, lift=0.011, droop=0.9, sweep=0.3, strands=700, joints=5),
    "long": Cut(length=0.22, lift=0.009, droop=0.9, sweep=0.2, strands=640, joints=6, width=0.0025),
    "curly": Cut(length=0.075, fringe=0.02, lift=0.020, droop=0.3, curl=1.0, strands=900, joints=4, width=0.0026),
}


def hair(head, surface: Float[Tensor, "verts 3"], looks: Complexion, seed: int) -> Paint:
    cut, rng, on = CUTS[looks.cut], stream(seed, "hair"), canvas(head, surface)
    chosen, bary = _roots(head, on, rng, cut.strands)
    root, normal = on.at(chosen, bary, on.surface), torch.nn.functional.normalize(on.at(chosen, bary, on.normals), dim=-1)
    middle = on.surface[soft(head, "scalp") > 0.5].mean(0)
    front = ((root[:, 2] - on.landmarks[27, 2] + 0.055) / 0.02).clamp(0, 1) * (cut.fringe > 0)
    length = (cut.length * (1 - front) + cut.fringe * front) * torch.from_numpy(rng.uniform(0.8, 1.1, len(root))).float()
    direction = _combed(root, normal, middle, front, cut, rng)
    points = _grown(on, root, normal, direction, length, front, cut, rng)
    return _strands(on, chosen, bary, points, looks, cut, rng)


def _roots(head, on: Canvas, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    mask = soft(head, "scalp")[on.faces].mean(1)
    corners = on.surface[on.faces]
    area = 0.5 * torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    edges = (area * (mask - 0.25).clamp_min(0)).double().cumsum(0)
    at = (torch.arange(count, dtype=torch.float64) + 0.5) / count * edges[-1]
    chosen = torch.searchsorted(edges, at).clamp_max(len(on.faces) - 1)
    u, v = torch.from_numpy(rng.uniform(size=(2, count))).float()
    return chosen, torch.stack([1 - u.sqrt(), u.sqrt() * (1 - v), u.sqrt() * v], -1)


def _combed(root: Tensor, normal: Tensor, middle: Tensor, front: Tensor, cut: Cut, rng: np.random.Generator) -> Tensor:
    """Where each strand sets out: away from the parting, back from the face, or over the forehead."""
    parting = 0.018 * (1 if rng.random() < 0.5 else -1)
    side = torch.tanh((root[:, 0] - parting) / 0.015)
    back = torch.stack([0.75 * side + cut.sweep * 0.6 * np.sign(-parting), -0.35 * torch.ones_like(side), -0.8 * torch.ones_like(side)], -1)
    fore = torch.stack([0.25 * side + 0.5 * cut.sweep * np.sign(-parting), -0.5 * torch.ones_like(side), 0.8 * torch.ones_like(side)], -1)
    flow = back * (1 - front[:, None]) + fore * front[:, None]
    flow = flow - (flow * normal).sum(-1, keepdim=True) * normal
    loose = 0.16 * torch.from_numpy(rng.normal(size=tuple(root.shape))).float()
    return torch.nn.functional.normalize(torch.nn.functional.normalize(flow, dim=-1) + loose + 0.35 * normal, dim=-1)


def _grown(on: Canvas, root, normal, direction, length, front, cut: Cut, rng: np.random.Generator) -> Float[Tensor, "joints strands 3"]:
    """The joints of every strand: it leaves the skin, bends down, and slides along whatever part of the head is in its way."""
    from scipy.spatial import cKDTree

    tree = cKDTree(on.surface.numpy())
    step = (length / cut.joints)[:, None]
    phase = torch.from_numpy(rng.uniform(0, 2 * np.pi, len(root))).float()
    lift = cut.lift * torch.from_numpy(rng.uniform(0.25, 1.0, len(root))).float()
    point, points = root + 0.001 * normal, [root + 0.001 * normal]
    gravity = torch.tensor([0.0, -1.0, 0.0])
    for joint in range(cut.joints):
        bend = cut.droop * (0.35 + 0.65 * joint / cut.joints)
        direction = torch.nn.functional.normalize((1 - bend) * direction + bend * gravity, dim=-1)
        if cut.curl:
            wind = torch.stack([torch.cos(phase + 1.9 * joint), torch.sin(1.3 * phase + 2.3 * joint), torch.sin(phase + 1.7 * joint)], -1)
            direction = torch.nn.functional.normalize(direction + cut.curl * wind, dim=-1)
        point = point + step * direction
        near = torch.from_numpy(tree.query(point.numpy())[1])
        above = ((point - on.surface[near]) * on.normals[near]).sum(-1)
        clearance = lift * min(1.0, 0.4 + 0.6 * joint)
        point = point + (clearance - above).clamp_min(0)[:, None] * on.normals[near]
        point = _off_the_face(on, point, front)
        direction = torch.nn.functional.normalize(point - points[-1], dim=-1)
        points.append(point)
    return torch.stack(points)


def _off_the_face(on: Canvas, point: Tensor, front: Tensor) -> Tensor:
    """Strands that are no fringe part in front of the face: pushed aside to the width of the cheeks."""
    marks = on.landmarks
    width = 1.02 * 0.5 * (marks[15, 0] - marks[1, 0])
    before = ((point[:, 2] - marks[1, 2]) / 0.02).clamp(0, 1) * ((marks[27, 1] + 0.045 - point[:, 1]) / 0.02).clamp(0, 1) * (1 - front)
    aside = (width - point[:, 0].abs()).clamp_min(0) * torch.sign(point[:, 0])
    return point + torch.stack([before * aside, torch.zeros_like(aside), torch.zeros_like(aside)], -1)


def _strands(
    on: Canvas, chosen, bary, points: Float[Tensor, "joints strands 3"], looks: Complexion, cut: Cut, rng: np.random.Generator
) -> Paint:
    """A Gaussian for each piece of each strand. Locks share a shade; what lies deep or low is darker, a band near the crown shines."""
    joints, count = points.shape[0] - 1, points.shape[1]
    middle, along = 0.5 * (points[1:] + points[:-1]), points[1:] - points[:-1]
    length = along.norm(dim=-1)
    outward = torch.nn.functional.normalize(middle - on.surface.mean(0), dim=-1)
    lock = (0.11 * ripples(rng, points[0], 0.018, 1) + 0.07 * torch.from_numpy(rng.normal(size=(count, 1))).float())[None]
    shine = torch.exp(-0.5 * ((outward[..., 1:2] - 0.62) / 0.14) ** 2)
    shade = (1.0 + lock + 0.28 * shine) * torch.linspace(0.82, 1.06, joints)[:, None, None]
    spread = torch.from_numpy(rng.uniform(0.8, 1.25, (joints, count))).float()

    def flat(values: Tensor) -> Tensor:
        return values.reshape(joints * count, *values.shape[2:])

    return Paint(
        points=flat(middle), quats=flat(oriented(along.reshape(-1, 3), outward.reshape(-1, 3)).reshape(joints, count, 4)),
        scales=flat(torch.stack([0.55 * length + 0.0008, cut.width * spread, cut.width * spread], -1)),
        opacities=torch.full((joints * count,), 0.85), albedo=flat(looks.hair * shade).clamp(0, 1), gloss=torch.zeros(joints * count),
        lit=torch.full((joints * count,), 0.75), triangles=on.faces[chosen].repeat(joints, 1), barycentrics=bary.repeat(joints, 1),
    )  # fmt: skip
