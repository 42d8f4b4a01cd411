"""Split screens: each half is a person's film, each channel a person's voice, or it is said that none can be told apart."""

import numpy as np
import pytest
import soundfile
import torch
from coded_films import at_rate, coded, number_of, write_film
from moving_head import SIZE, detected, talking

from mango.app import tracking as command
from mango.audio.channels import likeness
from mango.cli import main
from mango.data.dialogues import DialogueSet
from mango.data.video import VideoFrames
from mango.tracking.films import facts_of, halves, pictures_of, voice_of
from mango.tracking.split_sound import with_voices

FRAMES = 30


def voices(frames: int = FRAMES) -> np.ndarray:
    """Two people who take turns, at 48 kHz."""
    seconds = np.arange(frames * 1920) / 48_000
    noise = 0.2 * np.random.default_rng(0).normal(size=(2, len(seconds)))
    first = np.sin(2 * np.pi * 2 * seconds) > 0
    return noise * np.stack([first, ~first])


def call(path, sound):
    """As large as faces that are seen: two greys, each with a strip that counts."""
    pictures = [np.full((SIZE[0], 2 * SIZE[1], 3), 60, np.uint8) for _ in range(FRAMES)]
    for number, picture in enumerate(pictures):
        picture[:, SIZE[1] :] = 140
        picture[:32] = np.concatenate([coded(number, 32, SIZE[1]), coded(200 - number, 32, SIZE[1])], axis=1)
    return write_film(path, at_rate(25, FRAMES / 25), pictures, sound=sound, sound_codec="pcm_s16le")


def split_film(path, *, sound=None, down: bool = False, size=(48, 64), frames: int = FRAMES):
    """The left (upper) half counts up, the right (lower) one down."""
    pictures = [np.concatenate([coded(n, *size), coded(200 - n, *size)], axis=0 if down else 1) for n in range(frames)]
    return write_film(path, at_rate(25, frames / 25), pictures, sound=sound, sound_codec="pcm_s16le" if path.suffix == ".mov" else None)


@pytest.mark.parametrize("split", ["left-right", "top-bottom"])
def test_halves_are_the_two_films(tmp_path, split):
    """Planted: halves exchanged; the second one begun at a quarter."""
    film = facts_of(split_film(tmp_path / "call.mp4", down=split == "top-bottom"))
    first, second = halves(film, split)
    assert first.size == second.size == (48, 64)
    assert [number_of(picture) for picture in pictures_of(first)] == list(range(FRAMES))
    assert [number_of(picture) for picture in pictures_of(second)] == [200 - n for n in range(FRAMES)]


def test_a_middle_line_belongs_to_nobody(tmp_path):
    pictures = [np.concatenate([np.full((64, 70, 3), 40, np.uint8), np.full((64, 70, 3), 200, np.uint8)], axis=1)] * 30
    film = facts_of(write_film(tmp_path / "call.mp4", at_rate(25, 1.2), pictures))
    odd = type(film)(**{**vars(film), "size": (64, 139)})  # as a player would show pixels that are not square
    first, second = halves(odd, "left-right")
    assert first.size == second.size == (64, 69) and second.part.left == 70
    for half, grey in ((first, 40), (second, 200)):
        picture = next(pictures_of(half))
        assert picture.shape == (64, 69, 3) and np.abs(picture[:, 4:-4].astype(int) - grey).max() < 12


def test_channels_are_voices(tmp_path):
    """Planted: channels exchanged; both averaged."""
    sound = voices()
    film = facts_of(split_film(tmp_path / "call.mov", sound=sound))
    sides, words = with_voices(halves(film, "left-right"), None, (), split=True)
    assert "the left channel is the first person's" in words
    for side, channel in zip(sides, sound, strict=True):
        heard, told = voice_of(side).view(FRAMES, -1).square().mean(1), (channel.reshape(FRAMES, -1) ** 2).mean(1)
        assert np.corrcoef(heard, told)[0, 1] > 0.9


MIXED = {"mono": 1, "the same twice": 2}


@pytest.mark.parametrize("kind", MIXED)
def test_what_is_mixed_cannot_be_told_apart(tmp_path, kind):
    """Planted: two channels are always two people."""
    from mango.errors import InputError

    mixed = voices().sum(0)
    room = 0.02 * np.random.default_rng(1).normal(size=(MIXED[kind], mixed.shape[0]))
    film = facts_of(split_film(tmp_path / "call.mov", sound=mixed + room))
    both = halves(film, "left-right")
    with pytest.raises(InputError, match="--voices left-right or mixed"):
        with_voices(both, None, (), split=True)
    sides, words = with_voices(both, "mixed", (), split=True)
    assert "both get the mixed sound" in words and torch.equal(*(voice_of(side) for side in sides))


