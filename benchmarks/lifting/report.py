"""The table, what was asked of it, and whether it was reached."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy.stats import wasserstein_distance

from benchmarks.lifting import digests
from benchmarks.lifting.rows import ROWS
from benchmarks.lifting.scoring import LABELS, cost_of
from benchmarks.lifting.training import Bench
from mango.data.json_files import read_json, write_json
from mango.evaluation.catalogue import MEASURES
from mango.evaluation.intervals import jackknife_interval
from mango.provenance import provenance
from mango.training.run import begun_as
from mango.types import PERSONS

COLUMNS = ("lve_max", "lve_max_speaking", "lve_max_listening", "lve_dynamic", "upper_face", "lip_velocity", "lip_opening_slope", "closure")
CONTROLS = ("shuffled", "shifted", "wrong_person", "static")
EQUAL_STEPS = "longer_steps"
LONGER = (EQUAL_STEPS, "longer_time")
Scores = Mapping[str, Mapping]


def write(bench: Bench, rows: Sequence[str], scores: Scores, split: str, skipped: Mapping[str, str]) -> Table:
    """OUT/<scale>-<seed>/lifting.json (or lifting-val.json), and the table for the terminal.

    ``skipped``: rows that could not be trained here, and why; what an earlier call left out stays named until it is there.
    """
    path = file_of(bench, split)
    before = read_json(path).get("skipped", {}) if path.exists() else {}
    verdicts = judged(bench, rows, scores)
    content = {
        "facts": {
            **provenance(),
            "scale": bench.scale.name,
            "seed": bench.seed,
            "split": split,
            "code": digests.of_code(),
            "trained_by": sorted({commit for row in rows for commit in commits_of(bench, row)}),
            "scored_by": sorted({scores[name]["commit"] for name in (*rows, LABELS, "truth")}),
        },
        "rows": {row: {"title": ROWS[row].title, "cost": vars(cost_of(bench, row)), **scores[row]} for row in rows},
        "labels": scores[LABELS],
        "truth": {name: scores["truth"][name] for name in ("blink_depths", "blink_rates", "opening")},
        "training_labels": {title: scores[title] for title in scores if title.startswith("training labels")},
        "intervals": {row: interval([scores], row) for row in rows if row not in LONGER and longer_of(scores)},
        "verdicts": verdicts,
        "skipped": {row: reason for row, reason in {**before, **skipped}.items() if row not in rows},
    }
    write_json(path, content)
    return table(bench, rows, scores, split, verdicts)


def commits_of(bench: Bench, row: str) -> list[str]:
    """That its runs were begun by: a row is used again while no code of its own has changed."""
    return [begun_as(record)["commit"] for record in sorted((bench.rows / row).glob("*/run.json"))]


def file_of(bench: Bench, split: str) -> Path:
    return bench.rows / ("lifting.json" if split == "test" else f"lifting-{split}.json")


def longer_of(scores: Scores) -> str | None:
    """The better of the two longer controls."""
    there = [row for row in LONGER if row in scores]
    return min(there, key=lambda row: scores[row]["means"]["lve_max"]) if there else None


def ratio(scores: Scores, row: str, measure: str = "lve_max") -> float:
    """The row over the better longer control."""
    return scores[row]["means"][measure] / scores[longer_of(scores)]["means"][measure]


def errors(scores: Scores) -> tuple[float, float]:
    """LVE max, mm, of stage one for equal steps and of stage two."""
    longer, taught = (scores[row]["means"]["lve_max"] for row in (EQUAL_STEPS, "stage2"))
    return longer, taught


def interval(seeds: Sequence[Scores], row: str, measure: str = "lve_max") -> tuple[float, float] | None:
    """95 % interval of the ratio, mean over seeds, for other dialogues of the same people: paired, Student's t with a jackknife's error.

    Whole dialogues are left out: both sides of one, and all samplings of it, say nearly the same and would feign certainty. None below
    five dialogues.
    """
    summands = []
    for place, scores in enumerate(seeds):
        dialogues = len(scores[LABELS]["clips"]) // len(PERSONS)
        errors = [np.array([clip[measure] for clip in scores[name]["clips"]]) for name in (row, longer_of(scores))]
        own = np.zeros((dialogues, len(seeds), 2))
        own[:, place] = np.stack([each.reshape(dialogues, -1).mean(1) for each in errors], axis=1)
        summands.append(own.reshape(dialogues, -1))

    def mean_ratio(sums: np.ndarray) -> float:
        mine, theirs = sums.reshape(len(seeds), 2).T
        return float((mine / theirs).mean())

    return jackknife_interval(np.concatenate(summands), mean_ratio)


def judged(bench: Bench, rows: Sequence[str], scores: Scores) -> list[dict]:
    """Each number that was asked for, as far as its rows are there."""
    found: list[dict] = []

    def ask(what: str, value: float, limit: float, *, at_least: bool = False) -> None:
        met = value >= limit if at_least else value <= limit  # of NaN neither is true
        found.append(
            {"what": what, "value": value if math.isfinite(value) else None, "limit": limit, "at_least": at_least, "met": bool(met)}
        )

    longer = longer_of(scores)
    if "stage2" not in rows or longer is None:
        return found
    two, base, one = (measured(scores, row) for row in ("stage2", longer, "stage1"))
    ask("stage two over the better longer stage one: LVE max", two["lve_max"] / base["lve_max"], 0.90)
    if "oracle" in rows:
        best = measured(scores, "oracle")
        for name, words, limit in (("lve_max", "overall", 0.45), ("lve_dynamic", "dynamic", 0.55), ("lve_max_speaking", "speaking", 0.45),
                                   ("lve_max_listening", "listening", 0.0)):  # fmt: skip
            if math.isfinite(one[name]):  # else nobody speaks or listens
                ask(f"gap to the oracle closed, {words}", (one[name] - two[name]) / (one[name] - best[name]), limit, at_least=True)
    for name, words, value, limit in (
        ("closure", "closure gap error, mm", two["closure"], 1.5),
        ("lip_opening_slope", "lip opening slope, distance from 1", abs(two["lip_opening_slope"] - 1), 0.05),
        ("lip_velocity", "lip velocity error over stage one's", two["lip_velocity"] / one["lip_velocity"], 0.75),
        ("lve_max_listening", "listening frames over stage one's: LVE", two["lve_max_listening"] / one["lve_max_listening"], 1.0),
    ):
        if math.isfinite(one[name]):  # else nobody speaks or listens, or there is no bilabial
            ask(words, value, limit)
    for name, words in (("blink_depths", "blink depth"), ("blink_rates", "blink rate")):
        far = {row: wasserstein_distance(scores[row][name], scores["truth"][name]) if scores[row][name] else math.inf
               for row in ("stage1", "stage2")}  # fmt: skip
        if math.isfinite(far["stage1"]) and far["stage1"] > 0:
            ask(f"{words}: distance to the truth's distribution over stage one's", far["stage2"] / far["stage1"], 1.0)
    labels, corrected = (scores[f"training labels: {name}"]["means"]["upper_face"] for name in ("tracker", "stage2"))
    ask("training labels, upper face: error over the tracker's", corrected / labels, 0.80)
    for row in CONTROLS:
        if row in rows:
            ask(f"{ROWS[row].title}: LVE over longer stage one's", scores[row]["means"]["lve_max"] / base["lve_max"], 1.0, at_least=True)
    if "refit" in rows:
        ask("refitted labels over stage two: LVE", scores["refit"]["means"]["lve_max"] / two["lve_max"], 1.0, at_least=True)
    cost = cost_of(bench, "stage2")
    ask("processor time per rendered frame, ms", 1000 * cost.cpu_seconds / cost.frames_rendered, 8.0)
    return found


def measured(scores: Scores, row: str) -> dict[str, float]:
    """A row's means; NaN where JSON has null."""
    return {name: math.nan if value is None else value for name, value in scores[row]["means"].items()}


