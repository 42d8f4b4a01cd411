"""Phases of the labels: motion learns from the calibrated labels, no picture is read, and nothing else learns.

Faults planted, each seen red: pictures read all the same, a bank that follows, windows of the same step again and again, a rate that
descends before pictures come or is that of a run's end, phases of the motion that go on counting where those of the labels stopped.
"""

import copy

import pytest
import torch
from tiny_films import make_filmed_set, tiny_stage2

from mango.training.alternation import Phase, Schedule
from mango.training.optim import OptimizerConfig, learning_rate
from mango.training.runtime import Runtime
from mango.training.stage2 import alternate
from mango.training.studio import open_studio

OPENING, RATE = 4, OptimizerConfig(lr=1e-3, warmup=1, ema=0.9)


@pytest.fixture
def begun(tmp_path, head):
    schedule = Schedule(opening=(Phase("labels", OPENING),), cycle=(Phase("motion", 1), Phase("head", 1)))
    films = make_filmed_set(tmp_path / "films", head)
    config = tiny_stage2(tmp_path, films, head, schedule=schedule, steps=OPENING + 12, motion_optimizer=RATE)
    return open_studio(config, Runtime(config.runtime))


def test_only_motion_learns_and_no_picture_is_read(begun, monkeypatch):
    studio, learners = begun
    still = [*learners.avatars.values(), learners.cameras.model]
    before = copy.deepcopy([learners.motion.model.state_dict(), [one.state_dict() for one in still], learners.bank.state()])
    monkeypatch.setattr(studio.lessons.pictures, "read", lambda shots: pytest.fail("a picture was read"))
    steps = list(alternate(studio, learners, range(1, OPENING + 1)))
    assert [active for _, active, _ in steps] == ["labels"] * OPENING
    assert all({"bank_parameters", "total", "gradient_norm"} <= set(losses) for _, _, losses in steps), steps[0][2].keys()
    after = [learners.motion.model.state_dict(), [one.state_dict() for one in still], learners.bank.state()]
    assert any(not torch.equal(value, after[0][name]) for name, value in before[0].items())
    torch.testing.assert_close(after[1:], before[1:], rtol=0.0, atol=0.0)


def test_every_step_has_windows_of_its_own(begun):
    studio, _ = begun
    at = [(studio.windows.at(step).dialogues, studio.windows.at(step).starts) for step in range(1, 9)]
    assert len(set(at)) > 1


def test_the_rate_descends_with_the_pictures(begun):
    studio, learners = begun
    rates = []
    for _, active, _ in alternate(studio, learners, range(1, OPENING + 4)):
        if active != "head":
            rates.append(learners.motion.optimizer.param_groups[0]["lr"])
    assert learners.motion.steps == 6 and rates[:OPENING] == [RATE.lr] * OPENING, "however few steps of the motion are to follow"
    assert rates[OPENING:] == [learning_rate(step, 6, RATE) for step in (1, 2)]


def test_the_average_goes_on_from_the_labels_to_the_pictures(begun, monkeypatch):
    """Seen red: it began anew with the pictures, and what it had of the labels was gone after a few steps."""
    studio, learners = begun
    counted = []
    monkeypatch.setattr(learners.motion.average, "follow", lambda model, updates: counted.append(updates))
    for _ in alternate(studio, learners, range(1, OPENING + 5)):
        pass
    assert counted == [1, 2, 3, 4, 5, 6], "four steps on labels, two on pictures"
