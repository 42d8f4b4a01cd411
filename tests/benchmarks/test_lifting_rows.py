"""The rows of the lifting benchmark on a tiny bench, a handful of steps each.

Faults planted, each seen red: an indicator spoilt in held-out dialogues too, or as often as a stretch should begin; an opening that never
sees the true motion; avatars that go on learning, and cameras forgotten, in that diagnostic; labels that are not closed; settings that
a digest forgets; a row that counts as scored because it is trained; a row tried in spite of its obstacle, and its reason lost; steps
without pictures counted as pictures; refitted labels with the recipe's phase for labels, and so fewer pictures.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import code_digests
from benchmarks.lifting import __main__ as command
from benchmarks.lifting import digests, report, rows, scoring, sweeps
from benchmarks.lifting import refit as refitting
from benchmarks.lifting.controls import CONTROLS
from benchmarks.lifting.rows import OF_CI, ROWS, Changed
from benchmarks.lifting.running import trained
from benchmarks.lifting.scales import scale_of
from benchmarks.lifting.training import Bench, bank_labels, misled, pictures_of, stage_two_config, true_labels
from mango.data.dialogues import DialogueSet
from mango.data.json_files import read_json
from mango.data.truth import Truth
from mango.errors import InputError
from mango.evaluation.vertex_metrics import unposed_vertices
from mango.training.alternation import phase_at
from mango.training.avatars import read_avatars
from mango.training.calibration import known_gain
from mango.training.checkpoints import newest_checkpoint, read_tensors
from mango.training.rest import stilled
from mango.training.runtime import Runtime
from mango.training.stage2_config import CalibrationConfig, SharpeningConfig, Stage2Config
from mango.training.studio import open_studio
from mango.types import PERSONS


@pytest.fixture(scope="module", autouse=True)
def parents(bench):
    for row in ("stage1", "stage2"):
        train(bench, row)


def train(bench: Bench, row: str) -> None:
    trained(bench, row, digests.of_row(bench, row))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a set but the cache."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and "features" not in file.parts]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_every_setting_exists_and_changes_the_recipe(bench):
    config = stage_two_config(bench, "any")
    for name, row in ROWS.items():
        if isinstance(row.train, Changed) and row.train.settings:
            assert row.train.of(config) != config, name


def test_a_changed_setting_makes_a_row_out_of_date(bench, monkeypatch):
    before = digests.of_row(bench, "tracked_rest"), digests.of_row(bench, "stage2")
    monkeypatch.setitem(ROWS, "tracked_rest", replace(ROWS["tracked_rest"], train=Changed({"bank.rate": 0.1})))
    assert digests.of_row(bench, "tracked_rest") != before[0] and digests.of_row(bench, "stage2") == before[1]


SHOWN = ("stage1", "oracle", "longer_time", "stage2", "shuffled", "static")  # a row of each kind
BY_PICTURES = {"longer_time", "stage2", "shuffled", "static"}  # longer_time has as much time as stage two
SCORES = {"labels", "truth"}
PARTS = {  # a file that changes -> whose results are not used again
    "benchmarks/lifting/controls.py": {"shuffled", "static"},
    "mango/training/exercises.py": set(SHOWN),
    "mango/data/side_files.py": {*SHOWN, *SCORES},
    "mango/audio/activity.py": {*SHOWN, *SCORES},  # imported inside functions, as the next one
    "renderer/backends/cpu.py": {*BY_PICTURES, *SCORES},
    "mango/data/film_colours.py": {*BY_PICTURES, *SCORES},
    "mango/training/sharpening.py": BY_PICTURES,
    "renderer/csrc/blending.cpp": {*BY_PICTURES, *SCORES},
    "mango/head/regions.py": {*SHOWN, *SCORES},
    "mango/data/truth.py": {*BY_PICTURES, "oracle", *SCORES},
    "mango/evaluation/lips_and_eyes.py": SCORES,
    "mango/training/finetune.py": set(),
    "mango/tracking/fitting.py": set(),
    "mango/data/synthetic/hair.py": set(),  # data have a digest of their own
}


@pytest.mark.parametrize("part", PARTS)
def test_what_no_result_depends_on_costs_no_result(bench, part, monkeypatch):
    """And what one does depend on costs it. Seen red: a list by hand forgot films' colours, side files, and faces' regions for labels."""

    def known() -> dict[str, str]:
        return {row: digests.of_row(bench, row) for row in SHOWN} | {name: digests.of_scores(bench, name) for name in SCORES}

    before, read = known(), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"#" if path == code_digests.ROOT / part else b""))
    assert {name for name, digest in known().items() if digest != before[name]} == PARTS[part]


def test_another_truth_is_another_oracle_and_another_score(bench):
    """Seen red: nothing noticed."""
    known = lambda: (digests.of_row(bench, "oracle"), digests.of_row(bench, "stage1"), digests.of_scores(bench, "stage1"))  # noqa: E731
    before, extra = known(), Truth.open(bench.data).folder / "extra"
    extra.touch()
    digests.of_truth.cache_clear()
    try:
        assert [one != other for one, other in zip(before, known(), strict=True)] == [True, False, True]
    finally:
        extra.unlink()
        digests.of_truth.cache_clear()


def test_refitted_labels_see_as_many_pictures_as_stage_two(bench, monkeypatch):
    """Of the steps with pictures, that is: the recipe's steps on labels alone show none."""

    class Seen(Exception):
        pass

    def stop(config: Stage2Config, runtime: Runtime) -> None:
        raise Seen(config)

    monkeypatch.setattr(refitting, "open_studio", stop)
    with pytest.raises(Seen) as seen:
        refitting.refit(bench, "refit", frames=1.0)
    fit, recipe = seen.value.args[0], stage_two_config(bench, "any")
    active = [[phase_at(step, config.schedule).learner for step in range(config.steps)] for config in (fit, recipe)]
    assert "labels" not in active[0] and active[1].count("labels") == bench.scale.labels > 0
    assert [active[0].count(name) for name in ("head", "motion")] == [active[1].count(name) for name in ("head", "motion")]
    tried = pictures_of(recipe) - pictures_of(replace(recipe, calibration=CalibrationConfig(gains=()), sharpening=SharpeningConfig(at=())))
    assert pictures_of(recipe) - tried == recipe.windows * recipe.pictures * len(active[0])


