"""Lips that a tracker left open, closed where pictures show them closed.

Trackers miss closures: at p, b and m their lips stay millimetres apart, and no sharpening brings back what was never seen. Gradients of
pictures are slow to find them, for an opening of millimetres is a shade between the lips. But whether lips touch at all has two answers,
and pictures tell them apart: each frame in which somebody is heard to speak is drawn as labelled, and with lips closed by the likeliest
change of the face that closes them (`mango.training.rest`). Where closed lips draw the mouth better, they are closed in the label bank, and
stay so.

It is asked once, when avatars have learnt to look like their people and the motion model has learnt nothing from pictures yet. How far lips
are open is not asked: avatars that learnt from movements of the wrong size would answer with it.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.data.pictures import PictureBatch, Shot
from mango.seeds import torch_generator
from mango.training.alternation import end_of_opening
from mango.training.drawn_mouths import L1, MOUTH
from mango.training.label_bank import Key
from mango.training.picture_losses import picture_losses, pixel_weights
from mango.training.run import Run
from mango.training.stage2 import registered, rendered
from mango.training.studio import Learners, Studio
from mango.types import PERSONS

FILE = "closures.json"  # in the run's folder: {"asked": pictures of speech, "closed": in how many of them lips are closed now}
LEAST = 0.5e-3  # metres: lips that are nearer than this touch


def close_when_due(run: Run, studio: Studio, learners: Learners, step: int) -> None:
    """After the opening's last step of the head, if motion learns afterwards."""
    config = studio.config
    if step != end_of_opening("head", config.schedule) or step == config.steps:
        return
    asked = open_mouths(studio, learners)
    if not asked:
        return
    run.say(f"looking for closed lips in {len(asked)} pictures of speech")
    shut = closed_in_pictures(studio, learners, asked)
    learners.bank.close(shut)
    found = sum(int(frames.sum()) for frames in shut.values())
    run.note(FILE, {"asked": len(asked), "closed": found})
    run.say(f"lips are closed in {found} of them: they were labelled as open")


@torch.no_grad()
def closed_in_pictures(studio: Studio, learners: Learners, asked: Sequence[Shot]) -> dict[Key, Bool[Tensor, "time"]]:
    """By clip: those of the frames ``asked`` whose mouth is drawn better with lips that touch than as the bank has it."""
    runtime, bank, found = studio.runtime, learners.bank, {key: torch.zeros_like(shut) for key, shut in learners.bank.shut.items()}
    for shots in in_parts(asked, studio.config.windows * studio.config.pictures):
        own = range(runtime.rank, len(shots), runtime.processes)
        better, necks = torch.zeros(0, device=studio.device), torch.zeros(0, 3, device=studio.device)
        if own:
            better, necks = gained_by_closing(studio, learners, studio.lessons.pictures.read([shots[shot] for shot in own]))
        bank.remember(shots, runtime.gathered(necks, own, len(shots)))
        for (dialogue, side, frame), gained in zip(shots, runtime.gathered(better, own, len(shots)).tolist(), strict=True):
            found[dialogue, side][frame] = gained > 0
    return found


def open_mouths(studio: Studio, learners: Learners) -> list[Shot]:
    """Frames of speech to learn from in which the bank's lips do not touch; as many as the config allows, chosen at random.

    None where the bank does not know how lips close.
    """
    config, shots = studio.config, []
    if learners.bank.rest is None:
        return shots
    for held in studio.lessons.windows.dialogues:
        for side, speaking, keep in zip(PERSONS, held.speaking, held.keep, strict=True):
            frames = (speaking >= 0.5) & keep & (learners.bank.opening((held.id, side)) > LEAST).cpu()
            shots += [(held.id, side, frame) for frame in frames.nonzero()[:, 0].tolist()]
    chosen = torch.randperm(len(shots), generator=torch_generator(config.seed, "closures"))[: config.closures.pictures]
    return [shots[number] for number in chosen.sort().values.tolist()]


def gained_by_closing(
    studio: Studio, learners: Learners, recorded: PictureBatch
) -> tuple[Float[Tensor, "pictures"], Float[Tensor, "pictures 3"]]:
    """By how much the mean absolute error of each picture's mouth falls when lips touch, and the registered head poses."""
    recorded, bank, model = recorded.to(studio.device), learners.bank, learners.motion.model
    labelled = bank.frames(recorded.shots)
    as_labelled = registered(studio, learners, model.denormalised(labelled), recorded)
    closed = as_labelled + model.denormalised(bank.rest.touching(labelled)) - model.denormalised(labelled)  # in the same head pose
    weights, errors = pixel_weights(recorded, MOUTH), []
    for motion in (as_labelled, closed):
        drawing = rendered(studio, learners, motion, recorded)
        errors.append(picture_losses(drawing.colors, drawing.alphas, recorded, weights, L1)["l1"])
    return errors[0] - errors[1], as_labelled[:, studio.head.layout.where("neck_pose")]


def in_parts(shots: Sequence[Shot], size: int) -> Iterator[Sequence[Shot]]:
    """Of ``size``; the last may be shorter."""
    return (shots[first : first + size] for first in range(0, len(shots), size))
