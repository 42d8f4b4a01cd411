"""Imported films keep their own time: what is shown when, from when on it sounds, which way is up. By `mango data import`, whole."""

import re
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest
from coded_films import at_rate, number_of, turned, write_film

from mango.audio.reading import read_audio
from mango.cli import main
from mango.data.film_reading import sound_pieces
from mango.data.formats.films import film_of
from mango.data.video import VideoFrames
from mango.errors import InputError


def imported(source: Path, capsys) -> tuple[VideoFrames, np.ndarray, str]:
    """Film and voice of the one dialogue, and what was said."""
    out = source.parent / "out"
    assert main(["data", "import", "--workers", "1", "--format", "plain", str(source), str(out)]) == 0
    voice = next(path for path in sorted(out.rglob("a.*")) if path.suffix in (".wav", ".flac"))
    return VideoFrames(next(out.rglob("a.mp4"))), read_audio(voice).numpy(), capsys.readouterr().out


def clap(at: float, seconds: float) -> np.ndarray:
    sound = 0.01 * np.random.default_rng(0).normal(size=(1, round(48_000 * seconds)))
    sound[:, round(48_000 * at) :][:, :48] = 0.9
    return sound


def test_frames_at_uneven_times_do_not_drift(tmp_path, capsys):
    """50 a second, then 10: as phones do in the dark. Planted: frames by number and mean rate, .8 s off in the middle."""
    steps = [Fraction(1, 50)] * 50 + [Fraction(1, 10)] * 20
    times = list(accumulate(steps, initial=Fraction(0)))
    film, _, said = imported(write_film(tmp_path / "film.mp4", times, sound=clap(0.5, 3.0)), capsys)
    shown = [number_of(picture) for picture in film.frames(range(len(film))).numpy()]
    off = [abs(times[number] - Fraction(frame, 25)) for frame, number in enumerate(shown)]
    assert len(film) >= 70 and max(off) <= Fraction(1, 10) - Fraction(1, 25)  # a picture comes at most a frame of ours before its time
    assert "uneven times" in said


@pytest.mark.parametrize("late", [Fraction(1, 2), Fraction(-1, 2)])
def test_sound_that_starts_at_another_time(tmp_path, capsys, late):
    """Planted: sound from its first sample on, half a second off."""
    times = [time + 1 for time in at_rate(25, 3.0)]
    path = write_film(tmp_path / "film.mp4", times, sound=clap(1.0, 3.0), sound_at=1 + late)
    film, voice, _ = imported(path, capsys)
    assert abs(np.abs(voice).argmax() / 16_000 - float(1 + late)) < 0.012
    assert len(film) * 640 == len(voice) and number_of(film.frames([10]).numpy()[0]) == 10


@pytest.mark.parametrize(("seconds", "cut"), [(2.3, 0.3), (2.03, 0.0), (1.8, 0.2)])
def test_sound_of_another_length_than_its_film(tmp_path, capsys, seconds, cut):
    """What is cut of either is said; less than a frame is how sound is packed. Planted: sound read up to the film's end, and no word."""
    path = write_film(tmp_path / "film.mp4", at_rate(25, 2.0), sound=clap(1.0, seconds))
    film, voice, said = imported(path, capsys)
    assert len(film) * 640 == len(voice) and abs(len(film) / 25 - min(2.0, seconds)) <= 0.08
    told = re.search(r"cut to the shortest stream \(\d+ frames\): (voice|film) of film by ([\d.]+) s", said)
    assert (told is not None) == (cut > 0)
    if told:
        assert told[1] == ("voice" if seconds > 2 else "film") and abs(float(told[2]) - cut) <= 0.08


@pytest.mark.parametrize("name", ["film.mkv", "film.webm", "film.avi", "film.m4v"])
def test_films_in_other_containers(tmp_path, capsys, name):
    """Seen red: they were passed over."""
    path = write_film(tmp_path / name.replace("m4v", "mp4"), at_rate(25, 1.0), tick=Fraction(1, 25)).rename(tmp_path / name)
    film, *_ = imported(path, capsys)
    assert [number_of(picture) for picture in film.frames([0, 7, 24]).numpy()] == [0, 7, 24] and len(film) == 25
    assert main(["data", "inspect", str(path)]) == 0 and "25 frames of 64x48 at 25 fps" in capsys.readouterr().out


def test_pictures_between_others_in_avi(tmp_path, capsys):
    """AVI holds no times, and FFmpeg counts packets. Seen red: pictures that were shown twice, others never."""
    between = {"bf": "2", "x264-params": "b-adapt=0:scenecut=0"}
    path = write_film(tmp_path / "film.avi", at_rate(25, 2.0), codec="libx264", tick=Fraction(1, 25), options=between, sound=clap(1.0, 2.0))
    film, voice, _ = imported(path, capsys)
    assert [number_of(picture) for picture in film.frames(range(len(film))).numpy()] == [*range(len(film))] and len(film) >= 48
    assert abs(np.abs(voice).argmax() / 16_000 - 1.0) < 0.012


