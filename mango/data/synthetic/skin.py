"""The painted surface itself: which Gaussian gets which colour. Skin, lips, lids, eyeballs, teeth, mouth, collar; brows, lashes, beard."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.synthetic.appearance import Canvas, Complexion, Paint, canvas, hollows, oriented, ripples, soft, strokes
from mango.data.synthetic.seeding import stream

PUPIL, IRIS, LIMBUS = 0.17, 0.46, 0.54  # angles from the gaze, radians: an iris of 12 mm on a ball of 27
UPPER_LASHES, LOWER_LASHES = ((36, 37, 38, 39), (42, 43, 44, 45)), ((36, 41, 40, 39), (42, 47, 46, 45))
INSIDE_THE_MOUTH = ("mouth_cavity", "tongue", "upper_teeth", "lower_teeth")
BROWS = ((17, 18, 19, 20, 21), (26, 25, 24, 23, 22))  # landmarks from the temple inwards
DART = 0.80  # least distance of neighbours over the mean one
SPREAD, THICKNESS = 0.82, 0.16  # of a surface Gaussian, over the distance to its neighbours


def painted(head, surface: Float[Tensor, "verts 3"], looks: Complexion, seed: int, num_gaussians: int) -> Paint:
    """The whole surface of the head as Gaussians, with brows, lashes and beard."""
    on = canvas(head, surface)
    masks = {name: soft(head, name) for name in ("lips", "eyelids", "brows", "scalp", "neck", "face", "lower_face")}
    parts = [_surface(head, on, masks, looks, seed, num_gaussians), _brows(head, on, looks, seed), _lashes(head, on, looks, seed)]
    if looks.beard > 0.7:
        parts.append(_beard(on, _beard_area(on, masks), looks, seed))
    if looks.freckles > 0.005:
        parts.append(_freckles(on, masks, looks, seed))
    parts.append(_highlights(head, on, seed))
    return Paint.joined(parts)


def _balls(head) -> tuple[Tensor, Tensor]:
    return head.skin_weights[:, 3] > 0.5, head.skin_weights[:, 4] > 0.5


def _inside(head) -> Tensor:
    """Vertices that are no skin: eyeballs, teeth, mouth cavity."""
    inside = _balls(head)[0] | _balls(head)[1]
    for region in INSIDE_THE_MOUTH:
        inside[head.region(region)] = True
    return inside


def _surface(head, on: Canvas, masks: dict[str, Tensor], looks: Complexion, seed: int, num_gaussians: int) -> Paint:
    rng = stream(seed, "surface")
    chosen, bary, spacing = _places(on, _density(head, on, masks), rng, num_gaussians)
    points, normal = on.at(chosen, bary, on.surface), torch.nn.functional.normalize(on.at(chosen, bary, on.normals), dim=-1)
    values = {name: on.at(chosen, bary, mask) for name, mask in masks.items()}
    values["beard"] = on.at(chosen, bary, _beard_area(on, masks))
    values["hollow"] = on.at(chosen, bary, hollows(on.surface, on.normals, 0.009))
    albedo, gloss = _skin(on, points, values, looks, rng)
    lit = torch.ones(len(points))
    corners = on.faces[chosen]
    for name in INSIDE_THE_MOUTH:
        member = torch.zeros(len(on.surface), dtype=torch.bool)
        member[head.region(name)] = True
        here = member[corners].all(1)
        albedo[here], lit[here], gloss[here] = _mouth(name, points[here], rng), 0.5, 0.0 if name == "mouth_cavity" else 0.10
    for ball in _balls(head):
        eye = ball[corners].all(1)
        albedo[eye], lit[eye], gloss[eye] = _eye(_centre(on.surface[ball]), points[eye], looks, rng), 0.45, 0.25
    turn = torch.linalg.cross(torch.from_numpy(rng.normal(size=(len(points), 3))).float(), normal)  # any direction in the surface
    size = SPREAD * spacing * torch.from_numpy(rng.uniform(0.85, 1.2, len(points))).float()
    size *= 1 - 0.12 * values["eyelids"].clamp(0, 1)  # rims stay sharp
    return Paint(
        points=points, quats=oriented(turn, normal), scales=torch.stack([size, THICKNESS * size, size], -1),
        opacities=torch.full((len(points),), 0.95), albedo=albedo, gloss=gloss, lit=lit, triangles=corners, barycentrics=bary,
    )  # fmt: skip


def _density(head, on: Canvas, masks: dict[str, Tensor]) -> Float[Tensor, "faces"]:
    """Gaussians per area: fine where eyes look first."""
    level = 0.7 + 1.6 * masks["face"] + 4.0 * masks["lips"] + 5.0 * masks["eyelids"] + 0.6 * masks["brows"]
    for name, value in zip(INSIDE_THE_MOUTH, (1.0, 2.0, 4.0, 4.0), strict=True):
        level[head.region(name)] = value
    front = (on.normals[:, 2] > 0.1).float()
    for ball in _balls(head):
        level[ball] = 0.5 + 11.0 * front[ball]
    return level[on.faces].mean(1)


def _places(on: Canvas, density: Float[Tensor, "faces"], rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Faces, barycentric points and distances to the neighbours of about ``count`` evenly spread Gaussians.

    Dart throwing: of four times as many random points, each is kept unless it comes too near to one kept before. Random points
    alone clump, and leave holes to see through.
    """
    from scipy.spatial import cKDTree

    corners = on.surface[on.faces]
    area = 0.5 * torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    weight = (area * density).double()
    edges = weight.cumsum(0) / weight.sum()
    at = (torch.arange(4 * count, dtype=torch.float64) + rng.uniform()) / (4 * count)
    chosen = torch.searchsorted(edges, at).clamp_max(len(on.faces) - 1)
    u, v = torch.from_numpy(rng.uniform(size=(2, 4 * count))).float()
    bary = torch.stack([1 - u.sqrt(), u.sqrt() * (1 - v), u.sqrt() * v], -1)
    spacing = (weight.sum() / count / density[chosen].clamp_min(1e-6)).sqrt().float()
    points, reach = on.at(chosen, bary, on.surface).numpy(), DART * spacing.numpy()
    near = cKDTree(points).query_ball_point(points, reach, return_sorted=False)
    blocked, kept = np.zeros(len(points), bool), []
    for k in rng.permutation(len(points)):
        if not blocked[k]:
            kept.append(k)
            blocked[near[k]] = True
    kept = torch.from_numpy(np.sort(kept))
    return chosen[kept], bary[kept], spacing[kept]


