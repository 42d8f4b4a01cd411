"""Faults noticed: every window being its dialogue's last (aliasing), windows that depend on what was drawn before, padding that is kept,
a label and its sound from different frames, frames that no window reaches, stale features after the sound or the speech model changed, a
tracker's distrust ignored, dead channels blown up; closures of the other person, or shifted against the labels (both planted)."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_dialogues import FRAMES, distrust, make_tiny_set
from tiny_models import tiny_encoder

from mango.audio.encoders import Encoder, EncoderConfig, make_encoder
from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.data.windows import Windows
from mango.errors import InputError
from mango.types import Dialogue, Phone, Side

LENGTH, CONTEXT = 20, 4


class FrameNumbers(Encoder):
    """Features that say which frame they are, and how loud it is."""

    width, digest = 2, "frame-numbers"

    def __init__(self):
        self.calls = 0

    def parts(self, audio):
        self.calls += 1
        loud = audio.unfold(0, 640, 640).abs().mean(-1)
        yield from torch.stack([torch.arange(len(loud)).float(), loud], dim=-1).split(30)


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


def test_reading_tells_how_far_it_is(tiny_set, head):
    """Of fifty hours features may be missing: hours without a word. Planted and seen red."""
    heard, dialogues = [], DialogueSet.open(tiny_set)
    Windows(dialogues, "train", FrameNumbers(), head.layout, LENGTH, CONTEXT, told=lambda *far: heard.append(far))
    assert heard == [(number, len(dialogues.split("train"))) for number in range(1, len(dialogues.split("train")) + 1)]


def test_windows_hold_the_frames_they_name(opened, tiny_set, head):
    batch = opened.batch(0, 1, 32)
    dialogues = DialogueSet.open(tiny_set)
    assert len(set(zip(batch.dialogues, batch.starts, strict=True))) > 16
    for row, (name, start) in enumerate(zip(batch.dialogues, batch.starts, strict=True)):
        frames = torch.arange(start, start + opened.length)
        inside = (frames >= 0) & (frames < FRAMES[name])
        assert torch.equal(batch.voices[row, 0, inside, 0], frames[inside].float()), "the sound of these frames"
        for person, side in enumerate(dialogues.dialogue(name).sides.values()):
            assert torch.equal(batch.inside[row, person], inside)
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
    for batch in map(opened.at, opened.tiles(3)):
        sizes.append(len(batch))
        for name, start in zip(batch.dialogues, batch.starts, strict=True):
            count[name][start + CONTEXT : start + CONTEXT + LENGTH] += 1
    assert all((frames == 1).all() for frames in count.values())
    assert max(sizes) == 3


def test_of_many_tiles_some_are_chosen_all_over_the_split(opened):
    """Planted: the first ones."""
    every = [place for places in opened.tiles(3) for place in places]
    some = [place for places in opened.tiles(3, most=len(every) // 2) for place in places]
    assert len(some) == len(every) // 2 and set(some) < set(every) and {dialogue for dialogue, _ in some} >= {0, 1}
    assert opened.tiles(3, most=len(every)) == opened.tiles(3)


def shown(windows):
    """Its first frames."""
    return windows.at(windows.tiles(9)[0])


def test_features_are_cached_until_the_sound_changes(tmp_path, head):
    root = make_tiny_set(tmp_path / "set", head)
    encoder = FrameNumbers()

    def open_again():
        return Windows(DialogueSet.open(root), "val", encoder, head.layout, LENGTH, CONTEXT)

    before = shown(open_again()).voices
    assert encoder.calls == 2
    assert torch.equal(shown(open_again()).voices, before) and encoder.calls == 2
    import soundfile

    sound, rate = soundfile.read(root / "dialogues/d3/a.wav")
    soundfile.write(root / "dialogues/d3/a.wav", sound[::-1].copy(), rate)
    after = shown(open_again()).voices
    assert encoder.calls == 3
    assert not torch.equal(after[:, 0], before[:, 0]) and torch.equal(after[:, 1], before[:, 1])


def test_windows_without_anything_to_learn_are_not_drawn(tiny_set, head, tmp_path):
    """A step of nothing but untrusted frames had no picture to learn from, and ended stage two."""
    source, only = DialogueSet.open(tiny_set).dialogue("d0"), torch.arange(FRAMES["d0"]) == 30
    believed = {"a": torch.zeros_like(only), "b": only}
    sides = {name: replace(side, track=replace(side.track, keep=believed[name])) for name, side in source.sides.items()}
    create_dialogue_set(tmp_path / "set", head, ["p0", "p1"], {"train": ["d0"], "share_people": True})
    write_dialogue(tmp_path / "set", replace(source, sides=sides), source="test", licence="CC0", created_by="tests")
    opened = Windows(DialogueSet.open(tmp_path / "set"), "train", FrameNumbers(), head.layout, LENGTH, CONTEXT)
    starts = {start for step in range(30) for start in opened.batch(0, step, 16).starts}
    assert starts == set(range(30 - CONTEXT - LENGTH + 1, 30 - CONTEXT + 1)), "the frame is each window's last, first and between"


def test_a_split_that_nothing_can_be_learnt_from(head, tmp_path):
    """No label at all, or none that its tracker trusts: two remedies. Planted: the second called the first."""
    root = make_tiny_set(tmp_path / "set", head)

    def found(people=None):
        with pytest.raises(InputError) as error:
            Windows(DialogueSet.open(root), "val", FrameNumbers(), head.layout, LENGTH, CONTEXT, people)
        return str(error.value)

    distrust(root, "d3", "a")
    assert "expected trusted frames of p0, found none in 1 dialogues; track the films again" in found(["p0"])
    assert "expected motion labels of q, found none in 0 dialogues; name people of the split: " in found(["q"])
    distrust(root, "d3", "b")
    assert "expected trusted frames, found none in 1 dialogues" in found()
    for side in "ab":
        (root / "dialogues" / "d3" / f"{side}.motion.npz").unlink()
    assert "expected motion labels, found none in 1 dialogues; name people" in found()


def test_no_file_stays_open(opened, tiny_set, head):
    """A map holds its file's descriptor: beyond some 500 dialogues there were no more."""
    before = os.listdir("/dev/fd")
    again = Windows(DialogueSet.open(tiny_set), "train", FrameNumbers(), head.layout, LENGTH, CONTEXT)
    assert torch.equal(again.batch(0, 0, 4).voices, opened.batch(0, 0, 4).voices) and len(again.dialogues) > 1
    assert len(os.listdir("/dev/fd")) == len(before)


