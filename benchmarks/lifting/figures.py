"""python -m benchmarks.lifting.figures --out runs/lifting --scale small --seeds 1,2,3 --to docs/lifting --page docs/lifting.md

Draws what the rows of finished seeds showed, and prints the tables and the summary as Markdown; with --page into that page too.

    opening.png   lip opening over the passage with most p, b and m: truth, tracker, stage one, stage two
    frames.png    around one closure of that passage: recorded, stage one and stage two, drawn with one avatar
    rows.png      every row's lip error over longer stage one's
    dialogues.png the lip errors of stage two and of longer stage one against the number of training dialogues

Passages and frames are chosen by the true phones and the true motion, never by what a model did. Pillow draws, with the font that it
brings: it comes with diffusers and tensorboard, so no plotting library has to be installed for four pictures.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from benchmarks.command import run
from benchmarks.lifting import report
from benchmarks.lifting.rows import ROWS
from benchmarks.lifting.scales import scale_of
from benchmarks.lifting.sweeps import VARIANTS, variants_of
from benchmarks.lifting.training import Bench
from benchmarks.page import write_between
from mango.audio.encoders import make_encoder
from mango.data.atomic import atomic_file
from mango.data.dialogues import DialogueSet
from mango.data.json_files import read_json
from mango.data.pictures import PictureBatch, Pictures
from mango.data.truth import Truth
from mango.errors import InputError
from mango.evaluation.protocol import mover, redrawn
from mango.head.model import load_head
from mango.inference.generation import GenerationConfig
from mango.training.avatars import read_avatars
from mango.training.picture_losses import MOUTH
from mango.training.stage1 import load_motion_model
from mango.types import FRAME_RATE, Phone

BILABIALS = ("P", "B", "M")
PASSAGE = 3 * FRAME_RATE  # frames
AROUND = (-4, -2, 0, 2, 4)  # frames of the strip, from the closure's middle
ASKED = 0.82  # mean ratio to pass

Clip = tuple[str, str]  # dialogue, side


@dataclass(frozen=True)
class Options:
    out: Path = Path("runs/lifting")
    scale: Literal["ci", "small", "full"] = "small"
    seeds: str = "1,2,3"  # the first one also gives the passage and the strip
    to: Path = Path("docs/lifting")
    page: Path | None = None  # the tables are written here, between marks of their own
    split: str = "test"
    untried: str = ""  # seeds on which nothing was chosen, left out of the others' interval: where do they fall?


@dataclass(frozen=True)
class Outcome:
    """One finished seed."""

    bench: Bench
    content: Mapping  # its lifting.json

    @property
    def scores(self) -> Mapping[str, Mapping]:
        return report.scores_in(self.content)


def main(options: Options) -> int:
    outcomes, later = ([outcome(options, seed) for seed in numbers(of)] for of in (options.seeds, options.untried))
    if not outcomes:
        raise InputError("--seeds", expected="at least one seed", found="none", remedy="name some, as 1,2,3")
    first, of_all, of_first = outcomes[0], made_by(outcomes), made_by(outcomes[:1])
    window = passage(first)
    drawn: dict[str, Callable[[], Sheet]] = {
        "opening": lambda: opening_chart(first, window, of_first),
        "frames": lambda: frame_strip(first, window, of_first),
        "rows": lambda: row_bars(outcomes, of_all),
        "dialogues": lambda: dialogues_chart(over_dialogues(outcomes, options.split), of_all),
    }
    for name, draw in drawn.items():
        try:
            draw().save(options.to / f"{name}.png")
            print(f"![{name}]({options.to / name}.png)\n")
        except Missing as missing:
            print(f"{name}.png is left out: {missing}\n")
    swept = {VARIANTS[name].title: contents for name, contents in variants(outcomes, options.split).items()}
    frozen = {"the frozen data": [each.content for each in outcomes if compared(each.content)]}
    contents, untried = ([each.content for each in some] for some in (outcomes, later))
    summary = report.summary(contents, untried)
    sweeps = [report.sweep(frozen | swept)] if swept else []
    tables = "\n\n".join([small_print(outcomes + later) + ".", *map(report.markdown, contents + untried), summary, *sweeps])
    print(tables)
    if options.page is not None:
        write_between(options.page, "benchmarks.lifting", tables)
    return 0


def numbers(text: str) -> list[int]:
    """Of "1,2,3"."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        raise InputError("seeds", expected="numbers with commas between them", found=repr(text), remedy="write them as 1,2,3")
    return [int(word) for word in words]


