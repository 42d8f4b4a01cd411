"""Lips that labels leave open and a film shows closed are closed in the label bank, and stay so.

Faults planted, each seen red: the worse drawing believed, silence asked too, frames that are not kept asked, closed once and not at every
pin, closures lost when a run is gone on with, asked at every step of the head.
"""

from dataclasses import replace

import filmed_people
import pytest
import torch
from filmed_people import film_people
from tiny_dialogues import FRAMES

from mango.data.dialogues import DialogueSet
from mango.training.alternation import Phase, Schedule, end_of_opening
from mango.training.label_bank import BankConfig
from mango.training.run import Run
from mango.training.runtime import Runtime
from mango.training.seen_closures import close_when_due, closed_in_pictures, open_mouths
from mango.training.stage2_config import CalibrationConfig, ClosuresConfig
from mango.training.studio import open_studio


def closes(frames: int) -> torch.Tensor:
    """Two frames in eight."""
    return torch.arange(frames) % 8 < 2


@pytest.fixture(scope="module")
def scene(tmp_path_factory, head):
    folder, jaw = tmp_path_factory.mktemp("closures"), head.layout.where("jaw_pose").start

    def moved(flat, quiet):
        shown = flat.clone()
        shown[closes(len(flat)), jaw] = 0.0
        return shown

    film_people(folder, head, moved)
    return folder


def config_of(scene, head, **changes):
    return filmed_people.config_of(
        scene,
        head,
        calibration=CalibrationConfig(gains=()),
        schedule=Schedule((Phase("head", 2), Phase("labels", 1)), (Phase("head", 1), Phase("motion", 1))),
        **{"steps": 8, **changes},
    )


@pytest.fixture(scope="module")
def opened(scene, head):
    config = config_of(scene, head)
    return open_studio(config, Runtime(config.runtime))


def test_closures_that_the_film_shows_are_found(opened, scene):
    studio, learners = opened
    asked = open_mouths(studio, learners)
    found, dialogues = closed_in_pictures(studio, learners, asked), DialogueSet.open(scene / "film")
    assert len(asked) > 100 and len(set(asked)) == len(asked)
    for (id, name), shut in found.items():
        side = dialogues.dialogue(id).side(name)
        speech = (side.speaking >= 0.5) & side.track.keep
        assert {frame for dialogue, whose, frame in asked if (dialogue, whose) == (id, name)} <= set(speech.nonzero()[:, 0].tolist())
        assert torch.equal(shut, closes(FRAMES[id]) & speech), (id, name)


def test_closed_lips_stay_closed(opened):
    """However far the model carries the bank. Other frames, and what is held, are not touched."""
    bank = opened[1].bank
    key, shut = next(iter(bank.bank)), {name: closes(len(motion)) for name, motion in bank.bank.items()}
    before = {name: motion.clone() for name, motion in bank.bank.items()}
    bank.close(shut)
    for name, motion in bank.bank.items():
        assert bank.opening(name)[shut[name]].max() < 1e-6
        torch.testing.assert_close(motion[~shut[name]], before[name][~shut[name]])
        torch.testing.assert_close(motion[:, bank.held], before[name][:, bank.held])
    kept = bank.state()
    wide = torch.full((20,), 0.02)[:, None] * bank.rest.direction + bank.bank[key][:20]
    bank.follow(key, 0, wide, torch.ones(20, dtype=torch.bool), BankConfig(rate=1.0, edge=0))
    assert bank.opening(key)[:20][shut[key][:20]].min() > 0.01
    bank.pin()
    assert bank.opening(key)[shut[key]].max() < 1e-6 and bank.opening(key)[:20][~shut[key][:20]].max() > 0.01
    bank.shut = {name: torch.zeros_like(frames) for name, frames in shut.items()}
    bank.restore(kept)
    assert all(torch.equal(bank.shut[name], frames) for name, frames in shut.items())


def test_it_is_asked_once_when_the_opening_of_avatars_ends(scene, head, tmp_path):
    """Seen red: at every step of the head."""
    config = config_of(scene, head, run=tmp_path / "run", closures=ClosuresConfig(pictures=30))
    studio, learners = open_studio(config, Runtime(config.runtime))
    said = []
    with Run(config.run, config) as run:
        run.say = said.append
        for step in range(1, 9):
            close_when_due(run, studio, learners, step)
            assert [len(said), any(shut.any() for shut in learners.bank.shut.values())] == ([0, False] if step < 2 else [2, True])
    assert said[0] == "looking for closed lips in 30 pictures of speech" and said[1].startswith("lips are closed in ")


@pytest.mark.parametrize("change", ["nothing to look at", "rest as tracked", "motion never learns", "no opening"])
def test_it_is_not_asked_in_vain(scene, head, tmp_path, change):
    config = config_of(scene, head, run=tmp_path / "run")
    config = {
        "nothing to look at": replace(config, closures=ClosuresConfig(pictures=0)),
        "rest as tracked": replace(config, bank=replace(config.bank, rest="tracked")),
        "motion never learns": replace(config, steps=2),
        "no opening": replace(config, schedule=replace(config.schedule, opening=())),
    }[change]
    studio, learners = open_studio(config, Runtime(config.runtime))
    with Run(config.run, config) as run:
        run.say = lambda text: pytest.fail(text)
        for step in range(1, config.steps + 1):
            close_when_due(run, studio, learners, step)


def test_where_the_opening_of_a_learner_ends():
    opening = (Phase("head", 3), Phase("labels", 5), Phase("head", 2), Phase("labels", 1))
    schedule = Schedule(opening, (Phase("motion", 1),))
    assert [end_of_opening(learner, schedule) for learner in ("head", "labels", "motion")] == [10, 11, None]
