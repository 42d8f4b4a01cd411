"""A dialogue set of a few seconds, made in well under a second: tones for voices, and mouths that follow their own tone."""

from dataclasses import replace
from pathlib import Path

import torch

from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.data.side_files import write_track
from mango.head.model import Head
from mango.seeds import torch_generator
from mango.types import Dialogue, MotionClip, PersonTrack, Side

SPLITS = {"train": ["d0", "d1", "d2"], "val": ["d3"], "share_people": True}
FRAMES = {"d0": 90, "d1": 75, "d2": 12, "d3": 50}  # d2 is shorter than a window


def make_tiny_set(root: Path, head: Head) -> Path:
    create_dialogue_set(root, head, ["p0", "p1"], SPLITS)
    for name, frames in FRAMES.items():
        sides = {"a": _side("p0", name + "a", frames, head), "b": _side("p1", name + "b", frames, head)}
        write_dialogue(root, Dialogue(name, frames, sides), source="test", licence="CC0", created_by="tests")
    return root


def distrust(root: Path, id: str, side: str) -> None:
    """No frame of the side is trusted any more."""
    path = root / "dialogues" / id / f"{side}.track.npz"
    track = DialogueSet.open(root).dialogue(id).side(side).track
    write_track(path, replace(track, keep=torch.zeros_like(track.keep)))


def _side(person: str, name: str, frames: int, head: Head) -> Side:
    random = torch_generator("tiny", name)
    loud = (torch.rand(-(-frames // 10), generator=random) > 0.5).float().repeat_interleave(10)[:frames]
    tone = torch.sin(torch.arange(frames * 640) * 0.2) * loud.repeat_interleave(640) * 0.5
    audio = tone + 0.01 * torch.randn(frames * 640, generator=random)
    still = torch.zeros(frames, 3)
    motion = MotionClip(
        expr=0.1 * torch.rand(frames, head.expressions, generator=random),
        rotation=still,
        neck_pose=0.02 * torch.randn(frames, 3, generator=random),
        jaw_pose=torch.stack([0.2 * loud, still[:, 0], still[:, 0]], -1),
        eyes_pose=torch.zeros(frames, 6),
        translation=still,
        shape=torch.randn(head.identities, generator=torch_generator(person)),
        head=head.digest,
    )
    keep = torch.ones(frames, dtype=torch.bool)
    keep[5] = name != "d1b"
    track = PersonTrack(keep, torch.eye(4)[None], torch.eye(3), torch.zeros(frames, 68, 2), torch.ones(frames))
    return Side(person, audio, loud, motion, track)
