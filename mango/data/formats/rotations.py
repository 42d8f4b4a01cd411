"""Rotations as other people write them, as axis-angle vectors in FLAME's axes (x to the person's left, y up, z out of the face)."""

from typing import Literal

import numpy as np
from jaxtyping import Float

FACING = np.diag([1.0, -1.0, -1.0])  # FLAME's axes as an OpenCV camera sees a head that faces it


def from_6d(six: Float[np.ndarray, "time 6"], pairs: Literal["rows", "columns"]) -> Float[np.ndarray, "time 3"]:
    """Of two vectors made orthonormal (Zhou et al., "On the Continuity of Rotation Representations", 2019): the first two rows of the
    matrix, as PyTorch3D writes them, or its first two columns.
    """
    first, second = six[:, :3].astype(np.float64), six[:, 3:].astype(np.float64)
    x = _unit(first)
    y = _unit(second - (x * second).sum(1, keepdims=True) * x)
    matrix = np.stack([x, y, np.cross(x, y)], axis=1)
    return from_matrices(matrix if pairs == "rows" else matrix.transpose(0, 2, 1))


def from_matrices(matrices: Float[np.ndarray, "time 3 3"]) -> Float[np.ndarray, "time 3"]:
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(matrices.astype(np.float64)).as_rotvec().astype(np.float32)


def head_seen_by_camera(opencv: Float[np.ndarray, "time 3 3"]) -> Float[np.ndarray, "time 3"]:
    """The turn of a head out of facing the camera, of a tracker that keeps the head still and turns the camera."""
    return from_matrices(FACING @ opencv.astype(np.float64))


def from_yaw_pitch_roll(angles: Float[np.ndarray, "time 3"]) -> Float[np.ndarray, "time 3"]:
    """Radians: yaw about y, then pitch about the turned x, then roll about the twice turned z."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("YXZ", angles.astype(np.float64)).as_rotvec().astype(np.float32)


def to_yaw_pitch_roll(rotations: Float[np.ndarray, "time 3"]) -> Float[np.ndarray, "time 3"]:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(rotations.astype(np.float64)).as_euler("YXZ").astype(np.float32)


def _unit(vectors: Float[np.ndarray, "time 3"]) -> Float[np.ndarray, "time 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
