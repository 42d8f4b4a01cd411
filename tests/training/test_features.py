"""Features and speaking indicators made beforehand: what training would compute, where it looks for it, and never twice."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_dialogues import FRAMES, make_tiny_set

from mango.audio import detectors
from mango.audio.activity import speaking_indicator
from mango.audio.encoders import EncoderConfig, LogMel, make_encoder
from mango.cli import main
from mango.data import features
from mango.data.dialogues import DialogueSet
from mango.data.features import make_voice_features
from mango.data.side_files import read_speaking, read_voice, write_speaking, write_voice
from mango.data.speaking import write_detected
from mango.data.validation import problems
from mango.data.windows import Windows
from mango.errors import InputError


@pytest.fixture(scope="module")
def whole_set(tmp_path_factory, head):
    return make_tiny_set(tmp_path_factory.mktemp("sets") / "set", head)


@pytest.fixture
def data(whole_set, tmp_path):
    return Path(shutil.copytree(whole_set, tmp_path / "set"))


def run(*words) -> int:
    return main(["data", "features", *(str(word) for word in words)])


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.*"))}


def test_training_computes_nothing_afterwards(data, head, monkeypatch, capsys):
    """Seen red by features under another name, and by another encoder's."""
    assert run(data, "--workers", 1) == 0
    assert "8 voices computed, 0 there already" in capsys.readouterr().out
    made = files(data / "features")
    assert len(made) == 2 * 2 * len(FRAMES)
    monkeypatch.setattr(LogMel, "parts", lambda *_: pytest.fail("training encoded a voice"))
    opened = Windows(DialogueSet.open(data), "train", make_encoder(EncoderConfig()), head.layout, 20, 4)
    assert opened.batch(0, 1, 4).voices.abs().sum() > 0 and files(data / "features") == made
    assert problems(data) == [] and run(data) == 0


