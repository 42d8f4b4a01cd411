"""A small set whose errors are known, because they were put there."""

import math
from dataclasses import replace
from pathlib import Path

import torch

from mango.data.dialogues import create_dialogue_set, write_dialogue
from mango.data.truth import TrueSide, write_truth
from mango.types import Dialogue, MotionClip, Phone, Side

FRAMES = 40
PHONES = (Phone("AA", 0.0, 0.4, 1.0), Phone("M", 0.4, 0.48, 0.0), Phone("sil", 0.48, 1.6, 0.0))


def talking(head, rate: float) -> MotionClip:
    """A jaw that opens and closes, more for a faster one, a head that sways and eyes that wander."""
    time = torch.arange(FRAMES) / 25
    angle = 0.1 * rate * (1 - torch.cos(2 * math.pi * rate * time))
    across = torch.tensor([1.0, 0.0, 0.0])
    flat = torch.zeros(FRAMES, head.layout.width)
    flat[:, head.layout.where("jaw_pose")] = angle[:, None] * across
    flat[:, head.layout.where("neck_pose")] = 0.2 * torch.sin(time)[:, None] * across
    flat[:, head.layout.where("eyes_pose")] = 0.1 * torch.cos(time)[:, None]
    return replace(head.layout.clip(flat, torch.zeros(head.identities), head.digest), fps=25.0)


def tracked(clip: MotionClip) -> MotionClip:
    """What a poor tracker makes of it: half the jaw, another neck, another shape."""
    return replace(clip, jaw_pose=0.5 * clip.jaw_pose, neck_pose=-clip.neck_pose, shape=clip.shape + 0.3)


def elsewhere(clip: MotionClip) -> MotionClip:
    """The same face movements on a head of another shape that turns another way."""
    return replace(clip, neck_pose=-clip.neck_pose, shape=clip.shape + 0.3)


def write_talking_set(root: Path, head) -> Path:
    """Dialogue d0 (test) with the poor tracker's labels, t (train) with labels whose face is right; a speaks for 20 frames, b never."""
    create_dialogue_set(root, head, ["p00", "p01"], {"train": ["t"], "test": ["d0"], "share_people": True})
    for id, labels in (("d0", tracked), ("t", elsewhere)):
        truth = {person: talking(head, rate) for person, rate in (("a", 1.0), ("b", 2.0))}
        speaking = {"a": (torch.arange(FRAMES) < 20).float(), "b": torch.zeros(FRAMES)}
        audio = torch.rand(2, FRAMES * 640, generator=torch.Generator().manual_seed(0)) - 0.5
        sides = {person: Side(f"p0{k}", audio[k], speaking[person], labels(truth[person])) for k, person in enumerate("ab")}
        write_dialogue(root, Dialogue(id, FRAMES, sides), source="made up", licence="CC0-1.0", created_by="test")
        write_truth(root, id, {person: TrueSide(truth[person], PHONES, speaking[person]) for person in "ab"})
    return root
