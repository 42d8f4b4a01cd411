"""Lips that the tracker holds open while nobody speaks are closed, and nothing else of the motion changes."""

import pytest
import torch
from tiny_models import tiny_run

from mango.audio.encoders import make_encoder
from mango.data.dialogues import DialogueSet
from mango.data.windows import Windows
from mango.head.closed_lips import lip_openings
from mango.training import studio
from mango.training.label_bank import LabelBank
from mango.training.rest import filled, lips_at_rest, lopsided, stilled
from mango.training.stage1 import load_motion_model
from mango.training.studio import silence

KEY = ("d0", "a")


@pytest.fixture(scope="module")
def clip(head):
    """Somebody who speaks in the second half, seen by a tracker that always opens the lips by some millimetres more."""
    random = torch.Generator().manual_seed(0)
    motion = torch.zeros(60, head.layout.width)
    motion[:, head.layout.where("expr")] = 0.2 + 0.02 * torch.randn(60, head.expressions, generator=random)
    motion[:, head.layout.where("neck_pose")] = 0.1 * torch.randn(60, 3, generator=random)
    motion[30:, head.layout.where("jaw_pose").start] = 0.15 * torch.rand(30, generator=random)
    motion[:, head.layout.where("jaw_pose").start] += 0.08
    return motion, torch.arange(60) < 30


@pytest.fixture(scope="module")
def rest(head, clip):
    """For motion in the head's units."""
    width = head.layout.width
    return lips_at_rest(head, torch.zeros(width), torch.ones(width), torch.cov(clip[0].T), of_the_head(head))


def of_the_head(head):
    held = torch.zeros(head.layout.width, dtype=torch.bool)
    held[head.layout.where("neck_pose")] = True
    return held


def without_pose(head, motion):
    still = motion.clone()
    still[:, head.layout.where("neck_pose")] = 0
    return still


def test_the_median_silent_frame_is_closed_by_one_offset(head, clip, rest):
    """Noticed: an offset by the mean over speech too, one that turns the head, another sign."""
    motion, silent = clip
    before = lip_openings(head, without_pose(head, motion[silent])).median()
    assert before > 1e-3
    closed = rest.closed(motion, silent)
    assert lip_openings(head, without_pose(head, closed[silent])).median().abs() < 0.3 * before  # to first order
    offset = closed - motion
    torch.testing.assert_close(offset, offset[:1].expand_as(offset))
    assert not offset[:, head.layout.where("neck_pose")].any()


def test_normalised_motion_is_closed_as_far(head, clip, rest):
    motion, silent = clip
    mean, std = motion.mean(0), motion.std(0) + 0.1
    closed = lips_at_rest(head, mean, std, torch.cov(motion.T), of_the_head(head)).closed((motion - mean) / std, silent)
    torch.testing.assert_close(closed * std + mean, rest.closed(motion, silent), rtol=0, atol=1e-4)


def test_the_offset_is_along_what_labels_do(head, rest):
    """A channel that labels never move closes no mouth."""
    jaw = head.layout.where("jaw_pose")
    assert rest.direction[jaw.start] != 0 and not rest.direction[jaw.start + 1 : jaw.stop].any()


def test_too_little_silence_says_nothing(clip, rest):
    motion, _ = clip
    assert torch.equal(rest.closed(motion, torch.arange(60) < 9), motion)


def test_a_pause_with_an_open_mouth_is_no_silence(head, clip):
    """Noticed: the indicator alone believed; frames that are not kept; a clip that hardly ever is silent judged by its mouth."""
    motion, silent = clip
    keep = torch.ones(60, dtype=torch.bool)
    said, breaths = (1 - silent.float()), (motion[:, head.layout.where("jaw_pose").start] < 0.16).float()
    assert torch.equal(silence(head, motion, said, keep), silent)
    assert torch.equal(silence(head, motion, said, torch.arange(60) >= 5), silent & (torch.arange(60) >= 5))
    opening = lip_openings(head, motion)
    found = silence(head, motion, breaths, keep)
    assert found.sum() == 20 and opening[found].max() < opening[~found].min(), "the third with the least opening"
    few = (torch.arange(60) != 59).float()
    assert torch.equal(silence(head, motion, few, keep), few < 0.5)


