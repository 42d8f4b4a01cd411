"""One head's surface laid over another's, so that what is known about the places of one is known of the other's too.

A similarity by the eyes and then by nearest points puts the source over the target; then every vertex of the source may move by itself,
ever more freely: a sparse least-squares problem per round, after Amberg, Romdhani, Vetter, "Optimal step nonrigid ICP", CVPR 2007, with
displacements in place of affine maps. Points match where they are near *and* face the same way: that keeps the upper lip off the lower.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

NORMAL_COUNTS = 0.02  # metres of distance that a turn of the normal by one radian is worth
FARTHEST = 0.03  # metres, turns of the normal included: beyond it nothing corresponds (an ear, a neck that the other head has not)
AGREEING = 0.5  # cosine between normals that correspond
STIFFNESS = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0)  # of an edge, against a vertex's pull of one
ROUNDS = 5  # of matching, at each stiffness


@dataclass(frozen=True)
class Surface:
    """A triangle mesh."""

    points: Float[np.ndarray, "verts 3"]
    faces: Int[np.ndarray, "faces 3"]

    def corner_normals(self) -> Float[np.ndarray, "verts 3"]:
        """Of unit length, weighted by area; zero where a vertex has no face."""
        normals = np.zeros_like(self.points)
        across = self.face_normals()
        for corner in range(3):
            np.add.at(normals, self.faces[:, corner], across)
        return unit(normals)

    def face_normals(self) -> Float[np.ndarray, "faces 3"]:
        """As long as the faces are large."""
        a, b, c = (self.points[self.faces[:, corner]] for corner in range(3))
        return np.cross(b - a, c - a)

    def edges(self) -> Int[np.ndarray, "edges 2"]:
        return np.unique(np.sort(np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]]), axis=1), axis=0)

    def restricted(self, vertices: Int[np.ndarray, "kept"]) -> tuple["Surface", Int[np.ndarray, "kept_faces"]]:
        """The part whose faces have all corners among ``vertices`` (numbering unchanged), and which faces these are."""
        inside = np.zeros(len(self.points), bool)
        inside[vertices] = True
        kept = np.flatnonzero(inside[self.faces].all(axis=1))
        return Surface(self.points, self.faces[kept]), kept


class Matcher:
    """Finds the place on a surface that is nearest to a point and faces the same way. Samples: corners, middles of edges and of faces."""

    BARYCENTRICS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [1 / 3, 1 / 3, 1 / 3]])

    def __init__(self, surface: Surface):
        self.surface = surface
        corners, normals = surface.points[surface.faces], surface.corner_normals()[surface.faces]
        self.points = np.einsum("sc,fcx->fsx", self.BARYCENTRICS, corners).reshape(-1, 3)
        self.normals = unit(np.einsum("sc,fcx->fsx", self.BARYCENTRICS, normals).reshape(-1, 3))
        self.tree = cKDTree(np.concatenate([self.points, NORMAL_COUNTS * self.normals], axis=1))

    def matched(
        self, points: Float[np.ndarray, "queries 3"], normals: Float[np.ndarray, "queries 3"]
    ) -> tuple[Float[np.ndarray, "queries 3"], Float[np.ndarray, "queries 3"]]:
        """Places and normals of the best samples; where none is within reach the point itself, and no normal."""
        found, sample = self.tree.query(np.concatenate([points, NORMAL_COUNTS * normals], axis=1), distance_upper_bound=FARTHEST)
        none = ~np.isfinite(found)
        sample[none] = 0
        return np.where(none[:, None], points, self.points[sample]), np.where(none[:, None], 0.0, self.normals[sample])

    def on_surface(
        self, points: Float[np.ndarray, "queries 3"], normals: Float[np.ndarray, "queries 3"], tried: int = 24
    ) -> tuple[Int[np.ndarray, "queries"], Float[np.ndarray, "queries 3"]]:
        """Face and barycentric coordinates of the nearest point of the faces around the best samples, exactly."""
        _, samples = self.tree.query(np.concatenate([points, NORMAL_COUNTS * normals], axis=1), k=tried)
        faces = samples // len(self.BARYCENTRICS)
        coordinates = barycentric_of_nearest(points[:, None], self.surface.points[self.surface.faces[faces]])
        places = np.einsum("qtc,qtcx->qtx", coordinates, self.surface.points[self.surface.faces[faces]])
        best = np.linalg.norm(places - points[:, None], axis=-1).argmin(axis=1)
        rows = np.arange(len(points))
        return faces[rows, best], coordinates[rows, best]


def fitted(source: Surface, target: Surface, eyes: tuple[np.ndarray, np.ndarray], face: Int[np.ndarray, "chosen"]) -> Surface:
    """``source`` laid over ``target``. ``eyes``: the eyes' joints (left, right) of source and target; ``face``: vertices of the source
    that hold the similarity (expression-free shape that both heads have).
    """
    matcher = Matcher(target)
    laid = Surface(similar(source.points, *similarity(*eyes)), source.faces)
    for _ in range(20):
        points, normals = laid.points[face], laid.corner_normals()[face]
        goals, facing = matcher.matched(points, normals)
        distance = np.linalg.norm(goals - points, axis=1)
        kept = ((normals * facing).sum(1) > AGREEING) & (distance < 2.5 * np.median(distance) + 1e-4)
        if kept.sum() < 3:
            break  # nothing alike: the caller sees how far off it is
        laid = Surface(similar(laid.points, *similarity(points[kept], goals[kept])), source.faces)
    return draped(laid, matcher)


def draped(laid: Surface, matcher: Matcher) -> Surface:
    """Vertices move by themselves, neighbours alike."""
    used = np.unique(laid.faces)
    edges = laid.edges()
    rows = np.repeat(np.arange(len(edges)), 2)
    differences = scipy.sparse.csr_matrix((np.tile([1.0, -1.0], len(edges)), (rows, edges.ravel())), (len(edges), len(laid.points)))
    held = np.ones(len(laid.points))
    held[used] = 0  # vertices without a face stay
    smooth = differences.T @ differences
    moved = laid
    for stiffness in STIFFNESS:
        for _ in range(ROUNDS):
            normals = moved.corner_normals()
            goals, facing = matcher.matched(moved.points, normals)
            offset = goals - laid.points
            agree = np.clip(((normals * facing).sum(1) - AGREEING) / (1 - AGREEING), 0, 1)
            pull = agree * (1 - held)
            system = scipy.sparse.diags(pull + held + 1e-6) + stiffness * smooth
            displacement = scipy.sparse.linalg.splu(system.tocsc()).solve(pull[:, None] * offset)
            moved = Surface(laid.points + displacement, laid.faces)
    return moved


def similarity(points: Float[np.ndarray, "n 3"], goals: Float[np.ndarray, "n 3"]) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and shift that take ``points`` nearest to ``goals`` (Umeyama 1991); two points are not turned."""
    centre, wanted = points.mean(0), goals.mean(0)
    a, b = points - centre, goals - wanted
    if len(points) < 3:
        scale, turn = float(np.linalg.norm(b) / np.linalg.norm(a)), np.eye(3)
    else:
        left, size, right = np.linalg.svd(b.T @ a)
        sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
        turn, scale = (left * sign) @ right, float((size * sign).sum() / (a**2).sum())
    return scale, turn, wanted - scale * turn @ centre


