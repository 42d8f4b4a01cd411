"""What a user can get wrong, through the real command: code 2, one line that helps, nothing left behind."""

import errno
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
import torch
from tiny_models import tiny_avatar, tiny_encoder, tiny_run, tiny_voice

from mango.audio.encoders import EncoderConfig
from mango.cli import main
from mango.data.motion_files import save_motion


@pytest.fixture
def voices(tmp_path):
    return tiny_voice(tmp_path / "own.wav", seed=1), tiny_voice(tmp_path / "partner.wav", seed=2)


@pytest.fixture
def refused(tmp_path, capsys):
    """Run a command that must be refused; returns its one line."""

    def run(*words, code=2):
        before = snapshot(tmp_path)
        assert main([str(word) for word in words]) == code
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("mango: ") and err.count("\n") == 1, err
        assert snapshot(tmp_path) == before
        return err

    return run


def snapshot(folder):
    return {path: path.stat().st_mtime_ns if path.is_file() else None for path in folder.rglob("*")}


def text(path):
    path.write_text("this is not sound\n" * 100)


def nan(path):
    sound = np.zeros(16_000, np.float32)
    sound[8000] = np.nan
    soundfile.write(path, sound, 16_000, subtype="FLOAT")


def constant(path):
    soundfile.write(path, np.full(16_000, 0.999), 16_000)


def cut_short(path):
    tiny_voice(path)
    path.write_bytes(path.read_bytes()[:-5000])


BAD_SOUNDS = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "no samples": (lambda path: soundfile.write(path, np.zeros(0), 16_000), "no samples"),
    "text": (text, "found text"),
    "a damaged memo": (lambda path: path.write_bytes(b"\0\0\0\x1cftypM4A " + bytes(500)), "expected a sound file, found "),
    "nan": (nan, "NaN"),
    "constant": (constant, "constant"),
    "truncated": (cut_short, "truncated"),
}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("kind", BAD_SOUNDS)
def test_bad_sound(refused, voices, run_folder, tmp_path, kind, which):
    spoil, words = BAD_SOUNDS[kind]
    spoil(voices[which])
    line = refused("generate", "--own", voices[0], "--partner", voices[1], "--checkpoint", run_folder, "--out", tmp_path / "out")
    assert words in line and str(voices[which]) in line


def test_tracks_of_different_length(refused, voices, run_folder, tmp_path):
    tiny_voice(voices[1], 1.5)
    line = refused("generate", "--own", voices[0], "--partner", voices[1], "--checkpoint", run_folder, "--out", tmp_path / "out")
    assert line.startswith(f"mango: {voices[1]}") and "longer by 0.5" in line and "--pad" in line


def test_one_voice_where_two_are_needed(refused, voices, run_folder, tmp_path):
    line = refused("generate", "--own", voices[0], "--checkpoint", run_folder, "--out", tmp_path / "out")
    assert "stereo" in line


def generate(voices, checkpoint, out, *more):
    return ("generate", "--own", voices[0], "--partner", voices[1], "--checkpoint", checkpoint, "--out", out, "--steps", "2", *more)


def spoilt_run(run_folder, target, file, change):
    shutil.copytree(run_folder, target, symlinks=True)
    path = next(target.rglob(file))
    path.write_bytes(change(path.read_bytes()))
    return target


BAD_RUNS = {
    "truncated weights": ("ema.safetensors", lambda content: content[:-100], "damaged"),
    "empty weights": ("ema.safetensors", lambda content: b"", "damaged"),
    "other format": ("state.json", lambda content: content.replace(b'"format": 1', b'"format": 99'), "format 99"),
    "broken description": ("description.json", lambda content: content[: len(content) // 2], "damaged"),
    "other sizes": ("description.json", lambda content: content.replace(b'"width": 16', b'"width": 32'), "weights of this model"),
}


@pytest.mark.parametrize("kind", BAD_RUNS)
def test_bad_checkpoint(refused, voices, run_folder, tmp_path, kind):
    file, change, words = BAD_RUNS[kind]
    spoilt = spoilt_run(run_folder, tmp_path / "run", file, change)
    assert words in refused(*generate(voices, spoilt, tmp_path / "out"))


def test_checkpoint_of_another_head(refused, voices, head, tmp_path):
    other = tiny_run(tmp_path / "run", head, head_digest="f" * 64)
    line = refused(*generate(voices, other, tmp_path / "out"))
    assert "ffffffffffff" in line and head.digest[:12] in line


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("x")])
def test_a_checkpoint_that_is_none(refused, voices, tmp_path, make):
    make(tmp_path / "run")
    assert "run folder" in refused(*generate(voices, tmp_path / "run", tmp_path / "out"))


