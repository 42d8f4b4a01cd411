"""Named regions of the surface."""

import itertools

import numpy as np
from built_in_head.anny_source import Source
from built_in_head.identity import Identity
from built_in_head.mesh import CAVITY_RINGS, INNER_RINGS, LIP_RINGS, Mesh


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
