"""Motion from the baseline that sees the partner's: window after window, faded into each other."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.audio.encoders import Encoder
from mango.head.model import Head
from mango.inference.generation import stitched
from mango.models.regressor import PartnerMotionRegressor
from mango.training.stage1 import MotionDescription, check_encoder
from mango.types import PERSONS, Dialogue, MotionClip, Side


def regress_clips(
    model: PartnerMotionRegressor, description: MotionDescription, encoder: Encoder, head: Head, dialogue: Dialogue
) -> dict[str, MotionClip]:
    """Clips of a and b from both voices and, each, from the label of the other. Who has no label is shown at the mean pose."""
    check_encoder(encoder, description)
    sides = [dialogue.side(person) for person in PERSONS]
    voices = torch.stack([encoder.encode(side.audio).float() for side in sides])
    seen, believed = (torch.stack(parts) for parts in zip(*(_label(side, dialogue.frames, model) for side in sides), strict=True))
    flat = regress(model, voices, seen, believed, window=description.context + description.frames, overlap=description.context)
    shapes = [side.motion.shape if side.motion is not None else torch.zeros(head.identities) for side in sides]
    return {person: head.layout.clip(flat[k], shapes[k], head.digest) for k, person in enumerate(PERSONS)}


def _label(side: Side, frames: int, model: PartnerMotionRegressor) -> tuple[Float[Tensor, "time width"], Bool[Tensor, "time"]]:
    if side.motion is None:
        return torch.zeros(frames, model.layout.width), torch.zeros(frames, dtype=torch.bool)
    keep = side.track.keep if side.track is not None else torch.ones(frames, dtype=torch.bool)
    return model.layout.pack(side.motion), keep


@torch.no_grad()
def regress(
    model: PartnerMotionRegressor,
    voices: Float[Tensor, "person time features"],
    motion: Float[Tensor, "person time width"],
    keep: Bool[Tensor, "person time"],
    *,
    window: int,
    overlap: int,
) -> Float[Tensor, "person time width"]:
    """Flat motion of both people, in the layout's units, each from the other's ``motion`` where ``keep`` says it can be believed."""
    whole = torch.ones_like(keep)  # the voices are all there; who is not tracked is shown at the mean pose
    seen = torch.where(keep[..., None], model.normalised(motion), 0.0)

    def one_window(first: int, last: int, before: Tensor) -> Tensor:
        part = slice(first, last)
        return model.denormalised(model(voices[None, :, part], seen[None, :, part], whole[None, :, part])[0])

    nothing = voices.new_zeros(2, 0, model.layout.width)
    parts = stitched(one_window, voices.shape[1], begin=window, window=window, overlap=overlap, nothing=nothing)
    return torch.cat(list(parts), dim=1)
