"""The commands do what they say, and say it at once."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_models import tiny_encoder, tiny_run, tiny_voice

from mango.audio.encoders import EncoderConfig
from mango.cli import COMMANDS, main, overview
from mango.data.motion_files import load_motion
from mango.data.video import VideoFrames
from mango.errors import InputError
from mango.head.model import load_head
from mango.inference.generation import GenerationConfig
from mango.inference.recordings import ARRIVING, generate_from_files


def run(*words):
    return main([str(word) for word in words])


def test_help_is_one_line_per_command_and_fast():
    """Notices a heavy import at the top: torch alone takes longer."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "mango.cli", "--help"], capture_output=True, text=True, check=True)
    assert time.perf_counter() - begun < 5  # a loaded machine; in itself it takes a twentieth of a second
    assert not any(name in done.stderr for name in ("torch", "numpy", "tyro"))
    for name in COMMANDS:
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"  {name} ")]
        assert len(line) < 120
    assert {name.split()[0] for name in COMMANDS} == {
        "demo",
        "data",
        "generate",
        "render",
        "finetune",
        "evaluate",
        "doctor",
        "export",
        "head",
        "track",
        "assets",
    }


def test_help_of_a_group(capsys):
    for words in (["data"], ["data", "--help"]):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert "data validate" in out and "render" not in out
    assert main([]) == 0 and capsys.readouterr().out.strip() == overview().strip()


@pytest.mark.parametrize(
    "name",
    [
        "generate",
        "render",
        "evaluate",
        "doctor",
        "data validate",
        "data pack",
        "data import",
        "data inspect",
        "export",
        "head convert",
        "head inspect",
        "track",
        "assets get",
    ],
)
def test_every_option_is_explained(name, capsys):
    with pytest.raises(SystemExit) as left:
        main([*name.split(), "--help"])
    assert left.value.code == 0 and COMMANDS[name].summary[1:20] in capsys.readouterr().out


def test_generate_and_render(avatars, run_folder, tmp_path, capsys):
    """The whole path on other rates and channel counts: motion, sound and video of the same length."""
    own, partner = tiny_voice(tmp_path / "o.wav", 1.3, rate=44_100, channels=2), tiny_voice(tmp_path / "p.flac", 1.3, seed=1, rate=8000)
    who = [word for avatar in avatars for word in ("--avatar", avatar)]
    out = tmp_path / "deep" / "out"
    assert run("generate", "--own", own, "--partner", partner, "--checkpoint", run_folder, "--out", out, "--steps", "2", *who) == 0
    assert {file.name for file in out.iterdir()} == {
        *("a.motion.npz", "a.motion.json", "b.motion.npz", "b.motion.json", "a.wav", "b.wav", "generation.json")
    }
    clips = [load_motion(out / f"{person}.motion.npz") for person in "ab"]
    assert len(clips[0]) == len(clips[1]) == 32 and not np.allclose(clips[0].expr, clips[1].expr)
    for name in ("a.wav", "b.wav"):  # as fine as the finer of both
        assert (soundfile.info(out / name).frames, soundfile.info(out / name).samplerate) == (32 * 1764, 44_100)
    facts = json.loads((out / "generation.json").read_text())
    assert (facts["frames"], facts["steps"], facts["seed"]) == (32, 2, 0)
    assert run("render", "--motion", out, "--out", tmp_path / "v.mp4", "--size", "32", *who) == 0
    video = VideoFrames(tmp_path / "v.mp4")
    assert len(video) == 32 and video.size == (32, 64)
    assert "wrote" in capsys.readouterr().out


def test_what_a_listener_would_wonder_about_is_said(run_folder, tmp_path, capsys):
    """Seen red: one mix for both people, and a fine-tuned run whose adapter nobody wore, were taken without a word."""
    mix, other = tiny_voice(tmp_path / "mix.wav", 6.0), tiny_voice(tmp_path / "other.wav", 6.0, seed=1)
    to = ("--out", tmp_path / "out", "--steps", "2")
    assert run("generate", "--own", mix, "--partner", mix, "--checkpoint", run_folder, *to) == 0
    assert "as in one mixed recording" in capsys.readouterr().out
    tuned = tmp_path / "tuned"
    shutil.copytree(run_folder, tuned, symlinks=True)
    (tuned / "adapters").mkdir()
    (tuned / "adapters" / "anna.safetensors").touch()
    assert run("generate", "--own", mix, "--partner", other, "--checkpoint", tuned, *to) == 0
    said = capsys.readouterr().out
    assert f"its adapter is not worn (--adapter {tuned}/adapters/anna.safetensors)" in said and "mixed" not in said


def silent(path, seconds=1.0, rate=16_000):
    soundfile.write(path, np.zeros(round(seconds * rate)), rate)
    return path


UNUSUAL = {
    "a single frame": lambda own, partner: (tiny_voice(own, 0.04), tiny_voice(partner, 0.04, seed=1)),
    "a frame less than a window": lambda own, partner: (tiny_voice(own, 0.76), tiny_voice(partner, 0.76, seed=1)),
    "silence only": lambda own, partner: (silent(own), silent(partner)),
    "one speaker only": lambda own, partner: (tiny_voice(own), silent(partner)),
    "telephone": lambda own, partner: (tiny_voice(own, rate=8000), tiny_voice(partner, seed=1, rate=8000)),
    "one on the telephone": lambda own, partner: (tiny_voice(own, rate=8000), tiny_voice(partner, seed=1, rate=48_000)),
}


