"""Shapes that are rotations, made into joints: what every converter of a blend-shape head needs.

An artist's jawOpen or eyeLookDown moves vertices along lines. Here the rigid part of it becomes a rotation of a joint, and what the
rotation does not explain becomes pose correctives, linear in R - I, which is FLAME's own mechanism.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mango.head.assets import JOINTS

POSED = ("neck", "jaw", "left_eye", "right_eye")  # order of the 9-blocks of the pose correctives


@dataclass(frozen=True)
class JointActions:
    """ARKit's shapes that are joints here: the pose at weight one, and the correctives that make up the difference."""

    names: list[str]
    poses: np.ndarray  # (11, 12): neck, jaw, left eye, right eye, axis-angle
    correctives: np.ndarray  # (36, V, 3)


def joint_actions(
    template: Float[np.ndarray, "verts 3"],
    action: Callable[[str], np.ndarray],
    joints: Float[np.ndarray, "joints 3"],
    weights: Float[np.ndarray, "verts joints"],
    parts: Mapping[str, Int[np.ndarray, "_"]],
    rigid: tuple[str, ...] = ("left_eye", "right_eye", "upper_teeth", "lower_teeth"),
) -> JointActions:
    """Rotations fitted to rigid parts (lower teeth, eyeballs), then correctives linear in R - I: exact at weight one and, for jawOpen,
    at one half too, so that the lips' path is the straight one that ARKit's users expect.

    ``action`` gives an ARKit shape by name; ``rigid`` parts get no correctives, whatever their shapes do.
    """
    names, poses = [], []
    correctives = np.zeros((36, len(template), 3))
    fixed = np.concatenate([parts[part] for part in rigid])

    def fit(joint: str, axis: int, plus: str, minus: str | None, fitted: np.ndarray) -> None:
        place, pivot = JOINTS.index(joint), joints[JOINTS.index(joint)]
        rows, goals = [], []
        for name, sign in ((plus, 1), (minus, -1)):
            if name is None:
                continue
            shape = action(name)
            angle = best_angle(template[fitted], template[fitted] + shape[fitted], pivot, axis)
            assert sign * angle > 0, f"{name}: expected a rotation of sign {sign}, found {angle:.3f} rad"
            vector = np.zeros(12)
            vector[3 * POSED.index(joint) + axis] = angle
            names.append(name)
            poses.append(vector)
            for weight in (1.0, 0.5) if minus is None else (1.0,):
                turn = axis_rotation(axis, weight * angle)
                goal = unskinned(template + weight * shape, turn, pivot, weights[:, place]) - template
                goal[fixed] = 0
                rows.append([np.sin(weight * angle), np.cos(weight * angle) - 1])
                goals.append(goal)
        odd, even = np.linalg.solve(np.array(rows), np.array(goals).reshape(len(rows), -1)).reshape(2, -1, 3)
        i, j = ((1, 2), (2, 0), (0, 1))[axis]
        block = 9 * POSED.index(joint)
        correctives[block + 3 * j + i] += odd / 2  # R - I holds +sin at (j, i) and -sin at (i, j)
        correctives[block + 3 * i + j] -= odd / 2
        correctives[block + 4 * (1 if axis == 0 else 0)] += even  # the diagonal entry that only this axis moves

    fit("jaw", 0, "jawOpen", None, parts["lower_teeth"])
    fit("jaw", 1, "jawLeft", "jawRight", parts["lower_teeth"])
    for joint, side, outer, inner in (("left_eye", "Left", "Out", "In"), ("right_eye", "Right", "In", "Out")):
        fit(joint, 0, f"eyeLookDown{side}", f"eyeLookUp{side}", parts[joint])
        fit(joint, 1, f"eyeLook{outer}{side}", f"eyeLook{inner}{side}", parts[joint])
    return JointActions(names, np.array(poses), correctives)


