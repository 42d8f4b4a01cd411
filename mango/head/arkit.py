"""ARKit's 52 weights and a head's motion. Of the 52, 41 are expressions by the same name; 11 are joints here (jaw and gaze), turned
by a fixed pose per unit of weight, so both directions are closed forms.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mango.errors import InputError
from mango.head.model import Head

ARKIT_NAMES = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft",
    "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft",
    "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight",
    "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft",
    "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
LIDS = ("eyeBlinkLeft", "eyeBlinkRight")


def motion_from_arkit(head: Head, weights: Float[Tensor, "*batch arkit"]) -> dict[str, Float[Tensor, "*batch part"]]:
    """``expr``, ``jaw_pose`` and ``eyes_pose`` of weights in the order of ``ARKIT_NAMES``."""
    joints = joint_poses(head, weights)
    poses = weights[..., [ARKIT_NAMES.index(name) for name in head.joint_expressions]] @ joints
    expr = weights[..., [ARKIT_NAMES.index(name) for name in head.expression_names]]
    return {"expr": expr, "jaw_pose": poses[..., 3:6], "eyes_pose": poses[..., 6:12]}


def arkit_from_motion(
    head: Head, expr: Float[Tensor, "*batch expressions"], jaw_pose: Float[Tensor, "*batch 3"], eyes_pose: Float[Tensor, "*batch 6"]
) -> Float[Tensor, "*batch arkit"]:
    """Weights in the order of ``ARKIT_NAMES``, not limited to [0, 1]; joint weights are never negative. A roll of the jaw or of an eye
    has no ARKit shape and is dropped, and so is a jaw closed beyond rest.
    """
    joints = joint_poses(head, expr)
    poses = torch.cat([torch.zeros_like(jaw_pose), jaw_pose, eyes_pose], dim=-1)
    weights = expr.new_zeros(*expr.shape[:-1], len(ARKIT_NAMES))
    weights[..., [ARKIT_NAMES.index(name) for name in head.expression_names]] = expr
    along = poses @ joints.T / joints.square().sum(-1)  # each pose turns about one axis: 1 at weight one
    weights[..., [ARKIT_NAMES.index(name) for name in head.joint_expressions]] = along.clamp(min=0)
    return weights


def joint_poses(head: Head, like: Float[Tensor, "..."]) -> Float[Tensor, "joint_expressions 12"]:
    if not head.joint_expressions:
        remedy = "import the motion onto the built-in head (mango data import FILE DIR --source-head YOUR_HEAD) and export it from there"
        raise InputError(f"head {head.name}", expected="ARKit's expressions by name", found="another basis", remedy=remedy)
    return torch.stack(list(head.joint_expressions.values())).to(like)
