"""Splat files and glTF written by hand with struct, as others write them: nothing here goes through the package's own writers."""

import io
import json
import struct
import zipfile

import numpy as np
import roma
import torch

CODES = {"char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f", "double": "d"}


def inria_names(degree: int, normals: bool = True) -> list[str]:
    """The properties of Inria's writer in its order."""
    rest = 3 * ((degree + 1) ** 2 - 1)
    names = ["x", "y", "z", *(["nx", "ny", "nz"] if normals else []), "f_dc_0", "f_dc_1", "f_dc_2"]
    return [*names, *(f"f_rest_{i}" for i in range(rest)), "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]


def ply(rows: list[dict], properties: list[tuple[str, str]], form: str = "binary_little_endian", newline: str = "\n") -> bytes:
    """A .ply of these rows. ``properties``: (type, name)."""
    header = ["ply", f"format {form} 1.0", "comment by hand", f"element vertex {len(rows)}"]
    header += [f"property {kind} {name}" for kind, name in properties] + ["end_header"]
    data = "".join(line + newline for line in header).encode()
    for row in rows:
        values = [row[name] for _, name in properties]
        if form == "ascii":
            data += (" ".join(str(value) for value in values) + newline).encode()
        else:
            order = "<" if form == "binary_little_endian" else ">"
            data += struct.pack(order + "".join(CODES[kind] for kind, _ in properties), *values)
    return data


def numbered(names: list[str], count: int) -> list[dict]:
    """Rows in which every value is different and exact in float32 and in text."""
    return [{name: (1 + i) / 8 + row for i, name in enumerate(names)} for row in range(count)]


def covariance(quats, scales):
    turn = roma.unitquat_to_rotmat(roma.quat_wxyz_to_xyzw(quats / quats.norm(dim=-1, keepdim=True)))
    return turn @ torch.diag_embed(scales**2) @ turn.mT


# A head of six vertices: 0 on the chest, 1 half chest half neck, 2 on the neck, 3 neck and head, 4 on a jaw below the head, 5 on the head.
POINTS = [(0.1, 1.45, 0.0), (0.1, 1.5, 0.05), (-0.1, 1.55, 0.0), (0.05, 1.6, 0.0), (0.0, 1.7, 0.1), (-0.05, 1.75, 0.0)]
JOINTS = [(1, 0, 0, 0), (1, 2, 0, 0), (2, 0, 0, 0), (2, 4, 0, 0), (5, 0, 0, 0), (4, 0, 0, 0)]
WEIGHTS = [(1, 0, 0, 0), (0.5, 0.5, 0, 0), (1, 0, 0, 0), (0.25, 0.75, 0, 0), (1, 0, 0, 0), (1, 0, 0, 0)]
FACES = [(0, 1, 2), (2, 3, 4), (3, 5, 4)]
OPENING = [(0, 0, 0), (0, 0, 0), (0, 0, 0), (0, -0.01, 0), (0, -0.02, 0.005), (0, 0, 0)]  # jawOpen, stored whole
BLINKING = {4: (0.001, -0.002, 0.0), 5: (0.0, 0.003, 0.001)}  # eyeBlinkLeft, stored sparse without a base
NECK, HEAD = (0.0, 1.525, -0.04), (0.0, 1.625, -0.02)  # where the joints are, metres


def skin_glb(change=lambda document, binary: None) -> bytes:
    """A skinned head in centimetres under a turned and scaled root; POSITION and WEIGHTS_0 interleaved, one morph sparse.

    ``change(document, binary)`` may spoil it before it is written.
    """
    views, accessors, binary = [], [], bytearray()

    def view(data: bytes, **more) -> int:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(data), **more})
        binary.extend(data + b"\0" * (-len(data) % 4))
        return len(views) - 1

    def accessor(component: int, kind: str, count: int, **more) -> int:
        accessors.append({"componentType": component, "type": kind, "count": count, **more})
        return len(accessors) - 1

    both = view(b"".join(struct.pack("<3f4f", *p, *w) for p, w in zip(POINTS, WEIGHTS, strict=True)), byteStride=28)
    attributes = {
        "POSITION": accessor(5126, "VEC3", 6, bufferView=both, min=[-0.1, 1.45, 0.0], max=[0.1, 1.75, 0.1]),
        "WEIGHTS_0": accessor(5126, "VEC4", 6, bufferView=both, byteOffset=12),
        "JOINTS_0": accessor(5121, "VEC4", 6, bufferView=view(b"".join(struct.pack("<4B", *j) for j in JOINTS))),
    }
    indices = accessor(5123, "SCALAR", 9, bufferView=view(struct.pack("<9H", *(v for face in FACES for v in face))))
    opening = accessor(5126, "VEC3", 6, bufferView=view(b"".join(struct.pack("<3f", *p) for p in OPENING)))
    places = {"bufferView": view(struct.pack("<2H", *BLINKING)), "componentType": 5123}
    values = {"bufferView": view(b"".join(struct.pack("<3f", *p) for p in BLINKING.values()))}
    blinking = accessor(5126, "VEC3", 6, sparse={"count": 2, "indices": places, "values": values})

    root = np.array([[0.01, 0, 0, 0], [0, 0, -0.01, 0], [0, 0.01, 0, 0], [0, 0, 0, 1]])  # a quarter turn about x, centimetres
    upright = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])  # and back
    chest = np.eye(4)
    chest[:3, 3] = (0, 130, 0)
    steps = [root, upright, chest]
    for lower, upper in (((0, 1.3, 0), NECK), (NECK, HEAD)):
        step = np.eye(4)
        step[:3, 3] = [100 * (u - v) for u, v in zip(upper, lower, strict=True)]
        steps.append(step)
    steps.append(np.eye(4))
    steps[-1][:3, 3] = (0, -2, 3)
    world = [steps[0]]
    for step in steps[1:]:
        world.append(world[-1] @ step)
    turn = [0.5**0.5, 0.0, 0.0, 0.5**0.5]
    nodes = [
        {"name": "Armature", "children": [1, 5], "rotation": turn, "scale": [0.01, 0.01, 0.01]},
        {"name": "hip", "children": [2], "rotation": [-turn[0], 0.0, 0.0, turn[3]]},
        {"name": "chestUpper", "children": [3], "translation": [0, 130, 0]},
        {"name": "neckLower", "children": [4], "translation": steps[3][:3, 3].tolist()},
        {"name": "head", "children": [6], "translation": steps[4][:3, 3].tolist()},
        {"name": "head_final", "mesh": 0, "skin": 0},
        {"name": "lowerJaw", "translation": [0, -2, 3]},
    ]
    joints = [1, 2, 3, 0, 4, 6]
    binds = b"".join(struct.pack("<16f", *np.linalg.inv(world[min(joint, 5)]).T.reshape(-1)) for joint in joints)
    primitive = {"attributes": attributes, "indices": indices, "targets": [{"POSITION": opening}, {"POSITION": blinking}]}
    document = {
        "asset": {"version": "2.0"},
        "nodes": nodes,
        "meshes": [{"primitives": [primitive], "extras": {"targetNames": ["jawOpen", "eyeBlinkLeft"]}}],
        "skins": [{"joints": joints, "inverseBindMatrices": accessor(5126, "MAT4", 6, bufferView=view(binds))}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    change(document, binary)
    return container(json.dumps(document).encode(), bytes(binary))


def container(text: bytes, binary: bytes) -> bytes:
    text += b" " * (-len(text) % 4)
    size = 12 + 8 + len(text) + 8 + len(binary)
    return (
        struct.pack("<4sII", b"glTF", 2, size)
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + struct.pack("<I4s", len(binary), b"BIN\0")
        + binary
    )


def offset_ply(count: int = 6, first_logit: float = 1.0) -> bytes:
    """Gaussians of the head above; f_dc is plain RGB."""
    rows = []
    for i in range(count):
        row = {"x": 0.01 * i, "y": -0.002 * i, "z": 0.005, "nx": 0.0, "ny": 0.0, "nz": 0.0, "opacity": first_logit - i}
        row |= {"f_dc_0": i / 8, "f_dc_1": 0.5, "f_dc_2": 1.0, "scale_0": -6.0, "scale_1": -5.0 - i / 4, "scale_2": -7.0}
        rows.append(row | {"rot_0": 1.0, "rot_1": 0.1 * i, "rot_2": 0.0, "rot_3": -0.25})
    return ply(rows, [("float", name) for name in inria_names(0)])


def lam_members() -> dict[str, bytes]:
    return {"skin.glb": skin_glb(), "offset.ply": offset_ply(), "vertex_order.json": b"[0, 1, 2, 4, 3, 5]", "animation.glb": b"clips"}


def zipped(members: dict[str, bytes] | list[tuple[str, bytes]], folder: str = "somebody/") -> bytes:
    """A zip with Apple's metadata in it, as public avatars have."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        if folder:
            archive.writestr(folder, b"")
        archive.writestr(f"__MACOSX/{folder}._skin.glb", b"not a mesh")
        archive.writestr(f"__MACOSX/{folder}skin.glb", b"nor this")
        archive.writestr(f"{folder}.DS_Store", b"or this")
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(folder + name, content)
    return data.getvalue()
