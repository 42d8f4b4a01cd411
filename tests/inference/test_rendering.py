"""Two motions to one video: the right person on the right side, in step with the sound, in constant memory."""

from dataclasses import replace

import pytest
import torch

from mango.audio.reading import write_audio
from mango.data.json_files import read_json
from mango.data.motion_files import save_motion
from mango.data.video import VideoFrames, write_video
from mango.errors import InputError
from mango.inference import rendering
from mango.inference.avatars import load_avatar
from mango.inference.backgrounds import PLAIN, Picture, background_of
from mango.inference.captions import SoundStrips
from mango.inference.rendering import RenderConfig, film_frames, person_layers, render_dialogue, render_motion_folder, top_of
from mango.inference.views import portrait, view_of
from mango.types import MotionClip
from renderer.cameras import portrait_camera

SIZE = 32


@pytest.fixture(scope="module")
def drawn(head, avatars):
    return {person: load_avatar(path, head) for person, path in zip("ab", avatars, strict=True)}


@pytest.fixture(scope="module")
def make_clip(head):
    def make(frames, jaw=0.0, **changed):
        still = torch.zeros(frames, 3)
        opening = torch.linspace(0, jaw, frames)[:, None] * torch.tensor([1.0, 0, 0])
        parts = {"rotation": still, "neck_pose": still, "translation": still, "jaw_pose": opening, "eyes_pose": torch.zeros(frames, 6)}
        parts |= {"expr": torch.zeros(frames, head.expressions), "shape": torch.zeros(head.identities), "head": head.digest, "fps": 25.0}
        return MotionClip(**{**parts, **changed})

    return make


def film(clips, avatars, voices=None, **config):
    config = RenderConfig(**{"size": SIZE, **config})
    return torch.stack(list(film_frames(clips, avatars, voices, config, background_of(config.background))))


def test_person_a_is_on_the_left_with_their_own_motion(drawn, make_clip):
    """Notices exchanged people, avatars exchanged against motions, and frames that stand still."""
    clips = {"a": make_clip(4), "b": make_clip(4, jaw=0.5)}
    frames = film(clips, drawn)
    assert frames.shape == (4, SIZE, 2 * SIZE, 3)
    left, right = frames[:, :, :SIZE].float(), frames[:, :, SIZE:].float()
    assert torch.equal(frames[:, :, :SIZE], film(clips, drawn, view="single"))
    assert torch.equal(frames[:, :, SIZE:], film(clips, drawn, view="single", person="b"))
    assert torch.equal(left[0], left[-1]) and (right[0] - right[-1]).abs().max() > 5
    corner = background_of(PLAIN).colors[0, 0] * 255
    assert (left[0, 0, 0] - corner).abs().max() <= 1 and (left[0].mean((0, 1)) - right[0].mean((0, 1))).abs().max() > 3


def test_chunks_do_not_show(drawn, make_clip, monkeypatch):
    """Notices frames lost or doubled where one chunk ends."""
    clip, camera = make_clip(7, jaw=0.4), portrait_camera(SIZE)
    whole = list(person_layers(clip, drawn["a"], camera))
    monkeypatch.setattr("mango.inference.rendering.CHUNK", 3)
    pieces = list(person_layers(clip, drawn["a"], camera))
    assert len(pieces) == 7
    torch.testing.assert_close(torch.stack(pieces), torch.stack(whole), atol=1e-5, rtol=0)


def test_what_was_learnt_in_small_pictures_is_drawn_large_without_glitter(head, avatars, make_clip):
    """Gaussians far smaller than the pixels they learnt from, light beside dark: large, they look as they did small, and not like salt."""
    known = load_avatar(avatars[0], head)
    generator = torch.Generator().manual_seed(0)
    known.avatar.albedo.copy_(torch.randint(0, 2, known.avatar.albedo.shape[:1], generator=generator)[:, None].expand(-1, 3).float())
    known.avatar.log_scales.sub_(1.0)
    small, large = portrait_camera(SIZE), portrait_camera(8 * SIZE)

    def mottled() -> float:
        """How much neighbouring pixels of the face differ."""
        (drawn,) = person_layers(make_clip(1), known, large)
        face = drawn[3 * SIZE : 5 * SIZE, 3 * SIZE : 5 * SIZE, :3]
        return float((face[1:] - face[:-1]).abs().mean())

    unknown = mottled()
    known.avatar.pixels_per_metre = float(small.intrinsics[0, 0] / small.camera_from_world[2, 3])
    assert mottled() < 0.5 * unknown
    known.avatar.pixels_per_metre *= 8
    assert mottled() == unknown, "drawn no larger than it was learnt: as in training"


