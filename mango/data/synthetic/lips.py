"""The lip opening of many frames, posing only the vertices that it depends on: what solving for closures asks thousands of times."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.head.conventions import axis_angle_to_matrix
from mango.head.skinning import Skin, joint_transforms


class LipOpening:
    """``head.lip_opening`` of one person by expression weights and jaw angle, head and eyes still. Equal to it up to rounding."""

    def __init__(self, head, shape: Float[Tensor, "identity"]):
        self.head, self.under = head, head.faces[head.landmark_faces].unique()  # vertices that carry landmarks
        person = head.with_shape(shape)
        self.rest, self.joints = person.template[self.under], person.joints
        self.basis = head.motion_basis.unflatten(1, (-1, 3))[:, self.under].flatten(1)
        self.skin = Skin(head.skin_weights[self.under])

    def __call__(self, expr: Float[np.ndarray, "time expressions"], jaw: Float[np.ndarray, "time"]) -> Float[np.ndarray, "time"]:
        """Metres."""
        with torch.inference_mode():
            poses = torch.zeros(len(jaw), 5, 3)
            poses[:, 2, 0] = torch.from_numpy(jaw)
            rotations = axis_angle_to_matrix(poses)
            turned = (rotations[:, 1:] - torch.eye(3)).flatten(-3)[:, self.head.used_correctives]
            coefficients = torch.cat([torch.from_numpy(expr).float(), turned], -1)
            rest = self.rest + (coefficients @ self.basis).unflatten(-1, (-1, 3))
            vertices = self.head.template.repeat(len(jaw), 1, 1)
            vertices[:, self.under] = self.skin(rest, *joint_transforms(rotations, self.joints), root_moves=False)
            return self.head.lip_opening(vertices).double().numpy()
