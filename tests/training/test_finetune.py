"""What fine-tuning does for an effort, and what it says.

Faults planted, each seen red: the gain of the checkpoint taken over although it shall be measured, a trial step that changes what learns,
held-out pictures of other people.
"""

import tarfile
from dataclasses import replace

import pytest
import torch
from tiny_films import make_filmed_set, tiny_stage2

from mango.data.dialogues import DialogueSet
from mango.data.json_files import write_json
from mango.data.packing import pack
from mango.data.shards import DialoguesLeftOut
from mango.errors import InputError
from mango.training import finetune as finetuning
from mango.training.alternation import Phase, Schedule
from mango.training.avatar_prior import add, attributes
from mango.training.avatars import new_avatars, save_avatars
from mango.training.finetune import (
    EFFORTS,
    Effort,
    FinetuneConfig,
    expected_minutes,
    growth_during,
    quality,
    stage2_config,
)
from mango.training.runtime import Runtime
from mango.training.seen_closures import open_mouths
from mango.training.stage2_config import CalibrationConfig
from mango.training.studio import open_studio, picture_learners


@pytest.fixture(scope="module")
def filmed(tmp_path_factory, head):
    return make_filmed_set(tmp_path_factory.mktemp("finetune"), head)


def test_efforts_differ_in_length_and_grow_only_when_asked(filmed, tmp_path):
    films = DialogueSet.open(filmed)
    config = lambda **changes: stage2_config(FinetuneConfig(filmed, "p0", tmp_path, tmp_path / "out", **changes), films)  # noqa: E731
    assert config(effort="quick").steps == EFFORTS["quick"].head_steps, "an avatar alone"
    assert not finetuning.learns_to_move(config(effort="quick")), "seen red: an adapter that does nothing was written, and recommended"
    assert finetuning.learns_to_move(config(effort="normal"))
    assert config().density is None, "crumbs are worse than soft hair"
    for effort in EFFORTS:
        grown = config(effort=effort, grow=True)
        opening = grown.schedule.opening[0].steps
        assert sum(map(grown.density.refines, range(1, opening + 1))) == 6 and not grown.density.refines(opening)
    assert config(effort="best", head_steps=5, cycles=2).steps == 13
    assert config().windows * config().pictures == 8, "one person's pictures: more at once teach little more"
    assert config().looks_penalty > 0, "a short film says little about expressions"
    assert config().calibration.known == tmp_path and config(measure_gain=True).calibration.known is None


