"""A dialogue set into shards (`mango.data.shards`): written in parallel, each whole or not at all, the same bytes whoever writes them.

What a shard holds is planned from the sizes of the files before anything is written: dialogues in the order of their split until the shard
is full, never two splits in one. OUT/.packing remembers the plan and every finished shard until all are; then ``dataset.json`` is
written, last, and only now there is a set. Killed before, the same call goes on and has lost no more than the shards in hand.
"""

import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from mango.data.atomic import atomic_file
from mango.data.descriptions import NAME
from mango.data.dialogues import DialogueSet, files_of
from mango.data.json_files import read_json, write_json
from mango.data.members import PIECE, Place, key_of, span
from mango.data.shards import DESCRIPTION, FILMS, NOTES, Shard, index_content, index_name, is_packed, shards_content
from mango.errors import InputError
from mango.types import StoredFile
from mango.worker_processes import worker_pool

MEGABYTE = 10**6


@dataclass(frozen=True)
class Planned:
    """What one shard shall hold."""

    name: str  # of the tar
    split: str
    dialogues: tuple[str, ...]


@dataclass(frozen=True)
class Packed:
    """A finished shard, and the dialogues that could not go into it."""

    shard: Shard | None  # None: of its dialogues none could be read
    left_out: dict[str, str]  # dialogue -> why


def pack(
    root: Path,
    out: Path,
    *,
    shard_size: int = 512 * MEGABYTE,
    workers: int = 1,
    strict: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, str]:
    """Pack the set ``root`` into the new folder ``out``; the dialogues that are left out because they cannot be read, and why.

    ``shard_size`` in bytes; a shard goes beyond it by less than a dialogue. ``strict``: an unreadable dialogue is an error.
    ``progress`` is told dialogues done and in all.
    """
    source = DialogueSet.open(root, films=True)
    _check_out(root, out)
    plan, missing = _plan(source, shard_size)
    if missing and strict:
        raise next(iter(missing.values()))
    _begin(out, _stamp(source, plan, shard_size))
    packed, done, total = {}, 0, sum(len(planned.dialogues) for planned in plan)
    for planned, result in _all_packed(root, out, plan, workers, strict):
        packed[planned.name] = result
        done += len(planned.dialogues)
        if progress:
            progress(done, total)
    results = [packed[planned.name] for planned in plan]
    left_out = {id: str(error) for id, error in missing.items()} | {id: why for result in results for id, why in result.left_out.items()}
    _finish(source, out, [result.shard for result in results if result.shard], left_out)
    return left_out


# The plan ---------------------------------------------------------------------------------------------------------------------


def _plan(source: DialogueSet, shard_size: int) -> tuple[list[Planned], dict[str, InputError]]:
    """What goes where, by sizes alone; and dialogues that are not there."""
    plan: list[Planned] = []
    missing: dict[str, InputError] = {}
    for split, ids in source.splits.items():
        if not NAME.fullmatch(split):
            expected, remedy = "splits named by letters, digits, '.', '_', '-'", "rename it: shards are called after it"
            raise InputError(source.root / "dataset.json", expected=expected, found=repr(split), remedy=remedy)
        shards, filled = [[]], 0
        for id in ids:
            try:
                source.describe(id)
            except InputError as error:
                missing[id] = error
                continue
            if filled >= shard_size:
                shards.append([])
                filled = 0
            shards[-1].append(id)
            filled += sum(span(file)[2] for file in files_of(source.folder(id)))
        plan += [Planned(f"{split}-{number:06d}.tar", split, tuple(shard)) for number, shard in enumerate(shards) if shard]
    return plan, missing