def test_a_damaged_cache_is_an_input_error(tmp_path, head):
    root = make_tiny_set(tmp_path / "set", head)
    Windows(DialogueSet.open(root), "val", FrameNumbers(), head.layout, LENGTH, CONTEXT)
    np.save(root / "features/frame-numbers/d3.a.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(InputError, match="expected 50 rows of 2"):
        Windows(DialogueSet.open(root), "val", FrameNumbers(), head.layout, LENGTH, CONTEXT)


def test_features_of_a_changed_speech_model_are_made_again(tmp_path, head):
    """The folder is the same, its weights, or the layers asked for, are not. Planted once: a digest without the weights."""
    root, folder = make_tiny_set(tmp_path / "set", head), tmp_path / "model"

    def voices(*layers):
        encoder = make_encoder(EncoderConfig("hubert", str(folder), layers))
        return encoder, shown(Windows(DialogueSet.open(root), "val", encoder, head.layout, LENGTH, CONTEXT)).voices

    tiny_encoder(folder, "hubert")
    (first, before), (_, two) = voices(-1), voices(1, -1)
    assert torch.equal(two[..., 16:], before) and not torch.equal(two[..., :16], before)
    tiny_encoder(folder, "hubert", seed=1)
    _, after = voices(-1)
    assert not torch.allclose(after, before)
    kept = np.load(root / "features" / first.digest / "d3.a.npy")
    assert kept.dtype == np.float16 and len(list((root / "features").iterdir())) == 3
    assert torch.equal(torch.from_numpy(kept), first.encode(DialogueSet.open(root).dialogue("d3").side("a").audio)), (
        "as generation hears it"
    )


@pytest.mark.parametrize("size", [0, 100, 300])
def test_a_truncated_cache_is_an_input_error(tmp_path, head, size):
    """Planted once: numpy's own error, which names neither the file nor a remedy."""
    root = make_tiny_set(tmp_path / "set", head)
    Windows(DialogueSet.open(root), "val", FrameNumbers(), head.layout, LENGTH, CONTEXT)
    path = root / "features/frame-numbers/d3.b.npy"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"d3\.b\.npy: expected 50 rows of 2, found a damaged file; remove this file"):
        Windows(DialogueSet.open(root), "val", FrameNumbers(), head.layout, LENGTH, CONTEXT)