def test_pictures_that_were_asked_for_closures_count(bench):
    config = stage_two_config(bench, "stage2")
    asked = read_json(config.run / "closures.json")["asked"]
    assert asked > 0 and pictures_of(config) == asked + pictures_of(replace(config, run=bench.rows / "nothing"))
    assert scoring.cost_of(bench, "stage2").frames_rendered == pictures_of(config)


def test_labels_that_stage_two_ended_with_are_scored(bench):
    """Seen red: what else the bank remembers, of people, was taken for clips."""
    labels, tracked = bank_labels(bench, "stage2"), DialogueSet.open(bench.data)
    assert set(labels) == {(id, side) for id in tracked.split("train") for side in PERSONS}
    assert any(not torch.equal(motion.expr, tracked.dialogue(id).side(side).motion.expr) for (id, side), motion in labels.items())
    assert scoring.scored(bench, "stage2", "train", "of this test")["means"]["lve_max"] > 0


def test_full_is_small_with_more_rows():
    assert scale_of("full", 1) == scale_of("small", 1)
    assert {"refit"} <= set(command.wanted(command.Options(scale="small"))) < set(command.wanted(command.Options(scale="full")))
    assert command.wanted(command.Options(scale="full", variant="dialogues-10")) == [*OF_CI]


@pytest.mark.parametrize("row", ["ssim", "static"])
def test_a_change_of_the_recipe_trains(bench, row):
    """Seen red: controls' pictures did not say how large they show a head, which calibration asks."""
    train(bench, row)
    assert scoring.trained_digest(bench, row) == digests.of_row(bench, row)
    assert not command.up_to_date(bench, row, "val"), "trained but not scored"
    scoring.scored(bench, row, "val", digests.of_scores(bench, row))
    assert command.up_to_date(bench, row, "val")


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_are_misled_in_calibration_too(bench, tmp_path, control):
    """Its trials have a supply of their own: shown the right pictures there, controls began with the right amplitude."""
    config = replace(stage_two_config(bench, "any"), run=tmp_path)
    config = replace(config, calibration=replace(config.calibration, people=1))
    told, misled_one = (open_studio(config, Runtime(config.runtime)) for _ in range(2))
    misled(control, bench.seed)(*misled_one)
    for supply in ("lessons", "trials"):
        shown = [[getattr(studio, supply).at(step) for step in range(1, 5)] for studio, _ in (told, misled_one)]
        assert [lesson.shots for lesson in shown[0]] == [lesson.shots for lesson in shown[1]]
        assert not all(torch.equal(a.recorded.colors, b.recorded.colors) for a, b in zip(*shown, strict=True)), supply


