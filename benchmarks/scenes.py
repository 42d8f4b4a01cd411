"""Fixed, seeded scenes: a head-shaped cloud that covers itself about as an avatar does, and a real avatar where there is one."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from renderer import Camera, Gaussians
from renderer.cameras import portrait_camera

RADII = (0.075, 0.115, 0.095)  # metres: half a head's width, height and depth
SPREAD = 0.55  # standard deviation over the distance between neighbours, as a new avatar begins


@dataclass(frozen=True)
class Scene:
    name: str
    gaussians: Gaussians
    camera: Camera

    @property
    def size(self) -> int:
        return self.camera.width

    @property
    def count(self) -> int:
        return self.gaussians.means.shape[-2]


def head_cloud(count: int, seed: int = 0) -> Gaussians:
    """Gaussians on a rough ellipsoid of a head's size: log-normal sizes (factor e^0.5) around what covers it, any opacity from 0.1."""
    random = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=random), dim=-1)
    roughness = 1 + 0.02 * torch.randn(count, 1, generator=random)
    spacing = math.sqrt(ellipsoid_area(*RADII) / count)
    return Gaussians(
        means=directions * torch.tensor(RADII) * roughness,
        quats=torch.randn(count, 4, generator=random),
        scales=spacing * SPREAD * torch.exp(0.5 * torch.randn(count, 3, generator=random)),
        opacities=0.1 + 0.9 * torch.rand(count, generator=random),
        colors=torch.rand(count, 3, generator=random),
    )


def ellipsoid_area(a: float, b: float, c: float) -> float:
    """Knud Thomsen's approximation, 1 % at worst."""
    p = 1.6075
    return 4 * math.pi * (((a * b) ** p + (a * c) ** p + (b * c) ** p) / 3) ** (1 / p)


def cloud_scene(count: int, size: int) -> Scene:
    thousands = f"{count // 1000}k" if count < 1_000_000 else f"{count // 1_000_000}M"
    return Scene(f"{thousands}@{size}", head_cloud(count), portrait_camera(size))


def lam_scene(size: int = 512) -> Scene | None:
    """A LAM avatar of the sample data, at rest; None without it."""
    file = Path(os.environ.get("MANGO_SAMPLE_DATA", "")) / "lam_gaussian_heads" / "p2-1.zip"
    if not file.is_file():
        return None
    from renderer.lam import load_lam

    lam = load_lam(file)
    return Scene(f"LAM head@{size}", lam.gaussians(torch.zeros(len(lam.mesh.morph_names))), portrait_camera(size))


def background() -> Float[Tensor, "1 3"]:
    return torch.ones(1, 3)
