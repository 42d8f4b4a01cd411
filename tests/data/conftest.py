"""Small dialogue sets to read, break and validate."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.data.video import write_video
from mango.types import Dialogue, MotionClip, PersonTrack, Phone, Side

FRAMES = 30
HEAD = SimpleNamespace(name="builtin", digest="5" * 64, expressions=7, identities=4)


@pytest.fixture
def head():
    return HEAD


@pytest.fixture(scope="session")
def clip():
    def make(frames: int = FRAMES, seed: int = 0, **changed) -> MotionClip:
        noise = torch.Generator().manual_seed(seed)
        widths = {"expr": 7, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
        parts = {name: torch.randn(frames, width, generator=noise) for name, width in widths.items()}
        return MotionClip(**{**parts, "shape": torch.randn(4, generator=noise), "head": HEAD.digest, "fps": 25.0, **changed})

    return make


@pytest.fixture(scope="session")
def picture():
    """A smooth picture with strong colours and a little grain, different in every frame."""

    def make(frame: int, rows: int = 64, cols: int = 64) -> np.ndarray:
        y, x = np.mgrid[:rows, :cols] / rows
        waves = [0.5 + 0.4 * np.sin(6 * x + 3 * y + frame * 0.2), 0.5 + 0.4 * np.cos(9 * y + frame * 0.1), 0.5 + 0.3 * np.sin(20 * x * y)]
        grain = np.random.default_rng(frame).normal(0, 0.5, (rows, cols, 3))
        return np.clip(np.stack(waves, -1) * 255 + grain, 0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def side(clip, picture, tmp_path_factory):
    """One person's side with everything there is."""

    def make(person: str, seed: int = 0, frames: int = FRAMES, pictures: bool = True) -> Side:
        noise = torch.Generator().manual_seed(seed)
        audio = torch.rand(frames * 640, generator=noise) - 0.5
        landmarks = torch.rand(frames, 68, 2, generator=noise) * 64
        intrinsics = torch.tensor([[100.0, 0, 32], [0, 100, 32], [0, 0, 1]])
        track = PersonTrack(torch.ones(frames, dtype=torch.bool), torch.eye(4)[None], intrinsics, landmarks, torch.ones(frames))
        speaking = (torch.arange(frames) > 10).float()
        phones = (Phone("sil", 0.0, 0.4), Phone("M", 0.4, 0.48), Phone("AH", 0.48, 0.6, 1.0), Phone("sil", 0.6, frames / 25))
        if not pictures:
            return Side(person, audio, speaking, clip(frames, seed), track, phones=phones)
        folder = tmp_path_factory.mktemp("films")
        video, mask = folder / "film.mp4", folder / "mask.mp4"
        write_video(video, (picture(i + seed) for i in range(frames)))
        write_video(mask, (np.full((64, 64, 3), 255 * (i % 2), np.uint8) for i in range(frames)))
        return Side(person, audio, speaking, clip(frames, seed), track, video, mask, phones)

    return make


@pytest.fixture
def sound_set(pristine_set, tmp_path):
    """Two dialogues of four people, no problem anywhere."""
    shutil.copytree(pristine_set, tmp_path / "set")
    return DialogueSet.open(tmp_path / "set")


@pytest.fixture(scope="session")
def pristine_set(side, tmp_path_factory):
    root = tmp_path_factory.mktemp("pristine") / "set"
    splits = {"train": ["first"], "test": ["second"]}
    create_dialogue_set(root, HEAD, {"ann": {"age": 30}, "bob": {}, "cat": {}, "dan": {}}, splits)
    for id, (own, partner), pictures in (("first", ("ann", "bob"), True), ("second", ("cat", "dan"), False)):
        dialogue = Dialogue(id, FRAMES, {"a": side(own, 1, pictures=pictures), "b": side(partner, 2, pictures=pictures)})
        write_dialogue(root, dialogue, source="a test", licence="CC0-1.0", created_by="tests")
    return root