def test_silence_needs_no_telling_apart(tmp_path):
    both = halves(facts_of(split_film(tmp_path / "call.mp4")), "left-right")
    sides, words = with_voices(both, None, (), split=True)
    assert words == "" and not any(voice_of(side).any() for side in sides)
    assert likeness(torch.zeros(16_000), torch.rand(16_000)) == 0


def test_files_are_voices(tmp_path):
    """Planted: the film's own sound taken; files exchanged."""
    film = facts_of(split_film(tmp_path / "call.mov", sound=voices().sum(0)[None]))
    files = []
    for number, level in enumerate((0.1, 0.3)):
        files.append(tmp_path / f"{number}.wav")
        soundfile.write(files[-1], level * np.sin(np.arange(FRAMES * 640) / 5), 16_000)
    sides, _ = with_voices(halves(film, "left-right"), None, files, split=True)
    for side, level in zip(sides, (0.1, 0.3), strict=True):
        assert float(voice_of(side).abs().max()) == pytest.approx(level, rel=0.02) and len(voice_of(side)) == FRAMES * 640


def person(head, number: int):
    """The second turns as the first does in a mirror."""
    return talking(head, FRAMES, number, turn_degrees=(14.0, -14.0)[number])


def test_a_call_becomes_a_dialogue(head, tmp_path, monkeypatch, capsys):
    """Who is left is a, in motion, pictures and voice. Planted: landmarks of the first for both; one half's film for both."""
    from pretended_films import QUICK

    monkeypatch.setattr(command, "TrackConfig", QUICK)
    path, points = call(tmp_path / "call.mov", voices()), []
    for seed in (0, 1):
        points += ["--landmarks", str(tmp_path / f"{seed}.npy")]
        np.save(tmp_path / f"{seed}.npy", detected(head, person(head, seed), points=68).points.numpy())
    words = ["track", str(path), "--out", str(tmp_path / "set"), "--split", "left-right", "--person", "anna", "--person", "ben", *points]
    assert main([*words, "--size", "128"]) == 0
    said = capsys.readouterr().out
    assert "call.mov, anna: 1.2 s of 640x480" in said and "call.mov, ben: 1.2 s of 640x480" in said
    assert "the left channel is the first person's voice" in said
    dialogue = DialogueSet.open(tmp_path / "set").dialogue("call")
    for side, name, channel in (("a", "anna", 0), ("b", "ben", 1)):
        found, true = dialogue.side(side), person(head, channel)
        assert found.person == name and len(VideoFrames(found.video)) == FRAMES
        loud = found.audio.view(FRAMES, -1).square().mean(1).numpy()
        assert np.corrcoef(loud, (voices()[channel].reshape(FRAMES, -1) ** 2).mean(1))[0, 1] > 0.9
        turns = torch.corrcoef(torch.stack([found.motion.neck_pose[:, 1], true.clip.neck_pose[:, 1]]))[0, 1]
        assert turns > 0.9
    shown = [VideoFrames(dialogue.side(side).video).frames([3]).float() for side in ("a", "b")]
    assert (shown[0] - shown[1]).abs().mean() > 10  # one grey is not the other


WRONG = {
    "two films": (["--split", "left-right"], 2, "--split: expected one film that shows both people"),
    "voices without a split": (["--voices", "mixed"], 1, "--voices: expected --split"),
    "a box": (["--split", "left-right", "--box", "1,2,90,90", "--person", "a", "--person", "b"], 1, "--box: expected nothing"),
    "one name": (["--split", "left-right", "--person", "anna"], 1, "--person: expected 2 different names"),
    "no names": (["--split", "left-right"], 1, "give --person once for each"),
    "one voice": (
        ["--split", "left-right", "--person", "a", "--person", "b", "--voice", "a.wav"], 1, "--voice: expected a file for each of 2"),
    "no voice": (["--voice", "a.wav"], 1, "a.wav: expected a sound file, found no such file"),
    "files and channels": (
        ["--split", "left-right", "--person", "a", "--person", "b", "--voice", "a.wav", "--voice", "b.wav", "--voices", "mixed"], 1,
        "--voices mixed too"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_contradicts_itself_is_said_in_one_line(tmp_path, capsys, kind):
    words, films, said = WRONG[kind]
    paths = [str(split_film(tmp_path / f"{number}.mp4")) for number in range(films)]
    assert main(["track", *paths, "--out", str(tmp_path / "set"), "--detector", "builtin", *words]) == 2
    line = capsys.readouterr().err
    assert line.startswith("mango: ") and line.count("\n") == 1 and said in line, line
