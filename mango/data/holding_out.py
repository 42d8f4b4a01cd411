"""Whole dialogues held out of training, the same ones whenever it is asked.

Dialogues that have a person in common, directly or through others, are a group; groups are held out whole, in the order of a hash of their
names, until the split has its share of all. What was once learnt from stays, but new dialogues follow those of their group that were held
out here before, up to twice the share. Where groups give less than half of it (everybody has talked to one interviewer), single dialogues
are held out, and people are shared.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mango.data.descriptions import NOBODY
from mango.data.dialogues import DialogueSet
from mango.errors import InputError
from mango.seeds import seed_at

TRAIN, HELD_OUT = "train", "val"  # splits


@dataclass(frozen=True)
class HeldOut:
    """What is held out of how many dialogues, and who of theirs is in training too."""

    dialogues: int
    of: int
    more: int | None  # of them were held out just now, if more was asked for
    shared_people: tuple[str, ...]

    def __str__(self) -> str:
        if not self.dialogues:
            return f"nothing is held out (split {HELD_OUT!r}): that takes two dialogues, one of them to learn from"
        named, more = ", ".join(self.shared_people[:3]), ", ..." if len(self.shared_people) > 3 else ""
        whose = f"in training too: {named}{more}" if self.shared_people else "of nobody who is in training"
        begun = "nothing more was held out" if self.more == 0 else "held out"
        return f"{begun} (split {HELD_OUT!r}): {self.dialogues} of {self.of} dialogues, {whose}"


def check_share(share: float | None) -> None:
    if share is not None and not 0 < share < 1:
        remedy = "0.1 holds out every tenth dialogue; without it nothing is held out"
        raise InputError("--hold-out", expected="a share between 0 and 1", found=f"{share:g}", remedy=remedy)


def to_hold_out(
    cast: Mapping[str, Collection[str]],
    share: float,
    *,
    before: Collection[str] = (),
    ours: Collection[str] = (),
    learnt: Collection[str] = (),
) -> set[str]:
    """Which dialogues of ``cast`` (dialogue -> its people) to hold out, so that about ``share`` of them is: one at least, never all.

    ``before`` are held out already and count, ``ours`` among them by an earlier call and not by the source; ``learnt`` stay in training.
    """
    check_share(share)
    if len(cast) < 2:
        return set()
    wanted = min(max(1, round(share * len(cast))), len(cast) - 1)
    free = cast.keys() - {*before} - {*learnt}
    groups = _groups(cast)
    following = [[id for id in ids if id in free] for ids in groups if {*ids} & {*ours} and {*ids} & free and not {*ids} & {*learnt}]
    apart = [ids for ids in groups if {*ids} <= free]
    chosen = _filled(following, min(2 * wanted, len(cast) - 1) - len(before))
    chosen |= _filled(apart, wanted - len(before) - len(chosen))
    if len(before) + len(chosen) < math.ceil(wanted / 2):
        chosen |= _filled([[id] for id in free - chosen], wanted - len(before) - len(chosen))
    return chosen


def with_held_out(splits: Mapping[str, Iterable[str]], chosen: Collection[str]) -> dict[str, list[str]]:
    """The splits with ``chosen`` dialogues moved from training to what is held out."""
    listed = {TRAIN: [], HELD_OUT: [], **{name: list(ids) for name, ids in splits.items()}}
    moved = [id for id in listed[TRAIN] if id in chosen]
    return {**listed, TRAIN: [id for id in listed[TRAIN] if id not in chosen], HELD_OUT: listed[HELD_OUT] + moved}


def held_out(splits: Mapping[str, Collection[str]], cast: Mapping[str, Collection[str]], more: int | None = None) -> HeldOut:
    """What is held out, ``more`` of it just now."""
    train, held = (splits.get(name, ()) for name in (TRAIN, HELD_OUT))
    met, known = ({person for id in ids for person in cast.get(id, ())} - {NOBODY} for ids in (train, held))
    return HeldOut(len(held), len(train) + len(held), more, tuple(sorted(met & known)))


def strangers(splits: Mapping[str, Iterable[str]], cast: Mapping[str, Collection[str]]) -> list[str]:
    """Dialogues to learn from of people whom nothing connects with what is held out."""
    train, held = ([*splits.get(name, ())] for name in (TRAIN, HELD_OUT))
    groups = _groups({id: cast[id] for id in (*train, *held)})
    connected = {id for ids in groups if {*ids} & {*held} for id in ids}
    return [id for id in train if id not in connected]


def nothing_held_out(dialogues: DialogueSet, split: str | None, people: Collection[str] = ()) -> str | None:
    """Why there is nothing to validate on, in a line; None where there is. With ``people``, only they count."""
    without = "nothing is held out, training goes on without validation"
    if split is None:
        return f"validation_split is None: {without}"
    if split not in dialogues.splits:
        return f"{dialogues.root} has no split {split!r} (it has {', '.join(dialogues.splits) or 'none'}): {without}"
    ids, labelled, trusted = dialogues.split(split), set(), set()
    for id in ids:
        found = dialogues.labelled(id)
        labelled |= found.keys()
        trusted |= {person for person, any_frame in found.items() if any_frame}
        if trusted and (not people or trusted & {*people}):
            return None
    where = f"split {split!r} of {dialogues.root}"
    if not labelled:
        return f"{where} {'has no motion labels' if ids else 'is empty (`mango data import --hold-out 0.1` fills it)'}: {without}"
    if people and not labelled & {*people}:
        return f"{where} shows nobody who is learnt from: {without}"
    return f"{where} has no trusted frame of {'whoever is learnt from' if people else 'its labels'} (a.track.npz: keep): {without}"


def _groups(cast: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Dialogues that share people, directly or through others, together."""
    leader: dict[str, str] = {}  # of a person: another of the group, or themselves

    def lead(person: str) -> str:
        while leader.setdefault(person, person) != person:
            leader[person] = leader[leader[person]]
            person = leader[person]
        return person

    people = {id: [person for person in met if person != NOBODY] for id, met in cast.items()}
    for met in people.values():
        for person in met[1:]:
            leader[lead(person)] = lead(met[0])
    groups: dict[str, list[str]] = {}
    for id, met in people.items():
        groups.setdefault(lead(met[0]), []).append(id)
    return list(groups.values())


def _filled(groups: Iterable[list[str]], wanted: int) -> set[str]:
    """Whole groups in the order of their names' hashes, those that still fit."""
    chosen: set[str] = set()
    for ids in sorted(groups, key=lambda ids: seed_at("held out", min(ids))):
        if len(chosen) + len(ids) <= wanted:
            chosen |= {*ids}
    return chosen
