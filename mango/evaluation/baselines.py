"""Baselines that learn nothing: the training split's mean motion, and its most similar second, copied.

What a trained model adds to copying shows against the second; what any motion adds to none, against the first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mango.audio.encoders import Encoder
from mango.data.dialogues import DialogueSet
from mango.data.windows import Windows
from mango.errors import InputError
from mango.head.model import Head
from mango.inference.generation import stitched
from mango.seeds import torch_generator
from mango.types import PERSONS, Dialogue, MotionClip

MEAN, NEAREST = "mean motion", "nearest neighbour"
SECOND, FADE = 25, 5  # frames copied at a time, and faded from one to the next
CHANNELS = 32  # that a frame of features is projected to: distances stay (Johnson and Lindenstrauss), memory does not depend on the encoder
MOST_MOMENTS = 50_000  # to choose from; of larger sets every so many

Moved = Callable[[Dialogue], Mapping[str, MotionClip]]


def untrained_baselines(dialogues: DialogueSet, split: str, encoder: Encoder, head: Head) -> dict[str, Moved]:
    """Row name -> motion of a dialogue, from the labels and voices of ``split`` (never of the dialogue itself)."""
    known = Windows(dialogues, split, encoder, head.layout, frames=SECOND, context=0)
    mean, _ = known.motion_statistics()
    frames = sum(int(held.keep.sum()) for held in known.dialogues)
    moments = Moments.of(known)

    def mean_motion(dialogue: Dialogue) -> Mapping[str, MotionClip]:
        of_others, own = mean, next((held.motion[held.keep] for held in known.dialogues if held.id == dialogue.id), mean[:0])
        if len(own):
            _require_others(frames - len(own), dialogue)
            of_others = ((mean.double() * frames - own.double().sum(0)) / (frames - len(own))).to(mean.dtype)
        return _clips(dialogue, head, of_others.expand(len(PERSONS), dialogue.frames, -1))

    def nearest_neighbour(dialogue: Dialogue) -> Mapping[str, MotionClip]:
        voices = [encoder.encode(dialogue.side(person).audio) for person in PERSONS]
        own_first = [(voices[person], voices[1 - person]) for person in range(2)]
        return _clips(dialogue, head, torch.stack([moments.of_others(dialogue).copied(own, partner) for own, partner in own_first]))

    return {MEAN: mean_motion, NEAREST: nearest_neighbour}


@dataclass(frozen=True)
class Moments:
    """Seconds of known people: how they and their partners sounded, and how they moved."""

    scale: Float[Tensor, "features"]  # of the encoder's features
    projection: Float[Tensor, "features channels"]
    sound: Float[Tensor, "moments sound"]
    motion: tuple[Float[Tensor, "_ width"], ...]  # of each person of each dialogue
    place: Int[Tensor, "moments 2"]  # whose, and from which frame
    dialogues: tuple[str, ...]  # of whose motion each is

    @staticmethod
    def of(known: Windows) -> "Moments":
        """Every second of the split whose labels are all to be believed."""
        _, scale = known.voice_statistics()
        features = known.encoder.width
        projection = torch.randn(features, CHANNELS, generator=torch_generator("nearest neighbour")) / features**0.5
        motion, sound, place, dialogues = [], [], [], []
        step = 1 + sum(2 * held.frames for held in known.dialogues) // MOST_MOMENTS
        for held in known.dialogues:
            voices = [torch.tensor(voice[: held.frames]) / scale @ projection for voice in held.voices]
            for person in range(2):
                whole = held.keep[person].unfold(0, SECOND, 1).all(-1) if held.frames >= SECOND else held.keep.new_zeros(0)
                starts = whole.nonzero()[::step, 0]
                sound.append(_seconds(voices[person], voices[1 - person], starts))
                place.append(torch.stack([torch.full_like(starts, len(motion)), starts], 1))
                motion.append(held.motion[person])
                dialogues.append(held.id)
        if not any(len(starts) for starts in place):
            expected, remedy = "a second of labelled motion to copy", "leave --baselines out, or name a set with longer dialogues"
            raise InputError("split of the nearest neighbour", expected=expected, found="shorter pieces only", remedy=remedy)
        return Moments(scale, projection, torch.cat(sound), tuple(motion), torch.cat(place), tuple(dialogues))

    def of_others(self, dialogue: Dialogue) -> "Moments":
        """All that are not of the dialogue itself."""
        if dialogue.id not in self.dialogues:
            return self
        others = torch.tensor([id != dialogue.id for id in self.dialogues])[self.place[:, 0]]
        _require_others(int(others.sum()), dialogue)
        return replace(self, sound=self.sound[others], place=self.place[others])

    def copied(self, own: Float[Tensor, "time features"], partner: Float[Tensor, "time features"]) -> Float[Tensor, "time width"]:
        """Second after second, the motion of whoever sounded most like it, with a partner most like this one."""
        frames = len(own)
        own, partner = (torch.nn.functional.pad(voice / self.scale @ self.projection, (0, 0, 0, SECOND)) for voice in (own, partner))

        def one_second(first: int, last: int, before: Tensor) -> Tensor:
            begin = max(0, last - SECOND)  # a short last piece is found by the whole second that it ends
            heard = _seconds(own, partner, torch.tensor([begin]))
            who, start = self.place[torch.cdist(heard, self.sound).argmin()].tolist()
            return self.motion[who][None, start : start + SECOND][:, first - begin : last - begin]

        nothing = self.motion[0].new_zeros(1, 0, self.motion[0].shape[1])
        parts = stitched(one_second, frames, begin=SECOND, window=SECOND, overlap=FADE, nothing=nothing)
        return torch.cat(list(parts), dim=1)[0]


def _require_others(number: int, dialogue: Dialogue) -> None:
    if not number:
        found, remedy = f"{dialogue.id} alone", "leave --baselines out, or score another split"
        raise InputError(
            "baselines that learn nothing", expected="motion of other dialogues in the split train", found=found, remedy=remedy
        )


def _seconds(
    own: Float[Tensor, "time channels"], partner: Float[Tensor, "time channels"], starts: Int[Tensor, "moments"]
) -> Float[Tensor, "moments sound"]:
    frames = starts[:, None] + torch.arange(SECOND)
    return torch.cat([own[frames], partner[frames]], dim=-1).flatten(1)


def _clips(dialogue: Dialogue, head: Head, motion: Float[Tensor, "person time width"]) -> dict[str, MotionClip]:
    shapes = [side.motion.shape if side.motion is not None else torch.zeros(head.identities) for side in map(dialogue.side, PERSONS)]
    return {person: head.layout.clip(motion[k], shapes[k], head.digest) for k, person in enumerate(PERSONS)}
