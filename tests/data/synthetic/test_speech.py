import numpy as np
import pytest
import torch

from mango.data.phones import VOWELS
from mango.data.synthetic.conversation import script
from mango.data.synthetic.recording import recorded
from mango.data.synthetic.speech import pitch, speak, voice


@pytest.fixture(scope="module")
def conversation():
    return script(2, 15.0)


@pytest.fixture(scope="module")
def clean(conversation):
    return speak(conversation, 2, clean=True)


@pytest.mark.parametrize("seconds", [4.0, 7.13, 20.0])
def test_every_track_covers_exactly_the_whole_frames(seconds):
    for speech in speak(script(0, seconds), 0).values():
        frames = int(seconds * 25)
        assert speech.audio.shape == (frames * 640,)
        assert speech.f0.shape == speech.energy.shape == speech.speaking.shape == (frames,)
        assert speech.phones[0].start == 0
        assert speech.phones[-1].end == pytest.approx(frames / 25)
        assert all(a.end == pytest.approx(b.start, abs=1e-6) for a, b in zip(speech.phones, speech.phones[1:], strict=False))
        assert all(a.end <= b.start for a, b in zip(speech.phrases, speech.phrases[1:], strict=False))
        assert speech.audio.abs().max() <= 1


def test_speech_is_a_function_of_its_seed(conversation):
    first, again, other = speak(conversation, 2), speak(conversation, 2), speak(conversation, 3)
    assert torch.equal(first["a"].audio, again["a"].audio)
    assert first["b"].phones == again["b"].phones
    assert not torch.equal(first["a"].audio, other["a"].audio)


def test_sound_is_where_the_phones_are(clean):
    """Of each person's own track: notices exchanged tracks and shifted times."""
    for speech in clean.values():
        level = speech.audio.reshape(-1, 160).square().mean(dim=1).sqrt()  # 10 ms
        loud = torch.stack([level[int(50 * (p.start + p.end))] for p in speech.phones if p.symbol in VOWELS])
        still = torch.cat([level[int(100 * p.start) + 4 : int(100 * p.end) - 2] for p in speech.phones if p.symbol == "sil"])
        assert (loud > 0.015).float().mean() > 0.95
        assert (still < 1e-3).float().mean() > 0.95


def test_energy_and_pitch_follow_the_voice(clean):
    for speech in clean.values():
        assert speech.energy[speech.speaking == 0].mean() < 0.02
        assert 0.2 < speech.energy[speech.speaking == 1].mean() < 1.5
        voiced = speech.f0 > 0
        assert voiced[speech.speaking == 1].float().mean() > 0.5
        assert not voiced[speech.energy == 0].any()
        assert ((speech.f0[voiced] > 50) & (speech.f0[voiced] < 600)).all()


def test_words_and_phrases_are_on_the_clock(conversation, clean):
    said = {person: [phrase.text for turn in conversation.turns for phrase in turn.phrases if turn.person == person] for person in "ab"}
    for person, speech in clean.items():
        own = [phrase for phrase in speech.phrases if not phrase.backchannel]
        assert own
        assert [phrase.text for phrase in own] == said[person][: len(own)]
        for phrase in speech.phrases:
            words = [w for w in speech.words if phrase.start - 1e-6 <= w.start < phrase.end]
            assert " ".join(word.text for word in words) == phrase.text
            assert words[-1].end == pytest.approx(phrase.end)


def test_people_mostly_take_turns_and_sometimes_overlap():
    both, one = 0.0, 0.0
    for seed in range(4):
        speech = speak(script(seed, 20.0), seed, clean=True)
        a, b = speech["a"].speaking, speech["b"].speaking
        both += float((a * b).mean()) / 4
        one += float(((a + b) > 0).float().mean()) / 4
    assert 0.01 < both < 0.2
    assert one > 0.7


def test_voices_belong_to_people(conversation):
    low, high = (min((voice(k) for k in range(40)), key=lambda v, s=sign: s * v.f0_hz) for sign in (1, -1))
    speech = speak(conversation, 2, voices={"a": low, "b": high})
    f0 = {person: float(s.f0[s.f0 > 0].mean()) for person, s in speech.items()}
    assert abs(f0["a"] / low.f0_hz - 1) < 0.25
    assert abs(f0["b"] / high.f0_hz - 1) < 0.25
    assert voice(3) == voice(3) != voice(4)


def test_recordings_differ_in_level_noise_and_crosstalk(clean):
    voices = {person: speech.audio.numpy() for person, speech in clean.items()}
    tracks = [recorded(voices, seed)["a"] for seed in range(6)]
    levels = [np.sqrt(np.mean(track**2)) for track in tracks]
    assert max(levels) > 3 * min(levels)
    assert all(track[-800:].std() > 0 for track in tracks), "no microphone is without noise"


def test_pitch_is_found_in_sound_that_does_not_tell(clean):
    """The formant engine knows its pitch: what is measured on its sound must agree."""
    speech = clean["a"]
    measured = pitch(speech.audio.numpy()).reshape(-1, 40)
    frames = (measured > 0).all(axis=1) & (speech.f0.numpy() > 0)
    assert frames.sum() > 50
    ratio = measured.mean(axis=1)[frames] / speech.f0.numpy()[frames]
    assert np.median(np.abs(ratio - 1)) < 0.03
    assert (np.abs(ratio - 1) < 0.1).mean() > 0.85
