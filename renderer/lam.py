"""LAM head avatars: one Gaussian per vertex of a mesh that ARKit's weights move (He et al., "LAM: Large Avatar Model for One-shot
Animatable Gaussian Head", SIGGRAPH 2025). Read from and written to the zip that LAM, its web viewer and OpenAvatarChat exchange:

NAME/skin.glb             mesh at rest, 51 morphs, skeleton of a whole body that stands on the floor
NAME/offset.ply           per vertex: offset from the surface, rotation, scale, opacity, plain RGB
NAME/vertex_order.json    a permutation of the vertices, by height; not needed to pair the files
NAME/animation.glb        clips of the body; optional here and kept as it is
NAME/bsData.json          a clip of ARKit weights; likewise
"""

import difflib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

import roma
import torch
from jaxtyping import Float, Int
from torch import Tensor

from renderer.binding import quaternion_product
from renderer.glb import SkinnedMesh, glb_of_mesh, opened, skinned_mesh
from renderer.io import Splats, atomic_file, ply_of_splats, splats_of_ply
from renderer.types import Gaussians

NOT_IN_THE_MESH = ("tongueOut",)  # of ARKit's 52 shapes: LAM's heads have no tongue
FLAME_ORIGIN = (0.0, 0.0446, 0.0596)  # metres from LAM's head joint: where FLAME 2023's template puts its origin, to a millimetre
KEPT = ("animation.glb", "bsData.json")
MEMBERS = ("skin.glb", "offset.ply", "vertex_order.json", *KEPT)
LARGEST_TOTAL = 2**29  # bytes unpacked; LAM's own zips have 7 million
LARGEST_RATIO = 200  # unpacked to packed; LAM's own are below 3


