"""Where a film cuts somebody off, the avatar fades out.

Faults planted, each seen red: rows and columns exchanged, sizes of Gaussians left out, edges that nobody touches taken for cuts, the
nearest picture instead of the middle one, opacities faded without colours, what is whole changed.
"""

from dataclasses import replace

import pytest
import torch
from tiny_films import SIZE, make_filmed_set, tiny_stage2

from mango.training.cut_edges import NOTHING, fade_at_cut_edges, room
from mango.training.runtime import Runtime
from mango.training.studio import open_studio
from renderer.types import Gaussians


def test_room_by_hand():
    """Depth 2, focal length 100: a metre is 50 pixels. The picture is 40 wide and 20 high, cut at its lower and right edges."""
    means = torch.tensor([[0.0, 0, 2], [0.3, 0, 2], [0, 0.16, 2], [0, 0.3, 2], [0, -0.18, 2], [0, 0, -2]])
    scales = torch.full((6, 3), 0.02)
    scales[2] = torch.tensor([0.01, 0.1, 0.01])
    gaussians = Gaussians(means, torch.zeros(6, 4), scales, torch.ones(6), torch.ones(6, 3))
    matte = torch.zeros(20, 40)
    matte[-1, 10:30] = 1
    matte[8:, -1] = 1
    camera, intrinsics = torch.eye(4), torch.tensor([[100.0, 0, 20], [0, 100, 10], [0, 0, 1]])
    #      10 to the bottom, less 1; right: 5, less 1; bottom: 2, less 5; beyond; top, which does not cut: 19 to the bottom, less 1; behind
    expected = torch.tensor([9 / 20, 4 / 20, -3 / 20, -1, 18 / 20, -1])
    torch.testing.assert_close(room(gaussians, camera, intrinsics, matte), expected)
    uncut = room(gaussians, camera, intrinsics, torch.zeros(20, 40))
    assert uncut.tolist() == [1, 1, 1, -1, 1, -1]


@pytest.fixture(scope="module")
def filmed(tmp_path_factory, head):
    return make_filmed_set(tmp_path_factory.mktemp("cut"), head)


def test_a_bust_fades_where_most_pictures_cut_it(filmed, head, tmp_path, monkeypatch):
    studio, learners = open_studio(
        tiny_stage2(tmp_path, filmed, head, people=("p0",)), Runtime(tiny_stage2(tmp_path, filmed, head).runtime)
    )
    avatar, as_filmed = learners.avatars["p0"], studio.lessons.at
    with torch.no_grad():
        avatar.albedo.mul_(6.0)  # 3: no picture shows that
        avatar.tints.fill_(0.5)
        avatar.fades.fill_(9.0)
        avatar.log_scales.sub_(1.0)
    before = {name: getattr(avatar, name).detach().clone() for name in ("opacity_logits", "albedo", "tints", "fades")}
    height = (head.template[avatar.triangles] * avatar.barycentrics[..., None]).sum(1)[:, 1]

    def left(lower_in_one_of: int, cut: bool = True):
        """Opacities when the lower part of the head is at the picture's edge or beyond, and in some pictures more of it."""

        def by_a_higher_camera(step):
            lesson = as_filmed(step)
            intrinsics, mattes = lesson.recorded.intrinsics.clone(), lesson.recorded.mattes.clone()
            intrinsics[:, 1, 2] += 3 * SIZE / 8 + (step % lower_in_one_of == 0) * SIZE / 8
            mattes[:, -1] = float(cut)
            return replace(lesson, recorded=replace(lesson.recorded, intrinsics=intrinsics, mattes=mattes))

        monkeypatch.setattr(studio.lessons, "at", by_a_higher_camera)
        for name, value in before.items():
            getattr(avatar, name).data.copy_(value)
        fade_at_cut_edges(studio, learners)
        opacities = avatar.opacity_logits.sigmoid().detach()
        whole = avatar.opacity_logits == before["opacity_logits"]
        assert torch.equal(avatar.albedo[whole], before["albedo"][whole]) and (avatar.albedo[~whole] == 1).all()
        for name in ("tints", "fades"):
            changes = getattr(avatar, name)
            assert torch.equal(changes[whole], before[name][whole]) and (changes[~whole] == 0).all(), "no expression brings them back"
        return opacities

    sometimes, always, never = left(4), left(1), left(10**9)
    full = before["opacity_logits"].sigmoid()
    assert (sometimes - never).abs().max() < 0.03, "what most pictures show whole stays (seen red: one in ten took half of a face)"
    gone, fading = never <= 2 * NOTHING, (never > 2 * NOTHING) & (never < 0.99 * full)
    assert 0.05 < gone.float().mean() < (always <= 2 * NOTHING).float().mean() < 0.6
    assert fading.sum() > 5 and height[gone].median() < height[fading].median() < height[never == full].median()
    uncut = left(10**9, cut=False)
    assert set((uncut <= 2 * NOTHING).tolist()) == {True, False} and ((uncut <= 2 * NOTHING) | (uncut == full)).all(), "none fades"
    assert (uncut <= 2 * NOTHING).sum() < gone.sum()
