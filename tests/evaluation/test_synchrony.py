"""Sound against motion on signals whose relation was put there."""

import math

import pytest
import torch

from mango.evaluation import synchrony as s


def bursts(seed, frames=1000):
    """Energy of somebody who talks in turns of about a second."""
    noise = torch.randn(frames + 24, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return noise.unfold(0, 25, 1).mean(1).clamp_min(0)


def test_speech_energy_of_a_known_sound():
    """A sine of amplitude 0.5 has root mean square 0.5 / sqrt 2; the frame after it is silent, and what is no whole frame is dropped."""
    sine = 0.5 * torch.sin(2 * math.pi * 400 * torch.arange(640) / 16_000)
    energy = s.speech_energy(torch.cat([sine, torch.zeros(640 + 100)]))
    assert energy.tolist() == pytest.approx([0.5 / math.sqrt(2), 0])


def test_nod_energy_of_a_known_nod():
    """Pitch that rises by 0.01 rad a frame has 0.25 rad/s everywhere; yaw and roll are no nods."""
    neck = torch.zeros(50, 3)
    neck[:, 0] = 0.01 * torch.arange(50)
    assert torch.allclose(s.nod_energy(neck), torch.full((50,), 0.25**2, dtype=torch.float64))
    assert s.nod_energy(neck[:, [1, 0, 2]]).abs().max() == 0


def test_correlation_by_hand():
    assert s.correlation(torch.tensor([0.0, 1, 2]), torch.tensor([0.0, 2, 1])) == pytest.approx(0.5)
    assert math.isnan(s.correlation(torch.ones(3), torch.tensor([0.0, 2, 1])))


def test_own_minus_partner_notices_exchanged_voices():
    own, partner = bursts(1), bursts(2)
    mouth = own + 0.1 * bursts(3)
    right = s.own_minus_partner(mouth, own=own, partner=partner)
    assert right > 0.8 and s.own_minus_partner(mouth, own=partner, partner=own) == pytest.approx(-right)
    assert s.own_minus_partner(mouth, own=own, partner=torch.zeros(1000)) == pytest.approx(s.correlation(mouth, own))
    assert math.isnan(s.own_minus_partner(torch.ones(1000), own=own, partner=partner))


@pytest.mark.parametrize("frames", [-50, -1, 0, 1, 20, 50])
def test_lag_is_found_to_the_frame_and_has_the_right_sign(frames):
    """A motion that is late has a positive lag. Notices a sign, an end off by one, and one frame of shift."""
    sound = bursts(1)
    found = s.best_lag(sound.roll(frames), sound)
    assert found.lag == frames / 25 and found.correlation > 0.99


def test_lags_beyond_two_seconds_are_not_looked_at():
    sound = bursts(1)
    assert s.best_lag(sound.roll(150), sound).correlation < 0.7
    assert math.isnan(s.best_lag(sound[:99], sound[:99]).correlation)


def test_above_chance_is_nothing_for_strangers_and_something_for_listeners():
    """The best of many lags is positive even of unrelated signals; less its value for rotated sound it is not."""
    sound = bursts(1)
    strangers = [bursts(seed) for seed in range(10, 22)]
    assert sum(s.best_lag(one, sound).correlation for one in strangers) / 12 > 0.05
    assert abs(sum(s.above_chance(one, sound) for one in strangers) / 12) < 0.05
    assert s.above_chance(sound.roll(10), sound) > 0.7
    assert math.isnan(s.above_chance(sound[:399], sound[:399]))


def test_frames_that_do_not_count_are_not_listened_for():
    """Seen red: one jump of a tracker outweighs all nods of a clip; lags over frames that are not kept; nods beside them."""
    random = torch.Generator().manual_seed(0)
    voice = torch.rand(600, generator=random, dtype=torch.float64).unfold(0, 25, 1).mean(1)
    pitch = 0.02 * (voice.roll(10).sqrt() * torch.where(torch.arange(len(voice)) % 2 == 0, 1.0, -1.0)).cumsum(0)
    pose = torch.stack([pitch, *torch.zeros(2, len(voice))], dim=1)
    keep = torch.ones(len(voice), dtype=torch.bool)
    keep[200:205] = False
    jumping = torch.where(keep[:, None], pose, 9.0)
    sure = s.surely_nodding(keep)
    assert int((~sure).sum()) == 5 + 1 + 2 * 4, "velocities into and out of them, and a window about each"
    right, wrong = (s.best_lag(s.nod_energy(motion), voice, sure) for motion in (pose, jumping))
    assert right == wrong and right.lag == 0.4 and right.correlation > 0.8
    assert s.best_lag(s.nod_energy(jumping), voice).correlation < 0.5
    assert s.above_chance(s.nod_energy(pose), voice, sure) == s.above_chance(s.nod_energy(jumping), voice, sure)
