"""Packed dialogue sets: the dialogues of a split side by side in plain tar files, a dialogue being a WebDataset sample.

ROOT/dataset.json                    as of any set
ROOT/shards.json                     which shards there are: split, size, sha256, sha256 of the index, dialogues
ROOT/train-000000.tar                <id>.dialogue.json <id>.a.wav <id>.a.motion.npz ..., the files of docs/data.md, not compressed
ROOT/train-000000.index.json         where each member's bytes lie: name, offset, size, sha256
ROOT/features/                       cache, as of any set

What was packed is what ``shards.json`` and the index say. A shard that has been changed since is searched for its members again, and each
has to have the bytes that were packed. Dialogues of which anything is missing or changed are left out and named, or stop everything
(``strict``).
"""

import hashlib
import json
import operator
import os
import tarfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mango.data.atomic import atomic_file
from mango.data.json_files import read_json
from mango.data.members import PackedFolder, Place, id_of, sha256_of
from mango.errors import InputError

FORMAT = 1
DESCRIPTION = "shards.json"
NOTES = ".packing"  # a folder that is there until a set is packed
FILMS = ("a.mp4", "a.mask.mp4", "b.mp4", "b.mask.mp4")  # most of a set's bytes
NAMED = 20  # dialogues that a warning names
AGAIN = "copy the shard here again"

Places = Mapping[str, Place]  # by the member's name in the tar, in its order


class DialoguesLeftOut(UserWarning):
    """Dialogues of a packed set cannot be read as they were packed."""


@dataclass(frozen=True)
class Shard:
    """One shard as ``shards.json`` describes it."""

    name: str  # of the tar
    split: str
    size: int  # bytes
    sha256: str
    index_sha256: str
    dialogues: tuple[str, ...]

    @property
    def index_name(self) -> str:
        return index_name(self.name)


@dataclass(frozen=True)
class Shards:
    """The dialogues of an opened packed set."""

    root: Path
    folders: Mapping[str, PackedFolder]
    lost: Mapping[str, InputError]  # dialogues of which something is missing, by what opening has seen
    strict: bool  # whether damaged dialogues of a split are an error
    films: bool  # whether films count: a dialogue with a damaged one is left out
    left_out: dict[str, InputError] = field(default_factory=dict)  # and told of, so far
    read: dict[str, InputError | None] = field(default_factory=dict)  # dialogues whose bytes were compared already, and what is wrong

    def folder(self, id: str) -> PackedFolder:
        if id in self.lost:
            raise self.lost[id]
        if id not in self.folders:
            found, remedy = "it in no shard", "pack the set again, or take the dialogue out of the splits"
            raise InputError(self.root / DESCRIPTION, expected=f"a dialogue {id!r}", found=found, remedy=remedy)
        return self.folders[id]

    def intact(self, ids: Iterable[str], what: str, *, strict: bool) -> tuple[str, ...]:
        """Those whose bytes are the packed ones. The others are told of, once; or, if ``strict``, are an error."""
        ids = tuple(ids)
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as readers:
            self.read.update(readers.map(lambda id: (id, self._damage(id)), [id for id in ids if id not in self.read]))
        damage = {id: self.read[id] for id in ids}
        damaged = {id: error for id, error in damage.items() if error is not None}
        if damaged and strict:
            raise next(iter(damaged.values()))
        if damaged.keys() - self.left_out.keys():
            self.left_out.update(damaged)
            told = "; ".join(f"{id} ({error})" for id, error in list(damaged.items())[:NAMED])
            more = f"; and {len(damaged) - NAMED} more, which `mango data validate` names" if len(damaged) > NAMED else ""
            _warn(self.root, f"{what}: {len(damaged)} of {len(ids)} dialogues are left out: {told}{more}", DialoguesLeftOut)
        return tuple(id for id in ids if id not in damaged)

    def _damage(self, id: str) -> InputError | None:
        try:
            for member in self.folder(id).iterdir():
                if self.films or member.name not in FILMS:
                    member.check()
        except InputError as error:
            return error
        return None


def is_packed(root: Path) -> bool:
    return (root / DESCRIPTION).is_file()


def open_shards(root: Path, *, strict: bool = False, films: bool = False) -> Shards:
    """What lies where in the shards; reads descriptions, indices and sizes."""
    folders: dict[str, PackedFolder] = {}
    lost: dict[str, InputError] = {}
    for shard in read_shards(root):
        found, missing = _dialogues(root, shard)
        folders |= found
        lost |= missing
    return Shards(root, folders, lost, strict, films)


# Descriptions ---------------------------------------------------------------------------------------------------------------


def index_name(shard: str) -> str:
    return shard.removesuffix(".tar") + ".index.json"


def read_shards(root: Path) -> tuple[Shard, ...]:
    path = root / DESCRIPTION
    content, again = read_json(path), "copy the file again, or pack the set again"
    if content.get("format") != FORMAT:
        raise InputError(path, expected=f"format {FORMAT}", found=repr(content.get("format")), remedy="pack the set with this version")
    try:
        shards = tuple(Shard(**{**row, "dialogues": tuple(row["dialogues"])}) for row in content["shards"])
        assert all(os.path.basename(shard.name) == shard.name and shard.size >= 0 for shard in shards)
    except (KeyError, TypeError, AssertionError) as error:
        expected = "shards as {name, split, size, sha256, index_sha256, dialogues}"
        raise InputError(path, expected=expected, found=f"others ({error})", remedy=again) from error
    return shards


