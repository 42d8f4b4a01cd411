"""A mesh's z-buffer: which triangle each pixel sees, where on it, and how far away. Not differentiable.

For visibility, masks, texture lookups and grey previews. Compiled (needs a C++ compiler); `triangles_at_pixels` is its naive twin.
"""

import ctypes
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from renderer.types import Camera


@dataclass(frozen=True)
class Surface:
    """What the pixels of one or many pictures see. Where there is nothing: triangle -1, zeros elsewhere."""

    triangles: Int[Tensor, "*batch rows cols"]
    barycentrics: Float[Tensor, "*batch rows cols 3"]  # on the triangle in space (perspective-correct), sum 1
    depths: Float[Tensor, "*batch rows cols"]  # z in the camera, metres


class Frame(ctypes.Structure):
    """Of csrc/mesh.cpp."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "vertices", "faces")),
        *((name, ctypes.c_int32) for name in ("width", "height", "threads")),
        ("near_plane", ctypes.c_double),
    )


@torch.no_grad()
def rasterize_mesh(
    vertices: Float[Tensor, "*batch verts 3"], faces: Int[Tensor, "faces 3"], camera: Camera, *, near_plane: float = 0.01
) -> Surface:
    """The nearest triangle at every pixel centre, seen from both sides. Batches of vertices and camera broadcast.

    A triangle with a corner nearer than ``near_plane`` is left out whole: no clipping.
    """
    from renderer.backends.compilation import library

    check_faces(faces, vertices.shape[-2])
    pixels = screen(vertices, camera).cpu().contiguous()
    batch, corners = pixels.shape[:-2], faces.to("cpu", torch.int64).contiguous()
    lead = (*batch, camera.height, camera.width)
    here = {"dtype": torch.float32, "device": "cpu"}  # whatever torch's defaults are
    triangles, weights, depths = (
        torch.empty(lead, dtype=torch.int64, device="cpu"),
        torch.empty(*lead, 3, **here),
        torch.empty(lead, **here),
    )
    frame = Frame(batch.numel(), *pixels.shape[-2:-1], *corners.shape[:1], camera.width, camera.height, torch.get_num_threads(), near_plane)
    tensors = (pixels, corners, triangles, weights, depths)
    if library().rasterize_mesh(ctypes.byref(frame), *(ctypes.c_void_p(t.data_ptr()) for t in tensors)) != 0:
        raise MemoryError("renderer: out of memory in rasterize_mesh")
    return Surface(*(t.to(vertices.device) for t in (triangles, weights, depths)))


def screen(vertices: Float[Tensor, "*batch verts 3"], camera: Camera) -> Float[Tensor, "*both verts 3"]:
    """Vertices as (u pixels, v pixels, depth) in float64. What lies in or behind the camera gets a depth of at most 0."""
    view, K = camera.camera_from_world.double(), camera.intrinsics.double()
    seen = vertices.double() @ view[..., :3, :3].transpose(-1, -2) + view[..., None, :3, 3]
    depth = seen[..., 2:]
    plane = (seen @ K.transpose(-1, -2))[..., :2] / torch.where(depth > 0, depth, 1)
    return torch.cat([plane, depth], dim=-1)


def check_faces(faces: Int[Tensor, "faces corners"], count: int) -> None:
    if faces.dim() != 2 or faces.shape[1] != 3:
        raise ValueError(f"faces: expected triangles, shape (faces, 3), found {tuple(faces.shape)}; cut larger faces into triangles first")
    if faces.numel() and not (int(faces.min()) >= 0 and int(faces.max()) < count):
        raise ValueError(
            f"faces: expected vertex numbers from 0 to {count - 1}, found {int(faces.min())} to {int(faces.max())}; "
            "do these faces belong to these vertices?"
        )


@torch.no_grad()
def triangles_at_pixels(
    vertices: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"], camera: Camera, *, near_plane: float = 0.01
) -> Surface:
    """The same for one picture by trying every triangle at every pixel: the definition, for tests and tiny pictures."""
    a, b, c = screen(vertices, camera)[faces].unbind(-2)  # faces 3
    y, x = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")

    def side(p: Tensor, q: Tensor, u: Tensor, v: Tensor) -> Tensor:  # exactly opposite when p and q are exchanged
        turned = (q[:, 0] < p[:, 0]) | ((q[:, 0] == p[:, 0]) & (q[:, 1] < p[:, 1]))
        p, q = torch.where(turned[:, None], q, p), torch.where(turned[:, None], p, q)
        return torch.where(turned, -1, 1) * ((q[:, 0] - p[:, 0]) * (v - p[:, 1]) - (q[:, 1] - p[:, 1]) * (u - p[:, 0]))

    area = side(a, b, c[:, 0], c[:, 1])
    usable = (area != 0) & (torch.stack([a, b, c])[..., 2] >= near_plane).all(0)
    u, v = x.double()[..., None], y.double()[..., None]
    linear = torch.stack([side(b, c, u, v), side(c, a, u, v), side(a, b, u, v)], -1) / torch.where(usable, area, 1)[:, None]
    inside = (linear >= 0).all(-1) & usable
    over_depth = linear / torch.stack([a[:, 2], b[:, 2], c[:, 2]], -1)
    depth = torch.where(inside, 1 / torch.where(inside, over_depth.sum(-1), 1), torch.inf).float()
    nearest, triangle = depth.min(-1)
    found = nearest.isfinite()
    weights = over_depth.gather(-2, triangle[..., None, None].expand(*triangle.shape, 1, 3))[..., 0, :]
    weights = torch.where(found[..., None], weights / torch.where(found, weights.sum(-1), 1)[..., None], 0)
    return Surface(torch.where(found, triangle, -1), weights.float(), torch.where(found, nearest, 0))


def at_pixels(surface: Surface, faces: Int[Tensor, "faces 3"], values: Float[Tensor, "verts channels"]) -> Float[Tensor, "*image channels"]:
    """Values given at the vertices, interpolated at every pixel; 0 where there is no surface. For UVs, normals, colours."""
    corners = values[faces[surface.triangles.clamp(min=0)]]  # *image 3 channels
    return (surface.barycentrics[..., None] * corners).sum(-2)


def visible_vertices(
    surface: Surface, vertices: Float[Tensor, "verts 3"], camera: Camera, *, tolerance: float = 2e-3
) -> Int[Tensor, "verts"]:
    """1 for the vertices that the picture shows: on the image and not more than ``tolerance`` metres behind the surface there."""
    u, v, depth = screen(vertices, camera).unbind(-1)
    on_image = (depth > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    row, col = v.long().clamp(0, camera.height - 1), u.long().clamp(0, camera.width - 1)
    front = surface.depths[row, col]
    return (on_image & ((front == 0) | (depth <= front + tolerance))).long()


def shaded(
    surface: Surface, vertices: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"], camera: Camera
) -> Float[Tensor, "rows cols 3"]:
    """A grey preview, lit from the camera, on white."""
    a, b, c = vertices[faces].unbind(-2)
    normals = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    facing = (normals @ camera.camera_from_world[2, :3].to(normals)).abs()  # both sides are lit
    grey = 0.15 + 0.75 * facing[surface.triangles.clamp(min=0)]
    return torch.where(surface.triangles >= 0, grey, 1.0)[..., None].expand(*surface.triangles.shape, 3)
