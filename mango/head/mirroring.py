"""The mirror image of an expression, in coefficients of the same head.

ARKit's names come in pairs; other bases have no names. So it is asked of the surface: the coefficients whose displacements are nearest, in
least squares, to the displacements reflected in the plane x = 0.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mango.head.model import Head

REFLECTION = (-1.0, 1.0, 1.0)
RIDGE = 1e-6  # of the largest squared length: for coefficients that move nothing


def mirrored_vertices(head: Head) -> Int[Tensor, "verts"]:
    """The vertex on the other side: as the head's file says, or the one nearest to the reflected place."""
    if len(head.mirror):
        return head.mirror
    from scipy.spatial import cKDTree

    template = head.template.cpu()
    _, nearest = cKDTree(template.numpy()).query((template * template.new_tensor(REFLECTION)).numpy())
    return torch.from_numpy(nearest).to(head.faces)


def mirrored_expressions(head: Head) -> Float[Tensor, "expressions expressions"]:
    """M, so that a face of coefficients c has its mirror image at M c."""
    directions = head.expression_directions.double()
    reflected = directions[mirrored_vertices(head)] * directions.new_tensor(REFLECTION)[:, None]
    flat, wanted = directions.flatten(0, 1), reflected.flatten(0, 1)
    normal = flat.T @ flat
    ridge = RIDGE * normal.diagonal().max() * torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
    return torch.linalg.solve(normal + ridge, flat.T @ wanted).to(head.template)
