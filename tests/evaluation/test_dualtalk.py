"""Scoring other people's predictions through the real command, on files that plain numpy wrote."""

import json

import numpy as np
import pytest
import soundfile
from dualtalk_fixture import as_prediction, noisy, truth_arrays, write_predictions, write_set

from mango.cli import main
from mango.evaluation.dualtalk import evaluate_predictions

DIALOGUES = {"talk_sub_video_1": 130, "talk_sub_video_2_000": 112, "news_sub_video_7": 104}
OFFICIAL, CORRECTED = "dualtalk-official", "dualtalk-corrected"


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("dualtalk") / "data" / "test", DIALOGUES).parent


@pytest.fixture(scope="session")
def predictions(data, tmp_path_factory):
    return write_predictions(tmp_path_factory.mktemp("predictions") / "p", data / "test", noisy)


def evaluated(tmp_path, predictions, data, protocol, *more):
    out = tmp_path / "out.json"
    words = ["evaluate", "--predictions", predictions, "--data", data, "--protocol", protocol, "--json", out, *more]
    assert main([str(word) for word in words]) == 0
    return json.loads(out.read_text())


@pytest.fixture(scope="session")
def official(data, predictions, tmp_path_factory):
    return evaluated(tmp_path_factory.mktemp("official"), predictions, data, OFFICIAL)


@pytest.fixture(scope="session")
def corrected(data, predictions, tmp_path_factory):
    return evaluated(tmp_path_factory.mktemp("corrected"), predictions, data, CORRECTED)


def recomputed(data, predictions):
    """The published numbers of this set by another route: scipy and sklearn called here, on arrays sliced here."""
    from scipy.linalg import sqrtm
    from sklearn.cluster import KMeans

    def fd(a, b):
        c, d = np.cov(a.T), np.cov(b.T)
        return np.square(a.mean(0) - b.mean(0)).sum() + np.trace(c + d - 2 * sqrtm(c @ d).real)

    def sid(fitted, other, k):
        share = np.bincount(KMeans(k, random_state=0, n_init="auto").fit(fitted).predict(other), minlength=k) / len(other)
        return -(share * np.log2(share + 1e-6)).sum()

    found = {}
    for path in sorted(predictions.glob("*.npy")):
        name, other = path.stem, path.stem[:-1] + {"1": "2", "2": "1"}[path.stem[-1]]
        truth, partner = (as_prediction(dict(np.load(data / "test" / f"{person}.npz"))) for person in (name, other))
        prediction = np.load(path)
        for part, where, k, scales in (("exp", slice(0, 50), 40, (1, 10, 100)), ("jaw", slice(50, 53), 10, (1e3, 1e3, 10)),
                                       ("pose", slice(53, 56), 10, (1e2, 1e2, 10))):  # fmt: skip
            p, g, q = (np.ascontiguousarray(array[:, where]) for array in (prediction, truth, partner))
            correlation = [np.corrcoef(x.ravel(), q.ravel())[0, 1] for x in (g, p)]
            values = {
                "FD": scales[0] * fd(p, g),
                "P-FD": scales[0] * fd(np.hstack([q, p]), np.hstack([q, g])),
                "MSE": scales[1] * np.square(p - g).mean(),
                "SID": sid(p, g, k),
                "forward_SID": sid(g, p, k),
                "STS": np.sqrt((np.square(np.diff(p, axis=0) - np.diff(g, axis=0)) / 0.1).sum()),
                "Variance": p.var(0).mean(),
                "Variance_truth": g.var(0).mean(),
                "rPCC": scales[2] * abs(correlation[0] - correlation[1]),
            }
            for metric, value in values.items():
                found.setdefault((metric, part), []).append(value)
    return {key: np.mean(values) for key, values in found.items()}


def test_official_numbers_by_another_route(official, data, predictions):
    """Notices parts in another order, the partner's file taken for the own, every factor of the scaling, and SID's published order."""
    for (name, part), value in recomputed(data, predictions).items():
        assert official["metrics"][name][part] == pytest.approx(value, rel=1e-4), (name, part)
    assert official["metrics"]["SID"] == official["metrics"]["reverse_SID"] != official["metrics"]["forward_SID"]