def _stamp(source: DialogueSet, plan: Sequence[Planned], shard_size: int) -> str:
    """Another set, other files in it or other shards have another stamp."""
    rows = [(str(source.root.resolve()), (source.root / "dataset.json").read_text(), shard_size)]
    for planned in plan:
        for id in planned.dialogues:
            for file in files_of(source.folder(id)):
                holder, start, size = span(file)
                rows.append((planned.name, id, file.name, start, size, holder.stat().st_mtime_ns))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _check_out(root: Path, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(out, expected="a new folder", found="a file", remedy="choose another name")
    if (out / "dataset.json").exists():
        found = "a finished packed set" if is_packed(out) else "a dialogue set"
        raise InputError(out, expected="a new folder", found=found, remedy="choose another name, or remove it first")
    if out.resolve().is_relative_to(root.resolve()):
        raise InputError(out, expected="a folder outside the set", found=f"one inside {root}", remedy="choose another place")


def _begin(out: Path, stamp: str) -> None:
    path = out / NOTES / "plan.json"
    if not path.exists():
        if out.is_dir() and any(item.name != NOTES for item in out.iterdir()):
            raise InputError(out, expected="a new or empty folder", found="other files in it", remedy="choose another name")
        write_json(path, {"stamp": stamp})
    elif read_json(path).get("stamp") != stamp:
        found = "the beginnings of another packing: another set, other files in it, or another shard size"
        raise InputError(
            out, expected="a new folder, or this packing to go on with", found=found, remedy="remove it, or choose another name"
        )


def _finish(source: DialogueSet, out: Path, shards: list[Shard], left_out: dict[str, str]) -> None:
    content = (source.root / "dataset.json").read_bytes()
    if left_out:
        described = json.loads(content)
        kept = {name: [id for id in ids if id not in left_out] for name, ids in source.splits.items()}
        content = json.dumps({**described, "splits": {**described["splits"], **kept}}, indent=1, ensure_ascii=False).encode() + b"\n"
    write_json(out / DESCRIPTION, shards_content(shards))
    with atomic_file(out / "dataset.json") as partial:
        partial.write_bytes(content)
    shutil.rmtree(out / NOTES)


# Writing ----------------------------------------------------------------------------------------------------------------------


def _all_packed(root: Path, out: Path, plan: Sequence[Planned], workers: int, strict: bool) -> Iterator[tuple[Planned, Packed]]:
    """Every shard, as they are done. What an earlier call has finished comes at once."""
    waiting = []
    for planned in plan:
        known = _known(out, planned)
        if known is None or (strict and known.left_out):
            waiting.append(planned)
        else:
            yield planned, known
    if workers == 1 or len(waiting) < 2:
        source = DialogueSet.open(root, films=True)
        for planned in waiting:
            yield planned, _pack_shard(source, out, planned, strict)
        return
    with worker_pool(min(workers, len(waiting))) as pool:
        jobs = {pool.submit(_pack_in_worker, root, out, planned, strict): planned for planned in waiting}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        except BrokenProcessPool as error:
            found, remedy = "one that was killed (out of memory?)", "run the same command again, maybe with fewer --workers"
            raise InputError(out, expected="workers that finish their shards", found=found, remedy=remedy) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _pack_in_worker(root: Path, out: Path, planned: Planned, strict: bool) -> Packed:
    return _pack_shard(DialogueSet.open(root, films=True), out, planned, strict)


def _pack_shard(source: DialogueSet, out: Path, planned: Planned, strict: bool) -> Packed:
    """Write tar and index; the note that they are finished comes last."""
    left_out: dict[str, str] = {}
    written: list[str] = []
    places: dict[str, Place] = {}
    with atomic_file(out / planned.name) as partial, partial.open("wb") as file:
        shard = _Tar(file)
        for id in planned.dialogues:
            try:
                _check_readable(source, id)
            except InputError as error:
                if strict:
                    raise
                left_out[id] = str(error)
                continue
            for member in files_of(source.folder(id)):
                name = f"{key_of(id)}.{member.name}"
                places[name] = shard.add(name, member)
            written.append(id)
        size, sha256 = shard.finish()
    index = index_content(planned.name, places)
    with atomic_file(out / index_name(planned.name)) as partial:
        partial.write_bytes(index)
    if not written:
        (out / planned.name).unlink()
        (out / index_name(planned.name)).unlink()
    done = Shard(planned.name, planned.split, size, sha256, hashlib.sha256(index).hexdigest(), tuple(written)) if written else None
    write_json(_note(out, planned), {"shard": done and asdict(done), "left_out": left_out})
    return Packed(done, left_out)


def _known(out: Path, planned: Planned) -> Packed | None:
    """What an earlier call says of a shard that it has finished."""
    note = _note(out, planned)
    if not note.exists():
        return None
    content = read_json(note)
    row = content["shard"]
    return Packed(row and Shard(**{**row, "dialogues": tuple(row["dialogues"])}), content["left_out"])


def _note(out: Path, planned: Planned) -> Path:
    return out / NOTES / f"{planned.name}.json"


def _check_readable(source: DialogueSet, id: str) -> None:
    """Everything that training would read of it, and where the frames of its films lie."""
    from mango.data.video import VideoFrames

    source.dialogue(id)
    for file in files_of(source.folder(id)):
        if file.name in FILMS:
            VideoFrames(file)


class _Tar:
    """A tar being written that depends on nothing but names and contents: no times, no owners."""

    def __init__(self, file: IO[bytes]):
        self._file, self._digest, self._size = file, hashlib.sha256(), 0

    def add(self, name: str, member: StoredFile) -> Place:
        with member.open("rb") as content:
            size = content.seek(0, 2)
            content.seek(0)
            header = tarfile.TarInfo(name)
            header.size = size
            self._write(header.tobuf(tarfile.PAX_FORMAT))
            start, digest = self._size, hashlib.sha256()
            while piece := content.read(PIECE):
                digest.update(piece)
                self._write(piece)
        assert self._size == start + size, f"{member} changed while it was packed"
        self._write(bytes(-size % tarfile.BLOCKSIZE))
        return Place(start, size, digest.hexdigest())

    def finish(self) -> tuple[int, str]:
        """Its size and sha256."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._write(bytes(-self._size % tarfile.RECORDSIZE))
        return self._size, self._digest.hexdigest()

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self._size += len(content)
