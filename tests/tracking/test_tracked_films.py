"""Which picture of a film is shown when, upright; its sound from the same moment; what is no film is refused in words."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from coded_films import at_rate, coded, number_of, turned, write_film

from mango.data.film_reading import stored_film
from mango.errors import InputError
from mango.tracking.films import FilmFacts, facts_of, pictures_of, voice_of

RATES = {"12.5": Fraction(25, 2), "15": Fraction(15), "24": Fraction(24), "29.97": Fraction(30_000, 1001), "30": Fraction(30),
         "50": Fraction(50), "60": Fraction(60)}  # fmt: skip


def shown(film: FilmFacts) -> list[int]:
    return [number_of(picture) for picture in pictures_of(film)]


def nearest(times: list[Fraction], frames: int) -> list[int]:
    """By definition; of two that are as near the earlier one."""
    return [min(range(len(times)), key=lambda k: (abs(times[k] - times[0] - Fraction(frame, 25)), k)) for frame in range(frames)]


def test_codes_are_read():
    assert [number_of(coded(number)) for number in range(256)] == list(range(256))


@pytest.mark.parametrize("name", RATES)
def test_each_picture_is_the_nearest_in_time(tmp_path, name):
    """Notices the picture that is on the screen 20 ms later (planted: it was so, and 50 a second hung on how 0.02 is rounded)."""
    times = at_rate(RATES[name], 2.0)
    film = facts_of(write_film(tmp_path / "film.mp4", times))
    assert film.frames == 50 and not film.changes and film.rate == pytest.approx(float(RATES[name]), rel=1e-9)
    assert shown(film) == nearest(times, 50)


@pytest.mark.parametrize("suffix", [".webm", ".mkv", ".avi", ".mov", ".ts"])
def test_other_containers(tmp_path, suffix):
    """Some hold whole milliseconds, some no presentation times; films of streams start at another time than 0."""
    options = {"bf": "2"} if suffix in (".avi", ".ts") else {}
    times = at_rate(30, 2.0)
    film = facts_of(write_film(tmp_path / f"film{suffix}", times, tick=Fraction(1, 30), options=options))
    assert film.frames == 50 and not film.changes and film.rate == pytest.approx(30, rel=1e-3)
    assert shown(film) == nearest(times, 50)


def test_a_film_that_starts_late_and_stumbles(tmp_path):
    """Frames at uneven times, and a second in which nothing new comes: then nothing new is shown, but for a frame's length."""
    rng = np.random.default_rng(0)
    steps = rng.integers(15, 60, size=80)
    steps[40] = 1000
    times = [Fraction(int(milliseconds) + 700, 1000) for milliseconds in np.concatenate([[0], np.cumsum(steps)])]
    film = facts_of(write_film(tmp_path / "film.mkv", times, tick=Fraction(1, 1000)))
    assert "uneven times" in " ".join(film.changes)
    found, wanted = shown(film), nearest(times, film.frames)
    still = [frame for frame in range(film.frames) if times[40] - times[0] < Fraction(frame, 25) <= times[41] - times[0] - Fraction(1, 25)]
    assert len(still) > 20 and {found[frame] for frame in still} == {40}
    assert [number for frame, number in enumerate(found) if frame not in still] == [
        number for frame, number in enumerate(wanted) if frame not in still
    ]


TURNS = {"upright": (1, 0, 0, 1), "right": (0, 1, -1, 0), "on its head": (-1, 0, 0, -1), "left": (0, -1, 1, 0)}
MIRRORED = {"mirrored": (-1, 0, 0, 1), "mirrored, upside down": (1, 0, 0, -1), "transposed": (0, 1, 1, 0), "the other": (0, -1, -1, 0)}


