"""`mango data inspect` tells the truth about everything in the sample data, and about files made here."""

import json
import pickle

import cv2
import foreign
import numpy as np
import pytest
import torch
from foreign import face
from tiny_models import tiny_avatar, tiny_run

from mango.cli import main
from mango.data.formats.kinds import describe
from mango.data.motion_files import save_motion
from mango.head.model import load_head
from mango.models.adapters import Adapter
from mango.training.adapter_files import save_adapter
from mango.training.stage1 import load_motion_model

ANN, BOB = face(1), face(2)


def inspected(capsys, *words) -> str:
    assert main(["data", "inspect", *(str(word) for word in words)]) == 0
    return capsys.readouterr().out


# What SOURCES.md of each folder says, which is what must be found
TRUTH = {
    "anytalker_dyadic_audio": ("14 recordings of two people", "16000 Hz", "who speaks when: 29 turns", "--format plain"),
    "buddha_head_multiview": ("cameras of photographs", "13 pictures, the first of 1368x770"),
    "buddha_head_multiview/cameras.json": ("projection matrices 3x4 of 13 pictures", "image size [1368, 770]", "no motion"),
    "facecap_arkit_take/facecap_arkit52_take.npz": ("52 of ARKit's 52", "30 fps", "335 frames", "certain: order of columns", "11.17 s"),
    "facecap_arkit_take/facecap.glb": ("a head with ARKit morphs", "52 of ARKit's 52 by name", "2694 vertices", "meshopt"),
    "facegood_audio_mocap": ("116 columns without names", "1472 frames over 49.07 s", "30 a second", "column 74 follows its loudness"),
    "flame2023_open_parts/flame2023_open_partial.npz": ("a FLAME head in part", "60, no expressions", "5023 vertices", "no command"),
    "gsplat_test_garden/test_garden.npz": ("138766 points and 3 cameras",),
    "ict_facekit/ict_facekit_light.npz": ("26719 vertices, 100 identities, 57 expressions", "centimetres", "head convert --format ict"),
    "lam_gaussian_heads/test_expression_1s.json": ("973 frames", "30 fps", "32.43 s", "turn of the head", "certain: order of columns"),
    "lam_gaussian_heads/james.zip": ("a LAM head avatar", "bsData.json", "mango render --avatar"),
    "lam_gaussian_heads/p2-1.zip": ("a LAM head avatar", "mango render --avatar"),
    "lam_gaussian_heads/arkit51_on_flame5023.npz": ("51 of ARKit's 52 by name", "on FLAME's 5023 vertices", "no motion in it"),
    "lee_perry_smith_scan/LeePerrySmith.glb": ("a mesh (glb)", "draco"),
    "lee_perry_smith_scan": ("2 pictures, the first of 1024x1024",),
    "mediapipe_canonical_face/canonical_face_model.obj": ("a mesh (obj)", "468 vertices"),
    "pyannote_two_speaker_sample": ("30.00 s", "names 2 speakers", "separate the voices first", "10 turns of 2 people"),
    "anytalker_dyadic_audio/interact_01_left.wav": ("films or voices (1 of one person)", "sound 7.36 s", "next: mango data import"),
    "real_face_clip": ("200 frames of 512x512 at 25 fps", "the sound has 8.00 s", "next: mango track FILM"),
    "real_face_clip/weekly_address_512.mp4": ("200 frames of 512x512 at 25 fps", "next: mango track"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUTH)
def test_sample_data(samples, capsys, name):
    if not (samples / name).exists():
        pytest.skip(f"no {name} in the sample data")
    said = inspected(capsys, samples / name)
    for words in TRUTH[name]:
        assert words in said, said


def test_every_sample_has_a_description(samples):
    """No file is unreadable, none is of no known kind."""
    for path in sorted(samples.rglob("*")):
        if path.is_file() and path.stat().st_size < 8_000_000:
            assert not describe(path).what.startswith(("cannot be read", "a file of no known kind")), path


SPLATS = "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
OTHERS = {
    "Gaussian splats": (
        "x.ply",
        lambda: ply("x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"),
    ),
    "a GaussianAvatars avatar": ("x.ply", lambda: ply(f"{SPLATS} binding_0")),
    "a mesh or point cloud": ("x.ply", lambda: ply("x y z")),
    "an empty file": ("x.bin", lambda: b""),
    "a file of no known kind": ("x.bin", lambda: bytes(range(160, 256)) * 9),
    "text": ("x.txt", lambda: b"dear reader"),
    "a JSON list of 3": ("x.json", lambda: b"[1, 2, 3]"),
    "cannot be read": ("x.npy", lambda: b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'"),
    "cameras of 1 pictures": ("x.json", lambda: json.dumps({"frames": [{"transform_matrix": [[1]]}]}).encode()),
}


def ply(names: str) -> bytes:
    properties = "".join(f"property float {name}\n" for name in names.split())
    return f"ply\nformat binary_little_endian 1.0\nelement vertex 3\n{properties}end_header\n".encode() + bytes(12 * len(names.split()))


@pytest.mark.parametrize("what", OTHERS)
def test_other_files(tmp_path, capsys, what):
    name, content = OTHERS[what]
    (tmp_path / name).write_bytes(content())
    assert f"{tmp_path / name}: {what}" in inspected(capsys, tmp_path / name)


def test_heads(tmp_path, capsys, flame_file):
    from mango.head.assets import BUILTIN

    assert "a head file of this project" in inspected(capsys, BUILTIN)
    said = inspected(capsys, flame_file)
    assert "a FLAME head: 300 identities, 100 expressions" in said and f"--head {flame_file}" in said
    with np.load(flame_file) as arrays:
        (tmp_path / "model.bin").write_bytes(pickle.dumps(dict(arrays), protocol=2))
    assert "a FLAME head: 300 identities" in inspected(capsys, tmp_path / "model.bin")


def test_a_hostile_pickle_is_only_described(tmp_path, capsys):
    class Runs:
        def __reduce__(self):
            import os

            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"v_template": Runs()}))
    assert "nothing of it was run" in inspected(capsys, tmp_path / "x.pkl") and not (tmp_path / "ran").exists()


