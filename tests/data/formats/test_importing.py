"""From foreign files to a set that `mango data validate` accepts: through the command, every number followed."""

import json
import os

import foreign
import numpy as np
import pytest
from foreign import face
from mutations import DATABASES

from mango.cli import main
from mango.data.dialogues import DialogueSet
from mango.data.formats.registry import FORMATS
from mango.data.formats.timing import between, nearest_frames, num_frames, turned_between
from mango.data.motion_files import load_motion
from mango.data.validation import problems
from mango.data.video import VideoFrames
from mango.head.arkit import ARKIT_NAMES, arkit_from_motion
from mango.head.assets import read_head, write_head
from mango.head.model import load_head

ANN, BOB = face(1), face(2)
LONG = face(1, frames=200), face(2, frames=200)  # whose voice is whose shows in eight seconds


def run(*words) -> int:
    """In this process: starting others takes longer than these recordings."""
    return main(["data", "import", "--workers", "1", *(str(word) for word in words)])


@pytest.fixture
def sources(tmp_path, flame_file):
    """name -> (path, more words)."""
    flame = ("--head", flame_file, "--flame-version", "2020")  # made-up numbers show no generation
    return {
        "dualtalk": lambda: (foreign.dualtalk(tmp_path / "s"), *flame),
        "dualtalk-arkit": lambda: (foreign.dualtalk_arkit(tmp_path / "s", (ANN, BOB)),),
        "vhap": lambda: (foreign.vhap(tmp_path / "s", ANN), *flame),
        "diffposetalk": lambda: (foreign.diffposetalk(tmp_path / "s.npz", ANN), *flame),
        "deca": lambda: (foreign.emoca(tmp_path / "s", ANN), *flame),
        "smirk": lambda: (foreign.smirk(tmp_path / "s.pkl", ANN), *flame),
        "metrical-tracker": lambda: (foreign.metrical_tracker(tmp_path / "s", ANN), *flame),
        "gagavatar-track": lambda: (foreign.gagavatar(tmp_path / "s.pkl", ANN), *flame),
        "unils": lambda: (foreign.unils(tmp_path / "s", (ANN, BOB)), *flame),
        "diffposetalk-lmdb": lambda: (foreign.diffposetalk_lmdb(tmp_path / "s", ANN), *flame),
        "artalk": lambda: (foreign.artalk(tmp_path / "s.pt", ANN), *flame),
        "lam-json": lambda: (foreign.lam_json(tmp_path / "s.json", ANN),),
        "livelink-csv": lambda: (foreign.livelink(tmp_path / "s.csv", ANN),),
        "a2f-csv": lambda: (foreign.a2f(tmp_path / "s.csv", ANN),),
        "arkit-npy": lambda: (foreign.arkit_npy(tmp_path / "s.npy", ANN),),
        "arkit-npz": lambda: (foreign.arkit_npz(tmp_path / "s.npz", ANN),),
        "stereo": lambda: (foreign.stereo(tmp_path / "s.wav", (ANN, BOB)),),
        "seamless": lambda: (foreign.seamless(tmp_path / "s", (ANN, BOB)),),
    }


RECOGNISED = [name for name in FORMATS if name != "plain"]  # plain is asked for last, and has tests of its own below


@pytest.mark.parametrize("name", RECOGNISED)
@pytest.mark.parametrize("stated", [True, False])
def test_every_format_becomes_a_valid_set(tmp_path, sources, name, stated, capsys):
    if name in DATABASES:
        pytest.importorskip("lmdb", reason="the lmdb extra is not installed")
    words = sources[name]()
    assert run(*(("--format", name) if stated else ()), *words, tmp_path / "out") == 0, capsys.readouterr().err
    assert problems(tmp_path / "out") == []
    assert list(tmp_path.glob(".*")) == []
    made = DialogueSet.open(tmp_path / "out")
    (id,) = made.ids
    dialogue = made.dialogue(id)
    assert made.describe(id).source.startswith(name) and (dialogue.sides["b"].person == "") == (
        name not in ("dualtalk", "dualtalk-arkit", "unils", "stereo", "seamless")
    )


