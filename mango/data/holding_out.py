"""Whole dialogues held out of training, the same ones whenever it is asked.

Who is held out should be a stranger to training. So dialogues that have a person in common, directly or through others, are a group, and
groups are held out whole. Where that cannot be (everybody has talked to one interviewer), single dialogues are, and people are shared.
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
    """Which dialogues of how many, and who of theirs is in training too."""

    dialogues: tuple[str, ...]
    of: int
    shared_people: tuple[str, ...]

    def __str__(self) -> str:
        named, more = ", ".join(self.shared_people[:3]), ", ..." if len(self.shared_people) > 3 else ""
        whose = f"in training too: {named}{more}" if self.shared_people else "of nobody who is in training"
        return f"held out (split {HELD_OUT!r}): {len(self.dialogues)} of {self.of} dialogues, {whose}"


def check_share(share: float | None) -> None:
    if share is not None and not 0 < share < 1:
        remedy = "0.1 holds out every tenth dialogue; without it nothing is held out"
        raise InputError("--hold-out", expected="a share between 0 and 1", found=f"{share:g}", remedy=remedy)


def held_out(cast: Mapping[str, Collection[str]], share: float, *, before: Collection[str] = (), learnt: Collection[str] = ()) -> HeldOut:
    """About ``share`` of the dialogues in ``cast`` (dialogue -> its people), by a hash of their names: at least one, and never all.

    ``before`` are held out already and stay so, ``learnt`` are in training and stay there. Errors: InputError for less than two dialogues.
    """
    check_share(share)
    if len(cast) < 2:
        remedy = "leave it away: training does without a split to validate on"
        raise InputError("--hold-out", expected="at least 2 dialogues, one of them to learn from", found=str(len(cast)), remedy=remedy)
    wanted = min(max(1, round(share * len(cast))), len(cast) - 1)
    groups = _groups(cast)
    joining = {id for ids in groups if {*before} & {*ids} and not {*learnt} & {*ids} for id in ids}
    strangers = [ids for ids in groups if not ({*before} | {*learnt}) & {*ids}]
    chosen = {*before} | joining
    chosen |= _filled(strangers, wanted - len(chosen))
    if len(chosen) < math.ceil(wanted / 2):
        chosen |= _filled([[id] for id in cast if id not in chosen and id not in learnt], wanted - len(chosen))
    others = {person for id in cast.keys() - chosen for person in cast[id]}
    shared = ({person for id in chosen for person in cast[id]} & others) - {NOBODY}
    return HeldOut(tuple(id for id in cast if id in chosen), len(cast), tuple(sorted(shared)))


def with_held_out(
    splits: Mapping[str, Iterable[str]], cast: Mapping[str, Collection[str]], share: float, new: Collection[str]
) -> tuple[dict[str, list[str]], HeldOut]:
    """The splits with ``share`` of what is learnt from held out. Where dialogues were held out already, only ``new`` ones move."""
    listed = {TRAIN: [], HELD_OUT: [], **{name: list(ids) for name, ids in splits.items()}}
    train, before = listed[TRAIN], listed[HELD_OUT]
    learnt = [id for id in train if id not in new] if {*before} - {*new} else []
    found = held_out({id: cast[id] for id in (*train, *before)}, share, before=before, learnt=learnt)
    chosen = [id for id in train if id in found.dialogues]
    return {**listed, TRAIN: [id for id in train if id not in chosen], HELD_OUT: [*before, *chosen]}, found


def nothing_held_out(dialogues: DialogueSet, split: str | None, people: Collection[str] = ()) -> str | None:
    """Why there is nothing to validate on, in a line; None where there is. With ``people``, only they count."""
    without = "nothing is held out, training goes on without validation"
    if split is None:
        return f"validation_split is None: {without}"
    if split not in dialogues.splits:
        return f"{dialogues.root} has no split {split!r} (it has {', '.join(dialogues.splits) or 'none'}): {without}"
    ids = dialogues.split(split)
    labelled = {person for id in ids for person in _labelled(dialogues, id)}
    if not labelled:
        found = "is empty (`mango data import --hold-out 0.1` fills it)" if not ids else "has no motion labels"
        return f"split {split!r} of {dialogues.root} {found}: {without}"
    if people and not labelled & {*people}:
        return f"split {split!r} of {dialogues.root} shows nobody who is learnt from: {without}"
    return None


def _labelled(dialogues: DialogueSet, id: str) -> list[str]:
    folder = dialogues.folder(id)
    return [person for side, person in dialogues.describe(id).people.items() if (folder / f"{side}.motion.npz").exists()]


def _groups(cast: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Dialogues that share people, directly or through others, together."""
    leader: dict[str, str] = {}  # of a person: another of the group, or themselves

    def lead(person: str) -> str:
        while leader.setdefault(person, person) != person:
            person = leader[person] = leader[leader[person]]
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
