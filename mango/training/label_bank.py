"""The running label bank of stage two: what the pictures have taught about every training frame so far.

It starts as the tracker's labels, with movements as large as pictures say they are (`mango.training.calibration`), and follows the
model's one-shot predictions at low noise, in which many frames' pictures and the sound have been brought together. Head pose of the
labels stays the tracker's: what pictures say about it is kept apart, for drawing. Eyelids stay the tracker's too: no sound foretells a
blink, so a bank that follows the model loses them.

The *rest pin*: an offset common to all clips is invisible to pictures, because the avatar absorbs it, so it would wander. Over silent
frames the bank's mean is held to that of the labels it started from, in which lips are closed (`mango.training.rest`).
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.config import check_ranges
from mango.errors import InputError
from mango.training.rest import ENOUGH, Rest

Key = tuple[str, str]  # dialogue, person
FEW = 100  # remembered head poses of a person, of which half of what they have in common is taken away
SAME = 1e-3  # standard deviations by which the mean of the same labels may differ from machine to machine


@dataclass(frozen=True)
class BankConfig:
    """How the bank follows."""

    rate: float = 0.25  # share of a new prediction
    below: float = 0.5  # only predictions at noise levels below this share of the schedule
    edge: int = 4  # frames at either end of a window that are not believed
    rest: Literal["neutral", "tracked"] = "neutral"  # silent faces: lips touch, no side is preferred; or as the tracker says
    pin_every: int = 5  # motion steps between rest pins; 0 = never

    def __post_init__(self):
        check_ranges(self, rate="[0, 1]", below="[0, 1]", edge="[0, inf)", pin_every="[0, inf)")


@dataclass
class Common:
    """Of one person's registered head poses."""

    turns: Float[Tensor, "3"]  # sum of what they are turned by, beside the tracker's
    frames: Float[Tensor, ""]  # how many there are