def test_what_stands_beside_the_numbers(official, data, predictions):
    assert official["units"]["FD"] == {"exp": "", "jaw": "10⁻³ rad²", "pose": "10⁻² rad²"} and official["units"]["SID"]["exp"] == "bit"
    assert official["direction"]["FD"] == "lower" and official["direction"]["SID"] == "higher"
    assert official["counts"]["FD"]["jaw"] == {"used": 6, "skipped": 0}
    assert official["intervals"]["MSE"]["exp"] is None, "three dialogues say too little of their spread"
    assert official["unscaled"]["MSE"]["jaw"] == pytest.approx(official["metrics"]["MSE"]["jaw"] / 1000)
    facts = official["facts"]
    assert facts["protocol"] == OFFICIAL and facts["split"] == "test" and facts["scaling"]["FD.jaw"] == 1000
    assert len(facts["data_digest"]) == 64 and facts["commit"] and facts["seed"] == 0
    assert facts["people"] == {"in_data": 6, "scored": 6, "without_prediction": 0, "first": []}
    assert set(official["rows"]) == {str(predictions)} and official["rows"][str(predictions)]["metrics"] == official["metrics"]


def test_corrected_turns_sid_round_and_adds_variants(official, corrected):
    assert corrected["metrics"]["SID"] == corrected["metrics"]["forward_SID"] == official["metrics"]["forward_SID"]
    assert set(corrected["metrics"]) - set(official["metrics"]) == {
        "rPCC_per_dimension", "FD_pooled", "P-FD_pooled", "SID_pooled", "PDD", "JDD"
    }  # fmt: skip
    for part, tolerance in (("exp", 1e-6), ("jaw", 1e-9), ("pose", 1e-9)):
        assert corrected["metrics"]["FD"][part] == pytest.approx(official["metrics"]["FD"][part], rel=tolerance)


def test_dynamics_by_another_route(corrected, data, predictions):
    """Notices jaw rotations other than x in JDD, the head's in it, and the population's standard deviation."""
    gaps = {"PDD": [], "JDD": []}
    for path in predictions.glob("*.npy"):
        spreads = [
            np.std(array, axis=0, ddof=1) for array in (np.load(path), as_prediction(dict(np.load(data / "test" / f"{path.stem}.npz"))))
        ]
        gap = 100 * np.abs(spreads[0] - spreads[1])
        gaps["PDD"].append(gap[53:56].mean())
        gaps["JDD"].append(gap[50])
    for name, values in gaps.items():
        assert corrected["metrics"][name]["all"] == pytest.approx(np.mean(values), rel=1e-5)


@pytest.mark.parametrize(("protocol", "roots"), [(OFFICIAL, 6 * 3 * 2), (CORRECTED, 0)])
def test_only_the_official_protocol_takes_scipys_root(data, predictions, monkeypatch, protocol, roots):
    import scipy.linalg

    taken, root = [], scipy.linalg.sqrtm
    monkeypatch.setattr(scipy.linalg, "sqrtm", lambda matrix: taken.append(1) or root(matrix))
    evaluate_predictions([predictions], data, "test", protocol)
    assert len(taken) == roots, "FD and P-FD of three parts of six people"


def test_against_labels_means_nothing_here(refused):
    assert "--against" in refused("--against", "labels")


def test_the_same_command_gives_the_same_numbers(corrected, data, predictions, tmp_path):
    again = evaluated(tmp_path, predictions, data, CORRECTED)
    assert again["metrics"] == corrected["metrics"] and again["intervals"] == corrected["intervals"]
    other = evaluated(tmp_path, predictions, data, CORRECTED, "--seed", "1")
    assert other["metrics"]["Diversity"] != corrected["metrics"]["Diversity"] and other["metrics"]["FD"] == corrected["metrics"]["FD"]