def test_voice_statistics_are_those_of_all_rows(opened):
    """However they are gathered. Planted once: parts of unequal length counted alike."""
    rows = torch.cat([torch.from_numpy(voice[:]) for held in opened.dialogues for voice in held.voices]).double()
    mean, std = opened.voice_statistics()
    torch.testing.assert_close(mean, rows.mean(0).float())
    torch.testing.assert_close(std, rows.std(0, correction=0).float())


def test_a_lively_layer_does_not_hide_a_quiet_one(tiny_set, head):
    """Hidden layers differ in size by orders. Planted once: one floor for the features of all layers."""

    class TwoLayers(FrameNumbers):
        width, digest, num_layers = 4, "two-layers", 2

        def parts(self, audio):
            for part in super().parts(audio):
                yield torch.cat([1e6 * part, 0 * part[:, :1], part[:, 1:]], dim=-1)

    windows = Windows(DialogueSet.open(tiny_set), "train", TwoLayers(), head.layout, LENGTH, CONTEXT)
    _, std = windows.voice_statistics()
    loud, quiet = std.unflatten(0, (2, 2))
    torch.testing.assert_close(quiet[1], loud[1] / 1e6)
    torch.testing.assert_close(quiet[0], 1e-3 * quiet[1])
    assert windows.batch(0, 0, 2).voice_layers == windows.batch(0, 0, 2).rows([1]).voice_layers == 2


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
    assert torch.equal(batch.inside[:, 1], batch.inside[:, 0]) and batch.inside[:, 1].any(), "heard nonetheless"
    silent = Dialogue("d1", source.frames, {"a": Side("p0", b.audio, b.speaking), "b": Side("p1", b.audio, b.speaking)})
    write_dialogue(root, silent, source="test", licence="CC0", created_by="tests")
    with pytest.raises(InputError, match="expected motion labels"):
        Windows(DialogueSet.open(root), "val", FrameNumbers(), head.layout, LENGTH, CONTEXT)


def with_phones(tiny_set, head, root, phones: dict[str, tuple[Phone, ...] | None]) -> Windows:
    """The first dialogue alone, and what each says in it."""
    source = DialogueSet.open(tiny_set).dialogue("d0")
    sides = {side: replace(source.side(side), phones=said) for side, said in phones.items()}
    create_dialogue_set(root, head, ["p0", "p1"], {"train": ["d0"], "share_people": True})
    write_dialogue(root, replace(source, sides=sides), source="test", licence="CC0", created_by="tests")
    return Windows(DialogueSet.open(root), "train", FrameNumbers(), head.layout, LENGTH, CONTEXT)


def test_closures_lie_where_their_person_says_them(tiny_set, head, tmp_path):
    phones = (Phone("M", 0.4, 0.52), Phone("AA", 0.52, 1.0), Phone("B", 3.5, 3.56))  # frames 10 to 12; 87 and 88
    opened = with_phones(tiny_set, head, tmp_path / "set", {"a": None, "b": phones})
    batch = opened.at([(0, -CONTEXT), (0, 8), (0, 75)])
    assert not batch.bilabial[:, 0].any()
    assert [row.nonzero()[:, 0].tolist() for row in batch.bilabial[:, 1]] == [[14, 15, 16], [2, 3, 4], [12, 13]]
    assert batch.rows([1]).bilabial[0, 1].sum() == 3


def test_a_loss_that_needs_phones_is_refused_where_nobody_knows_any(tiny_set, head, tmp_path, opened):
    with pytest.raises(InputError, match=r"losses\.closure: expected phones of somebody who has labels.*forced aligner"):
        opened.require_phones("losses.closure")
    silent = with_phones(tiny_set, head, tmp_path / "set", {"a": None, "b": ()})
    silent.require_phones("losses.closure")  # that nothing is said is known
    silent.dialogues = [replace(held, keep=held.keep & torch.tensor([[True], [False]])) for held in silent.dialogues]
    with pytest.raises(InputError, match="losses"):  # of b, who has no labels any more
        silent.require_phones("losses.closure")