@pytest.mark.parametrize("name", TURNS | MIRRORED)
def test_phones_lie_turned(tmp_path, name):
    """By the file format's own definition, corner by corner. Planted: turns exchanged between left and right (both red)."""
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:24, :32], stored[:24, 32:], stored[24:, :32] = 250, 170, 90  # brightness of the corners, the last one black
    path = turned(write_film(tmp_path / "film.mp4", at_rate(25, 1.0), [stored] * 25), (TURNS | MIRRORED)[name])
    film = facts_of(path)
    picture = next(pictures_of(film))
    a, b, c, d = (TURNS | MIRRORED)[name]
    corners = {(-1, -1): 250, (1, -1): 170, (-1, 1): 90, (1, 1): 0}  # (x, y) from the middle, y down
    expected = {(a * x + c * y, b * x + d * y): brightness for (x, y), brightness in corners.items()}
    rows, cols = (48, 64) if a else (64, 48)
    assert film.size == picture.shape[:2] == (rows, cols)
    for (x, y), brightness in expected.items():
        corner = picture[rows // 2 * (y > 0) :][: rows // 2, cols // 2 * (x > 0) :][:, : cols // 2]
        assert abs(np.median(corner) - brightness) < 8, (x, y)


def test_a_phone_held_askew_is_refused(tmp_path):
    path = turned(write_film(tmp_path / "film.mp4", at_rate(25, 1.0)), (1, 1, -1, 1))
    with pytest.raises(InputError, match=r"quarters, found -?45 degrees"):
        facts_of(path)


def test_odd_sizes(tmp_path):
    times = at_rate(25, 1.2)
    pictures = [coded(number, 47, 61) for number in range(len(times))]
    film = facts_of(write_film(tmp_path / "film.mkv", times, pictures, codec="ffv1", pixels="yuv444p"))
    assert film.size == (47, 61) and next(pictures_of(film)).shape == (47, 61, 3) and shown(film) == list(range(30))


def test_pixels_that_are_not_square_become_square(tmp_path):
    """As of video tape: shown wider than stored, or faces would be narrow."""
    film = facts_of(write_film(tmp_path / "film.mp4", at_rate(25, 1.0), shape=Fraction(4, 3)))
    assert film.size == (48, 85) and next(pictures_of(film)).shape == (48, 85, 3)


def test_calls_that_change_their_size(tmp_path):
    """As WebRTC does when the line gets worse: all pictures come in the size of the first."""
    found = facts_of(calls_of(tmp_path / "film.webm", (48, 64), (24, 32)))
    assert found.size == (48, 64) and {picture.shape for picture in pictures_of(found)} == {(48, 64, 3)}
    assert shown(found) == list(range(40))


def calls_of(path: Path, first: tuple[int, int], second: tuple[int, int]) -> Path:
    """Twenty pictures of either size, rows and columns."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libvpx", rate=25)
        stream.height, stream.width, stream.pix_fmt = *first, "yuv420p"
        film.mux([])
        for (rows, cols), numbers in ((first, range(20)), (second, range(20, 40))):
            codec = av.CodecContext.create("libvpx", "w")
            codec.height, codec.width, codec.pix_fmt, codec.time_base, codec.bit_rate = rows, cols, "yuv420p", Fraction(1, 25), 1_000_000
            packets = []
            for number in numbers:
                frame = av.VideoFrame.from_ndarray(coded(number, rows, cols), format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                packets += codec.encode(frame)
            for packet in [*packets, *codec.encode(None)]:
                packet.stream = stream
                film.mux(packet)
    return path


def test_large_films_pass_through_memory_frame_by_frame(tmp_path):
    """4K: 25 MB a picture. Notices a film that is held in memory (planted: all decoded frames kept)."""
    rows, cols, frames = 2160, 3840, 26
    picture = np.zeros((rows, cols, 3), np.uint8)
    film = facts_of(write_film(tmp_path / "film.mp4", at_rate(25, frames / 25), [picture] * frames))
    before, used = _memory(), []
    for picture in pictures_of(film):
        used.append(_memory() - before)
        size = picture.nbytes
    assert len(used) == frames and max(used) < 0.6 * frames * size


def _memory() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


CLICK = 0.012  # seconds: half a block of AAC, over which a codec smears a click


def clap(at: float, seconds: float, channels: int = 1, rate: int = 48_000) -> np.ndarray:
    """A click in faint noise, ``at`` seconds from its start."""
    sound = 0.01 * np.random.default_rng(0).normal(size=(channels, round(seconds * rate)))
    sound[:, round(at * rate) : round(at * rate) + 48] = 0.9
    return sound


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".ts"])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_keeps_its_place(tmp_path, suffix, channels):
    tick = Fraction(1, 25) if suffix == ".avi" else Fraction(1, 30_000)
    film = facts_of(write_film(tmp_path / f"film{suffix}", at_rate(25, 2.0), tick=tick, sound=clap(1.25, 2.0, channels)))
    voice = voice_of(film)
    assert film.sound and len(voice) == 50 * 640
    assert abs(float(voice.abs().argmax()) / 16_000 - 1.25) < CLICK


@pytest.mark.parametrize("late", [Fraction(3, 10), Fraction(-3, 10)])
def test_sound_that_starts_at_another_time(tmp_path, late):
    """Notices sound laid at the start of the pictures, whatever it says."""
    times = [time + 1 for time in at_rate(25, 2.0)]
    film = facts_of(write_film(tmp_path / "film.mkv", times, sound=clap(1.0, 2.0), sound_at=1 + late))
    voice = voice_of(film)
    assert abs(float(voice.abs().argmax()) / 16_000 - float(1 + late)) < CLICK
    assert len(voice) == 50 * 640
    if late > 0:
        assert float(voice[: round(float(late) * 16_000) - 400].abs().max()) < 1e-3


def test_sound_that_pauses_stays_in_step(tmp_path):
    """Recorders of calls write nothing while nobody speaks."""
    path = write_film(tmp_path / "whole.mkv", at_rate(25, 3.0), sound=clap(2.5, 3.0))
    with av.open(str(path)) as whole, av.open(str(tmp_path / "film.mkv"), "w") as film:
        streams = {stream.index: film.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            heard = packet.stream.type == "audio"
            if packet.dts is None or (heard and 0.5 < packet.pts * packet.time_base < 1.5):
                continue
            packet.stream = streams[packet.stream_index]
            film.mux(packet)
    voice = voice_of(facts_of(tmp_path / "film.mkv"))
    assert abs(float(voice.abs().argmax()) / 16_000 - 2.5) < CLICK
    assert float(voice[10_000:22_000].abs().max()) < 1e-4 < float(voice[:6000].abs().max())


def test_sound_of_another_time_is_refused(tmp_path):
    film = facts_of(write_film(tmp_path / "film.mkv", at_rate(25, 2.0), sound=clap(0.5, 1.0), sound_at=Fraction(5, 2)))
    with pytest.raises(InputError, match=r"found 2\.5 s apart"):
        voice_of(film)


def test_no_sound_is_silence(tmp_path):
    film = facts_of(write_film(tmp_path / "film.mp4", at_rate(30, 2.0)))
    assert not film.sound and voice_of(film).shape == (50 * 640,) and not voice_of(film).any()


def test_muted_sound_is_silence(tmp_path):
    film = facts_of(write_film(tmp_path / "film.mp4", at_rate(25, 2.0), sound=np.zeros((2, 96_000))))
    assert film.sound and not voice_of(film).any()


def test_short_sound_ends_in_silence(tmp_path):
    """And it is said. Seen red: not a word."""
    film = facts_of(write_film(tmp_path / "film.mp4", at_rate(25, 2.0), sound=clap(0.5, 1.0)))
    assert len(voice_of(film)) == 50 * 640 and not voice_of(film)[24_000:].any()
    assert re.search(r"its sound ends (1\.0|0\.9) s before its pictures: silence there", str(film.changes))
    film = facts_of(write_film(tmp_path / "longer.mp4", at_rate(25, 2.0), sound=clap(0.5, 2.9)))
    assert re.search(r"its sound goes on for (1\.0|0\.9) s after its pictures: left out", str(film.changes))
    assert facts_of(write_film(tmp_path / "whole.mp4", at_rate(25, 2.0), sound=clap(0.5, 2.0))).changes == ()


def test_sound_that_is_lost_on_the_way_is_refused(tmp_path):
    """A microphone that another call took. Seen red: a talking mouth, labelled as silent."""
    film = facts_of(write_film(tmp_path / "film.mp4", at_rate(25, 4.0), sound=clap(0.5, 1.0)))
    with pytest.raises(InputError, match=r"expected sound as long as the pictures, 4\.0 s, found 1\.0 s; cut the film .* or give --voice"):
        voice_of(film)


def test_of_several_sound_tracks_it_is_said_which_is_heard(tmp_path):
    """A recorder of screens keeps the desktop's and the microphone's. Seen red: not a word."""
    path = tmp_path / "film.mkv"
    write_film(tmp_path / "one.mkv", at_rate(25, 2.0), sound=clap(0.5, 2.0))
    with av.open(str(tmp_path / "one.mkv")) as one, av.open(str(path), "w") as film:
        copies = [film.add_stream_from_template(stream) for stream in (*one.streams, one.streams.audio[0])]
        for packet in [packet for packet in one.demux() if packet.size]:
            again = av.Packet(bytes(packet))
            again.pts, again.dts, again.time_base, again.is_keyframe = packet.pts, packet.dts, packet.time_base, packet.is_keyframe
            for part, stream in ((packet, copies[packet.stream.index]), (again, copies[2])):
                if part is packet or packet.stream.index == 1:
                    part.stream = stream
                    film.mux(part)
    assert "of 2 sound tracks one is heard, number 1" in facts_of(path).changes
    assert not any("track" in told for told in facts_of(tmp_path / "one.mkv").changes)


def test_titles_of_any_alphabet_and_names_with_colons(tmp_path, monkeypatch):
    """Seen red: "damaged: utf-8 codec can't decode", "Protocol not found"."""
    path = write_film(tmp_path / "film.avi", at_rate(25, 2.0), tick=Fraction(1, 25), titles={"title": "MARKED"})
    path.write_bytes(path.read_bytes().replace(b"MARKED", b"M\xfcller"))
    assert shown(facts_of(path)) == list(range(50))
    path.rename(tmp_path / "20240105-12:30:45.avi")
    monkeypatch.chdir(tmp_path)  # where the process that reads films may not be
    assert stored_film("20240105-12:30:45.avi", lambda: None).frames == 50


def test_of_interlaced_pictures_one_moment_is_shown(tmp_path):
    """Camcorders. Seen red: combs, and not a word."""
    made = []
    for number in range(30):
        picture = coded(number)
        picture[1::2] = coded(255 - number)[1::2]
        made.append(picture)
    film = facts_of(write_film(tmp_path / "film.mp4", at_rate(25, 1.2), made, options={"x264-params": "tff=1", "crf": "5"}))
    assert shown(film) == list(range(30)) and film.size == (48, 64)
    assert "interlaced: of each picture's two moments the first is shown, in half the rows" in film.changes
    rows = next(pictures_of(film)).astype(float)
    assert np.abs(np.diff(rows, axis=0)).max() < 10, "no combs"


def test_a_call_that_is_turned_keeps_its_proportions(tmp_path):
    """From landscape to portrait. Seen red: faces twice as wide as tall."""
    path = calls_of(tmp_path / "film.webm", (48, 64), (64, 48))
    early, late = (picture for number, picture in enumerate(pictures_of(facts_of(path))) if number in (5, 35))
    bright = late.max(2) > 20
    assert early.shape == late.shape == (48, 64, 3)
    assert bright.any(1).sum() == 48 and abs(bright.any(0).sum() - 36) <= 2, "48 rows of 36 columns, between bars"


def test_what_a_phone_cut_off_is_not_shown(tmp_path):
    """Phones cut films by an edit list: what lies before and behind stays in the file. Planted: packets counted that no player shows."""
    path = write_film(tmp_path / "film.mp4", at_rate(25, 5.0), tick=Fraction(1, 25), options={"bf": "0"}, sound=clap(3.0, 5.0))
    content, place = bytearray(path.read_bytes()), 0
    for rate in (12_800, 48_000):  # ticks a second of the pictures' and the sound's track
        place = content.index(b"elst", place) + 12  # version and flags, number of edits; then the first edit's length and beginning
        beginning = int.from_bytes(content[place + 4 : place + 8], "big")
        content[place : place + 8] = (2000).to_bytes(4, "big") + (beginning + 2 * rate).to_bytes(4, "big")
    path.write_bytes(content)
    film = facts_of(path)
    assert film.frames == 50 and shown(film) == list(range(50, 100))
    assert abs(float(voice_of(film).abs().argmax()) / 16_000 - 1.0) < CLICK


def test_a_recording_that_begins_between_key_frames(tmp_path):
    """The film begins with the first picture that can be decoded. Planted: it began with the first packet, and stood still at its end."""
    path = write_film(tmp_path / "whole.mkv", at_rate(25, 2.4), options={"g": "10", "bf": "0"})
    with av.open(str(path)) as whole, av.open(str(tmp_path / "film.mkv"), "w") as film:
        stream = film.add_stream_from_template(whole.streams.video[0])
        for packet in [packet for packet in whole.demux(video=0) if packet.size][4:]:
            packet.stream = stream
            film.mux(packet)
    found = facts_of(tmp_path / "film.mkv")
    assert found.frames == 50 and shown(found) == list(range(10, 60))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_film_cut_off_by_a_full_disk_is_used_as_far_as_it_goes(tmp_path, suffix):
    """Up to the last whole picture; a broken one is not counted."""
    muxing = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    path = write_film(tmp_path / f"film{suffix}", at_rate(25, 4.0), muxing=muxing, sound=clap(0.5, 4.0), options={"g": "1", "bf": "0"})
    with av.open(str(path)) as film:
        packets = [packet for packet in film.demux(video=0) if packet.size]
        end = packets[60].pos + packets[60].size // 2
    path.write_bytes(path.read_bytes()[:end])
    film = facts_of(path)
    assert film.frames == 60 and shown(film) == list(range(60)) and len(voice_of(film)) == 60 * 640


def test_damage_in_the_middle_is_passed_over(tmp_path):
    """A picture that cannot be decoded leaves the one before on the screen, and the film goes on. Planted: decoding ended there."""
    path = write_film(tmp_path / "film.mkv", at_rate(25, 2.0), options={"g": "1", "bf": "0"})
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as film:
        packet = [packet for packet in film.demux(video=0) if packet.size][20]
        place, size = bytes(content).index(bytes(packet)), packet.size
    content[place : place + size] = bytes(size)
    path.write_bytes(content)
    film = facts_of(path)
    assert film.frames == 50 and shown(film) == [*range(20), 19, *range(21, 50)]


def sound_alone(path):
    import soundfile

    soundfile.write(path, clap(0.5, 1.0)[0], 48_000, format="FLAC")


def unknown_codec(path):
    write_film(path, at_rate(25, 1.2))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))


def one_picture(path):
    import cv2

    cv2.imwrite(str(path.with_suffix(".png")), np.zeros((64, 64, 3), np.uint8))
    path.with_suffix(".png").rename(path)


NO_FILMS = {
    "missing": (lambda path: None, "no such file"),
    "a folder": (lambda path: path.mkdir(), "found a folder"),
    "empty": (lambda path: path.write_bytes(b""), "expected a film, found"),
    "text": (lambda path: path.write_text("not a film\n" * 99), "expected a film, found"),
    "without an index": (lambda path: path.write_bytes(write_film(path, at_rate(25, 2.0)).read_bytes()[:-3000]), "expected a film, found"),
    "sound alone": (sound_alone, "a file without pictures"),
    "an unknown codec": (unknown_codec, "expected a film, found .*Decoder not found"),
    "three frames": (lambda path: write_film(path, at_rate(25, 0.12)), "found 3 frames"),
    "one picture": (one_picture, "found 1 frames"),
    "10 a second": (lambda path: write_film(path, at_rate(10, 2.0)), "at least 12 frames a second, found 10"),
}


@pytest.mark.parametrize("kind", NO_FILMS)
def test_what_is_no_film_is_refused(tmp_path, kind):
    make, words = NO_FILMS[kind]
    path = tmp_path / "film.mp4"
    make(path)
    with pytest.raises(InputError, match=words) as refused:
        facts_of(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)
