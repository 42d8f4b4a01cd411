"""glTF 2.0 binary files (.glb): a strict reader and writer, and the skinned mesh with morphs that is all this package wants from them.

A .glb is a JSON document and one block of bytes. The document's accessors describe arrays in that block, some of them sparse: zeros but for
listed rows. Every number of a file is checked against the bytes that are there before it is believed.
Khronos, "glTF 2.0 Specification", sections 3.6 (accessors), 3.7 (meshes, skins) and 4 (binary container).
"""

import json
import struct
from dataclasses import dataclass

import numpy as np
import roma
import torch
from jaxtyping import Float, Int
from torch import Tensor

HEADER, CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")
COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
CODES = {np.dtype(kind): code for code, kind in COMPONENTS.items()}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}  # narrower matrices have padded columns; nobody needs them here
KINDS = {width: kind for kind, width in WIDTHS.items()}
FOR_VERTICES, FOR_INDICES = 34962, 34963  # what a buffer view is bound as
LARGEST_MORPHS = 2**27  # numbers in all morphs together; a head of 20,000 vertices and 51 morphs has 3 million


@dataclass(frozen=True)
class Skeleton:
    """The node tree of a file and which of its nodes are joints. Local transforms as in glTF: scaled, then rotated, then translated."""

    names: tuple[str, ...]
    parents: tuple[int, ...]  # -1: none
    translations: Float[Tensor, "nodes 3"]
    rotations: Float[Tensor, "nodes 4"]  # wxyz
    scales: Float[Tensor, "nodes 3"]
    mesh_node: int  # the node that carries the mesh
    joint_nodes: tuple[int, ...]
    inverse_binds: Float[Tensor, "joints 4 4"]

    def rest(self) -> Float[Tensor, "nodes 4 4"]:
        """World transforms of the nodes at rest, in float64: bodies are often built in centimetres and scaled at the root."""
        local = torch.eye(4, dtype=torch.float64).repeat(len(self.names), 1, 1)
        turns = roma.unitquat_to_rotmat(roma.quat_normalize(roma.quat_wxyz_to_xyzw(self.rotations.double())))
        local[:, :3, :3], local[:, :3, 3] = turns * self.scales.double()[:, None], self.translations.double()
        world = {-1: torch.eye(4, dtype=torch.float64)}
        for node in self.downwards():
            world[node] = world[self.parents[node]] @ local[node]
        return torch.stack([world[node] for node in range(len(local))])

    def downwards(self) -> list[int]:
        """Nodes, parents before their children."""
        children: dict[int, list[int]] = {}
        for node, parent in enumerate(self.parents):
            children.setdefault(parent, []).append(node)
        order = list(children.get(-1, []))
        for node in order:  # grows while it is walked
            order += children.get(node, [])
        return order

    def below(self, top: int) -> set[int]:
        """A node and everything under it."""
        found = {top}
        for node in self.downwards():
            if self.parents[node] in found:
                found.add(node)
        return found

    def plain_name(self, node: int) -> str:
        """A node's name whatever its case and namespace: "mixamorig:Head" is head."""
        return self.names[node].rpartition(":")[2].lower()


@dataclass(frozen=True)
class SkinnedMesh:
    """Triangles that morphs and a skeleton move. Values are those of the file, bit for bit."""

    vertices: Float[Tensor, "verts 3"]  # at rest, metres
    faces: Int[Tensor, "faces 3"]
    morph_names: tuple[str, ...]
    morphs: Float[Tensor, "morphs verts 3"]  # metres at weight one
    joints: Int[Tensor, "verts 4"]  # indices into skeleton.joint_nodes
    weights: Float[Tensor, "verts 4"]
    skeleton: Skeleton


