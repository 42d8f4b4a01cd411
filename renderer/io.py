"""Splat files: .ply as Inria's code, gsplat and GaussianAvatars write it.

A splat file holds raw parameters: scales as logarithms, opacities as logits, colours as spherical harmonics. `Splats` is exactly that,
so reading and writing changes no bit; `Splats.arguments` and `Splats.gaussians` are what the renderer draws.
"""

import math
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from renderer.binding import bound_gaussians, placed, squared_sides, triangle_frames
from renderer.head import HeadAvatar
from renderer.spherical_harmonics import MAX_DEGREE, shade
from renderer.types import Gaussians

CONSTANT_HARMONIC = 0.28209479177387814  # 1 / (2 sqrt(pi)): colour = 0.5 + this * f_dc
LARGEST_DEGREE = 4  # that a file may hold; `rasterize` draws up to 3
LARGEST_FACE = 2**24  # face ids are stored as float32, which counts no further
SURE = 1e-6  # opacities are kept so far from 0 and 1, where the logit has no end; nobody sees alphas below 1/255

PLACE = ("x", "y", "z")
NORMAL = ("nx", "ny", "nz")
COLOR = ("f_dc_0", "f_dc_1", "f_dc_2")
SIZE = ("scale_0", "scale_1", "scale_2")
ROTATION = ("rot_0", "rot_1", "rot_2", "rot_3")
FACE = "binding_0"


@dataclass(frozen=True)
class Splats:
    """The content of a splat file as it is stored, float32. With ``faces``, places, rotations and scales are local to those triangles."""

    means: Float[Tensor, "gaussians 3"]
    quats: Float[Tensor, "gaussians 4"]  # wxyz, need not be normalised
    log_scales: Float[Tensor, "gaussians 3"]
    opacity_logits: Float[Tensor, "gaussians"]
    harmonics: Float[Tensor, "gaussians bases 3"]  # colours: base 0 is f_dc
    faces: Int[Tensor, "gaussians"] | None = None  # GaussianAvatars: the triangle that each rides on

    @property
    def degree(self) -> int:
        """Of the harmonics. Errors: ValueError when their number belongs to no degree up to 4."""
        return _degree(self.harmonics.shape[-2], "harmonics")

    def limited(self, degree: int) -> "Splats":
        """Without the harmonics above ``degree``: less shine, the same mean colour."""
        return replace(self, harmonics=self.harmonics[:, : (degree + 1) ** 2])

    def padded(self, degree: int) -> "Splats":
        """With zeros up to ``degree``. It looks the same; some readers demand all 45 f_rest of degree 3."""
        missing = max((degree + 1) ** 2 - self.harmonics.shape[-2], 0)
        return replace(self, harmonics=torch.cat([self.harmonics, self.harmonics.new_zeros(len(self.means), missing, 3)], dim=-2))

    def chosen(self, those: Bool[Tensor, "gaussians"]) -> "Splats":
        """Some of them."""
        return replace(self, **{f.name: v[those] for f in fields(self) if (v := getattr(self, f.name)) is not None})

    def to(self, device: torch.device | str) -> "Splats":
        return replace(self, **{f.name: v.to(device) for f in fields(self) if (v := getattr(self, f.name)) is not None})

    def arguments(self) -> dict:
        """The scene as keyword arguments of `renderer.rasterize`. Errors: ValueError for local splats and for harmonics above degree 3."""
        self._refuse_local()
        if self.degree > MAX_DEGREE:
            raise ValueError(
                f"harmonics: expected at most degree {MAX_DEGREE}, found {self.degree}; draw splats.limited({MAX_DEGREE}) instead"
            )
        return {
            "means": self.means,
            "quats": self.quats,
            "scales": self.log_scales.exp(),
            "opacities": self.opacity_logits.sigmoid(),
            "colors": self.harmonics,
            "sh_degree": self.degree,
        }

    def gaussians(self) -> Gaussians:
        """The scene in its mean colours, the same from everywhere: harmonics above degree 0 are left out."""
        self._refuse_local()
        colors = (0.5 + CONSTANT_HARMONIC * self.harmonics[:, 0]).clamp_min(0)  # not below 0, as the harmonics are drawn
        return Gaussians(self.means, self.quats, self.log_scales.exp(), self.opacity_logits.sigmoid(), colors)

    @staticmethod
    def from_gaussians(gaussians: Gaussians) -> "Splats":
        """One scene as splats of degree 0. Opacities are kept 1e-6 away from 0 and 1, where a logit ends.

        Errors: ValueError for a batch of scenes and for colours that are not RGB.
        """
        if gaussians.means.dim() != 2:
            raise ValueError(f"gaussians: expected one scene, found a batch {list(gaussians.means.shape[:-2])}; write one frame per file")
        if gaussians.colors.shape[-1] != 3:
            raise ValueError(f"colors: expected red, green and blue, found {gaussians.colors.shape[-1]} channels; choose three of them")
        return Splats(
            means=gaussians.means.float(),
            quats=gaussians.quats.float(),
            log_scales=gaussians.scales.float().clamp_min(torch.finfo(torch.float32).tiny).log(),
            opacity_logits=gaussians.opacities.float().logit(SURE),
            harmonics=_harmonics(gaussians.colors.float()),
        )

    def _refuse_local(self) -> None:
        if self.faces is not None:
            raise ValueError(
                "splats: expected splats in the world, found ones bound to faces of a mesh; pose them first with renderer.io.posed"
            )


