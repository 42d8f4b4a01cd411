"""The end of a longer film is held out, frame for frame.

Faults planted, each seen red: a cut one frame late, sound cut by frames of another length, the track of the whole film kept, packets
of the film's beginning copied.
"""

import numpy as np
import pytest
import torch

from mango.app.tracking import HELD_OUT, SHORT, learnt_from, part_of
from mango.data.dialogues import SAMPLES_PER_FRAME, lone_dialogue
from mango.data.video import VideoFrames
from mango.data.video_cutting import cut_film
from mango.data.video_writing import write_video
from mango.errors import InputError
from mango.types import MotionClip, PersonTrack, Side

FRAMES, SIZE = 20, 32


def film(path, *, key_frame_every: int | None = 1, offset: int = 0):
    """Frame k is grey of brightness 10 k + offset."""
    pictures = (np.full((SIZE, SIZE, 3), 10 * k + offset, np.uint8) for k in range(FRAMES))
    write_video(path, pictures, key_frame_every=key_frame_every)
    return path


def brightness(path) -> list[int]:
    return [round(float(picture.float().mean()), -1) for picture in VideoFrames(path).frames(range(len(VideoFrames(path))))]


def test_cut_films_show_the_same_frames(tmp_path):
    whole = film(tmp_path / "whole.mp4")
    cut_film(whole, tmp_path / "part.mp4", 7, 15)
    assert brightness(tmp_path / "part.mp4") == brightness(whole)[7:15]
    assert torch.equal(VideoFrames(tmp_path / "part.mp4").frames(range(8)), VideoFrames(whole).frames(range(7, 15))), (
        "nothing is encoded again"
    )
    assert VideoFrames(tmp_path / "part.mp4").fps == 25


def test_films_that_cannot_be_cut_are_refused(tmp_path):
    with pytest.raises(InputError, match="key frames"):
        cut_film(film(tmp_path / "whole.mp4", key_frame_every=None), tmp_path / "part.mp4", 1, 5)
    with pytest.raises(InputError, match="key frames"):
        cut_film(film(tmp_path / "short.mp4"), tmp_path / "part.mp4", 1, FRAMES + 1)
    assert not (tmp_path / "part.mp4").exists()


def test_a_part_is_everything_of_its_frames(tmp_path):
    counted = lambda *shape: torch.arange(FRAMES, dtype=torch.float32).reshape(-1, *[1] * len(shape)).expand(FRAMES, *shape).clone()  # noqa: E731
    clip = MotionClip(counted(4), counted(3), counted(3), counted(3), counted(6), counted(3), torch.zeros(2), "head")
    track = PersonTrack(torch.ones(FRAMES, dtype=torch.bool), torch.eye(4)[None], torch.eye(3), counted(68, 2), counted() / FRAMES)
    sound = torch.arange(FRAMES * SAMPLES_PER_FRAME, dtype=torch.float32)
    side = Side("anna", sound, counted(), clip, track, film(tmp_path / "a.mp4"), film(tmp_path / "m.mp4", offset=4))
    part = part_of(lone_dialogue("talk", side, FRAMES), "talk-held-out", 12, 17, tmp_path)
    assert part.frames == 5 and part.id == "talk-held-out"
    a, b = part.side("a"), part.side("b")
    assert a.motion.expr[:, 0].tolist() == a.speaking.tolist() == a.track.landmarks[:, 0, 0].tolist() == [12, 13, 14, 15, 16]
    assert len(a.track.keep) == len(a.track.confidence) == 5 and a.track.camera_from_world.shape == (1, 4, 4)
    assert a.audio[0] == 12 * SAMPLES_PER_FRAME and len(a.audio) == len(b.audio) == 5 * SAMPLES_PER_FRAME and len(b.speaking) == 5
    assert brightness(a.video) == [120, 130, 140, 150, 160] and len(VideoFrames(a.mask_video)) == 5


def test_short_films_are_learnt_from_whole():
    assert learnt_from(SHORT - 1) == SHORT - 1
    assert learnt_from(1000) == 1000 * (1 - HELD_OUT)