@dataclass(frozen=True)
class LamHead:
    """A LAM avatar: a skinned mesh with ARKit's morphs, and one Gaussian per vertex. Values are those of the files, bit for bit."""

    mesh: SkinnedMesh  # metres, where a body's head is: 1.5 to 1.8 m above the floor
    offsets: Float[Tensor, "verts 3"]  # metres, from vertex to Gaussian, at rest
    quats: Float[Tensor, "verts 4"]  # wxyz, at rest
    log_scales: Float[Tensor, "verts 3"]
    opacity_logits: Float[Tensor, "verts"]
    colors: Float[Tensor, "verts 3"]  # RGB
    vertex_order: Int[Tensor, "verts"]  # a permutation; written to vertex_order.json, not used here
    kept: dict[str, bytes] = field(default_factory=dict)  # animation.glb and bsData.json, where the zip had them

    def gaussians(
        self,
        weights: Float[Tensor, "*#batch shapes"],
        names: Sequence[str] | None = None,
        *,
        head: Float[Tensor, "*#batch 3"] | None = None,
        neck: Float[Tensor, "*#batch 3"] | None = None,
        origin: Literal["flame", "body"] = "flame",
    ) -> Gaussians:
        """The avatar's Gaussians for ARKit weights, differentiable to weights and turns.

        Args:
            weights: one per name, usually 0 to 1.
            names: whose weights these are, in this order; by default ``mesh.morph_names``. Shapes that are not named rest. ``tongueOut`` is
                allowed and moves nothing: these heads have no tongue.
            head: turn of the head joint, axis-angle in radians, axes of the world. It is the joint nearest to FLAME's neck joint, so this
                is where FLAME's ``neck_pose`` goes.
            neck: turn of the lowest neck joint, which carries the head joint; near FLAME's root.
            origin: "flame": head at the origin as FLAME's template has it, for `renderer.cameras.portrait_camera`; "body": as in the file,
                standing on the floor. The axes are the same.

        A Gaussian is part of the skin: its offset and rotation turn as the skin below it does, as for a rigid head they must (LAM's own
        code turns offsets only, and keeps heads upright). Morphs move Gaussians without turning them.

        Errors: ValueError for names that the avatar does not have, and for a turn about a joint that it does not have.
        """
        weights = self._ordered(weights, names)
        zero = self._zero(origin)
        surface = (weights @ self.mesh.morphs.flatten(1)).unflatten(-1, self.mesh.vertices.shape)
        points = surface + (self.mesh.vertices + self.offsets - zero)
        quats = self.quats
        if head is not None or neck is not None:
            points, turns = self._turned(points, head, neck, zero)
            quats = torch.stack(quaternion_product(turns.unbind(-1), quats.unbind(-1)), dim=-1)
        batch = points.shape[:-2]
        return Gaussians(
            means=points,
            quats=quats.expand(*batch, -1, -1),
            scales=self.log_scales.exp().expand(*batch, -1, -1),
            opacities=self.opacity_logits.sigmoid().expand(*batch, -1),
            colors=self.colors.expand(*batch, -1, -1),
        )

    def to(self, device: torch.device | str) -> "LamHead":
        """Everything but the skeleton, which is only asked where its joints rest."""
        return replace(_moved(self, device), mesh=_moved(self.mesh, device))

    def _ordered(self, weights: Float[Tensor, "*batch shapes"], names: Sequence[str] | None) -> Float[Tensor, "*batch morphs"]:
        """Weights in the order of the morphs, zero for those not named."""
        names = self.mesh.morph_names if names is None else tuple(names)
        if len(names) != weights.shape[-1] or len(set(names)) != len(names):
            raise ValueError(
                f"weights: expected one for each of {len(set(names))} different names, found {weights.shape[-1]} for {len(names)} names; "
                "pass the names of the weights in their order"
            )
        unknown = [name for name in names if name not in self.mesh.morph_names and name not in NOT_IN_THE_MESH]
        if unknown:
            near = difflib.get_close_matches(unknown[0].lower(), [name.lower() for name in self.mesh.morph_names], 1, 0.6)
            meant = [name for name in self.mesh.morph_names if name.lower() in near]
            raise ValueError(
                f"names: expected shapes of the avatar, found {unknown[0]!r}; {f'did you mean {meant[0]!r}?' if meant else 'leave it out'}"
            )
        if names == self.mesh.morph_names:
            return weights
        taken = [i for i, name in enumerate(names) if name in self.mesh.morph_names]
        places = torch.tensor([self.mesh.morph_names.index(names[i]) for i in taken], dtype=torch.long, device=weights.device)
        return weights.new_zeros(*weights.shape[:-1], len(self.mesh.morph_names)).index_copy(-1, places, weights[..., taken])

    def _turned(
        self, points: Float[Tensor, "*#batch verts 3"], head: Tensor | None, neck: Tensor | None, zero: Float[Tensor, "3"]
    ) -> tuple[Float[Tensor, "*turned verts 3"], Float[Tensor, "*turned verts 4"]]:
        """Linear blend skinning by what moves: the neck, and the head on the neck. Also the turn of each vertex: blended quaternions
        wxyz, not normalised.
        """
        for name, turn in (("head", head), ("neck", neck)):
            if turn is not None and name not in self._pivots:
                raise ValueError(f"{name}: expected a {name} joint to turn, found none in the avatar's skeleton; leave the rotation out")
        still = points.new_zeros(3)
        neck, head = torch.broadcast_tensors(still if neck is None else neck, still if head is None else head)
        neck_turn = roma.rotvec_to_unitquat(neck)
        head_turn = roma.quat_product(neck_turn, roma.rotvec_to_unitquat(head))
        neck_matrix, head_matrix = (roma.unitquat_to_rotmat(turn) for turn in (neck_turn, head_turn))
        head_joint = self._pivots["head"] - zero
        neck_joint = self._pivots.get("neck", self._pivots["head"]) - zero
        carried = neck_joint + (neck_matrix @ (head_joint - neck_joint)[:, None])[..., 0]  # where the neck takes the head joint

        on_neck, on_head = self._influence[:, :1], self._influence[:, 1:]
        with_neck = (points - neck_joint) @ neck_matrix.mT + neck_joint
        with_head = (points - head_joint) @ head_matrix.mT + carried[..., None, :]
        moved = points + on_neck * (with_neck - points) + on_head * (with_head - points)

        identity = points.new_tensor([1.0, 0.0, 0.0, 0.0])
        neck_turn, head_turn = (_near_identity(roma.quat_xyzw_to_wxyz(turn))[..., None, :] for turn in (neck_turn, head_turn))
        blended = identity + on_neck * (neck_turn - identity) + on_head * (head_turn - identity)
        return moved, blended.expand(*moved.shape[:-1], 4)

    def _zero(self, origin: Literal["flame", "body"]) -> Float[Tensor, "3"]:
        """The point of the file's space that becomes the origin."""
        if origin == "body":
            return self.mesh.vertices.new_zeros(3)
        if origin != "flame":
            raise ValueError(f"origin: expected 'flame' or 'body', found {origin!r}; choose one of them")
        if "head" not in self._pivots:
            raise ValueError("origin: expected a head joint to place the head by, found none in the skeleton; use origin='body'")
        return self._pivots["head"] + self.mesh.vertices.new_tensor(FLAME_ORIGIN)

    @cached_property
    def _turning(self) -> dict[str, int]:
        """Nodes of the head joint and of the lowest neck joint above it, as far as the skeleton has them."""
        skeleton = self.mesh.skeleton
        head = next((node for node in skeleton.downwards() if skeleton.plain_name(node) == "head"), None)
        if head is None:
            return {}
        found, node = {"head": head}, skeleton.parents[head]
        while node != -1:
            if skeleton.plain_name(node).startswith("neck"):
                found["neck"] = node
            node = skeleton.parents[node]
        return found

    @cached_property
    def _pivots(self) -> dict[str, Float[Tensor, "3"]]:
        rest = self.mesh.skeleton.rest()
        return {name: rest[node, :3, 3].to(self.mesh.vertices) for name, node in self._turning.items()}

    @cached_property
    def _influence(self) -> Float[Tensor, "verts 2"]:
        """How much of each vertex follows the neck alone, and how much the head."""
        below = {name: self.mesh.skeleton.below(node) for name, node in self._turning.items()}
        follows = [1 if n in below.get("head", ()) else 0 if n in below.get("neck", ()) else 2 for n in self.mesh.skeleton.joint_nodes]
        chosen = torch.nn.functional.one_hot(torch.tensor(follows, device=self.mesh.joints.device), 3)[self.mesh.joints]
        total = (self.mesh.weights[..., None] * chosen).sum(1)
        return total[:, :2] / total.sum(1, keepdim=True)


