"""Two motions to one video: the right person on the right side, in step with the sound, in constant memory."""

import pytest
import torch

from mango.data.video import VideoFrames
from mango.errors import InputError
from mango.inference.avatars import load_avatar
from mango.inference.rendering import BACKGROUND, bytes_of, dialogue_frames, person_frames, render_dialogue
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


def test_person_a_is_on_the_left_with_their_own_motion(drawn, make_clip):
    """Notices exchanged people, avatars exchanged against motions, and frames that stand still."""
    clips = {"a": make_clip(4), "b": make_clip(4, jaw=0.5)}
    frames = torch.stack(list(dialogue_frames(clips, drawn, SIZE)))
    assert frames.shape == (4, SIZE, 2 * SIZE, 3)
    left, right = frames[:, :, :SIZE].float(), frames[:, :, SIZE:].float()
    alone = torch.stack([bytes_of(picture) for picture in person_frames(clips["a"], drawn["a"], portrait_camera(SIZE))])
    assert torch.equal(frames[:, :, :SIZE], alone)
    assert torch.equal(left[0], left[-1]) and (right[0] - right[-1]).abs().max() > 5
    corner = torch.tensor(BACKGROUND) * 255
    assert (left[0, 0, 0] - corner).abs().max() <= 1 and (left[0].mean((0, 1)) - right[0].mean((0, 1))).abs().max() > 3


def test_chunks_do_not_show(drawn, make_clip, monkeypatch):
    """Notices frames lost or doubled where one chunk ends."""
    clip, camera = make_clip(7, jaw=0.4), portrait_camera(SIZE)
    whole = list(person_frames(clip, drawn["a"], camera))
    monkeypatch.setattr("mango.inference.rendering.CHUNK", 3)
    pieces = list(person_frames(clip, drawn["a"], camera))
    assert len(pieces) == 7
    torch.testing.assert_close(torch.stack(pieces), torch.stack(whole), atol=1e-5, rtol=0)


def test_the_shape_is_the_avatars_and_placement_is_left_out(head, drawn, make_clip):
    """Notices a clip's identity or place in the world moving the Gaussians away from the face they were fitted to."""
    camera = portrait_camera(SIZE)
    moved = make_clip(1, shape=torch.full((head.identities,), 2.0), translation=torch.ones(1, 3))
    (as_it_is,), (still,) = (list(person_frames(clip, drawn["a"], camera)) for clip in (moved, make_clip(1)))
    torch.testing.assert_close(as_it_is, still)


def test_the_video_has_all_frames_and_both_voices(drawn, make_clip, tmp_path):
    """Notices channels exchanged or mixed, a video without sound, and progress that does not end."""
    import av

    clips, seen = {"a": make_clip(12), "b": make_clip(12)}, []
    time = torch.arange(12 * 640) / 16_000
    voices = torch.stack([0.5 * torch.sin(2 * torch.pi * 500 * time), torch.zeros_like(time)])
    render_dialogue(clips, drawn, voices, tmp_path / "v.mp4", size=SIZE, progress=lambda done, total: seen.append((done, total)))
    video = VideoFrames(tmp_path / "v.mp4")
    assert (len(video), video.fps, video.size) == (12, 25, (SIZE, 2 * SIZE))
    assert seen[-1] == (12, 12)
    with av.open(str(tmp_path / "v.mp4")) as film:
        assert film.streams.audio[0].codec_context.name == "aac" and film.streams.video[0].codec_context.pix_fmt == "yuv420p"
        sound = torch.cat([torch.from_numpy(frame.to_ndarray()) for frame in film.decode(audio=0)], dim=1)
    assert sound.shape[0] == 2 and sound[0].abs().max() > 0.3 and sound[1].abs().max() < 0.05


def test_clips_of_different_lengths_are_refused(drawn, make_clip, tmp_path):
    with pytest.raises(InputError, match="b is longer by 2"):
        render_dialogue({"a": make_clip(3), "b": make_clip(5)}, drawn, None, tmp_path / "v.mp4", size=SIZE)
    assert not list(tmp_path.iterdir())