def another(folder):
    tiny_encoder(folder, "wav2vec2", seed=1)


def another_kind(folder):
    tiny_encoder(folder, "hubert")


def without(name):
    return lambda folder: (folder / name).unlink()


def cut(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


BAD_ENCODERS = {
    "gone": (shutil.rmtree, "no such folder; put the checkpoint there"),
    "other weights": (another, "features the model learnt from"),
    "other kind": (another_kind, "expected a wav2vec2 checkpoint, found hubert"),
    "no configuration": (without("config.json"), "config.json: expected the checkpoint's configuration, found no such file"),
    "no weights": (without("model.safetensors"), "model.safetensors: expected the checkpoint's weights, found no such file"),
    "truncated weights": (cut, "copy the whole checkpoint"),
}


@pytest.mark.parametrize("kind", BAD_ENCODERS)
def test_a_speech_model_that_is_not_what_training_had(refused, voices, head, tmp_path, monkeypatch, kind):
    """In the folder that the checkpoint names. Planted once: safetensors' own error, which names no file."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder, (spoil, words) = tmp_path / "speech", BAD_ENCODERS[kind]
    run = tiny_run(tmp_path / "run", head, encoder=EncoderConfig("wav2vec2", tiny_encoder(folder, "wav2vec2"), (1, -1)))
    spoil(folder)
    line = refused(*generate(voices, run, tmp_path / "out"))
    assert words in line and str(folder) in line


def test_impossible_sampling(refused, voices, run_folder, tmp_path):
    command = generate(voices, run_folder, tmp_path / "out")
    assert "positive" in refused(*command, "--steps", "0")
    assert "1 to 50 (the noise levels of the model), found 51" in refused(*command, "--steps", "51")
    assert "--sampler ddim" in refused(*command, "--sampler", "dpm++", "--eta", "0.5")
    assert "0.995" in refused(*command, "--threshold", "99.5")


def test_recordings_are_not_overwritten(refused, run_folder, tmp_path, capsys):
    """Seen red: a folder with the recordings a.wav and b.wav held them no more; and of a training dialogue, its labels."""
    (tmp_path / "rec").mkdir()
    voices = tiny_voice(tmp_path / "rec" / "a.wav", seed=1), tiny_voice(tmp_path / "rec" / "b.wav", seed=2)
    assert "expected a folder without the recordings" in refused(*generate(voices, run_folder, tmp_path / "rec"))
    elsewhere = tiny_voice(tmp_path / "own.wav", seed=3), tiny_voice(tmp_path / "partner.wav", seed=4)
    assert "found a.wav, b.wav of something else; choose another --out" in refused(*generate(elsewhere, run_folder, tmp_path / "rec"))
    for _ in range(2):  # over an earlier result
        assert main([str(word) for word in generate(voices, run_folder, tmp_path / "out")]) == 0
    capsys.readouterr()
    told = tmp_path / "out" / "a.wav", tmp_path / "out" / "b.wav"
    assert "expected a folder without the recordings" in refused(*generate(told, run_folder, tmp_path / "out"))


PLACES = {"generate": "--out", "render": "--out", "evaluate": "--json", "inspect": "--sheet", "finetune": "--out"}


@pytest.mark.parametrize("command", PLACES)
def test_places_that_cannot_be_written_are_told_before_the_work(refused, tmp_path, command):
    """Seen red: tracebacks, some after minutes of work."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.x").mkdir()
    nothing = tmp_path / "nothing"
    words = {
        "generate": ("generate", "--own", nothing, "--checkpoint", nothing),
        "render": ("render", "--motion", nothing, "--avatar", nothing),
        "evaluate": ("evaluate", "--data", nothing, "--checkpoint", nothing),
        "inspect": ("data", "inspect", nothing),
        "finetune": ("finetune", "--data", nothing, "--person", "p", "--checkpoint", nothing),
    }[command]
    option, folder = PLACES[command], command in ("generate", "finetune")
    assert "choose another folder: part of this path is a file" in refused(*words, option, tmp_path / "file" / "x.mp4")
    wrong, why = ("file", "part of this path is a file") if folder else ("folder.x", "choose another name: this is a folder")
    assert why in refused(*words, option, tmp_path / wrong)


def test_an_unfinished_set_is_called_that(refused, tmp_path):
    (tmp_path / "film.tracking").mkdir()
    assert "found a `mango track` that is not finished; run that command again" in refused(
        "data", "pack", tmp_path / "film.tracking", tmp_path / "out"
    )