@dataclass(frozen=True)
class Glb:
    """A .glb that was opened. Each method raises ValueError, with ``source`` in it, for what the file gets wrong."""

    document: dict
    binary: bytes
    source: str

    def entry(self, section: str, index: object) -> dict:
        """``document[section][index]``."""
        entries = self.document.get(section)
        if not isinstance(entries, list) or not _natural(index) or index >= len(entries) or not isinstance(entries[index], dict):
            raise self.error(f"an entry {index!r} of {section}", "none")
        return entries[index]

    def entries(self, section: str) -> list[dict]:
        """All of ``document[section]``."""
        found = self.document.get(section, [])
        return [self.entry(section, i) for i in range(len(found) if isinstance(found, list) else 0)]

    def number(self, entry: dict, key: str, default: int | None = None) -> int:
        """A whole number that is not negative."""
        value = entry.get(key, default)
        if not _natural(value):
            raise self.error(f"a whole number as {key!r}", repr(value)[:80])
        return value

    def array(self, accessor: object, width: int, count: int | None = None) -> np.ndarray:
        """The array of an accessor, ``[count, width]``; normalised integers become float32.

        An accessor without bytes (all zeros, or zeros but for sparse rows) is only believed when the caller knows its ``count``.
        """
        entry = self.entry("accessors", accessor)
        what, rows = f"accessor {accessor}", self.number(entry, "count")
        if entry.get("type") != KINDS[width]:
            raise self.error(f"{what} of type {KINDS[width]}", repr(entry.get("type")))
        if rows < 1 or rows != (rows if count is None else count):
            raise self.error(f"{what} of {'at least one' if count is None else count} rows", f"{rows}")
        kind = self._kind(entry, COMPONENTS)
        if "bufferView" in entry:
            values = self._rows(entry, kind, rows, width, what)
        elif count is None:
            raise self.error(f"bytes behind {what}", "none")
        else:
            values = np.zeros((rows, width), kind)
        if "sparse" in entry:
            values = self._with_sparse_rows(values, entry["sparse"], what)
        if not entry.get("normalized", False) or kind.kind == "f":
            return values
        return np.maximum(values.astype(np.float32) / np.float32(np.iinfo(kind).max), np.float32(-1))

    def error(self, expected: str, found: str) -> ValueError:
        return ValueError(f"{self.source}: expected {expected}, found {found}; export the file again")

    def _with_sparse_rows(self, values: np.ndarray, sparse: object, what: str) -> np.ndarray:
        if not isinstance(sparse, dict) or not all(isinstance(sparse.get(part), dict) for part in ("indices", "values")):
            raise self.error(f"indices and values of the sparse {what}", repr(sparse)[:80])
        count = self.number(sparse, "count")
        kind = self._kind(sparse["indices"], {code: COMPONENTS[code] for code in (5121, 5123, 5125)})
        indices = self._rows(sparse["indices"], kind, count, 1, f"the indices of {what}")[:, 0].astype(np.int64)
        if not (np.diff(indices) > 0).all() or (count and indices[-1] >= len(values)):
            raise self.error(f"ascending rows below {len(values)} in the sparse {what}", "others")
        values[indices] = self._rows(sparse["values"], values.dtype, count, values.shape[1], f"the values of {what}")
        return values

    def _rows(self, entry: dict, kind: np.dtype, rows: int, width: int, what: str) -> np.ndarray:
        """``rows`` elements of a buffer view, as a copy."""
        view = self.entry("bufferViews", entry.get("bufferView"))
        if self.number(view, "buffer") != 0 or "uri" in self.entry("buffers", 0):
            raise self.error(f"the bytes of {what} inside the file", "a reference to another one")
        start, length = self.number(view, "byteOffset", 0), self.number(view, "byteLength")
        if start + length > len(self.binary):
            raise self.error(f"bytes {start} to {start + length} for {what}", f"a file that holds {len(self.binary)}")
        size = width * kind.itemsize
        offset, stride = self.number(entry, "byteOffset", 0), self.number(view, "byteStride", size)
        if stride < size:
            raise self.error(f"a byteStride of at least {size} for {what}", f"{stride}")
        needed = offset + (rows - 1) * stride + size if rows else 0
        if needed > length:
            raise self.error(f"{needed} bytes for {what}", f"a buffer view of {length}")
        return np.ndarray((rows, width), kind, self.binary, start + offset if rows else 0, (stride, kind.itemsize)).copy()

    def _kind(self, entry: dict, allowed: dict[int, str]) -> np.dtype:
        code = self.number(entry, "componentType")
        if code not in allowed:
            raise self.error(f"a componentType among {sorted(allowed)}", f"{code}")
        return np.dtype(allowed[code])