def test_the_top_is_that_of_the_hair_in_the_highest_frame(drawn, make_clip, monkeypatch):
    """Noticed: the first frame's alone, Gaussians that nobody sees, one wisp taken for a head."""
    avatar, still = drawn["a"], make_clip(30)
    level = top_of(still, avatar)
    bowed = torch.zeros(30, 3)
    bowed[:, 0] = 0.7
    low = top_of(replace(still, neck_pose=bowed), avatar)
    bowed[12:18] = 0.0
    assert low < level - 0.02 and top_of(replace(still, neck_pose=bowed), avatar) == level
    gaussians = avatar.gaussians(still.frames(slice(1)))
    means, scales, opacities = (
        gaussians.means.clone(),
        gaussians.scales.clone(),
        gaussians.opacities.clone().expand(gaussians.means.shape[:-1]).clone(),
    )
    means[:, :2], scales[:, :2], means[:, 2:40, 1], opacities[:, 2:40] = torch.tensor([0.0, 0.25, 0.0]), 0.001, 0.3, 0.01
    seen = replace(gaussians, means=means, scales=scales, opacities=opacities)
    monkeypatch.setattr(type(avatar), "gaussians", lambda self, clip, eye=None: seen)
    assert abs(top_of(still.frames(slice(1)), avatar) - level) < 0.01


def test_soft_hair_is_not_cut_off(drawn, make_clip, monkeypatch):
    """Seen red: centres of Gaussians, and not what they cover, said how high hair reaches."""
    avatar, still = drawn["a"], make_clip(1)
    gaussians = avatar.gaussians(still)
    soft = replace(gaussians, means=gaussians.means + torch.tensor([0.0, 0.05, 0.0]), scales=4 * gaussians.scales)
    monkeypatch.setattr(type(avatar), "gaussians", lambda self, clip, eye=None: soft)

    def cut_off(top: float) -> float:
        """Alpha of the uppermost row of a portrait."""
        (layer,) = person_layers(still, avatar, portrait(100, top))
        return float(layer[0, :, 3].max())

    level = top_of(still, avatar)
    assert cut_off(level) < 0.1 < cut_off(level - 0.02)


def test_the_shape_is_the_avatars_and_placement_is_left_out(head, drawn, make_clip):
    """Notices a clip's identity or place in the world moving the Gaussians away from the face they were fitted to."""
    camera = portrait_camera(SIZE)
    moved = make_clip(1, shape=torch.full((head.identities,), 2.0), translation=torch.ones(1, 3))
    (as_it_is,), (still,) = (list(person_layers(clip, drawn["a"], camera)) for clip in (moved, make_clip(1)))
    torch.testing.assert_close(as_it_is, still)


def test_the_video_has_all_frames_and_both_voices(drawn, make_clip, tmp_path):
    """Notices channels exchanged or mixed, a video without sound, and progress that does not end."""
    import av

    clips, seen = {"a": make_clip(12), "b": make_clip(12)}, []
    time = torch.arange(12 * 640) / 16_000
    voices = torch.stack([0.5 * torch.sin(2 * torch.pi * 500 * time), torch.zeros_like(time)])
    render_dialogue(
        clips, drawn, voices, tmp_path / "v.mp4", RenderConfig(size=SIZE), progress=lambda done, total: seen.append((done, total))
    )
    video = VideoFrames(tmp_path / "v.mp4")
    assert (len(video), video.fps, video.size) == (12, 25, (SIZE, 2 * SIZE))
    assert seen[-1] == (12, 12)
    with av.open(str(tmp_path / "v.mp4")) as film:
        assert film.streams.audio[0].codec_context.name == "aac" and film.streams.video[0].codec_context.pix_fmt == "yuv420p"
        sound = torch.cat([torch.from_numpy(frame.to_ndarray()) for frame in film.decode(audio=0)], dim=1)
    assert sound.shape[0] == 2 and sound[0].abs().max() > 0.3 and sound[1].abs().max() < 0.05