def test_where_the_set_may_not_be_written_the_users_cache_keeps_them(data, head, tmp_path, monkeypatch, capsys):
    """A cluster's shared data. What lies beside them is used, what is missing is made once. Seen red: looked for beside only."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run(data, "--split", "train", "--workers", 1) == 0
    before = files(data)
    monkeypatch.setattr(features.os, "access", lambda path, mode: False)
    assert run(data, "--workers", 1) == 0
    assert "2 voices computed, 6 there already" in capsys.readouterr().out.splitlines()[-1]
    assert files(data) == before and len(files(tmp_path / "cache")) == 4
    monkeypatch.setattr(LogMel, "parts", lambda *_: pytest.fail("training encoded a voice"))
    for split in ("train", "val"):
        assert (
            Windows(DialogueSet.open(data), split, make_encoder(EncoderConfig()), head.layout, 20, 4).batch(0, 1, 4).voices.abs().sum() > 0
        )


def test_processes_make_the_same_and_what_is_there_is_kept(data, tmp_path, capsys):
    """One file is missing, one is of another sound; the others are not touched. Seen red by a stamp that nobody compares."""
    alone = Path(shutil.copytree(data, tmp_path / "alone"))
    assert run(alone, "--workers", 1, "--encoder-mels", 20) == 0 and run(data, "--workers", 2, "--encoder-mels", 20) == 0
    made = files(data / "features")
    assert made == files(alone / "features")
    kept = {path: path.stat().st_mtime_ns for path in (data / "features").rglob("*.npy")}
    next((data / "features").rglob("d1.b.npy")).unlink()
    voice = data / "dialogues/d3/a.wav"
    write_voice(voice, read_voice(voice).flip(0))
    capsys.readouterr()
    assert run(data, "--workers", 1, "--encoder-mels", 20) == 0
    assert "2 voices computed, 6 there already" in capsys.readouterr().out
    changed = {path.name for path, at in kept.items() if path.stat().st_mtime_ns != at}
    assert changed == {"d1.b.npy", "d3.a.npy"}
    assert {name for name, digest in files(data / "features").items() if made[name] != digest} == {
        f"{make_encoder(EncoderConfig(mels=20)).digest}/d3.a.{kind}" for kind in ("npy", "sound")
    }


def test_one_split_and_a_damaged_dialogue(data, capsys):
    assert run(data, "--split", "val", "--workers", 1) == 0 and len(files(data / "features")) == 4
    (data / "dialogues/d1/b.wav").write_bytes(b"RIFF")
    assert run(data, "--workers", 1) == 1
    said = capsys.readouterr().out
    assert "features of 3 dialogues" not in said and "of 3 dialogues" in said and "failed: d1: " in said
    assert len(files(data / "features")) == 2 * (2 * 3 + 1), "d1's other voice, and everybody else"


def every_other_frame(audio: torch.Tensor) -> torch.Tensor:
    return (torch.arange(len(audio) // 640) % 2).float()


def test_speaking_by_a_detector(data, monkeypatch, capsys):
    """What a source gave is kept, what was computed is computed again. Seen red by overwriting everything, and by keeping everything."""
    monkeypatch.setitem(detectors._DETECTORS, "webrtcvad", every_other_frame)
    for path in (data / "dialogues").glob("*/*.speaking.npy"):
        write_speaking(path, 0.5 * read_speaking(path))  # what no detector says
    d0 = data / "dialogues/d0"
    write_speaking(d0 / "a.speaking.npy", speaking_indicator(read_voice(d0 / "a.wav")))  # as importing writes it
    (d0 / "b.speaking.npy").unlink()
    given = read_speaking(data / "dialogues/d1/a.speaking.npy")
    assert run(data, "--workers", 1, "--detector", "webrtcvad") == 0
    assert "speaking: 2 computed, 0 there already, 6 of a source kept" in capsys.readouterr().out
    assert torch.equal(read_speaking(d0 / "a.speaking.npy"), every_other_frame(read_voice(d0 / "a.wav")))
    assert torch.equal(read_speaking(data / "dialogues/d1/a.speaking.npy"), given)
    assert json.loads((d0 / "a.speaking.json").read_text())["detector"] == "webrtcvad" and problems(data) == []
    assert run(data, "--workers", 1, "--detector", "webrtcvad") == 0
    assert "speaking: 0 computed, 2 there already, 6 of a source kept" in capsys.readouterr().out
    assert run(data, "--workers", 1, "--detector", "energy") == 0
    assert "speaking: 2 computed, 0 there already, 6 of a source kept" in capsys.readouterr().out
    assert run(data, "--workers", 1, "--detector", "energy", "--overwrite") == 0
    assert "speaking: 6 computed, 2 there already, 0 of a source kept" in capsys.readouterr().out
    assert torch.equal(
        DialogueSet.open(data).dialogue("d1").side("a").speaking, speaking_indicator(read_voice(data / "dialogues/d1/a.wav"))
    )


def test_values_that_somebody_changed_are_a_sources(data):
    """A person corrected what a detector wrote: the description beside it does not make it computed."""
    folder, audio = data / "dialogues/d0", read_voice(data / "dialogues/d0/a.wav")
    (folder / "a.speaking.npy").unlink()
    assert write_detected(folder, "a", audio, "energy") == "computed" and write_detected(folder, "a", audio, "energy") == "there already"
    corrected = 1 - read_speaking(folder / "a.speaking.npy")
    write_speaking(folder / "a.speaking.npy", corrected)
    assert write_detected(folder, "a", audio, "energy") == "given"
    np.testing.assert_array_equal(read_speaking(folder / "a.speaking.npy"), corrected)


@pytest.mark.parametrize("at", ["unlink", "mango.data.speaking.write_json", "mango.data.speaking.write_speaking"])
def test_a_kill_never_makes_a_source_of_what_was_computed(data, monkeypatch, at):
    """Stopped before each of its three steps, the next run computes. Seen red by removing the old values last."""
    monkeypatch.setitem(detectors._DETECTORS, "webrtcvad", every_other_frame)
    folder, audio = data / "dialogues/d0", read_voice(data / "dialogues/d0/a.wav")
    write_detected(folder, "a", audio, "webrtcvad", overwrite=True)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*((Path, at, killed) if at == "unlink" else (at, killed)))
        write_detected(folder, "a", audio, "energy")
    assert write_detected(folder, "a", audio, "energy") == "computed"
    assert torch.equal(read_speaking(folder / "a.speaking.npy"), speaking_indicator(audio))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--overwrite",), "expected a --detector"),
        (("--encoder-kind", "hubert"), "encoder.path"),
        (("--workers", "0"), "at least 1"),
        (("--split", "nobody"), "a split 'nobody'"),
    ],
)
def test_refusals_are_one_line(data, capsys, words, said):
    assert run(data, *words) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1 and not (data / "features").exists()


def test_a_missing_detector_is_told_before_anything_is_made(data, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    assert run(data, "--detector", "webrtcvad") == 2
    assert "mango-heads[vad]" in capsys.readouterr().err and not (data / "features").exists()


def test_a_full_disk_is_an_error_with_words(tmp_path, monkeypatch):
    """Seen red: the file was mapped, and a full disk ended the process by a signal. A quota fails where something is written."""
    audio, encoder = torch.zeros(16_000), make_encoder(EncoderConfig(mels=8))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("numpy.lib.format.write_array_header_1_0", full)
        with pytest.raises(InputError, match="free some space"):
            make_voice_features(tmp_path, "d", "a", audio, encoder)
    assert not list(tmp_path.rglob("*.npy")) and make_voice_features(tmp_path, "d", "a", audio, encoder)
