"""Line charts as SVG text: no plotting library, no script, colours from the page's style sheet so that light and dark both work."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 46  # margins of the plotting area
MOST_POINTS = 400  # per curve; more than the pixels there are to draw them
NUM_COLORS = 6  # the style sheet defines --series-0 ... --series-5


Numbers = Sequence[float | int] | np.ndarray


@dataclass(frozen=True)
class Curve:
    """One line. Points that are not finite are left out."""

    label: str
    x: Numbers
    y: Numbers
    dashed: bool = False  # for controls and references
    markers: bool = False  # for curves of few points


@dataclass(frozen=True)
class Chart:
    title: str
    curves: Sequence[Curve]
    x_label: str
    y_label: str
    log_scale: bool = False  # of the values
    smooth: bool = False  # draw a running mean over the faint raw line
    note: str = ""


@dataclass(frozen=True)
class _Axis:
    low: float | int
    high: float | int
    start: float | int  # pixel of low
    end: float | int  # pixel of high
    log: bool = False

    def __call__(self, value: np.ndarray | float) -> np.ndarray | float:
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        value = np.log10(value) if self.log else value
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        return _log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)


def chart_figure(chart: Chart) -> str:
    """The chart with its legend and title as one HTML figure."""
    curves = [_usable(curve, chart.log_scale) for curve in chart.curves]
    legend = "".join(
        f'<span class="key{" dashed" if curve.dashed else ""}" style="--color:var(--series-{i % NUM_COLORS})">{escape(curve.label)}</span>'
        for i, curve in enumerate(chart.curves)
    )
    note = f'<p class="note">{escape(chart.note)}</p>' if chart.note else ""
    drawing = _drawing(chart, curves) if any(len(x) for x, _ in curves) else '<p class="empty">No values were recorded.</p>'
    title = f"<figcaption>{escape(chart.title)}</figcaption>"
    return f'<figure class="card chart">{title}<div class="legend">{legend}</div>{drawing}{note}</figure>'


def _drawing(chart: Chart, curves: list[tuple[np.ndarray, np.ndarray]]) -> str:
    x, y = (np.concatenate([curve[k] for curve in curves]) for k in (0, 1))
    x_low, x_high = float(x.min()), float(x.max())
    x_axis = _Axis(x_low, x_high if x_high > x_low else x_low + 1, LEFT, WIDTH - RIGHT)
    y_axis = _Axis(*_value_range(y, chart.log_scale), HEIGHT - BOTTOM, TOP, chart.log_scale)
    parts = [_grid(x_axis, y_axis), _labels(chart)]
    for i, (curve, (cx, cy)) in enumerate(zip(chart.curves, curves, strict=True)):
        if len(cx) == 0:
            continue
        cx, cy = _thinned(cx, cy)
        style = f'stroke="var(--series-{i % NUM_COLORS})"' + (' stroke-dasharray="6 4"' if curve.dashed else "")
        if chart.smooth and len(cx) > 10:
            parts.append(f'<path class="raw" d="{_path(x_axis(cx), y_axis(cy))}" {style}/>')
            cy = running_mean(cy, max(3, len(cy) // 20))
        parts.append(f'<path class="line" d="{_path(x_axis(cx), y_axis(cy))}" {style}/>')
        if curve.markers or len(cx) == 1:
            parts += [
                f'<circle cx="{x_axis(px):.1f}" cy="{y_axis(py):.1f}" r="3.2" fill="var(--series-{i % NUM_COLORS})">'
                f"<title>{escape(curve.label)}: {number(py)} at {number(px)}</title></circle>"
                for px, py in zip(cx, cy, strict=True)
            ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title, quote=True)}">{"".join(parts)}</svg>'


def _grid(x_axis: _Axis, y_axis: _Axis) -> str:
    parts = []
    for tick in y_axis.ticks():
        at = f"{y_axis(tick):.1f}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at}" dy="0.34em" text-anchor="end">{number(tick)}</text>')
    for tick in x_axis.ticks():
        at, anchor = x_axis(tick), "middle" if x_axis(tick) < WIDTH - RIGHT - 12 else "end"
        parts.append(f'<line class="tick" x1="{at:.1f}" x2="{at:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 4}"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="{anchor}">{number(tick)}</text>')
    return "".join(parts) + f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'


def _labels(chart: Chart) -> str:
    scale = " (log)" if chart.log_scale else ""
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return (
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(chart.x_label)}</text>'
        f'<text class="label" transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">{escape(chart.y_label)}{scale}</text>'
    )


def _usable(curve: Curve, log_scale: bool) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(curve.x, float), np.asarray(curve.y, float)
    assert x.shape == y.shape and x.ndim == 1, f"curve {curve.label!r}: one x for each y"
    fine = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (not log_scale))
    return x[fine], y[fine]


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most MOST_POINTS points, each the mean of its neighbours, so that a thinned noisy line does not alias."""
    if len(x) <= MOST_POINTS:
        return x, y
    groups = np.array_split(np.arange(len(x)), MOST_POINTS)
    return np.array([x[g].mean() for g in groups]), np.array([y[g].mean() for g in groups])


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Centred running mean; at the ends over what there is, and as far to the left as to the right so that it does not lag."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    reach = np.minimum(np.minimum(places, len(values) - 1 - places), window)
    return (total[places + reach + 1] - total[places - reach]) / (2 * reach + 1)


def _value_range(y: np.ndarray, log: bool) -> tuple[float, float]:
    """Outliers (a first loss ten times the rest) may leave the top in linear charts only when they would flatten everything else."""
    low, high = float(y.min()), float(y.max())
    if log:
        return (low / 1.15, high * 1.15) if high > low else (low / 2, high * 2)
    margin = 0.06 * (high - low) if high > low else max(abs(high), 1.0) * 0.5
    return (0.0 if 0 <= low < 0.4 * high else low - margin), high + margin


def linear_ticks(low: float | int, high: float | int, target: int = 5) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) within [low, high], about ``target`` of them."""
    rough = (high - low) / target
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 5, 6, 8)):
        ticks = [m * 10.0**d for d in decades for m in multiples if low <= m * 10.0**d <= high]
        if len(ticks) >= 3:
            return ticks
    return linear_ticks(low, high, 4)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def number(value: float | int) -> str:
    """A short axis label: 12k, 0.05, 1.5e-4."""
    value = float(value)
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.4g}k"
    if abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"
