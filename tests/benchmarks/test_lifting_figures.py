"""Figures and summaries of the lifting benchmark, from a JSON that is made up and phones that are written for it.

Faults planted, each seen red: all phones taken for bilabials, the first of equal passages, the least visible closure, bars that begin at
0.3, the worse of the longer rows, another number of dialogues, samplings drawn as if they were dialogues, seeds added up, another
seed's verdict, a mixture of codes passed over, dashes that cut corners.
"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.stats import t as student

from benchmarks.lifting import figures, report
from benchmarks.lifting.figures import Options, Outcome, Passage
from benchmarks.lifting.report import COLUMNS, LABELS
from benchmarks.lifting.rows import ROWS
from benchmarks.lifting.scales import scale_of
from benchmarks.lifting.sweeps import variant_bench
from benchmarks.lifting.training import Bench, Cost
from mango.data.truth import truth_folder
from mango.errors import InputError
from mango.types import Phone

FRAMES, NAMES = 200, ("test000/a", "test000/b", "test001/a", "test001/b")


def row(error: float, *, samplings: int = 2, spread: float = 0.0, dialogues: int = 2) -> dict:
    """``spread``: how much worse every second dialogue is than the one before. Of a dialogue's two sides one is better."""
    signs = (-1, 1) * (dialogues // 2)
    clips = [{"lve_max": error * (1 + sign * spread) * side} for sign in signs for _ in range(samplings) for side in (0.9, 1.1)]
    return {"title": "", "means": {**dict.fromkeys(COLUMNS, 1.0), "lve_max": error}, "clips": clips}


def content(seed: int, errors: dict[str, float]) -> dict:
    curve = {name: [8.0] * FRAMES for name in NAMES}
    rows = {name: {**row(error), "title": ROWS[name].title, "opening": curve} for name, error in errors.items()}
    facts = {"scale": "ci", "seed": seed, "split": "test", "code": "feed", "trained_by": ["beef" * 10], "scored_by": ["0123456789+changes"]}
    verdict = {"what": "stage two / longer", "value": 0.7 + seed / 10, "limit": 0.9, "at_least": False, "met": seed < 2}
    labels = {**row(3.0, samplings=1), "opening": curve}
    return {"facts": facts, "rows": rows, "labels": labels, "truth": {"opening": curve}, "verdicts": [verdict], "skipped": {}}


def outcome(tmp_path, seed: int = 1, **errors: float) -> Outcome:
    bench = Bench(tmp_path, scale_of("ci", seed), seed)
    bench.rows.mkdir(parents=True, exist_ok=True)
    made = content(seed, errors or {"stage1": 4.0, "stage2": 3.0, "longer_steps": 4.0})
    report.file_of(bench, "test").write_text(json.dumps(made))
    return Outcome(bench, made)


def spoken(of: Outcome, **phones: list[tuple[str, float]]) -> Outcome:
    """Phones of 0.1 s at these times; clips are named test000_a."""
    for name in NAMES:
        id, side = name.split("/")
        folder = truth_folder(of.bench.data) / "dialogues" / id
        folder.mkdir(parents=True, exist_ok=True)
        said = phones.get(name.replace("/", "_"), [])
        listed = [{"symbol": symbol, "start": at, "end": at + 0.1, "stress": 0.0} for symbol, at in said]
        (folder / f"{side}.phones.json").write_text(json.dumps(listed))
    return of


def picture(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


# What is chosen


def test_the_passage_is_where_most_bilabials_begin(tmp_path):
    sparse = [("P", 0.2), ("B", 4.0)]
    dense = [("S", 0.1), ("S", 0.2), ("S", 0.3), ("S", 0.4), ("M", 4.0), ("P", 5.0), ("B", 6.0)]
    found = figures.passage(spoken(outcome(tmp_path), test000_a=sparse, test001_b=dense))
    assert found.clip == ("test001", "b") and [phone.symbol for phone in found.phones] == ["M", "P", "B"]
    assert len(found.frames) == 75
    before, after = 100 - found.frames.start, found.frames.stop - 151
    assert abs(before - after) <= 1, "of equals the middle one"


def test_the_closure_is_the_truly_most_visible_one(tmp_path):
    of = outcome(tmp_path)
    opening = np.full(FRAMES, 6.0)
    opening[[51, 101]] = 0.0  # between open lips
    opening[[97, 98, 99, 100, 102, 103, 104, 105]] = 1.0  # the second one hardly shows
    of.content["truth"]["opening"]["test000/a"] = opening.tolist()
    phones = tuple(Phone("P", at, at + 0.1, 0.0) for at in (2.0, 4.0))
    assert figures.shown_closure(of, Passage(("test000", "a"), range(40, 115), phones)) == 51
    with pytest.raises(figures.Missing, match="no p, b or m"):
        figures.shown_closure(of, Passage(("test000", "a"), range(40, 115), ()))


# What is drawn


def test_bars_start_at_zero_and_are_as_long_as_the_ratio(tmp_path):
    outcomes = [outcome(tmp_path, seed, stage2=3.0 + seed, longer_steps=4.0, longer_time=5.0, shuffled=8.0) for seed in (1, 2)]
    bars = {bar.title: bar for bar in figures.bars(outcomes)}
    assert bars["stage two"].ratios == (1.0, 1.25), "over the better of the two longer rows"
    assert bars["control: shuffled pictures"].kind == "control"
    figures.row_bars(outcomes, "").save(tmp_path / "rows.png")
    drawn = picture(tmp_path / "rows.png")
    lengths = {kind: int((np.abs(drawn - color).max(-1) < 8).sum(1).max()) for kind, color in figures.BARS.items() if kind != "reference"}
    assert lengths["control"] / lengths["method"] == pytest.approx(2.0 / 1.125, rel=0.08), "whisker, digits and dots hide a little"


def test_rows_that_one_seed_lacks_say_so(tmp_path):
    outcomes = [outcome(tmp_path, 1, stage2=3.0, longer_steps=4.0, shuffled=8.0), outcome(tmp_path, 2, stage2=3.0, longer_steps=4.0)]
    assert [bar.title for bar in figures.bars(outcomes)][-1] == "control: shuffled pictures (seed 1)"


def test_errors_over_dialogues_need_two_numbers(tmp_path):
    of = outcome(tmp_path)
    assert figures.over_dialogues([of], "test") == {6: [(4.0, 3.0)]}
    with pytest.raises(figures.Missing, match="dialogues-10"):
        figures.dialogues_chart(figures.over_dialogues([of], "test"), "")
    other = variant_bench(of.bench, "dialogues-10")
    other.rows.mkdir()
    errors = {"stage1": 4.0, "stage2": 2.0, "longer_steps": 4.0, "longer_time": 3.5}
    report.file_of(other, "test").write_text(json.dumps(content(1, errors)))
    assert figures.over_dialogues([of], "test") == {6: [(4.0, 3.0)], 10: [(4.0, 2.0)]}, "equal steps, though more time does better"
    assert "10 training dialogues | 1 | 4.00 | 2.00 | 0.500" in report.sweep(
        {"10 training dialogues": figures.variants([of], "test")["dialogues-10"]}
    )


def test_everything_that_can_be_drawn_is(tmp_path, capsys):
    spoken(outcome(tmp_path), test000_a=[("P", 2.0)])
    figures.main(Options(tmp_path, "ci", "1", tmp_path / "to", page=tmp_path / "page.md"))
    page = (tmp_path / "page.md").read_text()
    assert "**Seed 1**, ci, test split" in page and "is left out" not in page
    printed = capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["opening.png", "rows.png"]
    assert "dialogues.png is left out: only one number" in printed and "frames.png is left out" in printed and "avatars" in printed
    for path in (tmp_path / "to").iterdir():
        assert picture(path).std() > 10, f"{path.name} is empty"
    with pytest.raises(InputError, match="--seed 2 --scale ci"):
        figures.main(Options(tmp_path, "ci", "1,2", tmp_path / "to"))


def test_a_mixture_of_codes_is_said(tmp_path):
    one, two = outcome(tmp_path, 1), outcome(tmp_path, 2)
    assert "DIFFERENT" not in figures.small_print([one, two]) and "trained by beefbee, scored by 0123456" in figures.small_print([one])
    two.content["facts"]["code"] = "dead"
    assert "DIFFERENT CODE" in figures.small_print([one, two]) and "0123456+changes" in figures.small_print([one, two])


def test_dashes_leave_gaps_and_follow_corners():
    pieces = figures.dashed([(0.0, 0.0), (5.0, 0.0), (5.0, 5.0)], (6, 2))
    assert pieces == [[(0.0, 0.0), (5.0, 0.0), (5.0, 1.0)], [(5.0, 3.0), (5.0, 5.0)]]


# What is said


def scored(error: float, *, samplings: int = 1, spread: float = 0.0) -> dict:
    of = {"samplings": samplings, "dialogues": 8}
    return {"stage2": row(error, spread=spread, **of), "longer_steps": row(4.0, **of), LABELS: row(3.0, samplings=1, dialogues=8)}


def test_intervals_are_of_whole_dialogues():
    """Twice the samplings of the same dialogues are no more evidence. Seen red: a bootstrap's percentiles, which are too narrow."""
    low, high = report.interval([scored(3.0, spread=0.5)], "stage2")
    assert report.interval([scored(3.0, spread=0.5, samplings=8)], "stage2") == (low, high)
    half = student.ppf(0.975, 7) * np.std([0.375, 1.125] * 4, ddof=1) / math.sqrt(8)  # the control is the same in all: a mean's t interval
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half))
    few = {name: row(3.0) for name in ("stage2", "longer_steps", LABELS)}
    assert report.interval([few], "stage2") is None
    one_sided = scored(3.0, spread=0.5)
    for clip, side in zip(one_sided["stage2"]["clips"], (0.5 / 0.9, 1.5 / 1.1) * 8, strict=True):
        clip["lve_max"] *= side
    assert report.interval([one_sided], "stage2") == pytest.approx((low, high)), "both sides of a dialogue are one observation"