def test_controls_have_the_values_they_must_have(data, predictions, tmp_path):
    """Truth as prediction: no error. The others are worse than the prediction where they are wrong."""
    rows = evaluated(tmp_path, predictions, data, CORRECTED, "--controls")["rows"]
    truth = rows["control: truth"]["metrics"]
    for name in ("FD", "P-FD", "MSE", "STS", "rPCC", "rPCC_per_dimension", "FD_pooled", "P-FD_pooled", "PDD", "JDD"):
        assert all(abs(value) < 1e-9 for value in truth[name].values()), name
    mine = rows[str(predictions)]["metrics"]
    assert rows["control: 5 frames late"]["metrics"]["MSE"]["exp"] > mine["MSE"]["exp"]
    assert rows["control: partner's motion"]["metrics"]["FD"]["pose"] > mine["FD"]["pose"]
    still = rows["control: still face"]["metrics"]
    assert still["Variance"]["exp"] == 0 and still["SID"]["exp"] == pytest.approx(0, abs=1e-5)
    assert still["FD"]["exp"] == pytest.approx(50 * still["Variance_truth"]["exp"], rel=0.02), "what is missing is the truth's variance"


# Planted faults: each of these once was a result


def metrics(predictions, data, protocol=CORRECTED):
    evaluation = evaluate_predictions([predictions], data, "test", protocol)
    return {key: score.value for key, score in evaluation.rows[evaluation.main].scores.items()}


FAULTS = {
    "head and jaw exchanged": lambda array, name: array[:, [*range(50), 53, 54, 55, 50, 51, 52]],
    "one frame late": lambda array, name: np.roll(array, 1, axis=0),
    "degrees": lambda array, name: np.hstack([array[:, :50], np.degrees(array[:, 50:])]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_in_a_perfect_prediction_show(data, tmp_path, fault):
    found = metrics(write_predictions(tmp_path / "wrong", data / "test", FAULTS[fault]), data)
    assert found["MSE", "jaw"] > 1e-2 and found["STS", "pose"] > 1e-2 and found["P-FD", "pose"] > 1e-3


# Bad input


@pytest.fixture
def own_data(tmp_path):
    return write_set(tmp_path / "data", {"x": 60, "y": 60})


@pytest.fixture
def own_predictions(tmp_path, own_data):
    return write_predictions(tmp_path / "predictions", own_data)


@pytest.fixture
def refused(own_data, own_predictions, tmp_path, capsys):
    def run(*more, predictions=own_predictions, data=own_data, protocol=OFFICIAL):
        words = ["evaluate", "--predictions", predictions, "--data", data, "--protocol", protocol, "--json", tmp_path / "no.json", *more]
        assert main([str(word) for word in words]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and not (tmp_path / "no.json").exists()
        return err

    return run


def test_a_missing_partner_is_named(refused, own_data):
    (own_data / "x_speaker2.npz").unlink()
    (own_data.parent / "predictions" / "x_speaker2.npy").unlink()
    line = refused()
    assert "x_speaker2.npz" in line and "partner of x_speaker1" in line


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((60, 58), np.float32), "(60, 58)"),
        (np.zeros((60, 56), np.int64), "int64"),
        (np.zeros(56, np.float32), "(56,)"),
        (np.full((60, 56), np.nan, np.float32), "frame 0, column 0"),
        (np.zeros((1, 56), np.float32), "at least 2 frames"),
        (np.array([{}], dtype=object), "plain numbers"),
    ],
)
def test_predictions_that_are_none(refused, own_predictions, array, words):
    np.save(own_predictions / "y_speaker1.npy", array)
    line = refused()
    assert words in line and "y_speaker1.npy" in line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: {"exp": arrays["exp"]}, "'pose'"),
        (lambda arrays: arrays | {"exp": np.zeros((60, 100), np.float32)}, "50"),
        (lambda arrays: arrays | {"exp": arrays["exp"][:50]}, "pose"),
        (lambda arrays: arrays | {"pose": np.full((60, 6), np.inf, np.float32)}, "inf"),
    ],
)
def test_data_that_is_none(refused, own_data, change, words):
    np.savez(own_data / "y_speaker2.npz", **change(truth_arrays(4, 60)))
    line = refused()
    assert words in line and "y_speaker2.npz" in line