def table(bench: Bench, rows: Sequence[str], scores: Scores, split: str, verdicts: Sequence[Mapping]) -> Table:
    clips = len(scores["truth"]["blink_rates"])
    shown = Table(title=f"{bench.scale.name}, seed {bench.seed}, {split}: {clips} clips", caption="\n".join(map(words_of, verdicts)))
    shown.add_column("row", no_wrap=True)
    for column in COLUMNS:
        shown.add_column(f"{MEASURES[column].name} {MEASURES[column].unit}".strip(), justify="right")
    shown.add_column("over longer", justify="right")
    shown.add_column("minutes", justify="right")
    longer = longer_of(scores)
    for row in (LABELS, *rows):
        means = scores[row]["means"]
        compared = f"{ratio(scores, row):.3f}" if longer else ""
        minutes = f"{cost_of(bench, row).cpu_seconds / 60:.1f}" if row in rows else ""
        title = ROWS[row].title if row in rows else "tracker's labels"
        shown.add_row(title, *(cell(means, column) for column in COLUMNS), compared, minutes)
    return shown


def cell(means: Mapping[str, float | None], column: str) -> str:
    """A dash where nothing is defined: nobody speaks, no bilabial."""
    return "-" if means[column] is None else f"{means[column]:.{MEASURES[column].digits}f}"


