"""The compiled CPU backend: two ops, projection and blending, each with its gradient in C++ (renderer/csrc).

Float32. As many threads as ``torch.get_num_threads()`` says; the same bits on any number of them.
"""

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from renderer.backends.compilation import BuildError, library
from renderer.pipeline import Request, Result, compose
from renderer.projection import Projection


def obstacle() -> str | None:
    try:
        library()
    except BuildError as error:
        return str(error)
    return None


def rasterize(request: Request) -> Result:
    if request.means.device.type != "cpu" or request.means.dtype != torch.float32:
        raise ValueError(f"backend 'cpu': expected float32 tensors on the CPU, found {request.means.dtype} on {request.means.device}; "
                         "convert them, or use backend='reference' for float64")  # fmt: skip
    return compose(request, project, blend)


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    eps2d: float,
    near_plane: float,
    far_plane: float,
    radius_clip: float,
    antialiased: bool,
) -> Projection:
    """`renderer.projection.project`, compiled."""
    inputs = (means, quats, scales, opacities.detach(), viewmats, Ks.detach(), width, height)
    results = projected(*inputs, eps2d, near_plane, far_plane, radius_clip, antialiased)
    means2d, depths, conics, compensations, radii = results
    return Projection(radii=radii, means2d=means2d, depths=depths, conics=conics, compensations=compensations)


def blend(
    projection: Projection, colors: Tensor, opacities: Tensor, backgrounds: Tensor | None, width: int, height: int
) -> tuple[Tensor, Tensor]:
    """`renderer.backends.reference.blend`, compiled."""
    seen = projection
    learnt = (seen.means2d, seen.conics, colors, opacities, backgrounds)
    keep_bins = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in learnt)
    inputs = (*learnt[:4], seen.radii, seen.depths.detach(), backgrounds, width, height, keep_bins)
    return blended(*inputs)[:2]


class Sizes(ctypes.Structure):
    """Of csrc/projection.cpp."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("scenes", "cameras", "gaussians")),
        *((name, ctypes.c_int32) for name in ("width", "height")),
        *((name, ctypes.c_float) for name in ("eps2d", "near_plane", "far_plane", "radius_clip")),
        *((name, ctypes.c_int32) for name in ("antialiased", "threads")),
    )


class Stages(ctypes.Structure):
    """Of csrc/binning.h: where the time of one image goes, in seconds, and how much there was to do."""

    _fields_ = (
        *((name, ctypes.c_double) for name in ("binning", "kernel", "gathering")),
        *((name, ctypes.c_int64) for name in ("pairs", "records")),
    )


class Images(ctypes.Structure):
    """Of csrc/binning.h. ``stages`` is null but for benchmarks; ``bins`` where both passes make their own."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "gaussians", "channels")),
        *((name, ctypes.c_int32) for name in ("width", "height", "threads")),
        ("stages", ctypes.POINTER(Stages)),
        ("bins", ctypes.c_void_p),
        ("bins_bytes", ctypes.c_int64),
    )


def call(function: str, sizes: ctypes.Structure, *tensors: Tensor | None) -> None:
    """Calls into the library with raw pointers. ctypes lets go of the interpreter lock meanwhile."""
    held = [None if t is None else t.contiguous() for t in tensors]  # results are contiguous and are written in place
    if wrong := [t for t in held if t is not None and (t.device.type != "cpu" or (t.is_floating_point() and t.dtype != torch.float32))]:
        raise TypeError(f"renderer: {function} takes float32 on the CPU, found {wrong[0].dtype} on {wrong[0].device}; convert it")
    pointers = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in held]
    if getattr(library(), function)(ctypes.byref(sizes), *pointers) != 0:
        raise MemoryError(f"renderer: out of memory in {function}")


def differentiable(op: torch.library.CustomOpDef, setup: Callable, gradient: Callable) -> Callable:
    """Gives an op its gradient, and returns a function that does the same as the op with less around it.

    What `register_autograd` puts around an op takes twice as long as the op's own call, here a twentieth of a drawing's time.
    """
    op.register_autograd(gradient, setup_context=setup)

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            output = op(*inputs)
            setup(ctx, inputs, output)
            return output

        backward = staticmethod(gradient)

    return Differentiable.apply


