"""iBUG's 68 landmarks on the surface."""

import numpy as np
from built_in_head.identity import Identity
from built_in_head.mesh import Mesh

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