def test_flame_numbers_arrive(tmp_path, flame_file):
    assert run("--head", flame_file, "--flame-version", "2020", foreign.dualtalk(tmp_path / "s"), tmp_path / "out") == 0
    head = load_head(flame_file)
    for side, who in (("a", ANN), ("b", BOB)):
        clip = load_motion(next((tmp_path / "out").rglob(f"{side}.motion.npz")), head=head)
        np.testing.assert_array_equal(clip.expr, who.expr)
        np.testing.assert_array_equal(clip.neck_pose, who.head)
        np.testing.assert_array_equal(clip.jaw_pose, who.jaw)
        assert not clip.rotation.any() and clip.shape.shape == (300,)
    audio = DialogueSet.open(tmp_path / "out").dialogue("abc_sub_video_3_001").sides["b"].audio.numpy()
    np.testing.assert_allclose(audio, BOB.voice, atol=1 / 32768)


def test_a_trackers_global_rotation_becomes_the_necks(tmp_path, flame_file, capsys):
    assert run("--head", flame_file, "--flame-version", "2020", foreign.vhap_tracked(tmp_path / "s.npz", ANN), tmp_path / "out") == 0
    clip = load_motion(next((tmp_path / "out").rglob("a.motion.npz")))
    np.testing.assert_array_equal(clip.neck_pose, ANN.head)
    assert not clip.rotation.any() and "rotation is neck_pose now" in capsys.readouterr().out


def test_arkit_weights_arrive_by_name(tmp_path, builtin):
    """At their own rate nothing is lost but what opposite shapes have in common."""
    words = ("--fps", "25", foreign.arkit_npz(tmp_path / "s.npz", ANN))
    assert run(*words, tmp_path / "out") == 0
    clip = load_motion(next((tmp_path / "out").rglob("a.motion.npz")), head=builtin)
    weights = arkit_from_motion(builtin, clip.expr, clip.jaw_pose, clip.eyes_pose).numpy()
    joints_both_ways = [name for name in ARKIT_NAMES if name.startswith(("eyeLookUp", "eyeLookDown", "jawLeft", "jawRight"))]
    for k, name in enumerate(ARKIT_NAMES):
        if name not in joints_both_ways:  # these lose what they have in common
            np.testing.assert_allclose(weights[:, k], ANN.weights[name], atol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    ("make", "words", "said"),
    [
        (lambda folder: foreign.diffposetalk(folder / "s.npz", ANN), (), "give --head your FLAME file"),
        (lambda folder: foreign.gagavatar(folder / "s.pkl", ANN), ("--head", "FLAME"), "--flame-version"),
        (lambda folder: foreign.dualtalk(folder / "s"), ("--head", "FLAME"), "which FLAME the head 'generic_model' is"),
        (lambda folder: foreign.arkit_npz(folder / "s.npz", ANN), ("--head", "FLAME"), "the built-in head can be laid over"),
        (lambda folder: foreign.arkit_npz(folder / "s.npz", ANN), ("--format", "arkit-npx"), "did you mean 'arkit-np"),
        (
            lambda folder: foreign.dualtalk(folder / "s", faces=LONG, swapped_voices=True),
            ("--head", "FLAME", "--flame-version", "2020"),
            "order of persons",
        ),
        (lambda folder: folder / "none", (), "no such file"),
        (lambda folder: folder, (), "mango data inspect"),
    ],
)
def test_refusals_say_why_and_leave_nothing(tmp_path, flame_file, capsys, make, words, said):
    source = make(tmp_path)
    words = [flame_file if word == "FLAME" else word for word in words]
    assert run(*words, source, tmp_path / "out") == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1
    assert not (tmp_path / "out").exists() and list(tmp_path.glob(".*")) == []