def packed_ids(root: Path) -> set[str]:
    """Every dialogue that was packed, whatever has become of it."""
    return {id for shard in read_shards(root) for id in shard.dialogues}


def shards_content(shards: Iterable[Shard]) -> dict:
    return {"format": FORMAT, "shards": [asdict(shard) for shard in shards]}


def index_content(shard: str, places: Places) -> bytes:
    """The index file: one member a line."""
    rows = ",\n".join(json.dumps([name, place.start, place.size, place.sha256]) for name, place in places.items())
    return f'{{"format": {FORMAT}, "shard": {json.dumps(shard)}, "members": [\n{rows}\n]}}\n'.encode()


# Opening --------------------------------------------------------------------------------------------------------------------


def _dialogues(root: Path, shard: Shard) -> tuple[dict[str, PackedFolder], dict[str, InputError]]:
    """The dialogues of one shard, and why others are lost."""
    path = root / shard.name
    if not path.is_file():
        error = InputError(path, expected=f"a shard of {len(shard.dialogues)} dialogues", found="no such file", remedy=AGAIN)
        return {}, dict.fromkeys(shard.dialogues, error)
    try:
        packed = _packed_places(root, shard)
    except InputError as error:
        return {}, dict.fromkeys(shard.dialogues, error)
    size = path.stat().st_size
    unmoved = size == shard.size and _last_is_in_place(path, packed)
    here = packed if unmoved else _moved(packed, dict(_headers(path)))
    folders, lost = {}, {}
    for id, members in _by_dialogue(packed).items():
        gone = [name for name in members.values() if name not in here]
        if gone:
            found = f"none in {size} bytes, where {shard.size} were packed"
            lost[id] = InputError(path, expected=f"a member {gone[0]} (dialogue {id})", found=found, remedy=AGAIN)
        else:
            folders[id] = PackedFolder(path, id, {name: here[member] for name, member in members.items()})
    return folders, lost


def _packed_places(root: Path, shard: Shard) -> Places:
    """What was packed, by the index; an index that is missing or of another shard is made again, of the shard as it was packed only."""
    path = root / shard.index_name
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != shard.index_sha256:
        tar = root / shard.name
        places = {name: Place(place.start, place.size, sha256_of(tar, place)) for name, place in _headers(tar)}
        content = index_content(shard.name, places)
        if hashlib.sha256(content).hexdigest() != shard.index_sha256:
            # which of its members are as they were packed, only the index could tell
            found, remedy = "another one, and no index of it", "copy the shard and its .index.json here again"
            raise InputError(tar, expected=f"the shard that was packed (sha256 {shard.sha256[:12]})", found=found, remedy=remedy)
        _warn(path, "was missing or not this shard's and has been made again", UserWarning)
        if os.access(root, os.W_OK):
            with atomic_file(path) as partial:
                partial.write_bytes(content)
    try:
        rows = json.loads(content)["members"]
        return {str(name): Place(operator.index(start), operator.index(size), str(sha256)) for name, start, size, sha256 in rows}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            path, expected="rows of name, offset, size, sha256", found=f"others ({error})", remedy="pack the set again"
        ) from error


def _headers(tar: Path) -> Iterator[tuple[str, Place]]:
    """The members by the headers of the tar, as far as it is whole; without digests."""
    size = tar.stat().st_size
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                if member.isfile() and member.offset_data + member.size <= size:
                    yield member.name, Place(member.offset_data, member.size, "")
    except (tarfile.TarError, EOFError, OSError):
        return  # what follows is not there


def _last_is_in_place(tar: Path, packed: Places) -> bool:
    """Whether the last member lies where it was packed: taking one out, or another program's headers, would have moved it."""
    name, place = list(packed.items())[-1]
    with tar.open("rb") as file:
        file.seek(place.start - tarfile.BLOCKSIZE)
        try:
            header = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return False
    return header.size == place.size and name.startswith(header.name)  # long names are cut there and whole in a header before


def _moved(packed: Places, here: Places) -> Places:
    """Members that are still there, where they lie now; with the digests that they were packed with."""
    places = {name: Place(here[name].start, place.size, place.sha256) for name, place in packed.items() if name in here}
    return {name: place for name, place in places.items() if here[name].size == place.size}


def _by_dialogue(places: Places) -> dict[str, dict[str, str]]:
    """{dialogue: {name within the dialogue: name in the tar}}"""
    dialogues: dict[str, dict[str, str]] = {}
    for member in places:
        key, _, name = member.partition(".")
        dialogues.setdefault(id_of(key), {})[name] = member
    return dialogues


def _warn(where: Path, text: str, kind: type[Warning]) -> None:
    """Of the data, not of the line of code that has come upon it."""
    warnings.warn_explicit(text, kind, filename=os.fspath(where), lineno=0)