def test_what_lies_beside_is_nobody(own_data, own_predictions, tmp_path):
    """Seen red: a file of macOS's was a person without a prediction, a nameless one a traceback, foreign arrays were parsed."""
    np.savez(own_data / "._x_speaker1.npz", exp=np.zeros(1))
    np.savez(own_data / "_speaker1.npz", exp=np.zeros(1))
    (own_predictions / "._x_speaker1.npy").write_bytes(b"x")
    np.savez(own_data / "y_speaker2.npz", **truth_arrays(4, 60), meta=np.array([{"mine": 1}], dtype=object))
    found = evaluated(tmp_path, own_predictions, own_data, OFFICIAL, "--complete")
    assert found["facts"]["people"]["in_data"] == 4


def test_facts_tell_other_voices_and_other_predictions(own_data, own_predictions, tmp_path):
    """Voices decide S_FD and L_FD. Seen red: neither was told."""

    def digests():
        facts = evaluated(tmp_path, own_predictions, own_data, CORRECTED)["facts"]
        return facts["data_digest"], facts["predictions_digest"]

    first = digests()
    soundfile.write(own_data / "x_speaker1.wav", np.random.default_rng(0).normal(0, 0.1, 60 * 640), 16_000)
    second = digests()
    np.save(own_predictions / "x_speaker1.npy", np.zeros((60, 56), np.float32))
    third = digests()
    assert first[0] != second[0] == third[0] and first[1] == second[1] != third[1]


def test_unknown_names_are_listed_and_counted(refused, own_predictions):
    for name in ("z_speaker1", "x_speaker3"):
        np.save(own_predictions / f"{name}.npy", np.zeros((60, 56), np.float32))
    line = refused()
    assert "2 of 6" in line and "x_speaker3, z_speaker1" in line


def test_people_without_a_prediction_are_counted_or_refused(refused, own_data, own_predictions, tmp_path, capsys):
    (own_predictions / "y_speaker2.npy").unlink()
    assert "1 without: y_speaker2" in refused("--complete")
    found = evaluated(tmp_path, own_predictions, own_data, OFFICIAL)
    assert "scored 3 of 4 people; without a prediction: y_speaker2" in capsys.readouterr().out
    assert found["facts"]["people"] == {"in_data": 4, "scored": 3, "without_prediction": 1, "first": ["y_speaker2"]}


