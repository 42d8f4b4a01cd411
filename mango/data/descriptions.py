"""What ``dataset.json`` and ``dialogue.json`` say (format 1), and everything that can be wrong with them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mango.data.json_files import read_json
from mango.data.problem import Problem, raise_first
from mango.types import FRAME_RATE, PERSONS, SAMPLE_RATE, StoredFile

FORMAT = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # of people and dialogues, because they are folder names too
NOBODY = ""  # the person of a silent side: one person alone is a dialogue with nobody


@dataclass(frozen=True)
class SetHead:
    """The head that all motion of a set belongs to. Widths are None where the set does not state them."""

    name: str
    digest: str
    expressions: int | None = None
    identities: int | None = None


@dataclass(frozen=True)
class SetDescription:
    fps: int
    sample_rate: int
    head: SetHead
    people: Mapping[str, Mapping]
    splits: Mapping[str, tuple[str, ...]]
    share_people: bool  # a person may be in train and in test

    def content(self) -> dict:
        """As it stands in the file."""
        head = {key: value for key, value in vars(self.head).items() if value is not None}
        splits = {name: list(ids) for name, ids in self.splits.items()} | ({"share_people": True} if self.share_people else {})
        people = {name: dict(more) for name, more in self.people.items()}
        return {"format": FORMAT, "fps": self.fps, "sample_rate": self.sample_rate, "head": head, "people": people, "splits": splits}


@dataclass(frozen=True)
class DialogueDescription:
    people: Mapping[str, str]  # side -> person, NOBODY for a silent side
    frames: int
    source: str
    licence: str
    created_by: str

    def content(self) -> dict:
        people = {side: None if person == NOBODY else person for side, person in self.people.items()}
        return {
            "people": people, "frames": self.frames, "source": self.source, "licence": self.licence, "created_by": self.created_by,
        }  # fmt: skip


def read_set(path: Path) -> SetDescription:
    content = read_json(path)
    raise_first(set_problems(path, content))
    splits = {name: tuple(ids) for name, ids in content["splits"].items() if name != "share_people"}
    head = SetHead(**{key: value for key, value in content["head"].items() if key in SetHead.__dataclass_fields__})
    share = content["splits"].get("share_people", False)
    return SetDescription(content["fps"], content["sample_rate"], head, content["people"], splits, share)


def read_dialogue(path: StoredFile) -> DialogueDescription:
    content = read_json(path)
    raise_first(dialogue_problems(path, content))
    people = {side: person or NOBODY for side, person in content["people"].items()}
    texts = {key: content.get(key, "") for key in ("source", "licence", "created_by")}
    return DialogueDescription(people, content["frames"], **texts)


def set_problems(path: Path, content: dict) -> Iterator[Problem]:
    if content.get("format") != FORMAT:
        yield Problem(path, f"format {FORMAT}", f"{content.get('format')!r}", "convert the set with `mango data import`")
    for key, wanted in (("fps", FRAME_RATE), ("sample_rate", SAMPLE_RATE)):
        if content.get(key) != wanted:
            yield Problem(path, f"{key} {wanted}", f"{content.get(key)!r}", "convert the set with `mango data import`")
    yield from _head_problems(path, content.get("head"))
    yield from _people_problems(path, content.get("people"))
    yield from _split_problems(path, content.get("splits"))
    known = {"format", "fps", "sample_rate", "head", "people", "splits"}
    for key in sorted(set(content) - known):
        yield Problem(path, f"only the keys {', '.join(sorted(known))}", f"{key!r}", "remove or rename it")


def _head_problems(path: Path, head: object) -> Iterator[Problem]:
    remedy = "write head: {name, digest} as `mango head inspect` shows them"
    if not isinstance(head, dict):
        yield Problem(path, "head as {name, digest}", repr(head), remedy)
        return
    for key in ("name", "digest"):
        if not isinstance(head.get(key), str) or not head[key]:
            yield Problem(path, f"head.{key} as text", repr(head.get(key)), remedy)
    for key in ("expressions", "identities"):
        if key in head and not _whole(head[key], least=1):
            yield Problem(path, f"head.{key} as a whole number", repr(head[key]), "correct it or leave it out")


def _people_problems(path: Path, people: object) -> Iterator[Problem]:
    if not isinstance(people, dict):
        yield Problem(path, "people as {person: {...}}", repr(people), "name every person of the set")
        return
    for name, more in people.items():
        if not NAME.fullmatch(name):
            yield Problem(path, "names of letters, digits, '.', '_', '-'", f"person {name!r}", "rename the person")
        if not isinstance(more, dict):
            yield Problem(path, f"an object for person {name!r}", repr(more), "write {} if there is nothing to say")


def _split_problems(path: Path, splits: object) -> Iterator[Problem]:
    if not isinstance(splits, dict):
        yield Problem(path, "splits as {name: [dialogue, ...]}", repr(splits), "list the dialogues of every split")
        return
    seen: dict[str, str] = {}
    for name, ids in splits.items():
        if name == "share_people":
            if not isinstance(ids, bool):
                yield Problem(path, "splits.share_people as true or false", repr(ids), "correct it")
            continue
        if not isinstance(ids, list) or not all(isinstance(id, str) and NAME.fullmatch(id) for id in ids):
            yield Problem(path, f"splits.{name} as a list of dialogue names", _short(ids), "list folder names below dialogues/")
            continue
        for id in ids:
            if id in seen:
                where = "twice in " + name if seen[id] == name else f"in {seen[id]} and {name}"
                yield Problem(path, "each dialogue in one split, once", f"{id} {where}", "remove one of them")
            seen[id] = name


def dialogue_problems(path: StoredFile, content: dict) -> Iterator[Problem]:
    people = content.get("people")
    if not isinstance(people, dict) or set(people) != set(PERSONS):
        yield Problem(path, "people as {a: person, b: person}", _short(people), "name both people; null for a silent side")
    else:
        for side, person in people.items():
            if person is not None and (not isinstance(person, str) or not NAME.fullmatch(person)):
                yield Problem(path, f"a person's name (or null) for {side}", repr(person), "use a name of dataset.json's people")
        if people["a"] is None and people["b"] is None:
            yield Problem(path, "at least one person", "none", "name who speaks")
        elif people["a"] == people["b"]:
            yield Problem(path, "two different people", f"{people['a']!r} twice", "name the partner, or null for a silent side")
    if not _whole(content.get("frames"), least=1):
        yield Problem(path, "frames as a whole number above 0", repr(content.get("frames")), "state the number of 25-fps frames")
    for key in ("source", "licence", "created_by"):
        if not isinstance(content.get(key), str):
            yield Problem(path, f"{key} as text", repr(content.get(key)), "state where the recording comes from and under what terms")
    for key in sorted(set(content) - set(DialogueDescription.__dataclass_fields__)):
        yield Problem(path, f"only {', '.join(DialogueDescription.__dataclass_fields__)}", f"{key!r}", "remove or rename it")


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
