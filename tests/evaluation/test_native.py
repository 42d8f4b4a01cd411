"""Checkpoints and motion files on our own dialogue format, through the real command, against errors that were put there."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from talking_set import FRAMES, elsewhere, talking
from tiny_models import tiny_run

from mango.audio.encoders import Encoder
from mango.cli import main
from mango.data.dialogues import DialogueSet, create_dialogue_set, lone_dialogue, write_dialogue
from mango.data.motion_files import save_motion
from mango.data.phones import write_phones
from mango.data.truth import Truth, truth_folder
from mango.evaluation import dialogue_sets, vertex_metrics
from mango.evaluation.catalogue import METRICS
from mango.evaluation.dialogue_sets import evaluate_dialogues
from mango.evaluation.native import NativeReference, Voices, add_native
from mango.evaluation.protocol import LABELS, STILL, still_face
from mango.evaluation.scores import Tally
from mango.evaluation.speed import Stopwatch, TimedEncoder
from mango.evaluation.vertex_metrics import unposed_vertices
from mango.head.model import load_head
from mango.inference.generation import GenerationConfig
from mango.types import Dialogue, PersonTrack, Phone, Side

sys.path.insert(0, str(Path(__file__).parents[1] / "head"))
from tiny_flame import tiny_flame


def evaluated(tmp_path, data, *more):
    out = tmp_path / "out.json"
    assert main([str(word) for word in ("evaluate", "--data", data, "--steps", "1", "--json", out, *more)]) == 0
    return json.loads(out.read_text())


@pytest.fixture(scope="session")
def scored(dialogues, run_folder, tmp_path_factory):
    return evaluated(tmp_path_factory.mktemp("scored"), dialogues, "--checkpoint", run_folder)


def metrics(scored, row):
    return scored["rows"][row]["metrics"]


def test_rows_against_the_truth(scored, run_folder):
    """Notices labels scored against themselves, another split, and a slope upside down."""
    assert list(scored["rows"]) == [LABELS, STILL, str(run_folder)]
    labels, still = metrics(scored, LABELS), metrics(scored, STILL)
    assert labels["lip_opening_slope"]["all"] == pytest.approx(0.5, abs=0.05)
    assert still["lip_opening_slope"]["all"] == pytest.approx(0, abs=1e-4)
    assert 0.5 < labels["LVE_max"]["all"] < still["LVE_max"]["all"] * 1.5
    assert scored["metrics"] == metrics(scored, str(run_folder)), "the checkpoint's are the main ones"
    assert scored["metrics"]["LVE_max"]["all"] > 0.1


def test_perfect_labels_have_no_error(dialogues, run_folder, tmp_path):
    """Notices neck pose or identity that count, and persons or dialogues exchanged: a's truth is not b's."""
    labels = metrics(evaluated(tmp_path, dialogues, "--checkpoint", run_folder, "--split", "train"), LABELS)
    errors = (
        "LVE_max",
        "LVE_rms",
        "LVE_sq",
        "LVE_dynamic",
        "MVE",
        "MHD",
        "FDD",
        "FDD_motion",
        "FDD_motion_sq",
        "upper_face_error",
        "lip_velocity_error",
    )
    assert max(labels["gaze_angle"].values()) < 1e-6
    for name in (*errors, "closure_error", "JDD"):
        assert set(labels[name].values()) == {0.0}, name
    for name in ("FD", "P-FD", "MSE", "STS", "FD_pooled"):
        assert abs(labels[name]["jaw"]) < 1e-12 and labels[name]["pose"] > 1e-6, f"{name}: the neck turns the other way"
    assert labels["lip_opening_slope"]["all"] == pytest.approx(1)
    assert labels["closure_rate"] == labels["closure_rate_truth"] and labels["mouth_sync"] == pytest.approx(labels["mouth_sync_truth"])


def test_what_stands_beside_the_numbers(scored, run_folder, head):
    assert scored["units"]["LVE_sq"]["all"] == "mm²" and scored["units"]["FD"]["jaw"] == "rad²" and scored["facts"]["scaling"] == {}
    assert scored["metrics"]["FD"] == scored["unscaled"]["FD"]
    assert scored["counts"]["LVE_max"] == {
        "all": {"used": 2, "skipped": 0},
        "speaking": {"used": 1, "skipped": 1, "needs": "2 frames"},
        "listening": {"used": 2, "skipped": 0},
    }
    assert scored["intervals"]["LVE_max"]["all"] is None, "one dialogue has no spread"
    facts = scored["facts"]
    assert (facts["protocol"], facts["split"], facts["truth"], facts["clips"], facts["head"]) == ("native", "test", "truth", 2, head.digest)
    assert facts["sampling"]["steps"] == 1 and facts["sampling"]["sampler"] == "ddim" and facts["step"] == "00000001"
    assert len(facts["digest"]) == 64 and len(facts["data_digest"]) == 64


def test_voices_and_partners_are_the_right_ones(scored, head, dialogues):
    """By another route: correlation of a's mouth with a's own sound, and rPCC beside the other person's truth."""
    told, truth = DialogueSet.open(dialogues).dialogue("d0"), Truth.open(dialogues)
    true = {person: truth.motion("d0", person) for person in "ab"}
    own, partner, related = [], [], []
    for person, other in ("ab", "ba"):
        label = told.side(person).motion
        opening = head.lip_opening(unposed_vertices(head, label, true[person].shape)).numpy()
        energy = {side: told.side(side).audio.reshape(FRAMES, 640).square().mean(1).sqrt().numpy() for side in "ab"}
        own.append(np.corrcoef(opening, energy[person])[0, 1])
        partner.append(np.corrcoef(opening, energy[other])[0, 1])
        q, p, g = (clip.jaw_pose.numpy().ravel() for clip in (true[other], still_face(label), true[person]))
        related.append(abs(np.corrcoef(g, q)[0, 1] - np.corrcoef(p, q)[0, 1]))
    labels = metrics(scored, LABELS)
    assert labels["mouth_sync_own"]["all"] == pytest.approx(np.mean(own), rel=1e-4)
    assert labels["mouth_sync_partner"]["all"] == pytest.approx(np.mean(partner), rel=1e-4)
    assert metrics(scored, STILL)["rPCC"]["jaw"] == pytest.approx(np.mean(related), rel=1e-4)


