"""Copying and averaging, on a set whose answers are known.

Faults these tests notice, each planted once: the partner's motion copied; own and partner's voices exchanged; seconds copied from one
frame later; frames lost between seconds; the test split averaged.
"""

import pytest
import torch
from test_native import evaluated, metrics

from mango.audio.encoders import EncoderConfig, make_encoder
from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.errors import InputError
from mango.evaluation.baselines import MEAN, NEAREST, SECOND, untrained_baselines
from mango.types import PERSONS, Dialogue, Side

FRAMES = 3 * SECOND + 8


@pytest.fixture(scope="module")
def known(head, tmp_path_factory):
    """Two training dialogues of noise that nobody could confuse, and a test dialogue with the voices of the second, exchanged."""
    root = tmp_path_factory.mktemp("copied") / "set"
    create_dialogue_set(root, head, ["p0", "p1"], {"train": ["t0", "t1"], "test": ["d"], "share_people": True})
    random = torch.Generator().manual_seed(0)
    loud = torch.rand(2, 2, FRAMES * 4, generator=random).repeat_interleave(160, dim=2) > 0.5  # steady noise would count as silence
    noise = 0.3 * torch.randn(2, 2, FRAMES * 640, generator=random).clamp(-3, 3) * loud
    sound = {"t0": noise[0], "t1": noise[1]}
    flat = {id: 0.01 * torch.randn(2, FRAMES, head.layout.width, generator=random) for id in ("t0", "t1")}
    sound["d"], flat["d"] = sound["t1"].flip(0), torch.zeros_like(flat["t0"])
    for id in ("t0", "t1", "d"):
        clips = [head.layout.clip(motion, torch.zeros(head.identities), head.digest) for motion in flat[id]]
        sides = {p: Side(f"p{k}", sound[id][k], torch.zeros(FRAMES), clips[k]) for k, p in enumerate(PERSONS)}
        write_dialogue(root, Dialogue(id, FRAMES, sides), source="made up", licence="CC0-1.0", created_by="test")
    return DialogueSet.open(root)


def test_what_was_heard_before_is_copied_whole(known, head):
    """Both people, every frame: the voices are known ones, so the copy is their motion, seams included."""
    nearest = untrained_baselines(known, "train", make_encoder(EncoderConfig(mels=8)), head)[NEAREST]
    copied, original = nearest(known.dialogue("d")), known.dialogue("t1")
    for person, other in zip(PERSONS, reversed(PERSONS), strict=True):
        expected = head.layout.pack(original.side(other).motion)
        torch.testing.assert_close(head.layout.pack(copied[person]), expected, rtol=0, atol=1e-6)


def test_the_mean_is_the_training_split_s(known, head):
    mean = untrained_baselines(known, "train", make_encoder(EncoderConfig(mels=8)), head)[MEAN](known.dialogue("d"))
    labels = [head.layout.pack(known.dialogue(id).side(person).motion) for id in ("t0", "t1") for person in PERSONS]
    expected = torch.cat(labels).mean(0).expand(FRAMES, -1)
    for person in PERSONS:
        torch.testing.assert_close(head.layout.pack(mean[person]), expected)


def test_nothing_is_copied_or_averaged_of_the_dialogue_itself(known, head):
    """Scored on the split that they are made of. t1 is all there is beside t0."""
    made = untrained_baselines(known, "train", make_encoder(EncoderConfig(mels=8)), head)
    labels = {id: [head.layout.pack(known.dialogue(id).side(person).motion) for person in PERSONS] for id in ("t0", "t1")}
    copied, mean = (made[name](known.dialogue("t0")) for name in (NEAREST, MEAN))
    for person in PERSONS:
        first = head.layout.pack(copied[person])[0]
        assert min((first - frame).abs().max() for motion in labels["t1"] for frame in motion) < 1e-6
        torch.testing.assert_close(head.layout.pack(mean[person]), torch.cat(labels["t1"]).mean(0).expand(FRAMES, -1))


def test_their_rows_stand_in_the_table(dialogues, run_folder, tmp_path):
    scored = evaluated(tmp_path, dialogues, "--checkpoint", run_folder, "--baselines")
    assert {MEAN, NEAREST} <= set(scored["rows"])
    assert metrics(scored, MEAN)["lip_opening_slope"]["all"] == pytest.approx(0, abs=1e-4)


def test_a_set_of_shorter_dialogues_has_nothing_to_copy(head, tmp_path):
    root = tmp_path / "set"
    create_dialogue_set(root, head, ["p0", "p1"], {"train": ["t"]})
    clip = head.layout.clip(torch.zeros(SECOND - 1, head.layout.width), torch.zeros(head.identities), head.digest)
    sides = {p: Side(f"p{k}", torch.zeros((SECOND - 1) * 640), torch.zeros(SECOND - 1), clip) for k, p in enumerate(PERSONS)}
    write_dialogue(root, Dialogue("t", SECOND - 1, sides), source="made up", licence="CC0-1.0", created_by="test")
    with pytest.raises(InputError, match="a second"):
        untrained_baselines(DialogueSet.open(root), "train", make_encoder(EncoderConfig(mels=8)), head)
