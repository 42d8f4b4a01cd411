"""`mango data import`, `mango data inspect` and `mango export`: what they print and in what order they work."""

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from mango.data.atomic import check_place
from mango.data.formats import manifest
from mango.data.formats.conventions import check
from mango.data.formats.conversion import person_line, title
from mango.data.formats.many import read_recording
from mango.data.formats.recordings import Entry, FlameMotion, Options, Recording, as_name
from mango.data.formats.registry import Format, format_named, recognised
from mango.data.formats.sources import unread
from mango.data.strays import check_replaceable
from mango.errors import InputError

Progress = Callable[[int, int], None]
SHOWN = 3  # recordings of a large source that inspect looks into
SHOWN_FAILURES = 20  # of a large import


def import_source(
    source: Path, out: Path, *, format: str, head: str, source_head: str | None, options: Options, without_motion: bool, anyway: bool,
    overwrite: bool, strict: bool, retries: int, workers: int | None, ray: str | None, licence: str, progress: Progress,
    hold_out: float | None = None,
) -> None:  # fmt: skip
    """A dialogue set in ``out`` of what can be imported; what cannot is listed. The same again goes on, or brings it up to date."""
    from mango.data.formats.many import Import, import_recordings
    from mango.data.holding_out import check_share
    from mango.data.preparation import engine_for

    check_share(hold_out)
    if out.exists() and not (out / "dataset.json").is_file():
        found = "a file" if out.is_file() else "a folder that is none"
        raise InputError(out, expected="nothing yet, or a dialogue set", found=found, remedy="choose another name")
    if source.exists() and source.resolve().is_relative_to(out.resolve()):
        remedy = "choose a place outside: with --overwrite the recordings would go with the set"
        raise InputError(out, expected="a set apart from its recordings", found=f"{source} in it", remedy=remedy)
    if overwrite and out.exists():
        check_replaceable(out)
    source, out = source.absolute(), out.absolute()  # as other processes and machines have to see them
    chosen = found_format(source, format)
    entries = _named_apart(chosen.entries(source, options))
    what = Import(chosen.name, source, head, options, without_motion, licence, source_head, anyway)
    imported = import_recordings(
        entries, out, what, lambda tasks: engine_for(tasks, workers, ray), overwrite=overwrite, strict=strict, retries=retries,
        progress=progress, hold_out=hold_out,
    )  # fmt: skip
    good = [record for record in imported.records.values() if record.error is None]
    said = Counter(words for record in good for words in record.words)
    for (certainty, words), times in said.items():
        print(f"{certainty}: {words}" + (f" ({times} of {len(good)} recordings)" if times < len(good) else ""))
    if imported.retargeting:
        print(lost_line(imported.retargeting, out))
    if imported.held_out.dialogues or hold_out is not None:
        print(imported.held_out)
    if imported.gone:
        print(f"removed with their recordings: {_some(list(imported.gone))}")
    failed = [record for record in imported.records.values() if record.error is not None]
    for record in failed[:SHOWN_FAILURES]:
        print(f"failed: {record.id}: {record.error}")
    if len(failed) > SHOWN_FAILURES:
        print(f"failed: {len(failed) - SHOWN_FAILURES} more, in {out / manifest.NAME}")
    news = f" ({imported.kept} as they were)" if imported.kept else ""
    lost = f"; {len(failed)} recordings failed and are not in it: the same command tries them again" if failed else ""
    if left := _unread(source, entries):
        print(left)
    print(f"wrote {out}: {len(good)} dialogues{news}, {imported.people} people{lost}; next: mango data validate {shlex.quote(str(out))}")


def lost_line(retargeting: Sequence[Mapping], out: Path) -> str:
    """What retargeting lost, in a line."""
    moving = [row for row in retargeting if row["moves_mm"] > 0]
    worst = max(moving, key=lambda row: row["lost_mm"] / row["moves_mm"])
    middle = median(row["lost_mm"] for row in moving)
    shown = f"{worst['lost_mm']:.2f} of {worst['moves_mm']:.2f} mm of {worst['shape']!r} at worst"
    where = out / manifest.NAME
    return f"retargeted: of the source head's {len(moving)} shapes {middle:.2f} mm (rms) are lost in the median, {shown}; each: {where}"


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


def inspect_source(path: Path, *, format: str, options: Options, head: str, sheet: Path | None) -> None:
    """Print what a file or folder is; with ``sheet`` also a picture of it."""
    if sheet is not None:
        check_place(sheet)
    from mango.data.formats.kinds import describe, left_over, of_this_project

    if not path.exists():
        raise InputError(path, expected="a file or folder", found="none", remedy="check the path")
    path = path if path.name else path.absolute()  # "." is what it is called elsewhere
    if sheet is not None and sheet.exists() and sheet.resolve() == path.resolve():
        raise InputError(sheet, expected="another file than the one that is drawn", found="the same", remedy="give --sheet another name")
    found = (format_named(format), "as --format says") if format != "auto" else None if of_this_project(path) else recognised(path)
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
            shown.append(read_recording(entry, options))
            print("\n".join(f"  {line}" for line in recording_lines(shown[-1])))
        if len(entries) > SHOWN:
            print(f"  ... and {len(entries) - SHOWN} more, read as the first {SHOWN} are")
        for line in left_over(path, [file for entry in entries for file in entry.files]):
            print(f"  also there: {line}")
        if left := _unread(path, entries):
            print(f"  {left}")
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
    """What this source wants: the import, or films without motion a tracker."""
    from mango.data.formats.kinds import quoted

    if all(person.motion is None and person.film is not None for person in recording.people):
        as_it_is = f"or as it is, without motion: mango data import --format {format.name} {quoted(path)} OUT"
        if path.is_file():
            return f"mango track {quoted(path)} --out OUT (motion from its pictures; --split for two people side by side), {as_it_is}"
        return f"mango track FILM --out OUT for each film, then mango data merge (docs/data.md, many own films), {as_it_is}"
    motions = [person.motion for person in recording.people if person.motion is not None]
    flame = [motion for motion in motions if isinstance(motion, FlameMotion)]
    head = " --head YOUR_FLAME_FILE" if flame else ""
    version = " --flame-version 2020|2023|2023-open" if any(motion.generation is None for motion in flame) else ""
    return f"mango data import --format {format.name}{head}{version} {quoted(path)} OUT"


def _unread(source: Path, entries: list[Entry]) -> str:
    """What lies in the source and is not imported from it: another import, or nothing, takes it."""
    left = unread(source, [file for entry in entries for file in entry.files])
    counts = Counter(file.suffix.lower() for file in left)
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())
    return f"not read: {kinds} ({_some([str(file.relative_to(source.absolute())) for file in left])})" if left else ""


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
