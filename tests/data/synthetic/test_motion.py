"""True motion: closures, silence, listening, determinism."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from phone_strings import SILENT, TALK, Said, said

from mango.data.synthetic import behaviour
from mango.data.synthetic.lips import LipOpening
from mango.data.synthetic.motion import JAW_LIMIT, frame_seconds, style_of, true_motion
from mango.data.synthetic.visemes import closures
from mango.head.model import load_head
from mango.types import Phone


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def talking(head):
    own = said(TALK, 5.0)
    return own, true_motion(head, None, own, said(SILENT, 5.0), "anna", 3)


def gaps_mm(head, clip):
    return 1000 * LipOpening(head, clip.shape)(clip.expr.double().numpy(), clip.jaw_pose[:, 0].double().numpy())


def test_lip_opening_from_few_vertices_is_the_heads(head, talking):
    _, clip = talking
    person = head.with_shape(clip.shape)
    still = torch.zeros_like(clip.neck_pose)
    whole = person.vertices(clip.expr, still, clip.jaw_pose, torch.zeros_like(clip.eyes_pose))
    np.testing.assert_allclose(gaps_mm(head, clip), 1000 * head.lip_opening(whole).numpy(), atol=0.01)


def test_closures_reach_their_gap_at_the_nearest_frame(head, talking):
    """Fault it notices: a closure that stops 0.2 mm short (planted)."""
    own, clip = talking
    gap, seconds = gaps_mm(head, clip), frame_seconds(len(clip))
    for closure in closures(own.phones):
        reached = gap[np.argmin(np.abs(seconds - closure.centre))]
        assert reached == pytest.approx(1000 * closure.gap, abs=0.05)
    vowels = [gap[np.argmin(np.abs(seconds - 0.5 * (p.start + p.end)))] for p in own.phones if p.symbol in ("AA", "AE")]
    assert min(vowels) > 4.0


def test_silent_lips_are_closed_and_do_not_overlap(head, talking):
    own, clip = talking
    gap, seconds = gaps_mm(head, clip), frame_seconds(len(clip))
    spoken = behaviour.phrases(own.phones)
    silent = np.array([all(t < p.start - 0.2 or t > p.end + 0.2 for p in spoken) for t in seconds])
    assert silent.sum() > 30
    assert np.abs(gap[silent]).max() < 0.1
    assert gap.min() > -0.1


def test_motion_stays_in_its_ranges_and_speeds(talking):
    _, clip = talking
    jaw = clip.jaw_pose[:, 0]
    assert jaw.min() >= 0 and 0.08 < jaw.max() < JAW_LIMIT
    assert clip.expr.min() >= 0 and clip.expr.max() <= 1
    assert torch.rad2deg(clip.neck_pose).abs().max() < 30
    assert clip.eyes_pose.abs().max() <= 0.42
    assert (torch.diff(jaw) * 25).abs().max() < 6.0  # radians a second
    assert (torch.diff(torch.rad2deg(clip.neck_pose), dim=0) * 25).abs().max() < 120


def test_louder_and_stressed_opens_wider(head):
    def widest(own):
        return true_motion(head, None, own, said(SILENT, 2.0), "anna", 3).jaw_pose[:, 0].max()

    plain = said("T EH T EH T", 2.0)
    stressed = Said(plain.audio, tuple(Phone(p.symbol, p.start, p.end, 1.0) for p in plain.phones))
    assert widest(stressed) > 1.1 * widest(plain)


def test_listener_nods_lag_the_partners_phrase_ends(head):
    """Nods that start at the phrase end itself, or before, fail here; so does a listener who never nods."""
    partner = said(" _ ".join(["S AA T IY T AA N IY L AA T"] * 9), 14.0, start=0.3)
    ends = [phrase.end for phrase in behaviour.phrases(partner.phones)]
    seconds = frame_seconds(14 * 25)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        for at, size in behaviour.listener_nods(rng, behaviour.phrases(partner.phones), ()):
            lag = min((at - end for end in ends if end <= at), default=None)
            assert lag is not None and 0.2 <= lag <= 0.4
            assert size > 0.05
    with_nods = true_motion(head, None, said(SILENT, 14.0), partner, "anna", 3).neck_pose[:, 0].numpy()
    moved = np.abs(np.diff(with_nods, append=with_nods[-1]))
    early = np.mean([moved[(seconds > end - 0.25) & (seconds < end + 0.1)].mean() for end in ends])
    late = np.mean([moved[(seconds > end + 0.3) & (seconds < end + 0.9)].mean() for end in ends])
    assert late > 3 * early


def test_a_listener_who_takes_the_turn_does_not_nod():
    partner, own = (behaviour.Phrase(0.0, 2.0),), (behaviour.Phrase(2.2, 5.0),)
    assert behaviour.listener_nods(np.random.default_rng(0), partner, own) == ()


def test_backchannels_and_turns_are_told_apart():
    partner = (behaviour.Phrase(0.0, 3.0), behaviour.Phrase(3.4, 6.0))
    own = (behaviour.Phrase(1.0, 1.4), behaviour.Phrase(6.2, 8.0), behaviour.Phrase(8.4, 9.0))
    assert behaviour.backchannels(own, partner) == (own[0],)
    assert behaviour.turns(own, partner) == (behaviour.Phrase(6.2, 9.0),)


def test_blinks_keep_their_distance_and_follow_turn_ends():
    ends = [2.0, 4.0, 6.0, 8.0]
    times = [behaviour.blink_times(np.random.default_rng(seed), 10.0, 15.0, ends) for seed in range(40)]
    assert all(np.diff(at).min(initial=9) > 0.4 for at in times)
    near = np.mean([any(abs(t - end) < 0.2 for t in at) for at in times for end in ends])
    elsewhere = np.mean([any(abs(t - end + 1.0) < 0.2 for t in at) for at in times for end in ends])
    assert near > 0.55 and elsewhere < 0.3


def test_motion_is_a_function_of_seed_and_person(head, talking):
    own, clip = talking
    again = true_motion(head, None, own, said(SILENT, 5.0), "anna", 3)
    assert all(torch.equal(getattr(clip, f.name), getattr(again, f.name)) for f in fields(clip) if f.name not in ("head", "fps"))
    other = true_motion(head, None, own, said(SILENT, 5.0), "anna", 4)
    assert not torch.equal(other.neck_pose, clip.neck_pose)
    assert style_of("anna") == style_of("anna") != style_of("bert")


def test_two_persons_say_the_same_differently(head, talking):
    own, clip = talking
    bert = true_motion(head, None, own, said(SILENT, 5.0), "bert", 3)
    assert (bert.jaw_pose - clip.jaw_pose).abs().max() > 0.01