@pytest.mark.parametrize("encoder", ["log_mel", "wavlm"])
@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_sound_is_generated_from(run_folder, head, tmp_path, kind, encoder):
    """Every frame of it, in numbers that are finite and not held still."""
    if encoder == "wavlm":
        run_folder = tiny_run(tmp_path / "run", head, encoder=EncoderConfig("wavlm", tiny_encoder(tmp_path / "speech", "wavlm"), ()))
    own, partner = UNUSUAL[kind](tmp_path / "o.wav", tmp_path / "p.wav")
    words = ("--own", own, "--partner", partner, "--checkpoint", run_folder, "--out", tmp_path / "out", "--steps", "2")
    assert run("generate", *words, "--guidance-own", "2", "--threshold", "0.99", "--eta", "0.5") == 0
    for person in "ab":
        clip = load_motion(tmp_path / "out" / f"{person}.motion.npz")
        assert len(clip) == int(25 * soundfile.info(own).duration + 1e-6) and clip.expr.isfinite().all()
        assert len(clip) == 1 or clip.expr.std(dim=0).max() > 0


def test_a_stereo_file_is_two_voices_and_the_seed_decides(run_folder, tmp_path):
    """Notices channels exchanged or averaged, and generation that draws from elsewhere than the seed."""
    left, right = tiny_voice(tmp_path / "l.wav", 0.6, seed=3), tiny_voice(tmp_path / "r.wav", 0.6, seed=4)
    both = np.stack([soundfile.read(left)[0], soundfile.read(right)[0]], axis=1)
    soundfile.write(tmp_path / "both.wav", both, 16_000)

    def made(name, *words):
        assert run("generate", *words, "--checkpoint", run_folder, "--out", tmp_path / name, "--steps", "2") == 0
        return load_motion(tmp_path / name / "a.motion.npz").expr.numpy()

    stereo = made("stereo", "--own", tmp_path / "both.wav")
    np.testing.assert_array_equal(stereo, made("two", "--own", left, "--partner", right))
    assert not np.allclose(stereo, made("exchanged", "--own", right, "--partner", left))
    assert not np.allclose(stereo, made("seed", "--own", left, "--partner", right, "--seed", "1"))


def test_pad_fills_with_silence(run_folder, tmp_path):
    own, partner = tiny_voice(tmp_path / "o.wav", 0.8), tiny_voice(tmp_path / "p.wav", 0.4)
    words = ("--own", own, "--partner", partner, "--checkpoint", run_folder, "--out", tmp_path / "out", "--steps", "1", "--pad")
    assert run("generate", *words) == 0
    sound = soundfile.read(tmp_path / "out" / "b.wav")[0]
    assert len(sound) == 20 * 640 and np.abs(sound[6500:]).max() == 0 and np.abs(sound[:6400]).max() > 0.1


def test_what_an_interrupted_generation_left_arrives_with_the_next(run_folder, tmp_path, monkeypatch, avatars, capsys):
    """Seen red: the same command refused its own files, and a and b of two generations were drawn together."""
    voices = tiny_voice(tmp_path / "o.wav", 0.2), tiny_voice(tmp_path / "p.wav", 0.2)
    words = ("generate", "--own", voices[0], "--partner", voices[1], "--checkpoint", run_folder, "--out", tmp_path / "out", "--steps", "1")
    (tmp_path / "out").mkdir()
    replace, moved = os.replace, []

    def interrupted(source, target):
        if Path(source).parent.name == ARRIVING:
            moved.append(source)
            if len(moved) == 3:
                raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate_from_files(*voices, run_folder, tmp_path / "out", GenerationConfig(steps=1))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [ARRIVING, "a.motion.json", "a.motion.npz"]
    drawn = ("--avatar", avatars[0], "--avatar", avatars[1], "--out", tmp_path / "v.mp4")
    assert run("render", "--motion", tmp_path / "out", *drawn) == 2 and "run the same `mango generate` again" in capsys.readouterr().err
    assert run(*words) == 0 and not (tmp_path / "out" / ARRIVING).exists() and (tmp_path / "out" / "b.wav").exists()


def test_a_model_that_makes_nan_is_named(run_folder, tmp_path):
    voices = tiny_voice(tmp_path / "o.wav", 0.2), tiny_voice(tmp_path / "p.wav", 0.2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mango.inference.recordings.generate", lambda *_, **__: torch.full((2, 5, load_head().layout.width), torch.nan))
        with pytest.raises(InputError, match="expected motion of finite numbers, found NaN or infinity for person a, first in frame 0"):
            generate_from_files(*voices, run_folder, tmp_path / "out", GenerationConfig())
    assert not (tmp_path / "out").exists()


def test_other_files_of_the_folder_stay(run_folder, tmp_path):
    voices = tiny_voice(tmp_path / "o.wav", 0.2), tiny_voice(tmp_path / "p.wav", 0.2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    words = ("--own", voices[0], "--partner", voices[1], "--checkpoint", run_folder, "--out", tmp_path / "out", "--steps", "1")
    assert run("generate", *words) == 0 and run("generate", *words) == 0
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine" and (tmp_path / "out" / "a.wav").exists()
    assert not [file for file in (tmp_path / "out").iterdir() if file.name.startswith(".")]