def test_clips_of_different_lengths_are_refused(drawn, make_clip, tmp_path):
    with pytest.raises(InputError, match="b is longer by 2"):
        render_dialogue({"a": make_clip(3), "b": make_clip(5)}, drawn, None, tmp_path / "v.mp4", RenderConfig(size=SIZE))
    assert not list(tmp_path.iterdir())


def test_clips_of_two_rates_are_as_long_as_they_last(drawn, make_clip, tmp_path):
    """Seen red: frames were compared before they had one rate, so that equal times were refused and unequal ones ended in a traceback."""
    clips = {"a": make_clip(5), "b": make_clip(6, fps=30.0)}
    render_dialogue(clips, drawn, None, tmp_path / "v.mp4", RenderConfig(size=SIZE))
    assert len(VideoFrames(tmp_path / "v.mp4")) == 5
    with pytest.raises(InputError, match="at 25 a second, found a of 6 and b of 5"):
        render_dialogue({"a": make_clip(6), "b": make_clip(6, fps=30.0)}, drawn, None, tmp_path / "w.mp4", RenderConfig(size=SIZE))


def test_sound_of_another_length_is_refused(drawn, make_clip, tmp_path):
    """Seen red: a film of 25 frames and 20 seconds of sound."""
    clips = {"a": make_clip(5), "b": make_clip(5)}
    for samples in (640, 16_000):
        with pytest.raises(InputError, match=r"expected 0\.20 s, as long as the motion"):
            render_dialogue(clips, drawn, torch.zeros(2, samples), tmp_path / "v.mp4", RenderConfig(size=SIZE))
    assert not list(tmp_path.iterdir())
    render_dialogue(clips, drawn, torch.zeros(2, 5 * 640 + 1024), tmp_path / "v.mp4", RenderConfig(size=SIZE, fps=50.0))