@pytest.mark.parametrize("pace", [0.99, 1.01])
def test_sound_that_keeps_another_time_than_its_samples(tmp_path, pace):
    """As recorders of screens write it. Seen red: what comes too early was put after what was there, later and later."""
    samples = clap(19.0, 20.0)
    with av.open(str(tmp_path / "x.mkv"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for first in range(0, samples.shape[1], 1024):
            piece = np.ascontiguousarray((samples[:, first : first + 1024] * 32767).astype(np.int16))
            frame = av.AudioFrame.from_ndarray(piece, "s16", "mono")
            frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), round(first * pace)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    pieces = [piece[:, 0] for _, piece in sound_pieces(str(tmp_path / "x.mkv"), 100.0, lambda: None, strict=True)]
    heard = np.abs(np.concatenate(pieces)).argmax() / 48_000
    assert abs(heard - 19.0 * pace) < 0.07


def test_a_turned_phone_comes_upright(tmp_path, capsys):
    """Stored on its side: bright above. Planted: pictures as stored."""
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:, :32] = 240
    film, _, said = imported(turned(write_film(tmp_path / "film.mp4", at_rate(25, 1.0), [stored] * 25), (0, 1, -1, 0)), capsys)
    picture = film.frames([3]).numpy()[0]
    assert picture.shape == (64, 48, 3) and picture[:30].mean() > 200 and picture[34:].mean() < 40
    assert "shown upright" in said


def test_what_a_phone_cut_off_is_not_imported(tmp_path, capsys):
    """By an edit list; what lies before it stays in the file, and is no damage."""
    path = write_film(tmp_path / "film.mp4", at_rate(25, 5.0), tick=Fraction(1, 25), options={"bf": "0"}, sound=clap(3.0, 5.0))
    cut_by_an_edit_list(path, begin=2, seconds=2.0)
    film, voice, _ = imported(path, capsys)
    assert [number_of(picture) for picture in film.frames(range(len(film))).numpy()] == list(range(50, 50 + len(film))) and len(film) >= 49
    assert abs(np.abs(voice).argmax() / 16_000 - 1.0) < 0.012


@pytest.mark.parametrize(("begin", "seconds"), [(0, 2.4), (1, 1.2), (2, 2.0)])
def test_what_is_cut_off_between_key_frames_is_not_missing(tmp_path, begin, seconds):
    """FFmpeg leaves out packets beyond an edit list, and counts them. Seen red: every film cut without loss was "truncated"."""
    path = write_film(tmp_path / "film.mp4", at_rate(25, 4.0), tick=Fraction(1, 25), options={"g": "1"})
    assert film_of(path).frames == 100
    cut_by_an_edit_list(path, begin, seconds)
    assert film_of(path).frames == pytest.approx(25 * seconds, abs=1)


def cut_by_an_edit_list(path: Path, begin: int, seconds: float) -> None:
    """The film shows so many seconds from there on, and holds all that it held."""
    content, place = bytearray(path.read_bytes()), 0
    for rate in (12_800, 48_000)[: content.count(b"elst")]:  # ticks a second of the pictures' and the sound's track
        place = content.index(b"elst", place) + 12
        beginning = int.from_bytes(content[place + 4 : place + 8], "big")
        content[place : place + 8] = round(1000 * seconds).to_bytes(4, "big") + (beginning + begin * rate).to_bytes(4, "big")
    path.write_bytes(content)


def test_a_truncated_film_is_refused(tmp_path):
    """Of thousands some are: a set should not have half of one without a word."""
    path = write_film(tmp_path / "film.mp4", at_rate(25, 4.0), muxing={"movflags": "+faststart"}, options={"g": "1"})
    whole = path.read_bytes()
    for kept in (len(whole) * 2 // 3, len(whole) - 2000):
        path.write_bytes(whole[:kept])
        with pytest.raises(InputError, match=r"s fewer: the file is truncated"):
            film_of(path)


def test_damage_in_the_middle_is_refused(tmp_path, capsys):
    """What `mango track` passes over fails an import. Planted: the last good picture stayed, without a word."""
    import av

    path = write_film(tmp_path / "film.mp4", at_rate(25, 2.0), options={"g": "1", "bf": "0"})
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as film:
        packet = [packet for packet in film.demux(video=0) if packet.size][20]
        place, size = packet.pos, packet.size
    content[place : place + size] = bytes(size)
    path.write_bytes(content)
    assert main(["data", "import", "--workers", "1", "--format", "plain", str(path), str(tmp_path / "out")]) == 2
    assert "expected an intact film" in capsys.readouterr().err