def test_nothing_found(refused, own_data, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "an empty folder" in refused(predictions=tmp_path / "empty")
    assert "no such folder" in refused(predictions=tmp_path / "none")
    assert "_speaker1.npz" in refused(data=tmp_path / "empty")
    (own_data / "ood").mkdir()
    for path in own_data.glob("*.npz"):
        path.rename(own_data / "ood" / path.name)
    assert "folders ood" in refused()


def test_one_of_checkpoint_and_predictions(capsys, tmp_path):
    assert main(["evaluate", "--data", str(tmp_path)]) == 2
    assert "--checkpoint or --predictions" in capsys.readouterr().err


# Unequal lengths, short clips, speaking masks


def test_lengths_are_cut_to_the_shortest_and_reported(own_data, own_predictions, tmp_path, capsys):
    """Three frames at the end of a perfect prediction are nonsense and beyond the truth: the score stays perfect."""
    perfect = np.load(own_predictions / "x_speaker1.npy")
    np.save(own_predictions / "x_speaker1.npy", np.vstack([perfect, np.full((3, 56), 99, np.float32)]))
    found = evaluated(tmp_path, own_predictions, own_data, CORRECTED)
    assert found["metrics"]["MSE"]["exp"] == 0
    cut = found["facts"]["cut_to_shortest"]
    assert cut == {"people": 1, "most_frames": 3, "first": {"x_speaker1": {"prediction": 63, "truth": 60, "partner": 60}}}
    assert "1 clips cut" in capsys.readouterr().out


def test_too_few_frames_for_a_metric_are_counted(tmp_path, capsys):
    """39 frames have no 40 clusters, and 60 no 100 pairs in the published way; what is left is averaged."""
    data = write_set(tmp_path / "data", {"short": 39, "long": 60})
    found = evaluated(tmp_path, write_predictions(tmp_path / "p", data, noisy), data, OFFICIAL)
    assert found["counts"]["SID"]["exp"] == {"used": 2, "skipped": 2, "needs": "K frames"}
    assert found["counts"]["SID"]["jaw"] == {"used": 4, "skipped": 0}
    assert found["metrics"]["Diversity"]["exp"] is None and found["counts"]["Diversity"]["exp"]["used"] == 0
    assert "SID exp 2" in capsys.readouterr().out


def test_speaking_masks_come_from_the_voices(own_data, own_predictions, tmp_path):
    """x_speaker1 speaks in the first second only and is wrong there only. Notices masks exchanged and metrics without a voice."""
    for person in ("x_speaker1", "x_speaker2"):
        sound = np.zeros(60 * 640, np.float32)
        syllables = np.abs(np.sin(2 * np.pi * 2 * np.arange(25 * 640) / 16_000))  # steady noise is nobody's voice
        sound[: 25 * 640] = 0.3 * syllables * np.random.default_rng(0).standard_normal(25 * 640)
        soundfile.write(own_data / f"{person}.wav", sound, 16_000, subtype="FLOAT")
    wrong = np.load(own_predictions / "x_speaker1.npy")
    wrong[:20] += 1
    np.save(own_predictions / "x_speaker1.npy", wrong)
    found = evaluated(tmp_path, own_predictions, own_data, CORRECTED)
    assert found["unscaled"]["S_FD"]["jaw"] > 0.1 and abs(found["unscaled"]["L_FD"]["jaw"]) < 1e-9
    assert found["counts"]["S_FD"]["jaw"] == {"used": 2, "skipped": 2, "needs": "2 D such frames"}
    assert found["counts"]["S_FD"]["exp"]["used"] == 0, "25 frames are fewer than twice 50"
    assert found["metrics"]["S_FD_pooled"]["pose"] > 100 * abs(found["metrics"]["L_FD_pooled"]["pose"])


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_an_optional_voice_changes_nothing_but_speaking_and_listening(own_data, own_predictions, tmp_path, seconds):
    """A voice shorter or longer than the motion (steady noise is silence). Notices frames that are cut to it."""
    write_predictions(tmp_path / "noisy", own_data, noisy)
    without = evaluated(tmp_path, tmp_path / "noisy", own_data, OFFICIAL)
    sound = 0.3 * np.random.default_rng(0).standard_normal(round(seconds * 16_000)).astype(np.float32)
    soundfile.write(own_data / "x_speaker1.wav", sound, 16_000, subtype="FLOAT")
    found = evaluated(tmp_path, tmp_path / "noisy", own_data, OFFICIAL)
    assert {name: value for name, value in found["metrics"].items() if name not in ("S_FD", "L_FD")} == without["metrics"]
    assert found["facts"]["cut_to_shortest"]["people"] == 0 and found["counts"]["L_FD"]["jaw"]["used"] == 1


def test_several_folders_are_several_rows(data, predictions, tmp_path):
    perfect = write_predictions(tmp_path / "perfect", data / "test")
    found = evaluated(tmp_path, predictions, data, OFFICIAL, "--predictions", perfect, "--markdown", tmp_path / "t.md")
    assert list(found["rows"]) == [str(predictions), str(perfect)] and found["main"] == str(predictions)
    assert found["rows"][str(perfect)]["metrics"]["MSE"]["exp"] == 0 < found["metrics"]["MSE"]["exp"]
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert lines[0].count("|") == 6 and any(line.startswith("| FD jaw | 10⁻³ rad² | ↓ |") for line in lines)
