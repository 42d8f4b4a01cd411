"""Dialogues in which one of the two says nothing: what a person's lips do while speaking is not the partner's affair.

Recorded partners hardly ever are silent throughout, so a model knows no such thing, and muting one changes what the other's lips do by
several times what it need. A window whose other track is silence says how little: its speaking frames are as true as ever. The muted
person's own frames are not, nor are those in which the partner reacts to what nobody hears now.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.windows import WindowBatch
from mango.seeds import torch_generator


def sometimes_muted(batch: WindowBatch, silence: Float[Tensor, "features"], share: float, position: tuple[int | str, ...]) -> WindowBatch:
    """In about ``share`` of the windows one of the two is muted, either equally often. ``position``, e.g. (seed, step), decides."""
    if not share:
        return batch
    random = torch_generator(*position, "muting")
    chosen = torch.rand(len(batch), 1, generator=random) < share
    person = torch.randint(2, (len(batch), 1), generator=random) == torch.arange(2)
    muted, alone = (chosen & person)[..., None], (chosen & ~person)[..., None]
    return replace(
        batch,
        voices=torch.where(muted[..., None], silence, batch.voices),
        speaking=torch.where(muted, 0.0, batch.speaking),
        taught=batch.taught & ~muted & (~alone | (batch.speaking > 0.5)),
    )
