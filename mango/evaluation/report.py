"""An evaluation as JSON, as Markdown, on the terminal, and as columns and rows for the HTML report."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mango.data.atomic import atomic_file, check_place
from mango.errors import InputError
from mango.evaluation.catalogue import DIRECTION_MARKS, METRICS, Measure, unit
from mango.evaluation.scores import Evaluation, Key, Row, Score

FORMAT = 1
BOUNDS = "In brackets: 95 % intervals over dialogues."
COMPARABLE = 0.01  # share of another row's frames by which a row may have fewer or more
TERMINAL_HEAD, TERMINAL_CELL = 56, 11  # letters that names and units, and each row's numbers, take


@dataclass(frozen=True)
class Comparison:
    """A table: one column per metric and part, one row per system; None where a number is not defined."""

    columns: Sequence[Measure]
    rows: Mapping[str, Sequence[float | None]]
    intervals: Mapping[str, Sequence[tuple[float, float] | None]]


def comparison(evaluation: Evaluation, keys: Sequence[Key] | None = None) -> Comparison:
    """Chosen metrics (all by default) of all rows, ready for `mango.app.report.Table`."""
    keys = all_keys(evaluation) if keys is None else keys
    columns = [_column(key, evaluation) for key in keys]
    cells = {name: [row.scores.get(key) for key in keys] for name, row in evaluation.rows.items()}
    values = {name: [_number(score.value) if score else None for score in scores] for name, scores in cells.items()}
    return Comparison(columns, values, {name: [score and score.interval for score in scores] for name, scores in cells.items()})


def all_keys(evaluation: Evaluation) -> list[Key]:
    """Every metric and part of any row, in the catalogue's order."""
    present = dict.fromkeys(key for row in evaluation.rows.values() for key in row.scores)
    order = {name: number for number, name in enumerate(METRICS)}
    return sorted(present, key=lambda key: order[key[0]])


def _column(key: Key, evaluation: Evaluation) -> Measure:
    name, part = key
    metric = METRICS[name]
    printed = name if part == "all" else f"{name} {part}"
    sizes = [abs(row.scores[key].value) for row in evaluation.rows.values() if key in row.scores]
    largest = max((size for size in sizes if math.isfinite(size)), default=0.0)
    # unscaled rotations are small: three digits of the largest, but no more than the metric needs otherwise
    digits = max(metric.digits, min(8, 2 - math.floor(math.log10(largest)))) if largest > 1e-8 else metric.digits
    return Measure(printed, unit(name, part, scaled=evaluation.scaled), metric.direction, digits, metric.equation)


# JSON


def check_replaceable(path: Path) -> None:
    """Before long work whose numbers go there. Errors: InputError where nobody can write, or another file than an evaluation's lies."""
    check_place(path)
    if path.is_file() and path.stat().st_size and not _is_ours(path):
        remedy = "give another name, or move that file away"
        raise InputError(path, expected="a new file, or one that mango evaluate wrote", found="another one", remedy=remedy)


def _is_ours(path: Path) -> bool:
    text = path.read_text("utf-8", errors="replace")
    if BOUNDS in text:
        return True
    try:
        known = json.loads(text)
    except ValueError:
        return False
    return isinstance(known, dict) and {"format", "metrics", "facts", "main", "rows"} <= known.keys()