# Views, backgrounds, names ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def turns():
    """a speaks for three seconds, then b, in noise that the detector takes for speech."""
    loud = (torch.arange(6 * 16_000) < 3 * 16_000).float()
    bursts = torch.rand(2, 600, generator=torch.Generator().manual_seed(1)).repeat_interleave(160, 1)
    noise = torch.randn(2, 6 * 16_000, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
    return 0.2 * noise * bursts * torch.stack([loud, 1 - loud])


def test_the_background_is_behind_everybody(drawn, make_clip, tmp_path):
    """A colour, a picture cut to fit, nothing at all: where people are solid nothing of it shows, where nobody is nothing else does."""
    import cv2

    clips = {"a": make_clip(1), "b": make_clip(1)}
    halves = torch.zeros(20, 80, 3, dtype=torch.uint8)
    halves[:, 40:, 0] = 255  # red on the right (OpenCV: blue channel last)
    cv2.imwrite(str(tmp_path / "p.png"), halves.numpy()[..., ::-1])
    red, green, picture = (film(clips, drawn, background=b)[0].float() for b in ("#ff0000", "lime", str(tmp_path / "p.png")))
    clear = film(clips, drawn, background="transparent")[0].float()
    assert clear.shape[-1] == 4 and clear[0, 0, 3] == 0 and clear[..., 3].max() > 250
    solid, empty = clear[..., 3] > 253, clear[..., 3] == 0
    assert (red[solid] - green[solid]).abs().max() <= 3 and (red[solid] - clear[solid][:, :3]).abs().max() <= 3
    assert (red[empty] == torch.tensor([255.0, 0, 0])).all() and (green[empty] == torch.tensor([0, 255.0, 0])).all()
    assert (picture[empty[:, :SIZE].nonzero()[0][0], 0] == 0).all() and picture[0, -1, 0] == 255


def test_of_a_very_long_picture_only_what_is_seen_is_enlarged():
    """Seen red: all of it was, to gigabytes, of which the middle was kept."""
    long = torch.zeros(2, 40_000, 3)
    long[:, 19_998:20_002] = 1.0
    for colors, shape in ((long, (512, 256)), (long.transpose(0, 1).contiguous(), (256, 512))):
        filled = Picture(colors).filling(*shape)
        assert filled.shape == (*shape[::-1], 3) and float(filled.mean()) == 1.0


def test_transparent_colours_are_straight(drawn, make_clip):
    """Put over a background by hand, the transparent film is the opaque one."""
    clips = {"a": make_clip(1), "b": make_clip(1)}
    clear, white = (film(clips, drawn, background=b)[0].double() / 255 for b in ("transparent", "white"))
    alpha = clear[..., 3:]
    assert (alpha * clear[..., :3] + (1 - alpha) - white).abs().max() < 2.5 / 255


def test_the_two_shot_shows_both_then_who_speaks(drawn, make_clip, turns):
    clips = {person: make_clip(150, jaw=0.3) for person in "ab"}
    frames = film(clips, drawn, turns, view="two-shot", background="white").float()
    dark = (frames < 200).any(-1).float().mean((1, 2))
    jumps = (dark.diff().abs() > 0.01).nonzero()[:, 0].tolist()
    assert 1 <= len(jumps) <= 3 and 50 <= jumps[0] + 1 <= 100, f"cuts after frames {jumps}"
    left = (frames[0, :, : frames.shape[2] // 2] < 200).any()
    right = (frames[0, :, frames.shape[2] // 2 :] < 200).any()
    assert left and right, "it begins with both"


def test_names_are_solid_while_their_owner_speaks(drawn, make_clip, turns):
    clips = {person: make_clip(150) for person in "ab"}
    size = 96
    plain, named = (film(clips, drawn, turns, names=names, size=size).float() for names in (None, ("Ada", "Ben")))
    change = (plain - named).abs().sum(-1)
    left, right = change[..., :size].sum((1, 2)), change[..., size:].sum((1, 2))
    assert left[30] > 1.5 * left[120] > 0 and right[120] > 1.5 * right[30] > 0
    assert (change[:, : size // 2] == 0).all(), "below the chin"


def test_sound_strips_show_who_was_and_will_be_heard(drawn, make_clip, turns):
    clips = {person: make_clip(150) for person in "ab"}
    size = 96
    frames = film(clips, drawn, turns, view="grid", size=size, background="white").float()
    assert frames.shape[1] == size + 16
    strips = (frames[:, size:] < 200).any(-1).float()
    a, b = strips[75, :, :size].sum(0), strips[75, :, size:].sum(0)  # at three seconds: a before the playhead, b after it
    middle = slice(size // 2 - 2, size // 2 + 2)
    assert a[: size // 2 - 2].sum() > 2 * a[size // 2 + 2 :].sum() and a[middle].max() == 16
    assert b[size // 2 + 2 :].sum() > 2 * b[: size // 2 - 2].sum()


def test_noise_of_who_listens_is_not_shown_as_speech():
    """Quiet speech is. Seen red: a listener's noise filled the strip, higher than the other's words."""
    voices = torch.zeros(2, 16_000)
    voices[0, 8000:9000] = 0.8
    silence = view_of("grid", 96, torch.zeros(2, 1), 25.0, {"a": 0.0, "b": 0.0})
    for loudness, shown in ((0.004, 0.25), (0.09, 1.0)):
        voices[1] = loudness * torch.sin(torch.arange(16_000.0))
        assert float(SoundStrips(voices, silence).level[1].max()) == pytest.approx(shown, abs=0.06)


@pytest.mark.parametrize("width", [96, 256, 512, 720, 1024])
def test_sound_strips_stay_with_the_film(width):
    """A click after ten minutes lies in the middle when it is heard. Samples to a pixel were rounded, seconds to a pixel were not."""
    click, voices = 600, torch.zeros(2, 16_000 * 605)
    voices[0, 16_000 * click] = 1.0
    strips = SoundStrips(voices, view_of("grid", width, torch.zeros(2, 1), 25.0, {"a": 0.0, "b": 0.0}))
    shown = round(click / strips.seconds_per_pixel)
    assert abs(int(strips.level[0].argmax()) - shown) <= 1


@pytest.mark.parametrize(
    ("config", "told"), [({"view": "two-shot"}, "two-shot"), ({"view": "grid"}, "grid"), ({"names": ("A", "B")}, "names")]
)
def test_what_needs_sound_says_so(drawn, make_clip, config, told):
    with pytest.raises(InputError, match=f"{told}.*no sound"):
        film({"a": make_clip(2), "b": make_clip(2)}, drawn, **config)


def test_a_font_without_names_is_refused(tmp_path):
    with pytest.raises(InputError, match="font: expected names to write in it"):
        RenderConfig(font=tmp_path / "missing.ttf")


@pytest.mark.parametrize(
    ("out", "config", "told"),
    [
        ("v.mp4", {"background": "transparent"}, r"\.mov, \.webm or a folder"),
        ("v.avi", {}, r"choose \.mp4"),
        ("v.mp4", {"background": "nowhere.png"}, "colour, a picture file or transparent"),
        ("v.mp4", {"background": "#12345678"}, "a colour that covers"),
        ("v.mp4", {"background": "x" * 300}, "colour, a picture file or transparent"),
        ("v.mp4", {"sound": "mixed"}, "--sound mixed: expected both voices"),
    ],
)
def test_impossible_films_are_refused_before_anything_is_drawn(drawn, make_clip, tmp_path, out, config, told):
    with pytest.raises(InputError, match=told):
        render_dialogue({"a": make_clip(2), "b": make_clip(2)}, drawn, None, tmp_path / out, RenderConfig(size=SIZE, **config))
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_with_the_film_is_told_before_motion_is_read(motion_folder, avatars, monkeypatch, tmp_path):
    """Seen red: minutes of retargeting, and then a spelling mistake in a colour."""
    monkeypatch.setattr("mango.inference.rendering.load_head", lambda *_: pytest.fail("it began"))
    for out, config in (("v.avi", {}), ("v.mp4", {"background": "whiet"}), ("v.mp4", {"background": "transparent"})):
        with pytest.raises(InputError):
            render_motion_folder(motion_folder, avatars, tmp_path / out, RenderConfig(**config))


def test_transparent_parts_of_a_picture_are_not_shown(tmp_path):
    """Seen red: what lies hidden under them was. An alpha that hides nothing is fine."""
    import cv2

    red = torch.zeros(4, 4, 4, dtype=torch.uint8)
    red[..., 2:] = 255
    cv2.imwrite(str(tmp_path / "solid.png"), red.numpy())
    assert float(background_of(str(tmp_path / "solid.png")).colors[..., 0].min()) == 1
    red[:2, :, 3] = 0
    cv2.imwrite(str(tmp_path / "clear.png"), red.numpy())
    with pytest.raises(InputError, match="a picture that covers, found one with transparent parts"):
        background_of(str(tmp_path / "clear.png"))


def test_twice_the_frames_take_the_same_time(drawn, make_clip, tmp_path):
    clips = {"a": make_clip(10, jaw=0.4), "b": make_clip(10)}
    speed = render_dialogue(clips, drawn, None, tmp_path / "v.mp4", RenderConfig(size=SIZE, fps=50.0))
    video = VideoFrames(tmp_path / "v.mp4")
    assert (len(video), video.fps) == (20, 50) and 0 < speed.drawing < speed.drawing_and_encoding


@pytest.mark.parametrize(("sound", "channels"), [("stereo", 2), ("mixed", 1), ("b", 1), ("none", 0)])
def test_sound_as_asked_for(drawn, make_clip, turns, tmp_path, sound, channels):
    import av

    clips = {"a": make_clip(150), "b": make_clip(150)}
    render_dialogue(clips, drawn, turns, tmp_path / "v.mp4", RenderConfig(size=SIZE, view="single", sound=sound))
    with av.open(str(tmp_path / "v.mp4")) as made:
        assert (made.streams.audio[0].channels if made.streams.audio else 0) == channels
        if sound == "b":
            heard = torch.cat([torch.from_numpy(frame.to_ndarray()) for frame in made.decode(audio=0)], dim=1)
            assert heard[:, :40_000].abs().max() < 0.05 < heard[:, 50_000:].abs().max()


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.webm"])
def test_other_peoples_films_are_not_replaced(drawn, make_clip, tmp_path, name):
    """Seen red: whatever had the name was. One's own film, rendered again, is."""
    clips, out, config = {"a": make_clip(2), "b": make_clip(2)}, tmp_path / name, RenderConfig(size=SIZE)
    render_dialogue(clips, drawn, None, out, config)
    render_dialogue(clips, drawn, None, out, replace(config, background="red"))
    write_video(out, [torch.zeros(SIZE, SIZE, 3, dtype=torch.uint8)] * 2)
    for content in (out.read_bytes(), b"my only copy"):
        out.write_bytes(content)
        with pytest.raises(InputError, match="found a file of another origin; choose another --out"):
            render_dialogue(clips, drawn, None, out, config)
        assert out.read_bytes() == content


def test_pictures_in_a_folder_are_replaced_like_films(drawn, make_clip, tmp_path):
    """Seen red: never. But not with somebody's notes among them, and they say how fast they play."""
    clips, out, config = {"a": make_clip(3), "b": make_clip(3)}, tmp_path / "pictures", RenderConfig(size=SIZE, fps=50.0)
    render_dialogue(clips, drawn, None, out, config)
    assert read_json(out / "film.json") == {"frames_per_second": 50.0, "frames": 6, "comment": "mango render"}
    render_dialogue(clips, drawn, None, out, replace(config, fps=25.0))
    assert len(list(out.glob("*.png"))) == 3
    (tmp_path / "new").mkdir()
    render_dialogue(clips, drawn, None, tmp_path / "new", config)  # seen red: "a folder with other files", which was empty
    assert len(list((tmp_path / "new").glob("*.png"))) == 6
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="found a folder with other files; choose another --out"):
        render_dialogue(clips, drawn, None, out, config)
    assert (out / "notes.txt").exists()


# Folders of motion and sound --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def motion_folder(make_clip, tmp_path):
    folder = tmp_path / "motion"
    folder.mkdir()
    for person in "ab":
        save_motion(folder / f"{person}.motion.npz", make_clip(25))
    return folder


def test_motion_that_is_not_there_is_said_with_what_is(motion_folder, avatars, tmp_path):
    """Seen red: "b.motion.npz: expected a motion file, found none; check the path", which was right."""
    with pytest.raises(InputError, match=f"found a dialogue set; name one of its dialogues, as {tmp_path}/set/dialogues/d0"):
        (tmp_path / "set" / "dialogues" / "d0").mkdir(parents=True)
        render_motion_folder(tmp_path / "set", avatars, tmp_path / "v.mp4", RenderConfig(size=SIZE))
    (motion_folder / "b.motion.npz").unlink()
    with pytest.raises(InputError, match=r"found a\.motion\.npz alone; show who is there: --view single --person a"):
        render_motion_folder(motion_folder, avatars, tmp_path / "v.mp4", RenderConfig(size=SIZE))
    (motion_folder / "a.motion.json").unlink()
    with pytest.raises(InputError, match=r"found no a\.motion\.json; copy it along; files of other projects are imported first"):
        render_motion_folder(motion_folder, avatars[:1], tmp_path / "v.mp4", RenderConfig(size=SIZE, view="single"))


def sound_of(film) -> tuple[torch.Tensor, int]:
    """Channels by samples, and the rate."""
    import av

    with av.open(str(film)) as opened:
        (stream,) = opened.streams.audio
        pieces = [torch.from_numpy(frame.to_ndarray()) for frame in opened.decode(stream)]  # a .mov's: channels in turn
    return torch.cat(pieces, dim=1).reshape(-1, stream.channels).T, stream.rate


def test_films_sound_as_they_were_recorded(motion_folder, avatars, tmp_path):
    """Seen red: at 16 kHz, without anything above 8 kHz."""
    for person, rate, pitch in (("a", 48_000, 10_000), ("b", 44_100, 1_000)):
        write_audio(motion_folder / f"{person}.wav", 0.5 * torch.sin(2 * torch.pi * pitch * torch.arange(rate) / rate), rate)
    render_motion_folder(motion_folder, avatars, tmp_path / "v.mov", RenderConfig(size=SIZE))
    heard, rate = sound_of(tmp_path / "v.mov")
    assert rate == 48_000
    loudest = torch.fft.rfft(heard.float()[:, :48_000]).abs().argmax(1)
    assert loudest.tolist() == [10_000, 1_000]


def test_two_loud_voices_in_one_are_not_cut_off(drawn, make_clip, tmp_path):
    """Seen red: clipped."""
    loud = 0.9 * torch.sin(torch.arange(16_000) * 0.1).expand(2, -1)
    render_dialogue({"a": make_clip(25), "b": make_clip(25)}, drawn, loud, tmp_path / "v.mov", RenderConfig(size=SIZE, sound="mixed"))
    heard, _ = sound_of(tmp_path / "v.mov")
    assert (heard.float().abs() > 0.999 * heard.abs().max()).float().mean() < 0.05


def test_a_silent_film_is_told(motion_folder, avatars, tmp_path):
    said = []
    for sound in (None, "none"):
        render_motion_folder(motion_folder, avatars, tmp_path / "v.mp4", RenderConfig(size=SIZE, sound=sound), told=said.append)
    (only,) = said
    assert only.endswith("no a.wav and b.wav beside the motion: the film is silent")


def test_one_person_alone_needs_nobody_else(motion_folder, avatars, tmp_path):
    """Seen red: one's own tracked film could not be looked at without another's motion and avatar."""
    (motion_folder / "a.motion.npz").unlink()
    config = RenderConfig(size=SIZE, view="single", person="b")
    render_motion_folder(motion_folder, avatars[1:], tmp_path / "one.mp4", config)
    render_motion_folder(motion_folder, avatars, tmp_path / "of_two.mp4", config)
    alone, of_two = (VideoFrames(tmp_path / name).frames([24]) for name in ("one.mp4", "of_two.mp4"))
    assert torch.equal(torch.as_tensor(alone), torch.as_tensor(of_two))
    with pytest.raises(InputError, match="two avatars, found 1"):
        render_motion_folder(motion_folder, avatars[1:], tmp_path / "two.mp4", RenderConfig(size=SIZE))


def test_who_is_shown_is_for_the_single_view():
    """Seen red: --person without it was not heeded."""
    with pytest.raises(InputError, match="expected --view single"):
        RenderConfig(person="b")


def test_a_head_that_turns_in_the_world_is_told(motion_folder, avatars, make_clip, tmp_path):
    """Seen red: motion whose rotation does all the turning became a head that never turns, without a word."""
    turning = torch.zeros(25, 3)
    turning[:, 1] = torch.linspace(torch.pi - 0.3, torch.pi + 0.3, 25)
    turning[13:, 1] -= 2 * torch.pi  # the same turns, as trackers write them: seen red, 342 degrees
    save_motion(motion_folder / "b.motion.npz", make_clip(25, rotation=turning))
    said = []
    render_motion_folder(motion_folder, avatars, tmp_path / "v.mp4", RenderConfig(size=SIZE, sound="none"), told=said.append)
    (only,) = said
    assert "b.motion.npz: the film leaves out how the head turns in the world (rotation, by up to 34 degrees)" in only


def test_large_pictures_are_drawn_a_few_at_a_time(drawn, make_clip, monkeypatch):
    """Seen red: ten of them, gigabytes."""
    at_once = []
    draw = rendering.draw
    monkeypatch.setattr(rendering, "draw", lambda scene, *more, **named: at_once.append(len(scene.means)) or draw(scene, *more, **named))
    monkeypatch.setattr(rendering, "CHUNK_PIXELS", 3 * SIZE * SIZE)
    assert len(list(person_layers(make_clip(7), drawn["a"], portrait_camera(SIZE)))) == 7 and at_once == [3, 3, 1]
