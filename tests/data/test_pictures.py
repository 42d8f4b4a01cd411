"""Recorded pictures by dialogue, side and frame: in the order asked for, over one background."""

from dataclasses import replace

import pytest
import torch

from mango.data.dialogues import DialogueSet
from mango.data.pictures import Pictures
from mango.data.video import VideoFrames, write_video
from mango.errors import InputError

BACKGROUND = torch.tensor([0.25, 0.5, 1.0])
SHOTS = [("first", "b", 5), ("first", "a", 3), ("first", "a", 4), ("first", "b", 0), ("first", "b", 5)]  # a side comes twice


def test_pictures_are_the_films_over_the_background(pristine_set):
    """Planted and seen red: the second group of shots written over the first, the matte of another frame, red and blue exchanged."""
    dialogues = DialogueSet.open(pristine_set)
    batch = Pictures(dialogues, [("first", "a"), ("first", "b")], BACKGROUND).read(SHOTS)
    assert batch.shots == tuple(SHOTS) and batch.persons == ("bob", "ann", "ann", "bob", "bob")
    for (id, side, frame), colors, matte in zip(SHOTS, batch.colors, batch.mattes, strict=True):
        recorded = dialogues.dialogue(id).side(side)
        share = VideoFrames(recorded.mask_video).mattes([frame])[0].float()[..., None] / 255
        assert torch.equal(matte, share) and share.unique().numel() <= 2
        expected = torch.lerp(BACKGROUND.expand(64, 64, 3), VideoFrames(recorded.video).frames([frame])[0].float() / 255, share)
        assert torch.equal(colors, expected)
    assert {float(matte.mean().round()) for matte in batch.mattes} == {0.0, 1.0}


def test_without_a_mask_everything_is_the_person(sound_set):
    for mask in sound_set.root.rglob("*.mask.mp4"):
        mask.unlink()
    batch = Pictures(sound_set, [("first", "a")], BACKGROUND).read([("first", "a", 3)])
    film = VideoFrames(sound_set.dialogue("first").side("a").video)
    assert (batch.mattes == 1).all() and torch.equal(batch.colors, film.frames([3]).float() / 255)


def test_pixels_per_metre_are_the_focal_length_over_the_depth(sound_set):
    """Seen red: depth of the world's origin, the mean instead of the median, x instead of z of the camera."""
    pictures = Pictures(sound_set, [("first", "a")], BACKGROUND)
    track = pictures.tracks["first", "a"]
    camera = torch.eye(4)
    camera[:3, :3] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # looks along -x of the world
    camera[2, 3] = 1.0
    pictures.tracks["first", "a"] = replace(track, camera_from_world=camera[None], intrinsics=torch.diag(torch.tensor([600.0, 500.0, 1.0])))
    head = torch.tensor([[-1.0, 5.0, 7.0], [-1.0, 0.0, 0.0], [-100.0, 0.0, 0.0]])  # depths 2, 2, 101
    assert pictures.pixels_per_metre(("first", "a"), head) == 300.0


def test_films_of_other_sizes_are_named_with_the_size_to_track_them_at(sound_set, picture):
    write_video(sound_set.folder("first") / "a.mp4", [picture(frame, 48, 48) for frame in range(30)])
    words = r"films of one size .* found 48x48 \(first/a.mp4\), 64x64 \(first/b.mp4\); track .* `mango track --size 48`"
    with pytest.raises(InputError, match=words):
        Pictures(sound_set, [("first", "a"), ("first", "b")], BACKGROUND)


def test_all_who_have_no_pictures_are_named(sound_set):
    """Planted: only the first."""
    (sound_set.folder("first") / "a.mp4").unlink()
    (sound_set.folder("first") / "a.mask.mp4").unlink()
    (sound_set.folder("first") / "b.track.npz").unlink()
    with pytest.raises(
        InputError, match=r"found 2 of 2 labelled people without: first/a.mp4, first/b.track.npz missing; .*mango track FILM"
    ):
        Pictures(sound_set, [("first", "a"), ("first", "b")], BACKGROUND)