def test_a_full_disk(refused, voices, run_folder, tmp_path, monkeypatch):
    """The last file does not fit: the ones before must go too."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "generation.json")

    monkeypatch.setattr("mango.inference.recordings.write_json", full)
    assert "space" in refused(*generate(voices, run_folder, tmp_path / "out"))


def test_a_full_disk_over_an_older_result(refused, voices, run_folder, tmp_path, monkeypatch, capsys):
    """The older result stays whole, not half replaced."""
    assert main([str(word) for word in generate(voices, run_folder, tmp_path / "out")]) == 0
    capsys.readouterr()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mango.inference.recordings.write_audio", full)
    refused(*generate(voices, run_folder, tmp_path / "out", "--seed", "1"))


def test_ctrl_c_says_how_to_go_on(refused, voices, run_folder, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mango.inference.recordings.generate", interrupted)
    line = refused(*generate(voices, run_folder, tmp_path / "of today"), code=130)
    assert "same command again: mango generate --own" in line and f"'{tmp_path / 'of today'}'" in line, "to be pasted"


# render


@pytest.fixture
def motion(tmp_path, head):
    folder = tmp_path / "motion"
    folder.mkdir()
    clip = head.layout.clip(torch.zeros(3, head.layout.width), torch.zeros(head.identities), head.digest)
    for person in "ab":
        save_motion(folder / f"{person}.motion.npz", clip)
    return folder


def render(motion, avatars, out):
    return ("render", "--motion", motion, *(word for avatar in avatars for word in ("--avatar", avatar)), "--out", out, "--size", "32")


def test_render_without_motion(refused, avatars, tmp_path):
    assert "mango generate" in refused(*render(tmp_path / "none", avatars, tmp_path / "v.mp4"))
    (tmp_path / "empty").mkdir()
    assert "a.motion.npz" in refused(*render(tmp_path / "empty", avatars, tmp_path / "v.mp4"))


def test_render_needs_two_avatars(refused, motion, avatars, tmp_path):
    assert "two avatars, found 1" in refused(*render(motion, avatars[:1], tmp_path / "v.mp4"))


@pytest.mark.parametrize("change", [lambda content: content[:-100], lambda content: b"", lambda content: b"text " * 50])
def test_render_with_a_damaged_avatar(refused, motion, avatars, tmp_path, change):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(change(avatars[0].read_bytes()))
    assert "an avatar file" in refused(*render(motion, [avatars[1], damaged], tmp_path / "v.mp4"))
    assert "found none" in refused(*render(motion, [avatars[1], tmp_path / "no.safetensors"], tmp_path / "v.mp4"))


def test_render_with_weights_that_are_no_avatar(refused, motion, avatars, run_folder, tmp_path):
    assert "an avatar file" in refused(*render(motion, [avatars[0], next(run_folder.rglob("ema.safetensors"))], tmp_path / "v.mp4"))


def test_render_with_an_avatar_of_another_head(refused, motion, avatars, head, tmp_path):
    other = tiny_avatar(tmp_path / "other.safetensors", head, digest="e" * 64)
    assert "eeeeeeeeeeee" in refused(*render(motion, [avatars[0], other], tmp_path / "v.mp4"))


def test_render_with_motion_of_another_head(refused, motion, avatars, tmp_path):
    description = motion / "b.motion.json"
    description.write_text(description.read_text().replace('"head": "', '"head": "dddd'))
    assert "head" in refused(*render(motion, avatars, tmp_path / "v.mp4"))


def test_render_to_another_format(refused, motion, avatars, tmp_path):
    assert ".mp4" in refused(*render(motion, avatars, tmp_path / "v.gif"))


@pytest.fixture
def card_without_toolkit(monkeypatch):
    """A card that torch can use, and gsplat cannot."""
    reason = "gsplat found no CUDA toolkit to compile its kernels with (install one that matches CUDA 12.8)"
    monkeypatch.setattr("mango.training.runtime._device", lambda wanted: torch.device("cuda", 0))
    monkeypatch.setattr("renderer.backends.gsplat.obstacle", lambda: reason)
    return reason


def test_rendering_without_a_cuda_toolkit(refused, card_without_toolkit, motion, avatars, tmp_path):
    """Both ways out, and no traceback from where something is drawn at last."""
    line = refused(*render(motion, avatars, tmp_path / "v.mp4"))
    assert f"draws on cuda:0, found none: gsplat cannot run: {card_without_toolkit}" in line and "CUDA_VISIBLE_DEVICES= before" in line


def test_the_demo_without_a_cuda_toolkit(refused, card_without_toolkit, tmp_path):
    """Said before anything is made, not after stage one."""
    assert card_without_toolkit in refused("demo", "--out", tmp_path / "demo")


def test_render_with_one_voice(refused, motion, avatars, tmp_path):
    tiny_voice(motion / "a.wav", 0.12)
    assert str(motion / "b.wav") in refused(*render(motion, avatars, tmp_path / "v.mp4"))


def test_render_on_a_full_disk(refused, motion, avatars, tmp_path, monkeypatch):
    from mango.inference import rendering

    def full(frames, total, progress):
        yield next(frames)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rendering, "_counted", full)
    assert "space" in refused(*render(motion, avatars, tmp_path / "v.mp4"))


# others


def test_unknown_command(refused):
    assert "did you mean `mango render`" in refused("rendr")
    assert "mango --help" in refused("xyzzy")
    assert "mango data validate" in refused("data", "validat")


def test_evaluate_without_a_set(refused, run_folder, tmp_path):
    assert "dataset.json" in refused("evaluate", "--checkpoint", run_folder, "--data", tmp_path / "none")


def test_validate_a_folder_that_is_none(refused, tmp_path):
    assert "no such folder" in refused("data", "validate", tmp_path / "none")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_what_may_not_be_read_or_written_is_one_line(refused, monkeypatch, number):
    """Seen red: tracebacks for a colleague's avatar, head, folder; a head file into a read-only folder."""

    def forbidden():
        raise OSError(number, "no", "anna.safetensors")

    monkeypatch.setattr("mango.app.doctor.main", forbidden)
    assert "anna.safetensors: expected a file or folder that may be read, or written to, found no permission" in refused("doctor")


