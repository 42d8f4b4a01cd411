"""Faults noticed: hours of work of which a log file says nothing, a line for every dialogue in it, a bar's noise."""

import pytest

from mango import progress
from mango.progress import Progress, progress_bar


@pytest.fixture
def clock(monkeypatch):
    """Seconds pass when they are told to."""
    now = [1000.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def test_a_log_file_hears_of_long_work_once_a_minute(clock, capsys):
    """Planted and seen red: a line at every update, none at all, a rate that counts what an earlier command did."""
    with Progress("stage1", "steps", done=1000, total=2000) as bar:
        for step in range(1001, 1301):
            clock[0] += 1.0
            bar.note(f"loss {step}")
            bar.update(step, 2000)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"stage1: {done} of 2000 steps, {left} remaining; loss {done}"
        for done, left in ((1060, "0:15:40"), (1120, "0:14:40"), (1180, "0:13:40"), (1240, "0:12:40"), (1300, "0:11:40"))
    ]
    assert not printed.err


def test_short_work_says_nothing_and_what_is_done_neither(clock, capsys):
    with progress_bar("packing", "dialogues") as told:
        for done in range(1, 11):
            clock[0] += 0.1
            told(done, 10)
        clock[0] += 3600.0
        told(10, 10)
    assert capsys.readouterr() == ("", "")


def test_other_processes_are_silent(clock, capsys):
    with progress_bar("reading", "dialogues", shown=False) as told:
        clock[0] += 61.0
        told(1, 10)
    assert capsys.readouterr() == ("", "")


def test_commands_tell_on_stderr(clock, capsys):
    """What they print may be read by another program."""
    with progress_bar("importing [x]", "recordings") as told:
        clock[0] += 90.0
        told(3, 9)
    assert capsys.readouterr() == ("", "importing [x]: 3 of 9 recordings, 0:03:00 remaining\n")
