"""Recorded pictures by dialogue, side and frame: in the order asked for, over one background."""

import torch

from mango.data.dialogues import DialogueSet
from mango.data.pictures import Pictures
from mango.data.video import VideoFrames

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
