"""Many recordings into one set, a task each.

    entries --as they were--------------------------------> kept      .
            `-new, changed, failed before--> ImportRecording --> dialogues/<id>, a line of import.jsonl --> dataset.json, last

A new set grows in OUT.importing and becomes OUT when it is whole: dataset.json is written last. A set that is there already grows in
place, dialogue by dialogue, and is a set at every moment.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from mango.data.atomic import alone_in, take_place
from mango.data.formats import manifest
from mango.data.formats.conventions import check
from mango.data.formats.conversion import dialogue_of
from mango.data.formats.manifest import Manifest, Record
from mango.data.formats.recordings import Entry, Finding, FlameMotion, Options, Recording, as_name
from mango.data.formats.registry import load
from mango.data.formats.sources import digest_of, folder_digest, look_of
from mango.data.holding_out import HELD_OUT, TRAIN, HeldOut, held_out, to_hold_out, with_held_out
from mango.data.preparation import Engine, Outcome, TaskError, carried_out
from mango.errors import InputError
from mango.head.model import Head, load_head

Progress = Callable[[int, int], None]
IN_HAND = ".in-hand"  # of the growing set: a folder for each recording that is being imported


@dataclass(frozen=True)
class Import:
    """What is imported, and how: all that decides a dialogue's files but the recording itself."""

    format: str
    source: Path
    head: str
    options: Options
    without_motion: bool
    licence: str
    source_head: str | None = None  # whose motion the source holds, where it is another head's
    anyway: bool = False  # decides which recordings are refused, not what the others become

    def heads(self) -> tuple[Head, Head | None]:
        """The set's, and the one that the source's motion is of, if stated. ``flame_version`` is about the latter where there is one."""
        version = self.options.flame_version
        if self.source_head is None:
            return _head(self.head, version), None
        return _head(self.head, None), _head(self.source_head, version)

    def settings(self) -> dict[str, object]:
        head, source_head = self.heads()
        return {
            "format": self.format, "head": head.digest, "fps": self.options.fps, "flame_version": self.options.flame_version,
            "without_motion": self.without_motion, "licence": self.licence,
            **({"camera": self.options.camera} if self.options.camera is not None else {}),
            **({"source_head": source_head.digest} if source_head is not None else {}),
        }  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """How it went."""

    records: Mapping[str, Record]  # of every recording of the source, in its order
    people: int  # of the set
    kept: int  # recordings that were there, unchanged
    gone: tuple[str, ...]  # dialogues that left the set because their recordings left the source
    retargeting: tuple[Mapping[str, object], ...]  # shape, moves_mm, lost_mm of each of the source head's shapes, if any was retargeted
    held_out: HeldOut  # of the set


@dataclass(frozen=True)
class ImportRecording:
    """One recording to one dialogue. Its folder appears whole; what an interrupted attempt left is cleared away by the next."""

    root: Path
    entry: Entry
    what: Import
    before: Record | None  # of an earlier run

    def __call__(self) -> Record:
        entry, folder = self.entry, self.root / "dialogues" / self.entry.id
        record = Record(entry.id, _people(entry), entry.split, look=look_of(entry.files), source=digest_of(entry.files))
        then = self.before
        if then is not None and (then.error, then.people, then.source) == (None, record.people, record.source) and folder.is_dir():
            return replace(then, look=record.look, split=record.split)  # touched, but as it was
        hand = self.root / IN_HAND / entry.id
        shutil.rmtree(hand, ignore_errors=True)
        try:
            words, retargeted = self._write(hand)
            made = hand / "dialogues" / entry.id
            record = replace(record, result=folder_digest(made), words=words, retargeted=retargeted)
            if folder.exists():
                os.rename(folder, hand / "old")
            os.rename(made, folder)
        finally:
            shutil.rmtree(hand, ignore_errors=True)
        return record

    def _write(self, hand: Path) -> tuple[tuple[tuple[str, str], ...], bool]:
        """A set of this one dialogue; what was assumed and converted, and whether motion was retargeted."""
        from mango.data.dialogues import create_dialogue_set, write_dialogue

        entry, what = self.entry, self.what
        head, source_head = what.heads()
        (hand / "films").mkdir(parents=True)
        recording = read_recording(entry, what.options)
        _refuse_contradictions(recording, check(_unmoved(recording) if what.without_motion else recording), what.anyway)
        create_dialogue_set(hand, head, _people(entry), {"train": [entry.id]})
        made = dialogue_of(entry.id, recording, head, hand / "films", with_motion=not what.without_motion, source_head=source_head)
        words = [word for word in dict.fromkeys([*recording.assumptions, *made.words]) if word.certainty != "certain"]
        generation = _generation(recording)
        source = f"{what.format} {what.source.name}" + (f" ({generation})" if generation else "")
        source += ": " + "; ".join(str(word) for word in words)
        write_dialogue(hand, made.dialogue, source=source, licence=what.licence, created_by="mango data import", move_videos=True)
        return tuple((word.certainty, word.words) for word in words), made.retargeted