def _skin(on: Canvas, points: Tensor, values: dict[str, Tensor], looks: Complexion, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    skin = looks.skin * (
        1 + 0.020 * ripples(rng, points, 0.06, 1) + 0.008 * ripples(rng, points, 0.05, 3) + 0.012 * ripples(rng, points, 0.015, 1)
    )
    marks = on.landmarks
    red = torch.zeros(len(points))
    for centre, reach, share in (
        (marks[[1, 31, 48]].mean(0), 0.018, 1.0),
        (marks[[15, 35, 54]].mean(0), 0.018, 1.0),
        (marks[30], 0.011, 0.5),
    ):
        red += share * torch.exp(-0.5 * ((points - centre) / reach).square().sum(-1))
    skin = skin * (1 + looks.blush * red[:, None] * torch.tensor([0.5, -1.3, -1.0]))
    for eye in (marks[36:42].mean(0), marks[42:48].mean(0)):
        socket = torch.exp(-0.5 * ((points - eye - torch.tensor([0.0, -0.010, 0.0])) / 0.010).square().sum(-1))
        skin = skin * (1 - 0.10 * socket[:, None])
    skin = skin * (1 - 0.07 * values["eyelids"][:, None])
    skin = _mixed(skin, 0.5 * looks.hair + 0.5 * looks.skin, 0.3 * values["brows"] * (values["scalp"] < 0.3))
    skin = _mixed(skin, 0.65 * looks.hair + 0.25 * looks.skin, min(looks.beard, 0.8) * values["beard"])
    skin = _mixed(skin, 0.75 * looks.hair, (1.6 * values["scalp"]).clamp(0, 1) * 0.92)
    lips = looks.lips * (1 + 0.05 * ripples(rng, points, 0.006, 1))
    skin = _mixed(skin, lips, (1.5 * values["lips"] - 0.25).clamp(0, 1))
    low = on.surface[:, 1].min()
    collar = ((low + 0.022 + 0.25 * (on.surface[:, 2].max() - points[:, 2]).clamp(0, 0.2) * 0.2 - points[:, 1]) / 0.003).clamp(0, 1)
    skin = _mixed(skin, looks.collar * (1 + 0.05 * ripples(rng, points, 0.01, 1)), collar)
    skin = skin * (1 - (2.2 * values["hollow"]).clamp(0, 0.5))[:, None]
    gloss = looks.gloss * (1 - values["scalp"]) * (1 + 0.8 * values["lips"]) * (1 - collar)
    return skin * (1 + 0.012 * torch.from_numpy(rng.normal(size=(len(points), 1))).float()), gloss


def _mixed(below: Tensor, above: Tensor, share: Float[Tensor, "points"]) -> Tensor:
    return below + share[:, None] * (above - below)


def _mouth(name: str, points: Tensor, rng: np.random.Generator) -> Tensor:
    """The inside of the mouth: dark walls, a tongue, teeth in their gums; darker the further back."""
    if not len(points):
        return points
    back = ((points[:, 2].max() - points[:, 2]) / 0.03).clamp(0, 1)[:, None]
    if name == "mouth_cavity":
        return torch.tensor([0.22, 0.07, 0.07]) * (1 + 0.1 * ripples(rng, points, 0.02, 1))
    if name == "tongue":
        return torch.tensor([0.60, 0.27, 0.27]) * (1 - 0.65 * back) * (1 + 0.06 * ripples(rng, points, 0.006, 1))
    edge = points[:, 1] - points[:, 1].min() if name == "upper_teeth" else points[:, 1].max() - points[:, 1]  # from the cutting edge
    gap = (torch.cos(2 * np.pi * points[:, 0] / 0.0080).clamp_min(0.86) - 0.86) / 0.14
    ivory = torch.tensor([0.88, 0.85, 0.78]) * (1 - 0.25 * gap)[:, None]
    gum = ((edge - 0.0095 + 0.001 * gap) / 0.001).clamp(0, 1)
    return _mixed(ivory, torch.tensor([0.62, 0.30, 0.30]), gum) * (1 - 0.6 * back) * (0.93 if name == "upper_teeth" else 0.80)


def _centre(ball: Float[Tensor, "verts 3"]) -> Float[Tensor, "3"]:
    """Centre of the sphere that fits best: the mean would lie where vertices are dense."""
    one = torch.ones(len(ball), 1)
    return torch.linalg.lstsq(torch.cat([2 * ball, one], -1), ball.square().sum(-1, keepdim=True)).solution[:3, 0]


def _eye(centre: Tensor, points: Tensor, looks: Complexion, rng: np.random.Generator) -> Tensor:
    """Pupil, iris with rays and a dark rim, sclera that reddens towards the corners; the upper lid's shadow over all."""
    ray = torch.nn.functional.normalize(points - centre, dim=-1)
    angle = torch.acos(ray[:, 2].clamp(-1, 1))
    around = torch.atan2(ray[:, 1], ray[:, 0])
    white = torch.tensor([0.93, 0.91, 0.89]) * (1 - 0.10 * (angle / 1.2).clamp(0, 1)[:, None] * torch.tensor([0.4, 1.0, 1.0]))
    spokes = 1 + 0.12 * torch.sin(17 * around + rng.uniform(0, 6)) + 0.25 * (0.3 - (angle - PUPIL)).clamp(-0.2, 0.3)
    iris = looks.iris * spokes[:, None]
    rim = ((angle - 0.40) / 0.06).clamp(0, 1)
    iris = iris * (1 - 0.55 * rim[:, None])
    color = torch.where((angle < 0.5 * (IRIS + LIMBUS))[:, None], iris, white)
    color = torch.where((angle < PUPIL)[:, None], torch.tensor([0.03, 0.025, 0.03]), color)
    return color * (1 - 0.30 * ((ray[:, 1] - 0.10) / 0.3).clamp(0, 1))[:, None]


def _highlights(head, on: Canvas, seed: int) -> Paint:
    """One bright dot on each eye."""
    side = 1.0 if stream(seed, "highlight").random() < 0.5 else -1.0
    parts = []
    for ball in _balls(head):
        centre = _centre(on.surface[ball])
        radius = (on.surface[ball] - centre).norm(dim=-1).max()
        ray = torch.nn.functional.normalize(torch.tensor([0.14 * side, 0.20, 1.0]), dim=0)
        allowed = ball[on.faces].all(1).nonzero()[:, 0]
        chosen, bary = on.nearest((centre + radius * ray)[None], allowed)
        dot = strokes(
            on,
            chosen,
            bary,
            torch.tensor([[1.0, 0.0, 0.0]]),
            lift_m=0.0001,
            length_m=0.0008,
            width_m=0.0008,
            color=torch.ones(3),
            opacity=0.95,
        )
        parts.append(Paint(**{**vars(dot), "lit": torch.zeros(1)}))
    return Paint.joined(parts)


def _along(marks: Tensor, ids: tuple[int, ...], t: Tensor) -> tuple[Tensor, Tensor]:
    """Points and directions at shares t of a polyline of landmarks, smoothed by a quadratic through it."""
    line = marks[list(ids)]
    grid = torch.linspace(0, 1, len(ids))
    powers = torch.stack([torch.ones_like(grid), grid, grid**2], -1)
    fit = torch.linalg.lstsq(powers, line).solution
    return torch.stack([torch.ones_like(t), t, t**2], -1) @ fit, torch.stack([torch.zeros_like(t), torch.ones_like(t), 2 * t], -1) @ fit


def _outside(head, on: Canvas) -> Tensor:
    return (~_inside(head)[on.faces]).all(1).nonzero()[:, 0]


def _brows(head, on: Canvas, looks: Complexion, seed: int) -> Paint:
    rng = stream(seed, "brows")
    skin, parts = _outside(head, on), []
    arch, level = rng.uniform(-0.0005, 0.0025), rng.uniform(0.001, 0.004)  # of the middle, and of the inner end, over the landmarks
    for ids in BROWS:
        t = torch.from_numpy(rng.uniform(0.0, 0.94, 85)).float()
        points, along = _along(on.landmarks, ids, t)
        thickness = looks.brow_thickness * (0.35 + 0.75 * t.clamp(0, 1) ** 0.7)
        rise = torch.from_numpy(rng.uniform(-0.5, 0.5, len(t))).float()
        points[:, 1] += rise * thickness + arch * (1 - (2 * t - 0.8).square()) + level * t**2
        lean = -along + along.norm(dim=-1, keepdim=True) * torch.stack([0 * t, 0.25 + 0.5 * t - 0.5 * rise, 0 * t], -1)
        chosen, bary = on.nearest(points, skin)
        parts.append(strokes(on, chosen, bary, lean, lift_m=0.0018, length_m=0.0030, width_m=0.00075, color=0.7 * looks.hair, opacity=0.5))
    return Paint.joined(parts)


def _lashes(head, on: Canvas, looks: Complexion, seed: int) -> Paint:
    rng = stream(seed, "lashes")
    skin, parts = _outside(head, on), []
    for lines, count, length, opacity in ((UPPER_LASHES, 30, 0.0014, 0.85), (LOWER_LASHES, 12, 0.0008, 0.2)):
        for ids in lines:
            t = torch.from_numpy(rng.uniform(0.03, 0.97, count)).float()
            points, along = _along(on.landmarks, ids, t)
            chosen, bary = on.nearest(points, skin)
            dark = 0.25 * looks.hair + torch.tensor([0.03, 0.02, 0.02])
            parts.append(strokes(on, chosen, bary, along, lift_m=0.0008, length_m=length, width_m=0.0005, color=dark, opacity=opacity))
    return Paint.joined(parts)


def _freckles(on: Canvas, masks: dict[str, Tensor], looks: Complexion, seed: int) -> Paint:
    """Small brown spots, most of them on nose and cheeks."""
    rng = stream(seed, "freckles")
    nose = on.landmarks[30]
    near = torch.exp(-0.5 * ((on.surface - nose - torch.tensor([0.0, 0.008, -0.02])) / torch.tensor([0.045, 0.018, 0.04])).square().sum(-1))
    where = (masks["face"] * (0.08 + near) * (1 - masks["lips"]) * (1 - masks["eyelids"]))[on.faces].mean(1)
    chosen, bary, _ = _places(on, where, rng, int(4000 * looks.freckles))
    turn = torch.linalg.cross(torch.from_numpy(rng.normal(size=(len(chosen), 3))).float(), on.at(chosen, bary, on.normals))
    brown = looks.skin * torch.tensor([0.78, 0.66, 0.58])
    return strokes(on, chosen, bary, turn, lift_m=0.0012, length_m=0.0009, width_m=0.0007, color=brown, opacity=0.6)


def _beard_area(on: Canvas, masks: dict[str, Tensor]) -> Float[Tensor, "verts"]:
    """Chin, jaw and upper lip."""
    marks, p = on.landmarks, on.surface
    mouth, chin, nose = marks[48:60].mean(0), marks[8], marks[33]
    low = ((0.35 * nose[1] + 0.65 * mouth[1] + 0.35 * (p[:, 0].abs() - 0.02).clamp_min(0) - p[:, 1]) / 0.008).clamp(0, 1)
    moustache = torch.exp(-0.5 * (((p - 0.5 * (marks[51] + nose)) / torch.tensor([0.020, 0.0045, 0.02])) ** 2).sum(-1)) * (
        p[:, 2] > chin[2] - 0.03
    )
    high = ((p[:, 1] - chin[1] + 0.012) / 0.008).clamp(0, 1)
    front = ((p[:, 2] - (marks[4, 2] + marks[12, 2]) / 2 + 0.035) / 0.015).clamp(0, 1)
    clean = (1 - 2.0 * masks["lips"]).clamp(0, 1) * (1 - masks["neck"] * (p[:, 1] < chin[1] - 0.01))
    return (torch.maximum(low * high * front, moustache.clamp(0, 1)) * clean).clamp(0, 1)


def _beard(on: Canvas, area: Float[Tensor, "verts"], looks: Complexion, seed: int) -> Paint:
    rng = stream(seed, "beard")
    chosen, bary, _ = _places(on, (area[on.faces].mean(1) - 0.25).clamp_min(0), rng, 900)
    down = torch.tensor([0.0, -1.0, 0.25]) + 0.35 * torch.from_numpy(rng.normal(size=(len(chosen), 3))).float()
    paint = strokes(on, chosen, bary, down, lift_m=0.0022, length_m=0.0034, width_m=0.0010, color=looks.hair, opacity=0.6)
    shade = torch.from_numpy(rng.uniform(0.6, 1.15, (len(chosen), 1))).float()
    return Paint(**{**vars(paint), "albedo": paint.albedo * shade})