def similar(points: Float[np.ndarray, "n 3"], scale: float, turn: np.ndarray, shift: np.ndarray) -> Float[np.ndarray, "n 3"]:
    return scale * points @ turn.T + shift


def barycentric_of_nearest(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Of the point of a triangle that is nearest to a point: inside, or on the nearest of the three edges. Shapes (..., 3), (..., 3, 3)."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    points = np.broadcast_to(points, a.shape)
    first, second, offset = b - a, c - a, points - a
    aa, bb, ab = (first**2).sum(-1), (second**2).sum(-1), (first * second).sum(-1)
    pa, pb = (offset * first).sum(-1), (offset * second).sum(-1)
    area = np.maximum(aa * bb - ab**2, 1e-30)
    v, w = (bb * pa - ab * pb) / area, (aa * pb - ab * pa) / area
    tried = [np.stack([1 - v - w, v, w], -1)]
    for k in range(3):
        start, end = corners[..., k, :], corners[..., (k + 1) % 3, :]
        along = end - start
        t = np.clip(((points - start) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-30), 0, 1)
        edge = np.zeros((*v.shape, 3))
        edge[..., k], edge[..., (k + 1) % 3] = 1 - t, t
        tried.append(edge)
    tried = np.stack(tried, -2)
    distance = np.linalg.norm(np.einsum("...kc,...cx->...kx", tried, corners) - points[..., None, :], axis=-1)
    distance[..., 0] = np.where((tried[..., 0, :] >= 0).all(-1), distance[..., 0], np.inf)
    return np.take_along_axis(tried, distance.argmin(-1)[..., None, None], axis=-2)[..., 0, :]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