def words_of(verdict: Mapping) -> str:
    sign, mark = (">=" if verdict["at_least"] else "<="), ("met    " if verdict["met"] else "NOT MET")
    return f"{mark} {verdict['what']}: {told(verdict)} ({sign} {verdict['limit']:g})"


def told(verdict: Mapping) -> str:
    """Its number; of a model that never does what is asked there is none."""
    return "none" if verdict["value"] is None else f"{verdict['value']:.3f}"


def prediction_interval(values: Sequence[float], share: float = 0.95) -> tuple[float, float]:
    """Where one more seed is expected to fall, from a few: mean +- t s sqrt(1 + 1/n), Student's t with n - 1 degrees of freedom."""
    from scipy.stats import t

    n, mean, deviation = len(values), statistics.mean(values), statistics.stdev(values)
    half = float(t.ppf(0.5 + share / 2, n - 1)) * deviation * math.sqrt(1 + 1 / n)
    return mean - half, mean + half


def scores_in(content: Mapping) -> Scores:
    """What `write` wrote, as it was given."""
    return {**content["rows"], LABELS: content["labels"]}


def markdown(content: Mapping) -> str:
    """The table of one seed from its JSON."""
    scores, facts, longer = scores_in(content), content["facts"], longer_of(content["rows"])
    heads = ["row", *(f"{MEASURES[column].name} {MEASURES[column].unit}".strip() for column in COLUMNS), "over longer", "95 %"]
    lines = [f"**Seed {facts['seed']}**, {facts['scale']}, {facts['split']} split, {len(content['labels']['clips'])} clips", ""]
    lines += [f"| {' | '.join(heads)} |", f"|{'---|' + '---:|' * (len(heads) - 1)}"]
    for row in (LABELS, *content["rows"]):
        cells = ["tracker's labels" if row == LABELS else content["rows"][row]["title"]]
        cells += [cell(scores[row]["means"], column) for column in COLUMNS]
        cells.append(f"{ratio(scores, row):.3f}" if longer else "")
        compared = longer and row not in (LABELS, longer)
        between = interval([scores], row) if compared else None
        cells.append("" if between is None else "{:.2f}-{:.2f}".format(*between))
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"\nNot run, {row}: {reason}" for row, reason in content.get("skipped", {}).items()]
    return "\n".join(lines)


