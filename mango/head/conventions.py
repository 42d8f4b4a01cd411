"""Axis-angle on disk and at borders, matrices inside: thin names over roma, so that one file owns the convention."""

import roma
from jaxtyping import Float
from torch import Tensor


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Differentiable everywhere, zero included."""
    return roma.rotvec_to_rotmat(axis_angle)


def matrix_to_axis_angle(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """The rotation vector of least length; at exactly half a turn either sign may come back."""
    return roma.rotmat_to_rotvec(matrix)
