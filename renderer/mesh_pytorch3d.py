"""The z-buffer of `renderer.mesh` by PyTorch3D's rasterizer: on a GPU, and as a second opinion.

UNVERIFIED: written from PyTorch3D's documentation and never run, for want of a build of it. Where PyTorch3D is installed,
tests/renderer/test_mesh_pytorch3d.py compares the two; delete this paragraph when it has passed somewhere.

PyTorch3D's conventions, and how ours become theirs: its rasterizer takes vertices as (x, y) in normalised device coordinates and z
in the camera; x points to the left and y upwards, and the shorter side of the picture spans [-1, 1]. So a pixel position (u, v) is

    x = (width / 2 - u) / half        y = (height / 2 - v) / half        half = min(width, height) / 2

which is what ``pytorch3d.utils.cameras_from_opencv_projection`` comes to for a pinhole camera. Two differences are known from its
source: it computes in float32 where ours has float64, and a pixel whose centre lies exactly on an edge belongs to no triangle.
"""

from importlib.util import find_spec

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from renderer.mesh import Surface, check_faces, screen
from renderer.types import Camera


def obstacle() -> str | None:
    """Why PyTorch3D cannot be used here, or None."""
    if find_spec("pytorch3d") is None:
        return "the pytorch3d package is not installed (its INSTALL.md says which build goes with which torch)"
    return None


@torch.no_grad()
def rasterize_mesh(
    vertices: Float[Tensor, "*batch verts 3"], faces: Int[Tensor, "faces 3"], camera: Camera, *, near_plane: float = 0.01
) -> Surface:
    """`renderer.mesh.rasterize_mesh` by PyTorch3D, on the device of the vertices. Errors: ValueError when it is not installed."""
    reason = obstacle()
    if reason is not None:
        raise ValueError(f"rasterize_mesh: expected PyTorch3D, found none: {reason}; renderer.mesh.rasterize_mesh needs only a compiler")
    check_faces(faces, vertices.shape[-2])
    pixels = screen(vertices, camera)
    batch, faces = pixels.shape[:-2], faces.to(pixels.device, torch.int64)
    corners = torch.cat([device_coordinates(pixels[..., :2], camera.width, camera.height), pixels[..., 2:]], dim=-1).float()
    usable = (pixels[..., 2] >= near_plane)[..., faces].all(-1)
    pictures = [
        one_picture(corners.reshape(-1, *corners.shape[-2:])[i], faces, usable.reshape(-1, len(faces))[i], camera)
        for i in range(batch.numel())
    ]
    return Surface(*(torch.stack(parts).reshape(*batch, *parts[0].shape) for parts in zip(*pictures, strict=True)))


def device_coordinates(pixels: Float[Tensor, "*batch 2"], width: int, height: int) -> Float[Tensor, "*batch 2"]:
    """Pixel positions as PyTorch3D's normalised device coordinates."""
    return (pixels.new_tensor([width, height]) / 2 - pixels) / (min(width, height) / 2)


def one_picture(
    corners: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"], usable: Bool[Tensor, "faces"], camera: Camera
) -> tuple[Int[Tensor, "rows cols"], Float[Tensor, "rows cols 3"], Float[Tensor, "rows cols"]]:
    from pytorch3d.renderer.mesh import rasterize_meshes
    from pytorch3d.structures import Meshes

    kept = usable.nonzero()[:, 0]
    size = (camera.height, camera.width)
    if len(kept) == 0:
        return torch.full(size, -1, device=corners.device), corners.new_zeros(*size, 3), corners.new_zeros(size)
    found, depths, weights, _ = rasterize_meshes(
        Meshes(verts=[corners], faces=[faces[kept]]),
        image_size=size,
        blur_radius=0.0,
        faces_per_pixel=1,
        max_faces_per_bin=len(kept),  # with fewer it leaves faces out where many lie in one place
        perspective_correct=True,
        clip_barycentric_coords=False,
        cull_backfaces=False,
        z_clip_value=None,  # what reaches in front of the near plane is already left out, whole
        cull_to_frustum=False,
    )
    found, depths, weights = found[0, ..., 0], depths[0, ..., 0], weights[0, ..., 0, :]
    hit = found >= 0
    triangles = torch.where(hit, kept[found.clamp(min=0)], -1)
    return triangles, torch.where(hit[..., None], weights, 0), torch.where(hit, depths, 0)