def write_json(path: Path, evaluation: Evaluation) -> None:
    """``metrics.<NAME>.<part>`` of the main row, beside it units, directions, counts and intervals; all rows below ``rows``."""
    with atomic_file(Path(path)) as partial:
        partial.write_text(json.dumps(as_json(evaluation), indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n", "utf-8")


def as_json(evaluation: Evaluation) -> dict[str, object]:
    keys = all_keys(evaluation)
    described = {
        "units": _nested((key, unit(*key, scaled=evaluation.scaled)) for key in keys),
        "direction": {name: METRICS[name].direction for name, _ in keys},
        "equations": {name: METRICS[name].equation for name, _ in keys},
    }
    rows = {name: _row(row) for name, row in evaluation.rows.items()}
    return {"format": FORMAT, **rows[evaluation.main], **described, "facts": evaluation.facts, "main": evaluation.main, "rows": rows}


def _row(row: Row) -> dict[str, object]:
    content = {
        "metrics": _nested((key, _number(score.value)) for key, score in row.scores.items()),
        "unscaled": _nested((key, _number(score.value)) for key, score in row.unscaled.items()),
        "intervals": _nested((key, score.interval) for key, score in row.scores.items()),
        "counts": _nested((key, _counts(key, score)) for key, score in row.scores.items()),
    }
    return content if row.speed is None else content | {"speed": row.speed}


def _counts(key: Key, score: Score) -> dict[str, object]:
    counts = {"used": score.used, "skipped": score.skipped}
    return counts | ({"needs": METRICS[key[0]].needs} if score.skipped else {})


def _nested(items: Iterable[tuple[Key, object]]) -> dict[str, dict[str, object]]:
    nested: dict[str, dict[str, object]] = {}
    for (name, part), value in items:
        nested.setdefault(name, {})[part] = value
    return nested


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


# Tables


def markdown(evaluation: Evaluation, keys: Sequence[Key] | None = None) -> str:
    """One metric a line, one system a column, each number with its 95 % interval; below facts, clips and what to mind."""
    table = comparison(evaluation, keys)
    lines = [
        f"| metric | unit | better | {' | '.join(_escaped(name) for name in table.rows)} |",
        "|---|---|---|" + "---:|" * len(table.rows),
    ]
    for number, column in enumerate(table.columns):
        cells = [_cell(table, row, number) for row in table.rows]
        lines.append(f"| {_escaped(column.name)} | {column.unit} | {DIRECTION_MARKS[column.direction]} | {' | '.join(cells)} |")
    shown = ("protocol", "protocol_means", "data", "split", "truth", "commit", "seed")
    facts = [f"- {name}: {evaluation.facts[name]}" for name in shown if name in evaluation.facts]
    counts = {len(row.clips) for row in evaluation.rows.values()}
    told = [f"- clips: {counts.pop()}"] if len(counts) == 1 else []
    told += [f"- **note**: {line}" for line in _warnings(evaluation)]
    return "\n".join([*lines, "", BOUNDS, "", *facts, *told, *_speeds(evaluation, "- ")]) + "\n"


def write_markdown(path: Path, evaluation: Evaluation) -> None:
    with atomic_file(Path(path)) as partial:
        partial.write_text(markdown(evaluation), "utf-8")


def show(evaluation: Evaluation) -> None:
    """On the terminal, one metric a line; several rows stand side by side, numbered and without their intervals, as many as fit."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, table = Console(), comparison(evaluation)
    alone = len(table.rows) == 1
    numbers = {row: row if alone else f"[{number}]" for number, row in enumerate(table.rows, 1)}
    if not alone:
        for row, number in numbers.items():
            console.print(f"{number} {row}", markup=False, highlight=False, soft_wrap=True)
    width = max(1, (console.width - TERMINAL_HEAD) // TERMINAL_CELL)
    for first in range(0, len(numbers), width):
        some = list(numbers)[first : first + width]
        shown = Table()
        for name in ("metric", "unit", "better"):
            shown.add_column(name, no_wrap=True)
        for row in some:
            shown.add_column(Text(numbers[row]), justify="right", no_wrap=not alone, overflow="fold")
        for number, column in enumerate(table.columns):
            cells = [_cell(table, row, number, bounds=alone) for row in some]
            shown.add_row(column.name, column.unit, DIRECTION_MARKS[column.direction], *cells)
        console.print(shown)
    for line in (*_warnings(evaluation), *_speeds(evaluation)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _cell(table: Comparison, row: str, number: int, *, bounds: bool = True) -> str:
    value, interval, digits = table.rows[row][number], table.intervals[row][number], table.columns[number].digits
    if value is None:
        return "-"
    within = f" [{_rounded(interval[0], digits)}, {_rounded(interval[1], digits)}]" if interval and bounds else ""
    return _rounded(value, digits) + within


def _rounded(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # 0.0, not -0.0


def _warnings(evaluation: Evaluation) -> list[str]:
    """What a reader of the numbers must not miss, row by row; of what several rows share, once."""
    lines: dict[str, list[str]] = {}
    for name, row in evaluation.rows.items():
        facts = evaluation.facts if name == evaluation.main else evaluation.facts.get("rows", {}).get(name, {})
        for line in (*_left_out(facts), *_undefined(row)):
            lines.setdefault(line, []).append(name)
    of_all = len(evaluation.rows)
    told = [line if len(names) == of_all else f"{', '.join(names)}: {line}" for line, names in lines.items()]
    rows = evaluation.rows
    if len({frozenset(row.clips) for row in rows.values()}) > 1:
        counts = ", ".join(f"{name} {len(row.clips)}" for name, row in rows.items())
        told.append(f"rows rest on different clips and cannot be compared: {counts}")
    frames = {name: sum(row.clips.values()) for name, row in rows.items()}
    if min(frames.values()) < (1 - COMPARABLE) * max(frames.values()):
        counts = ", ".join(f"{name} {count}" for name, count in frames.items())
        told.append(f"rows rest on different numbers of frames and cannot be compared: {counts}")
    return told


def _left_out(facts: Mapping[str, object]) -> list[str]:
    lines = []
    people = facts.get("people")
    if people and people["without_prediction"]:
        more = " ..." if people["without_prediction"] > len(people["first"]) else ""
        names = ", ".join(people["first"]) + more
        lines.append(f"scored {people['scored']} of {people['in_data']} people; without a prediction: {names}")
    cut = facts.get("cut_to_shortest")
    if cut and cut["people"]:
        lines.append(f"{cut['people']} clips cut to the shortest of prediction, truth and partner, by at most {cut['most_frames']} frames")
    distrusted = facts.get("distrusted")
    if distrusted:
        frames = f"{distrusted['frames']} of {distrusted['of']} frames of {distrusted['people']} clips"
        lines.append(f"{frames} left out: the tracker distrusts their labels")
    unscored = facts.get("unscored")
    if unscored:
        lines.append(f"not scored, because the tracker trusts not even two of their frames: {', '.join(unscored)}")
    return lines


def _undefined(row: Row) -> list[str]:
    skipped = [f"{name} {part} {score.skipped}" for (name, part), score in row.scores.items() if score.skipped]
    return [f"clips that do not define a metric: {', '.join(skipped)}"] if skipped else []


def _speeds(evaluation: Evaluation, bullet: str = "") -> list[str]:
    return [
        f"{bullet}{name}: real-time factor {row.speed['real_time_factor']:.3f}, with reading and encoding of sound "
        f"{row.speed['real_time_factor_with_sound']:.3f} ({_worked(row.speed)})"
        for name, row in evaluation.rows.items()
        if row.speed
    ]


def _worked(speed: Mapping[str, object]) -> str:
    return f"{speed['steps']} steps of {speed['sampler']}, {speed['name']}" if "steps" in speed else f"no sampler, {speed['processor']}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