def unskinned(posed: np.ndarray, turn: np.ndarray, pivot: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The rest positions that one rotating joint would carry to ``posed``."""
    shift = weight[:, None] * (pivot - turn @ pivot)
    return unturned(posed - shift, turn, weight)


def unturned(offsets: np.ndarray, turn: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The offsets at rest that a joint turned by ``turn`` carries to ``offsets``, vertex by vertex."""
    matrices = np.eye(3) + weight[:, None, None] * (turn - np.eye(3))
    return np.linalg.solve(matrices, offsets[..., None])[..., 0]


def jaw_pivot(points: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Where the hinge lies: the fixed point, in the plane of symmetry, of the lower teeth's motion."""
    angle = best_angle(points - points.mean(0), moved - moved.mean(0), np.zeros(3), axis=0)
    turn = axis_rotation(0, angle)
    shift = moved.mean(0) - turn @ points.mean(0)
    return np.array([0.0, *np.linalg.solve((np.eye(3) - turn)[1:, 1:], shift[1:])])


def best_angle(points: np.ndarray, moved: np.ndarray, pivot: np.ndarray, axis: int) -> float:
    """The rotation about one axis through ``pivot`` that takes ``points`` nearest to ``moved``."""
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    a, b = points - pivot, moved - pivot
    return float(np.arctan2((a[:, i] * b[:, j] - a[:, j] * b[:, i]).sum(), (a[:, i] * b[:, i] + a[:, j] * b[:, j]).sum()))


def axis_rotation(axis: int, angle: float) -> np.ndarray:
    x = np.zeros(3)
    x[axis] = 1
    cross = np.array([[0, -x[2], x[1]], [x[2], 0, -x[0]], [-x[1], x[0], 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def joint_regressor(
    template: Float[np.ndarray, "verts 3"],
    directions: Float[np.ndarray, "identities verts 3"],
    joints: Float[np.ndarray, "joints 3"],
    joint_directions: Float[np.ndarray, "identities joints 3"],
    support: list[Int[np.ndarray, "_"]],
    mirror: Int[np.ndarray, "_"],
) -> Float[np.ndarray, "joints verts"]:
    """Weights that give each joint from its ``support`` vertices, for the template and along every direction; least norm, sums to one.
    With ``mirror`` (not empty) they are as symmetric as the mesh.
    """
    regressor = np.zeros((5, len(template)))
    for joint, chosen in enumerate(support):
        points = np.concatenate([template[None, chosen], directions[:, chosen]])  # (1 + S, n, 3)
        wanted = np.concatenate([joints[None, joint], joint_directions[:, joint]])
        rows = np.concatenate([points.transpose(0, 2, 1).reshape(-1, len(chosen)), np.ones((1, len(chosen)))])
        goal = np.concatenate([wanted.reshape(-1), [1.0]])
        damping = 1e-5**2 * len(chosen) ** 0.5  # about 0.01 mm of freedom buys smooth weights
        regressor[joint, chosen] = rows.T @ np.linalg.solve(rows @ rows.T + damping * np.eye(len(rows)), goal)
        regressor[joint] /= regressor[joint].sum()
    if not len(mirror):
        return regressor
    mirrored = regressor[[0, 1, 2, 4, 3]][:, mirror]  # the mesh's own symmetry, which least squares does not know of
    return (regressor + mirrored) / 2


def triangles(points: np.ndarray, quads: np.ndarray, uv_quads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quads as triangles along the shorter diagonal, of vertices and of texture coordinates."""
    corner = points[quads]
    first = np.linalg.norm(corner[:, 0] - corner[:, 2], axis=1) <= np.linalg.norm(corner[:, 1] - corner[:, 3], axis=1)
    order = np.where(first[:, None], [[0, 1, 2, 0, 2, 3]], [[0, 1, 3, 1, 2, 3]])
    take = lambda q: np.take_along_axis(q, order, axis=1).reshape(-1, 3)  # noqa: E731
    return take(quads), take(uv_quads)


def open_border(faces: np.ndarray) -> np.ndarray:
    """Vertices on edges of one face alone."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(unique[count == 1])


def box_centre(points: np.ndarray) -> np.ndarray:
    return (points.max(axis=-2) + points.min(axis=-2)) / 2
