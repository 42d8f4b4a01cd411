"""The people of a run: one avatar each, shared by all their clips, and drawing many of them in one call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.atomic import atomic_file
from mango.data.pictures import PictureBatch
from mango.errors import InputError
from mango.head.model import Head
from mango.seeds import torch_generator
from mango.types import MotionClip
from renderer.binding import squared_sides, triangle_frames
from renderer.head import AvatarConfig, HeadAvatar, joined, new_avatar
from renderer.rasterize import NoBackend, draw, resolve
from renderer.types import Camera, Gaussians, Rendering

DENSITY = {"face": 1.0, "lips": 4.0, "left_eye": 6.0, "right_eye": 6.0, "eyelids": 3.0, "brows": 2.0, "teeth": 1.0, "mouth_cavity": 0.5}
ELSEWHERE = 0.5  # scalp, neck
LEARNING_RATES = {
    "offsets": 1.0,
    "quats": 1.0,
    "log_scales": 1.0,
    "opacity_logits": 2.0,
    "fades": 2.0,
    "albedo": 3.0,
    "tints": 3.0,
    "light": 1.0,
}


def face_density(head: Head) -> Float[Tensor, "faces"]:
    """How finely each triangle is covered, relative to the average: eyes and lips need the detail."""
    of_vertex = torch.full((len(head.template),), ELSEWHERE)
    for region, density in DENSITY.items():
        index = head.region(region)
        of_vertex[index] = density if density < ELSEWHERE + 0.1 else of_vertex[index].clamp_min(density)
    return of_vertex[head.faces].mean(-1)


def new_avatars(head: Head, identities: Mapping[str, Float[Tensor, "identity"]], config: AvatarConfig, seed: int) -> dict[str, HeadAvatar]:
    """An avatar per person, all with one binding."""
    density = face_density(head)
    found = {
        person: new_avatar(head.template, head.faces, density, config, identity=identity, head=head.digest, person=person, seed=seed)
        for person, identity in identities.items()
    }
    for avatar in found.values():
        rest_on_own_face(avatar, head)
    return found


def rest_on_own_face(avatar: HeadAvatar, head: Head) -> None:
    """From now on its strains are an expression's alone: a face that is longer than the head's mean is not stretched."""
    nothing = {name: torch.zeros(1, width) for name, width in head.layout.widths.items()}
    face = head.with_shape(avatar.identity).vertices(**nothing)[0]
    avatar.rest = squared_sides(triangle_frames(face, avatar.triangles))


def read_avatars(folder: Path, head: Head) -> dict[str, HeadAvatar]:
    """All avatars of a folder, by person.

    Errors: InputError where there are none, or one that cannot be read or rides on another head.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(folder, expected="avatars (*.safetensors)", found="none", remedy="give a run of stage two or of fine-tuning")
    avatars = {file: _read(file) for file in files}
    for file, avatar in avatars.items():
        if avatar.head != head.digest:
            found = f"one on head {avatar.head[:12]}"
            raise InputError(
                file, expected=f"an avatar on head {head.digest[:12]}", found=found, remedy="give --head the file it was fitted with"
            )
    found: dict[str, Path] = {}
    for file, avatar in avatars.items():
        if avatar.person in found:
            remedy = f"move one of {found[avatar.person].name} and {file.name} elsewhere"
            raise InputError(folder, expected="one avatar of each person", found=f"two of {avatar.person}", remedy=remedy)
        found[avatar.person] = file
    return {avatar.person: avatar for avatar in avatars.values()}


def _read(file: Path) -> HeadAvatar:
    try:
        return HeadAvatar.load(file)
    except (ValueError, KeyError, RuntimeError) as error:  # the renderer's own words, or tensors missing or of other shapes
        raise InputError(
            file, expected="an avatar", found=f"one that cannot be read ({error})", remedy="fit it again, or remove it"
        ) from error


def parameter_groups(avatar: HeadAvatar) -> list[dict]:
    """What learns how fast: torch's parameter groups, rates relative to the optimizer's."""
    return [{"params": [parameter], "lr_scale": LEARNING_RATES[name], "weight_decay": 0.0} for name, parameter in avatar.named_parameters()]


