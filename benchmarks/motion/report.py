"""One table over all seeds, what was asked of it, and whether it was reached."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from scipy.stats import t as student

from benchmarks.motion.rows import ROWS
from benchmarks.page import commit_and_machine
from mango.evaluation.baselines import MEAN, NEAREST
from mango.evaluation.catalogue import DIRECTION_MARKS, METRICS, unit
from mango.evaluation.protocol import STILL
from mango.evaluation.scores import Key

OURS = next(iter(ROWS))
UNTRAINED = (NEAREST, MEAN)
SHOWN: Sequence[Key] = (
    ("LVE_max", "all"),
    ("LVE_max", "speaking"),
    ("LVE_max", "listening"),
    ("lip_opening_slope", "all"),
    ("closure_rate", "all"),
    ("mouth_sync", "all"),
    ("MSE", "exp"),
    ("FD", "exp"),
    ("FD", "pose"),
    ("S_FD_pooled", "exp"),
    ("L_FD", "exp"),
    ("L_FD", "pose"),
    ("L_FD_pooled", "exp"),
    ("L_FD_pooled", "pose"),
    ("P-FD_pooled", "pose"),
    ("rPCC", "pose"),
    ("nod_sync", "all"),
    ("nod_sync_above_chance", "all"),
    ("blink_rate", "all"),
    ("SID", "exp"),
)
BEHAVIOURS = {  # of `benchmarks.motion.behaviour`: how the inputs were changed, and what is shown
    "muted_partner": "**Partner muted**: how much own motion changes, as a share of how much it moves.",
    "muted_partner_in_truth": "The same of the made-up people themselves: what they would have done.",
    "exchanged": "**Tracks exchanged**: how much more the mouth follows the own voice's loudness than the partner's (difference of"
    " correlations), as recorded and with both voices exchanged; the speaking indicator told or not.",
    "same_envelope": "**Noise as loud as the voice**: how much the lips change, as a share of how much they move; how often they close"
    " on p, b and m, with the voice and with the noise.",
    "indicator": "**Wrong speaking indicator**: errors against the true motion (mm; a slope of 1 is right).",
    "real": "**Real exchanges**, whose motion nobody knows: as above, and the share of frames in which only the other speaks and the lips"
    " are at rest.",
}
Judged = Mapping[str, object]


def markdown(seeds: Sequence[Judged], rows: Sequence[str], speeds: Mapping[str, float], numbers: Sequence[int], scale: str) -> str:
    asked = f"python -m benchmarks.motion --scale {scale} --seeds {' '.join(map(str, numbers))}"
    return "\n".join(
        [
            "## Two people's motion: our model and what it is compared with",
            "",
            f"`{asked}`, {commit_and_machine()}. Labels are the true motion: errors are smaller than where a tracker labels (lifting.md).",
            "",
            *table(seeds, rows),
            "",
            f"Means over seeds {', '.join(map(str, numbers))}; in brackets, the smallest and largest of them. Each seed is another set"
            " of people, dialogues and weights; rows of a seed share all but the model.",
            "",
            "### Against our model",
            "",
            *differences(seeds, rows),
            "",
            "### What was asked",
            "",
            *verdicts(seeds, rows, speeds),
            "",
            "### How our model behaves",
            "",
            *behaviours(seeds),
            "",
            "### Speed at paper scale",
            "",
            "Seconds of work for a second of dialogue, both people; 10 steps of DPM-Solver++.",
            "",
            *(f"- {name}: {factor:.2f}" for name, factor in speeds.items()),
            "",
        ]
    )


# The table ----------------------------------------------------------------------------------------------------------------------------


def table(seeds: Sequence[Judged], rows: Sequence[str]) -> list[str]:
    names = [*rows, *UNTRAINED, STILL]
    titles = [ROWS[row].title if row in ROWS else row for row in names]
    lines = [f"| metric | unit | better | {' | '.join(titles)} |", "|---|---|---|" + "---:|" * len(names)]
    millions = [statistics.fmean(seed["weights"][row] for seed in seeds) / 1e6 if row in rows else 0.0 for row in names]
    lines.append(f"| weights | 10⁶ | | {' | '.join(f'{count:.2f}' for count in millions)} |")
    for key in SHOWN:
        metric = METRICS[key[0]]
        told = f"{key[0]} {key[1]}" if key[1] != "all" else key[0]
        cells = [_cell([value(seed, name, key) for seed in seeds], digits(seeds, names, key)) for name in names]
        lines.append(f"| {told} | {unit(*key, scaled=False)} | {DIRECTION_MARKS[metric.direction]} | {' | '.join(cells)} |")
    for name in [name for name, part in SHOWN if METRICS[name].direction == "truth" and part == "all"]:
        true = [value(seed, rows[0], (f"{name}_truth", "all")) for seed in seeds]
        lines.append(f"| {name} of the truth | | | {_cell(true, METRICS[name].digits)} |" + " |" * (len(names) - 1))
    return lines


def value(seed: Judged, row: str, key: Key) -> float:
    number = seed["scores"]["rows"].get(row, {}).get("metrics", {}).get(key[0], {}).get(key[1])
    return math.nan if number is None else number


def behaved(seed: Judged, *path: str) -> float:
    """A number of how our model behaves; NaN where it was not asked, or where there is none."""
    found = seed.get("behaviour", {})
    for name in path:
        found = found.get(name, {})
    return math.nan if found is None or found == {} else found


def min_of(values: Iterable[float]) -> float:
    """NaN where one of them is."""
    values = list(values)
    return math.nan if any(math.isnan(number) for number in values) else min(values)


def digits(seeds: Sequence[Judged], names: Sequence[str], key: Key) -> int:
    sizes = [abs(value(seed, name, key)) for seed in seeds for name in names]
    largest = max((size for size in sizes if math.isfinite(size)), default=0.0)
    return max(METRICS[key[0]].digits, min(8, 2 - math.floor(math.log10(largest)))) if largest > 1e-8 else METRICS[key[0]].digits


def _cell(values: Sequence[float], places: int) -> str:
    there = [number for number in values if math.isfinite(number)]
    if not there:
        return "-"
    three = (min(there), statistics.fmean(there), max(there))
    low, mean, high = (f"{round(number, places) + 0.0:.{places}f}" for number in three)  # no -0.0
    counted = f", {len(there)} of {len(values)} seeds" if len(there) < len(values) else ""
    return (mean if len(there) == 1 else f"{mean} [{low}, {high}]") + counted


# Differences ------------------------------------------------------------------------------------------------------------------------


def differences(seeds: Sequence[Judged], rows: Sequence[str]) -> list[str]:
    if OURS not in rows or len(seeds) < 2:
        return ["(needs our row and two seeds)"]
    others = [row for row in (*rows, *UNTRAINED) if row != OURS]
    lines = [
        "Row minus ours, mean over seeds with a 95 % interval (Student's t over seeds, paired: the same dialogues).",
        "",
        f"| metric | better | {' | '.join(ROWS[row].title if row in ROWS else row for row in others)} |",
        "|---|---|" + "---:|" * len(others),
    ]
    for key in SHOWN:
        places = digits(seeds, [OURS, *others], key)
        cells = []
        for row in others:
            low, mean, high = paired([value(seed, row, key) - value(seed, OURS, key) for seed in seeds])
            cells.append("-" if math.isnan(mean) else f"{mean:+.{places}f} [{low:+.{places}f}, {high:+.{places}f}]")
        told = f"{key[0]} {key[1]}" if key[1] != "all" else key[0]
        lines.append(f"| {told} | {DIRECTION_MARKS[METRICS[key[0]].direction]} | {' | '.join(cells)} |")
    return lines


def paired(differences: Sequence[float]) -> tuple[float, float, float]:
    """95 % interval and mean of a few differences: low, mean, high."""
    count, mean = len(differences), float(np.mean(differences))
    half = float(student.ppf(0.975, count - 1) * np.std(differences, ddof=1) / math.sqrt(count))
    return mean - half, mean, mean + half


# Verdicts ---------------------------------------------------------------------------------------------------------------------------


def verdicts(seeds: Sequence[Judged], rows: Sequence[str], speeds: Mapping[str, float]) -> list[str]:
    """Each number asked for, what was found, and whether that is enough; what was not measured is said, too."""
    lines = []

    def check(told: str, found: float, enough: Callable[[float], bool], limit: str) -> None:
        verdict = "not measured" if math.isnan(found) else "reached" if enough(found) else "NOT REACHED"
        lines.append(f"- {told}: {'-' if math.isnan(found) else f'{found:.3f}'} (asked: {limit}): **{verdict}**")

    def mean_of(get: Callable[[Judged], float]) -> float:
        return statistics.fmean(get(seed) for seed in seeds)

    def ratio(key: Key) -> float:
        return mean_of(lambda seed: value(seed, OURS, key) / value(seed, "own", key))

    for key in (("L_FD", "exp"), ("L_FD", "pose"), ("L_FD_pooled", "exp"), ("L_FD_pooled", "pose")):
        check(f"{' '.join(key)}, ours over single speaker", ratio(key), lambda x: x < 1, "below 1")
    truth = mean_of(lambda seed: value(seed, OURS, ("nod_sync_truth", "all")))
    gap = {row: abs(mean_of(lambda seed, row=row: value(seed, row, ("nod_sync", "all"))) - truth) for row in (OURS, "own")}
    check("nod_sync: distance from the truth's, ours less single speaker's", gap[OURS] - gap["own"], lambda x: x < 0, "below 0")
    check("speaking LVE_max, ours over single speaker", ratio(("LVE_max", "speaking")), lambda x: x <= 1.03, "at most 1.03")
    for name, words, enough, limit in (
        ("head_while_listening", "listening heads change", lambda x: x > 0.05, "above 0.05"),
        ("lip_opening_while_speaking", "the opening of speaking lips changes", lambda x: x <= 0.05, "at most 0.05"),
        ("lips_while_speaking", "speaking lips, all their vertices, change", lambda x: x <= 0.05, "at most 0.05"),
    ):
        share = mean_of(lambda seed, name=name: behaved(seed, "muted_partner", name))
        check(f"partner muted: {words} by, of their motion", share, enough, limit)
    for told in ("told", "not_told"):

        def worst(group: str, *names: str, told: str = told) -> float:
            return min_of(behaved(seed, group, told, name) for seed in seeds for name in names)

        synthetic = worst("exchanged", "as_recorded", "exchanged")
        words = f"synthetic, indicator {told}: own-minus-partner correlation, worse order and seed"
        check(words, synthetic, lambda x: x > 0.25, "above 0.25")
        real = worst("real", "mouth_sync", "mouth_sync_exchanged")
        check(f"real exchanges, indicator {told}: the same", real, lambda x: x > 0.25, "above 0.25")
        rest = worst("real", "at_rest")
        check(f"real exchanges, indicator {told}: lips at rest while only the other speaks", rest, lambda x: x >= 0.9, "at least 0.9")
    plain = speeds.get("generating, log-mel, guidance off", math.nan) + speeds.get("encoding, log-mel", math.nan)
    check("real-time factor, log-mel, guidance off, encoding included", plain, lambda x: x < 0.6, "below 0.6")
    return lines


def behaviours(seeds: Sequence[Judged]) -> list[str]:
    """A small table for each way in which the inputs were changed."""
    found = [seed["behaviour"] for seed in seeds if "behaviour" in seed]
    if not found:
        return ["(needs our row)"]
    lines = [
        "Means over seeds; in brackets, the smallest and largest of them. One noise serves all dialogues of a seed, and the model is told"
        " nobody's face: numbers differ a little from the table above."
    ]
    for group, explained in BEHAVIOURS.items():
        each = [one[group] for one in found if group in one]  # real recordings are not everywhere
        if each:
            cases = each if isinstance(next(iter(each[0].values())), Mapping) else [{"": one} for one in each]
            lines += ["", explained, "", *_case_table(cases)]
    return lines


def _case_table(each: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Cases are rows, measures columns; one mapping a seed."""
    measures = next(iter(each[0].values()))
    lines = [f"| | {' | '.join(name.replace('_', ' ') for name in measures)} |", "|---|" + "---:|" * len(measures)]
    for case in each[0]:
        cells = [_cell([math.nan if one[case][name] is None else one[case][name] for one in each], 3) for name in measures]
        lines.append(f"| {case.replace('_', ' ')} | {' | '.join(cells)} |")
    return lines
