"""Several dialogue sets into one: films of `mango track`, a set each, become a set to train on.

    SET ... --planned--> OUT.merging/set/dialogues/<id>, dataset.json --> OUT

A person of one name is one person. A dialogue keeps its name; where two sets have one of the same name, each gets its set's in front.
Dialogues appear whole, and OUT when everything is there: killed at any moment, the same call goes on. One call at a time works on OUT.
Films are linked, not copied, where the disk can, for nothing ever changes a film in place.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mango.data.atomic import alone_in, atomic_folder, take_place
from mango.data.descriptions import NOBODY, SetHead
from mango.data.dialogues import DialogueSet, create_dialogue_set, files_of
from mango.data.formats.recordings import as_name
from mango.data.holding_out import TRAIN, HeldOut, held_out, strangers, to_hold_out, with_held_out
from mango.data.json_files import read_json, write_json
from mango.data.members import span
from mango.data.shards import FILMS
from mango.data.strays import check_replaceable
from mango.data.video import VideoFrames
from mango.errors import InputError
from mango.types import StoredFile

PLAN = "plan.json"  # in OUT.merging
TEST = "test"


@dataclass(frozen=True)
class Piece:
    """One dialogue on its way."""

    source: DialogueSet
    id: str
    name: str  # in the merged set
    split: str

    @property
    def files(self) -> list[StoredFile]:
        return files_of(self.source.folder(self.id))


@dataclass(frozen=True)
class Merged:
    """How it went."""

    dialogues: int
    renamed: int  # dialogues whose names two sets had
    people: Mapping[str, int]  # person -> in how many sets
    shared_with_test: tuple[str, ...]  # people of train who are in test, from now on: of no single set
    sizes: Mapping[tuple[int, int], tuple[str, ...]]  # rows and columns of films -> whose, a.mp4 of a dialogue
    held_out: HeldOut


def merge(
    out: Path,
    roots: Sequence[Path],
    *,
    hold_out: float | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> Merged:
    """The sets ``roots``, in folders or shards, as the new set ``out``.

    ``hold_out``: share that goes to the split "val", of those dialogues whose people nothing connects with a "val" of the sets
    (`mango.data.holding_out`). Errors: InputError for sets of different heads, for a set given twice, and for an ``out`` that is there,
    unless ``overwrite`` replaces it when all is done.
    """
    _check_places(out, roots, overwrite)
    sets = [DialogueSet.open(root, strict=True, films=True) for root in roots]
    head = _head_of_all(sets)
    pieces = _planned(sets)
    cast = {piece.name: tuple(piece.source.describe(piece.id).people.values()) for piece in pieces}
    splits = {**{name: [] for one in sets for name in one.splits}, **_splits(pieces)}
    more = None
    if hold_out is not None:
        new = strangers(splits, cast)  # a held-out end of a film holds out no film
        chosen = to_hold_out({id: cast[id] for id in new}, hold_out)
        splits, more = with_held_out(splits, chosen), len(chosen)
    shared = _in_train_and_test(splits, cast)
    known = {person for one in sets for person in _in_train_and_test(_splits(piece for piece in pieces if piece.source is one), cast)}
    people = {person: {} for one in sets for person in one.people}
    for one in reversed(sets):  # the first that says something of a person is believed
        people = {person: {**said, **one.people.get(person, {})} for person, said in people.items()}
    described = {**splits, "share_people": bool(shared) or any(one.share_people for one in sets)}
    hand, stamp = _hand(out), _stamp(pieces, splits)
    with alone_in(hand, "merge"):
        done_before = _in_place(out, stamp)
        if not done_before:
            _check_new(out, overwrite)  # once more: another merge may have ended meanwhile
        growing = out if done_before else _begun(hand, stamp)
        sizes: dict[tuple[int, int], list[str]] = {}
        for done, piece in enumerate(pieces):
            progress(done, len(pieces))
            folder = growing / "dialogues" / piece.name
            _place(piece, folder)
            for film in _films(folder):
                sizes.setdefault(VideoFrames(film).size, []).append(f"{piece.name}/{film.name}")
        progress(len(pieces), len(pieces))
        if not done_before:
            create_dialogue_set(growing, head, people, described)
            take_place(growing, out)
        shutil.rmtree(hand)
    return Merged(
        dialogues=len(pieces),
        renamed=sum(piece.name != piece.id for piece in pieces),
        people={person: sum(person in one.people for one in sets) for person in people},
        shared_with_test=tuple(sorted(shared - known)),
        sizes={size: tuple(names) for size, names in sizes.items()},
        held_out=held_out(splits, cast, more),
    )


def _check_places(out: Path, roots: Sequence[Path], overwrite: bool) -> None:
    places = [root.resolve() for root in roots]
    twice = [root for root, place in zip(roots, places, strict=True) if places.count(place) > 1]
    if twice:
        raise InputError(twice[0], expected="each set once", found="one given twice", remedy="name every set one time")
    hand = _hand(out)
    if hand.exists() and not (hand / PLAN).is_file() and not (hand.is_dir() and all(item.name.startswith(".") for item in hand.iterdir())):
        raise InputError(hand, expected="what an earlier merge left, or nothing", found="something else", remedy="move it away")
    if not (hand / PLAN).is_file() or (hand / "set").exists():  # else it may be the same merge, which has only to be tidied up
        _check_new(out, overwrite)
    for place in places:
        if out.resolve().is_relative_to(place) or place.is_relative_to(out.resolve()):
            remedy = "choose a place beside the sets; afterwards they may be removed"
            raise InputError(out, expected="a folder apart from the sets", found=f"one in or about {place}", remedy=remedy)


def _check_new(out: Path, overwrite: bool) -> None:
    a_set = (out / "dataset.json").is_file()
    if out.exists() and not (overwrite and a_set):
        remedy = "the merged set is named first: choose a new name for it" + (", or pass --overwrite to replace this one" if a_set else "")
        raise InputError(out, expected="nothing yet", found="a dialogue set" if a_set else "a file or folder", remedy=remedy)
    if a_set:
        check_replaceable(out)


def _head_of_all(sets: Sequence[DialogueSet]) -> SetHead:
    first = sets[0].head
    for other in sets[1:]:
        if other.head.digest != first.digest:
            found = f"{other.root} of {other.head.name} ({other.head.digest[:12]})"
            remedy = "make all sets with the same --head; motion of other heads is retargeted by `mango data import --source-head`"
            raise InputError(sets[0].root, expected=f"sets of one head, as {first.name} ({first.digest[:12]})", found=found, remedy=remedy)
    widths = {
        name: next((getattr(one.head, name) for one in sets if getattr(one.head, name)), None) for name in ("expressions", "identities")
    }
    return SetHead(first.name, first.digest, **widths)


def _planned(sets: Sequence[DialogueSet]) -> list[Piece]:
    """Every dialogue of every split, under a name that no other has."""
    times = Counter(id for one in sets for id in one.ids)
    titles = [as_name(one.root.resolve().name) for one in sets]
    taken = {id for id, often in times.items() if often == 1}
    pieces = []
    for one, title in zip(sets, titles, strict=True):
        for split in one.splits:
            for id in one.split(split):
                name, number = (id, 1) if times[id] == 1 else (f"{title}-{id}", 1)
                while times[id] > 1 and name in taken:
                    number += 1
                    name = f"{title}-{number}-{id}"
                taken.add(name)
                pieces.append(Piece(one, id, name, split))
    if not pieces:
        remedy = "name sets that have dialogues in their splits"
        raise InputError(sets[0].root, expected="dialogues to merge", found="none in any split of any set", remedy=remedy)
    return pieces


def _splits(pieces: Iterable[Piece]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for piece in pieces:
        splits.setdefault(piece.split, []).append(piece.name)
    return splits


def _in_train_and_test(splits: Mapping[str, Sequence[str]], cast: Mapping[str, Sequence[str]]) -> set[str]:
    met = [{person for id in splits.get(name, ()) for person in cast[id]} for name in (TRAIN, TEST)]
    return (met[0] & met[1]) - {NOBODY}


def _hand(out: Path) -> Path:
    return out.absolute().with_name(f"{out.absolute().name}.merging")  # "." has no name


def _in_place(out: Path, stamp: str) -> bool:
    """Whether the same merge was killed when the set had its name already: what the plan names has left."""
    hand = _hand(out)
    left = (out / "dataset.json").is_file() and (hand / PLAN).is_file() and not (hand / "set").exists()
    return left and read_json(hand / PLAN).get("stamp") == stamp


def _begun(hand: Path, stamp: str) -> Path:
    """The growing set: what an earlier call of the same left, or a new one. The plan has a stamp only while the set is of it."""
    if not (hand / PLAN).is_file() or read_json(hand / PLAN).get("stamp") != stamp:
        write_json(hand / PLAN, {"stamp": None})
        shutil.rmtree(hand / "set", ignore_errors=True)
        (hand / "set" / "dialogues").mkdir(parents=True)
        write_json(hand / PLAN, {"stamp": stamp})
    (hand / "set" / "dataset.json").unlink(missing_ok=True)
    return hand / "set"


def _stamp(pieces: Sequence[Piece], splits: Mapping[str, Sequence[str]]) -> str:
    """Other sets, other splits or other files have another."""
    rows: list[tuple] = [(name, *ids) for name, ids in splits.items()]
    for piece in pieces:
        for file in piece.files:
            holder, start, size = span(file)
            rows.append((str(piece.source.root.resolve()), piece.id, piece.name, file.name, start, size, holder.stat().st_mtime_ns))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _place(piece: Piece, folder: Path) -> None:
    if folder.exists():
        return
    with atomic_folder(folder) as partial:
        for file in piece.files:
            if not (file.name in FILMS and isinstance(file, Path) and _linked(file, partial / file.name)):
                with file.open("rb") as source, (partial / file.name).open("wb") as copy:
                    shutil.copyfileobj(source, copy)


def _linked(film: Path, place: Path) -> bool:
    """Another disk, or one that cannot link, wants a copy."""
    try:
        os.link(film.resolve(), place)
    except OSError:
        return False
    return True


def _films(folder: Path) -> list[StoredFile]:
    return [file for file in files_of(folder) if file.name in FILMS and ".mask" not in file.name]