def posed(
    head: Head,
    avatars: Mapping[str, HeadAvatar],
    persons: Sequence[str],
    motion: Float[Tensor, "pictures width"],
    placed: Sequence[MotionClip],
) -> Float[Tensor, "pictures verts 3"]:
    """Each picture's mesh: the person's own shape, this motion, and where the one-frame clip ``placed`` puts the head in the world."""
    identity = torch.stack([avatars[person].identity for person in persons])
    parts = {name: part[:, None] for name, part in head.layout.unpack(motion).items()}
    places = {name: torch.stack([getattr(clip, name) for clip in placed]) for name in ("rotation", "translation")}
    moved = any(bool(place.any()) for place in places.values())  # asked where the clips are: no waiting for a device
    where = {name: place.to(motion) for name, place in places.items()} if moved else {}
    return head.with_shape(identity).vertices(**parts, **where)[:, 0]


def check_drawing(device: torch.device) -> None:
    """InputError where nothing can be drawn on ``device``: asked before the work whose end is pictures. Compiles what has to be."""
    try:
        resolve(device.type, torch.float32)
    except NoBackend as error:
        remedy = "mend that, or run on the CPU, with CUDA_VISIBLE_DEVICES= before the command"
        raise InputError("renderer", expected=f"a backend that draws on {device}", found=f"none: {error.reasons}", remedy=remedy) from None


Carry = Callable[[Gaussians, str, list[int]], Gaussians]  # of a person's pictures: Gaussians with other channels, or some hidden


def with_dropout(share: float, of_pictures: Sequence[int], *position: int | str) -> Carry | None:
    """Hides that share of the Gaussians of each picture, chosen by ``position`` and the picture's number; None where the share is 0.

    Gaussians that lie behind one another learn colours that cancel out where the camera stood, and nowhere else: a head that turns further
    shows flecks. Whoever must do without some of the others in every picture does not (DropGaussian, Park et al., CVPR 2025).
    """
    if share == 0:
        return None

    def carry(gaussians: Gaussians, person: str, pictures: list[int]) -> Gaussians:
        count = gaussians.opacities.shape[-1]
        draws = [torch.rand(count, generator=torch_generator(*position, of_pictures[picture], "dropout")) for picture in pictures]
        return replace(gaussians, opacities=gaussians.opacities * (torch.stack(draws) >= share).to(gaussians.opacities))

    return carry


def drawn(
    avatars: Mapping[str, HeadAvatar],
    vertices: Float[Tensor, "pictures verts 3"],
    recorded: PictureBatch,
    camera_from_world: Float[Tensor, "pictures 4 4"],
    background: Float[Tensor, "channels"],
    carry: Carry | None = None,
    backend: str = "auto",
    eps2d: float = 0.3,
) -> Rendering:
    """The pictures again, as the avatars would look: every person's Gaussians in one call of the rasterizer.

    ``means2d`` and ``radii`` are ordered by person; where there is one, as the pictures are.

    ``carry(gaussians, person, pictures)`` may change the Gaussians of a person's pictures.
    """
    order = sorted(range(len(recorded.persons)), key=lambda picture: recorded.persons[picture])
    scenes = []
    for person in sorted(set(recorded.persons)):
        chosen = [picture for picture in order if recorded.persons[picture] == person]
        scene = avatars[person](vertices[chosen])
        scenes.append(carry(scene, person, chosen) if carry else scene)
    rows, cols = recorded.size
    camera = Camera(camera_from_world[order], recorded.intrinsics[order], width=cols, height=rows)
    rendering = draw(joined(scenes), camera, background, backend, eps2d)
    back = torch.tensor(order).argsort()
    return Rendering(rendering.colors[back], rendering.alphas[back], rendering.means2d, rendering.radii)


def save_avatars(folder: Path, avatars: Mapping[str, HeadAvatar]) -> None:
    """``folder/<person>.safetensors``, each whole or not at all: what `mango render --avatar` takes."""
    for person, avatar in avatars.items():
        with atomic_file(folder / f"{person}.safetensors") as partial:
            avatar.save(partial)
