"""Who learns when: phases as data."""

from collections.abc import Sequence
from dataclasses import dataclass

from mango.errors import InputError

LEARNERS = ("head", "motion", "labels")


@dataclass(frozen=True)
class Phase:
    """For ``steps`` steps one learner learns and the other is frozen."""

    learner: str  # head (avatars and cameras), motion, or labels: motion without pictures, from calibrated labels alone
    steps: int  # one after the other

    def __post_init__(self):
        if self.learner not in LEARNERS or self.steps < 1:
            raise InputError(
                "phases", expected=f"a learner ({', '.join(LEARNERS)}) and at least one step", found=str(self), remedy="mend it"
            )


@dataclass(frozen=True)
class Schedule:
    """``opening`` runs once, then ``cycle`` again and again. The paper's order: renderer alone first, then in turn.

    Before pictures say anything to it, motion learns from the calibrated labels: it comes from labels of another size, and such a step
    costs less than half of another.
    """

    opening: tuple[Phase, ...] = (Phase("head", 240), Phase("labels", 480))  # once
    cycle: tuple[Phase, ...] = (Phase("head", 1), Phase("motion", 3))  # again and again

    def __post_init__(self):
        if not self.cycle:
            remedy = "for avatars alone write cycle: [{learner: head, steps: 1}]"
            raise InputError("schedule.cycle", expected="at least one phase", found="none", remedy=remedy)


def phase_at(step: int, schedule: Schedule) -> Phase:
    """The phase that step ``step`` (counted from 0) belongs to."""
    opening = sum(phase.steps for phase in schedule.opening)
    if step < opening:
        return _within(step, schedule.opening)
    return _within((step - opening) % sum(phase.steps for phase in schedule.cycle), schedule.cycle)


def end_of_opening(learner: str, schedule: Schedule) -> int | None:
    """The step, counted from 1, with which the opening's last phase of this learner ends; None where it has no such phase."""
    ends = [sum(phase.steps for phase in schedule.opening[: number + 1]) for number in range(len(schedule.opening))]
    return max((end for end, phase in zip(ends, schedule.opening, strict=True) if phase.learner == learner), default=None)


def learned_before(step: int, learner: str, schedule: Schedule) -> int:
    """How many of the steps before ``step`` belonged to ``learner``: the step its own learning-rate schedule is at."""
    opening = sum(phase.steps for phase in schedule.opening)
    cycles, rest = divmod(max(0, step - opening), sum(phase.steps for phase in schedule.cycle))
    whole = cycles * _of(learner, schedule.cycle, until=None)
    return _of(learner, schedule.opening, until=min(step, opening)) + whole + _of(learner, schedule.cycle, until=rest)


def _of(learner: str, phases: Sequence[Phase], until: int | None) -> int:
    """Steps of one learner among the first ``until`` steps of these phases."""
    counted, start = 0, 0
    for phase in phases:
        end = start + phase.steps if until is None else min(start + phase.steps, until)
        counted += max(0, end - start) * (phase.learner == learner)
        start += phase.steps
    return counted


def _within(step: int, phases: Sequence[Phase]) -> Phase:
    for phase in phases:
        if step < phase.steps:
            return phase
        step -= phase.steps
    raise AssertionError("a step beyond its phases")