def load_lam(path: Path | str) -> LamHead:
    """An avatar from its zip. Vertices, morphs and Gaussians are paired as LAM wrote them: offset.ply in the order of skin.glb.

    Errors: ValueError when the zip is damaged, tries to write elsewhere or to unpack without end, lacks skin.glb or offset.ply, has
    something twice, or when its parts do not fit together.
    """
    path = Path(path)
    members = _unpacked(path)
    glb = opened(members["skin.glb"], f"{path}: skin.glb")
    splats = splats_of_ply(members["offset.ply"], f"{path}: offset.ply")
    mesh = skinned_mesh(glb)
    count = len(mesh.vertices)
    if len(splats.means) != count or splats.degree != 0:
        raise ValueError(
            f"{path}: expected offset.ply to hold {count} Gaussians of plain colour, one for each vertex of skin.glb, found "
            f"{len(splats.means)} of degree {splats.degree}; both must come from one export"
        )
    return LamHead(
        mesh=mesh,
        offsets=splats.means,
        quats=splats.quats,
        log_scales=splats.log_scales,
        opacity_logits=splats.opacity_logits,
        colors=splats.harmonics[:, 0],  # LAM writes RGB there, not a harmonic
        vertex_order=_order(members.get("vertex_order.json"), mesh.vertices, str(path)),
        kept={name: members[name] for name in KEPT if name in members},
    )


