"""Stage one on layers of a speech model. Faults noticed: a mix that no gradient reaches, noise that averages away over layers, features of
another speech model than the one learnt from, runs from before there were several layers that no longer load."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from tiny_models import tiny_encoder, tiny_run
from tiny_training import tiny_yaml, train_here

from mango.audio.encoders import EncoderConfig, make_encoder
from mango.data.dialogues import DialogueSet
from mango.data.windows import Windows
from mango.diffusion.objective import DiffusionConfig, schedule
from mango.errors import InputError
from mango.inference.generation import GenerationConfig
from mango.inference.recordings import generate_clips
from mango.training.checkpoints import read_tensors
from mango.training.stage1 import NO_NOISE, load_motion_model, one_shot_x0, random_draws


@pytest.fixture(scope="module")
def speech_model(tmp_path_factory):
    return tmp_path_factory.mktemp("speech") / "wavlm"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_set, speech_model):
    folder = tmp_path_factory.mktemp("mixed")
    tiny_encoder(speech_model, "wavlm")
    words = ["--encoder.kind", "wavlm", "--encoder.path", str(speech_model), "--encoder.layers", "1", "-1"]
    assert train_here(tiny_yaml(folder, tiny_set), *words) == 0
    return folder / "run"


def test_the_mix_is_learnt_kept_and_used(trained, head):
    weights = read_tensors(trained / "checkpoints/last/motion/model.safetensors")
    assert weights["stem.mix.weights"].abs().min() > 0 and weights["stem.mix.scale"] != 1
    model, description, config = load_motion_model(trained, head=head)
    assert (description.voice_layers, description.voice_width, config.layers) == (2, 32, (1, -1))
    voices, config = torch.randn(2, 40 * 640), GenerationConfig(steps=2)
    clips = generate_clips(model, description, make_encoder(description.encoder), head, voices, config)
    assert all(len(clip) == 40 and clip.expr.isfinite().all() for clip in clips.values())


def test_noise_is_the_same_on_every_layer(trained, tiny_set, head):
    """Planted once: drawn for each layer alone, so that their mean had less of it the more layers there were."""
    model, description, config = load_motion_model(trained, head=head)
    windows = Windows(DialogueSet.open(tiny_set), "train", make_encoder(config), head.layout, description.frames, description.context)
    batch, curve = windows.batch(0, 1, 2), schedule(DiffusionConfig())
    draws = random_draws(batch, curve, replace(NO_NOISE, voice=1.0), description.context, (0,))
    heard = []
    model.listen = lambda voices, *_, listen=model.listen: heard.append(voices) or listen(voices, *_)
    one_shot_x0(model, batch, model.normalised(batch.motion), curve, draws)
    first, second = ((heard[0] - batch.voices) / model.voice_std).chunk(2, dim=-1)
    torch.testing.assert_close(first, second, atol=1e-3, rtol=1e-3)
    assert abs(float(first.std()) - 1) < 0.1


def test_a_regressor_learns_from_several_layers(tmp_path, tiny_set, speech_model):
    """Seen red: noise of one layer's width on the features of two."""
    tiny_encoder(speech_model, "wavlm")
    words = ["--encoder.kind", "wavlm", "--encoder.path", str(speech_model), "--encoder.layers", "1", "-1", "--model.kind", "regression"]
    assert train_here(tiny_yaml(tmp_path, tiny_set), *words, "--steps", "2") == 0


def test_another_speech_model_is_refused(head, tmp_path):
    """In the same folder, after training. Planted once: only the width compared."""
    voices, config = torch.randn(2, 20 * 640), GenerationConfig(steps=1)
    asked = EncoderConfig("hubert", tiny_encoder(tmp_path / "hubert", "hubert"), (0, 1))
    model, description, _ = load_motion_model(tiny_run(tmp_path / "run", head, encoder=asked), head=head)
    generate_clips(model, description, make_encoder(asked), head, voices, config)
    others = [replace(asked, layers=(0, 2)), replace(asked, layers=(0,)), EncoderConfig(mels=8)]
    tiny_encoder(tmp_path / "hubert", "hubert", seed=1)
    for other in (*others, asked):
        with pytest.raises(InputError, match=r"features the model learnt from .*put back the encoder's checkpoint"):
            generate_clips(model, description, make_encoder(other), head, voices, config)


def test_a_run_from_before_there_were_layers_loads(run_folder, head, tmp_path):
    """Its description says ``layer`` and knows no digest; the weights are the same."""
    shutil.copytree(run_folder, tmp_path / "run", symlinks=True)
    path = next((tmp_path / "run").rglob("description.json"))
    description = json.loads(path.read_text())
    del description["voice_layers"], description["encoder_digest"], description["encoder"]["layers"]
    description["encoder"]["layer"] = -1
    path.write_text(json.dumps(description))
    (old, described, encoder), (new, *_) = (load_motion_model(folder, head=head) for folder in (tmp_path / "run", run_folder))
    assert encoder == EncoderConfig(mels=8) and all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
    generate_clips(old, described, make_encoder(encoder), head, torch.randn(2, 20 * 640), GenerationConfig(steps=1))


def test_and_it_goes_on(tiny_set, tmp_path):
    """Planted once: a config.yaml that says ``layer`` refused."""
    config = tiny_yaml(tmp_path, tiny_set)
    assert train_here(config, "--steps", "1") == 0
    written = tmp_path / "run/config.yaml"
    assert "  layers:\n  - -1\n" in written.read_text()
    written.write_text(written.read_text().replace("  layers:\n  - -1\n", "  layer: -1\n"))
    assert train_here(config, "--steps", "2") == 0


def test_a_wrong_number_of_layers_is_refused(head, tmp_path):
    asked = EncoderConfig("hubert", tiny_encoder(tmp_path / "hubert", "hubert"), ())
    run = tiny_run(tmp_path / "run", head, encoder=asked)
    path = next(run.rglob("description.json"))
    path.write_text(path.read_text().replace('"voice_layers": 4', '"voice_layers": 2'))
    with pytest.raises(InputError, match="expected the weights of this model"):
        load_motion_model(run, head=head)


def test_going_on_from_another_encoder_says_so(uninterrupted, tiny_set, tmp_path):
    with pytest.raises(InputError, match=r"encoder\.mels, encoder_digest, voice_width"):
        train_here(tiny_yaml(tmp_path, tiny_set), "--start-from", str(uninterrupted), "--encoder.mels", "9")