def test_coefficients_of_another_generation_are_refused(tmp_path, flame_file, capsys):
    """The head remembers what it is. Seen red by comparing nothing but widths."""
    arrays = read_head(flame_file, generation="2023")
    write_head(tmp_path / "head.npz", arrays)
    assert run("--head", tmp_path / "head.npz", foreign.dualtalk(tmp_path / "s"), tmp_path / "out") == 2
    assert "expected a FLAME 2020 head, found FLAME 2023" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_cannot_count_is_refused(tmp_path, capsys):
    """A stated rate or generation that nothing reads would be believed to have counted."""
    assert run("--fps", "30", foreign.stereo(tmp_path / "s.wav", (ANN, BOB)), tmp_path / "out") == 2
    assert "leave --fps away" in capsys.readouterr().err
    assert run("--flame-version", "2020", foreign.arkit_npz(tmp_path / "s.npz", ANN), tmp_path / "out") == 2
    assert "leave --flame-version away" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_sound_and_pictures_alone(tmp_path, capsys):
    """Of motion that is left out nothing is asked: here it contradicts the voices."""
    assert run("--without-motion", foreign.dualtalk(tmp_path / "s", faces=LONG, swapped_voices=True), tmp_path / "out") == 0
    assert problems(tmp_path / "out") == [] and list((tmp_path / "out").rglob("*.motion.npz")) == []


def test_channels_with_one_sound_are_not_two_people(tmp_path, capsys):
    """As most recorders write a single microphone."""
    room = np.random.default_rng(3).normal(size=(len(ANN.voice), 2)) * 1e-4
    sound = foreign.wav_float32(tmp_path / "s.wav", (np.stack([ANN.voice, 0.5 * ANN.voice], 1) + room).astype("f4"))
    for words in ((), ("--without-motion",)):  # seen red: nothing was asked of voices whose motion was not wanted
        assert run(*words, sound, tmp_path / "out") == 2 and not (tmp_path / "out").exists()
    assert "a voice for each person: loudness of the two channels correlates by 1.00" in capsys.readouterr().err
    assert run("--format", "plain", sound, tmp_path / "one") == 0 and run("--anyway", sound, tmp_path / "two") == 0


@pytest.mark.parametrize("fps", ["0", "-25", "nan", "1e9"])
def test_a_rate_that_is_none_is_refused(tmp_path, fps, capsys):
    """Seen red: 0 counted as not stated, and -25 as a fault of ours."""
    words = (f"--fps={fps}", foreign.arkit_npy(tmp_path / "s.npy", ANN))
    assert run(*words, tmp_path / "out") == 2
    assert "--fps: expected 1 to 1000 frames a second" in capsys.readouterr().err
    assert main(["data", "inspect", *map(str, words)]) == 2


def test_a_name_that_is_not_utf_8_fails_alone(tmp_path, capsys):
    """As old archives unpack. Seen red: UnicodeEncodeError, and no set."""
    (tmp_path / "s").mkdir()
    for name in (b"ann.wav", b"caf\xe9.wav", "\u0434\u0430 ".encode() + b"\xe9.wav"):
        foreign.wav_float32(tmp_path / "s" / os.fsdecode(name), ANN.voice)
    assert run(tmp_path / "s", tmp_path / "out") == 0
    assert problems(tmp_path / "out") == [] and DialogueSet.open(tmp_path / "out").ids == ("ann",)
    said = capsys.readouterr().out
    assert said.count("expected a file name in UTF-8") == 2 and r"found 'caf\udce9.wav'; rename it" in said


def test_contradictions_can_be_overruled(tmp_path, flame_file):
    source = foreign.dualtalk(tmp_path / "s", faces=LONG, swapped_voices=True)
    assert run("--head", flame_file, "--flame-version", "2020", source, tmp_path / "out", "--anyway") == 0


