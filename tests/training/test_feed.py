"""Faults planted, each seen red: an item made only when it is asked for, the item of another step given, an error that is not the thread's
own, waiting counted that was none, and time between steps counted as theirs."""

import threading
import time
import traceback

import pytest

from mango.errors import InputError
from mango.training.feed import Feed


class Made:
    """Squares, and who made them when."""

    def __init__(self, seconds: float = 0.0):
        self.seconds, self.threads, self.done = seconds, {}, {step: threading.Event() for step in range(20)}

    def __call__(self, step: int) -> int:
        time.sleep(self.seconds)
        if step == 7:
            raise InputError("d3", expected="frames", found="none", remedy="track it")
        self.threads[step] = threading.current_thread()
        self.done[step].set()
        return step**2


def test_the_next_item_is_made_while_this_one_is_used():
    made = Made()
    feed = Feed(made)
    assert feed.at(1) == 1
    assert made.done[2].wait(10), "nobody has asked for it yet"
    assert threading.current_thread() not in made.threads.values() and len(set(made.threads.values())) == 1


def test_every_step_gets_its_own_item_wherever_it_goes_on():
    feed = Feed(Made())
    assert [feed.at(step) for step in (4, 5, 6, 2, 3, 12)] == [16, 25, 36, 4, 9, 144]


def test_an_error_surfaces_at_its_step_with_its_own_traceback():
    feed = Feed(Made())
    assert feed.at(6) == 36
    with pytest.raises(InputError, match="d3: expected frames, found none; track it") as caught:
        feed.at(7)
    assert "__call__" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert feed.at(8) == 64, "what was wrong with one step is not wrong with the next"


def test_speeds_are_of_the_steps_alone():
    """Made in 30 ms each: a loop that does nothing waits for all of them, one of 100 ms for none. Bounds leave a busy machine room."""
    feed = Feed(Made(seconds=0.03))
    for step in (1, 9, 2, 10):  # none of them ahead
        feed.at(step)
        feed.learnt(10)
        time.sleep(0.3)  # validation
    idle = feed.speeds()
    assert idle["waiting_for_data"] > 0.8 and 80 < idle["samples_per_second"] < 334
    for step in range(11, 15):
        feed.at(step)
        time.sleep(0.1)
        feed.learnt(10)
    busy = feed.speeds()
    assert busy["waiting_for_data"] < 0.15 and 40 < busy["samples_per_second"] < 101
