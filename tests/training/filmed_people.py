"""Films of people who move otherwise than their labels say, drawn with the very avatars that training begins with."""

from dataclasses import replace

import torch
from tiny_dialogues import FRAMES, SPLITS, make_tiny_set
from tiny_films import tiny_stage2

from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.data.video import write_video
from mango.training.avatars import save_avatars
from mango.training.optim import OptimizerConfig
from mango.types import Dialogue, PersonTrack
from renderer import draw
from renderer.cameras import portrait_camera
from renderer.head import AvatarConfig, new_avatar

SIZE = 64  # pixels


def sitter(head, person: str, shape):
    """Skin with a pattern, and a mouth that is dark inside."""
    config = AvatarConfig(num_gaussians=3000)
    avatar = new_avatar(head.template, head.faces, torch.ones(len(head.faces)), config, identity=shape, head=head.digest,
                        person=person, seed=0)  # fmt: skip
    places = (head.template[avatar.triangles] * avatar.barycentrics[..., None]).sum(1)
    inside = torch.isin(avatar.triangles, head.region("mouth_cavity")).any(-1)
    with torch.no_grad():
        skin = 0.6 + 0.2 * torch.sin(110 * places[:, :1]) * torch.sin(90 * places[:, 1:2])
        avatar.albedo.copy_(torch.where(inside[:, None], 0.05, skin).expand(-1, 3))
        avatar.opacity_logits.fill_(3.0)
    return avatar.requires_grad_(False)


def film_people(folder, head, moved):
    """A set ``film`` with the labels of a tiny one, filmed with motion ``moved(flat labels, silent frames)``, and ``avatars``."""
    silent, camera = DialogueSet.open(make_tiny_set(folder / "silent", head)), portrait_camera(SIZE)
    belongs = faces(head)
    avatars = {}
    create_dialogue_set(folder / "film", head, ["p0", "p1"], SPLITS)
    for id, frames in FRAMES.items():
        sides = {}
        for name, side in silent.dialogue(id).sides.items():
            avatar = avatars.setdefault(side.person, sitter(head, side.person, side.motion.shape))
            flat = head.layout.pack(side.motion)
            quiet = side.speaking < 0.5
            true = torch.where(belongs, moved(flat, quiet), flat)
            parts = {part: values[None] for part, values in head.layout.unpack(true).items()}
            vertices = head.with_shape(side.motion.shape[None]).vertices(**parts)[0]
            colors = [draw(avatar(frame[None]), camera, torch.full((3,), 0.5)).colors[0] for frame in vertices]
            video, mask = (folder / f"{id}.{name}.{kind}.mp4" for kind in ("colours", "matte"))
            write_video(video, iter([(255 * color.clamp(0, 1)).round().to(torch.uint8) for color in colors]))
            write_video(mask, iter([torch.full((SIZE, SIZE, 3), 255, dtype=torch.uint8)] * frames))
            seen = head.landmarks(vertices) @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
            pixels = seen @ camera.intrinsics.T
            track = PersonTrack(side.track.keep, camera.camera_from_world[None], camera.intrinsics, pixels[..., :2] / pixels[..., 2:],
                                side.track.confidence)  # fmt: skip
            sides[name] = replace(side, track=track, video=video, mask_video=mask)
        dialogue = Dialogue(id, frames, sides)
        write_dialogue(folder / "film", dialogue, source="test", licence="CC0", created_by="tests", move_videos=True)
    save_avatars(folder / "avatars", avatars)


def faces(head):
    """Channels of the face."""
    belongs = torch.zeros(head.layout.width, dtype=torch.bool)
    belongs[head.layout.where("expr")] = belongs[head.layout.where("jaw_pose")] = True
    return belongs


def config_of(scene, head, **changes):
    """Stage two on such a film; nothing that draws learns."""
    still = OptimizerConfig(lr=1e-9, warmup=0, weight_decay=0.0, clip=1e9, ema=0.0)  # the avatars are what was filmed already
    return tiny_stage2(
        scene,
        scene / "film",
        head,
        windows=3,
        pictures=6,
        avatars=scene / "avatars",
        head_optimizer=still,
        camera_optimizer=still,
        avatar=AvatarConfig(num_gaussians=3000),
        **changes,
    )
