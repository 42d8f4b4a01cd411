"""Binding on the CPU, compiled (renderer/csrc/binding.cpp): one op, and a gradient for the vertices and one for what rides on them,
each computed only where it is asked for.

Float32. As many threads as ``torch.get_num_threads()`` says; the same bits on any number of them.
"""

import ctypes

import torch
from torch import Tensor

from renderer.backends.cpu import call
from renderer.mesh import check_faces


class Mesh(ctypes.Structure):
    """Of csrc/binding.cpp."""

    _fields_ = (*((name, ctypes.c_int64) for name in ("batch", "vertices", "gaussians")), ("threads", ctypes.c_int32))


def mesh(vertices: Tensor, triangles: Tensor) -> Mesh:
    return Mesh(*vertices.shape[:2], *triangles.shape[:1], torch.get_num_threads())


@torch.library.custom_op("renderer::bind", mutates_args=(), device_types="cpu")
def bind_op(
    vertices: Tensor, triangles: Tensor, barycentrics: Tensor, offsets: Tensor, quats: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Means, quaternions, scales, normals and squared sides: axes ``batch gaussians``. ``sizes`` are scales in units of the triangle's."""
    results = bind_results(vertices, triangles)
    check_faces(triangles, vertices.shape[1])
    call("bind_forward", mesh(vertices, triangles), vertices, triangles, barycentrics, offsets, quats, sizes, *results)
    return results


def bind_results(vertices: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return tuple(vertices.new_empty(len(vertices), len(triangles), width) for width in (3, 4, 3, 3, 3))


@bind_op.register_fake
def _(vertices, triangles, *others):
    return bind_results(vertices, triangles)


@torch.library.custom_op("renderer::bind_vertex_gradient", mutates_args=(), device_types="cpu")
def vertex_gradient_op(
    vertices: Tensor,
    triangles: Tensor,
    barycentrics: Tensor,
    offsets: Tensor,
    quats: Tensor,
    sizes: Tensor,
    g_means: Tensor | None,
    g_quats: Tensor | None,
    g_scales: Tensor | None,
    g_normals: Tensor | None,
    g_sides: Tensor | None,
) -> Tensor:
    result = torch.empty_like(vertices, memory_format=torch.contiguous_format)
    inputs = (vertices, triangles, barycentrics, offsets, quats, sizes, g_means, g_quats, g_scales, g_normals, g_sides)
    call("bind_vertex_gradient", mesh(vertices, triangles), *inputs, result)
    return result


@vertex_gradient_op.register_fake
def _(vertices, *others):
    return torch.empty_like(vertices, memory_format=torch.contiguous_format)


@torch.library.custom_op("renderer::bind_attribute_gradients", mutates_args=(), device_types="cpu")
def attribute_gradients_op(
    vertices: Tensor, triangles: Tensor, g_means: Tensor | None, g_quats: Tensor | None, g_scales: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    results = attribute_gradients(vertices, triangles)
    call("bind_attribute_gradients", mesh(vertices, triangles), vertices, triangles, g_means, g_quats, g_scales, *results)
    return results


def attribute_gradients(vertices: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return tuple(vertices.new_empty(len(triangles), width) for width in (3, 3, 4, 3))


@attribute_gradients_op.register_fake
def _(vertices, triangles, *others):
    return attribute_gradients(vertices, triangles)


def bind_setup(ctx, inputs, output) -> None:
    ctx.set_materialize_grads(False)  # nobody looks at the normals of an avatar without light
    ctx.save_for_backward(*inputs)


def bind_gradient(ctx, *gradients):
    vertices, triangles, *_ = inputs = ctx.saved_tensors
    g_vertices = vertex_gradient_op(*inputs, *gradients) if ctx.needs_input_grad[0] else None
    asked = any(ctx.needs_input_grad[2:])  # frozen avatars ask for nothing
    g_attributes = attribute_gradients_op(vertices, triangles, *gradients[:3]) if asked else (None,) * 4
    return g_vertices, None, *g_attributes


bind_op.register_autograd(bind_gradient, setup_context=bind_setup)