def posed(splats: Splats, vertices: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"]) -> Splats:
    """Bound splats in the world of a posed mesh (metres), by GaussianAvatars' formula (Qian et al., CVPR 2024, sec. 3.2).

    Each sits relative to the centroid of its triangle, in the triangle's frame and in units of its scale (`renderer.binding`).
    Quaternions come out normalised. Harmonics do not turn with the triangles: files are trained that way. On a triangle without area
    splats shrink to nothing.

    Errors: ValueError when the splats are not bound, or to faces that the mesh does not have.
    """
    frames = triangle_frames(vertices, _triangles(splats, faces))
    centroids = splats.means.new_full((len(splats.means), 3), 1 / 3)
    world = bound_gaussians(frames, centroids, splats.means, splats.quats, splats.log_scales, splats.opacity_logits, splats.harmonics[:, 0])
    return Splats(
        means=world.means,
        quats=torch.nn.functional.normalize(world.quats, dim=-1),
        log_scales=splats.log_scales + frames.scale.clamp_min(torch.finfo(torch.float32).tiny).log()[:, None],
        opacity_logits=splats.opacity_logits,
        harmonics=splats.harmonics,
    )


def posed_gaussians(
    splats: Splats, vertices: Float[Tensor, "*batch verts 3"], faces: Int[Tensor, "faces 3"], eye: Float[Tensor, "3"] | None = None
) -> Gaussians:
    """`posed` for many poses at once, to be drawn from ``eye`` (metres, the world of the vertices): what depends on where one looks from,
    up to degree 3, is in the colours. Without an eye they are mean colours.

    Errors: as of `posed`.
    """
    triangles = _triangles(splats, faces)
    centroids = splats.means.new_full((len(splats.means), 3), 1 / 3)
    places = placed(vertices, triangles, centroids, splats.means, splats.quats, splats.log_scales)
    if eye is None:
        colors = (0.5 + CONSTANT_HARMONIC * splats.harmonics[:, 0]).clamp_min(0)
    else:
        harmonics = splats.harmonics.expand(*places.means.shape[:-1], *splats.harmonics.shape[-2:])
        colors = shade(min(splats.degree, MAX_DEGREE), places.means - eye, harmonics)
    return places.gaussians(splats.opacity_logits.sigmoid(), colors)


def avatar_splats(avatar: HeadAvatar, template: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"]) -> Splats:
    """An avatar as local splats on ``faces`` (GaussianAvatars' layout), from where it sits on the person's template vertices.

    On the template `posed` gives the avatar's own Gaussians. In other poses means differ a little: GaussianAvatars starts from the
    centroid of a triangle, the avatar from a barycentric point, which moves with the shear of the triangle. Its light is baked at the
    template, and what an expression changes of its looks: a file has colours and neither light nor strains. For one frame in the world use
    ``Splats.from_gaussians(avatar(vertices))``.

    Errors: ValueError when a triangle of the avatar is not among ``faces``.
    """
    with torch.no_grad():
        frames = triangle_frames(template, avatar.triangles)
        from_centroid = ((avatar.barycentrics - 1 / 3)[..., None] * template[avatar.triangles]).sum(1)
        local = (frames.rotation().mT @ from_centroid[..., None])[..., 0] / frames.scale[:, None]
        logits, colors = avatar.looks(frames.normals(), squared_sides(frames))
        return Splats(
            means=avatar.offsets + local,
            quats=avatar.quats.clone(),
            log_scales=avatar.log_scales.clone(),
            opacity_logits=logits,
            harmonics=_harmonics(colors),
            faces=_face_ids(avatar.triangles, faces),
        )


def load_ply(path: Path | str) -> Splats:
    """A splat file. Properties are found by name, in any order and numeric type; others (normals, ...) are ignored. Binary of either byte
    order or ASCII.

    Errors: ValueError when the file is no .ply, is cut off or too long, lacks a property, has a number of f_rest that belongs to no
    degree of harmonics, or holds NaN or infinity.
    """
    return splats_of_ply(Path(path).read_bytes(), str(path))


def save_ply(path: Path | str, splats: Splats, *, normals: bool = True) -> None:
    """Writes a splat file, all of it or nothing. With ``normals`` (zeros) it is Inria's layout, without gsplat's; bound splats get
    GaussianAvatars' ``binding_0``. Strict readers want degree 3: give them ``splats.padded(3)``.

    Errors: ValueError for NaN and infinity.
    """
    with atomic_file(Path(path)) as partial:
        partial.write_bytes(ply_of_splats(splats, str(path), normals=normals))


def splats_of_ply(data: bytes, source: str) -> Splats:
    """`load_ply` of bytes; ``source`` names them in errors."""
    header = _header(data, source)
    names = [name for name, _ in header.properties]
    rest = [name for name in names if name.startswith("f_rest_")]
    degree = _degree(1 + len(rest) / 3, f"{source}: {len(rest)} f_rest properties")
    rest = [f"f_rest_{i}" for i in range(len(rest))]
    bound = FACE in names
    wanted = [*PLACE, *ROTATION, *SIZE, "opacity", *COLOR, *rest, *([FACE] if bound else [])]
    missing = [name for name in wanted if name not in names]
    if missing:
        hint = "export it uncompressed" if any(name.startswith("packed_") for name in names) else "export it as 3D Gaussian splats"
        raise ValueError(f"{source}: expected the properties of splats, found no {', '.join(missing)}; {hint}")

    table = header.table(data, wanted, source)
    _refuse_unfinite(table, wanted, source)
    parts = torch.from_numpy(table).split([3, 4, 3, 1, 3, len(rest), int(bound)], dim=1)
    means, quats, log_scales, opacity_logits, constant, rest, face = (part.contiguous() for part in parts)
    channels = rest.reshape(len(table), 3, (degree + 1) ** 2 - 1)  # all of red, then green, then blue
    harmonics = torch.cat([constant[:, None], channels.transpose(1, 2)], dim=1)
    return Splats(means, quats, log_scales, opacity_logits[:, 0], harmonics, _whole(face[:, 0], source) if bound else None)


def ply_of_splats(splats: Splats, source: str, *, normals: bool = True) -> bytes:
    """What `save_ply` writes; ``source`` names it in errors."""
    count = len(splats.means)
    rest = 3 * ((splats.degree + 1) ** 2 - 1)
    columns = {PLACE: splats.means}
    if normals:
        columns[NORMAL] = torch.zeros(count, 3)
    columns[COLOR] = splats.harmonics[:, 0]
    columns[tuple(f"f_rest_{i}" for i in range(rest))] = splats.harmonics[:, 1:].transpose(1, 2).reshape(count, rest)
    columns[("opacity",)] = splats.opacity_logits[:, None]
    columns[SIZE] = splats.log_scales
    columns[ROTATION] = splats.quats
    if splats.faces is not None:
        if count and not 0 <= int(splats.faces.min()) <= int(splats.faces.max()) < LARGEST_FACE:
            raise ValueError(f"{source}: expected faces from 0 to {LARGEST_FACE - 1}, found others; the file stores them as float32")
        columns[(FACE,)] = splats.faces[:, None]

    names = [name for group in columns for name in group]
    table = torch.cat([part.detach().cpu().float() for part in columns.values()], dim=1).numpy()
    _refuse_unfinite(table, names, source)
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {count}",
        *(f"property float {name}" for name in names),
        "end_header",
    ]
    return "".join(f"{line}\n" for line in lines).encode("ascii") + table.astype("<f4", copy=False).tobytes()


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary sibling to write into. It becomes ``path`` on leaving without an error and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
FORMATS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
LONGEST_HEADER = 2**16


@dataclass(frozen=True)
class _Header:
    order: str  # of bytes: < or >; empty for ascii
    count: int  # vertices
    properties: list[tuple[str, str]]  # name, numpy type
    length: int  # bytes of the header itself
    more: bool  # after the vertices comes something else, which is passed over

    def table(self, data: bytes, wanted: list[str], source: str) -> np.ndarray:
        """The wanted columns as float32 [vertices, columns]. Nothing is allocated before the size is known to be right."""
        with np.errstate(over="ignore"):  # doubles beyond float32 become infinite and are refused by name
            if self.order:
                row = np.dtype([(name, self.order + kind) for name, kind in self.properties])
                _expect_size(self.count * row.itemsize, len(data) - self.length, self.more, f"bytes for {self.count} vertices", source)
                rows = np.frombuffer(data, row, self.count, self.length)
                table = np.empty((self.count, len(wanted)), np.float32)
                for i, name in enumerate(wanted):
                    table[:, i] = rows[name]
                return table
            words = data[self.length :].split()
            numbers = self.count * len(self.properties)
            _expect_size(numbers, len(words), self.more, f"numbers for {self.count} vertices", source)
            try:
                numbers = np.array(words[:numbers], dtype=np.float64).reshape(self.count, len(self.properties))
            except ValueError:
                raise ValueError(f"{source}: expected numbers after the header, found other text; write the file again") from None
            names = [name for name, _ in self.properties]
            return numbers[:, [names.index(name) for name in wanted]].astype(np.float32)


def _header(data: bytes, source: str) -> _Header:
    if not re.match(rb"ply\r?\n", data):
        raise ValueError(f"{source}: expected a .ply file, found one that does not begin with 'ply'; point to a splat file")
    end = re.search(rb"\nend_header[ \t]*\r?\n", data[:LONGEST_HEADER])
    if end is None:
        raise ValueError(f"{source}: expected a .ply header, found no end of it; the file is cut off or damaged, copy it again")
    order, count, properties, empty, more = None, None, [], False, False
    for line in data[: end.start()].decode("latin-1").split("\n")[1:]:
        match line.split():
            case [] | ["comment" | "obj_info", *_]:
                continue
            case ["format", name, "1.0"] if name in FORMATS and order is None:
                order = FORMATS[name]
            case ["element", "vertex", number] if count is None and re.fullmatch("[0-9]{1,18}", number):
                count, empty = int(number), False
            case ["element", name, _] if count is not None and name != "vertex":
                more = True
                break  # a camera, say, or faces
            case ["element", name, "0"] if name != "vertex":
                empty = True  # before the vertices, and no bytes of it
            case ["element", name, *_] if name != "vertex":
                found = f"element {name!r}"
                raise ValueError(f"{source}: expected vertices first, found {found}; export uncompressed splats without a mesh")
            case ["property", *_] if empty:
                continue
            case ["property", kind, name] if kind in TYPES and count is not None and name not in dict(properties):
                properties.append((name, TYPES[kind]))
            case _:
                raise ValueError(f"{source}: expected a .ply header, found the line {line[:80]!r} in it; export the file again")
    if order is None or count is None:
        raise ValueError(f"{source}: expected a format and vertices in the header, found none; export the file again")
    return _Header(order, count, properties, end.end(), more)


def _expect_size(expected: int, found: int, more: bool, what: str, source: str) -> None:
    if found < expected or (found > expected and not more):
        problem = "the file is cut off" if found < expected else "the file is longer than its header says"
        raise ValueError(f"{source}: expected {expected} {what}, found {found}; {problem}, copy or export it again")


def _refuse_unfinite(table: np.ndarray, names: list[str], source: str) -> None:
    bad = ~np.isfinite(table)
    if bad.any():
        rows = np.flatnonzero(bad.any(1))
        name = names[int(np.flatnonzero(bad[rows[0]])[0])]
        raise ValueError(
            f"{source}: expected finite numbers, found NaN or infinity in {len(rows)} of {len(table)} Gaussians, first in row {rows[0]} "
            f"({name}); remove those Gaussians"
        )


def _whole(face: Float[Tensor, "gaussians"], source: str) -> Int[Tensor, "gaussians"]:
    bad = int(((face != face.round()) | (face < 0) | (face >= LARGEST_FACE)).sum())
    if bad:
        raise ValueError(f"{source}: expected face numbers from 0 in {FACE}, found {bad} of {len(face)} others; export the avatar again")
    return face.long()


def _degree(bases: int | float, what: str) -> int:
    degree = math.isqrt(int(bases)) - 1
    if (degree + 1) ** 2 != bases or not 0 <= degree <= LARGEST_DEGREE:
        raise ValueError(
            f"{what}: expected 1, 4, 9, 16 or 25 harmonics per channel (f_rest: 0, 9, 24, 45 or 72), found {bases:g}; export the file again"
        )
    return degree


def _triangles(splats: Splats, faces: Int[Tensor, "faces 3"]) -> Int[Tensor, "gaussians 3"]:
    """The vertices of the triangle that each rides on."""
    if splats.faces is None:
        raise ValueError("splats: expected ones bound to faces (binding_0 in the file), found splats in the world; they need no posing")
    beyond = int(((splats.faces < 0) | (splats.faces >= len(faces))).sum())
    if beyond:
        raise ValueError(
            f"splats: expected faces 0 to {len(faces) - 1}, found {beyond} of {len(splats.faces)} elsewhere; "
            "use the mesh that the avatar was made with: GaussianAvatars' FLAME has teeth"
        )
    return faces[splats.faces]


def _harmonics(colors: Float[Tensor, "gaussians 3"]) -> Float[Tensor, "gaussians 1 3"]:
    return (colors[:, None] - 0.5) / CONSTANT_HARMONIC


def _face_ids(triangles: Int[Tensor, "gaussians 3"], faces: Int[Tensor, "faces 3"]) -> Int[Tensor, "gaussians"]:
    """The row of each triangle in ``faces``, corners in the same order: the first edge is an axis of the frame."""
    verts = 1 + max(int(triangles.max()), int(faces.max())) if len(triangles) and len(faces) else 1
    place = torch.tensor([verts * verts, verts, 1], device=faces.device)
    known, order = (faces * place).sum(-1).sort()
    keys = (triangles * place).sum(-1)
    found = torch.searchsorted(known, keys)
    lost = int((torch.cat([known, known.new_full((1,), -1)])[found] != keys).sum())
    if lost:
        raise ValueError(
            f"faces: expected every triangle that the avatar rides on, corners in the same order, found {lost} of {len(keys)} Gaussians on "
            "others; use the faces of the head that the avatar was fitted on"
        )
    return order[found]