def test_what_is_not_there(tmp_path, capsys):
    assert main(["data", "inspect", str(tmp_path / "none")]) == 2 and "found none" in capsys.readouterr().err


def test_flame_motion_says_what_the_import_wants(tmp_path, capsys):
    said = inspected(capsys, foreign.gagavatar(tmp_path / "x.pkl", ANN))
    assert "--head YOUR_FLAME_FILE --flame-version 2020|2023|2023-open" in said and "unknown: the source cannot say" in said


def sheet(path) -> np.ndarray:
    return cv2.imread(str(path))


def test_sheet_of_motion_shows_the_motion(tmp_path, capsys):
    """Only the last head has its mouth open."""
    who = face(1)
    for weights in who.weights.values():
        weights[:] = 0
    who.weights["jawOpen"][-1] = 1
    inspected(capsys, foreign.arkit_npz(tmp_path / "x.npz", who), "--sheet", tmp_path / "x.png")
    picture = sheet(tmp_path / "x.png")
    assert picture.shape[1] == 1280
    heads = picture[54:214].reshape(160, 8, 160, 3).transpose(1, 0, 2, 3)
    mouths = heads[:, 85:125, 65:95].astype(float)
    assert np.abs(mouths[7] - mouths[0]).mean() > 5 and np.abs(mouths[6] - mouths[0]).max() == 0


def test_sheet_of_flame_motion_with_and_without_its_head(tmp_path, capsys):
    source = foreign.dualtalk(tmp_path / "s")
    inspected(capsys, source, "--sheet", tmp_path / "x.png")
    assert sheet(tmp_path / "x.png").shape[0] > 2 * (160 + 90)


def test_sheet_of_a_film_and_of_pictures(tmp_path, capsys):
    foreign.film(tmp_path / "x.mp4", 40, 25, ANN.voice)
    inspected(capsys, tmp_path / "x.mp4", "--sheet", tmp_path / "x.png")
    first, last = (sheet(tmp_path / "x.png")[54:214, place : place + 100].mean() for place in (10, 1140))
    assert last - first > 50  # greys of twice the frame's number
    cv2.imwrite(str(tmp_path / "y.jpg"), np.zeros((40, 60, 3), np.uint8))
    inspected(capsys, tmp_path / "y.jpg", "--sheet", tmp_path / "y.png")
    assert sheet(tmp_path / "y.png").shape == (188, 160, 3)


