"""Video: colours and counts survive, any frame in any order, threads and forks, full disks and broken files."""

import multiprocessing
import pickle
import resource
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from mango.data.video import VideoFrames, write_video
from mango.data.video_writing import comment_of
from mango.errors import InputError


@pytest.fixture(params=[1, 12, None], ids=["all-intra", "gop12", "free"])
def film(request, tmp_path, picture):
    path = tmp_path / "film.mp4"
    write_video(path, (picture(i) for i in range(60)), key_frame_every=request.param, crf=12)
    return path


def sequential(path):
    """What PyAV itself decodes from start to end, another way to the same frames."""
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def worst(first, second) -> int:
    return int(np.abs(np.asarray(first).astype(int) - np.asarray(second).astype(int)).max())


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (190, 140, 120), (17, 203, 88)])
def test_flat_colours_come_back(tmp_path, color):
    flat = np.full((32, 48, 3), color, np.uint8)
    write_video(tmp_path / "flat.mp4", [flat, flat])
    assert worst(VideoFrames(tmp_path / "flat.mp4").frames([1])[0], flat) <= 2


@pytest.mark.parametrize(
    ("color", "stored"), [((255, 0, 0), (63, 102, 240)), ((0, 0, 255), (32, 240, 118)), ((255, 255, 255), (235, 128, 128))]
)
def test_what_is_stored_is_bt709_in_limited_range(tmp_path, color, stored):
    """By the equations of ITU-R BT.709: Y = 16 + 219 (.2126 R + .7152 G + .0722 B) and so on; and the file says so."""
    write_video(tmp_path / "flat.mp4", [np.full((32, 32, 3), color, np.uint8)], crf=1)
    with av.open(str(tmp_path / "flat.mp4")) as film:
        frame = next(film.decode(video=0))
        assert (frame.colorspace, frame.color_range, frame.format.name) == (1, 1, "yuv420p")
        assert worst([np.frombuffer(plane, np.uint8)[0] for plane in frame.planes], stored) <= 1


def test_pictures_come_back_above_38_db(tmp_path, picture):
    originals = [picture(i, 128, 128) for i in range(10)]
    write_video(tmp_path / "film.mp4", originals, crf=12)
    error = VideoFrames(tmp_path / "film.mp4").frames(range(10)).numpy().astype(float) - np.stack(originals)
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 38


@pytest.mark.parametrize(("space", "color_range"), [(1, 1), (1, 2), (5, 1), (5, 2)])
def test_colours_of_other_writers_are_read_by_their_tags(tmp_path, space, color_range):
    color = np.full((64, 64, 3), (200, 60, 30), np.uint8)
    with av.open(str(tmp_path / "x.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width = stream.height = 64
        stream.codec_context.colorspace, stream.codec_context.color_range = space, color_range
        frame = av.VideoFrame.from_ndarray(color, format="rgb24")
        film.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=space, src_color_range=2, dst_color_range=color_range)))
        film.mux(stream.encode(None))
    assert worst(VideoFrames(tmp_path / "x.mp4").frames([0])[0], color) <= 3


@pytest.mark.parametrize("fps", [25, 30, Fraction(30000, 1001), 12.5])
def test_frame_count_and_rate_are_exact(tmp_path, picture, fps):
    write_video(tmp_path / "film.mp4", (picture(i) for i in range(37)), fps=fps, key_frame_every=None)
    film = VideoFrames(tmp_path / "film.mp4")
    assert (len(film), film.fps, film.size) == (37, Fraction(fps), (64, 64))


def test_any_order_with_repeats_equals_decoding_from_the_start(film):
    truth, frames = sequential(film), VideoFrames(film)
    order = [59, 0, 17, 17, 3, 58, 30, 31, 32, 5]
    for number, picture in zip(order, frames.frames(order), strict=True):
        away = [np.abs(other.astype(int) - picture.numpy()).mean() for other in truth]
        assert away[number] == min(away) < 6, number  # not 0: PyAV's own conversion is swscale's fast one


def test_small_steps_forwards_equal_one_pass(film):
    frames = VideoFrames(film)
    whole = frames.frames(range(60))
    assert torch.equal(torch.cat([frames.frames(range(i, i + 7)) for i in range(0, 56, 7)]), whole[:56])
    assert torch.equal(torch.cat([frames.frames([i]) for i in reversed(range(60))]), whole.flip(0))


def test_only_what_is_wanted_is_decoded(tmp_path, picture, monkeypatch):
    from mango.data.video import _Decoder

    write_video(tmp_path / "film.mp4", (picture(i) for i in range(60)))
    fed = []
    step = _Decoder._step
    monkeypatch.setattr(_Decoder, "_step", lambda self: (fed.append(self.next), step(self))[1])
    VideoFrames(tmp_path / "film.mp4").frames([40, 3, 3, 22])
    assert fed == [3, 22, 40]


