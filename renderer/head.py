"""The learnable head avatar: a posed mesh in, Gaussians out.

vertices ──> frames of the bound triangles ──> Gaussians in the world
                 │ normals ──> light (first-order SH) ──> │ colours
                 └ strains ──> tints, fades ────────────> │ colours, opacities
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from renderer.binding import placed, squared_sides, strains, triangle_frames
from renderer.types import Gaussians

FORMAT = 2
BLUR, PIXEL = 0.3, 1 / 12  # square pixels: what a picture is drawn with, and how much of that is the pixel's own width


@dataclass(frozen=True)
class AvatarConfig:
    """How a new avatar begins."""

    num_gaussians: int = 5000  # of one person
    opacity: float = 0.7  # of each
    spread: float = 0.55  # standard deviation over the distance between neighbours; larger closes holes, smaller is sharper
    thickness: float = 0.25  # standard deviation along the normal over the one across

    def __post_init__(self):
        if self.num_gaussians < 0 or not 0 < self.opacity < 1 or not (self.spread > 0 and self.thickness > 0):
            raise ValueError(f"expected no Gaussians or more, an opacity between 0 and 1, a spread and a thickness above 0, found {self}")


class HeadAvatar(nn.Module):
    """Gaussians bound to the triangles of one person's head, with a light of their own.

    What is learnt: where each Gaussian sits beside its barycentric point, its rotation, scale, opacity, colour, how both change with the
    expression, and the light. What is not: the triangle and the barycentric point (``renderer.density`` is what may move those).

    Colours are ``(albedo + strain . tints) * (1 + light . (1, normal))`` and opacities ``sigmoid(opacity_logits + strain . fades)``, where
    the strain says how much longer each side of the Gaussian's triangle is than at rest (`renderer.binding.strains`). The light stays
    where it is when the head turns, and shading follows: colours that could not would be explained by wrong motion instead. Tints and
    fades are what an expression changes and no movement of triangles can: lids that are smooth when shut, folds, what lies between the
    lips.
    """

    binding: ClassVar[tuple[str, ...]] = ("triangles", "barycentrics", "rest")  # not learnt
    # The tensors with one row per Gaussian, for `renderer.density`.
    per_gaussian: ClassVar[tuple[str, ...]] = (*binding, "offsets", "quats", "log_scales", "opacity_logits", "albedo", "tints", "fades")

    triangles: Int[Tensor, "gaussians 3"]  # vertex ids
    barycentrics: Float[Tensor, "gaussians 3"]
    rest: Float[Tensor, "gaussians 3"]  # `squared_sides` of a face without expression
    identity: Float[Tensor, "identity"]  # shape coefficients of the mesh it rides on; this package only keeps them

    def __init__(
        self,
        triangles: Int[Tensor, "gaussians 3"],
        barycentrics: Float[Tensor, "gaussians 3"],
        rest: Float[Tensor, "gaussians 3"],
        identity: Float[Tensor, "identity"],
        head: str,
        person: str,
        pixels_per_metre: float | None = None,
    ):
        super().__init__()
        count = len(triangles)
        self.head, self.person = head, person  # digest of the parametric head; whose avatar
        self.pixels_per_metre = pixels_per_metre  # at the face, of the finest pictures it learns from; None: unknown
        self.register_buffer("triangles", triangles)
        self.register_buffer("barycentrics", barycentrics)
        self.register_buffer("rest", rest)
        self.register_buffer("identity", identity)
        self.offsets = nn.Parameter(torch.zeros(count, 3))  # in units of the triangle's scale
        self.quats = nn.Parameter(torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1))
        self.log_scales = nn.Parameter(torch.zeros(count, 3))  # relative to the triangle's scale
        self.opacity_logits = nn.Parameter(torch.zeros(count))
        self.albedo = nn.Parameter(torch.full((count, 3), 0.5))
        self.tints = nn.Parameter(torch.zeros(count, 3, 3))  # per strain and colour channel
        self.fades = nn.Parameter(torch.zeros(count, 3))  # per strain
        self.light = nn.Parameter(torch.zeros(4, 3))  # constant, x, y, z of the normal; per colour channel

    @torch.no_grad()
    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """For as many Gaussians as ``state`` has, which is then loaded. Parameters stay the same objects: optimizers know them."""
        for name in self.per_gaussian:
            tensor = getattr(self, name)
            tensor.data = tensor.new_zeros(len(state.get(name, tensor)), *tensor.shape[1:])

    def forward(self, vertices: Float[Tensor, "*batch verts 3"]) -> Gaussians:
        """Gaussians on posed vertices (metres, the world of the vertices)."""
        places = placed(vertices, self.triangles, self.barycentrics, self.offsets, self.quats, self.log_scales)
        logits, colors = self.looks(places.normals, places.sides)
        return places.gaussians(logits.sigmoid(), colors)

    def looks(
        self, normals: Float[Tensor, "*batch gaussians 3"], sides: Float[Tensor, "*batch gaussians 3"]
    ) -> tuple[Float[Tensor, "*batch gaussians"], Float[Tensor, "*batch gaussians 3"]]:
        """Logits of opacities, and colours in the light, of Gaussians on triangles with such normals and `squared_sides`."""
        strain = strains(sides, self.rest)
        albedo = self.albedo
        for axis in range(3):
            albedo = torch.addcmul(albedo, strain[..., axis, None], self.tints[:, axis])
        return self.opacity_logits + (strain * self.fades).sum(-1), albedo * (1 + self.light[0] + normals @ self.light[1:])

    def save(self, path: Path) -> None:
        """One safetensors file: attributes, binding, and whose head it rides on (a digest, never the head itself)."""
        from safetensors.torch import save  # its save_file hides files from everybody but who wrote them

        metadata = {"format": str(FORMAT), "kind": "mango avatar", "head": self.head, "person": self.person}
        metadata |= {} if self.pixels_per_metre is None else {"pixels_per_metre": self.pixels_per_metre}
        tensors = {name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}
        path.write_bytes(save(tensors, {"mango": json.dumps(metadata)}))

    @staticmethod
    def load(path: Path) -> "HeadAvatar":
        """Errors: ValueError when the file is no avatar of this format."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = json.loads((file.metadata() or {}).get("mango", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path}: expected an avatar file, found a damaged or other file ({error}); fit the avatar again") from None
        if metadata.get("kind") != "mango avatar":
            found = metadata or "no description"
            raise ValueError(f"{path}: expected a mango avatar, found {found}; take one from avatars/ of a stage-two or fine-tuning run")
        if metadata.get("format") != str(FORMAT):
            found = f"format {metadata.get('format')}, of another version of mango"
            raise ValueError(f"{path}: expected a mango avatar of format {FORMAT}, found {found}; fit the avatar again")
        broken = sorted(name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all())
        if broken:
            raise ValueError(f"{path}: expected finite numbers, found NaN or infinity in {', '.join(broken)}; fit the avatar again")
        finest = metadata.get("pixels_per_metre")
        if finest is not None and not (isinstance(finest, int | float) and 0 < finest < float("inf")):
            raise ValueError(f"{path}: expected a positive pixels_per_metre, found {finest!r}; fit the avatar again")
        binding = (tensors[name] for name in (*HeadAvatar.binding, "identity"))
        avatar = HeadAvatar(*binding, metadata["head"], metadata["person"], finest)
        avatar.load_state_dict(tensors, strict=True)
        return avatar