# What is gathered of one clip


LONG = 250  # frames: 10 s


def moving(head, *, jaw=0.0, blinks=0, nods=None, frames=LONG):
    flat = torch.zeros(frames, head.layout.width)
    flat[:, head.layout.where("jaw_pose")] = jaw * (1 - torch.cos(torch.arange(frames) / 4))[:, None] * torch.tensor([1.0, 0.0, 0.0])
    lids = [head.expression_names.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    for number in range(blinks):
        flat[20 + 40 * number : 25 + 40 * number, lids] = 1.0
    if nods is not None:
        flat[:, head.layout.where("neck_pose").start] = nods
    return head.layout.clip(flat, torch.zeros(head.identities), head.digest)


def gathered(head, prediction, truth, *, own, partner, phones=()):
    reference = NativeReference.of(truth, head, torch.arange(len(truth)) < 100, Voices(own, partner), phones)
    tally = Tally()
    add_native(tally, "d", prediction, reference, head)
    return {key: score.value for key, score in tally.row({}, scaled=False).scores.items()}, reference


def test_one_clip_by_another_route(head):
    """Notices regions and frames exchanged, prediction and truth exchanged, own and partner exchanged, minutes for seconds."""
    random = torch.Generator().manual_seed(0)
    own, partner = torch.randn(2, LONG + 24, generator=random, dtype=torch.float64).unfold(1, 25, 1).mean(2).clamp_min(0)  # turns
    # pitch whose squared velocity follows the partner's voice ten frames later
    nods = 0.02 * (partner.roll(10).sqrt() * torch.where(torch.arange(LONG) % 2 == 0, 1.0, -1.0)).cumsum(0).float()
    phones = [Phone("M", 0.0, 0.04, 0.0), Phone("P", 0.48, 0.52, 0.0)]  # frame 0: shut; frame 12: wide open
    prediction, truth = moving(head, jaw=0.1, blinks=2, nods=nods), moving(head, blinks=3)
    found, reference = gathered(head, prediction, truth, own=own, partner=partner, phones=phones)
    vertices, still = unposed_vertices(head, prediction), unposed_vertices(head, truth)
    upper, lips, listening = head.region("upper_face"), head.region("lips"), torch.arange(LONG) >= 100
    assert found["FDD", "all"] == pytest.approx(float(vertex_metrics.fdd(vertices, still, upper)))
    motion = {"prediction": vertices, "truth": still, "rest": reference.rest}
    assert found["FDD_motion", "listening"] == pytest.approx(float(vertex_metrics.fdd_motion(**motion, upper=upper, keep=listening)))
    assert found["FDD_motion", "all"] != found["FDD_motion", "listening"] and found["FDD_motion", "all"] > 0, "it blinks less"
    assert found["LVE_max", "listening"] == pytest.approx(float(vertex_metrics.lve_max(vertices, still, lips, listening)))
    assert (found["closure_rate", "all"], found["closure_rate_truth", "all"]) == (0.5, 1.0)
    assert found["blink_rate", "all"] == pytest.approx(2 * 6) and found["blink_rate_truth", "all"] == pytest.approx(3 * 6)
    assert found["blink_depth", "all"] > 0.5
    assert found["nod_sync", "all"] > 0.8 and found["nod_sync_lag", "all"] == pytest.approx(0.4, abs=0.05)
    assert np.isnan(found["nod_sync_truth", "all"]) and np.isnan(found["mouth_sync_truth", "all"]), "the truth keeps still"
    assert gathered(head, prediction, truth, own=partner, partner=own)[0]["nod_sync", "all"] < found["nod_sync", "all"] - 0.2


def test_what_is_compared_with_the_truth_stands_beside_the_truth_s_own(head):
    """Of a right prediction they are equal. Notices a metric marked "→ truth" without one, and the prediction's in its place."""
    random = torch.Generator().manual_seed(0)
    own, partner = torch.rand(2, 410, generator=random, dtype=torch.float64)
    nods = 0.02 * torch.randn(2, 410, generator=random).cumsum(1)
    right, wrong = (moving(head, jaw=0.1, blinks=2, nods=nods[k], frames=410) for k in (0, 1))
    said = {"own": own, "partner": partner, "phones": [Phone("M", 0.0, 0.04, 0.0), Phone("P", 0.48, 0.52, 0.0)]}
    of_right, of_wrong = (gathered(head, made, right, **said)[0] for made in (right, wrong))
    with_truth = [name for name, metric in METRICS.items() if metric.direction == "truth" and (name, "all") in of_right]
    assert {"closure_rate", "mouth_sync", "mouth_sync_partner", "nod_sync_above_chance"} < set(with_truth)
    for name in with_truth:
        assert of_right[f"{name}_truth", "all"] == of_right[name, "all"] == of_wrong[f"{name}_truth", "all"], name
    assert of_wrong["nod_sync_above_chance", "all"] != of_right["nod_sync_above_chance", "all"]


def test_mouths_that_are_late_here_and_early_there_are_not_in_time(head):
    """Seen red: signed lags, whose mean is nought."""
    random = torch.Generator().manual_seed(0)
    own, partner = torch.rand(2, LONG, generator=random, dtype=torch.float64)
    right = moving(head)
    voice = torch.zeros(LONG, head.layout.width)
    for shift, lag in ((10, 0.4), (-10, 0.4), (0, 0.0)):
        voice[:, head.layout.where("jaw_pose").start] = 0.2 * own.roll(shift).float()
        found = gathered(head, head.layout.clip(voice, right.shape, head.digest), right, own=own, partner=partner)[0]
        assert found["mouth_sync_lag", "all"] == pytest.approx(lag)


def test_of_a_truth_whose_eyes_never_move_gaze_is_not_asked(head):
    """Seen red: still eyes were perfect, and eyes that move wrong."""
    noise = torch.rand(2, LONG, dtype=torch.float64)
    still = moving(head)
    looking = replace(still, eyes_pose=0.1 * torch.rand(still.eyes_pose.shape, generator=torch.Generator().manual_seed(0)))
    for truth, told in ((still, False), (looking, True)):
        found = gathered(head, looking, truth, own=noise[0], partner=noise[1])[0]
        assert [not np.isnan(found["gaze_angle", frames]) for frames in ("all", "speaking", "listening")] == [told] * 3


def test_speed_figures(scored):
    speed = scored["speed"]
    assert 0 < speed["real_time_factor"] < speed["real_time_factor_with_sound"]
    assert (speed["steps"], speed["sampler"], speed["batch"], speed["encoder"]) == (1, "ddim", "1 dialogue of 2 people", "LogMel")
    assert speed["seconds"]["dialogue"] == FRAMES / 25 and speed["processor"] and speed["name"]


def test_speed_counts_encoding_once_and_leaves_the_first_dialogue_out(monkeypatch):
    """A clock that we turn: reading takes 1 s, encoding 2 s, generating 10 s, of a dialogue of 4 s; the first takes ten times as long."""
    now, slow = [0.0], [10.0]
    monkeypatch.setattr("mango.evaluation.speed.perf_counter", lambda: now[0])

    def takes(seconds):
        now[0] += slow[0] * seconds

    class Slow(Encoder):
        width, digest = 1, "x"

        def parts(self, audio):
            takes(2)
            yield torch.zeros(1, 1)

    watch = Stopwatch(TimedEncoder(Slow()))
    for _ in range(3):
        watch.lap(100, lambda: takes(1), lambda: (watch.encoder.encode(torch.zeros(640)), takes(10)))
        slow[0] = 1.0
    figures = watch.figures(GenerationConfig(steps=7))
    assert figures["real_time_factor"] == 10 / 4 and figures["real_time_factor_with_sound"] == 13 / 4 and figures["steps"] == 7
    told = replace(watch, sampled=False).figures(GenerationConfig(steps=7))
    assert told["real_time_factor"] == 10 / 4 and not {"steps", "sampler", "name"} & set(told), "a regressor has no steps and uses no GPU"


# Predictions in our motion format


@pytest.fixture
def predictions(head, dialogues, tmp_path):
    """Everybody's truth, on another neck and shape."""
    truth = Truth.open(dialogues)
    for person in "ab":
        save_motion(tmp_path / "p" / f"d0.{person}.motion.npz", elsewhere(truth.motion("d0", person)))
    return tmp_path / "p"


def test_predictions_are_scored_like_a_checkpoint(dialogues, predictions, tmp_path):
    found = evaluated(tmp_path, dialogues, "--predictions", predictions)
    assert list(found["rows"]) == [LABELS, STILL, str(predictions)] and "speed" not in found
    assert found["metrics"]["LVE_max"]["all"] == 0 and found["facts"]["sampling"] is None
    assert found["rows"][LABELS]["metrics"]["LVE_max"]["all"] > 0.5


def test_facts_tell_another_truth_and_other_predictions(dialogues, predictions, tmp_path):
    """Seen red: the digest of the data, which the truth lies beside, was all there was."""
    own = shutil.copytree(dialogues, tmp_path / "own")
    shutil.copytree(truth_folder(dialogues), truth_folder(own))

    def digests():
        facts = evaluated(tmp_path, own, "--predictions", predictions)["facts"]
        return [facts[name] for name in ("data_digest", "truth_digest", "predictions_digest")]

    first = digests()
    save_motion(predictions / "d0.a.motion.npz", Truth.open(own).motion("d0", "b"))
    second = digests()
    assert [one == other for one, other in zip(first, second, strict=True)] == [True, True, False]
    (truth_folder(own) / "dialogues" / "d0" / "a.phones.json").write_text("[]")
    assert [one == other for one, other in zip(second, digests(), strict=True)] == [True, False, True]


def test_of_somebody_alone_one_prediction_is_everything(head, tmp_path):
    """Seen red: the side that nobody is on had to be predicted, too."""
    root, clip = tmp_path / "alone", talking(head, 1.0)
    create_dialogue_set(root, head, ["p0"], {"test": ["d"]})
    side = Side("p0", 0.1 * torch.ones(FRAMES * 640), torch.ones(FRAMES), clip)
    write_dialogue(root, lone_dialogue("d", side, FRAMES), source="", licence="", created_by="test")
    save_motion(tmp_path / "p" / "d.a.motion.npz", clip)
    found = evaluated(tmp_path, root, "--predictions", tmp_path / "p", "--against", "labels", "--complete")
    assert found["facts"]["people"] == {"in_data": 1, "scored": 1, "without_prediction": 0, "first": []}


def test_people_exchanged_show(dialogues, predictions, tmp_path):
    for suffix in ("npz", "json"):
        (predictions / f"d0.a.motion.{suffix}").rename(predictions / f"x.{suffix}")
        (predictions / f"d0.b.motion.{suffix}").rename(predictions / f"d0.a.motion.{suffix}")
        (predictions / f"x.{suffix}").rename(predictions / f"d0.b.motion.{suffix}")
    found = evaluated(tmp_path, dialogues, "--predictions", predictions)["metrics"]
    assert found["LVE_max"]["all"] > 1 and found["MSE"]["jaw"] > 1e-3


def test_one_frame_late_shows(dialogues, predictions, tmp_path):
    truth = Truth.open(dialogues)
    for person in "ab":
        clip = truth.motion("d0", person)
        save_motion(predictions / f"d0.{person}.motion.npz", replace(clip, jaw_pose=clip.jaw_pose.roll(1, 0)))
    found = evaluated(tmp_path, dialogues, "--predictions", predictions)["metrics"]
    assert found["LVE_max"]["all"] > 0.3 and found["STS"]["jaw"] > 0.1 and found["lip_velocity_error"]["all"] > 1
    assert found["FDD"]["all"] < 0.05 and abs(found["FD"]["jaw"]) < 1e-6, "dynamics and distributions know no time"


def test_a_longer_prediction_is_cut_and_reported(dialogues, predictions, tmp_path, capsys):
    clip = Truth.open(dialogues).motion("d0", "a")
    longer = replace(clip, **{name: torch.cat([getattr(clip, name), 9 + torch.zeros(3, getattr(clip, name).shape[1])])
                              for name in ("expr", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "translation")})  # fmt: skip
    save_motion(predictions / "d0.a.motion.npz", longer)
    found = evaluated(tmp_path, dialogues, "--predictions", predictions)
    assert found["metrics"]["LVE_max"]["all"] == 0 and "1 clips cut" in capsys.readouterr().out
    assert found["facts"]["cut_to_shortest"] == {"people": 1, "most_frames": 3, "first": {"d0.a": [FRAMES + 3, FRAMES]}}


@pytest.fixture
def refused(dialogues, tmp_path, capsys):
    def run(*more, data=dialogues):
        words = ["evaluate", "--data", data, "--json", tmp_path / "no.json", *more]
        assert main([str(word) for word in words]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and not (tmp_path / "no.json").exists()
        return err

    return run


def test_names_that_do_not_match(refused, predictions, dialogues, tmp_path, capsys):
    (predictions / "d0.b.motion.npz").rename(predictions / "d0.c.motion.npz")
    assert "1 of 2" in (line := refused("--predictions", predictions)) and "d0.c" in line
    (predictions / "d0.c.motion.npz").unlink()
    assert "1 without: d0.b" in refused("--predictions", predictions, "--complete")
    found = evaluated(tmp_path, dialogues, "--predictions", predictions)
    assert found["counts"]["FD"]["jaw"]["used"] == 1 and "scored 1 of 2" in capsys.readouterr().out
    (predictions / "d0.a.motion.npz").unlink()
    assert "found none" in refused("--predictions", predictions)
    assert "no such folder" in refused("--predictions", tmp_path / "nowhere")


def test_predictions_of_another_head_or_rate(refused, predictions, dialogues):
    clip = Truth.open(dialogues).motion("d0", "a")
    save_motion(predictions / "d0.a.motion.npz", replace(clip, fps=30.0))
    assert "25 fps, found 30" in refused("--predictions", predictions)
    save_motion(predictions / "d0.a.motion.npz", replace(clip, head="e" * 64))
    assert "eeeeeeeeeeee" in refused("--predictions", predictions)


def test_a_missing_or_empty_split_is_named(refused, run_folder, dialogues, tmp_path):
    line = refused("--checkpoint", run_folder, "--split", "val")
    assert "'val' to score, found no such split" in line and "--split train (1), --split test (1)" in line
    own = shutil.copytree(dialogues, tmp_path / "own")
    described = json.loads((own / "dataset.json").read_text())
    (own / "dataset.json").write_text(json.dumps({**described, "splits": {"train": ["t"], "val": [], "test": []}}))
    line = refused("--checkpoint", run_folder, data=own)
    assert "'test' to score, found no dialogues in it; score what it has: --split train (1)" in line


def test_a_model_that_fails_is_named_at_once(refused, run_folder, monkeypatch, head):
    """Notices NaN that only sklearn finds, after everything was generated."""
    real = dialogue_sets.mover

    def failing(*model):
        def moved(dialogue):
            clips = real(*model)(dialogue)
            jaw = clips["b"].jaw_pose.clone()
            jaw[7:] = torch.nan
            return {**clips, "b": replace(clips["b"], jaw_pose=jaw)}

        return moved

    monkeypatch.setattr(dialogue_sets, "mover", failing)
    line = refused("--checkpoint", run_folder)
    assert str(run_folder) in line and "motion of d0.b" in line and "jaw_pose, frame 7" in line


# What counts as true


@pytest.fixture
def untrue(dialogues, tmp_path):
    shutil.copytree(dialogues, tmp_path / "real" / "set")
    assert not truth_folder(tmp_path / "real" / "set").exists()
    return tmp_path / "real" / "set"


def test_labels_are_never_taken_for_the_truth_silently(refused, untrue, run_folder, dialogues, tmp_path):
    """Native refuses without a truth; asked for labels, it says so, and the labels' own row has no error."""
    line = refused("--checkpoint", run_folder, data=untrue)
    assert "truth of a synthetic set" in line and "--against labels takes the labels" in line and "\n" not in line.strip()
    found = evaluated(tmp_path, untrue, "--checkpoint", run_folder, "--against", "labels")
    assert found["facts"]["truth"] == "labels" and metrics(found, LABELS)["LVE_max"]["all"] == 0
    assert found["metrics"]["closure_rate"]["all"] is None, "labels know no phones"
    assert evaluated(tmp_path, dialogues, "--checkpoint", run_folder, "--against", "labels")["metrics"] == found["metrics"]


@pytest.fixture
def distrusted(head, tmp_path):
    """Labels that are right but for the frames that the tracker distrusts, where eyes shut and everything is far off; right predictions."""
    root, keep = tmp_path / "distrusted", torch.ones(2, FRAMES, dtype=torch.bool)
    keep[0, 10:15], keep[1, 30:] = False, False
    create_dialogue_set(root, head, ["p0", "p1"], {"test": ["d"]})
    sides = {}
    for number, (person, rate) in enumerate((("a", 1.0), ("b", 2.0))):
        right = talking(head, rate)
        save_motion(tmp_path / "p" / f"d.{person}.motion.npz", right)
        wrong = head.layout.pack(right)
        wrong[~keep[number]] += 0.1
        wrong[~keep[number], head.layout.where("expr")] = torch.tensor([float("eyeBlink" in name) for name in head.expression_names])
        label = replace(head.layout.clip(wrong, right.shape, head.digest), fps=25.0)
        track = PersonTrack(keep[number], torch.eye(4)[None], torch.eye(3), torch.zeros(FRAMES, 68, 2), torch.ones(FRAMES))
        phones = (Phone("M", 0.04, 0.08, 0.0), Phone("P", 0.44, 0.48, 0.0)) if person == "a" else ()
        speaking = (torch.arange(FRAMES) < 20).float()
        sides[person] = Side(f"p{number}", 0.1 * torch.ones(FRAMES * 640), speaking, label, track, phones=phones)
    write_dialogue(root, Dialogue("d", FRAMES, sides), source="", licence="", created_by="test")
    return root, tmp_path / "p"


def test_labels_that_the_tracker_distrusts_are_no_truth(distrusted, tmp_path, capsys):
    """Right predictions have no error. Notices any metric that looks at such a frame, or at a difference to one."""
    root, predictions = distrusted
    found = evaluated(tmp_path, root, "--predictions", predictions, "--against", "labels", "--controls")
    errors = ("LVE_max", "LVE_rms", "LVE_sq", "LVE_dynamic", "MVE", "MHD", "FDD", "FDD_motion", "upper_face_error", "lip_velocity_error")
    for name in (
        *errors,
        "gaze_angle",
        "closure_error",
        "MSE",
        "FD",
        "P-FD",
        "STS",
        "rPCC",
        "FD_pooled",
        "P-FD_pooled",
        "S_FD",
        "L_FD",
        "PDD",
    ):
        values = [value for value in found["metrics"][name].values() if value is not None]
        assert values and max(map(abs, values)) < (1e-6 if name == "gaze_angle" else 1e-9), name
    assert found["metrics"]["lip_opening_slope"]["all"] == pytest.approx(1)
    assert found["metrics"]["blink_rate_truth"] == found["metrics"]["blink_rate"], "eyes shut in frames without a label"
    assert found["metrics"]["Variance"] == found["metrics"]["Variance_truth"] and found["metrics"]["SID"] == found["metrics"]["reverse_SID"]
    assert found["metrics"]["closure_rate"]["all"] == 1 and found["counts"]["closure_rate"]["all"]["used"] == 1, "P is not to be seen"
    still = metrics(found, "control: still face")
    assert still["Variance_truth"] == found["metrics"]["Variance"] and still["MSE"] == pytest.approx(still["Variance_truth"])
    assert found["facts"]["distrusted"] == {"people": 2, "frames": 15, "of": 80, "first": {"d.a": [5, 40], "d.b": [10, 40]}}
    assert "15 of 80 frames of 2 clips left out: the tracker distrusts their labels" in capsys.readouterr().out


def test_people_whom_the_tracker_never_trusts_are_not_scored(distrusted, tmp_path, capsys):
    """Nor is anything said of how the other goes with them."""
    root, predictions = distrusted
    path = root / "dialogues" / "d" / "b.track.npz"
    np.savez(path, **{**np.load(path), "keep": np.zeros(FRAMES, dtype=bool)})
    found = evaluated(tmp_path, root, "--predictions", predictions, "--against", "labels")
    assert found["counts"]["MSE"]["jaw"]["used"] == 1 and found["counts"]["P-FD"]["jaw"]["used"] == 0
    assert found["facts"]["distrusted"]["first"]["d.b"] == [40, 40]
    assert found["facts"]["unscored"] == ["d.b"] == found["facts"]["rows"][STILL]["unscored"]
    assert "\nnot scored, because the tracker trusts not even two of their frames: d.b" in capsys.readouterr().out, "of all rows, once"


# DualTalk's protocols on our format


def test_dualtalk_protocols_use_the_heads_own_parameters(scored, untrue, dialogues, run_folder, tmp_path):
    """Any width; published scaling; the truth where there is one, else the labels."""
    native = scored["metrics"]
    official = evaluated(tmp_path, dialogues, "--checkpoint", run_folder, "--protocol", "dualtalk-official", "--controls")
    assert official["facts"]["truth"] == "truth" and "LVE_max" not in official["metrics"]
    for name, part, factor in (("MSE", "exp", 10), ("MSE", "jaw", 1e3), ("rPCC", "jaw", 10), ("FD", "pose", 1e2)):
        assert official["metrics"][name][part] == pytest.approx(factor * native[name][part], rel=1e-4), (name, part)
    assert official["metrics"]["SID"]["jaw"] == native["reverse_SID"]["jaw"] and native["SID"] == native["forward_SID"]
    assert official["rows"]["control: truth"]["metrics"]["MSE"]["exp"] == 0
    labelled = evaluated(tmp_path, untrue, "--checkpoint", run_folder, "--protocol", "dualtalk-corrected")
    assert labelled["facts"]["truth"] == "labels" and metrics(labelled, LABELS)["MSE"]["jaw"] == 0 < labelled["metrics"]["MSE"]["jaw"]


def test_dualtalk_protocols_look_at_the_50_expressions_that_its_files_have(tmp_path):
    """On a FLAME head with 100, filled up with zeros: a mean over all of them would be half. Planted: all of them."""
    path = tmp_path / "generic_model.npz"
    np.savez(path, **tiny_flame(expressions=100))
    head, noise = load_head(path, generation="2020"), torch.Generator().manual_seed(0)
    flat = torch.randn(2, 60, head.layout.width, generator=noise)
    flat[..., head.layout.where("expr")][..., 50:] = 0
    clips = [head.layout.clip(one, torch.zeros(head.identities), head.digest) for one in flat]
    root, voice = tmp_path / "set", torch.zeros(60 * 640)
    create_dialogue_set(root, head, ["p0", "p1"], {"test": ["d"]})
    sides = {side: Side(f"p{k}", voice, torch.ones(60), clip) for k, (side, clip) in enumerate(zip("ab", clips, strict=True))}
    write_dialogue(root, Dialogue("d", 60, sides), source="", licence="", created_by="test")
    for side, clip in zip("ab", clips, strict=True):
        save_motion(tmp_path / "predictions" / f"d.{side}.motion.npz", replace(clip, expr=0.5 * clip.expr))
    found = {
        protocol: evaluate_dialogues(
            root, "test", protocol, GenerationConfig(), predictions=(tmp_path / "predictions",), against="labels", head=path
        )
        for protocol in ("dualtalk-official", "dualtalk-corrected")
    }
    expected = sum(float((0.5 * clip.expr[:, :50]).square().mean()) for clip in clips) / 2
    spread = sum(float((0.5 * clip.expr[:, :50]).var(0, correction=0).mean()) for clip in clips) / 2
    for protocol, evaluation in found.items():
        (row,) = [row for name, row in evaluation.rows.items() if "predictions" in name]
        assert row.unscaled["MSE", "exp"].value == pytest.approx(expected, rel=1e-5), protocol
        assert row.unscaled["Variance", "exp"].value == pytest.approx(spread, rel=1e-5), protocol
        assert evaluation.facts["expressions"] == 50


def test_several_checkpoints_are_several_rows(head, dialogues, run_folder, tmp_path):
    other = tiny_run(tmp_path / "other", head)
    found = evaluated(tmp_path, dialogues, "--checkpoint", run_folder, "--checkpoint", other, "--protocol", "dualtalk-corrected")
    assert list(found["rows"])[2:] == [str(run_folder), str(other)] and found["main"] == str(run_folder)
    assert metrics(found, str(other)) == found["metrics"] and found["facts"]["rows"][str(other)]["digest"] == found["facts"]["digest"]


def test_a_still_face_of_the_poor_tracker(scored):
    """Its jaw is the mean of half the true one: MSE of the jaw over all dims by hand, a third of the mean square along x."""
    time = torch.arange(FRAMES, dtype=torch.float64) / 25
    expected = []
    for rate in (1.0, 2.0):
        angle = 0.1 * rate * (1 - torch.cos(2 * torch.pi * rate * time))
        expected.append(float((angle - 0.5 * angle.mean()).square().mean() / 3))
    assert metrics(scored, STILL)["MSE"]["jaw"] == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_a_set_without_truth_is_scored_at_the_phones_it_has(dialogues, run_folder, tmp_path):
    """Labels as truth: closures are counted where the set's own phones say p, b or m. Notices phones of the other person, and none."""
    own = tmp_path / "set"
    shutil.copytree(dialogues, own)
    told = {"a": (Phone("AA", 0.0, 0.4, 1.0), Phone("M", 0.4, 0.48, 0.0)), "b": (Phone("P", 0.1, 0.2, 0.0), Phone("B", 0.5, 0.6, 0.0))}
    for id in ("d0", "t"):
        for person, phones in told.items():
            write_phones(own / "dialogues" / id / f"{person}.phones.json", phones)
    told_nothing, told_all = (evaluated(tmp_path, data, "--checkpoint", run_folder, "--against", "labels") for data in (dialogues, own))
    assert told_nothing["counts"]["closure_rate"]["all"]["used"] == 0 and told_all["counts"]["closure_rate"]["all"]["used"] == 2
    (own / "dialogues" / "d0" / "b.phones.json").unlink()
    alone = evaluated(tmp_path, own, "--checkpoint", run_folder, "--against", "labels")
    assert alone["counts"]["closure_rate"]["all"]["used"] == 1