def test_nothing_is_overwritten_unasked(tmp_path, capsys):
    source = foreign.arkit_npz(tmp_path / "s.npz", ANN)
    assert run(source, tmp_path / "out") == 0
    before = (tmp_path / "out" / "dataset.json").read_bytes()
    other = foreign.lam_json(tmp_path / "t.json", BOB)
    assert run(other, tmp_path / "out") == 2 and "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / "dataset.json").read_bytes() == before
    assert run(other, tmp_path / "out", "--overwrite") == 0 and (tmp_path / "out" / "dialogues" / "t").is_dir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert run(other, tmp_path / "mine", "--overwrite") == 2 and (tmp_path / "mine" / "letter.txt").exists()


def test_strict_stops_at_a_recording_that_fails(tmp_path, flame_file, capsys):
    """No set appears; what was done is kept for the next time."""
    foreign.dualtalk(tmp_path / "s", "train")
    foreign.dualtalk(tmp_path / "s", "test")
    broken = sorted((tmp_path / "s" / "train").glob("*.npz"))[1]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-200])
    words = ("--head", flame_file, "--flame-version", "2020", tmp_path / "s", tmp_path / "out")
    assert run("--strict", *words) == 2 and broken.name in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and list(tmp_path.glob(".*")) == []
    broken.write_bytes(whole)
    assert run("--strict", *words) == 0 and problems(tmp_path / "out") == [] and not (tmp_path / "out.importing").exists()
    assert "1 as they were" in capsys.readouterr().out


def test_people_of_training_who_are_tested_too_are_said(tmp_path, flame_file):
    for split in ("train", "test"):
        foreign.dualtalk(tmp_path / "s", split)
    assert run("--head", flame_file, "--flame-version", "2020", tmp_path / "s", tmp_path / "out") == 0
    assert problems(tmp_path / "out") == []
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["splits"]["share_people"] is True


FILES = {
    "artalk": lambda path, who: foreign.artalk(path.with_suffix(".pt"), who),
    "gagavatar-track": lambda path, who: foreign.gagavatar(path.with_suffix(".pkl"), who),
    "lam-json": lambda path, who: foreign.lam_json(path.with_suffix(".json"), who),
    "livelink-csv": lambda path, who: foreign.livelink(path.with_suffix(".csv"), who),
    "a2f-csv": lambda path, who: foreign.a2f(path.with_suffix(".csv"), who),
    "arkit-npy": lambda path, who: foreign.arkit_npy(path.with_suffix(".npy"), who),
    "arkit-npz": lambda path, who: foreign.arkit_npz(path.with_suffix(".npz"), who),
}


@pytest.mark.parametrize("name", FILES)
def test_a_folder_of_motions_is_a_recording_each(tmp_path, flame_file, name, capsys):
    """Seen red: their voices were taken for the recordings, and the motion was lost without a word."""
    (tmp_path / "s" / "more").mkdir(parents=True)
    for stem, who in (("ann", ANN), ("more/bob", BOB)):
        foreign.wav_float32(FILES[name](tmp_path / "s" / stem, who).with_suffix(".wav"), who.voice)
    for other in ("ann.mkv", "talk.m4a", "more/eve.wav", "read.me"):
        (tmp_path / "s" / other).write_bytes(b"other")
    words = ("--head", flame_file, "--flame-version", "2020") if name in ("artalk", "gagavatar-track") else ()
    assert run("--anyway", *words, tmp_path / "s", tmp_path / "out") == 0
    made = DialogueSet.open(tmp_path / "out")
    assert sorted(made.ids) == ["ann", "more-bob"] == sorted(made.people) and len(list((tmp_path / "out").rglob("a.motion.npz"))) == 2
    assert all(made.dialogue(id).sides["a"].audio.any() for id in made.ids) and made.describe("ann").source.startswith(name)
    assert "not read: 1 .mkv, 1 .wav, 1 .m4a (ann.mkv, more/eve.wav, talk.m4a)" in capsys.readouterr().out


