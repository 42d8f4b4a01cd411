"""Linear blend skinning over FLAME's tree: root -> neck -> jaw, left eye, right eye."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mango.head.assets import JOINTS, PARENTS


def joint_transforms(
    rotations: Float[Tensor, "*#batch joints 3 3"], joints: Float[Tensor, "*#batch joints 3"]
) -> tuple[Float[Tensor, "*#batch joints 3 3"], Float[Tensor, "*batch joints 3"]]:
    """Rotation and shift that carry a point of the rest head with each joint. A joint turns about its own place in the rest head."""
    turns, shifts = [], []
    for joint, parent in enumerate(PARENTS):
        turn, place = rotations[..., joint, :, :], joints[..., joint, :]
        shift = place - (turn @ place[..., None])[..., 0]  # x -> turn (x - place) + place
        if parent >= 0:
            shift = shifts[parent] + (turns[parent] @ shift[..., None])[..., 0]
            turn = turns[parent] @ turn
        turns.append(turn)
        shifts.append(shift)
    return torch.stack(turns, dim=-3), torch.stack(shifts, dim=-2)


class Skin(nn.Module):
    """Skinning by subtrees. With u_j the summed weights of joint j and all below it and X_j the motion of joint j,

        sum_j w_j X_j = X_root + sum_{j > 0} u_j (X_j - X_parent(j)),

    so every joint costs only the vertices that its subtree moves (an eye: a few hundred). ``blended`` is the plain form.
    """

    def __init__(self, weights: Float[Tensor, "verts joints"]):
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)
        subtree = weights.clone()
        for joint in reversed(range(1, len(PARENTS))):
            subtree[:, PARENTS[joint]] += subtree[:, joint]
        for joint, name in enumerate(JOINTS[1:], start=1):
            moved = torch.nonzero(subtree[:, joint])[:, 0]
            self.register_buffer(f"{name}_vertices", moved, persistent=False)
            self.register_buffer(f"{name}_weights", subtree[moved, joint], persistent=False)

    def forward(
        self,
        points: Float[Tensor, "*batch verts 3"],
        turns: Float[Tensor, "*#batch joints 3 3"],
        shifts: Float[Tensor, "*#batch joints 3"],
        root_moves: bool = True,
    ) -> Float[Tensor, "*batch verts 3"]:
        moved = carried(points, turns[..., 0, :, :], shifts[..., 0, :]) if root_moves else points
        for joint, name in enumerate(JOINTS[1:], start=1):
            vertices, weights = getattr(self, f"{name}_vertices"), getattr(self, f"{name}_weights")
            parent = PARENTS[joint]
            turn = turns[..., joint, :, :] - turns[..., parent, :, :]
            shift = shifts[..., joint, :] - shifts[..., parent, :]
            difference = weights[:, None] * carried(points.index_select(-2, vertices), turn, shift)
            moved = moved.index_add(-2, vertices, difference)
        return moved

    def blended(
        self,
        points: Float[Tensor, "*batch some 3"],
        turns: Float[Tensor, "*#batch joints 3 3"],
        shifts: Float[Tensor, "*#batch joints 3"],
        vertices: Int[Tensor, "some"] | slice = slice(None),
    ) -> Float[Tensor, "*batch some 3"]:
        """The textbook form: a weighted mean of what each joint does to the point. For tests, and for few of the ``vertices``."""
        each = torch.stack([carried(points, turns[..., j, :, :], shifts[..., j, :]) for j in range(len(JOINTS))], dim=-1)
        return (each * self.weights[vertices][:, None, :]).sum(-1)


def carried(
    points: Float[Tensor, "*#batch verts 3"], turn: Float[Tensor, "*#batch 3 3"], shift: Float[Tensor, "*#batch 3"]
) -> Float[Tensor, "*batch verts 3"]:
    return points @ turn.transpose(-1, -2) + shift[..., None, :]