def test_calibrated_labels_are_larger_closed_still_and_otherwise_the_trackers(bench, head):
    train(bench, "calibrated")
    tracked, calibrated = DialogueSet.open(bench.data), DialogueSet.open(bench.rows / "labels-calibrated")
    gain = known_gain(bench.run("stage2"))
    for side in PERSONS:
        before, after = (labels.dialogue("train000").side(side) for labels in (tracked, calibrated))
        silent = before.speaking < 0.5
        opening = [head.lip_opening(unposed_vertices(head, clip.motion))[silent].median().abs() for clip in (before, after)]
        assert opening[1] < opening[0] / 2, "of this person's own lips: the method may know the mean person's only"
        blink = head.expression_names.index("eyeBlinkLeft")
        still = stilled(before.motion.expr[:, [blink]])
        torch.testing.assert_close(after.motion.expr[:, blink].std(), gain * still.std(), rtol=1e-4, atol=0.0)
        for name in ("neck_pose", "rotation", "translation", "shape"):
            torch.testing.assert_close(getattr(after.motion, name), getattr(before.motion, name))
    assert contents(calibrated.folder("test000")) == contents(tracked.folder("test000"))


def test_true_head_learns_from_the_truth_and_is_then_frozen(bench, head):
    train(bench, "true_head")
    config = stage_two_config(bench, "any")
    opening, run = bench.rows / "true_head" / "opening", bench.run("true_head")
    bank = read_tensors(newest_checkpoint(opening / "checkpoints") / "bank.safetensors")
    model = open_studio(config, Runtime(config.runtime))[1].motion.model
    for (id, side), clip in true_labels(bench).items():
        if id.startswith("train"):
            torch.testing.assert_close(bank[f"bank/{id}/{side}"], model.normalised(head.layout.pack(clip)))
    after = read_tensors(newest_checkpoint(run / "checkpoints") / "bank.safetensors")
    assert not torch.allclose(after["bank/train000/a"], bank["bank/train000/a"]), "motion learns from the tracker's labels"
    learned, kept = (read_avatars(folder / "avatars", head) for folder in (opening, run))
    for person, avatar in learned.items():
        for name, parameter in avatar.named_parameters():
            assert torch.equal(parameter, kept[person].get_parameter(name)), (person, name)
    cameras = [read_tensors(newest_checkpoint(folder / "checkpoints") / "cameras" / "model.safetensors") for folder in (opening, run)]
    assert all(torch.equal(cameras[0][name], cameras[1][name]) for name in cameras[0])


def test_a_wrong_indicator_is_wrong_in_training_only(bench):
    before = contents(bench.data)
    train(bench, "indicator_20")
    clean, spoilt = DialogueSet.open(bench.data), DialogueSet.open(bench.rows / "labels-indicator_20")
    assert contents(bench.data) == before
    assert contents(spoilt.folder("test000")) == contents(clean.folder("test000"))
    assert contents(spoilt.folder("val000")) == contents(clean.folder("val000"))
    for side in PERSONS:
        a, b = (labels.dialogue("train000").side(side) for labels in (clean, spoilt))
        assert not torch.equal(a.speaking, b.speaking) and torch.equal(a.motion.expr, b.motion.expr)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2])
def test_an_indicator_is_wrong_as_often_as_asked(share):
    speaking = (torch.arange(200_000) % 50 < 20).float()
    wrong = sweeps.flipped(speaking, share, 3, "clip") != speaking
    assert abs(float(wrong.float().mean()) - share) < 5 * (share * (1 - share) * 2 * sweeps.FLIP_FRAMES / len(speaking)) ** 0.5 + 1e-9
    assert torch.equal(sweeps.flipped(speaking, share, 3, "clip"), sweeps.flipped(speaking, share, 3, "clip"))


def test_what_cannot_be_trained_is_left_out_with_its_reason(bench, monkeypatch):
    def missing(*pictures):
        raise InputError("LPIPS", expected="the weights of vgg", found="none", remedy="connect once")

    monkeypatch.setattr(rows, "lpips", missing)
    possible, skipped = command.possible(["stage1", "lpips"])
    assert possible == ["stage1"] and "the weights of vgg" in skipped["lpips"]
    labels = scoring.scored(bench, scoring.LABELS, "val", "any")
    scores = dict.fromkeys(("stage1", scoring.LABELS, "truth"), labels)
    report.write(bench, possible, scores, "val", skipped)
    report.write(bench, possible, scores, "val", {})  # another piece of `full`
    assert json.loads(report.file_of(bench, "val").read_text())["skipped"] == skipped
