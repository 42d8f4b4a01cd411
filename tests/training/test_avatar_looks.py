"""What an expression changes of somebody's looks is learnt from pictures."""

import torch

from mango.training.avatars import new_avatars, parameter_groups
from renderer.head import AvatarConfig


def test_looks_that_come_with_an_expression_are_learnt(head):
    """Lids that are white when shut and black when open; where nothing is stretched nothing changes. Planted: tints that do not learn."""
    avatar = new_avatars(head, {"p": torch.zeros(head.identities)}, AvatarConfig(num_gaussians=2000), seed=0)["p"]
    poses = torch.zeros(2, 1, head.layout.width)
    poses[1, 0, head.layout.where("expr")] = head.expressions_of("eyelids").float()
    meshes = head.with_shape(torch.zeros(2, head.identities)).vertices(**head.layout.unpack(poses))[:, 0]
    lids = torch.isin(avatar.triangles, head.region("eyelids")).all(-1)
    assert lids.sum() > 10
    wanted = torch.full((2, 2000, 3), 0.5)
    wanted[0, lids], wanted[1, lids] = 0.0, 1.0
    optimizer = torch.optim.Adam([{"params": group["params"], "lr": 1e-2 * group["lr_scale"]} for group in parameter_groups(avatar)])

    def missed():
        return (avatar(meshes).colors - wanted).square()

    for _ in range(150):
        optimizer.zero_grad()
        missed().sum().backward()
        optimizer.step()
    found = missed().detach()
    assert found[:, lids].mean() < 0.25 * 0.25, "without looks of its own a lid is grey, a square error of 0.25"
    assert found[:, ~lids].mean() < 0.01
