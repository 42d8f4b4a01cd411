"""Tracker errors: each kind changes what it should, by as much as configured, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from phone_strings import ORDINARY, SILENT, TALK, said

from mango.data.synthetic.corruption import KINDS, Corruption, bilabial_closures, corrupt
from mango.data.synthetic.lips import LipOpening
from mango.data.synthetic.motion import true_motion
from mango.head.model import load_head

PARTS = ("expr", "jaw_pose", "neck_pose", "eyes_pose", "shape")
CHANGES = {
    "amplitude": {"expr", "jaw_pose"}, "smoothing": {"expr", "jaw_pose", "neck_pose"}, "closures": {"expr", "jaw_pose"},
    "offset": {"expr", "jaw_pose"}, "jitter": {"expr", "jaw_pose"},
    "pose": {"neck_pose", "eyes_pose"},
    "eyelids": {"expr"}, "identity": {"shape"},
}  # fmt: skip


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def clip(head):
    return true_motion(head, None, said(TALK + " _ " + TALK, 8.0), said(SILENT, 8.0), "anna", 3, shape=torch.zeros(head.identities))


def test_off_means_untouched(head, clip):
    same = corrupt(clip, head, Corruption().only(), 1)
    for part in (*PARTS, "rotation", "translation"):
        torch.testing.assert_close(getattr(same, part), getattr(clip, part), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_its_parts_and_nothing_else(head, clip, kind):
    labels = corrupt(clip, head, Corruption().only(kind), 1)
    changed = {part for part in PARTS if (getattr(labels, part) - getattr(clip, part)).abs().max() > 1e-4}
    assert changed == CHANGES[kind]


def test_switching_one_kind_off_leaves_the_others_draws(head, clip):
    """Kinds that share a random stream fail here."""
    whole, without = (corrupt(clip, head, c, 1) for c in (Corruption(), replace(Corruption(), jitter=0.0, closures=0.0)))
    assert torch.equal(whole.neck_pose, without.neck_pose)
    assert torch.equal(whole.shape, without.shape)


def test_amplitude_is_within_its_range_and_of_lips_and_jaw_only(head, clip):
    corruption = Corruption().only("amplitude")
    for seed in range(5):
        labels = corrupt(clip, head, corruption, seed)
        gain = (labels.jaw_pose[:, 0] @ clip.jaw_pose[:, 0]) / clip.jaw_pose[:, 0].square().sum()
        assert 0.60 <= gain <= 0.80
        names = np.array(head.expression_names)
        mouth, lids = np.flatnonzero(np.char.startswith(names, "mouth")), np.flatnonzero(np.char.startswith(names, "eyeBlink"))
        torch.testing.assert_close(labels.expr[:, mouth], gain * clip.expr[:, mouth], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(labels.expr[:, lids], clip.expr[:, lids])


def test_half_the_scale_is_half_the_loss(head, clip):
    full = corrupt(clip, head, Corruption().only("amplitude"), 1).jaw_pose - clip.jaw_pose
    half = corrupt(clip, head, replace(Corruption().only("amplitude"), amplitude=0.5), 1).jaw_pose - clip.jaw_pose
    torch.testing.assert_close(half, 0.5 * full, rtol=1e-4, atol=1e-6)


def test_smoothing_removes_fast_motion_and_keeps_the_mean(head, clip):
    labels = corrupt(clip, head, Corruption().only("smoothing"), 1)
    quick = torch.diff(clip.jaw_pose[:, 0], n=2).square().mean()
    assert torch.diff(labels.jaw_pose[:, 0], n=2).square().mean() < 0.1 * quick
    torch.testing.assert_close(labels.jaw_pose[:, 0].mean(), clip.jaw_pose[:, 0].mean(), rtol=0.02, atol=1e-3)


def test_about_two_thirds_of_the_closures_are_missed(head, clip):
    opening = LipOpening(head, clip.shape)
    found = bilabial_closures(clip, head)
    assert len(found) >= 8
    open_now = []
    for seed in range(8):
        labels = corrupt(clip, head, Corruption().only("closures"), seed)
        after = opening(labels.expr.double().numpy(), labels.jaw_pose[:, 0].double().numpy())
        open_now += [after[a : b + 1].min() > 0.0012 for a, b in found]
    assert 0.45 < np.mean(open_now) < 0.8


def test_offsets_are_static_and_partly_common(head, clip):
    moves = [corrupt(clip, head, Corruption().only("offset"), seed) for seed in range(30)]
    still = clip.expr.mean(0) > 0.1  # where no clamp at zero interferes
    shift = torch.stack([(m.expr - clip.expr) for m in moves])[..., still]
    assert shift.std(dim=1).max() < 0.02
    common = shift.mean(dim=(0, 1)).abs().mean()
    assert common > 0.3 * Corruption().common_offset


def test_pose_noise_is_about_one_degree(head, clip):
    noise = [corrupt(clip, head, Corruption().only("pose"), seed).neck_pose - clip.neck_pose for seed in range(6)]
    assert 0.8 < torch.rad2deg(torch.stack(noise)).square().mean().sqrt() < 1.3


def test_labels_err_as_trackers_do(head):
    """A prototype's labels that stage two corrected: lip error 3.1 to 3.4 mm, slope of lip opening .62 to .64."""
    clip = true_motion(head, None, said(ORDINARY + " _ " + ORDINARY, 7.0), said(SILENT, 7.0), "anna", 3)
    still = {"neck_pose": torch.zeros_like(clip.neck_pose), "shape": torch.zeros_like(clip.shape)}
    truth, errors, slopes = head.vertices(replace(clip, **still)), [], []
    for seed in range(4):
        labels = head.vertices(replace(corrupt(clip, head, Corruption(), seed), **still))
        errors.append(float(1000 * (labels - truth)[:, head.region("lips")].norm(dim=-1).amax(1).mean()))
        slopes.append(np.polyfit(head.lip_opening(truth), head.lip_opening(labels), 1)[0])
    assert 2.3 < np.mean(errors) < 4.0
    assert 0.5 < np.mean(slopes) < 0.75
