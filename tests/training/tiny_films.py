"""Everything stage two needs, very small: a filmed dialogue set, a run of stage one to start from, and a config of both."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from tiny_dialogues import FRAMES, SPLITS, make_tiny_set
from tiny_models import tiny_run
from torch import Tensor

from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.data.video import write_video
from mango.head.model import Head
from mango.seeds import torch_generator
from mango.training.alternation import Phase, Schedule
from mango.training.run import Every
from mango.training.runtime import RuntimeConfig
from mango.training.stage2_config import CalibrationConfig, Stage2Config
from mango.types import Dialogue, PersonTrack
from renderer.cameras import portrait_camera
from renderer.head import AvatarConfig
from renderer.types import Camera

SIZE = 32  # pixels


def make_filmed_set(root: Path, head: Head, doubted: Collection[str] = ()) -> Path:
    """The tiny set again, with pictures: a patch of colours before a round matte, the same in every frame of a clip.

    Of the ``doubted`` dialogues the tracker believes no frame.
    """
    silent = DialogueSet.open(make_tiny_set(root / "silent", head))
    filmed = root / "filmed"
    create_dialogue_set(filmed, head, ["p0", "p1"], SPLITS)
    camera = portrait_camera(SIZE)
    for id, frames in FRAMES.items():
        sides = {}
        for name, side in silent.dialogue(id).sides.items():
            video, mask = (root / f"{id}.{name}.{kind}.mp4" for kind in ("colours", "matte"))
            write_video(video, _colours(f"{id}{name}", frames))
            write_video(mask, _matte(frames))
            seen = _pixels(head.landmarks(head.template), camera).expand(frames, 68, 2).clone()
            keep = side.track.keep & (id not in doubted)
            track = PersonTrack(keep, camera.camera_from_world[None], camera.intrinsics, seen, side.track.confidence)
            sides[name] = replace(side, track=track, video=video, mask_video=mask)
        write_dialogue(filmed, Dialogue(id, frames, sides), source="test", licence="CC0", created_by="tests", move_videos=True)
    return filmed


def tiny_stage2(folder: Path, data: Path, head: Head, **changes) -> Stage2Config:
    """Head and motion in turn from the first step; a run of stage one lies in ``folder`` afterwards."""
    stage1 = folder / "stage1"
    if not stage1.exists():
        tiny_run(stage1, head)
    config = Stage2Config(
        data=data,
        stage1=stage1,
        run=folder / "stage2",
        steps=4,
        windows=2,
        pictures=1,
        schedule=Schedule(opening=(), cycle=(Phase("head", 1), Phase("motion", 1))),
        avatar=AvatarConfig(num_gaussians=200),
        calibration=CalibrationConfig(gains=()),
        every=Every(log=1, validate=4, save=2),
        runtime=RuntimeConfig(threads=1),
    )
    return replace(config, **changes)


def _colours(name: str, frames: int) -> Iterator[UInt8[Tensor, "rows cols 3"]]:
    patch = torch.rand(1, 3, 4, 4, generator=torch_generator("films", name))
    picture = torch.nn.functional.interpolate(patch, size=(SIZE, SIZE), mode="bilinear")[0].movedim(0, -1)
    return iter([(picture * 255).to(torch.uint8)] * frames)


def _matte(frames: int) -> Iterator[UInt8[Tensor, "rows cols 3"]]:
    across = torch.linspace(-1, 1, SIZE)
    inside = across[:, None].square() + across.square() < 0.5
    return iter([(inside * 255).to(torch.uint8)[..., None].expand(SIZE, SIZE, 3).clone()] * frames)


def _pixels(points: Float[Tensor, "points 3"], camera: Camera) -> Float[Tensor, "points 2"]:
    seen = points @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
    pixels = seen @ camera.intrinsics.T
    return pixels[:, :2] / pixels[:, 2:]