def opened(data: bytes, source: str) -> Glb:
    """The document and the bytes of a .glb. Errors: ValueError when it is none, cut off, or needs an extension (compression, ...)."""
    if len(data) < HEADER.size or data[:4] != b"glTF":
        raise ValueError(f"{source}: expected a .glb file, found one that does not begin with 'glTF'; export it as binary glTF 2.0")
    _, version, length = HEADER.unpack_from(data)
    if version != 2:
        raise ValueError(f"{source}: expected glTF version 2, found {version}; export it as binary glTF 2.0")
    if length != len(data):
        raise ValueError(f"{source}: expected {length} bytes, found {len(data)}; the file is cut off or damaged, copy it again")
    chunks, at = [], HEADER.size
    while at < length:
        size, name = CHUNK.unpack_from(data, at) if at + CHUNK.size <= length else (length, b"")
        at += CHUNK.size + size
        if at > length:
            raise ValueError(f"{source}: expected a chunk of {size} bytes, found the end of the file; copy it again")
        chunks.append((name, data[at - size : at]))
    if not chunks or chunks[0][0] != b"JSON":
        raise ValueError(f"{source}: expected JSON as the first chunk, found something else; export it as binary glTF 2.0")
    try:
        document = json.loads(chunks[0][1].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source}: expected a JSON document, found what cannot be read as one ({error}); export it again") from None
    if not isinstance(document, dict):
        raise ValueError(f"{source}: expected a JSON object, found {type(document).__name__}; export it again")
    if document.get("extensionsRequired"):
        needs = document["extensionsRequired"]
        raise ValueError(f"{source}: expected plain glTF, found one that requires {needs}; export it without compression")
    binary = chunks[1][1] if len(chunks) > 1 and chunks[1][0] == b"BIN\0" else b""
    return Glb(document, binary, source)


class GlbWriter:
    """Collects arrays, then writes them with a document that refers to them by the numbers that ``add`` returned."""

    def __init__(self):
        self.accessors: list[dict] = []
        self.views: list[dict] = []
        self.binary = bytearray()

    def add(self, values: np.ndarray, *, target: int | None = None, bounds: bool = False) -> int:
        """An accessor of ``values [count, width]``. ``target``: 34962 vertex attributes, 34963 indices. ``bounds``: with min and max, which
        positions must have.
        """
        view = self._view(values) | ({} if target is None else {"target": target})
        self.views.append(view)
        return self._accessor(values, bounds, {"bufferView": len(self.views) - 1})

    def add_sparse(self, values: np.ndarray) -> int:
        """The same, storing only rows that are not +0, with bounds."""
        rows = np.flatnonzero((values.view(np.dtype(f"u{values.itemsize}")) != 0).any(1))
        if len(rows) == 0:
            return self._accessor(values, True, {})
        indices = rows.astype("<u2" if len(values) <= 2**16 else "<u4")
        self.views += [self._view(indices[:, None]), self._view(values[rows])]
        last = len(self.views) - 1
        places = {"bufferView": last - 1, "componentType": CODES[indices.dtype]}
        return self._accessor(values, True, {"sparse": {"count": len(rows), "indices": places, "values": {"bufferView": last}}})

    def encoded(self, document: dict) -> bytes:
        """The file. ``document``: everything but asset, accessors, views and buffers."""
        document = {"asset": {"version": "2.0", "generator": "renderer.glb"}, **document}
        document |= {"accessors": self.accessors, "bufferViews": self.views, "buffers": [{"byteLength": len(self.binary)}]}
        text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode("utf-8")
        text += b" " * (-len(text) % 4)
        chunks = CHUNK.pack(len(text), b"JSON") + text + CHUNK.pack(len(self.binary), b"BIN\0") + bytes(self.binary)
        return HEADER.pack(b"glTF", 2, HEADER.size + len(chunks)) + chunks

    def _view(self, values: np.ndarray) -> dict:
        data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)}
        self.binary += data + b"\0" * (-len(data) % 4)
        return view

    def _accessor(self, values: np.ndarray, bounds: bool, source: dict) -> int:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"accessor {len(self.accessors)}: expected finite numbers to write, found NaN or infinity; glTF has none")
        entry = {"componentType": CODES[values.dtype], "count": len(values), "type": KINDS[values.shape[1]], **source}
        if bounds:
            entry |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(entry)
        return len(self.accessors) - 1