def test_motion_that_a_stated_format_does_not_read_is_said(tmp_path, capsys):
    (tmp_path / "s").mkdir()
    foreign.wav_float32(tmp_path / "s" / "ann.wav", ANN.voice)
    foreign.livelink(tmp_path / "s" / "ann.csv", ANN)
    assert main(["data", "inspect", "--format", "plain", str(tmp_path / "s")]) == 0
    assert "not read: 1 .csv (ann.csv)" in capsys.readouterr().out
    assert run("--format", "plain", tmp_path / "s", tmp_path / "out") == 0
    assert "not read: 1 .csv (ann.csv)" in capsys.readouterr().out


def test_films_of_any_rate(tmp_path):
    """Frames are told by their grey: each shows the moment it should, in every rate."""
    for rate, frames in (("25", 50), ("30", 60), ("30000/1001", 60), ("50", 100)):
        name = rate.replace("/", "-")
        foreign.film(tmp_path / f"{name}.mp4", frames, rate, ANN.voice)
        assert run(tmp_path / f"{name}.mp4", tmp_path / name) == 0
        video = VideoFrames(next((tmp_path / name).rglob("a.mp4")))
        shown = video.frames(range(len(video)))[:, 32, 32, 0].float().numpy() / 2
        from fractions import Fraction

        wanted = np.minimum(np.floor(np.arange(len(video)) * float(Fraction(rate)) / 25 + 0.5), frames - 1)
        assert len(video) in (49, 50) and np.abs(shown - wanted).max() <= 1.0  # the codec's grey
        assert problems(tmp_path / name) == []


def test_timing_is_exact():
    """An hour of 29.97 fps does not drift; at 25 fps not a bit changes; a steady turn stays steady."""
    from fractions import Fraction

    ntsc = Fraction(30000, 1001)
    assert num_frames(107_892, ntsc) == 89_999 and nearest_frames(107_892, ntsc, 89_999)[-1] == round(89_998 * 30000 / 1001 / 25)
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    np.testing.assert_array_equal(between(values, Fraction(25), 40), values)
    np.testing.assert_array_equal(turned_between(values, Fraction(25), 40), values)
    ramp = np.arange(60, dtype=np.float32)[:, None] / 30
    np.testing.assert_allclose(between(ramp, Fraction(30), 49)[:, 0], np.arange(49) / 25, atol=1e-6)
    turn = np.outer(np.arange(60) / 30, [0.3, 0.8, -0.2]).astype(np.float32)
    np.testing.assert_allclose(turned_between(turn, Fraction(30), 49), np.outer(np.arange(49) / 25, [0.3, 0.8, -0.2]), atol=1e-6)


def test_real_takes(samples, tmp_path, builtin):
    """Face Cap's eleven seconds and LAM's thirty-two, from thirty frames a second."""
    takes = {"facecap_arkit_take/facecap_arkit52_take.npz": 279, "lam_gaussian_heads/test_expression_1s.json": 810}
    for number, (name, frames) in enumerate(takes.items()):
        if not (samples / name).exists():
            pytest.skip(f"no {name} in the sample data")
        assert run(samples / name, tmp_path / str(number)) == 0
        assert problems(tmp_path / str(number), head=builtin) == []
        clip = load_motion(next((tmp_path / str(number)).rglob("a.motion.npz")))
        assert len(clip) == frames and float(clip.jaw_pose[:, 0].max()) > 0.05


def test_real_dialogues_and_film(samples, tmp_path):
    for name, dialogues in {"anytalker_dyadic_audio": 14, "real_face_clip": 1}.items():
        if not (samples / name).exists():
            pytest.skip(f"no {name} in the sample data")
        assert run(samples / name, tmp_path / name) == 0
        assert problems(tmp_path / name) == [] and len(DialogueSet.open(tmp_path / name).ids) == dialogues