def summary(contents: Sequence[Mapping], untried: Sequence[Mapping] = ()) -> str:
    """Over seeds: the mean ratio, where one more seed is expected and where ``untried`` ones fell, every verdict."""
    ratios = ratios_by_seed(contents)
    if not ratios:
        return "No seed has both stage two and a longer stage one: nothing to sum up."
    each = ", ".join(f"{value:.3f} (seed {seed})" for seed, value in ratios.items())
    lines = [f"Stage two over longer stage one, LVE max: {each}; mean **{statistics.mean(ratios.values()):.3f}**."]
    if len(ratios) > 1:
        low, high = prediction_interval(list(ratios.values()))
        lines.append(f"One more seed is expected within {low:.3f}-{high:.3f} (95 %: mean +- t s sqrt(1 + 1/n), n = {len(ratios)}).")
        for seed, value in ratios_by_seed(untried).items():
            lines.append(f"Seed {seed}, not counted there: **{value:.3f}**, {'inside' if low <= value <= high else 'OUTSIDE'}.")
    lines += ["", over_longer(contents, untried)]
    contents = [*contents, *untried]
    seeds = [content["facts"]["seed"] for content in contents]
    asked = {verdict["what"]: verdict for content in contents for verdict in content["verdicts"]}
    lines += ["", f"| asked | limit | {' | '.join(f'seed {seed}' for seed in seeds)} |", f"|---|---|{'---:|' * len(seeds)}"]
    for what, verdict in asked.items():
        found = [next((one for one in content["verdicts"] if one["what"] == what), None) for content in contents]
        cells = ["" if one is None else told(one) + ("" if one["met"] else " **not met**") for one in found]
        lines.append(f"| {what} | {'>=' if verdict['at_least'] else '<='} {verdict['limit']:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ratios_by_seed(contents: Sequence[Mapping]) -> dict[int, float]:
    """Stage two's LVE max over longer stage one's, of the seeds that have both."""
    having = [content for content in contents if longer_of(content["rows"]) and "stage2" in content["rows"]]
    return {content["facts"]["seed"]: ratio(scores_in(content), "stage2") for content in having}


def over_longer(contents: Sequence[Mapping], untried: Sequence[Mapping] = ()) -> str:
    """Every row's LVE max over longer stage one's, by seed, and the mean over the seeds that have it, ``untried`` ones left out."""
    contents, counted = [*contents, *untried], {content["facts"]["seed"] for content in contents}
    rows = list(dict.fromkeys(row for content in contents for row in content["rows"]))
    seeds = [content["facts"]["seed"] for content in contents]
    titles = [f"seed {seed}" if seed in counted else f"seed {seed}, untried" for seed in seeds]
    lines = [f"| LVE max over longer stage one's | {' | '.join(titles)} | mean |", f"|---|{'---:|' * (len(seeds) + 1)}"]
    for row in rows:
        having = [content for content in contents if row in content["rows"] and longer_of(content["rows"])]
        if not having:
            continue
        found = {content["facts"]["seed"]: ratio(scores_in(content), row) for content in having}
        cells = [f"{found[seed]:.3f}" if seed in found else "" for seed in seeds]
        averaged = [value for seed, value in found.items() if seed in counted]
        mean = f"{statistics.mean(averaged):.3f}" if averaged else ""
        lines.append(f"| {having[0]['rows'][row]['title']} | {' | '.join(cells)} | {mean} |")
    return "\n".join(lines)


def sweep(variants: Mapping[str, Sequence[Mapping]]) -> str:
    """Other data: title -> contents by seed. The control is stage one for equal steps, which is run on all of them."""
    lines = ["| data | seed | longer stage one (equal steps), mm | stage two, mm | ratio |", "|---|---:|---:|---:|---:|"]
    for title, contents in variants.items():
        for content in contents:
            longer, taught = errors(scores_in(content))
            lines.append(f"| {title} | {content['facts']['seed']} | {longer:.2f} | {taught:.2f} | {taught / longer:.3f} |")
    return "\n".join(lines)