def skinned_mesh(glb: Glb) -> SkinnedMesh:
    """The one skinned mesh of a file. Its skeleton must rest where the mesh was bound to it, and nodes must not use matrices.

    Errors: ValueError for anything else, NaN included.
    """
    nodes = glb.entries("nodes")
    carriers = [i for i, node in enumerate(nodes) if {"mesh", "skin"} <= node.keys()]
    if len(carriers) != 1:
        raise glb.error("one mesh with a skin", f"{len(carriers)}")
    node = nodes[carriers[0]]
    mesh, skeleton = glb.entry("meshes", node["mesh"]), _skeleton(glb, nodes, carriers[0])
    parts = mesh.get("primitives")
    if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], dict) or parts[0].get("mode", 4) != 4:
        raise glb.error("a mesh of one part, made of triangles", repr(parts)[:80])
    attributes = parts[0].get("attributes")
    if not isinstance(attributes, dict) or "JOINTS_1" in attributes:
        raise glb.error("vertices with at most four joints", repr(attributes)[:80])

    vertices = _floats(glb, attributes.get("POSITION"), 3)
    count = len(vertices)
    corners = _indices(glb, parts[0].get("indices"), 1, None, count)
    if len(corners) % 3:
        raise glb.error("three corners for each face", f"{len(corners)} corners")
    weights = _floats(glb, attributes.get("WEIGHTS_0"), 4, count)
    if bool((weights < 0).any() | ((weights.sum(1) - 1).abs() > 0.01).any()):
        raise glb.error("skin weights that are not negative and sum to one", "others")
    names, targets = _morph_names(glb, mesh), parts[0].get("targets", [])
    if not isinstance(targets, list) or len(targets) != len(names) or not all(isinstance(target, dict) for target in targets):
        raise glb.error(f"{len(names)} morphs as targetNames says", repr(targets)[:80])
    if len(names) * count * 3 > LARGEST_MORPHS:
        raise glb.error(f"at most {LARGEST_MORPHS} numbers in the morphs", f"{len(names)} morphs of {count} vertices")
    morphs = [_floats(glb, target.get("POSITION"), 3, count) for target in targets]
    return SkinnedMesh(
        vertices=vertices,
        faces=corners.reshape(-1, 3),
        morph_names=names,
        morphs=torch.stack(morphs) if morphs else torch.zeros(0, count, 3),
        joints=_indices(glb, attributes.get("JOINTS_0"), 4, count, len(skeleton.joint_nodes)),
        weights=weights,
        skeleton=skeleton,
    )


def glb_of_mesh(mesh: SkinnedMesh) -> bytes:
    """A file that `skinned_mesh` reads back bit for bit. Errors: ValueError for NaN and infinity."""
    writer, skeleton = GlbWriter(), mesh.skeleton
    attributes = {
        "POSITION": writer.add(mesh.vertices.cpu().numpy(), target=FOR_VERTICES, bounds=True),
        "NORMAL": writer.add(vertex_normals(mesh.vertices, mesh.faces).cpu().numpy(), target=FOR_VERTICES),
        "JOINTS_0": writer.add(_narrow(mesh.joints, np.uint8, np.uint16), target=FOR_VERTICES),
        "WEIGHTS_0": writer.add(mesh.weights.cpu().numpy(), target=FOR_VERTICES),
    }
    corners = writer.add(_narrow(mesh.faces.reshape(-1, 1), np.uint16, np.uint32), target=FOR_INDICES)
    targets = [{"POSITION": writer.add_sparse(morph)} for morph in mesh.morphs.cpu().numpy()]
    binds = writer.add(skeleton.inverse_binds.mT.reshape(-1, 16).cpu().numpy())

    places = zip(skeleton.translations.tolist(), skeleton.rotations[:, [1, 2, 3, 0]].tolist(), skeleton.scales.tolist(), strict=True)
    nodes: list[dict] = [{"name": name} for name in skeleton.names]
    for node, (translation, rotation, scale) in zip(nodes, places, strict=True):
        node |= {"translation": translation, "rotation": rotation, "scale": scale}
    for child, parent in enumerate(skeleton.parents):
        if parent != -1:
            nodes[parent].setdefault("children", []).append(child)
    nodes[skeleton.mesh_node] |= {"mesh": 0, "skin": 0}

    primitive = {"attributes": attributes, "indices": corners, "material": 0}
    described = {"name": skeleton.names[skeleton.mesh_node], "primitives": [primitive]}
    if targets:
        primitive["targets"] = targets
        described |= {"weights": [0] * len(targets), "extras": {"targetNames": list(mesh.morph_names)}}
    document = {
        "scene": 0,
        "scenes": [{"name": "Scene", "nodes": [node for node, parent in enumerate(skeleton.parents) if parent == -1]}],
        "nodes": nodes,
        "materials": [{"name": "skin", "doubleSided": True}],
        "meshes": [described],
        "skins": [{"inverseBindMatrices": binds, "joints": list(skeleton.joint_nodes)}],
    }
    return writer.encoded(document)


