"""What an expression changes of somebody's looks is learnt from pictures."""

from dataclasses import replace

import torch
from tiny_films import make_filmed_set, tiny_stage2

from mango.training.avatars import new_avatars, parameter_groups, rest_on_own_face, save_avatars
from mango.training.runtime import Runtime
from mango.training.studio import open_studio
from renderer.binding import squared_sides, strains, triangle_frames
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


def test_strains_are_an_expressions_alone(head):
    """Planted and seen red: everybody at rest on the head's mean face."""
    shape = torch.linspace(-2.0, 2.0, head.identities)
    avatar = new_avatars(head, {"p0": shape}, AvatarConfig(num_gaussians=300), seed=0)["p0"]
    still = {name: torch.zeros(1, width) for name, width in head.layout.widths.items()}
    smiling = {**still, "expr": torch.full_like(still["expr"], 0.5)}
    own, mean = head.with_shape(shape), head.with_shape(torch.zeros_like(shape))
    found = [
        strains(squared_sides(triangle_frames(face.vertices(**motion)[0], avatar.triangles)), avatar.rest).abs().max()
        for face, motion in ((own, still), (mean, still), (own, smiling))
    ]
    assert found[0] < 1e-6 < 1e-2 < min(found[1:]), found


def test_a_stranger_rests_on_their_own_face(head, tmp_path):
    """Planted and seen red: the face of the person whose triangles are taken over."""
    films = make_filmed_set(tmp_path / "films", head)
    config = tiny_stage2(tmp_path, films, head)
    known = new_avatars(head, {"somebody": torch.ones(head.identities)}, config.avatar, config.seed)
    save_avatars(tmp_path / "known", known)
    _, learners = open_studio(replace(config, avatars=tmp_path / "known"), Runtime(config.runtime))
    for avatar in learners.avatars.values():
        rest = avatar.rest.clone()
        assert not torch.allclose(rest, known["somebody"].rest)
        rest_on_own_face(avatar, head)
        assert torch.equal(avatar.rest, rest)
