"""Avatars by file: ours and LAM's move as the clip says, and what is neither is refused in words."""

from copy import copy
from dataclasses import replace

import pytest
import torch

from mango.errors import InputError
from mango.head.arkit import ARKIT_NAMES, motion_from_arkit
from mango.head.model import load_head
from mango.inference.avatars import load_avatar
from mango.types import MotionClip
from renderer.head import HeadAvatar


def posed(head, neck=(0.0, 0.0, 0.0), **weights):
    """One frame of ARKit weights."""
    given = torch.zeros(1, len(ARKIT_NAMES))
    for name, weight in weights.items():
        given[0, ARKIT_NAMES.index(name)] = weight
    still = torch.zeros(1, 3)
    parts = {"rotation": still, "neck_pose": torch.tensor([neck]), "translation": still, "shape": torch.zeros(head.identities)}
    return MotionClip(**motion_from_arkit(head, given), **parts, head=head.digest, fps=25.0)


@pytest.fixture
def lam(samples, head):
    return load_avatar(samples / "lam_gaussian_heads" / "p2-1.zip", head)


@pytest.mark.samples
@pytest.mark.parametrize("shape", ["jawOpen", "eyeBlinkLeft", "eyeLookUpRight", "mouthSmileLeft"])
def test_a_lam_avatar_is_driven_by_the_heads_motion(head, lam, shape):
    """Whether the head has the shape as an expression or as a joint. Notices weights in another order, or jaw and gaze forgotten."""
    rest, moved = (lam.gaussians(posed(head, **weights)).means[0] for weights in ({}, {shape: 1.0}))
    morph = lam.lam.mesh.morphs[lam.lam.mesh.morph_names.index(shape)]
    torch.testing.assert_close(moved - rest, morph, atol=1e-5, rtol=1e-3)


@pytest.mark.samples
def test_a_lam_avatar_nods_with_the_neck(head, lam):
    """A positive turn about x looks down, as FLAME's does. Notices a neck pose that is dropped or inverted."""
    rest, nodding = (lam.gaussians(posed(head, neck)).means[0] for neck in ((0.0, 0.0, 0.0), (0.3, 0.0, 0.0)))
    nose = int(rest[:, 2].argmax())
    assert nodding[nose, 1] < rest[nose, 1] - 0.01


@pytest.mark.samples
def test_a_lam_avatar_moves_like_nobody_in_particular(lam):
    """Its shape is not in the head's terms. Seen red: the model was told of somebody with exactly the mean face."""
    assert lam.identity is None


@pytest.mark.samples
def test_what_drives_no_lam_avatar_is_refused(samples, head):
    other = copy(head)
    other.joint_expressions = {}
    with pytest.raises(InputError, match="ARKit's expressions"):
        load_avatar(samples / "lam_gaussian_heads" / "p2-1.zip", other)


def test_a_damaged_zip_is_refused(head, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match=r"expected an avatar file, found something else .*damaged"):
        load_avatar(tmp_path / "a.zip", head)


def test_a_bound_avatar_keeps_its_own_shape(head, avatars):
    """Notices the clip's shape moving the Gaussians away from the face that they were fitted to."""
    avatar = load_avatar(avatars[0], head)
    clip = posed(head, jawOpen=0.5)
    told = avatar.gaussians(replace(clip, shape=torch.full((head.identities,), 2.0)))
    assert torch.equal(told.means, avatar.gaussians(clip).means)
    assert not torch.equal(told.means, avatar.gaussians(posed(head)).means)


def test_an_avatar_of_another_mesh_is_refused(head, avatars, tmp_path):
    """Seen red: drawn, until an index was out of range."""
    avatar = HeadAvatar.load(avatars[0])
    avatar.triangles[0, 0] = len(head.template)
    avatar.save(tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="Gaussians on vertices that the head does not have"):
        load_avatar(tmp_path / "x.safetensors", head)


def test_folders_are_named_with_what_is_in_them(tmp_path, head):
    """Seen red: of a GaussianAvatars folder it was not said which file, of a folder of heads that it was none."""
    within = tmp_path / "point_cloud" / "iteration_600000" / "point_cloud.ply"
    with pytest.raises(InputError, match="found a folder; give"):
        load_avatar(tmp_path, head)
    within.parent.mkdir(parents=True)
    within.touch()
    with pytest.raises(InputError, match=f"found a folder with {within}"):
        load_avatar(tmp_path, head)
    with pytest.raises(InputError, match="expected a head file, found a folder"):
        load_head(tmp_path)
