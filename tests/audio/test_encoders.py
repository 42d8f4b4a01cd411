import hashlib
import json

import pytest
import torch
from tiny_models import tiny_encoder

from mango.audio.encoders import EncoderConfig, make_encoder
from mango.audio.reading import read_audio
from mango.data.synthetic.conversation import script
from mango.data.synthetic.speech import speak
from mango.errors import InputError


@pytest.fixture(scope="module")
def speech():
    return speak(script(1, 12.0), 1)["a"]


@pytest.fixture(scope="module")
def log_mel():
    return make_encoder(EncoderConfig())


@pytest.mark.parametrize("samples", [0, 100, 640, 1279, 64_000, 64_639])
def test_one_row_a_frame(log_mel, speech, samples):
    assert log_mel.encode(speech.audio[:samples]).shape == (samples // 640, log_mel.width)


def test_a_click_is_heard_in_its_own_frame(log_mel):
    """Notices features shifted in time: energy of a click lies in the hop that holds it, symmetrically."""
    for hop in (40, 41, 42, 43):
        audio = torch.zeros(64_000)
        audio[hop * 160 + 80] = 0.5
        rows = log_mel.power(audio).sum(dim=1)
        assert rows.argmax() == hop
        assert abs(rows[hop - 1] / rows[hop + 1] - 1) < 0.2


def test_blocks_make_no_difference(log_mel, speech, monkeypatch):
    """Planted once: blocks that begin a sample late."""
    whole = log_mel.encode(speech.audio)
    monkeypatch.setattr("mango.audio.encoders.BLOCK_FRAMES", 7)
    torch.testing.assert_close(log_mel.encode(speech.audio), whole)


def test_gain_does_not_matter(log_mel, speech):
    rows = log_mel.encode(speech.audio)
    for gain in (0.1, 0.5):
        torch.testing.assert_close(log_mel.encode(gain * speech.audio), rows, atol=2e-3, rtol=0)


def test_silence_is_one_constant(log_mel):
    clean = speak(script(1, 12.0), 1, clean=True)["a"]
    rows = log_mel.encode(clean.audio)
    silent = next(p for p in clean.phones if p.symbol == "sil" and p.end - p.start > 0.5)
    inside = rows[int(25 * silent.start) + 2 : int(25 * silent.end) - 2]
    assert (inside == -1).all()
    assert (log_mel.encode(torch.zeros(64_000)) == -1).all()


@pytest.mark.parametrize("silence", ["digital", "dithered"])
def test_padding_changes_little(log_mel, speech, silence):
    """Fault planted: with silence among the quietest tenth no noise is subtracted any more, from anybody's voice."""
    noise = 0.05 * speech.audio.square().mean().sqrt() * torch.randn(speech.audio.shape, generator=torch.Generator().manual_seed(0))
    audio = speech.audio + noise
    rows = log_mel.encode(audio)
    dither = (torch.rand(2, len(audio) // 3, generator=torch.Generator().manual_seed(1)).sum(0) - 1).round() / 2**15
    padded = log_mel.encode(torch.cat([audio, dither * (silence == "dithered")]))[: len(rows)]
    assert (padded - rows)[:-1].square().mean().sqrt() < 0.25 * rows.std(), "three times as much"


def test_noise_crosstalk_and_colour_change_little(log_mel):
    both = speak(script(1, 12.0), 1, clean=True)
    clean = both["a"].audio
    rows = log_mel.encode(clean)
    noise = 0.1 * 10 ** (-30 / 20) * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = log_mel.encode(clean + noise)
    quiet = both["a"].energy == 0
    assert (noisy[quiet] + 1).abs().mean() < 0.02, "steady noise is silence"
    dull = clean + 0.8 * torch.nn.functional.pad(clean, (1, 0))[:-1]  # a microphone that loses 20 dB at the top
    plain = torch.log10(log_mel.power(dull).clamp(min=1e-12)) - torch.log10(log_mel.power(clean).clamp(min=1e-12))
    loud = rows[both["a"].energy > 0.5]
    shift = (log_mel.encode(dull)[both["a"].energy > 0.5] - loud).abs().mean() * 48
    assert shift < 0.7 * 10 * (plain - plain.mean()).abs().mean(), "part of the microphone's colour is taken out"
    mere_noise = log_mel.encode(10 * noise)
    assert (mere_noise + 1).mean() < 0.05, "a track of mere noise is silence"


def test_phones_look_different(log_mel, speech):
    """The encoder keeps what matters: S has its energy high, M low, whatever the voice."""
    bands = log_mel.encode(speech.audio).reshape(-1, log_mel.mels)

    def mean(symbol):
        return torch.stack([bands[int(50 * (p.start + p.end))] for p in speech.phones if p.symbol == symbol]).mean(dim=0)

    assert mean("S")[30:].mean() > mean("S")[:10].mean() + 0.2
    assert mean("M")[:10].mean() > mean("M")[20:].mean() + 0.2


def test_digest_tells_configurations_apart():
    digests = {make_encoder(EncoderConfig(mels=mels)).digest for mels in (40, 64)}
    assert len(digests) == 2
    assert make_encoder(EncoderConfig()).digest == make_encoder(EncoderConfig()).digest


def test_listening_halves_of_real_exchanges_are_silent(log_mel, samples):
    folder = samples / "anytalker_dyadic_audio"
    turns = json.loads((folder / "turns_seconds.json").read_text())["interact_3.mp4"]
    rows = log_mel.encode(read_audio(folder / "interact_03_left.wav"))
    ((start, end),) = turns["left"]
    own, rest = rows[int(25 * start) : int(25 * end)], rows[int(25 * end) + 15 :]
    assert (own > -0.5).float().mean() > 0.5
    assert (rest == -1).float().mean() > 0.95


# ---- pretrained models: tiny random checkpoints, loaded the real way ---------------------------------------------------


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_pretrained_models_give_one_row_a_frame(tmp_path, kind, speech):
    encoder = make_encoder(EncoderConfig(kind, tiny_encoder(tmp_path / "model", kind)))
    assert encoder.width == 16
    for samples in (0, 640, 32_639):
        rows = encoder.encode(speech.audio[:samples])
        assert rows.shape == (samples // 640, 16)
        assert torch.isfinite(rows).all()
        assert not rows.requires_grad
    assert not any(p.requires_grad for p in encoder.model.parameters())


def test_layers_differ_and_are_checked(tmp_path, speech):
    path = tiny_encoder(tmp_path / "model", "wav2vec2")
    encoders = {layer: make_encoder(EncoderConfig("wav2vec2", path, (layer,))) for layer in (0, 2, 3, -1)}
    first, last = encoders[0].encode(speech.audio[:16_000]), encoders[-1].encode(speech.audio[:16_000])
    assert not torch.allclose(first, last)
    assert torch.equal(encoders[3].encode(speech.audio[:16_000]), last)
    assert encoders[3].digest == encoders[-1].digest != encoders[2].digest
    for wrong in (4, -5):
        with pytest.raises(InputError, match=rf"from -4 to 3 .*found {wrong};"):
            make_encoder(EncoderConfig("wav2vec2", path, (1, wrong)))
    with pytest.raises(InputError, match=r"different layers, found \[3, -1\], which is \[3, 3\]"):
        make_encoder(EncoderConfig("wav2vec2", path, (3, -1)))


def test_several_layers_lie_side_by_side(tmp_path, speech):
    """In the order asked for; none named is all of them. Planted once: layers interleaved feature by feature."""
    path = tiny_encoder(tmp_path / "model", "hubert")
    audio = speech.audio[:16_000]
    alone = [make_encoder(EncoderConfig("hubert", path, (layer,))).encode(audio) for layer in range(4)]
    two, every = (make_encoder(EncoderConfig("hubert", path, layers)) for layers in ((-1, 1), ()))
    assert (two.num_layers, two.width, every.num_layers, every.width) == (2, 32, 4, 64)
    assert torch.equal(two.encode(audio), torch.cat([alone[3], alone[1]], dim=1))
    assert torch.equal(every.encode(audio), torch.cat(alone, dim=1))
    assert every.digest == make_encoder(EncoderConfig("hubert", path, (0, 1, 2, 3))).digest
    assert len({two.digest, every.digest, make_encoder(EncoderConfig("hubert", path, (1, -1))).digest}) == 3


def test_rows_are_kept_in_half_precision_or_refused(tmp_path, speech):
    """Planted once: no look at what overflows, which would train on infinity."""
    path = tiny_encoder(tmp_path / "model", "wav2vec2")
    encoder = make_encoder(EncoderConfig("wav2vec2", path))
    assert encoder.encode(speech.audio[:16_000]).dtype == torch.float16
    encoder.model.encoder.layers[-1].final_layer_norm.weight.fill_(1e6)
    with pytest.raises(InputError, match=r"layers \[3\], sound from 0 s: expected features within 65504"):
        encoder.encode(speech.audio[:16_000])


def test_digest_follows_the_weights_not_the_place(tmp_path):
    here, there = tiny_encoder(tmp_path / "here", "wav2vec2"), tiny_encoder(tmp_path / "there", "wav2vec2")
    other = tiny_encoder(tmp_path / "other", "wav2vec2", seed=1)
    digest = {path: make_encoder(EncoderConfig("wav2vec2", path)).digest for path in (here, there, other)}
    assert digest[here] == digest[there] != digest[other]
    assert len(digest[here]) == len(hashlib.sha256().hexdigest())


def test_long_tracks_are_encoded_in_chunks_without_seams(tmp_path, speech, monkeypatch):
    from mango.audio import encoders

    encoder = make_encoder(EncoderConfig("wavlm", tiny_encoder(tmp_path / "model", "wavlm", feat_extract_norm="layer"), layers=(0,)))
    monkeypatch.setattr(encoders, "CHUNK_FRAMES", 10_000)
    whole = encoder.encode(speech.audio)
    monkeypatch.setattr(encoders, "CHUNK_FRAMES", 40)
    assert {len(part) for part in encoder.parts(speech.audio)} == {40, len(whole) % 40}
    chunked = encoder.encode(speech.audio)
    assert whole.shape == chunked.shape
    torch.testing.assert_close(chunked, whole, atol=1e-3, rtol=1e-3)


def test_missing_checkpoints_name_the_file(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"encoder\.path"):
        EncoderConfig("hubert")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty/config\.json"):
        make_encoder(EncoderConfig("hubert", str(tmp_path / "empty")))
    path = tiny_encoder(tmp_path / "model", "hubert")
    with pytest.raises(InputError, match=r"set encoder\.kind to hubert"):
        make_encoder(EncoderConfig("wavlm", path))
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model/model\.safetensors"):
        make_encoder(EncoderConfig("hubert", path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"model\.safetensors.*hf download nobody/nothing") as caught:
        make_encoder(EncoderConfig("hubert", "nobody/nothing"))
    assert "\n" not in str(caught.value)
