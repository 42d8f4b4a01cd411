"""Faults noticed: every window being its dialogue's last (aliasing), windows that depend on what was drawn before, padding that is kept,
a label and its sound from different frames, frames that no window reaches, stale features after the sound changed, a tracker's distrust
ignored, dead channels blown up."""

import numpy as np
import pytest
import torch
from tiny_dialogues import FRAMES, make_tiny_set

from mango.audio.encoders import Encoder
from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.data.windows import Windows
from mango.errors import InputError
from mango.types import Dialogue, Side

LENGTH, CONTEXT = 20, 4


class FrameNumbers(Encoder):
    """Features that say which frame they are, and how loud it is."""

    width, digest = 2, "frame-numbers"

    def __init__(self):
        self.calls = 0

    def encode(self, audio):
        self.calls += 1
        loud = audio.unfold(0, 640, 640).abs().mean(-1)
        return torch.stack([torch.arange(len(loud)).float(), loud], dim=-1)


@pytest.fixture
def opened(tiny_set, head):
    return Windows(DialogueSet.open(tiny_set), "train", FrameNumbers(), head.layout, LENGTH, CONTEXT)


def test_a_batch_is_a_function_of_seed_and_step(opened):
    first, again = opened.batch(3, 5, 8), opened.batch(3, 5, 8)
    assert first.starts == again.starts and torch.equal(first.motion, again.motion)
    opened.batch(3, 6, 8)
    assert opened.batch(3, 5, 8).starts == first.starts
    assert {opened.batch(3, step, 8).starts for step in range(6)} != {first.starts}
    assert opened.batch(4, 5, 8).starts != first.starts


def test_windows_hold_the_frames_they_name(opened, tiny_set, head):
    batch = opened.batch(0, 1, 32)
    dialogues = DialogueSet.open(tiny_set)
    assert len(set(zip(batch.dialogues, batch.starts, strict=True))) > 16
    for row, (name, start) in enumerate(zip(batch.dialogues, batch.starts, strict=True)):
        frames = torch.arange(start, start + opened.length)
        inside = (frames >= 0) & (frames < FRAMES[name])
        assert torch.equal(batch.voices[row, 0, inside, 0], frames[inside].float()), "the sound of these frames"
        for person, side in enumerate(dialogues.dialogue(name).sides.values()):
            keep = inside.clone()
            keep[inside] = side.track.keep[frames[inside]]
            assert torch.equal(batch.keep[row, person], keep)
            assert torch.equal(batch.motion[row, person, keep], head.layout.pack(side.motion)[frames[keep]])
            assert batch.motion[row, person, ~keep].abs().max() == 0 if (~keep).any() else True
            assert torch.equal(batch.speaking[row, person, inside], side.speaking[frames[inside]])
            assert torch.equal(batch.identity[row, person], side.motion.shape)


def test_every_frame_can_be_a_target_and_beginnings_have_no_context(opened):
    seen = {name: torch.zeros(FRAMES[name], dtype=torch.bool) for name in ("d0", "d1", "d2")}
    starts = set()
    for step in range(60):
        batch = opened.batch(0, step, 16)
        for name, start in zip(batch.dialogues, batch.starts, strict=True):
            seen[name][start + CONTEXT : start + CONTEXT + LENGTH] = True
            starts.add((name, start))
    assert all(frames.all() for frames in seen.values())
    assert ("d0", -CONTEXT) in starts and ("d0", FRAMES["d0"] - LENGTH - CONTEXT) in starts
    assert min(start for _, start in starts) == -CONTEXT
    assert {start for name, start in starts if name == "d2"} == {-CONTEXT}, "a dialogue shorter than a window has one window"


def test_tiles_cover_every_frame_once(opened):
    count = {name: torch.zeros(FRAMES[name], dtype=torch.long) for name in ("d0", "d1", "d2")}
    sizes = []
    for batch in opened.tiles(3):
        sizes.append(len(batch))
        for name, start in zip(batch.dialogues, batch.starts, strict=True):
            count[name][start + CONTEXT : start + CONTEXT + LENGTH] += 1
    assert all((frames == 1).all() for frames in count.values())
    assert max(sizes) == 3


def test_features_are_cached_until_the_sound_changes(tmp_path, head):
    root = make_tiny_set(tmp_path / "set", head)
    encoder = FrameNumbers()

    def open_again():
        return Windows(DialogueSet.open(root), "val", encoder, head.layout, LENGTH, CONTEXT)

    before = next(open_again().tiles(9)).voices
    assert encoder.calls == 2
    assert torch.equal(next(open_again().tiles(9)).voices, before) and encoder.calls == 2
    import soundfile

    sound, rate = soundfile.read(root / "dialogues/d3/a.wav")
    soundfile.write(root / "dialogues/d3/a.wav", sound[::-1].copy(), rate)
    after = next(open_again().tiles(9)).voices
    assert encoder.calls == 3
    assert not torch.equal(after[:, 0], before[:, 0]) and torch.equal(after[:, 1], before[:, 1])


def test_a_damaged_cache_is_an_input_error(tmp_path, head):
    root = make_tiny_set(tmp_path / "set", head)
    Windows(DialogueSet.open(root), "val", FrameNumbers(), head.layout, LENGTH, CONTEXT)
    np.save(root / "features/frame-numbers/d3.a.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(InputError, match="expected 50 rows of 2"):
        Windows(DialogueSet.open(root), "val", FrameNumbers(), head.layout, LENGTH, CONTEXT)


def test_statistics_ignore_what_is_not_kept_and_have_floors(opened, head):
    mean, std = opened.motion_statistics()
    jaw, eyes = head.layout.where("jaw_pose"), head.layout.where("eyes_pose")
    assert float(std[jaw][0]) > 0.05 and torch.allclose(std[eyes], torch.tensor(0.003)), "eyes stand still in this set"
    kept = torch.cat([held.motion[held.keep] for held in opened.dialogues])
    torch.testing.assert_close(mean, kept.mean(0))
    _, voice_std = opened.voice_statistics()
    assert (voice_std > 0).all()


def test_a_side_without_labels_is_not_kept(tmp_path, head, tiny_set):
    source = DialogueSet.open(tiny_set).dialogue("d0")
    b = source.side("b")
    alone = Dialogue("d0", source.frames, {"a": source.side("a"), "b": Side(b.person, b.audio, b.speaking)})
    root = tmp_path / "set"
    create_dialogue_set(root, head, ["p0", "p1"], {"train": ["d0"], "val": ["d1"], "share_people": True})
    write_dialogue(root, alone, source="test", licence="CC0", created_by="tests")
    opened = Windows(DialogueSet.open(root), "train", FrameNumbers(), head.layout, LENGTH, CONTEXT)
    batch = opened.batch(0, 0, 4)
    assert batch.keep[:, 0].any() and not batch.keep[:, 1].any()
    silent = Dialogue("d1", source.frames, {"a": Side("p0", b.audio, b.speaking), "b": Side("p1", b.audio, b.speaking)})
    write_dialogue(root, silent, source="test", licence="CC0", created_by="tests")
    with pytest.raises(InputError, match="expected motion labels"):
        Windows(DialogueSet.open(root), "val", FrameNumbers(), head.layout, LENGTH, CONTEXT)
