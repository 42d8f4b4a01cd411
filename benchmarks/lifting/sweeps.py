"""Other data for the same rows: what the gain depends on. ``python -m benchmarks.lifting --scale full --variant dialogues-10``

A variant is a bench of its own (OUT/small.dialogues-10-<seed>), beside that of the frozen data and trained with the same numbers of steps:

    resolution-*   the same dialogues and labels, filmed in other sizes
    dialogues-*    fewer or more training dialogues with the same people; validation and test are the frozen ones
    clips-1, -3    the frozen dialogues, in which at most so many clips of a person are known to be the same person's
    clips-10       as many dialogues among fewer people, so that each has ten clips: other people, another test
    error-*        the same dialogues and pictures, labels with one kind of error alone

What is not made anew are hard links to the frozen set, whose own files are never written to.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.lifting.training import Bench
from mango.data.atomic import atomic_folder
from mango.data.descriptions import read_dialogue
from mango.data.dialogues import DialogueSet, create_dialogue_set, dialogue_folder
from mango.data.json_files import write_json
from mango.data.side_files import write_speaking
from mango.data.synthetic.corruption import KINDS
from mango.data.synthetic.synthesize import SynthesisConfig, synthesize
from mango.data.truth import truth_folder
from mango.seeds import numpy_generator
from mango.types import PERSONS

FLIP_FRAMES = 5  # an indicator errs in stretches


@dataclass(frozen=True)
class Variant:
    title: str
    make: Callable[[Bench, Path], None]  # from the frozen bench into a folder


def variant_bench(base: Bench, variant: str) -> Bench:
    return replace(base, scale=replace(base.scale, name=f"{base.scale.name}.{variant}"))


def make_data(base: Bench, variant: str = "") -> None:
    """The frozen set, and the variant's; what is there stays."""
    synthesize(base.data, base.scale.data)
    if variant:
        VARIANTS[variant].make(base, variant_bench(base, variant).data)


def variants_of(base: Bench, prefix: str = "") -> dict[str, Bench]:
    return {name: variant_bench(base, name) for name in VARIANTS if name.startswith(prefix)}


# Sets of their own -------------------------------------------------------------------------------------------------------------


def synthesized(change: Callable[[SynthesisConfig], SynthesisConfig]) -> Callable[[Bench, Path], None]:
    """Every file is a function of its settings and the dialogue: what ``change`` leaves alone comes out the same as in the frozen set."""
    return lambda base, folder: synthesize(folder, change(base.scale.data)) and None


def size(pixels: int) -> Callable[[Bench, Path], None]:
    return synthesized(lambda data: replace(data, shooting=replace(data.shooting, size_px=pixels)))


def error(kind: str) -> Callable[[Bench, Path], None]:
    return synthesized(lambda data: replace(data, corruption=data.corruption.only(kind)))