def test_intervals_over_seeds_are_of_the_mean():
    assert report.interval([scored(3.0), scored(5.0)], "stage2") == pytest.approx((1.0, 1.0))
    one, two = (report.interval([scored(3.0, spread=0.5)] * seeds, "stage2") for seeds in (1, 2))
    assert two[1] - two[0] < 0.72 * (one[1] - one[0]), "twice the dialogues"


def test_the_summary_names_every_seed_and_every_miss():
    contents = [content(seed, {"stage1": 4.0, "stage2": error, "longer_steps": 4.0}) for seed, error in ((1, 3.0), (2, 3.2), (3, 3.4))]
    text = report.summary(contents)
    low, high = report.prediction_interval([0.75, 0.8, 0.85])
    assert "mean **0.800**" in text and f"{low:.3f}-{high:.3f}" in text
    assert "| stage two | 0.750 | 0.800 | 0.850 | 0.800 |" in text
    assert "| stage two / longer | <= 0.9 | 0.800 | 0.900 **not met** | 1.000 **not met** |" in text


@pytest.mark.parametrize(("error", "where"), [(3.6, "**0.900**, inside."), (5.0, "**1.250**, OUTSIDE.")])
def test_untried_seeds_have_no_say_in_the_interval(error, where):
    """Faults planted: the untried seed counted into the interval, into the mean, and left out of the tables."""
    contents = [content(seed, {"stage2": stage2, "longer_steps": 4.0}) for seed, stage2 in ((1, 3.0), (2, 3.2), (3, 3.4))]
    text = report.summary(contents, [content(4, {"stage2": error, "longer_steps": 4.0})])
    assert report.summary(contents).splitlines()[:2] == text.splitlines()[:2], "mean and interval"
    assert f"Seed 4, not counted there: {where}" in text
    assert "| seed 3 | seed 4, untried | mean |" in text and f"| stage two | 0.750 | 0.800 | 0.850 | {error / 4:.3f} | 0.800 |" in text
    assert "| asked | limit | seed 1 | seed 2 | seed 3 | seed 4 |" in text