def test_frames_that_are_not_kept_take_the_nearest_kept_ones_place():
    motion, keep = torch.arange(12.0)[:, None] + 100, torch.tensor([0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 1, 0], dtype=torch.bool)
    motion[~keep] = 0.0  # as an untrusted frame is read
    assert filled(motion, keep)[:, 0].tolist() == [102, 102, 102, 103, 103, 103, 108, 108, 108, 108, 110, 110]
    assert torch.equal(filled(motion, torch.zeros(12, dtype=torch.bool)), motion)


def test_untrusted_frames_have_no_say_in_the_bank(head, tiny_set, tmp_path, monkeypatch):
    """Read as zeros, they were a way in which faces move, half of all rows where one person was filmed; and a step at either end."""
    tiny_run(tmp_path / "run", head)
    model, description, encoder = load_motion_model(tmp_path / "run", head=head)
    windows = Windows(DialogueSet.open(tiny_set), "train", make_encoder(encoder), head.layout, description.frames, description.context)
    asked = []
    monkeypatch.setattr(studio, "how_lips_rest", lambda head, motion, *others: asked.extend(motion))
    bank = studio.new_bank(head, windows, model, neutral=True)
    kept = {(held.id, side): held.keep[number] for held in windows.dialogues for number, side in enumerate("ab")}
    assert [len(rows) for rows in asked] == [int(keep.sum()) for keep in kept.values()] and not all(keep.all() for keep in kept.values())
    gap = next(key for key, keep in kept.items() if not keep.all())
    untrusted = int((~kept[gap]).nonzero()[0])
    near = (kept[gap].nonzero()[:, 0] - untrusted).abs().argmin()
    moving = ~bank.held  # lids are held still by what surrounds them
    torch.testing.assert_close(bank.labels[gap][untrusted, moving], bank.labels[gap][kept[gap]][near, moving])


def test_the_bank_stays_closed(head, clip, rest):
    """However far pictures and the model carry it. Noticed: labels closed once and a bank that drifts open."""
    motion, silent = clip
    width = head.layout.width
    bank = LabelBank({KEY: motion}, {KEY: silent}, torch.zeros(width, dtype=torch.bool), {KEY: torch.zeros(60, 3)}, rest)
    assert (rest.gap + bank.bank[KEY][silent] @ rest.opens).median().abs() < 1e-6
    bank.bank[KEY] += 0.02 * rest.direction
    assert (rest.gap + bank.bank[KEY][silent] @ rest.opens).median() > 1e-3
    bank.pin()
    assert (rest.gap + bank.bank[KEY][silent] @ rest.opens).median().abs() < 1e-6


def test_what_prefers_a_side_is_taken_away(head):
    """Noticed: the whole asymmetry instead of half of the difference, a jaw that stays aside, symmetric parts that go too."""
    names, layout = list(head.expression_names), head.layout
    resting = torch.zeros(3, layout.width)
    left, right = (layout.where("expr").start + names.index(f"mouthSmile{side}") for side in ("Left", "Right"))
    resting[:, left], resting[:, right] = 0.3, 0.1
    jaw = layout.where("jaw_pose")
    resting[:, jaw] = torch.tensor([0.05, 0.02, -0.01])
    resting[:, layout.where("neck_pose")] = 0.2
    off = lopsided(head, resting)
    expected = torch.zeros(layout.width)
    expected[left], expected[right], expected[jaw.start + 1], expected[jaw.start + 2] = 0.1, -0.1, 0.02, -0.01
    torch.testing.assert_close(off, expected, rtol=0, atol=1e-3)


def test_open_eyes_are_still_and_blinks_stay():
    """Noticed: the mean for the median, a size that noise does not set, blinks cored with the rest."""
    random = torch.Generator().manual_seed(1)
    clean = torch.full((400, 2), 0.1)
    clean[100:106] = torch.tensor([0.3, 0.6, 0.9, 0.9, 0.6, 0.3])[:, None]
    clean[:, 1] *= 10  # other units
    noise = torch.tensor([0.01, 0.1]) * torch.randn(400, 2, generator=random)
    found = stilled(clean + noise)
    open_eyes = torch.ones(400, dtype=torch.bool)
    open_eyes[98:108] = False
    assert ((found - clean)[open_eyes].std(0) < 0.2 * noise.std(0)).all()
    torch.testing.assert_close(found[101:105], (clean + noise)[101:105], rtol=0.02, atol=0.0)
    assert torch.equal(stilled(clean[:2]), clean[:2])
    torch.testing.assert_close(stilled(clean), clean)  # nothing trembles: nothing is taken out