def save_lam(path: Path | str, lam: LamHead) -> None:
    """Writes the zip, all of it or nothing; the folder in it is named after the file. The same avatar gives the same bytes.

    Without ``kept["animation.glb"]`` there is no body clip in it, which OpenAvatarChat's viewer may ask for.

    Errors: ValueError for NaN and infinity.
    """
    path = Path(path)
    splats = Splats(lam.offsets, lam.quats, lam.log_scales, lam.opacity_logits, lam.colors[:, None])
    members = {
        "skin.glb": glb_of_mesh(lam.mesh),
        "offset.ply": ply_of_splats(splats, f"{path}: offset.ply"),
        "vertex_order.json": json.dumps(lam.vertex_order.tolist()).encode(),
        **lam.kept,
    }
    with atomic_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            entry = zipfile.ZipInfo(f"{path.stem}/{name}")  # dated 1980, as a file without a time is
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, data)


def _unpacked(path: Path) -> dict[str, bytes]:
    """The members of the one avatar in the zip by their name in its folder. Nothing is written to disk."""

    def refused(expected: str, found: str, remedy: str) -> ValueError:
        return ValueError(f"{path}: expected {expected}, found {found}; {remedy}")

    data = path.read_bytes()
    with _as_damaged_zip(path):
        archive = zipfile.ZipFile(io.BytesIO(data))
    entries = archive.infolist()
    for entry in entries:
        place = PurePosixPath(entry.filename)
        if "\\" in entry.orig_filename or ":" in entry.filename or place.is_absolute() or ".." in place.parts:
            raise refused("names inside one folder", repr(entry.filename[:80]), "do not unpack this file: it writes elsewhere")
    total = sum(entry.file_size for entry in entries)
    if total > LARGEST_TOTAL or total > LARGEST_RATIO * len(data):
        found = f"{total} bytes unpacked from {len(data)}"
        raise refused(f"at most {LARGEST_TOTAL} bytes and {LARGEST_RATIO} times the zip", found, "this is no avatar")

    chosen: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        place = PurePosixPath(entry.filename)
        if place.name not in MEMBERS or place.parts[0] == "__MACOSX" or entry.is_dir():
            continue
        if place.name in chosen:
            raise refused(f"one {place.name}", f"{chosen[place.name].filename!r} and {entry.filename!r}", "keep one avatar in the zip")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
            raise refused("members that are plain or deflated", f"{entry.filename!r} packed otherwise", "zip it again without a password")
        chosen[place.name] = entry
    missing = [name for name in ("skin.glb", "offset.ply") if name not in chosen]
    if missing:
        raise refused("an avatar of LAM", f"no {' and no '.join(missing)}", "point to the zip that LAM exported")
    if len({PurePosixPath(entry.filename).parent for entry in chosen.values()}) > 1:
        raise refused("all parts in one folder", "several folders", "keep one avatar in the zip")
    with _as_damaged_zip(path):
        members = {name: archive.read(entry) for name, entry in chosen.items()}  # never more than the declared size, checked by CRC
    short = [name for name, member in members.items() if len(member) != chosen[name].file_size]
    if short:
        raise refused("members as long as the zip says", f"a shorter {short[0]}", "copy or export it again")
    return members


@contextmanager
def _as_damaged_zip(path: Path) -> Iterator[None]:
    """What zipfile raises for damaged files, as one error."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path}: expected a zip, found a damaged or other file ({error}); copy or export it again") from None


def _order(data: bytes | None, vertices: Float[Tensor, "verts 3"], source: str) -> Int[Tensor, "verts"]:
    """The permutation in vertex_order.json, or by height as LAM sorts."""
    if data is None:
        return vertices[:, 1].argsort(stable=True)
    try:
        order = json.loads(data)
        valid = isinstance(order, list) and sorted(order) == list(range(len(vertices)))
    except (ValueError, TypeError, RecursionError):
        valid = False
    if not valid:
        raise ValueError(
            f"{source}: vertex_order.json: expected each number from 0 to {len(vertices) - 1} once, found something else; export it again"
        )
    return torch.tensor(order, dtype=torch.long)


def _moved(record: LamHead | SkinnedMesh, device: torch.device | str) -> LamHead | SkinnedMesh:
    """With its own tensors on ``device``."""
    return replace(record, **{f.name: v.to(device) for f in fields(record) if isinstance(v := getattr(record, f.name), Tensor)})


def _near_identity(quat: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Of q and -q (wxyz), the same rotation, the one that can be blended with no rotation."""
    return torch.where(quat[..., :1] < 0, -quat, quat)
