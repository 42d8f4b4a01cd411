"""A run's report: one self-contained HTML file. Everything is inline (styles, charts, pictures, video); nothing is fetched."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from mango.app.charts import Chart, chart_figure
from mango.app.page import STYLE
from mango.data.atomic import atomic_file
from mango.evaluation.catalogue import DIRECTION_MARKS, MEASURES, Direction
from mango.evaluation.report import Comparison

DIRECTION_WORDS: Mapping[Direction, str] = {
    "lower": "lower is better",
    "higher": "higher is better",
    "one": "nearest to 1 is best",
    "zero": "nearest to 0 is best",
    "truth": "nearest to the truth's own is best",
    "none": "",
}


@dataclass(frozen=True)
class Column:
    name: str
    unit: str = ""
    direction: Direction = "none"
    digits: int = 2
    meaning: str = ""  # a sentence for the legend below the table


@dataclass(frozen=True)
class Row:
    name: str
    values: Sequence[float | int | None]  # one per column; None or NaN is shown as a dash
    note: str = ""
    reference: bool = False  # does not compete for the best value (labels, oracle)


@dataclass(frozen=True)
class Table:
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    caption: str = ""


def score_table(
    title: str,
    rows: Mapping[str, Mapping[str, float]],
    measures: Sequence[str],
    *,
    references: Sequence[str] = (),
    notes: Mapping[str, str] | None = None,
    caption: str = "",
) -> Table:
    """Rows of measures (`mango.evaluation.protocol.ClipScores.row`) as a table: chosen ``measures`` by their names in the catalogue."""
    columns = [Column(m.name, m.unit, m.direction, m.digits, m.meaning) for m in (MEASURES[name] for name in measures)]
    listed = [Row(name, [row.get(key) for key in measures], (notes or {}).get(name, ""), name in references) for name, row in rows.items()]
    return Table(title, columns, listed, caption)


def comparison_table(title: str, compared: Comparison, *, references: Sequence[str] = (), caption: str = "") -> Table:
    """What `mango evaluate` compared, as a table: `mango.evaluation.report.comparison` chooses the metrics."""
    columns = [Column(m.name, m.unit, m.direction, m.digits, m.meaning) for m in compared.columns]
    return Table(title, columns, [Row(name, values, reference=name in references) for name, values in compared.rows.items()], caption)


@dataclass(frozen=True)
class FrameStrip:
    """Pictures in a grid: one row per source (real, stage one, stage two), one column per moment."""

    title: str
    rows: Mapping[str, Sequence[UInt8[ndarray, "rows cols 3"]]]
    moments: Sequence[str] = ()  # column heads, such as "2.4 s"
    caption: str = ""


@dataclass(frozen=True)
class Report:
    """What the page shows, top to bottom. Empty parts are left out."""

    title: str
    summary: str = ""
    video: Path | None = None
    video_caption: str = ""
    headline: Mapping[str, str] = field(default_factory=dict)  # a few large figures: {"lip error, stage two": "1.31 mm"}
    tables: Sequence[Table] = ()
    strips: Sequence[FrameStrip] = ()
    charts: Sequence[Chart] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)  # commit, machine, seed, times


def write_report(path: Path, report: Report) -> None:
    """Written whole or not at all."""
    with atomic_file(Path(path)) as partial:
        partial.write_text(report_page(report), encoding="utf-8")


def report_page(report: Report) -> str:
    """The page as text."""
    lead = f'<p class="lead">{escape(report.summary)}</p>' if report.summary else ""
    parts = [
        f"<header><h1>{escape(report.title)}</h1>{lead}</header>",
        _headline(report.headline),
        _video(report.video, report.video_caption),
        *(_table(table) for table in report.tables),
        *(_strip(strip) for strip in report.strips),
        _charts(report.charts),
        _provenance(report.provenance),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f'<link rel="icon" href="data:,"><title>{escape(report.title)}</title><style>{STYLE}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _headline(figures: Mapping[str, str]) -> str:
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures.items())
    return f'<dl class="headline">{items}</dl>' if items else ""


def _video(path: Path | None, caption: str) -> str:
    if path is None:
        return ""
    from mango.data.video import VideoFrames

    data = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    first = picture_address(VideoFrames(str(path)).frames([0])[0].numpy())  # browsers show black, or nothing, until somebody presses play
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    player = f'<video controls preload="metadata" poster="{first}" src="data:video/mp4;base64,{data}"></video>'
    return f'<section><figure class="video">{player}{words}</figure></section>'


def _table(table: Table) -> str:
    best = [best_row(table, k) for k in range(len(table.columns))]
    head = "".join(
        f'<th scope="col" title="{escape(DIRECTION_WORDS[c.direction], quote=True)}">{escape(c.name)}'
        f'<span class="unit">{escape(c.unit)} {DIRECTION_MARKS[c.direction]}</span></th>'
        for c in table.columns
    )
    body = []
    for i, row in enumerate(table.rows):
        assert len(row.values) == len(table.columns), f"row {row.name!r}: one value per column"
        cells = "".join(
            f"<td{' class=best' if best[k] == i else ''}>{_cell(value, column)}</td>"
            for k, (value, column) in enumerate(zip(row.values, table.columns, strict=True))
        )
        note = f'<span class="unit">{escape(row.note)}</span>' if row.note else ""
        body.append(f'<tr{" class=reference" if row.reference else ""}><th scope="row">{escape(row.name)}{note}</th>{cells}</tr>')
    meanings = "".join(f"<dt>{escape(c.name)}</dt><dd>{escape(c.meaning)}</dd>" for c in table.columns if c.meaning)
    meanings = f'<dl class="meanings">{meanings}</dl>' if meanings else ""
    caption = f'<p class="note">{escape(table.caption)}</p>' if table.caption else ""
    return (
        f'<section><h2>{escape(table.title)}</h2><div class="card scroll"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{caption}{meanings}</section>"
    )


def best_row(table: Table, column: int) -> int | None:
    """Index of the best row of a column; None without a direction, without competitors, or when the best is shared as the page shows it."""
    direction, digits = table.columns[column].direction, table.columns[column].digits
    key = {"lower": lambda v: v, "higher": lambda v: -v, "one": lambda v: abs(v - 1), "zero": abs}.get(direction)
    competing = {i: row.values[column] for i, row in enumerate(table.rows) if not row.reference and _is_number(row.values[column])}
    values = {i: round(value, digits) for i, value in competing.items()}
    if key is None or len(values) < 2:
        return None
    distance = {i: round(key(value), digits) for i, value in values.items()}  # of 0.9 and 1.1 from 1 the same
    ranked = sorted(distance, key=lambda i: distance[i])
    return None if distance[ranked[0]] == distance[ranked[1]] else ranked[0]


def _is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _cell(value: float | None, column: Column) -> str:
    if not _is_number(value):
        return "\N{EN DASH}"
    return f"{round(value, column.digits) + 0.0:.{column.digits}f}"  # -0.0 + 0.0 is 0.0


def _strip(strip: FrameStrip) -> str:
    head = "<tr><th></th>" + "".join(f"<th>{escape(moment)}</th>" for moment in strip.moments) + "</tr>" if strip.moments else ""
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f'<td><img alt="{escape(name, quote=True)}" src="{picture_address(picture)}"></td>' for picture in pictures)
        + "</tr>"
        for name, pictures in strip.rows.items()
    )
    caption = f'<p class="note">{escape(strip.caption)}</p>' if strip.caption else ""
    pictures = f'<div class="card scroll"><table class="strip">{head}{body}</table></div>'
    return f"<section><h2>{escape(strip.title)}</h2>{pictures}{caption}</section>"


def picture_address(picture: UInt8[ndarray, "rows cols 3"]) -> str:
    """A picture as a data address (JPEG)."""
    import cv2

    done, coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done, "a picture of 8-bit RGB can always be coded"
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")


def _charts(charts: Sequence[Chart]) -> str:
    figures = "".join(chart_figure(chart) for chart in charts)
    return f'<section><h2>Curves</h2><div class="charts">{figures}</div></section>' if figures else ""


def _provenance(facts: Mapping[str, str]) -> str:
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items())
    return f'<section><h2>How this was made</h2><dl class="facts card">{items}</dl></section>' if items else ""