def test_a_model_that_never_blinks_has_missed_what_was_asked(monkeypatch, tmp_path):
    """A distance to nothing is infinite, and was no verdict at all."""
    bench = Bench(tmp_path, scale_of("ci", 1), 1)
    blinking, means = {"blink_depths": [0.6, 0.7], "blink_rates": [12.0]}, dict.fromkeys((*COLUMNS, "upper_face"), 2.0)
    scores = {name: {"means": means, **blinking} for name in ("stage1", "longer_steps", "truth", "stage2")}
    scores["truth"] = {"means": means, "blink_depths": [0.8], "blink_rates": [15.0]}
    scores["stage2"] = {"means": {**means, "closure": math.nan}, "blink_depths": [], "blink_rates": [0.0]}
    scores |= {f"training labels: {name}": {"means": means} for name in ("tracker", "stage2")}
    monkeypatch.setattr(report, "cost_of", lambda *_: Cost(1.0, 1, 1000))
    found = {verdict["what"]: verdict for verdict in report.judged(bench, ["stage1", "longer_steps", "stage2"], scores)}
    for what in ("closure gap error, mm", "blink depth: distance to the truth's distribution over stage one's"):
        assert found[what]["value"] is None and not found[what]["met"] and "NOT MET" in report.words_of(found[what])


def test_rows_over_seeds_leave_out_what_a_seed_lacks():
    contents = [content(1, {"stage2": 3.0, "longer_steps": 4.0, "shuffled": 5.0}), content(2, {"stage2": 3.2, "longer_steps": 4.0})]
    assert f"| {ROWS['shuffled'].title} | 1.250 |  | 1.250 |" in report.over_longer(contents)
    only = [*contents, content(3, {"stage1": 4.0})]
    assert "| stage two | 0.750 | 0.800 |  | 0.775 |" in report.over_longer(only), "a seed without the control tells nothing"


def test_the_table_marks_what_is_not_defined():
    made = content(1, {"stage1": 4.0, "longer_steps": 4.0})
    made["rows"]["stage1"]["means"]["closure"] = None
    made["skipped"] = {"lpips": "no weights"}
    lines = report.markdown(made).splitlines()
    assert next(line for line in lines if line.startswith("| stage one")).endswith("| - | 1.000 |  |"), "no interval of two dialogues"
    assert "Not run, lpips: no weights" in lines


def test_other_scales_are_found_in_their_own_place(tmp_path):
    bench = Bench(tmp_path, replace(scale_of("full", 1)), 1)
    assert report.file_of(bench, "test") == tmp_path / "small-1" / "lifting.json"
