"""Films cut people off: at an edge of the picture a body goes on, of which an avatar knows nothing. It fades out there.

Gaussians beyond an edge still look like whomever the avatar began as; those across it had to be right with their inner half alone.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.pictures import PictureBatch
from mango.training.avatars import posed
from mango.training.stage2 import placed, with_neck
from mango.training.studio import Learners, Studio
from renderer.types import Gaussians

LOOKS = 32  # lessons whose pictures say what was filmed
CUT = 0.05  # share of an edge's pixels that show somebody, from which on the edge cuts them off
WIDTH = 0.15  # of what fades, as a share of the picture's height
OFTEN = 0.5  # share of the pictures: what so many show whole is well learnt, wherever the others cut
NOTHING = 1e-6  # an opacity that draws nothing


@torch.no_grad()
def fade_at_cut_edges(studio: Studio, learners: Learners) -> None:
    """Opacities go to nothing towards edges that cut, and colours there to what a picture can show; beyond any edge nothing is left.

    What an expression would add goes with them.
    """
    lengths = {person: [] for person in learners.avatars}
    for number in range(LOOKS):
        recorded = studio.lessons.at(studio.config.steps + 1 + number).to(studio.device).recorded
        for person, length in _lengths(studio, learners, recorded):
            lengths[person].append(length)
    for person, found in lengths.items():
        if found:
            avatar, length = learners.avatars[person], torch.stack(found).quantile(OFTEN, dim=0)
            share = (length / WIDTH).clamp(0, 1)
            faded = share < 1
            opacities = (share * avatar.opacity_logits.sigmoid()).clamp(min=NOTHING)
            avatar.opacity_logits[faded] = torch.logit(opacities[faded])
            avatar.albedo[faded] = avatar.albedo[faded].clamp(0, 1)
            avatar.tints[faded], avatar.fades[faded] = 0.0, 0.0


def _lengths(studio: Studio, learners: Learners, recorded: PictureBatch) -> list[tuple[str, Float[Tensor, "gaussians"]]]:
    """Of each picture, whose it is and how far their Gaussians are from its edges (`room`)."""
    bank, head = learners.bank, studio.head
    necks = torch.stack([bank.necks[shot[:2]][shot[2]] for shot in recorded.shots])
    motion = with_neck(head, learners.motion.model.denormalised(bank.frames(recorded.shots)), necks)
    vertices = posed(head, learners.avatars, recorded.persons, motion, placed(studio, recorded))
    cameras = learners.cameras.model(recorded.clips, recorded.camera_from_world)
    return [
        (person, room(learners.avatars[person](vertices[k]), cameras[k], recorded.intrinsics[k], recorded.mattes[k, :, :, 0]))
        for k, person in enumerate(recorded.persons)
    ]


def room(
    gaussians: Gaussians, camera_from_world: Float[Tensor, "4 4"], intrinsics: Float[Tensor, "3 3"], matte: Float[Tensor, "rows cols"]
) -> Float[Tensor, "gaussians"]:
    """From each Gaussian, less one standard deviation, to the nearest edge that cuts its person off; shares of the picture's height.

    Negative beyond any edge and behind the camera, the whole height where no edge cuts.
    """
    rows, cols = matte.shape
    places = gaussians.means @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    pixels = places @ intrinsics.T
    x, y = (pixels[:, :2] / pixels[:, 2:]).unbind(-1)
    far = torch.stack([x, cols - x, y, rows - y], -1)
    cuts = torch.stack([edge.mean() > CUT for edge in (matte[:, 0], matte[:, -1], matte[0], matte[-1])])
    radius = gaussians.scales.amax(-1) * intrinsics[0, 0] / places[:, 2]
    nearest = torch.where(cuts, far - radius[:, None], rows).amin(-1) / rows
    return torch.where((far > 0).all(-1) & (places[:, 2] > 0), nearest, -1.0)
