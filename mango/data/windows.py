"""Windows of a split: motion labels and voice features of both people over the same frames, drawn by (seed, step) alone.

A window is ``context`` frames followed by ``frames`` frames. It may start before its dialogue does, up to ``context`` frames: a
generated dialogue begins without context too. What lies outside the dialogue is zero, not heard and not kept.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mango.audio.alignment import sample_count
from mango.audio.encoders import Encoder
from mango.data.dialogues import DialogueSet
from mango.data.features import VoiceFeatures, voice_features
from mango.data.phones import closing_frames
from mango.errors import InputError
from mango.head.layout import MotionLayout
from mango.progress import Told, silent
from mango.seeds import numpy_generator
from mango.types import FRAME_RATE, PERSONS, Dialogue, Side


@dataclass(frozen=True)
class WindowBatch:
    """Windows of several dialogues, both people each."""

    motion: Float[Tensor, "batch person time width"]  # labels in the head's units, flat in MotionLayout order
    voices: Float[Tensor, "batch person time features"]
    speaking: Float[Tensor, "batch person time"]
    inside: Bool[Tensor, "batch person time"]  # the dialogue: there both voices are heard, whoever is labelled
    keep: Bool[Tensor, "batch person time"]  # inside, labelled and trusted
    taught: Bool[Tensor, "batch person time"]  # to be learnt from: all that is kept, or less
    bilabial: Bool[Tensor, "batch person time"]  # p, b or m is spoken: lips touch. False where nobody knows what is spoken
    identity: Float[Tensor, "batch person identity"]  # the head's shape coefficients
    dialogues: tuple[str, ...]
    starts: tuple[int, ...]  # first frame of the window, context included; may be negative
    voice_layers: int = 1  # of the encoder, side by side in the features

    def __len__(self) -> int:
        return len(self.starts)

    def to(self, device: torch.device) -> "WindowBatch":
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in _TENSORS})

    def rows(self, chosen: list[int]) -> "WindowBatch":
        """Some of the windows."""
        tensors = {name: getattr(self, name)[chosen] for name in _TENSORS}
        dialogues, starts = ([of[i] for i in chosen] for of in (self.dialogues, self.starts))
        return replace(self, **tensors, dialogues=tuple(dialogues), starts=tuple(starts))


LISTED = 8  # people named in an error
_TENSORS = tuple(field.name for field in fields(WindowBatch) if field.name not in ("dialogues", "starts", "voice_layers"))


@dataclass(frozen=True)
class _Held:
    """One dialogue in memory; features stay in their cache files."""

    id: str
    frames: int
    motion: Float[Tensor, "person time width"]
    speaking: Float[Tensor, "person time"]
    keep: Bool[Tensor, "person time"]
    bilabial: Bool[Tensor, "person time"]
    identity: Float[Tensor, "person identity"]
    voices: tuple[VoiceFeatures, VoiceFeatures]
    people: tuple[str, str]
    phones_known: tuple[bool, bool]  # whether it is known what each says when


class Windows:
    """The windows of one split. Opening it reads the labels and computes missing voice features.

    With ``people``, only their dialogues count and only they are kept (fine-tuning on one person); the others are still heard.
    """

    def __init__(
        self,
        dialogue_set: DialogueSet,
        split: str,
        encoder: Encoder,
        layout: MotionLayout,
        frames: int,
        context: int,
        people: Collection[str] | None = None,
        told: Told = silent,
    ):
        self.layout, self.encoder, self.frames, self.context = layout, encoder, frames, context
        ids = [id for id in dialogue_set.split(split) if people is None or {*dialogue_set.describe(id).people.values()} & {*people}]
        self.dialogues = []
        for number, id in enumerate(ids, start=1):
            self.dialogues.append(_held(dialogue_set, id, encoder, layout, people))
            told(number, len(ids))
        if not any(held.keep.any() for held in self.dialogues):
            where, whose = f"{dialogue_set.root}, split {split!r}", f" of {', '.join(sorted(people))}" if people else ""
            labelled = {person for id in ids for person in dialogue_set.labelled(id) if people is None or person in people}
            expected, remedy = "motion labels", "name people who have labels, or another split; mango track makes labelled sets of films"
            others = sorted({person for id in dialogue_set.split(split) for person in dialogue_set.describe(id).people.values()} - {""})
            if people and not ids and others:
                remedy = f"name people of the split: {', '.join(others[:LISTED])}{' ...' if len(others) > LISTED else ''}"
            if labelled:
                expected, remedy = (
                    "trusted frames",
                    "track the films again (a.track.npz: keep says which frames are trusted), or name others",
                )
            raise InputError(where, expected=f"{expected}{whose}", found=f"none in {len(self.dialogues)} dialogues", remedy=remedy)
        self._starts = [_starts(held.keep.any(0).numpy(), frames) - context for held in self.dialogues]

    @property
    def length(self) -> int:
        return self.context + self.frames

    @property
    def identity_width(self) -> int:
        return self.dialogues[0].identity.shape[-1]

    @property
    def clips(self) -> dict[tuple[str, str], str]:
        """Who is kept: (dialogue, side) -> person."""
        return {
            (held.id, side): person
            for held in self.dialogues
            for side, person, keep in zip(PERSONS, held.people, held.keep, strict=True)
            if keep.any()
        }

    def require_phones(self, key: str) -> None:
        """``key`` of the config asks for a loss that needs them."""
        if not any(known and keep.any() for held in self.dialogues for known, keep in zip(held.phones_known, held.keep, strict=True)):
            expected, found = "phones of somebody who has labels", "no a.phones.json or b.phones.json of them in the whole split"
            remedy = "write what a forced aligner says (docs/data.md), or set the weight to 0"
            raise InputError(key, expected=expected, found=found, remedy=remedy)

    def batch(self, seed: int, step: int, size: int) -> WindowBatch:
        """The windows of one training step, a pure function of its arguments; every start after which, context aside, there is something
        to learn is equally likely.
        """
        random = numpy_generator(seed, step, "windows")
        counts = np.array([len(starts) for starts in self._starts])
        ends = counts.cumsum()
        drawn = random.integers(ends[-1], size=size)
        which = np.searchsorted(ends, drawn, side="right")
        place = drawn - (ends[which] - counts[which])
        return self.at([(int(dialogue), int(self._starts[dialogue][nth])) for dialogue, nth in zip(which, place, strict=True)])

    def silence(self) -> Float[Tensor, "features"]:
        """A frame of features where nothing is to be heard."""
        return self.encoder.encode(torch.zeros(sample_count(FRAME_RATE)))[FRAME_RATE // 2].float()

    def tiles(self, size: int, most: int | None = None) -> list[list[tuple[int, int]]]:
        """Places (see `at`) that show every frame of the split once, in order, at most ``size`` together; of more than ``most`` so many,
        evenly over the split. For validation.
        """
        places = [(i, start - self.context) for i, held in enumerate(self.dialogues) for start in range(0, held.frames, self.frames)]
        if most is not None and len(places) > most:
            places = [places[k * len(places) // most] for k in range(most)]
        return [places[first : first + size] for first in range(0, len(places), size)]

    def at(self, places: list[tuple[int, int]]) -> WindowBatch:
        """Windows by (number of the dialogue, first frame)."""
        parts = [self._window(self.dialogues[which], start) for which, start in places]
        stacked = {name: torch.stack([part[name] for part in parts]) for name in _TENSORS}
        ids, starts = tuple(self.dialogues[which].id for which, _ in places), tuple(start for _, start in places)
        return WindowBatch(**stacked, dialogues=ids, starts=starts, voice_layers=self.encoder.num_layers)

    def motion_statistics(self) -> tuple[Float[Tensor, "width"], Float[Tensor, "width"]]:
        """Mean and standard deviation of kept frames, the latter with a floor for channels that hardly move.

        Floors: 0.02 of an expression weight, 0.003 rad (0.2 degrees). A channel below them is noise of the tracker, and dividing by
        its deviation would make that noise as important as the lips.
        """
        floor = torch.full((self.layout.width,), 0.003)
        floor[self.layout.where("expr")] = 0.02
        mean, std = _statistics(held.motion[held.keep] for held in self.dialogues)
        return mean, torch.maximum(std, floor)

    def voice_statistics(self) -> tuple[Float[Tensor, "features"], Float[Tensor, "features"]]:
        """Mean and standard deviation of the features, over a sample of dialogues when there are many.

        A feature that hardly moves counts as if it moved by a thousandth of what the liveliest of its layer does.
        """
        chosen = self.dialogues[:: max(1, len(self.dialogues) // 100)]
        mean, std = _statistics(_blocks(voice for held in chosen for voice in held.voices))
        liveliest = std.unflatten(0, (self.encoder.num_layers, -1)).amax(1).clamp(min=1e-6)
        return mean, torch.maximum(std, 1e-3 * liveliest.repeat_interleave(len(std) // len(liveliest)))

    def _window(self, held: _Held, start: int) -> dict[str, Tensor]:
        inside = slice(max(0, start), min(held.frames, start + self.length))
        place = slice(inside.start - start, inside.stop - start)
        voices = np.zeros((2, self.length, self.encoder.width), dtype=np.float32)
        for person, voice in enumerate(held.voices):
            voices[person, place] = voice[inside]
        padded = {name: _padded(getattr(held, name)[:, inside], place, self.length) for name in ("motion", "speaking", "keep", "bilabial")}
        whole = torch.zeros(2, self.length, dtype=torch.bool)
        whole[:, place] = True
        return {**padded, "inside": whole, "taught": padded["keep"], "voices": torch.from_numpy(voices), "identity": held.identity}


def _starts(kept: Bool[np.ndarray, "time"], frames: int) -> Int[np.ndarray, "some"]:
    """First of ``frames`` frames, as far as they fit, among which one is kept; a dialogue shorter than that has one start at most."""
    before = np.concatenate([[0], kept.cumsum()])
    fits = np.arange(max(1, len(kept) - frames + 1))
    return fits[before[np.minimum(fits + frames, len(kept))] > before[fits]]


def _padded(inside: Tensor, place: slice, length: int) -> Tensor:
    whole = inside.new_zeros(inside.shape[0], length, *inside.shape[2:])
    whole[:, place] = inside
    return whole


def _statistics(blocks: Iterable[Float[Tensor, "_ width"]]) -> tuple[Float[Tensor, "width"], Float[Tensor, "width"]]:
    """Mean and standard deviation over the rows of all blocks, of which one is in memory at a time (Chan, Golub and LeVeque 1979)."""
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for block in blocks:
        if not len(block):
            continue
        new, own = block.double(), block.double().mean(0)
        share = len(new) / (count + len(new))
        squares = squares + (new - own).square().sum(0) + (own - mean).square() * (count * share)
        mean, count = mean + (own - mean) * share, count + len(new)
    return mean.float(), (squares / count).sqrt().float()


def _blocks(voices: Iterable[VoiceFeatures], rows: int = 1000) -> Iterator[Float[Tensor, "_ features"]]:
    """Some rows at a time."""
    return (torch.from_numpy(voice[first : first + rows]) for voice in voices for first in range(0, len(voice), rows))


def _held(dialogue_set: DialogueSet, id: str, encoder: Encoder, layout: MotionLayout, people: Collection[str] | None) -> _Held:
    dialogue = dialogue_set.dialogue(id)
    sides = [dialogue.side(person) for person in PERSONS]
    identities = [side.motion.shape for side in sides if side.motion is not None]
    nobody = torch.zeros_like(identities[0]) if identities else torch.zeros(dialogue_set.head.identities)
    return _Held(
        id=id,
        frames=dialogue.frames,
        motion=torch.stack([_motion(side, dialogue, layout) for side in sides]),
        speaking=torch.stack([side.speaking for side in sides]),
        keep=torch.stack([_keep(side, dialogue) & (people is None or side.person in people) for side in sides]),
        bilabial=torch.stack([closing_frames(side.phones or (), dialogue.frames) for side in sides]),
        identity=torch.stack([nobody if side.motion is None else side.motion.shape for side in sides]),
        voices=tuple(voice_features(dialogue_set.root, id, person, dialogue.side(person).audio, encoder) for person in PERSONS),
        people=tuple(side.person for side in sides),
        phones_known=tuple(side.phones is not None for side in sides),
    )


def _motion(side: Side, dialogue: Dialogue, layout: MotionLayout) -> Float[Tensor, "time width"]:
    if side.motion is None:
        return torch.zeros(dialogue.frames, layout.width)
    return torch.where(_keep(side, dialogue)[:, None], layout.pack(side.motion), 0.0)


def _keep(side: Side, dialogue: Dialogue) -> Bool[Tensor, "time"]:
    """Frames with a label to believe: none without motion, the tracker's where it says, else all."""
    if side.motion is None:
        return torch.zeros(dialogue.frames, dtype=torch.bool)
    return side.track.keep if side.track is not None else torch.ones(dialogue.frames, dtype=torch.bool)