def vertex_normals(vertices: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"]) -> Float[Tensor, "verts 3"]:
    """Of unit length; every face counts by its area. Vertices that no face has point forward, as glTF wants a direction of each."""
    corners = vertices[faces]
    areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    summed = torch.zeros_like(vertices).index_add_(0, faces.reshape(-1), areas.repeat_interleave(3, dim=0))
    lengths = summed.norm(dim=1, keepdim=True)
    return torch.where(lengths > 0, summed / lengths.clamp(min=1e-30), summed.new_tensor([0.0, 0.0, 1.0]))


def _skeleton(glb: Glb, nodes: list[dict], mesh_node: int) -> Skeleton:
    parents = [-1] * len(nodes)
    for i, node in enumerate(nodes):
        children = node.get("children", [])
        if "matrix" in node or not isinstance(children, list):
            raise glb.error("translation, rotation, scale and a list of children", f"something else in node {i}")
        for child in children:
            glb.entry("nodes", child)
            if parents[child] != -1:
                raise glb.error("a tree of nodes", f"two parents of node {child}")
            parents[child] = i

    skin = glb.entry("skins", nodes[mesh_node]["skin"])
    joints = skin.get("joints")
    if not isinstance(joints, list) or not joints:
        raise glb.error("joints of the skin", repr(joints)[:80])
    for joint in joints:
        glb.entry("nodes", joint)
    skeleton = Skeleton(
        names=tuple(str(node.get("name", "")) for node in nodes),
        parents=tuple(parents),
        translations=_of_nodes(glb, nodes, "translation", [0.0, 0.0, 0.0]),
        rotations=_of_nodes(glb, nodes, "rotation", [0.0, 0.0, 0.0, 1.0])[:, [3, 0, 1, 2]],
        scales=_of_nodes(glb, nodes, "scale", [1.0, 1.0, 1.0]),
        mesh_node=mesh_node,
        joint_nodes=tuple(joints),
        inverse_binds=_floats(glb, skin.get("inverseBindMatrices"), 16, len(joints)).reshape(-1, 4, 4).mT.contiguous(),  # columns first
    )
    if len(skeleton.downwards()) != len(nodes):
        raise glb.error("a tree of nodes", "a circle")
    moved = skeleton.rest()[joints] @ skeleton.inverse_binds.double()
    if float((moved - torch.eye(4, dtype=torch.float64)).abs().max()) > 1e-3:
        raise glb.error("a skeleton that rests where the mesh was bound to it", "one in another pose")
    return skeleton


def _of_nodes(glb: Glb, nodes: list[dict], key: str, default: list[float]) -> Float[Tensor, "nodes width"]:
    try:
        values = torch.tensor([node.get(key, default) for node in nodes], dtype=torch.float64).to(torch.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        values = torch.zeros(0)
    if values.shape != (len(nodes), len(default)) or not bool(values.isfinite().all()):
        raise glb.error(f"{len(default)} finite numbers as {key} of each node", "something else")
    return values


def _morph_names(glb: Glb, mesh: dict) -> tuple[str, ...]:
    extras = mesh.get("extras")
    names = extras.get("targetNames", []) if isinstance(extras, dict) else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise glb.error("different names of morphs in extras.targetNames", repr(names)[:80])
    return tuple(names)


def _floats(glb: Glb, accessor: object, width: int, count: int | None = None) -> Float[Tensor, "count width"]:
    values = glb.array(accessor, width, count)
    if values.dtype != np.float32:
        raise glb.error(f"numbers with a fraction in accessor {accessor}", "whole ones")
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        raise glb.error(f"finite numbers in accessor {accessor}", f"NaN or infinity in {len(bad)} rows, first in row {bad[0]}")
    return torch.from_numpy(values)


def _indices(glb: Glb, accessor: object, width: int, count: int | None, limit: int) -> Int[Tensor, "count width"]:
    values = glb.array(accessor, width, count)
    if values.dtype.kind not in "iu" or not 0 <= values.min() <= values.max() < limit:
        raise glb.error(f"whole numbers from 0 to {limit - 1} in accessor {accessor}", "others")
    return torch.from_numpy(values.astype(np.int64))


def _narrow(values: Int[Tensor, "count width"], *kinds: type) -> np.ndarray:
    """As the first type that holds the values below its largest, which is reserved in indices."""
    values = values.cpu().numpy()
    return values.astype(next(kind for kind in kinds if values.max() < np.iinfo(kind).max))


def _natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
