"""What an evaluation holds: rows of metrics, each with its interval and with how many clips it rests on."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from mango.evaluation.catalogue import PUBLISHED_SCALING
from mango.evaluation.intervals import jackknife_interval, mean_of

Key = tuple[str, str]  # metric and part, e.g. ("FD", "jaw")
Value = Callable[[Float[np.ndarray, "summands"]], float]


@dataclass(frozen=True)
class Score:
    """One number of a table. NaN where no clip defines it."""

    value: float
    interval: tuple[float, float] | None  # 95 %, over dialogues
    used: int  # clips (one person of one dialogue)
    skipped: int  # clips for which the metric is not defined

    def times(self, scale: float) -> "Score":
        interval = self.interval and (self.interval[0] * scale, self.interval[1] * scale)
        return Score(self.value * scale, interval, self.used, self.skipped)


@dataclass(frozen=True)
class Row:
    """One system: a checkpoint, a folder of predictions, the labels."""

    scores: Mapping[Key, Score]  # scaled as the evaluation says
    unscaled: Mapping[Key, Score]
    clips: Mapping[str, int] = field(default_factory=dict)  # that it rests on, and their frames
    speed: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Evaluation:
    """Everything that `mango evaluate` found; the row called ``main`` is the one asked about, others stand beside it."""

    main: str
    rows: Mapping[str, Row]
    scaled: bool  # by the published factors
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass
class _Gathered:
    value: Value
    sums: dict[str, Float[np.ndarray, "summands"]] = field(default_factory=dict)  # by dialogue
    used: int = 0
    skipped: int = 0


class Tally:
    """Gathers the clips of one row."""

    def __init__(self) -> None:
        self._gathered: dict[Key, _Gathered] = {}

    def add(self, dialogue: str, values: Mapping[Key, float]) -> None:
        """One clip's numbers, to be averaged; NaN counts as skipped."""
        for key, value in values.items():
            known = not math.isnan(value)
            self.add_sums(dialogue, key, np.array([value, 1.0]) if known else np.zeros(2), mean_of, used=known)

    def add_sums(
        self,
        dialogue: str,
        key: Key,
        summands: Float[np.ndarray, "summands"],
        value: Value,
        *,
        used: bool = True,
    ) -> None:
        """One clip's part of a number over the whole set: ``value`` of the sum of all summands."""
        gathered = self._gathered.setdefault(key, _Gathered(value))
        before = gathered.sums.get(dialogue)
        gathered.sums[dialogue] = summands if before is None else before + summands
        gathered.used, gathered.skipped = gathered.used + used, gathered.skipped + (not used)

    def row(self, clips: Mapping[str, int], *, scaled: bool, speed: Mapping[str, object] | None = None) -> Row:
        """Of these clips with so many frames. ``scaled``: by the published factors of DualTalk's tables."""
        with one_blas_thread():
            unscaled = {key: _score(gathered) for key, gathered in self._gathered.items()}
        factors = {key: PUBLISHED_SCALING.get(key, 1.0) if scaled else 1.0 for key in unscaled}
        return Row({key: score.times(factors[key]) for key, score in unscaled.items()}, unscaled, clips, speed)


def one_blas_thread() -> AbstractContextManager:
    """Matrices of 50 dimensions are slower with more threads: twice, on two busy cores. And k-means adds up in one order."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)


def _score(gathered: _Gathered) -> Score:
    summands = np.stack(list(gathered.sums.values()))
    value = gathered.value(summands.sum(0))
    interval = jackknife_interval(summands, gathered.value) if math.isfinite(value) else None
    return Score(value, interval, gathered.used, gathered.skipped)
