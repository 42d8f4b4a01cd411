import json

import pytest
import torch

from mango.audio.activity import hop_levels_db, speaking_indicator
from mango.audio.reading import read_audio
from mango.data.synthetic.conversation import script
from mango.data.synthetic.speech import speak


@pytest.fixture(scope="module")
def dialogue():
    return speak(script(5, 20.0), 5)


def agreement(left, right):
    return float((left == right).float().mean())


def test_synthetic_turns_are_found():
    shares = [agreement(s.speaking, speaking_indicator(s.audio)) for seed in range(4) for s in speak(script(seed, 20.0), seed).values()]
    assert sum(shares) / len(shares) > 0.94, shares
    assert min(shares) > 0.85, shares


def test_real_turns_are_found(samples):
    """Hand-made turn times of 14 exchanges; those of items 2 and 14 leave laughs and short replies out."""
    folder = samples / "anytalker_dyadic_audio"
    shares = {}
    for name, sides in json.loads((folder / "turns_seconds.json").read_text()).items():
        number = int(name.removeprefix("interact_").removesuffix(".mp4"))
        for side, turns in sides.items():
            path = folder / f"interact_{number:02d}_{side}.wav"
            if not path.exists():
                continue
            found = speaking_indicator(read_audio(path))
            middle = (torch.arange(len(found)) + 0.5) / 25
            truth = sum(((middle >= start) & (middle < end)).float() for start, end in turns) if turns else torch.zeros_like(middle)
            shares[path.name] = agreement(found, truth)
    assert len(shares) >= 28
    print(f"mean agreement {sum(shares.values()) / len(shares):.3f}, worst {min(shares.items(), key=lambda item: item[1])}")
    assert sum(shares.values()) / len(shares) > 0.95, shares


def test_closures_inside_a_phrase_do_not_break_it(dialogue):
    """Without hangover a phrase falls into its syllables: twice as many runs as phrases."""
    runs = phrases = 0
    for speech in dialogue.values():
        indicator = speaking_indicator(speech.audio)
        runs += int((indicator.diff() > 0).sum())
        phrases += len(speech.phrases)
    assert runs <= 1.2 * phrases


@pytest.mark.parametrize("gain", [0.03, 0.3])
def test_gain_changes_nothing(dialogue, gain):
    audio = dialogue["a"].audio
    assert agreement(speaking_indicator(audio), speaking_indicator(gain * audio)) == 1


def test_steady_noise_quiet_crosstalk_and_clicks_are_not_speech():
    clean = speak(script(5, 20.0), 5, clean=True)
    own, other = clean["a"], clean["b"]
    noise = 0.1 * 10 ** (-25 / 20) * torch.randn(own.audio.shape, generator=torch.Generator().manual_seed(0))
    click = torch.zeros_like(own.audio)
    silent = next(p for p in own.phones if p.symbol == "sil" and p.end - p.start > 1.5)
    click[int((silent.start + 0.7) * 16_000)] = 0.9
    heard = speaking_indicator(own.audio + noise + 0.03 * other.audio + click)
    assert agreement(heard, own.speaking) > 0.93


@pytest.mark.parametrize("silence", ["padded", "dithered", "gated"])
def test_digital_silence_does_not_hide_the_noise_that_is_spoken_in(dialogue, silence):
    """Fault planted: silence counted among the quietest tenth, so that whoever spoke in noise 20 dB below spoke all the time."""
    for track in dialogue.values():
        noise = 0.1 * 10 ** (-20 / 20) * torch.randn(track.audio.shape, generator=torch.Generator().manual_seed(0))
        audio = track.audio + noise * track.audio.square().mean().sqrt() / 0.1 * 2
        alone = speaking_indicator(audio)
        assert 0.1 < alone.mean() < 0.9
        if silence == "padded":
            changed = torch.nn.functional.pad(audio, (0, len(audio) // 3))
        elif silence == "dithered":
            dither = torch.rand(2, len(audio) // 3, generator=torch.Generator().manual_seed(1)).sum(0) - 1
            changed = torch.cat([audio, (dither.round() / 2**15)])
        else:
            changed = audio * (alone.repeat_interleave(640) > 0)  # a gate that opens for speech alone
        assert agreement(speaking_indicator(changed)[: len(alone)], alone) > 0.97


def test_behind_a_gate_quiet_speech_is_no_background():
    """Fault planted: the quietest tenth of what a gate lets through, in which there is hardly a pause."""
    track = speak(script(1, 20.0), 1)["b"].audio
    alone = speaking_indicator(track)
    assert agreement(speaking_indicator(track * (alone.repeat_interleave(640) > 0)), alone) > 0.99


@pytest.mark.parametrize(("seconds", "pieces"), [(20, 1), (60, 3), (300, 6)])
def test_a_listener_of_few_words_speaks_them(seconds, pieces):
    """Seen red: loud speech was what a twentieth of the track reaches, so that who spoke less did not speak at all."""
    said = speak(script(5, 20.0), 5, clean=True)["a"]
    loud = said.audio.unfold(0, 9_600, 160).square().mean(1).argmax() * 160  # the loudest 0.6 s
    piece = said.audio[loud : loud + 9_600]
    audio = 1e-3 * torch.randn(seconds * 16_000, generator=torch.Generator().manual_seed(0))
    true = torch.zeros(seconds * 25)
    for k in range(pieces):
        first = (2 * k + 1) * seconds * 25 // (2 * pieces)
        audio[first * 640 : first * 640 + 9_600] += piece
        true[first : first + 15] = 1
    found = speaking_indicator(audio)
    assert found[true > 0].mean() > 0.8 and found.sum() < 2.5 * true.sum()


def test_tracks_without_speech_are_all_zero():
    quiet = torch.randn(64_000, generator=torch.Generator().manual_seed(0))
    for audio in (torch.zeros(64_000), 1.5e-4 * quiet, 0.05 * quiet, torch.zeros(100)):
        indicator = speaking_indicator(audio)
        assert indicator.shape == (len(audio) // 640,)
        assert indicator.sum() == 0


def test_values_are_zero_and_one_one_a_frame(dialogue):
    indicator = speaking_indicator(dialogue["b"].audio[:-100])
    assert indicator.shape == (499,)
    assert set(indicator.unique().tolist()) == {0.0, 1.0}


def test_blocks_make_no_difference(monkeypatch):
    """Planted once: blocks without the 4 ms around them that the moving average sees."""
    audio = torch.randn(30 * 640, generator=torch.Generator().manual_seed(0)).cumsum(0) / 50
    whole = hop_levels_db(audio)
    monkeypatch.setattr("mango.audio.activity.BLOCK_SAMPLES", 7 * 640)
    assert torch.equal(hop_levels_db(audio), whole)
