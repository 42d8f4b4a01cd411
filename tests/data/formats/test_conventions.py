"""The convention check on faults planted in plausible motion: each is named, and sound motion is not accused."""

from fractions import Fraction

import foreign
import numpy as np
import pytest
from foreign import APPLE, FRAMES, face

from mango.data.formats.conventions import check
from mango.data.formats.recordings import ArkitMotion, PersonRecording, Recording, flame_motion
from mango.data.formats.registry import load, recognised
from mango.data.formats.sounds import sound_in_memory
from mango.head.arkit import ARKIT_NAMES

ANN, BOB = face(1), face(2)


def flame(who=ANN, **changed):
    parts = {"expr": who.expr, "neck_pose": who.head, "jaw_pose": who.jaw, "eyes_pose": who.eyes} | changed
    return flame_motion(parts.pop("expr"), who.shape, generation="2020", **parts)


def arkit(who=ANN, **changed):
    weights = np.stack([changed.get(name, who.weights[name]) for name in ARKIT_NAMES], 1).astype(np.float32)
    return ArkitMotion(weights, frozenset(ARKIT_NAMES), changed.get("head"))


def recording(motion, voice=None, fps=25) -> Recording:
    sound = None if voice is None else sound_in_memory(voice, 16_000)
    return Recording("x", (PersonRecording("x", motion, sound),), Fraction(fps))


def verdict(found: Recording, topic: str) -> str:
    findings = [finding for finding in check(found) if finding.topic.startswith(topic)]
    assert findings, f"no finding of {topic}"
    return findings[0].verdict


FAULTS = {
    "degrees": (flame(neck_pose=np.degrees(ANN.head)), "axis-angle in radians"),
    "jaw sign": (flame(jaw_pose=-ANN.jaw), "jaw sign and axis"),
    "jaw axis": (flame(jaw_pose=ANN.jaw[:, [1, 0, 2]]), "jaw sign and axis"),
    "camera axes": (flame(neck_pose=ANN.head * 0.1 + [np.pi * 0.98, 0, 0]), "axes"),
    "millimetres": (flame(translation=1000 * ANN.head), "metres"),
    "expression scale": (flame(expr=100 * ANN.expr), "expression"),
    "one eye mirrored": (flame(eyes_pose=ANN.eyes * [1, 1, 1, 1, -1, 1]), "eyes left and right"),
    "percent": (arkit(**{name: 100 * ANN.weights[name] for name in APPLE}), "weights from 0 to 1"),
    "gaze of one eye exchanged": (
        arkit(eyeLookOutRight=ANN.weights["eyeLookInRight"], eyeLookInRight=ANN.weights["eyeLookOutRight"]), "gaze, left and right",
    ),
    "alphabetical columns in Live Link's order": (
        ArkitMotion(np.stack([ANN.weights[name] for name in APPLE], 1), frozenset(ARKIT_NAMES)), "order of columns",
    ),
    "head in degrees": (arkit(head=np.degrees(ANN.head)), "turn of the head"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_contradicted(fault):
    motion, topic = FAULTS[fault]
    assert verdict(recording(motion), topic) == "contradicted"


@pytest.mark.parametrize("motion", [flame(), arkit()])
@pytest.mark.parametrize("voice", [None, ANN.voice])
def test_sound_motion_is_not_accused(motion, voice):
    assert [str(finding) for finding in check(recording(motion, voice)) if finding.verdict == "contradicted"] == []


@pytest.mark.parametrize("right", [24, 30, 50, 60])
def test_the_rate_against_the_sound(right):
    """The words name the rate that fits."""
    voice = face(1, fps=right).voice
    (found,) = [f for f in check(recording(flame(), voice, fps=25)) if f.topic == "frame rate against sound"]
    if right == 24:  # a frame and two thirds apart over two seconds: within what streams differ by anyway
        assert found.verdict == "certain"
        return
    assert found.verdict == "contradicted" and f"--fps {right}" in found.words
    assert verdict(recording(flame(), voice, fps=right), "frame rate") == "certain"


def test_sound_that_fits_no_rate_is_said():
    assert verdict(recording(flame(), np.tile(ANN.voice, 20)), "frame rate") == "contradicted"


def test_exchanged_persons(tmp_path):
    """The voices of both speakers exchanged."""
    path = foreign.dualtalk(tmp_path, faces=(face(1, frames=200), face(2, frames=200)), swapped_voices=True)
    format, _ = recognised(path)
    assert verdict(load(format.entries(path)[0]), "order of persons") == "contradicted"


def test_names_settle_the_order_of_columns(tmp_path):
    """The same numbers with a head row: any order is fine. Without: the wrong one is noticed."""
    shuffled = sorted(APPLE)
    path = foreign.arkit_npy(tmp_path / "x.npy", ANN, order=shuffled)
    format, _ = recognised(path)
    assert verdict(load(format.entries(path)[0]), "order of columns") == "contradicted"
    (tmp_path / "x.csv").write_text(",".join([*shuffled, *foreign.ANGLES]) + "\n" + ",".join(["0"] * 61) + "\n")
    named = load(format.entries(path)[0])
    assert verdict(named, "order of columns") == "certain"
    np.testing.assert_array_equal(named.people[0].motion.weights[:, ARKIT_NAMES.index("jawOpen")], ANN.weights["jawOpen"])


def test_jaw_and_voice_belong_together():
    """Somebody else's voice is not taken for the own one, although the best of many shifts is looked at."""
    talk, other = face(3, frames=300), face(4, frames=300)
    (found,) = [f for f in check(recording(flame(talk), talk.voice)) if f.topic == "motion follows sound"]
    assert found.verdict == "certain" and "correlate" in found.words
    assert verdict(recording(flame(talk), other.voice), "motion follows sound") == "assumed"


def test_little_motion_claims_little():
    still = flame(jaw_pose=0 * ANN.jaw, expr=0 * ANN.expr, eyes_pose=0 * ANN.eyes, neck_pose=0 * ANN.head)
    verdicts = {finding.topic: finding.verdict for finding in check(recording(still))}
    assert verdicts["jaw sign and axis"] == verdicts["eyes left and right"] == "assumed" and "contradicted" not in verdicts.values()


def test_a_generation_is_never_certain():
    for generation in (None, "2020", "2023"):
        motion = flame_motion(ANN.expr, ANN.shape, generation=generation)
        assert verdict(recording(motion), "FLAME generation") == "assumed"


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_short_takes_do_not_break_it(frames):
    for motion in (flame(), arkit()):
        short = type(motion)(**{name: part[:frames] if isinstance(part, np.ndarray) and len(part) == FRAMES else part
                                for name, part in vars(motion).items()})  # fmt: skip
        check(recording(short, ANN.voice[: frames * 640]))


def test_labels_of_several_speakers_beside_one_voice(tmp_path):
    foreign.wav_float32(tmp_path / "x.wav", ANN.voice)
    (tmp_path / "x.rttm").write_text("SPEAKER x 1 0.1 0.5 <NA> <NA> ann <NA> <NA>\nSPEAKER x 1 0.8 0.5 <NA> <NA> bob <NA> <NA>\n")
    format, _ = recognised(tmp_path / "x.wav")
    assert verdict(load(format.entries(tmp_path / "x.wav")[0]), "one person's own voice") == "contradicted"