def test_a_short_film_is_not_learnt_by_heart(filmed, tmp_path, monkeypatch):
    """No frame is looked at more than `LOOKS` times unless that is asked for."""
    dialogues = DialogueSet.open(filmed)
    frames = sum(dialogues.describe(id).frames for id in dialogues.split("train"))
    assert finetuning.frames_of(dialogues, "train", "p0") == frames and finetuning.frames_of(dialogues, "train", "nobody") == 0
    (id, *_) = dialogues.split("train")
    told = dialogues.dialogue(id)
    half = {side: replace(of, track=replace(of.track, keep=torch.arange(told.frames) % 2 == 0)) for side, of in told.sides.items()}
    monkeypatch.setattr(DialogueSet, "dialogue", lambda self, _: replace(told, sides=half))
    seen = len([id for id in dialogues.split("train") if "p0" in dialogues.describe(id).people.values()]) * -(-told.frames // 2)
    assert finetuning.frames_of(dialogues, "train", "p0") == seen, "seen red: frames that nothing learns from were counted"
    monkeypatch.undo()
    monkeypatch.setattr(finetuning, "LOOKS", 30)  # too few of this film for a normal effort
    looks = 30 * frames // 8
    of = lambda **changes: stage2_config(FinetuneConfig(filmed, "p0", tmp_path, tmp_path / "out", **changes), dialogues)  # noqa: E731
    assert EFFORTS["quick"].head_steps < looks < EFFORTS["best"].head_steps
    assert [effort.steps for effort in EFFORTS.values()] == [200, 800, 2200] and of(effort="quick").steps == 200
    for effort in ("normal", "best"):
        assert looks - 5 < of(effort=effort).steps <= looks, "of avatar and motion together"
    assert of(head_steps=5_000, cycles=0).steps == 5_000


def test_an_effort_that_is_cut_short_is_no_worse_than_a_smaller_one():
    """Seen red: of films below 18 seconds the best effort's adapter had fewer steps than the normal one's."""
    assert finetuning.of_at_most("normal", 400) == Effort(200, 50) and finetuning.of_at_most("quick", 100) == Effort(100, 0)
    for steps in (94, 799, 800, 801, 1_500, 2_199, 2_200, 9_000):
        normal, best = (finetuning.of_at_most(effort, steps) for effort in ("normal", "best"))
        assert best.head_steps >= normal.head_steps and best.cycles >= normal.cycles and best.steps <= steps
    assert best == EFFORTS["best"] and normal == EFFORTS["normal"]


def test_films_tracked_anew_need_a_new_run(filmed, tmp_path):
    """Seen red: schedules that nobody had touched were "undo the change"."""
    config = FinetuneConfig(filmed, "p0", tmp_path, tmp_path / "out")
    films = finetuning.films_of(config)
    write_json(tmp_path / "out" / "run.json", {"dataset": films.facts["dataset"]})
    finetuning._check_begun_on_these(config, films)
    write_json(tmp_path / "out" / "run.json", {"dataset": "x", "begun": {"dataset": "y"}})
    with pytest.raises(
        InputError, match=r"out: expected a run on the films of .* as they are now, found one that was begun before .* new --out"
    ):
        finetuning.finetune(config)


def test_a_run_on_a_set_with_a_damaged_film_goes_on(filmed, tmp_path):
    """Seen red: it was begun without that film, and asked to go on with it: "tracked again, cut or added to"."""
    pack(filmed, tmp_path / "packed", shard_size=10_000)
    shard = tmp_path / "packed" / "train-000001.tar"
    with tarfile.open(shard) as tar:
        film = next(member for member in tar if member.name.endswith(".mp4"))
    with shard.open("r+b") as file:
        file.seek(film.offset_data + film.size // 2)
        file.write(b"damage")
    config = FinetuneConfig(tmp_path / "packed", "p0", tmp_path, tmp_path / "out")
    with pytest.warns(DialoguesLeftOut):
        films = finetuning.films_of(config)
        write_json(tmp_path / "out" / "run.json", films.facts)
        finetuning._check_begun_on_these(config, films)
    assert films.facts["left_out"] and stage2_config(config, films).steps < stage2_config(config, DialogueSet.open(filmed)).steps


@pytest.mark.parametrize(("setting", "said"), [({"cycles": -1}, "cycles: expected at least 0"), ({"head_steps": 0}, "head_steps: expec")])
def test_steps_are_no_negative_numbers(filmed, tmp_path, setting, said):
    """Seen red: cycles of -1 were four steps fewer."""
    with pytest.raises(InputError, match=said):
        FinetuneConfig(filmed, "p0", tmp_path, tmp_path / "out", **setting)


def test_held_out_pictures_are_of_the_person(filmed, tmp_path):
    films = DialogueSet.open(filmed)
    config = lambda person: stage2_config(FinetuneConfig(filmed, person, tmp_path, tmp_path / "out"), films)  # noqa: E731
    assert "val" in films.splits and config("p0").validation_split == "val" and config("nobody").validation_split is None


def test_avatars_know_how_large_they_were_seen(filmed, head, tmp_path):
    """In the largest of their own clips; known people's avatars, which they may begin as, were seen larger or smaller."""
    config = tiny_stage2(tmp_path, filmed, head)
    studio, learners = open_studio(config, Runtime(config.runtime))
    (clip, person), *_ = studio.people.items()
    tracks = studio.lessons.pictures.tracks
    closer = tracks[clip].intrinsics * torch.tensor([2.0, 2.0, 1.0])[:, None]
    tracks[clip] = replace(tracks[clip], intrinsics=closer)
    heads, _ = picture_learners(studio, studio.lessons.windows, steps=1)
    assert sum(whose == person for whose in studio.lessons.windows.clips.values()) > 1
    size = float(closer[0, 0] / tracks[clip].camera_from_world[0, 2, 3])
    assert heads[person].model.pixels_per_metre == pytest.approx(size, rel=0.05)
    seen = {person: avatar.pixels_per_metre for person, avatar in learners.avatars.items()}
    for avatar in learners.avatars.values():
        avatar.pixels_per_metre = 1.0
    save_avatars(tmp_path / "known", learners.avatars)
    _, begun = open_studio(replace(config, avatars=tmp_path / "known"), Runtime(config.runtime))
    assert {person: avatar.pixels_per_metre for person, avatar in begun.avatars.items()} == seen


def test_the_expected_time_costs_nothing_but_time(filmed, head, tmp_path):
    config = tiny_stage2(tmp_path, filmed, head)
    studio, learners = open_studio(config, Runtime(config.runtime))
    weights = lambda: {(one.name, key): value.clone() for one in learners.all for key, value in one.model.state_dict().items()}  # noqa: E731
    before = weights()
    bank = {key: value.clone() for key, value in learners.bank.state().items()}
    assert 0 < expected_minutes(studio, learners) < 1
    assert all(torch.equal(value, before[key]) for key, value in weights().items())
    assert all(torch.equal(value, bank[key]) for key, value in learners.bank.state().items())
    assert "PSNR" in quality(studio, learners)


def test_the_expected_time_is_that_of_an_avatar_that_has_grown(filmed, head, tmp_path, monkeypatch):
    """A step costs more then: what is timed is not the avatar as it begins."""
    config = tiny_stage2(tmp_path, filmed, head, people=("p0",), density=replace(growth_during(400), most=310))
    studio, learners = open_studio(config, Runtime(config.runtime))
    teach, sizes = finetuning.teach_head, []

    def counted(studio, tried, lesson, step):
        sizes.append(len(tried.avatars["p0"].offsets))
        return teach(studio, tried, lesson, step)

    monkeypatch.setattr(finetuning, "teach_head", counted)
    expected_minutes(studio, learners)
    assert sizes[0] == 200 < sizes[1] <= 310 and len(learners.avatars["p0"].offsets) == 200
    assert not learners.growth.control.state_dict()


def test_the_expected_time_is_that_of_all_steps(filmed, head, tmp_path, monkeypatch):
    """Planted and seen red: steps of one kind timed as the other, trials of the calibration left out, closures left out, the step that
    warms up counted.
    """
    schedule = Schedule((Phase("head", 5),), (Phase("head", 1), Phase("motion", 3)))
    trials = CalibrationConfig(gains=(1.0, 2.0), steps=3, lessons=1)
    config = tiny_stage2(tmp_path, filmed, head, people=("p0",), schedule=schedule, steps=5 + 2 * 4, calibration=trials)
    studio, learners = open_studio(config, Runtime(config.runtime))
    clock, seconds = [0.0], iter([100.0, 2.0])  # of the head's steps: the first warms up
    monkeypatch.setattr(finetuning.time, "perf_counter", lambda: clock[0])

    def spend(amount):
        clock[0] += amount

    monkeypatch.setattr(finetuning, "teach_head", lambda *_: spend(next(seconds)))
    monkeypatch.setattr(finetuning, "teach_motion", lambda *_: spend(7.0))
    drawn, moved, tried = 5 + 2, 2 * 3, 2 * (3 + 1)
    asked = len(open_mouths(studio, learners)) / (config.windows * config.pictures)
    assert asked > 5, "closures are looked for, too"
    assert expected_minutes(studio, learners) == pytest.approx(((drawn + tried + asked) * 2.0 + moved * 7.0) / 60)


def test_a_stranger_begins_and_learns_among_the_known_people(filmed, head, tmp_path):
    """Planted and seen red: beginnings left out, modes left out, modes for people who are known, looks that nothing holds."""
    known = new_avatars(
        head, {name: torch.zeros(head.identities) for name in ("p1", "x", "y")}, tiny_stage2(tmp_path, filmed, head).avatar, 5
    )
    for number, avatar in enumerate(known.values()):
        add(avatar, torch.full_like(attributes(avatar), 0.1 * number))
    save_avatars(tmp_path / "known", known)
    config = tiny_stage2(tmp_path, filmed, head, avatars=tmp_path / "known")
    _, learners = open_studio(config, Runtime(config.runtime))
    assert torch.equal(attributes(learners.avatars["p1"]), attributes(known["p1"]))
    torch.testing.assert_close(attributes(learners.avatars["p0"]), torch.stack([attributes(one) for one in known.values()]).mean(0))
    codes = {person: len(learner.optimizer.param_groups[-1]["params"][0]) for person, learner in learners.heads.items()}
    assert codes["p0"] == len(known) - 1 and codes["p1"] != codes["p0"]
    _, held = open_studio(replace(config, looks_penalty=1.0), Runtime(config.runtime))
    for person, by_known in (("p0", held.heads["p0"]), ("p1", held.heads["p1"])):
        tints = by_known.model.tints
        for parameter in by_known.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        tints.data[0] += 1.0
        by_known.apply(1)
        assert (tints[0] < learners.avatars[person].tints[0] + 1.0).all(), f"{person}'s are pulled back"
