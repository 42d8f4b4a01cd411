"""A clip as .glb for Blender, Unity, Unreal and the web: the person's mesh, FLAME's five joints as a skin, and one animation. Expressions
are morph targets, and so are pose correctives, which glTF does not know: the animation drives them by what the joints turn.
"""

import json

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from mango.head.assets import JOINTS, PARENTS
from mango.head.conventions import axis_angle_to_matrix
from mango.head.model import Head, ShapedHead
from mango.types import MotionClip
from renderer.glb import CHUNK, HEADER, Skeleton, SkinnedMesh, glb_of_mesh, opened

INFLUENCES = 4  # joints of a vertex in glTF; FLAME has up to five
FLOAT = 5126


def glb_of_clip(head: Head, clip: MotionClip) -> bytes:
    """The file. Node 0 carries the mesh, nodes 1 to 5 are the joints; expressions keep their names in extras.targetNames."""
    person = head.with_shape(clip.shape)
    return _with_animation(glb_of_mesh(_mesh(head, person)), clip, person, morph_weights(head, clip))


def largest_lost_weight(head: Head) -> float:
    """Skin weight beyond a vertex's four joints."""
    return float((1 - head.skin_weights.topk(INFLUENCES, dim=1).values.sum(1)).abs().max())


def morph_names(head: Head) -> tuple[str, ...]:
    """Expressions, then the correctives that this head uses, by joint and place in its rotation matrix."""
    correctives = [f"corrective_{JOINTS[1 + k // 9]}_{k % 9 // 3}{k % 3}" for k in head.used_correctives.tolist()]
    return (*head.expression_names, *correctives)


def morph_weights(head: Head, clip: MotionClip) -> Float[Tensor, "time morphs"]:
    """What the clip gives each of them."""
    poses = torch.cat([clip.neck_pose, clip.jaw_pose, clip.eyes_pose], dim=-1).unflatten(-1, (4, 3))
    turned = (axis_angle_to_matrix(poses) - torch.eye(3)).flatten(1)
    return torch.cat([clip.expr, turned[:, head.used_correctives]], dim=1)


def _mesh(head: Head, person: ShapedHead) -> SkinnedMesh:
    weights, joints = head.skin_weights.topk(INFLUENCES, dim=1)
    places = person.joints
    from_parent = torch.stack([places[k] - (places[parent] if parent >= 0 else 0) for k, parent in enumerate(PARENTS)])
    binds = torch.eye(4).repeat(len(JOINTS), 1, 1)
    binds[:, :3, 3] = -places
    nodes = 1 + len(JOINTS)
    skeleton = Skeleton(
        names=(head.name, *JOINTS),
        parents=(-1, *(parent + 1 if parent >= 0 else -1 for parent in PARENTS)),
        translations=torch.cat([torch.zeros(1, 3), from_parent]),
        rotations=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(nodes, 1),
        scales=torch.ones(nodes, 3),
        mesh_node=0,
        joint_nodes=tuple(range(1, nodes)),
        inverse_binds=binds,
    )
    return SkinnedMesh(
        vertices=person.template,
        faces=head.faces,
        morph_names=morph_names(head),
        morphs=head.motion_basis.unflatten(1, (-1, 3)),
        joints=joints,
        weights=weights / weights.sum(1, keepdim=True),
        skeleton=skeleton,
    )


def _with_animation(data: bytes, clip: MotionClip, person: ShapedHead, weights: Float[Tensor, "time morphs"]) -> bytes:
    """The file with one animation more: its arrays go behind the others."""
    glb = opened(data, "glb")
    document, binary = glb.document, bytearray(glb.binary)

    def accessor(values: Float[np.ndarray, "rows width"], kind: str, bounds: bool = False) -> int:
        entry = {"bufferView": len(document["bufferViews"]), "componentType": FLOAT, "count": len(values), "type": kind}
        if bounds:
            entry |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        content = np.ascontiguousarray(values, "<f4").tobytes()
        document["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(content)})
        document["accessors"].append(entry)
        binary.extend(content)
        return len(document["accessors"]) - 1

    times = accessor((np.arange(len(clip), dtype=np.float32) / clip.fps)[:, None], "SCALAR", bounds=True)
    tracks = [(0, "weights", accessor(weights.numpy().reshape(-1, 1), "SCALAR"))]
    turns = {"root": clip.rotation, "neck": clip.neck_pose, "jaw": clip.jaw_pose, "left_eye": clip.eyes_pose[:, :3]}
    turns["right_eye"] = clip.eyes_pose[:, 3:]
    for node, joint in enumerate(JOINTS, start=1):
        tracks.append((node, "rotation", accessor(_steady(roma.rotvec_to_unitquat(turns[joint])).numpy(), "VEC4")))
    tracks.append((1, "translation", accessor((clip.translation + person.joints[0]).numpy(), "VEC3")))
    document["animations"] = [{
        "name": "motion",
        "samplers": [{"input": times, "output": output, "interpolation": "LINEAR"} for _, _, output in tracks],
        "channels": [{"sampler": k, "target": {"node": node, "path": path}} for k, (node, path, _) in enumerate(tracks)],
    }]  # fmt: skip
    document["buffers"][0]["byteLength"] = len(binary)
    text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 4)
    chunks = CHUNK.pack(len(text), b"JSON") + text + CHUNK.pack(len(binary), b"BIN\0") + bytes(binary)
    return HEADER.pack(b"glTF", 2, HEADER.size + len(chunks)) + chunks


def _steady(quats: Float[Tensor, "time 4"]) -> Float[Tensor, "time 4"]:
    """Signs such that neighbours are near each other: players go from one to the next the short way only then."""
    flips = torch.where((quats[1:] * quats[:-1]).sum(1) < 0, -1.0, 1.0)
    return torch.cat([quats[:1], quats[1:] * flips.cumprod(0)[:, None]])