def import_recordings(
    entries: list[Entry], out: Path, what: Import, engine: Callable[[int], Engine], *, overwrite: bool, strict: bool, retries: int,
    progress: Progress, hold_out: float | None = None,
) -> Imported:  # fmt: skip
    """Bring the set ``out`` to what the source holds now.

    ``engine`` is made for so many tasks. ``hold_out`` is the share of the split "val" in it and "train" together. A recording that fails
    is left out and recorded, or with ``strict`` stops everything. Errors: InputError for a set or an unfinished import of another
    kind, and the recording's own where nothing can be imported at all.
    """
    head, source_head = what.heads()
    root = out if out.exists() and not overwrite else _growing(out)
    with _alone(root):
        before = _opened(root, out, what, entries)
        todo = [entry for entry in entries if not _as_it_was(root, entry, before.records.get(entry.id))]
        kept = len(entries) - len(todo)
        records = dict(before.records)
        replace(before, records=records).write(root, records)
        tasks = [ImportRecording(root, entry, what, records.get(entry.id)) for entry in todo]
        progress(kept, len(entries))
        first_failed = None
        with closing(carried_out(tasks, engine(len(tasks)), retries=retries)) as outcomes:
            for number, outcome in enumerate(outcomes, start=1):
                record = _recorded(todo[outcome.number], outcome)
                records[record.id] = record
                manifest.append(root, record)
                if outcome.error is not None:
                    first_failed = first_failed or _stopping(record, outcome.error)
                    if strict:
                        raise first_failed
                progress(kept + number, len(entries))
        ours = {entry.id: records[entry.id] for entry in entries}
        good = [record for record in ours.values() if record.error is None]
        if not good:
            raise first_failed
        people, held = _describe(root, head, what, good, before.records, hold_out)
        gone = sorted(before.records.keys() - ours.keys())
        for id in [*gone, *(record.id for record in ours.values() if record.error is not None)]:
            shutil.rmtree(root / "dialogues" / id, ignore_errors=True)
        lost = (before.retargeting or _lost_between(source_head or load_head(), head)) if any(r.retargeted for r in good) else ()
        replace(before, source=str(what.source.resolve()), records=ours, retargeting=lost).write(root, ours)
    if root != out:
        take_place(root, out)
    return Imported(ours, people, kept, tuple(gone), lost, held)


def _lost_between(source: Head, target: Head) -> tuple[Mapping[str, object], ...]:
    """What each shape of the source's head moves, and what the target cannot do of it."""
    from mango.head.head_pairs import head_pair

    rows = ((shape.name, shape.size_mm, shape.residual_mm) for shape in head_pair(source, target).shapes())
    return tuple({"shape": name, "moves_mm": round(moves, 3), "lost_mm": round(lost, 3)} for name, moves, lost in rows)


def read_recording(entry: Entry, options: Options) -> Recording:
    """A recording; what the user stated must have counted."""
    recording = load(entry)
    if options.fps is not None and abs(float(recording.fps) - options.fps) > 0.01:
        found = f"films or voices, whose own rate is {float(recording.fps):.5g}"
        raise InputError(entry.id, expected="motion for --fps to count", found=found, remedy="leave --fps away")
    if options.flame_version is not None and not any(isinstance(person.motion, FlameMotion) for person in recording.people):
        remedy = "leave --flame-version away"
        raise InputError(entry.id, expected="FLAME coefficients for --flame-version", found="none", remedy=remedy)
    if options.camera is not None and not any(person.camera is not None for person in recording.people):
        raise InputError(entry.id, expected="pictures of several cameras for --camera", found="none", remedy="leave --camera away")
    return recording


def _opened(root: Path, out: Path, what: Import, entries: list[Entry]) -> Manifest:
    """What was done so far, if it was this."""
    settings, source = what.settings(), str(what.source.resolve())
    found = Manifest.read(root)
    if found is None:
        if root == out:
            remedy = "choose another name, or pass --overwrite to replace it"
            raise InputError(out, expected="nothing yet, or a set of an import", found="something else", remedy=remedy)
        shutil.rmtree(root / "dialogues", ignore_errors=True)
        (root / "dialogues").mkdir()
        return Manifest(settings, source, {})
    differing = sorted(name for name in {*settings, *found.settings} if settings.get(name) != found.settings.get(name))
    if differing:
        said = ", ".join(f"{name} {found.settings.get(name)!r}" for name in differing)
    elif source != found.source and not _holds(entries, found):
        said = f"the source {found.source}"
    else:
        return found
    again = "pass --overwrite to replace it" if root == out else "remove that folder"
    remedy = f"import with these again, choose another name, or {again}"
    raise InputError(root, expected="an import with the same settings and source", found=f"one with {said}", remedy=remedy)


def _holds(entries: list[Entry], found: Manifest) -> bool:
    """Whether everything imported so far is in this source too, unchanged: a source that was moved."""
    files = {entry.id: entry.files for entry in entries}
    good = [record for record in found.records.values() if record.error is None]
    return all(
        record.id in files and (look_of(files[record.id]) == record.look or digest_of(files[record.id]) == record.source) for record in good
    )


