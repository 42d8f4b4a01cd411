"""The amplitude that a tracker lost is found again where drawings fit best.

Faults planted, each seen red: the gain divided by, the parabola over the gain instead of its logarithm, a killed trial made twice.
"""

import math
from dataclasses import replace

import filmed_people
import pytest
import torch
from filmed_people import faces, film_people
from tiny_films import tiny_stage2

from mango.data.json_files import read_json, write_json
from mango.errors import InputError
from mango.training import calibration
from mango.training.label_bank import LabelBank
from mango.training.optim import make_learner
from mango.training.run import Run
from mango.training.runtime import Runtime
from mango.training.stage2_config import CalibrationConfig
from mango.training.studio import most_filmed, open_studio

LOST = 1.5  # how much more the mouths of the film move than their labels say


@pytest.fixture(scope="module")
def scene(tmp_path_factory, head):
    def more(flat, quiet):
        rest = flat[quiet if quiet.sum() >= 10 else slice(None)].median(0).values
        return rest + LOST * (flat - rest)

    folder = tmp_path_factory.mktemp("calibration")
    film_people(folder, head, more)
    return folder


def config_of(scene, head, **changes):
    return filmed_people.config_of(scene, head, calibration=CalibrationConfig(steps=1, lessons=4), **changes)


def test_the_lost_amplitude_is_found(scene, head, tmp_path):
    config = config_of(scene, head, run=tmp_path / "run", bank=replace(tiny_stage2(scene, scene / "film", head).bank, rest="tracked"))
    studio, learners = open_studio(config, Runtime(config.runtime))
    labels = dict(learners.bank.labels)
    with Run(config.run, config) as run:
        calibration.begin(run, studio, learners)
    gain, belongs = read_json(config.run / calibration.FILE)["gain"], faces(head)
    assert gain == pytest.approx(LOST, rel=0.1)
    for key, before in labels.items():
        after = learners.bank.bank[key]
        torch.testing.assert_close(after.std(0)[belongs], gain * before.std(0)[belongs], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(after[:, ~belongs], before[:, ~belongs])


def test_shut_eyes_have_no_greater_say(scene, head, tmp_path, monkeypatch):
    """Frames of shut eyes are drawn oftener elsewhere; what calibration sees does not depend on how much. Planted: the run's lessons."""
    seen = []
    for often in (0.0, 50.0):
        config = config_of(scene, head, run=tmp_path / str(often), shut_eyes=often)
        studio, learners = open_studio(config, Runtime(config.runtime))
        whole = studio.lessons.windows.batch(studio.lessons.seed, 1, studio.lessons.num_windows)
        liveliest = int(whole.motion.flatten(0, -2).amax(0).argmax())  # passes for lids
        studio.lessons.lids = studio.trials.lids = [liveliest]
        shots = []
        monkeypatch.setattr(calibration, "teach_head", lambda _studio, _trial, lesson, _step, shots=shots: shots.append(lesson.shots))
        with Run(config.run, config) as run:
            calibration.drawing_error(run, studio, learners, 1.0)
        seen.append((shots, studio.lessons.at(1).shots))
    assert seen[0][0] == seen[1][0] and len(seen[0][0]) == 1
    assert seen[0][1] != seen[1][1], "the run itself does look at shut eyes oftener"


def test_a_few_people_are_asked_and_all_are_told(scene, head, tmp_path):
    """Noticed: everybody asked, those with the fewest pictures, people without labels; the bank of the others left as it was."""
    config = config_of(scene, head, run=tmp_path / "run", bank=replace(tiny_stage2(scene, scene / "film", head).bank, rest="tracked"))
    config = replace(config, calibration=replace(config.calibration, people=1))
    studio, learners = open_studio(config, Runtime(config.runtime))
    frames = dict.fromkeys(learners.heads, 0)
    for held in studio.lessons.windows.dialogues:
        for person, keep in zip(held.people, held.keep, strict=True):
            frames[person] += int(keep.sum())
    asked = max(frames, key=frames.get)
    assert len(set(frames.values())) > 1 and set(studio.trials.windows.clips.values()) == {asked} == set(studio.trials.at(1).people)
    before = dict(learners.bank.labels)
    with Run(config.run, config) as run:
        calibration.begin(run, studio, learners)
    gain = read_json(config.run / calibration.FILE)["gain"]
    assert gain == pytest.approx(LOST, rel=0.1)
    for key, motion in before.items():
        torch.testing.assert_close(learners.bank.bank[key].std(0)[faces(head)], gain * motion.std(0)[faces(head)], rtol=1e-3, atol=1e-5)


def test_who_never_speaks_is_not_asked(scene, head, tmp_path):
    """Seen red: of a film of whoever listens most, no mouth says how far it opens."""
    config = config_of(scene, head, run=tmp_path / "run")
    windows = open_studio(config, Runtime(config.runtime))[0].lessons.windows
    first, *_ = most_filmed(windows, 1)
    for held in windows.dialogues:
        for person, speaking in zip(held.people, held.speaking, strict=True):
            if person == first:
                speaking.zero_()
    assert first not in most_filmed(windows, 9) and most_filmed(windows, 9)
    for held in windows.dialogues:
        held.speaking.zero_()
    assert most_filmed(windows, 1) == (first,), "nobody is heard: told by calibration itself"


def test_a_trial_is_judged_by_the_mean_over_its_lessons(scene, head, tmp_path):
    """Noticed: the last lesson's error over all lessons' frames."""
    errors = []
    for lessons in (1, 4):
        config = config_of(scene, head, run=tmp_path / str(lessons))
        studio, learners = open_studio(replace(config, calibration=CalibrationConfig(steps=1, lessons=lessons)), Runtime(config.runtime))
        with Run(config.run, config) as run:
            errors.append(calibration.drawing_error(run, studio, learners, 1.0))
    assert errors[1] == pytest.approx(errors[0], rel=0.4)


def test_finished_trials_are_not_made_again_and_a_gain_is_taken_over(scene, head, tmp_path, monkeypatch, capsys):
    config = config_of(scene, head, run=tmp_path / "run")
    studio, learners = open_studio(config, Runtime(config.runtime))
    write_json(config.run / calibration.FILE, {"errors": {"1.0": 3.0}, "gain": None})
    tried = []

    def error(run, studio, learners, gain):
        tried.append(gain)
        return 2.0 + (gain - 1.4) ** 2

    monkeypatch.setattr(calibration, "drawing_error", error)
    with Run(config.run, config) as run:
        gain = calibration.measured_gain(run, studio, learners)
    assert tried == [1.4, 2.0] and calibration.known_gain(config.run) == gain
    for begun in (False, True):  # or stopped during its trials
        if begun:
            write_json(tmp_path / calibration.FILE, {"errors": {"1.0": 3.0}, "gain": None})
        with pytest.raises(InputError, match=r"calibration.*--measure-gain"):
            calibration.known_gain(tmp_path)
    taken = replace(config, run=tmp_path / "taken", calibration=replace(config.calibration, known=config.run))
    with Run(taken.run, taken) as run:
        calibration.begin(run, *open_studio(taken, Runtime(taken.runtime)))
    assert calibration.known_gain(taken.run) == gain, "and from there again"
    assert f"movements are taken {gain:.2f} times as large as labelled, as in {config.run}" in capsys.readouterr().out


def test_silence_measures_nothing(scene, head, tmp_path):
    """Seen red: after all its trials 1.00 was found, the least of no errors."""
    config = config_of(scene, head, run=tmp_path / "run")
    studio, learners = open_studio(config, Runtime(config.runtime))
    for held in studio.trials.windows.dialogues:
        held.speaking.zero_()
    with Run(config.run, config) as run, pytest.raises(InputError, match="people who are heard to speak, found silence in all films"):
        calibration.measured_gain(run, studio, learners)


def test_another_bank_is_told_before_weights_are_read(scene, head, tmp_path):
    """Seen red: a person more in the set, and a complete checkpoint was said to lack a file."""
    config = replace(config_of(scene, head, run=tmp_path / "run"), calibration=CalibrationConfig(gains=()))
    studio, learners = open_studio(config, Runtime(config.runtime))
    with Run(config.run, config) as run:
        calibration.begin(run, studio, learners)
        run.save(1, learners.all, learners.tensors)
    known, more = next(iter(learners.bank.labels)), ("d9", "a")
    grown = [{**of, more: of[known]} for of in (learners.bank.labels, learners.bank.silent)]
    learners.bank = LabelBank(*grown, learners.bank.held, {**learners.bank.necks, more: learners.bank.necks[known]})
    learners.heads["p9"] = make_learner("head/p9", torch.nn.Linear(1, 1), config.head_optimizer, 1)
    with Run(config.run, config) as run, pytest.raises(InputError, match=r"label bank: expected the clips of this run.*d9/a"):
        calibration.begin(run, studio, learners)


def test_the_lowest_point():
    curve = {gain: 5 + (math.log(gain) - math.log(1.5)) ** 2 for gain in (1.0, 1.4, 2.0)}
    assert calibration.best_gain(curve) == pytest.approx(1.5)
    assert calibration.best_gain({1.0: 1.0, 1.4: 2.0, 2.0: 1.5}) == 1.0, "bent downwards: the best of those tried"
    assert calibration.best_gain({1.0: 3.0, 1.4: 2.0, 2.0: 1.2}) == 2.0, "not beyond what was tried"
    assert calibration.best_gain({}) == 1.0


def test_movements_grow_about_rest():
    """Noticed: growth about zero, about the mean of speech, of channels that shall stay."""
    motion = torch.tensor([[1.0, 1.0]] * 12 + [[3.0, 3.0]] * 4)
    silent = torch.arange(16) < 12
    bank = LabelBank(
        {("d", "a"): motion}, {("d", "a"): silent}, torch.zeros(motion.shape[1], dtype=torch.bool), {("d", "a"): torch.zeros(16, 3)}
    )
    grown = bank.amplified(torch.tensor([2.0, 1.0]))
    assert grown.bank["d", "a"][0].tolist() == [1, 1] and grown.bank["d", "a"][-1].tolist() == [5, 3]
    assert torch.equal(grown.labels["d", "a"], grown.bank["d", "a"]) and torch.equal(bank.bank["d", "a"], motion)