def test_going_on_decodes_nothing_twice(tmp_path, picture, monkeypatch):
    """Chunks in order cost one pass, although frames are stored in another order than they are shown."""
    from mango.data.video import _Decoder

    write_video(tmp_path / "film.mp4", (picture(i) for i in range(60)), key_frame_every=None)
    frames, fed, step = VideoFrames(tmp_path / "film.mp4"), [], _Decoder._step
    assert not np.array_equal(frames.index.order, np.arange(60))
    monkeypatch.setattr(_Decoder, "_step", lambda self: (fed.append(self.next), step(self))[1])
    for start in range(0, 60, 5):
        frames.frames(range(start, start + 5))
    assert len(fed) <= 61 + 5


def test_frames_outside_the_film_are_an_error(film):
    with pytest.raises(IndexError, match="frame 60 of 60"):
        VideoFrames(film).frames([60])
    assert VideoFrames(film).frames([]).shape == (0, 64, 64, 3)


def test_mattes_are_the_brightness(tmp_path):
    levels = [0, 64, 128, 200, 255]
    write_video(tmp_path / "mask.mp4", [np.full((32, 32, 3), level, np.uint8) for level in levels])
    for level, matte in zip(levels, VideoFrames(tmp_path / "mask.mp4").mattes(range(5)), strict=True):
        assert worst(matte, np.full((32, 32), level)) <= 2