class Missing(Exception):
    """What a figure needs is not there yet; the other figures are drawn."""


def outcome(options: Options, seed: int) -> Outcome:
    bench = Bench(options.out, scale_of(options.scale, seed), seed)
    path = report.file_of(bench, options.split)
    if not path.exists():
        remedy = f"run python -m benchmarks.lifting --seed {seed} --scale {options.scale} --out {options.out}"
        raise InputError(path, expected="the scores of a finished seed", found="no such file", remedy=remedy)
    return Outcome(bench, read_json(path))


def made_by(outcomes: Sequence[Outcome]) -> str:
    """Where the numbers come from: the commits that rows were trained by, and scored by."""
    facts = [each.content["facts"] for each in outcomes]
    seeds = ", ".join(str(fact["seed"]) for fact in facts)
    by = ", ".join(f"{done} by {', '.join(short_names(facts, done))}" for done in ("trained", "scored"))
    return f"{facts[0]['scale']}, seed {seeds}, {facts[0]['split']} split, {by}"


def small_print(outcomes: Sequence[Outcome]) -> str:
    """The same with digests of the code; a mixture is said, not hidden."""
    facts = [each.content["facts"] for each in outcomes]
    codes = sorted({fact["code"] for fact in facts})
    mixed = "" if len(codes) == 1 else "  DIFFERENT CODE PER SEED"
    return f"{made_by(outcomes)}, code {', '.join(codes)}{mixed}"


def short_names(facts: Sequence[Mapping], done: str) -> list[str]:
    """Short names of the commits by which rows were ``trained`` or ``scored``."""
    names = {commit for fact in facts for commit in fact[f"{done}_by"]}
    return sorted(name[:7] + ("+changes" if name.endswith("+changes") else "") for name in names)


# What is shown ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Passage:
    clip: Clip
    frames: range
    phones: tuple[Phone, ...]  # its bilabials