def _as_it_was(root: Path, entry: Entry, record: Record | None) -> bool:
    if record is None or record.error is not None or not (root / "dialogues" / entry.id).is_dir():
        return False
    return (record.people, record.split, record.look) == (_people(entry), entry.split, look_of(entry.files))


def _recorded(entry: Entry, outcome: Outcome) -> Record:
    spent = {"seconds": round(outcome.seconds, 3), "attempts": outcome.attempts}
    if outcome.error is None:
        return replace(outcome.value, **spent)
    trace = outcome.error.trace if isinstance(outcome.error, TaskError) else ""
    return Record(entry.id, _people(entry), entry.split, look="", **spent, error=str(outcome.error), trace=trace)


def _stopping(record: Record, error: InputError | TaskError) -> InputError | TaskError:
    """The error of a recording as that of the whole import."""
    return error if isinstance(error, InputError) else TaskError(f"{record.id}: {error.trace or error.words}", error.trace)


def _describe(
    root: Path, head: Head, what: Import, good: list[Record], known: Mapping[str, Record], hold_out: float | None
) -> tuple[int, HeldOut]:
    """Write dataset.json; the number of people, and what is held out. What somebody else put there stays where they put it."""
    from mango.data.descriptions import SetDescription, SetHead, read_set, set_problems
    from mango.data.json_files import write_json
    from mango.data.problem import raise_first
    from mango.types import FRAME_RATE, SAMPLE_RATE

    path = root / "dataset.json"
    before = read_set(path) if path.is_file() else None
    stay = {record.id for record in good if record.id in known and known[record.id].split == record.split}
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for name, ids in before.splits.items() if before else ():
        splits[name] = [id for id in ids if id in stay or id not in known]
    listed = {id for ids in splits.values() for id in ids}
    for record in good:
        if record.id not in listed:
            splits.setdefault(record.split, []).append(record.id)
    people = {person: {"format": what.format} for record in good for person in record.people} | (dict(before.people) if before else {})
    cast = {record.id: record.people for record in good}
    there = [id for id in (*splits[TRAIN], *splits[HELD_OUT]) if id in cast or (root / "dialogues" / id).is_dir()]
    own, more = {id: cast[id] if id in cast else _people_of(root, id) for id in there}, None
    if hold_out is not None:
        ours = [record.id for record in good if record.id in splits[HELD_OUT] and record.split != HELD_OUT]
        learnt = [id for id in splits[TRAIN] if id in listed] if ours else []  # the first time anything may be held out
        chosen = to_hold_out(own, hold_out, before=splits[HELD_OUT], ours=ours, learnt=learnt)
        splits, more = with_held_out(splits, chosen), len(chosen)
    held = held_out(splits, own, more)
    met = {name: {person for id in splits[name] for person in cast.get(id, ())} for name in ("train", "test")}
    shared = bool(met["train"] & met["test"]) or (before is not None and before.share_people)
    set_head = SetHead(head.name, head.digest, head.expressions, head.identities)
    listed_splits = {name: tuple(ids) for name, ids in splits.items()}
    description = SetDescription(FRAME_RATE, SAMPLE_RATE, set_head, people, listed_splits, shared)
    raise_first(set_problems(path, description.content()))
    if before != description:
        write_json(path, description.content())
    return len(people), held


def _people_of(root: Path, id: str) -> tuple[str, ...]:
    """Of a dialogue that somebody else put there."""
    from mango.data.descriptions import read_dialogue

    return tuple(read_dialogue(root / "dialogues" / id / "dialogue.json").people.values())


def _growing(out: Path) -> Path:
    return out.with_name(f"{out.name}.importing")


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """The only import into it; nothing is in hand before and after."""
    with alone_in(root, "import"):
        try:
            shutil.rmtree(root / IN_HAND, ignore_errors=True)
            yield
        finally:
            shutil.rmtree(root / IN_HAND, ignore_errors=True)
            if not (root / "dataset.json").exists() and not any(root.glob("dialogues/*")):
                shutil.rmtree(root, ignore_errors=True)  # nothing came of it


def _people(entry: Entry) -> tuple[str, ...]:
    return tuple(as_name(person) for person in entry.people)


@lru_cache(maxsize=2)
def _head(source: str, generation: str | None) -> Head:
    """A process has them for all its recordings."""
    return load_head(source, generation=generation)


def _unmoved(recording: Recording) -> Recording:
    return replace(recording, people=tuple(replace(person, motion=None) for person in recording.people))


def _refuse_contradictions(recording: Recording, findings: list[Finding], anyway: bool) -> None:
    wrong = [finding for finding in findings if finding.verdict == "contradicted"]
    if wrong and not anyway:
        found = "; ".join(f"{finding.topic}: {finding.words}" for finding in wrong)
        remedy = "correct the source or state what is so (--fps, --format); --anyway imports it as it is"
        raise InputError(recording.id, expected="numbers that agree with their conventions", found=found, remedy=remedy)


def _generation(recording: Recording) -> str:
    found = {person.motion.generation for person in recording.people if isinstance(person.motion, FlameMotion)} - {None}
    return f"FLAME {', '.join(sorted(found))}" if found else ""