@pytest.mark.parametrize("color_range", [1, 2], ids=["limited", "full"])
def test_mattes_are_swscales_numbers(tmp_path, color_range):
    """Every level, those outside the limited range included. Planted and seen red: levels cut off instead of rounded."""
    from mango.data.film_colours import exact_conversion

    with av.open(str(tmp_path / "mask.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.color_range = color_range
        frame = av.VideoFrame.from_ndarray(np.full((96, 64), 128, np.uint8), format="yuv420p")
        np.frombuffer(frame.planes[0], np.uint8)[:] = np.repeat(np.arange(256), 16).astype(np.uint8)  # one luma level after the other
        film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    with av.open(str(tmp_path / "mask.mp4")) as film:
        frame = next(film.decode(video=0))
        exact = frame.reformat(format="gray", interpolation=exact_conversion(), src_color_range=color_range, dst_color_range=2)
    assert np.array_equal(VideoFrames(tmp_path / "mask.mp4").mattes([0])[0], exact.to_ndarray())
    assert len(np.unique(exact.to_ndarray())) > 200


def test_films_of_key_frames_share_a_codec(tmp_path, picture, monkeypatch):
    """Read in turn, by frames and by mattes, each film shows its own. Planted and seen red: a film that is not turned to."""
    from mango.data.video import _Decoder

    films, made, make = [], [], _Decoder.__init__
    for number in range(3):
        write_video(tmp_path / f"{number}.mp4", (picture(20 * number + i) for i in range(8)))
        films.append(VideoFrames(tmp_path / f"{number}.mp4"))
    whole = [film.frames(range(8)) for film in films]
    monkeypatch.setattr(_Decoder, "__init__", lambda self, kind: (made.append(kind), make(self, kind))[1])
    wrong = []

    def read():
        for film, pictures in zip(films, whole, strict=True):
            if not all(torch.equal(film.frames([i])[0], pictures[i]) for i in (7, 2)) or film.mattes([3]).shape != (1, 64, 64):
                wrong.append(film.path)

    reader = threading.Thread(target=read)  # a thread that has no codec yet
    reader.start()
    reader.join()
    assert wrong == [] and len(made) == 1


def test_threads_read_one_film_at_once(film):
    frames = VideoFrames(film)
    whole, wrong = frames.frames(range(60)), []

    def read(seed):
        order = np.random.default_rng(seed).integers(0, 60, 40)
        if not torch.equal(frames.frames(order.tolist()), whole[order]):
            wrong.append(seed)

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert wrong == []


def _sums(frames, order, answer):
    answer.put([int(picture.sum()) for picture in frames.frames(order)])


def test_forked_workers_read_beside_their_parent(film):
    frames = VideoFrames(film)
    whole = [int(picture.sum()) for picture in frames.frames(range(60))]
    frames.frames([20])  # the codec stands in the middle when the workers are born
    context = multiprocessing.get_context("fork")
    answers = [context.Queue() for _ in range(2)]
    workers = [context.Process(target=_sums, args=(frames, [41, 7, 21], answer)) for answer in answers]
    for worker in workers:
        worker.start()
    assert [int(picture.sum()) for picture in frames.frames([21, 22])] == whole[21:23]
    for worker, answer in zip(workers, answers, strict=True):
        assert answer.get(timeout=20) == [whole[41], whole[7], whole[21]]
        worker.join()


def test_pickled_readers_read(film):
    frames = VideoFrames(film)
    assert torch.equal(pickle.loads(pickle.dumps(frames)).frames([9]), frames.frames([9]))


def test_more_films_than_may_be_open(tmp_path, picture):
    films = []
    for number in range(20):
        write_video(tmp_path / f"{number}.mp4", [picture(number, 16, 16)] * 2, key_frame_every=None)
        films.append(VideoFrames(tmp_path / f"{number}.mp4"))
    first = [film.frames([0]) for film in films]
    assert all(torch.equal(film.frames([0]), seen) for film, seen in zip(films, first, strict=True))


def test_a_film_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "film.mp4"
    for level in (10, 200):
        write_video(path, [np.full((16, 16, 3), level, np.uint8)])
        assert abs(int(VideoFrames(path).frames([0])[0, 0, 0, 0]) - level) <= 2


@pytest.mark.parametrize("channels", [None, 1, 2])
def test_sound_is_as_long_as_the_pictures(tmp_path, picture, channels):
    shape = (75 * 640,) if channels is None else (channels, 75 * 640)
    tone = 0.5 * torch.sin(torch.arange(75 * 640) * 0.2).expand(shape)
    write_video(tmp_path / "film.mp4", (picture(i) for i in range(75)), audio=tone, key_frame_every=None)
    with av.open(str(tmp_path / "film.mp4")) as film:
        sound = film.streams.audio[0]
        assert (sound.codec_context.name, sound.rate, sound.codec_context.channels) == ("aac", 16000, channels or 1)
        heard = np.concatenate([frame.to_ndarray() for frame in film.decode(sound)], axis=1)
    assert abs(heard.shape[1] - 75 * 640) <= 1024  # AAC's frames
    assert abs(np.abs(heard[0, 2000:-3000]).max() - 0.5) < 0.1


def test_stereo_keeps_left_and_right(tmp_path, picture):
    tone = 0.5 * torch.sin(torch.arange(50 * 640) * 0.2)
    write_video(tmp_path / "film.mp4", (picture(i) for i in range(50)), audio=torch.stack([tone, torch.zeros_like(tone)]))
    with av.open(str(tmp_path / "film.mp4")) as film:
        heard = np.concatenate([frame.to_ndarray() for frame in film.decode(audio=0)], axis=1)
    assert np.abs(heard[0]).max() > 0.4
    assert np.abs(heard[1]).max() < 0.05


def test_odd_sizes_are_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(InputError, match="even width and height, found 63x64"):
        write_video(tmp_path / "film.mp4", [np.zeros((64, 63, 3), np.uint8)])
    assert list(tmp_path.iterdir()) == []


def test_frames_that_fail_leave_nothing_and_keep_the_old_film(tmp_path, picture):
    def failing():
        yield picture(0)
        raise RuntimeError("the renderer broke")

    write_video(tmp_path / "film.mp4", [picture(3)])
    before = (tmp_path / "film.mp4").read_bytes()
    with pytest.raises(RuntimeError, match="the renderer broke"):
        write_video(tmp_path / "film.mp4", failing())
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    assert (tmp_path / "film.mp4").read_bytes() == before


@pytest.mark.parametrize("room", [100, 20_000, 60_000])
def test_a_disk_that_is_full_is_named(tmp_path, room):
    """The kernel itself refuses to write more (RLIMIT_FSIZE), early, in the middle, at the end."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3)).astype(np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(InputError, match="a place to write to"):
            write_video(tmp_path / "film.mp4", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"", "a video"), (b"this is text, not a film\n" * 99, "a video"), (b"RIFF\0\0\0\0WAVEfmt ", "a video")],
)
def test_what_is_not_a_video_is_refused(tmp_path, content, words):
    path = tmp_path / "film.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        VideoFrames(path)


def test_sound_without_pictures_is_refused(tmp_path):
    with av.open(str(tmp_path / "x.mp4"), "w") as film:
        stream = film.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    with pytest.raises(InputError, match="without pictures"):
        VideoFrames(tmp_path / "x.mp4")


@pytest.mark.parametrize("part", [0.05, 0.5, 0.99])
def test_truncated_films_are_refused(film, part):
    content = film.read_bytes()
    film.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(InputError):
        VideoFrames(film)


def test_damaged_frames_are_never_shown(tmp_path, picture):
    path = tmp_path / "film.mp4"
    write_video(path, (picture(i) for i in range(20)))
    index = VideoFrames(path).index
    content = bytearray(path.read_bytes())
    middle = int(index.places[10] + index.sizes[10] // 3)
    content[middle : middle + 40] = bytes(range(40))
    path.write_bytes(bytes(content))
    damaged = VideoFrames(path)
    with pytest.raises(InputError, match="cannot be decoded"):
        damaged.frames([10])
    assert np.abs(damaged.frames([9])[0].numpy() - picture(9).astype(int)).mean() < 5  # its neighbours are whole


# Transparent films ----------------------------------------------------------------------------------------------------------------------


def decoded_with_alpha(path):
    with av.open(str(path)) as film:
        if path.suffix == ".webm":  # FFmpeg's own VP9 decoder leaves the alpha out
            decoder = av.CodecContext.create("libvpx-vp9", "r")
            frames = [frame for packet in film.demux(video=0) for frame in decoder.decode(packet if packet.size else None)]
        else:
            frames = list(film.decode(video=0))
    return [frame.to_ndarray(format="rgba") for frame in frames]


@pytest.mark.parametrize(("suffix", "codecs"), [(".mov", ("prores", "pcm_s16le")), (".webm", ("vp9", "opus"))])
def test_transparent_films_keep_colours_alpha_and_sound(tmp_path, suffix, codecs):
    frame = np.zeros((32, 64, 4), np.uint8)
    frame[..., :3], frame[..., 3] = (200, 120, 40), np.linspace(0, 255, 64).astype(np.uint8)
    sound = 0.3 * torch.sin(torch.arange(6 * 640) / 8).repeat(2, 1)
    write_video(tmp_path / f"film{suffix}", [frame] * 6, audio=sound)
    with av.open(str(tmp_path / f"film{suffix}")) as film:
        assert (film.streams.video[0].codec_context.name, film.streams.audio[0].codec_context.name) == codecs
    frames = decoded_with_alpha(tmp_path / f"film{suffix}")
    assert len(frames) == 6 and worst(frames[3][..., 3], frame[..., 3]) <= 3
    assert worst(frames[3][:, 32:, :3], frame[:, 32:, :3]) <= 4


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
def test_equal_films_are_equal_files(tmp_path, suffix):
    """Seen red: WebM's segment had a random name."""
    for name in ("one", "two"):
        write_video(tmp_path / f"{name}{suffix}", [np.full((32, 32, 3), 90, np.uint8)] * 3, audio=torch.zeros(1, 3 * 640))
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_a_folder_of_pictures_is_lossless_and_whole_or_not_there(tmp_path):
    import cv2

    frames = [np.random.default_rng(k).integers(0, 256, (8, 10, 4), dtype=np.uint8) for k in range(3)]
    write_video(tmp_path / "pictures", frames, audio=torch.zeros(2, 3 * 640))
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        *("000000.png", "000001.png", "000002.png", "film.json", "sound.wav")
    ]
    stored = cv2.imread(str(tmp_path / "pictures" / "000002.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(cv2.cvtColor(stored, cv2.COLOR_BGRA2RGBA), frames[2])

    def failing():
        yield frames[0]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_video(tmp_path / "half", failing())
    assert not (tmp_path / "half").exists()


def test_a_folder_that_came_meanwhile_is_not_replaced(tmp_path):
    """Seen red: whoever wrote pictures last kept theirs, and the other's were gone."""

    def slow():
        yield np.zeros((8, 8, 3), np.uint8)
        (tmp_path / "pictures").mkdir()
        (tmp_path / "pictures" / "mine.txt").write_text("mine")

    with pytest.raises(InputError, match="expected a new folder, found one that exists"):
        write_video(tmp_path / "pictures", slow())
    assert (tmp_path / "pictures" / "mine.txt").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_what_a_film_says_of_itself_may_be_in_any_letters(tmp_path):
    """Seen red: a traceback of Python's decoder."""
    write_video(tmp_path / "v.mp4", [np.zeros((32, 32, 3), np.uint8)], comment="caf")
    content = (tmp_path / "v.mp4").read_bytes()
    (tmp_path / "v.mp4").write_bytes(content.replace(b"caf", b"ca\xe9"))
    assert comment_of(tmp_path / "v.mp4").startswith("ca") and comment_of(tmp_path / "v.mp4") != "caf"


def test_alpha_where_it_cannot_be_kept_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"\.mov, \.webm"):
        write_video(tmp_path / "film.mp4", [np.zeros((8, 8, 4), np.uint8)])