def new_avatar(
    template: Float[Tensor, "verts 3"],
    faces: Int[Tensor, "faces 3"],
    density: Float[Tensor, "faces"],
    config: AvatarConfig,
    *,
    identity: Float[Tensor, "identity"],
    head: str,
    person: str,
    seed: int,
) -> HeadAvatar:
    """An avatar that covers the template evenly, times ``density`` (how much finer each face wants to be than the average, >= 0).

    Faces with density 0 get no Gaussians. The same (template, faces, density, count, seed) gives the same binding for everybody.
    """
    corners = template[faces]
    areas = 0.5 * torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    weight = (areas * density).double()
    generator = torch.Generator().manual_seed(seed)
    edges = weight.cumsum(0) / weight.sum()
    places = (torch.arange(config.num_gaussians, dtype=torch.float64) + torch.rand((), generator=generator).double()) / config.num_gaussians
    chosen = torch.searchsorted(edges, places).clamp_max(len(faces) - 1)  # systematic sampling: every face within one of its due
    barycentrics = _uniform_barycentrics(config.num_gaussians, generator)
    avatar = HeadAvatar(faces[chosen], barycentrics, squared_sides(triangle_frames(template, faces[chosen])), identity, head, person)
    with torch.no_grad():
        due = weight[chosen] / weight.sum() * config.num_gaussians  # Gaussians on this face
        spacing = (areas[chosen] / due.clamp_min(1e-9)).sqrt().float()
        scale = triangle_frames(template, faces[chosen]).scale.clamp_min(1e-9)
        size = (config.spread * spacing / scale).log()
        avatar.log_scales.copy_(size[:, None] + torch.tensor([1.0, config.thickness, 1.0]).log())
        avatar.opacity_logits.fill_(torch.logit(torch.tensor(config.opacity)))
    return avatar


def _uniform_barycentrics(count: int, generator: torch.Generator) -> Float[Tensor, "gaussians 3"]:
    u, v = torch.rand(2, count, generator=generator)
    root = u.sqrt()
    return torch.stack([1 - root, root * (1 - v), root * v], dim=-1)


def blur_of(avatar_pixels_per_metre: float | None, shown_pixels_per_metre: float) -> float:
    """``eps2d`` for a picture of an avatar: the usual, or, where the picture shows it larger than any it learnt from, as much more.

    What is finer than the pixels that Gaussians were compared in was never compared: drawn sharply it is glitter. So the blur is enlarged
    with the avatar, all but the part that is a pixel's own width (Mip-Splatting, Yu et al., CVPR 2024, limits Gaussians' sizes so).
    """
    larger = 1.0 if avatar_pixels_per_metre is None else max(1.0, shown_pixels_per_metre / avatar_pixels_per_metre)
    return PIXEL + (BLUR - PIXEL) * larger**2


def joined(scenes: list[Gaussians]) -> Gaussians:
    """Scenes of several avatars as one batch. Avatars with fewer Gaussians are filled up with ones of opacity zero."""
    most = max(scene.means.shape[-2] for scene in scenes)

    def filled(tensor: Tensor, axis: int, value: float) -> Tensor:
        missing = most - tensor.shape[axis]
        if missing == 0:
            return tensor
        shape = list(tensor.shape)
        shape[axis] = missing
        return torch.cat([tensor, tensor.new_full(shape, value)], dim=axis)

    return Gaussians(
        means=torch.cat([filled(scene.means, -2, 0.0) for scene in scenes]),
        quats=torch.cat([filled(scene.quats, -2, 1.0) for scene in scenes]),
        scales=torch.cat([filled(scene.scales, -2, 1.0) for scene in scenes]),
        opacities=torch.cat([filled(scene.opacities, -1, 0.0) for scene in scenes]),
        colors=torch.cat([filled(scene.colors, -2, 0.0) for scene in scenes]),
    )