def test_a_sheet_of_nothing_is_refused(tmp_path, capsys):
    (tmp_path / "x.txt").write_text("dear reader")
    assert main(["data", "inspect", str(tmp_path / "x.txt"), "--sheet", str(tmp_path / "x.png")]) == 2
    assert "nothing that can be seen" in capsys.readouterr().err and not (tmp_path / "x.png").exists()


def test_sheets_of_samples(samples, tmp_path, capsys):
    for name in ("lam_gaussian_heads", "mediapipe_canonical_face", "real_face_clip"):
        if (samples / name).exists():
            inspected(capsys, samples / name, "--sheet", tmp_path / "x.png")
            assert sheet(tmp_path / "x.png").std() > 20


def test_our_own_files_are_called_that(tmp_path, capsys):
    """Seen red: motion was called FLAME's, and its import made a set of wrong coefficients; adapters were nothing's."""
    head = load_head()
    clip = head.layout.clip(torch.zeros(3, head.layout.width), torch.zeros(head.identities), head.digest)
    folder = tmp_path / "my talk"
    folder.mkdir()
    for person in "ab":
        save_motion(folder / f"{person}.motion.npz", clip)
        foreign.wav_float32(folder / f"{person}.wav", ANN.voice)
    said = inspected(capsys, folder / "a.motion.npz")
    assert "motion of one person, of this project" in said and "mango export" in said and f"'{folder}/a.motion.npz'" in said
    assert "motion of two people" in inspected(capsys, folder) and "FLAME" not in inspected(capsys, folder)
    (tmp_path / "theirs.json").write_text("not JSON")
    assert "FLAME" in inspected(capsys, (folder / "a.motion.npz").rename(tmp_path / "theirs.npz")), (
        "arrays of these names alone are FLAME's"
    )
    (tmp_path / "theirs.npz").rename(folder / "a.motion.npz")
    words = ("data", "import", "--format", "vhap", "--head", "builtin", str(folder / "a.motion.npz"), str(tmp_path / "set"))
    assert main(list(words)) == 2 and "motion of this project" in capsys.readouterr().err
    assert main(["data", "import", *words[4:]]) == 2 and "recordings of a known format, found none" in capsys.readouterr().err
    model, _, _ = load_motion_model(tiny_run(tmp_path / "run", head), head=head)
    save_adapter(tmp_path / "anna.safetensors", Adapter(model, "anna", 2))
    said = inspected(capsys, tmp_path / "anna.safetensors")
    assert "an adapter of this project" in said and "of anna" in said
    tiny_avatar(tmp_path / "ben.safetensors", head)
    assert "an avatar of this project" in inspected(capsys, tmp_path / "ben.safetensors")


def test_the_folder_one_stands_in(tmp_path, capsys, monkeypatch):
    """Seen red: "." has no name, and was a traceback."""
    for name in ("left", "right"):
        foreign.wav_float32(tmp_path / f"{name}.wav", ANN.voice)
    monkeypatch.chdir(tmp_path)
    assert "sound" in inspected(capsys, ".")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main(["data", "merge", ".", str(tmp_path), str(tmp_path)]) == 2 and "expected" in capsys.readouterr().err


def test_what_was_read_is_not_said_to_be_left(tmp_path, capsys, monkeypatch):
    """Seen red: named from here, every voice was said to be unread."""
    foreign.dualtalk(tmp_path / "DT")
    monkeypatch.chdir(tmp_path)
    said = inspected(capsys, "DT")
    assert "speaker1.wav" in said and "not read" not in said
    (tmp_path / "DT" / "train" / "notes.wav").write_bytes((tmp_path / "DT" / "train" / "abc_sub_video_3_001_speaker1.wav").read_bytes())
    assert "not read: 1 .wav (train/notes.wav)" in inspected(capsys, "DT")
    one = "DT/train/abc_sub_video_3_001_speaker1.npz"
    assert main(["data", "import", "--format", "dualtalk", one, "OUT", "--head", "FLAME"]) == 2
    assert "name the folder that holds both speakers' files" in capsys.readouterr().err


def test_sets_that_were_tracked_one_by_one(tmp_path, capsys):
    for name in ("one", "and two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dataset.json").write_text("{}")
    assert f"mango data merge OUT '{tmp_path}/and two' {tmp_path}/one" in inspected(capsys, tmp_path)