@torch.library.custom_op("renderer::project", mutates_args=(), device_types="cpu")
def project_op(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    eps2d: float,
    near_plane: float,
    far_plane: float,
    radius_clip: float,
    antialiased: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    results = project_results(means, viewmats)
    sizes = Sizes(*means.shape[:1], viewmats.shape[1], means.shape[1], width, height, eps2d, near_plane, far_plane, radius_clip,
                  antialiased, torch.get_num_threads())  # fmt: skip
    call("project_forward", sizes, means, quats, scales, opacities, viewmats, Ks, *results)
    return results


def project_results(means: Tensor, viewmats: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    lead = (means.shape[0], viewmats.shape[1], means.shape[1])
    return (*(means.new_empty(*lead, *tail) for tail in ((2,), (), (3,), ())), means.new_empty(*lead, 2, dtype=torch.int32))


@project_op.register_fake
def _(means, quats, scales, opacities, viewmats, Ks, width, height, eps2d, near_plane, far_plane, radius_clip, antialiased):
    return project_results(means, viewmats)


@torch.library.custom_op("renderer::project_backward", mutates_args=(), device_types="cpu")
def project_backward_op(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    radii: Tensor,
    g_means2d: Tensor | None,
    g_depths: Tensor | None,
    g_conics: Tensor | None,
    g_compensations: Tensor | None,
    width: int,
    height: int,
    eps2d: float,
    near_plane: float,
    far_plane: float,
    antialiased: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    results = project_gradients(means, quats, scales, viewmats)
    sizes = Sizes(*means.shape[:1], viewmats.shape[1], means.shape[1], width, height, eps2d, near_plane, far_plane, 0.0,
                  antialiased, torch.get_num_threads())  # fmt: skip
    gradients = (g_means2d, g_depths, g_conics, g_compensations)
    call("project_backward", sizes, means, quats, scales, viewmats, Ks, radii, *gradients, *results)
    return results


def project_gradients(*inputs: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in inputs)


@project_backward_op.register_fake
def _(means, quats, scales, viewmats, *others):
    return project_gradients(means, quats, scales, viewmats)


def project_setup(ctx, inputs, output) -> None:
    means, quats, scales, _, viewmats, Ks, *ctx.sizes = inputs
    ctx.set_materialize_grads(False)  # zeros for outputs that no loss looks at cost time, and wake torch's threads
    ctx.save_for_backward(means, quats, scales, viewmats, Ks, output[-1].detach())


def project_gradient(ctx, g_means2d, g_depths, g_conics, g_compensations, _):
    width, height, eps2d, near_plane, far_plane, _, antialiased = ctx.sizes
    gradients = (g_means2d, g_depths, g_conics, g_compensations)
    results = project_backward_op(*ctx.saved_tensors, *gradients, width, height, eps2d, near_plane, far_plane, antialiased)
    g_means, g_quats, g_scales, g_viewmats = results
    return g_means, g_quats, g_scales, None, g_viewmats, *[None] * 8


projected = differentiable(project_op, project_setup, project_gradient)


@torch.library.custom_op("renderer::blend", mutates_args=(), device_types="cpu")
def blend_op(
    means2d: Tensor,
    conics: Tensor,
    colors: Tensor,
    opacities: Tensor,
    radii: Tensor,
    depths: Tensor,
    backgrounds: Tensor | None,
    width: int,
    height: int,
    keep_bins: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours, alphas, and the bins (images bytes) that `blend_backward_op` wants to see again; none of them if they are not kept."""
    results = blend_results(colors, width, height)
    sizes = images(colors, width, height)
    if keep_bins:
        call("measure_bins", sizes, means2d, opacities, radii)
    bins = colors.new_empty(len(colors), sizes.bins_bytes, dtype=torch.uint8)
    sizes.bins = bins.data_ptr() or None
    call("blend_forward", sizes, means2d, conics, colors, opacities, radii, depths, backgrounds, *results)
    return *results, bins


def images(colors: Tensor, width: int, height: int) -> Images:
    return Images(*colors.shape, width, height, torch.get_num_threads())


def blend_results(colors: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    lead = (colors.shape[0], height, width)
    return colors.new_empty(*lead, colors.shape[-1]), colors.new_empty(*lead, 1)


@blend_op.register_fake
def _(means2d, conics, colors, opacities, radii, depths, backgrounds, width, height, keep_bins):
    bins_bytes = torch.library.get_ctx().new_dynamic_size() if keep_bins else 0
    return *blend_results(colors, width, height), colors.new_empty(len(colors), bins_bytes, dtype=torch.uint8)


@torch.library.custom_op("renderer::blend_backward", mutates_args=(), device_types="cpu")
def blend_backward_op(
    means2d: Tensor,
    conics: Tensor,
    colors: Tensor,
    opacities: Tensor,
    radii: Tensor,
    depths: Tensor,
    out_colors: Tensor,
    out_alphas: Tensor,
    bins: Tensor,
    g_out_colors: Tensor,
    g_out_alphas: Tensor | None,
    width: int,
    height: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    results = blend_gradients(means2d, conics, colors, opacities)
    drawn = (out_colors, out_alphas, g_out_colors, g_out_alphas)
    bins = bins.contiguous()
    sizes = images(colors, width, height)
    sizes.bins, sizes.bins_bytes = bins.data_ptr() or None, bins.shape[1]
    call("blend_backward", sizes, means2d, conics, colors, opacities, radii, depths, *drawn, *results)
    return results


def blend_gradients(means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor) -> tuple[Tensor, ...]:
    inputs = (means2d, conics, colors, opacities)
    return (*(torch.empty_like(t, memory_format=torch.contiguous_format) for t in inputs), colors.new_empty(colors.shape[::2]))


@blend_backward_op.register_fake
def _(means2d, conics, colors, opacities, *others):
    return blend_gradients(means2d, conics, colors, opacities)


def blend_setup(ctx, inputs, output) -> None:
    means2d, conics, colors, opacities, radii, depths, backgrounds, *ctx.sizes, _ = inputs
    ctx.set_materialize_grads(False)  # as above
    ctx.has_background = backgrounds is not None
    # Detached: an output that its own node holds on to is a reference cycle, and images pile up until the collector runs.
    ctx.save_for_backward(means2d, conics, colors, opacities, radii, depths, *(t.detach() for t in output))


def blend_gradient(ctx, g_colors, g_alphas, _):
    if g_colors is None:
        g_colors = torch.zeros_like(ctx.saved_tensors[6])
    g_means2d, g_conics, g_channels, g_opacities, g_backgrounds = blend_backward_op(*ctx.saved_tensors, g_colors, g_alphas, *ctx.sizes)
    return g_means2d, g_conics, g_channels, g_opacities, None, None, g_backgrounds if ctx.has_background else None, None, None, None


blended = differentiable(blend_op, blend_setup, blend_gradient)
