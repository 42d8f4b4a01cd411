"""Phases are a pure function of the step."""

import pytest

from mango.errors import InputError
from mango.training.alternation import Phase, Schedule, learned_before, phase_at

SCHEDULE = Schedule(opening=(Phase("head", 3),), cycle=(Phase("head", 1), Phase("motion", 2)))


def test_the_opening_runs_once_and_the_cycle_again_and_again():
    who = [phase_at(step, SCHEDULE).learner for step in range(9)]
    assert who == ["head"] * 3 + ["head", "motion", "motion"] * 2


def test_learners_count_their_own_steps():
    assert [learned_before(step, "motion", SCHEDULE) for step in range(9)] == [0, 0, 0, 0, 0, 1, 2, 2, 3]


def test_unknown_learner_is_refused():
    with pytest.raises(InputError, match="head, motion, labels"):
        Phase("camera", 1)


def test_counting_is_what_walking_through_the_phases_gives():
    other = Schedule((Phase("labels", 2), Phase("head", 1)), (Phase("motion", 3), Phase("head", 2), Phase("labels", 1)))
    for schedule in (SCHEDULE, other):
        for learner in ("head", "motion", "labels"):
            for step in range(40):
                walked = sum(phase_at(earlier, schedule).learner == learner for earlier in range(step))
                assert learned_before(step, learner, schedule) == walked