def test_a_colleagues_files(refused, motion, voices, avatars, run_folder, tmp_path, monkeypatch):
    """safetensors calls missing what may not be read. Seen red: a traceback, and the advice to remove a good checkpoint."""
    opened = Path.open

    def open(path, *arguments, **named):
        if path.suffix == ".safetensors":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *arguments, **named)

    with monkeypatch.context() as forbidding:
        forbidding.setattr(Path, "open", open)
        assert "found no permission" in refused(*render(motion, avatars, tmp_path / "v.mp4"))
    weights = next(run_folder.rglob("ema.safetensors"))
    monkeypatch.setattr("mango.training.checkpoints.load_file", lambda path: (_ for _ in ()).throw(FileNotFoundError(path)))
    monkeypatch.setattr("mango.training.checkpoints.os.access", lambda path, mode: Path(path).suffix != ".safetensors")
    assert f"{weights.name}: expected a file that may be read, found no permission" in refused(
        *generate(voices, run_folder, tmp_path / "o")
    )


def test_names_that_are_not_utf8(refused):
    """Seen red: a traceback from the depths of a sound library."""
    line = refused("generate", "--own", "latin/M\udcfcller.wav", "--checkpoint", "x", "--out", "y")
    assert "a file name in UTF-8" in line and "convmv" in line


def test_files_that_are_inputs_are_not_written_over(refused, motion, run_folder, tmp_path):
    """Seen red: with --overwrite a motion lost its description; the inspected picture became its sheet; one of two reports was lost."""
    own = motion / "a.motion.npz"
    line = refused("export", own, own.with_suffix(".json"), "--format", "lam-json", "--overwrite")
    assert "expected another file than the motion's own" in line
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((8, 8, 3), np.uint8))
    assert "another file than the one that is drawn" in refused(
        "data", "inspect", tmp_path / "photo.png", "--sheet", tmp_path / "photo.png"
    )
    reports = ("--json", tmp_path / "y", "--markdown", tmp_path / "y")
    assert "another file than --json's" in refused("evaluate", "--data", tmp_path, "--checkpoint", run_folder, *reports)


def test_networks_go_into_a_folder(refused, tmp_path, monkeypatch):
    """Seen red: a traceback, after 36 MB."""
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr("mango.tracking.face_models.subprocess.run", lambda *_, **__: pytest.fail("it downloaded"))
    assert "part of this path is a file" in refused("assets", "get", "mediapipe", "--folder", tmp_path / "file")


def test_a_bug_keeps_its_traceback(monkeypatch):
    """Notices a net that catches everything: only the user's own input becomes one line."""
    monkeypatch.setattr("mango.app.doctor.main", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])
