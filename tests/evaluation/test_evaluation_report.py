"""An evaluation written down: JSON that is JSON, tables that say what they hold, and a page that documents every metric."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mango.app.report import Report, best_row, comparison_table, report_page
from mango.errors import InputError
from mango.evaluation.catalogue import DIRECTION_MARKS, METRICS, PUBLISHED_SCALING, unit
from mango.evaluation.report import as_json, check_replaceable, comparison, markdown, show, write_json
from mango.evaluation.scores import Evaluation, Tally

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "evaluation.md"


@pytest.fixture
def evaluation():
    rows = {}
    for name, worse in (("labels", 0.0), ("a|b", 1.0)):
        tally = Tally()
        for number in range(5):
            values = {("FD", "jaw"): 0.001 * (number + worse), ("LVE_max", "speaking"): float("nan"), ("FDD_motion", "all"): -worse}
            tally.add(f"d{number}", values)
        rows[name] = tally.row({f"d{number}.a": 100 for number in range(5)}, scaled=True)
    return Evaluation("a|b", rows, scaled=True, facts={"protocol": "dualtalk-corrected", "seed": 0})


def test_json(evaluation, tmp_path):
    """What is not defined is null, not NaN, which is no JSON."""
    write_json(tmp_path / "s.json", evaluation)
    content = json.loads((tmp_path / "s.json").read_text(), parse_constant=pytest.fail)
    assert content == json.loads(json.dumps(as_json(evaluation)))
    assert content["metrics"] == content["rows"]["a|b"]["metrics"]
    assert content["metrics"]["FD"]["jaw"] == pytest.approx(3) and content["rows"]["labels"]["metrics"]["FD"]["jaw"] == pytest.approx(2)
    assert content["metrics"]["LVE_max"]["speaking"] is None and content["intervals"]["LVE_max"]["speaking"] is None
    assert content["counts"]["LVE_max"]["speaking"] == {"used": 0, "skipped": 5, "needs": "2 frames"}
    assert content["units"]["FD"]["jaw"] == "10⁻³ rad²" and content["direction"]["FDD_motion"] == "zero"


def test_markdown(evaluation):
    lines = markdown(evaluation).splitlines()
    assert lines[0] == "| metric | unit | better | labels | a\\|b |"
    assert "| FD jaw | 10⁻³ rad² | ↓ | 2.00 [0.04, 3.96] | 3.00 [1.04, 4.96] |" in lines
    assert "| LVE_max speaking | mm | ↓ | - | - |" in lines and "- protocol: dualtalk-corrected" in lines


def test_rows_that_rest_on_different_clips_say_so(evaluation, capsys):
    """In the table that is written down too. Notices warnings of the main row alone."""
    fewer, tally = {"scored": 1, "in_data": 5, "without_prediction": 4, "first": ["x"]}, Tally()
    tally.add("d0", {("FD", "jaw"): 0.001})
    rows = {**evaluation.rows, "other": tally.row({"d0.a": 100}, scaled=True)}
    uneven = Evaluation("a|b", rows, scaled=True, facts={"rows": {"other": {"people": fewer}}})
    show(uneven)
    for text in (capsys.readouterr().out, markdown(uneven)):
        assert "other: scored 1 of 5 people; without a prediction: x ..." in text
        assert "labels, a|b: clips that do not define a metric: LVE_max speaking 5" in text
        assert "rows rest on different clips and cannot be compared: labels 5, a|b 5, other 1" in text
    assert "- clips:" not in markdown(uneven) and "- clips: 5" in markdown(evaluation) and "different clips" not in markdown(evaluation)


def test_as_many_clips_are_not_the_same_clips(evaluation):
    """Nor the same frames. Seen red: only clips were counted; a row of short predictions looked twice as good."""
    other = replace(evaluation.rows["labels"], clips={**dict.fromkeys(("d0.a", "d1.a", "d2.a", "d3.a"), 100), "d9.a": 100})
    assert "different clips and cannot be compared: labels 5, a|b 5" in markdown(with_labels(evaluation, other))
    for frames, told in ((96, True), (100, False), (99, False)):
        short = replace(evaluation.rows["labels"], clips={f"d{number}.a": frames for number in range(5)})
        assert ("different numbers of frames and cannot be compared" in markdown(with_labels(evaluation, short))) == told, frames


def with_labels(evaluation, row):
    return replace(evaluation, rows={"labels": row, "a|b": evaluation.rows["a|b"]})


def test_only_an_evaluation_replaces_an_evaluation(evaluation, tmp_path):
    """Seen red: --json DATA/dataset.json, after which nothing could read the set."""
    for name, written in (("table.md", markdown(evaluation)), ("new.json", None), ("empty", "")):
        if written is not None:
            (tmp_path / name).write_text(written)
        check_replaceable(tmp_path / name)
    write_json(tmp_path / "scores.json", evaluation)
    check_replaceable(tmp_path / "scores.json")
    for name, content in (("dataset.json", b'{"format": 1}'), ("notes.md", b"# mine"), ("x.npz", b"PK\x03\x04\xff")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="one that mango evaluate wrote, found another one"):
            check_replaceable(tmp_path / name)


def test_terminal(evaluation, capsys):
    show(evaluation)
    out = capsys.readouterr().out
    assert "[2] a|b" in out and "3.00" in out and "-0.00" not in out and "clips that do not define a metric: LVE_max speaking 5" in out


def test_a_regressor_s_speed_names_no_sampler(evaluation):
    speed = {"real_time_factor": 0.1, "real_time_factor_with_sound": 0.2, "processor": "a core"}
    row = replace(evaluation.rows["a|b"], speed=speed)
    assert "a|b: real-time factor 0.100, with reading and encoding of sound 0.200 (no sampler, a core)" in markdown(
        replace(evaluation, rows={"a|b": row})
    )


def test_html(evaluation):
    table = comparison_table("Motion", comparison(evaluation, [("FD", "jaw"), ("FDD_motion", "all")]), references=["labels"])
    assert [column.name for column in table.columns] == ["FD jaw", "FDD_motion"] and [row.reference for row in table.rows] == [True, False]
    page = report_page(Report("r", tables=[table]))
    assert "3.00" in page and "→ 0" in page
    table = comparison_table("Motion", comparison(evaluation, [("FD", "jaw"), ("FDD_motion", "all")]))
    assert [best_row(table, column) for column in (0, 1)] == [0, 0]


def test_units_say_what_a_number_was_multiplied_by():
    for (name, part), factor in PUBLISHED_SCALING.items():
        assert unit(name, part, scaled=False) == METRICS[name].unit_of(part)
        printed = unit(name, part, scaled=True)
        assert {1: "", 10: "10⁻¹", 100: "10⁻²", 1000: "10⁻³"}[factor] == (printed.split()[0] if printed.startswith("10") else "")
    assert unit("FD", "exp", scaled=True) == "" and unit("STS", "jaw", scaled=True) == "rad" and unit("LVE_sq", "all", scaled=True) == "mm²"


def test_the_page_documents_every_metric_as_the_catalogue_has_it():
    """One line a metric: name, equation, unit, better, source. Notices a metric or an equation that changed in one place only."""
    text = DOCUMENTATION.read_text(encoding="utf-8").split("## Metrics")[1]
    documented = [line for line in text.splitlines() if line.startswith("| `")]
    cells = [
        (f"`{name}`", one.equation.replace("|", "\\|"), one.unit, DIRECTION_MARKS[one.direction], one.source, one.needs)
        for name, one in METRICS.items()
    ]
    assert documented == [f"| {' | '.join(row)} |" for row in cells]