def clips_each(clips: int) -> Callable[[Bench, Path], None]:
    """So many people that each has this number of training clips."""
    return synthesized(lambda data: replace(data, people=max(2, len(PERSONS) * data.train // clips)))


# Sets of links -----------------------------------------------------------------------------------------------------------------


def dialogues(count: int) -> Callable[[Bench, Path], None]:
    """The first so many of the frozen training dialogues, or all of them and further ones."""

    def make(base: Bench, folder: Path) -> None:
        if folder.exists():
            return
        known = DialogueSet.open(base.data)
        chosen = [(base.data, id) for id in known.split("train")[:count]]
        if count > len(known.split("train")):
            more, added = further(base, folder.with_name(folder.name + ".more"), count - len(known.split("train")))
            chosen += [(more, id) for id in added]
        kept = {split: [(base.data, id) for id in known.split(split)] for split in ("val", "test")}
        gathered(folder, {"train": chosen, **kept})

    return make


def further(base: Bench, folder: Path, count: int) -> tuple[Path, list[str]]:
    """The dialogues that would follow upon the frozen ones, under the numbers that those have taken; the frozen ones are not made again."""
    known, data = DialogueSet.open(base.data), base.scale.data
    for number, id in enumerate(id for split in ("train", "val", "test") for id in known.split(split)):
        for source, target in ((base.data, folder), (truth_folder(base.data), truth_folder(folder))):
            place = dialogue_folder(target, f"train{number:03d}")
            if not place.exists():
                linked(dialogue_folder(source, id), place)
    taken = data.train + data.val + data.test
    made = synthesize(folder, replace(data, train=taken + count, val=0, test=0))
    return folder, list(made.split("train")[taken:])


def known_apart(clips: int) -> Callable[[Bench, Path], None]:
    """Groups of at most so many training clips of a person pass for people of their own: each gets an avatar."""

    def make(base: Bench, folder: Path) -> None:
        if folder.exists():
            return
        known, met, names = DialogueSet.open(base.data), Counter(), {}
        for id in known.split("train"):
            people = known.describe(id).people
            names[id] = {side: f"{person}-{met[person] // clips}" for side, person in people.items()}
            met.update(people.values())  # a person is not their own partner
        gathered(folder, {split: [(base.data, id) for id in known.split(split)] for split in known.splits}, names)

    return make


def gathered(folder: Path, splits: Mapping[str, Sequence[tuple[Path, str]]], names: Mapping[str, Mapping[str, str]] | None = None) -> None:
    """A set of dialogues (set, id) from other sets, with their truth; ``names``: dialogue -> side -> another name for its person."""
    parts = [part for split in splits.values() for part in split]
    first, names = DialogueSet.open(parts[0][0]), names or {}
    with atomic_folder(truth_folder(folder), replace=True) as partial:  # one that is there was left by a call that was killed
        for root, id in parts:
            linked(dialogue_folder(truth_folder(root), id), dialogue_folder(partial, id))
    with atomic_folder(folder) as partial:
        people = dict(first.people) | {name: {"source": "synthetic"} for side in names.values() for name in side.values()}
        ids = {split: [id for _, id in members] for split, members in splits.items()}
        create_dialogue_set(partial, first.head, people, {**ids, "share_people": True})
        for root, id in parts:
            linked(dialogue_folder(root, id), dialogue_folder(partial, id))
        for id, name in names.items():
            described = dialogue_folder(partial, id) / "dialogue.json"
            write_json(described, replace(read_dialogue(described), people=dict(name)).content())  # a new file takes the link's place


def linked(source: Path, target: Path) -> None:
    with atomic_folder(target) as partial:
        for file in sorted(source.iterdir()):
            os.link(file, partial / file.name)


# A wrong indicator ---------------------------------------------------------------------------------------------------------------


def with_wrong_indicator(source: Path, folder: Path, share: float, seed: int) -> Path:
    """The set with the speaking indicator flipped in about ``share`` of the training frames; its truth is nobody's business here."""
    if folder.exists():
        return folder
    known = DialogueSet.open(source)
    with atomic_folder(folder) as partial:
        create_dialogue_set(partial, known.head, known.people, {**known.splits, "share_people": known.share_people})
        for id in known.ids:
            linked(known.folder(id), dialogue_folder(partial, id))
        for id in known.split("train"):
            dialogue = known.dialogue(id)
            for side in PERSONS:
                wrong = flipped(dialogue.side(side).speaking, share, seed, f"{id}/{side}")
                write_speaking(dialogue_folder(partial, id) / f"{side}.speaking.npy", wrong)  # a new file takes the link's place
    return folder


def flipped(speaking: Float[Tensor, "time"], share: float, seed: int, clip: str) -> Float[Tensor, "time"]:
    """Wrong in stretches of a few frames."""
    starts = numpy_generator(seed, clip, "wrong indicator").random(len(speaking) + FLIP_FRAMES - 1) < 1 - (1 - share) ** (1 / FLIP_FRAMES)
    wrong = torch.from_numpy(np.lib.stride_tricks.sliding_window_view(starts, FLIP_FRAMES).any(1).copy())
    return torch.where(wrong, 1 - speaking, speaking)


VARIANTS = {
    "resolution-64": Variant("pictures of 64 x 64", size(64)),
    "resolution-256": Variant("pictures of 256 x 256", size(256)),
    "dialogues-10": Variant("10 training dialogues", dialogues(10)),
    "dialogues-100": Variant("100 training dialogues", dialogues(100)),
    "clips-1": Variant("an avatar for each clip", known_apart(1)),
    "clips-3": Variant("an avatar for three clips", known_apart(3)),
    "clips-10": Variant("ten clips a person", clips_each(10)),
    **{f"error-{kind}": Variant(f"labels with one error: {kind}", error(kind)) for kind in KINDS if kind != "identity"},
}
