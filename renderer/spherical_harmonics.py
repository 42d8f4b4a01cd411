"""Colours that depend on where one looks from: real spherical harmonics up to degree 3, in 3D Gaussian splatting's order and signs."""

import torch
from jaxtyping import Float
from torch import Tensor

MAX_DEGREE = 3


def shade(degree: int, directions: Float[Tensor, "*batch 3"], coefficients: Float[Tensor, "*batch bases 3"]) -> Float[Tensor, "*batch 3"]:
    """Colour seen along ``directions`` (from the camera to the Gaussian, any length): harmonics + 0.5, not below 0."""
    used = (degree + 1) ** 2
    return (torch.einsum("...k,...kc->...c", bases(degree, directions), coefficients[..., :used, :]) + 0.5).clamp(min=0)


def bases(degree: int, directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch bases"]:
    square = (directions * directions).sum(-1, keepdim=True)
    length = torch.where(square > 0, square, 1).sqrt()
    x, y, z = (directions / length).unbind(-1)
    values = [torch.full_like(x, 0.28209479177387814)]
    if degree >= 1:
        values += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree >= 2:
        values += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (3 * z * z - 1),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    if degree >= 3:
        values += [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (5 * z * z - 1),
            0.3731763325901154 * z * (5 * z * z - 3),
            -0.4570457994644658 * x * (5 * z * z - 1),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(values, -1)