def passage(of: Outcome, length: int = PASSAGE) -> Passage:
    """The stretch in which most p, b and m begin, over the clips whose openings were kept; of equals the first clip's middle one."""
    truth, most, found = Truth.open(of.bench.data), -1, None
    for name, opening in of.content["truth"]["opening"].items():
        id, side = name.split("/")
        phones = [phone for phone in truth.phones(id, side) if phone.symbol in BILABIALS]
        begin = np.array([int(phone.start * FRAME_RATE) for phone in phones], dtype=int)
        starts = np.arange(max(1, len(opening) - length + 1))
        counts = ((begin >= starts[:, None]) & (begin < starts[:, None] + length)).sum(1)
        if counts.max() > most:
            most, equals = int(counts.max()), starts[counts == counts.max()]
            start = int(equals[len(equals) // 2])
            frames = range(start, min(start + length, len(opening)))
            found = Passage((id, side), frames, tuple(phone for phone, at in zip(phones, begin, strict=True) if at in frames))
    assert found is not None, "a split has clips"
    return found


def shown_closure(of: Outcome, window: Passage) -> int:
    """The frame in which the truly most visible closure is tightest: lips most open within four frames on either side."""
    opening = np.array(of.content["truth"]["opening"]["/".join(window.clip)])
    reach = max(AROUND)

    def visible(phone: Phone) -> tuple[float, int]:
        frames = np.arange(int(phone.start * FRAME_RATE), min(math.ceil(phone.end * FRAME_RATE) + 1, len(opening)))
        tightest = int(frames[opening[frames].argmin()])
        before, after = opening[max(0, tightest - reach) : tightest], opening[tightest + 1 : tightest + 1 + reach]
        return min(before.max(initial=0), after.max(initial=0)) - opening[tightest], tightest

    inside = [found for found in map(visible, window.phones) if reach <= found[1] < len(opening) - reach]
    if not inside:
        raise Missing("no p, b or m in the passage has frames on both sides")
    return max(inside)[1]


def opening_chart(of: Outcome, window: Passage, small: str) -> "Sheet":
    """Lip opening over the passage, closures shaded."""
    name = "/".join(window.clip)
    sources = {"truth": of.content["truth"], "tracker's labels": of.content["labels"]}
    sources |= {title: of.scores[row] for row, title in (("stage1", "stage one"), ("stage2", "stage two")) if row in of.scores}
    curves = {title: np.array(source["opening"][name])[window.frames.start : window.frames.stop] for title, source in sources.items()}
    seconds = np.array(window.frames) / FRAME_RATE
    top = max(float(curve.max()) for curve in curves.values())
    sheet = Sheet(880, 400)
    length = f"{len(seconds) / FRAME_RATE:g} s"
    sheet.title("Lip opening", f"held-out dialogue {window.clip[0]}, person {window.clip[1]}: the {length} with most p, b and m (shaded)")
    bottom = min(0.0, *(float(curve.min()) for curve in curves.values()))
    plot = Plot(sheet, (64, 100, 860, 332), (float(seconds[0]), float(seconds[-1])), (bottom, 1.06 * top))
    for phone in window.phones:
        low, high = (min(max(time, seconds[0]), seconds[-1]) for time in (phone.start, phone.end))
        sheet.band((plot.x(low), 100, plot.x(high), 332), SHADE)
        sheet.text(((plot.x(low) + plot.x(high)) / 2, 92), phone.symbol.lower(), 12, INK_FAINT, "mm")
    plot.axes("seconds", "mm")
    for title, curve in curves.items():
        color, width, dashes = STYLES[title]
        sheet.line([(plot.x(t), plot.y(v)) for t, v in zip(seconds, curve, strict=True)], color, width, dashes)
    sheet.legend((64, 66), [(title, *STYLES[title]) for title in curves])
    sheet.small(small)
    return sheet


@torch.no_grad()
def frame_strip(of: Outcome, window: Passage, small: str) -> "Sheet":
    """Recorded pictures, and stage two's avatar moved by what each stage made of the sound; head pose and camera are the tracker's."""
    bench, (id, side), middle = of.bench, window.clip, shown_closure(of, window)
    folder = bench.run("stage2") / "avatars"
    if not folder.is_dir():
        raise Missing(f"{folder}: no avatars")
    head, dialogues = load_head(), DialogueSet.open(bench.data)
    dialogue, avatars = dialogues.dialogue(id), read_avatars(folder, head)
    pictures = Pictures(dialogues, [(id, side)], torch.full((3,), 0.5))
    recorded = pictures.read([(id, side, middle + step) for step in AROUND])
    rows = {"recorded": recorded.colors}
    for row, title in (("stage1", "stage one"), ("stage2", "stage two")):
        model, description, encoder = load_motion_model(bench.run(row), head=head)
        with torch.inference_mode():
            moved = mover(model, description, make_encoder(encoder), head, GenerationConfig(seed=0))(dialogue)
        rows[title] = redrawn(moved[side], dialogue.side(side).motion, recorded, avatars, head, pictures.background)
    size, left, top, at_closure = 126, 84, 88, AROUND.index(0)
    sheet = Sheet(880, top + 3 * (size + 5) + 32)
    sheet.title("A closure, frame by frame", f"held-out dialogue {id}, person {side}; both stages move the same avatar, stage two's")
    mouth = mouth_box(recorded)
    places = [left + size + 12 + k * (size + 4) for k in range(len(AROUND))]
    for x, step in zip(places, AROUND, strict=True):
        closed = ", truly closed" if step == 0 else ""
        sheet.text((x + size / 2, top - 10), f"{(middle + step) / FRAME_RATE:.2f} s{closed}", 12, INK, "mm")
    sheet.text((left + size / 2, top - 10), f"{middle / FRAME_RATE:.2f} s", 12, INK, "mm")
    for n, (title, colors) in enumerate(rows.items()):
        y = top + n * (size + 5)
        drawn = [Image.fromarray((color.clamp(0, 1) * 255).round().to(torch.uint8).numpy()) for color in colors]
        sheet.text((left - 8, y + size / 2), title, 13, INK, "rm")
        sheet.picture((left, y), size, drawn[at_closure])
        for x, picture in zip(places, drawn, strict=True):
            sheet.picture((x, y), size, picture, mouth)
    sheet.small(f"{small}; {recorded.size[1]} x {recorded.size[0]} pixels, head pose and camera the tracker's")
    return sheet


def mouth_box(recorded: PictureBatch) -> tuple[float, float, float, float]:
    """One square for all rows and frames: around the tracker's mouth landmarks, pixels."""
    points = recorded.landmarks[:, MOUTH].flatten(0, 1)
    low, high = points.amin(0), points.amax(0)
    x, y = ((low + high) / 2).tolist()
    half = 0.75 * float((high - low).max())
    return x - half, y - half, x + half, y + half


@dataclass(frozen=True)
class Bar:
    title: str
    ratios: tuple[float, ...]  # by seed
    between: tuple[float, float] | None  # 95 %; of few dialogues there is none
    kind: str


KINDS = {
    "method": "stage two and its variants",
    "control": "controls: no picture, or pictures that tell the wrong story",
    "reference": "rivals and diagnostics: refitted labels, true motion",
}


def kind_of(row: str) -> str:
    if row in (*report.CONTROLS, *report.LONGER, "offset", "calibrated", "stage1"):
        return "control"
    return "reference" if row in ("oracle", "true_head", "refit", "refit_5") else "method"


def bars(outcomes: Sequence[Outcome]) -> list[Bar]:
    """Each row over the better longer stage one of its seed. Whiskers: other dialogues of the same people, mean over seeds."""
    found = []
    for row in ROWS:
        having = [each for each in outcomes if row in each.scores and report.longer_of(each.scores)]
        if having:
            ratios = tuple(report.ratio(each.scores, row) for each in having)
            between = report.interval([each.scores for each in having], row)
            seeds = "" if len(having) == len(outcomes) else f" (seed {', '.join(str(each.bench.seed) for each in having)})"
            found.append(Bar(ROWS[row].title + seeds, ratios, between, kind_of(row)))
    return found


def row_bars(outcomes: Sequence[Outcome], small: str) -> "Sheet":
    shown = bars(outcomes)
    if not shown:
        raise Missing("no seed has a longer stage one to compare with")
    each, top, left = 27, 112, 330
    bottom = top + each * len(shown)
    sheet = Sheet(880, bottom + 74)
    sheet.title(
        "Lip error over longer stage one's",
        "LVE max on held-out dialogues, against stage one trained as long without pictures; below 1 is better",
    )
    most = max(1.15, *(max(bar.between or (0.0,)) for bar in shown), *(max(bar.ratios) for bar in shown))  # room for what stands at 1
    plot = Plot(sheet, (left, top, 856, bottom), (0.0, 1.04 * most), (0.0, 1.0))
    for value, words in ((ASKED, f"asked of the mean {ASKED}"), (1.0, "longer stage one")):
        sheet.line([(plot.x(value), top - 4), (plot.x(value), bottom)], INK, 1.2, (4, 3) if value < 1 else None)
        sheet.text((plot.x(value) + (-4 if value < 1 else 4), top - 12), words, 11, INK, "rm" if value < 1 else "lm")
    for k, bar in enumerate(shown):
        y, mean = top + each * (k + 0.5), sum(bar.ratios) / len(bar.ratios)
        sheet.text((left - 10, y), bar.title, 12.5, INK, "rm")
        sheet.band((plot.x(0), y - 9, plot.x(mean), y + 9), BARS[bar.kind])
        if bar.between is not None:
            sheet.line([(plot.x(end), y - 4) for end in bar.between], INK, 1.4)
            for end in bar.between:
                sheet.line([(plot.x(end), y - 7), (plot.x(end), y - 1)], INK, 1.4)
        for ratio in bar.ratios:
            sheet.dot((plot.x(ratio), y + 4), 2.6, INK)
        sheet.text((plot.x(0) + 6, y), f"{mean:.2f}", 12, PAPER, "lm")
    plot.scale("ratio of LVE max (no unit)")
    present = {bar.kind for bar in shown}
    sheet.swatches((20, 70), [(KINDS[kind], BARS[kind]) for kind in KINDS if kind in present])
    sheet.small(f"bar: mean over seeds; dots: seeds; whisker: 95 % interval for other dialogues; {small}")
    return sheet


def over_dialogues(outcomes: Sequence[Outcome], split: str) -> dict[int, list[tuple[float, float]]]:
    """Number of training dialogues -> errors of longer stage one and of stage two by seed: the frozen set's and those of the variants."""
    contents = {outcomes[0].bench.scale.data.train: [each.content for each in outcomes if compared(each.content)]}
    contents |= {int(name.removeprefix("dialogues-")): found for name, found in variants(outcomes, split, "dialogues-").items()}
    return {count: [report.errors(report.scores_in(content)) for content in found] for count, found in sorted(contents.items()) if found}


def compared(content: Mapping) -> bool:
    return {report.EQUAL_STEPS, "stage2"} <= content["rows"].keys()


def variants(outcomes: Sequence[Outcome], split: str, prefix: str = "") -> dict[str, list[Mapping]]:
    """Variant of the data -> what was found on it, by seed; only those that have stage two and as many steps of stage one."""
    found: dict[str, list[Mapping]] = {}
    for each in outcomes:
        for name, bench in variants_of(each.bench, prefix).items():
            if (path := report.file_of(bench, split)).exists():
                content = read_json(path)
                if compared(content):
                    found.setdefault(name, []).append(content)
    return found


def dialogues_chart(found: Mapping[int, Sequence[tuple[float, float]]], small: str) -> "Sheet":
    """Both errors, not their ratio alone: it also falls where the control gets worse."""
    if len(found) < 2:
        raise Missing("only one number of dialogues has been run; run python -m benchmarks.lifting --scale full --variant dialogues-10")
    sheet, counts = Sheet(560, 400), list(found)
    sheet.title("Lip error against the number of dialogues", "LVE max on held-out dialogues, equal steps for all; numbers: ratio")
    most = max(error for seeds in found.values() for pair in seeds for error in pair)
    plot = Plot(sheet, (64, 118, 540, 330), (math.log(counts[0]) - 0.3, math.log(counts[-1]) + 0.3), (0.0, 1.1 * most))
    plot.axes("training dialogues (log scale)", "mm", ticks={math.log(count): str(count) for count in counts})
    sheet.swatches((20, 70), [("longer stage one", BARS["control"]), ("stage two", BARS["method"])])
    for which, color in enumerate((BARS["control"], BARS["method"])):
        means = {count: sum(pair[which] for pair in pairs) / len(pairs) for count, pairs in found.items()}
        sheet.line([(plot.x(math.log(count)), plot.y(mean)) for count, mean in means.items()], color, 2.6)
        for count, pairs in found.items():
            for pair in pairs:
                sheet.dot((plot.x(math.log(count)), plot.y(pair[which])), 3.6, INK)
    for count, pairs in found.items():
        ratio = sum(taught / longer for longer, taught in pairs) / len(pairs)
        between = sum(longer + taught for longer, taught in pairs) / (2 * len(pairs))
        sheet.text((plot.x(math.log(count)), plot.y(between)), f"{ratio:.2f}", 12.5, INK, "mm")
    sheet.small(f"line: mean; dots: seeds; {small}")
    return sheet


# Drawing ----------------------------------------------------------------------------------------------------------------------

Color = tuple[int, int, int]
Point = tuple[float, float]
Dashes = tuple[int, int] | None
PAPER, INK, INK_FAINT, GRID, SHADE = (255, 255, 255), (36, 41, 47), (110, 119, 129), (225, 228, 232), (238, 240, 243)
STYLES: Mapping[str, tuple[Color, float, Dashes]] = {  # colours that the colour-blind tell apart, and darkness as well
    "truth": (INK, 3.4, None),
    "tracker's labels": ((140, 147, 156), 1.8, (5, 4)),
    "stage one": ((213, 94, 0), 2.0, None),
    "stage two": ((0, 114, 178), 2.6, None),
}
BARS: Mapping[str, Color] = {"method": (0, 114, 178), "control": (140, 147, 156), "reference": (170, 120, 50)}
PIXELS, FINER = 2, 2  # a figure's pixels per unit, and how much finer it is drawn before it is brought down


class Sheet:
    """A light card with a border, so that it reads on light and on dark pages. Units: pixels of a page; drawn finer."""

    def __init__(self, width: int, height: int):
        self.width, self.height, self.unit = width, height, PIXELS * FINER
        self.photographic = False  # a palette, a third of the size, does for lines and bars but not for faces
        self.image = Image.new("RGB", (width * self.unit, height * self.unit), PAPER)
        self.pen = ImageDraw.Draw(self.image)
        self.pen.rectangle((0, 0, width * self.unit - 1, height * self.unit - 1), outline=GRID, width=self.unit)

    def text(self, at: Point, words: str, size: float, color: Color = INK, anchor: str = "la") -> float:
        """Returns its width."""
        font = ImageFont.load_default(size * self.unit)
        self.pen.text((at[0] * self.unit, at[1] * self.unit), words, fill=color, font=font, anchor=anchor)
        return font.getlength(words) / self.unit

    def title(self, words: str, below: str) -> None:
        self.text((20, 14), words, 19)
        self.text((20, 42), below, 12.5, INK_FAINT)

    def small(self, words: str) -> None:
        self.text((20, self.height - 18), words, 10, INK_FAINT)

    def line(self, points: Sequence[Point], color: Color, width: float = 1.0, dashes: Dashes = None) -> None:
        for piece in [points] if dashes is None else dashed(points, dashes):
            self.pen.line([(x * self.unit, y * self.unit) for x, y in piece], fill=color, width=round(width * self.unit), joint="curve")

    def band(self, box: tuple[float, float, float, float], color: Color) -> None:
        self.pen.rectangle([value * self.unit for value in box], fill=color)

    def dot(self, at: Point, radius: float, color: Color) -> None:
        """With a rim of paper, so that dots over a bar and over one another are seen."""
        for reach, fill in ((radius + 1, PAPER), (radius, color)):
            self.pen.ellipse([(value + sign * reach) * self.unit for sign in (-1, 1) for value in at], fill=fill)

    def picture(self, at: Point, size: int, picture: Image.Image, box: tuple[float, float, float, float] | None = None) -> None:
        large = picture.resize((size * self.unit, size * self.unit), Image.Resampling.BICUBIC, box=box)
        self.photographic = True
        self.image.paste(large, (round(at[0] * self.unit), round(at[1] * self.unit)))

    def legend(self, at: Point, entries: Sequence[tuple[str, Color, float, Dashes]]) -> None:
        x, y = at
        for words, color, width, dashes in entries:
            self.line([(x, y + 6), (x + 26, y + 6)], color, width, dashes)
            x += 34 + self.text((x + 32, y + 6), words, 12.5, INK, "lm") + 20

    def swatches(self, at: Point, entries: Sequence[tuple[str, Color]]) -> None:
        x, y = at
        for words, color in entries:
            self.band((x, y, x + 14, y + 12), color)
            x += 22 + self.text((x + 20, y + 6), words, 12, INK, "lm") + 18

    def save(self, path: Path) -> None:
        small = self.image.resize((self.width * PIXELS, self.height * PIXELS), Image.Resampling.LANCZOS)
        with atomic_file(path) as partial:
            (small if self.photographic else small.quantize(256)).save(partial, format="PNG", optimize=True)


@dataclass(frozen=True)
class Plot:
    """Where values lie on a sheet."""

    sheet: Sheet
    box: tuple[float, float, float, float]  # left, top, right, bottom
    across: tuple[float, float]  # values at left and right
    up: tuple[float, float]  # values at bottom and top

    def x(self, value: float) -> float:
        left, _, right, _ = self.box
        return left + (value - self.across[0]) / (self.across[1] - self.across[0]) * (right - left)

    def y(self, value: float) -> float:
        _, top, _, bottom = self.box
        return bottom - (value - self.up[0]) / (self.up[1] - self.up[0]) * (bottom - top)

    def scale(self, words: str, ticks: Mapping[float, str] | None = None) -> None:
        """The axis below."""
        left, _, right, bottom = self.box
        for value, mark in (ticks or marks(*self.across)).items():
            self.sheet.line([(self.x(value), bottom), (self.x(value), bottom + 4)], INK_FAINT)
            self.sheet.text((self.x(value), bottom + 14), mark, 11.5, INK_FAINT, "mm")
        self.sheet.line([(left, bottom), (right, bottom)], INK_FAINT)
        self.sheet.text(((left + right) / 2, bottom + 31), words, 12, INK_FAINT, "mm")

    def axes(self, below: str, beside: str, ticks: Mapping[float, str] | None = None) -> None:
        left, _, right, _ = self.box
        for value, mark in marks(*self.up).items():
            self.sheet.line([(left, self.y(value)), (right, self.y(value))], GRID)
            self.sheet.text((left - 8, self.y(value)), mark, 11.5, INK_FAINT, "rm")
        self.sheet.text((20, self.box[1] - 10), beside, 12, INK_FAINT, "lm")
        self.scale(below, ticks)


def marks(low: float, high: float) -> dict[float, str]:
    """Round numbers within [low, high], and how they are written."""
    from mango.app.charts import linear_ticks, number

    return {value: number(value) for value in linear_ticks(low, high)}


def dashed(points: Sequence[Point], dashes: tuple[int, int]) -> list[list[Point]]:
    """Pieces of a line: so long drawn, so long not."""
    drawn, gap = dashes
    corners = np.array(points, dtype=float)
    along = np.concatenate([[0.0], np.hypot(*np.diff(corners, axis=0).T).cumsum()])

    def at(distance: float) -> Point:
        return float(np.interp(distance, along, corners[:, 0])), float(np.interp(distance, along, corners[:, 1]))

    pieces = []
    for start in np.arange(0.0, along[-1], drawn + gap):
        end = min(start + drawn, along[-1])
        inner = [tuple(corner) for corner, distance in zip(corners.tolist(), along, strict=True) if start < distance < end]
        pieces.append([at(start), *inner, at(end)])
    return pieces


if __name__ == "__main__":
    run(main, Options)
