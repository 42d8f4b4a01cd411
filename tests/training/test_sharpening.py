"""What a tracker's smoothing took from lips is found again where drawings fit best.

Faults planted, each seen red: sharpened in silence, eyelids sharpened, errors of the last lesson alone, sharpened after every step.
"""

from dataclasses import replace

import filmed_people
import pytest
import torch
from filmed_people import faces, film_people
from tiny_films import tiny_stage2

from mango.data.json_files import read_json
from mango.errors import InputError
from mango.training import sharpening
from mango.training.alternation import Phase, Schedule
from mango.training.drawn_mouths import DrawingError
from mango.training.registration import correction
from mango.training.run import Every, Run
from mango.training.runtime import Runtime
from mango.training.sharpening import sharpen_when_due, smoothed
from mango.training.stage2_config import CalibrationConfig, SharpeningConfig
from mango.training.studio import open_studio

LOST, FRAMES = 2.0, 7  # the film has so much more of what a filter over so many frames takes away


@pytest.fixture(scope="module")
def scene(tmp_path_factory, head):
    folder = tmp_path_factory.mktemp("sharpening")
    film_people(folder, head, lambda flat, quiet: flat + LOST * (flat - smoothed(flat, FRAMES)))
    return folder


def config_of(scene, head, **changes):
    return filmed_people.config_of(
        scene,
        head,
        calibration=CalibrationConfig(gains=()),
        bank=replace(tiny_stage2(scene, scene / "film", head).bank, rest="tracked"),
        schedule=Schedule((), (Phase("head", 1), Phase("motion", 1))),
        sharpening=SharpeningConfig(at=(0.5,), amounts=(0.0, 1.0, 2.0, 3.0), lessons=6, frames=FRAMES),
        **{"steps": 8, **changes},
    )


def opened(config):
    studio, learners = open_studio(config, Runtime(config.runtime))
    for held in studio.lessons.windows.dialogues:
        held.speaking.fill_(1.0)  # everybody speaks all the time
    return studio, learners


def test_what_is_silent_is_asked_of_lips_too(scene, head, monkeypatch):
    """Of `mango.training.studio.silence`. Noticed: a bank that believes the indicator alone."""
    monkeypatch.setattr("mango.training.studio.silence", lambda head, motion, speaking, keep: torch.arange(len(speaking)) < 7)
    config = config_of(scene, head)
    _, learners = open_studio(config, Runtime(config.runtime))
    assert all(quiet.sum() == 7 and quiet[:7].all() for quiet in learners.bank.silent.values())


def test_what_was_smoothed_away_is_found(scene, head, tmp_path):
    config = config_of(scene, head, run=tmp_path / "run")
    studio, learners = opened(config)
    before, labels = dict(learners.bank.bank), dict(learners.bank.labels)
    with Run(config.run, config) as run:
        for step in range(1, 9):
            sharpen_when_due(run, studio, learners, step)
            assert step >= 4 or learners.bank.bank == before, "only after the second of four steps of the motion model, which is the fourth"
    noted = read_json(config.run / sharpening.FILE)
    assert list(noted) == ["2"] and noted["2"]["amount"] == pytest.approx(LOST, abs=0.5)
    changed = faces(head) & ~learners.bank.held
    for key, motion in before.items():
        after = learners.bank.bank[key]
        expected = motion + noted["2"]["amount"] * (motion - smoothed(motion, FRAMES))
        torch.testing.assert_close(after[:, changed], expected[:, changed])
        assert torch.equal(after[:, ~changed], motion[:, ~changed])
        assert torch.equal(learners.bank.labels[key], labels[key])


def test_a_run_that_gets_more_steps_is_not_sharpened_again(scene, head, tmp_path):
    """Its moments are shares of all steps, and so are later ones now."""
    config = config_of(scene, head, run=tmp_path / "run", every=Every(0, 0, 0))
    studio, learners = opened(config)
    with Run(config.run, config) as run:
        sharpen_when_due(run, studio, learners, 4)
    longer = replace(config, steps=16)
    studio, learners = opened(longer)
    with Run(longer.run, longer) as run:
        before = dict(learners.bank.bank)
        sharpen_when_due(run, studio, learners, 8)
        assert learners.bank.bank == before and list(read_json(config.run / sharpening.FILE)) == ["2"]


