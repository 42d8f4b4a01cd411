"""`mango data import`, `mango data inspect` and `mango export`: what they print and in what order they work."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mango.data.formats.conventions import check
from mango.data.formats.conversion import dialogue_of, person_line, title
from mango.data.formats.recordings import Assumption, Entry, Finding, FlameMotion, Options, Recording, as_name
from mango.data.formats.registry import Format, format_named, load, recognised
from mango.errors import InputError

Progress = Callable[[int, int], None]
SHOWN = 3  # recordings of a large source that inspect looks into


def import_source(
    source: Path, out: Path, *, format: str, head: str, options: Options, without_motion: bool, anyway: bool, overwrite: bool,
    licence: str, progress: Progress,
) -> None:  # fmt: skip
    """A dialogue set in ``out``, whole or not at all. Stops at the first recording whose numbers contradict its conventions."""
    from mango.data.atomic import atomic_folder
    from mango.data.dialogues import create_dialogue_set, write_dialogue
    from mango.head.model import load_head

    if out.exists() and not overwrite:
        remedy = "choose another name, or pass --overwrite to replace it"
        raise InputError(out, expected="nothing yet", found="a file" if out.is_file() else "a folder", remedy=remedy)
    if out.exists() and not (out / "dataset.json").is_file():
        raise InputError(out, expected="a dialogue set to replace", found="something else", remedy="choose another name")
    chosen = found_format(source, format)
    entries = _named_apart(chosen.entries(source, options))
    loaded = load_head(head, generation=options.flame_version)
    said: dict[Assumption, int] = {}
    with atomic_folder(out, replace=overwrite) as partial:
        people = {as_name(person): {"format": chosen.name} for entry in entries for person in entry.people}
        create_dialogue_set(partial, loaded, people, _splits(entries))
        films = partial / ".films"
        films.mkdir()
        for number, entry in enumerate(entries, start=1):
            recording = _loaded(entry, options)
            if not without_motion:
                _refuse_contradictions(recording, check(recording), anyway)
            dialogue, words = dialogue_of(entry.id, recording, loaded, films, with_motion=not without_motion)
            words = list(dict.fromkeys([*recording.assumptions, *words]))
            for word in words:
                said[word] = said.get(word, 0) + 1
            changes = "; ".join(str(word) for word in words if word.certainty != "certain")
            source_words = f"{chosen.name} {source.name}" + (f" ({_generation(recording)})" if _generation(recording) else "")
            write_dialogue(
                partial, dialogue, source=f"{source_words}: {changes}", licence=licence, created_by="mango data import", move_videos=True
            )
            progress(number, len(entries))
        shutil.rmtree(films)
    for word, times in said.items():
        if word.certainty != "certain":
            print(word if times == len(entries) or len(entries) == 1 else f"{word} ({times} of {len(entries)} recordings)")
    print(f"wrote {out}: {len(entries)} dialogues, {len(people)} people; next: mango data validate {out}")


def _loaded(entry: Entry, options: Options) -> Recording:
    """A recording; what the user stated must have counted."""
    recording = load(entry)
    if options.fps is not None and abs(float(recording.fps) - options.fps) > 0.01:
        found = f"films or voices, whose own rate is {float(recording.fps):.5g}"
        raise InputError(entry.id, expected="motion for --fps to count", found=found, remedy="leave --fps away")
    if options.flame_version is not None and not any(isinstance(person.motion, FlameMotion) for person in recording.people):
        remedy = "leave --flame-version away"
        raise InputError(entry.id, expected="FLAME coefficients for --flame-version", found="none", remedy=remedy)
    return recording


def found_format(source: Path, name: str) -> Format:
    """By its name, or by what is in the source."""
    if name != "auto":
        return format_named(name)
    if not source.exists():
        raise InputError(source, expected="recordings", found="no such file or folder", remedy="check the path")
    found = recognised(source)
    if found is None:
        remedy = f"`mango data inspect {source}` says what it is; --format states a format"
        raise InputError(source, expected="recordings of a known format", found="none", remedy=remedy)
    return found[0]


def _named_apart(entries: list[Entry]) -> list[Entry]:
    """Names that are folder names, each once."""
    taken: set[str] = set()
    apart = []
    for entry in entries:
        name, number = as_name(entry.id), 1
        while name in taken:
            number += 1
            name = f"{as_name(entry.id)}-{number}"
        taken.add(name)
        apart.append(replace(entry, id=name))
    return apart


def _splits(entries: list[Entry]) -> dict[str, list[str] | bool]:
    """As the source has them. A source whose test people are also in training has to say so."""
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    people: dict[str, set[str]] = {}
    for entry in entries:
        splits.setdefault(entry.split, []).append(entry.id)
        people.setdefault(entry.split, set()).update(as_name(person) for person in entry.people)
    shared = bool(people.get("train", set()) & people.get("test", set()))
    return {**splits, **({"share_people": True} if shared else {})}


def _refuse_contradictions(recording: Recording, findings: list[Finding], anyway: bool) -> None:
    wrong = [finding for finding in findings if finding.verdict == "contradicted"]
    if wrong and not anyway:
        found = "; ".join(f"{finding.topic}: {finding.words}" for finding in wrong)
        remedy = "correct the source or state what is so (--fps, --format); --anyway imports it as it is"
        raise InputError(recording.id, expected="numbers that agree with their conventions", found=found, remedy=remedy)


def _generation(recording: Recording) -> str:
    found = {person.motion.generation for person in recording.people if isinstance(person.motion, FlameMotion)} - {None}
    return f"FLAME {', '.join(sorted(found))}" if found else ""


def inspect_source(path: Path, *, format: str, options: Options, head: str, sheet: Path | None) -> None:
    """Print what a file or folder is; with ``sheet`` also a picture of it."""
    from mango.data.formats.kinds import describe, left_over

    if not path.exists():
        raise InputError(path, expected="a file or folder", found="none", remedy="check the path")
    found = (format_named(format), "as --format says") if format != "auto" else recognised(path)
    shown: list[Recording] = []
    if found is None:
        description = describe(path)
        print("\n".join(f"{path}: {line}" if k == 0 else f"  {line}" for k, line in enumerate(description.lines())))
    else:
        chosen, words = found
        entries = chosen.entries(path, options)
        print(f"{path}: {chosen.summary.split(':')[0]} ({words})")
        print(f"  {len(entries)} recording{'s' if len(entries) != 1 else ''}: {_some([entry.id for entry in entries])}")
        for entry in entries[:SHOWN]:
            shown.append(_loaded(entry, options))
            print("\n".join(f"  {line}" for line in recording_lines(shown[-1])))
        if len(entries) > SHOWN:
            print(f"  ... and {len(entries) - SHOWN} more, read as the first {SHOWN} are")
        for line in left_over(path):
            print(f"  also there: {line}")
        print(f"  next: {next_command(path, chosen, shown[0])}")
    if sheet is not None:
        from mango.app.contact_sheet import write_sheet

        write_sheet(sheet, path, shown, head, options.flame_version)
        print(f"  wrote {sheet}")


def recording_lines(recording: Recording) -> list[str]:
    """Everything there is to say about one recording."""
    lines = [title(recording)]
    lines += [f"  {person_line(person)}" for person in recording.people]
    lines += [f"  {name}: {words}" for name, words in recording.facts.items()]
    lines += [f"  {word}" for word in recording.assumptions]
    return lines + [f"  {finding}" for finding in check(recording)]


def next_command(path: Path, format: Format, recording: Recording) -> str:
    """The import that this source wants."""
    motions = [person.motion for person in recording.people if person.motion is not None]
    flame = [motion for motion in motions if isinstance(motion, FlameMotion)]
    head = " --head YOUR_FLAME_FILE" if flame else ""
    version = " --flame-version 2020|2023|2023-open" if any(motion.generation is None for motion in flame) else ""
    return f"mango data import --format {format.name}{head}{version} {path} OUT"


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