class LabelBank:
    """Normalised motion ``(time, width)`` per dialogue and person. ``labels``: what it began with; ``bank``: as it stands."""

    def __init__(
        self,
        labels: Mapping[Key, Float[Tensor, "time width"]],
        silent: Mapping[Key, Bool[Tensor, "time"]],
        held: Bool[Tensor, "width"],
        necks: Mapping[Key, Float[Tensor, "time 3"]],
        rest: Rest | None = None,
        people: Mapping[Key, str] | None = None,
    ):
        """``held``: what stays as labelled. ``necks``: the tracker's head poses. ``rest``: in silence lips are closed; without, the
        tracker's mean stands. ``people``: whose clips they are; None: as many people as clips.
        """
        self.rest, self.silent, self.held, self.tracked = rest, dict(silent), held, dict(necks)
        self.people = {key: "/".join(key) for key in necks} if people is None else dict(people)
        self.shut = {key: torch.zeros(len(tensor), dtype=torch.bool, device=tensor.device) for key, tensor in labels.items()}
        self.labels = {key: self._closed(key, tensor.clone()) for key, tensor in labels.items()}
        self.necks = {key: tensor.clone() for key, tensor in necks.items()}  # head pose to draw with, radians: registered frame by frame
        self.bank = {key: tensor.clone() for key, tensor in self.labels.items()}
        nobody = next(iter(self.necks.values())).new_zeros(4) if self.necks else torch.zeros(4)
        self.common = {person: Common(nobody[:3].clone(), nobody[3].clone()) for person in self.people.values()}

    def amplified(self, gain: Float[Tensor, "width"]) -> "LabelBank":
        """A new bank whose labels move ``gain`` times as much about each clip's rest: the median of its silent frames."""
        labels = {}
        for key, motion in self.labels.items():
            silent = self.silent[key]
            rest = motion[silent if silent.sum() >= ENOUGH else slice(None)].median(0).values
            labels[key] = rest + gain * (motion - rest)
        return LabelBank(labels, self.silent, self.held, self.tracked, self.rest, self.people)

    def on_trial(self) -> "LabelBank":
        """A copy: head poses that it remembers this one does not."""
        tried = copy.copy(self)
        tried.necks = {key: tensor.clone() for key, tensor in self.necks.items()}
        tried.common = {person: Common(common.turns.clone(), common.frames.clone()) for person, common in self.common.items()}
        return tried

    def opening(self, key: Key) -> Float[Tensor, "time"]:
        """Of the lips, metres."""
        return self.rest.opening(self.bank[key])

    def close(self, shut: Mapping[Key, Bool[Tensor, "time"]]) -> None:
        """From now on lips touch in these frames, too."""
        for key, frames in shut.items():
            self.shut[key] = self.shut[key] | frames
            self.bank[key] = self._closed(key, self.bank[key])

    def window(self, key: Key, start: int, frames: int) -> Float[Tensor, "frames width"]:
        """Labels as they stand, from ``start``; past either end the nearest frame is repeated."""
        index = torch.arange(start, start + frames).clamp(0, len(self.bank[key]) - 1)
        return self.bank[key][index]

    def frames(self, shots: Iterable[tuple[str, str, int]]) -> Float[Tensor, "frames width"]:
        """Single frames as they stand, of (dialogue, person, frame)."""
        return _rows(self.bank, shots)

    def follow(
        self, key: Key, start: int, predicted: Float[Tensor, "frames width"], keep: Bool[Tensor, "frames"], config: BankConfig
    ) -> None:
        """Move the bank towards a prediction of frames ``start ...`` where they are kept and not at the window's edge."""
        inner = keep.clone()
        inner[: config.edge] = False
        inner[len(inner) - config.edge :] = False
        where = start + inner.nonzero()[:, 0]
        there = self.bank[key][where]
        moved = torch.lerp(there, predicted.detach()[inner], config.rate)
        moved[:, self.held] = there[:, self.held]
        self.bank[key][where] = moved

    def remember(self, shots: Sequence[tuple[str, str, int]], necks: Float[Tensor, "frames 3"]) -> None:
        """Registered head poses of single frames, to draw with from now on. Of a frame that is named twice the last one stays.

        What all remembered poses of a person have in common, beside the tracker's, is taken from these: an avatar that turns the other way
        draws the same pictures, and the two would turn on and on. Few poses say little of it: the less of it goes, the fewer there are.
        """
        last = {shot: number for number, shot in enumerate(shots)}
        tracked, before = (_rows(of, last) for of in (self.tracked, self.necks))
        turned, known = necks[list(last.values())] - tracked, before - tracked  # nought, where a frame was not looked at yet
        whose = [self.people[shot[:2]] for shot in last]
        for person in sorted(set(whose)):
            rows, common = [row for row, of in enumerate(whose) if of == person], self.common[person]
            common.turns += (turned[rows] - known[rows]).sum(0)
            common.frames += (~known[rows].any(1)).sum()
            shared = common.turns / (FEW + common.frames)
            turned[rows] -= shared
            common.turns -= len(rows) * shared
        for (dialogue, side, frame), found in zip(last, tracked + turned, strict=True):
            self.necks[dialogue, side][frame] = found

    def poses(self, shots: Iterable[tuple[str, str, int]]) -> Float[Tensor, "frames 3"]:
        """Head poses to draw these frames with."""
        return _rows(self.necks, shots)

    def pin(self) -> Float[Tensor, "width"]:
        """Subtract, everywhere, the mean over all silent frames of (bank - labels), which is returned; then close lips that shall be."""
        drift = torch.cat([(self.bank[key] - self.labels[key])[quiet] for key, quiet in self.silent.items()])
        if len(drift) == 0:
            return torch.zeros_like(next(iter(self.bank.values()))[0])
        mean = drift.mean(0)
        for key, tensor in self.bank.items():
            tensor.copy_(self._closed(key, tensor - mean))
        return mean

    def _closed(self, key: Key, motion: Float[Tensor, "time width"]) -> Float[Tensor, "time width"]:
        if self.rest is None:
            return motion
        motion = self.rest.closed(motion, self.silent[key])
        return torch.where(self.shut[key][:, None], self.rest.touching(motion), motion)

    def state(self) -> dict[str, Tensor]:
        """What stands, and, to know them again, the means of the labels it began with."""
        stands = {"/".join((name, *key)): tensor for name in ("bank", "necks", "shut") for key, tensor in getattr(self, name).items()}
        stands |= {f"common/{person}": torch.cat([common.turns, common.frames[None]]) for person, common in self.common.items()}
        return stands | {"/".join(("began", *key)): tensor.mean(0) for key, tensor in self.labels.items()}

    def check(self, state: Mapping[str, Tensor]) -> None:
        """Errors: InputError when it is the ``state()`` of a bank of other clips, of other labels of theirs, or of an older version."""
        expected = set(self.state())
        if expected != set(state):
            other = ", ".join(sorted(expected ^ set(state))[:4])
            remedy = "the run was begun with other dialogues or by an older version: give a new run folder"
            found = f"a difference in {other} ..."
            raise InputError("the checkpoint's label bank", expected="the clips of this run", found=found, remedy=remedy)
        for key, labels in self.labels.items():
            stood, began = (state["/".join((name, *key))] for name in ("bank", "began"))
            if stood.shape != labels.shape or not torch.allclose(began.to(labels), labels.mean(0), atol=SAME):
                found = f"others of {len(stood)} frames" if stood.shape != labels.shape else "others"
                remedy = "the clip was tracked or cut anew since, and the bank knows the former one: give a new run folder"
                raise InputError(
                    "/".join(key), expected=f"the labels that this run began with, of {len(labels)} frames", found=found, remedy=remedy
                )

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """From a ``state()`` that stands the `check`."""
        self.check(state)
        for name in ("bank", "necks", "shut"):
            setattr(self, name, {key: state["/".join((name, *key))].to(tensor) for key, tensor in getattr(self, name).items()})
        for person, common in self.common.items():  # as summed, not summed again: rounding would tell a resumed run
            known = state[f"common/{person}"].to(common.turns)
            self.common[person] = Common(known[:3], known[3])


def _rows(clips: Mapping[Key, Float[Tensor, "time columns"]], shots: Iterable[tuple[str, str, int]]) -> Float[Tensor, "frames columns"]:
    return torch.stack([clips[dialogue, side][frame] for dialogue, side, frame in shots])