def test_a_mouth_outside_its_picture_says_nothing(scene, head, tmp_path):
    """Seen red: its error was NaN, and so was that of all; the run ended in a traceback about JSON."""
    config = config_of(scene, head, run=tmp_path / "run")
    studio, learners = opened(config)
    told = DrawingError(studio, learners)
    lesson = studio.lessons.at(1)
    told.add(lesson)
    whole = told.mean()
    lesson.recorded.landmarks[0] += 1000.0
    told = DrawingError(studio, learners)
    told.add(lesson)
    assert told.mean() != whole and told.mean() == pytest.approx(whole, rel=0.5)
    assert float(told.weights) == pytest.approx(1 - 1 / len(lesson.shots))


def test_silence_stays_as_it_is(scene, head, tmp_path):
    """Also where lips are apart in it, so that it says nothing of rest. Seen red: sharpened wherever the bank does not rest."""
    config = config_of(scene, head, run=tmp_path / "run")
    studio, learners = opened(config)
    held = studio.lessons.windows.dialogues[0]
    held.speaking[0, :20], key = 0.0, (held.id, "a")
    learners.bank.silent[key][:] = False
    after, before = sharpening.sharpened(studio, learners.bank, 1.0)[key], learners.bank.bank[key]
    fading = sharpening.FADE // 2
    assert torch.equal(after[: 20 - fading], before[: 20 - fading])
    torch.testing.assert_close((after - before)[20 + fading :, 0], (before - smoothed(before, FRAMES))[20 + fading :, 0])


def test_trying_changes_nothing(scene, head, tmp_path):
    config = config_of(scene, head, run=tmp_path / "run")
    studio, learners = opened(config)
    state = {name: tensor.clone() for name, tensor in learners.bank.state().items()}
    once = sharpening.drawing_errors(studio, learners, 4)
    assert all(torch.equal(tensor, state[name]) for name, tensor in learners.bank.state().items())
    assert sharpening.drawing_errors(studio, learners, 4) == once


def test_all_amounts_are_drawn_in_the_head_poses_registered_for_the_first(scene, head, tmp_path, monkeypatch):
    """Noticed: poses as tracked for the later ones; poses registered again."""
    corrections = []
    monkeypatch.setattr("mango.training.stage2.correction", lambda *given: corrections.append(1) or correction(*given))
    config = config_of(scene, head, run=tmp_path / "run")
    config = replace(config, sharpening=replace(config.sharpening, amounts=(0.0, 1e-6)))
    studio, learners = opened(config)
    for neck in learners.bank.necks.values():
        neck += torch.where(torch.arange(len(neck)) % 2 == 0, 0.05, -0.05)[:, None]  # what all have in common is not believed
    first, second = sharpening.drawing_errors(studio, learners, 4).values()
    tracked, _ = sharpening.drawing_errors(sharpening.as_registered(studio), learners, 4).values()
    assert tracked > 1.1 * first and second == pytest.approx(first, rel=0.01)  # of a frame that is shown twice the second pose stays
    assert len(corrections) == config.sharpening.lessons * config.registration.iterations


def test_the_mean_over_lessons_is_the_error(scene, head, tmp_path):
    """Noticed: the last lesson's error over all lessons' frames."""
    config = config_of(scene, head, run=tmp_path / "run")
    studio, learners = opened(config)
    few = replace(studio, config=replace(config, sharpening=replace(config.sharpening, lessons=1)))
    assert sharpening.drawing_errors(studio, learners, 4)[0.0] == pytest.approx(sharpening.drawing_errors(few, learners, 4)[0.0], rel=0.4)


def test_smoothing_keeps_constants_and_the_length():
    ramp = torch.arange(20.0)[:, None]
    torch.testing.assert_close(smoothed(torch.ones(9, 2), 7), torch.ones(9, 2))
    torch.testing.assert_close(smoothed(ramp, 5)[4:-4], ramp[4:-4])


@pytest.mark.parametrize("wrong", [{"frames": 4}, {"at": (1.0,)}, {"amounts": ()}, {"lessons": 0}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(InputError, match=r"at: \[\] leaves sharpening out"):
        SharpeningConfig(**wrong)
