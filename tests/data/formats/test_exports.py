"""What `mango export` writes, read by the test's own code: every number where another program looks for it, every loss said."""

import csv
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from foreign import APPLE, matrices
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mango.cli import main
from mango.data.formats.dualtalk import write as write_dualtalk
from mango.data.formats.lam_json import write as write_lam
from mango.data.formats.livelink_csv import write as write_livelink
from mango.data.formats.recordings import ArkitMotion, flame_motion
from mango.data.formats.registry import load, recognised
from mango.data.formats.vhap import write as write_vhap
from mango.data.motion_files import save_motion
from mango.head.arkit import ARKIT_NAMES, motion_from_arkit
from mango.head.assets import read_head, write_head
from mango.head.model import load_head
from mango.types import MotionClip

FRAMES = 7


def clip_of(head, frames: int = FRAMES, seed: int = 0) -> MotionClip:
    noise = torch.Generator().manual_seed(seed)
    widths = {"expr": head.expressions, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
    parts = {name: 0.3 * torch.randn(frames, width, generator=noise) for name, width in widths.items()}
    return MotionClip(**parts, shape=0.5 * torch.randn(head.identities, generator=noise), head=head.digest)


@pytest.fixture
def saved(tmp_path, builtin):
    """A clip of weights that ARKit can say: no roll, a jaw that opens."""
    weights = torch.rand(FRAMES, 52, generator=torch.Generator().manual_seed(3))
    for opposite in ("jawRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookDownLeft", "eyeLookDownRight"):
        weights[:, ARKIT_NAMES.index(opposite)] = 0  # a joint turns one way at a time
    parts = motion_from_arkit(builtin, weights)
    still = {name: torch.zeros(FRAMES, 3) for name in ("rotation", "translation")}
    neck = 0.1 * torch.randn(FRAMES, 3, generator=torch.Generator().manual_seed(4))
    clip = MotionClip(**parts, **still, neck_pose=neck, shape=torch.zeros(builtin.identities), head=builtin.digest)
    save_motion(tmp_path / "a.motion.npz", clip)
    return tmp_path / "a.motion.npz", weights.numpy(), clip


def run(*words) -> int:
    return main([str(word) for word in words])


def test_live_link(saved, tmp_path, capsys):
    path, weights, clip = saved
    assert run("export", "--format", "livelink-csv", path, tmp_path / "x.csv") == 0
    with (tmp_path / "x.csv").open() as file:
        head, *rows = csv.reader(file)
    assert head[:2] == ["Timecode", "BlendShapeCount"] and len(head) == 63 and rows[0][0] == "00:00:00:00.000"
    assert [name.lower() for name in head[2:54]] == [name.lower() for name in APPLE]
    for name in APPLE:
        column = [float(row[head.index(name[0].upper() + name[1:])]) for row in rows]
        np.testing.assert_allclose(column, weights[:, ARKIT_NAMES.index(name)], atol=2e-6, err_msg=name)
    yaw, pitch, roll = (np.array([float(row[head.index(name)]) for row in rows]) for name in ("HeadYaw", "HeadPitch", "HeadRoll"))
    about_y, about_x, about_z = (
        matrices(np.outer(angle, axis)) for angle, axis in zip((yaw, pitch, roll), np.eye(3)[[1, 0, 2]], strict=True)
    )
    np.testing.assert_allclose(about_y @ about_x @ about_z, matrices(clip.neck_pose.numpy().astype(float)), atol=1e-5)
    said = capsys.readouterr().out
    assert said.count("lost") == 1 and "lost: the rate of so short a clip: whoever reads it has to be told 25 (--fps)" in said


@pytest.mark.parametrize("frames", [50, 51])
def test_whoever_reads_a_live_link_file_knows_its_rate_or_is_told(builtin, tmp_path, capsys, frames):
    """Seen red: clips of up to two seconds were "nothing lost", and read at 30 frames a second."""
    save_motion(tmp_path / "a.motion.npz", clip_of(builtin, frames))
    assert run("export", "--format", "livelink-csv", tmp_path / "a.motion.npz", tmp_path / "x.csv") == 0
    told = "has to be told 25" in capsys.readouterr().out
    assert told == (frames == 50) and load(*recognised(tmp_path / "x.csv")[0].entries(tmp_path / "x.csv")).fps == (30 if told else 25)


@pytest.mark.parametrize(("format", "name"), [("vhap", "x.npz"), ("dualtalk", "x.npy"), ("obj", "objs")])
def test_formats_without_a_rate_say_which_one_their_reader_has_to_play(flame_file, tmp_path, capsys, format, name):
    head = load_head(flame_file)
    save_motion(tmp_path / "a.motion.npz", replace(clip_of(head), fps=30.0))
    assert run("export", "--format", format, "--head", flame_file, tmp_path / "a.motion.npz", tmp_path / name) == 0
    assert "plays 30 frames a second: the format does not say" in capsys.readouterr().out


def test_lam(saved, tmp_path):
    path, weights, clip = saved
    assert run("export", "--format", "lam-json", path, tmp_path / "x.json") == 0
    held = json.loads((tmp_path / "x.json").read_text())
    assert held["names"] == [*sorted(held["names"][:51]), "tongueOut"] and held["metadata"]["fps"] == 25
    np.testing.assert_allclose([frame["weights"] for frame in held["frames"]], weights, atol=2e-6)
    np.testing.assert_allclose([frame["rotation"] for frame in held["frames"]], clip.neck_pose, atol=1e-7)
    assert held["frames"][2]["time"] == 2 / 25


def glb_parts(data: bytes) -> tuple[dict, bytes]:
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    count, kind = struct.unpack_from("<I4s", data, 20 + size)
    assert kind == b"BIN\0" and 28 + size + count == length
    return json.loads(data[20 : 20 + size]), data[28 + size :]


def accessor(document: dict, binary: bytes, number: int) -> np.ndarray:
    """By the specification, sparse ones too."""
    entry = document["accessors"][number]
    kinds = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[entry["type"]]

    def rows(view: int, kind: str, count: int, columns: int) -> np.ndarray:
        place = document["bufferViews"][view]["byteOffset"]
        return np.frombuffer(binary, kind, count * columns, place).reshape(count, columns)

    if "bufferView" in entry:
        return rows(entry["bufferView"], kinds[entry["componentType"]], entry["count"], width)
    values = np.zeros((entry["count"], width), "f4")
    if "sparse" in entry:
        sparse = entry["sparse"]
        where = rows(sparse["indices"]["bufferView"], kinds[sparse["indices"]["componentType"]], sparse["count"], 1)[:, 0]
        values[where] = rows(sparse["values"]["bufferView"], "<f4", sparse["count"], width)
    return values


def played(data: bytes, frame: int) -> np.ndarray:
    """Vertices of one frame as a glTF player computes them."""
    document, binary = glb_parts(data)
    part = document["meshes"][0]["primitives"][0]
    (animation,) = document["animations"]
    nodes = [dict(node) for node in document["nodes"]]
    times = None
    for channel in animation["channels"]:
        sampler, target = animation["samplers"][channel["sampler"]], channel["target"]
        times = accessor(document, binary, sampler["input"])
        values = accessor(document, binary, sampler["output"])
        nodes[target["node"]][target["path"]] = values.reshape(len(times), -1)[frame]
    assert np.allclose(times[:, 0], np.arange(len(times)) / 25)
    points = accessor(document, binary, part["attributes"]["POSITION"]).astype(float)
    for weight, morph in zip(nodes[0]["weights"], part["targets"], strict=True):
        points = points + float(weight) * accessor(document, binary, morph["POSITION"])

    def local(node: dict) -> np.ndarray:
        x, y, z, w = (float(value) for value in node["rotation"])
        angle = 2 * np.arccos(np.clip(w, -1, 1))
        axis = np.array([x, y, z]) / max(np.sin(angle / 2), 1e-12)
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = matrices((axis * angle)[None])[0], node["translation"]
        return matrix

    world = {}
    parents = {child: number for number, node in enumerate(nodes) for child in node.get("children", [])}
    for number, node in enumerate(nodes):  # parents come first in this file
        world[number] = (world[parents[number]] if number in parents else np.eye(4)) @ local(node)
    skin = document["skins"][0]
    binds = accessor(document, binary, skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    moves = np.stack([world[joint] @ bind for joint, bind in zip(skin["joints"], binds, strict=True)])
    joints, weights = (accessor(document, binary, part["attributes"][name]) for name in ("JOINTS_0", "WEIGHTS_0"))
    blended = (weights[:, :, None, None] * moves[joints]).sum(1)
    return (blended @ np.concatenate([points, np.ones((len(points), 1))], 1)[:, :, None])[:, :3, 0]


def test_glb_plays_as_the_head_moves(builtin, tmp_path, capsys):
    """Notices correctives left out (15 mm on a real take), a joint's parent or bind wrong, quaternions in another order."""
    clip = clip_of(builtin)
    save_motion(tmp_path / "a.motion.npz", clip)
    assert run("export", "--format", "glb", tmp_path / "a.motion.npz", tmp_path / "x.glb") == 0
    truth = builtin.vertices(clip).numpy()
    for frame in (0, 4):
        np.testing.assert_allclose(played((tmp_path / "x.glb").read_bytes(), frame), truth[frame], atol=2e-5)  # metres
    document, _ = glb_parts((tmp_path / "x.glb").read_bytes())
    assert set(builtin.expression_names) <= set(document["meshes"][0]["extras"]["targetNames"])
    assert "lost: texture coordinates (obj has them);" in capsys.readouterr().out


def test_glb_is_shaded_smoothly(builtin, tmp_path):
    """Seen red: no normals, of which viewers make facets. Planted: triangles the other way round."""
    save_motion(tmp_path / "a.motion.npz", clip_of(builtin))
    assert run("export", "--format", "glb", tmp_path / "a.motion.npz", tmp_path / "x.glb") == 0
    document, binary = glb_parts((tmp_path / "x.glb").read_bytes())
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    normals, places = (accessor(document, binary, attributes[name]) for name in ("NORMAL", "POSITION"))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    skin = builtin.region("face").numpy()
    outward = places[skin] - places[skin].mean(0) - [0, 0, -0.06]
    assert ((normals[skin] * outward).sum(1) > 0).mean() > 0.7, "but for folds of lips and lids"


def test_obj_sequence(builtin, tmp_path):
    clip = clip_of(builtin, frames=2)
    save_motion(tmp_path / "a.motion.npz", clip)
    assert run("export", "--format", "obj", tmp_path / "a.motion.npz", tmp_path / "objs") == 0
    lines = (tmp_path / "objs" / "00001.obj").read_text().splitlines()
    points = np.array([[float(word) for word in line.split()[1:]] for line in lines if line.startswith("v ")])
    faces = np.array([[int(corner.split("/")[0]) for corner in line.split()[1:]] for line in lines if line.startswith("f ")])
    np.testing.assert_allclose(points, builtin.vertices(clip)[1], atol=1e-7)
    np.testing.assert_array_equal(faces - 1, builtin.faces)


def test_obj_files_replace_obj_files_alone(builtin, tmp_path, capsys):
    """Seen red: whatever lay in the folder went without a word, and a file of that name became one of our partial ones."""
    save_motion(tmp_path / "a.motion.npz", clip_of(builtin, frames=2))
    export = lambda out: run("export", "--format", "obj", "--overwrite", tmp_path / "a.motion.npz", out)  # noqa: E731
    (tmp_path / "results").mkdir()
    for mine in (tmp_path / "results" / "thesis.txt", tmp_path / "file"):
        mine.write_text("mine")
    assert export(tmp_path / "results") == 2 and "found thesis.txt" in capsys.readouterr().err
    assert export(tmp_path / "file") == 2 and "found file" in capsys.readouterr().err
    assert all(mine.read_text() == "mine" for mine in (tmp_path / "results" / "thesis.txt", tmp_path / "file"))
    assert export(tmp_path / "objs") == export(tmp_path / "objs") == 0 and len(list((tmp_path / "objs").iterdir())) == 2


def test_head_csv(builtin, tmp_path):
    clip = clip_of(builtin)
    save_motion(tmp_path / "a.motion.npz", clip)
    assert run("export", "--format", "head-csv", tmp_path / "a.motion.npz", tmp_path / "x.csv") == 0
    with (tmp_path / "x.csv").open() as file:
        rows = list(csv.DictReader(file))
    degrees = {axis: np.array([float(row[f"{axis}_rotation_degrees"]) for row in rows]) for axis in "yxz"}
    turns = [matrices(np.outer(np.radians(degrees[axis]), np.eye(3)["xyz".index(axis)])) for axis in "yxz"]
    whole = matrices(clip.rotation.numpy().astype(float)) @ matrices(clip.neck_pose.numpy().astype(float))
    np.testing.assert_allclose(turns[0] @ turns[1] @ turns[2], whole, atol=1e-5)
    assert float(rows[3]["x_metres"]) == pytest.approx(float(clip.translation[3, 0])) and float(rows[3]["time_seconds"]) == 0.12


def test_gaussian_avatars_viewer(flame_file, tmp_path):
    """Its viewer keeps float32 arrays alone and then needs every name; strings break it."""
    head = load_head(flame_file)
    clip = clip_of(head)
    save_motion(tmp_path / "a.motion.npz", clip)
    assert run("export", "--format", "vhap", "--head", flame_file, tmp_path / "a.motion.npz", tmp_path / "x.npz") == 0
    with np.load(tmp_path / "x.npz", allow_pickle=False) as held:
        kept = {name: held[name] for name in held.files if held[name].dtype == np.float32}
        assert set(kept) == set(held.files)
    widths = {"translation": 3, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "expr": 100}
    for name, width in widths.items():
        assert kept[name].shape == (FRAMES, width)
        np.testing.assert_array_equal(kept[name], getattr(clip, name))
    assert (
        kept["dynamic_offset"].shape == (FRAMES, 5143, 3) and kept["static_offset"].shape == (1, 5143, 3) and kept["shape"].shape == (300,)
    )


def test_dualtalk_prediction(flame_file, tmp_path, capsys):
    head = load_head(flame_file)
    clip = clip_of(head)
    save_motion(tmp_path / "a.motion.npz", clip)
    assert run("export", "--format", "dualtalk", "--head", flame_file, tmp_path / "a.motion.npz", tmp_path / "x.npy") == 0
    flat = np.load(tmp_path / "x.npy")
    assert flat.shape == (FRAMES, 56) and flat.dtype == np.float32
    for part, place in ((clip.expr[:, :50], slice(0, 50)), (clip.jaw_pose, slice(50, 53)), (clip.neck_pose, slice(53, 56))):
        np.testing.assert_array_equal(flat[:, place], part)
    said = capsys.readouterr().out
    assert all(name in said for name in ("expressions beyond 50", "eyes_pose", "rotation", "translation", "shape"))


def test_whose_flame_will_read_it_is_said(flame_file, tmp_path, capsys):
    """Seen red: motion of FLAME 2020 for a program on 2023 lost "nothing"."""
    head, known = load_head(flame_file), tmp_path / "known.npz"
    write_head(known, read_head(flame_file, generation="2020"))
    save_motion(tmp_path / "a.motion.npz", clip_of(head))
    save_motion(tmp_path / "b.motion.npz", clip_of(load_head(known)))
    said = {}
    for name, head, format in (("a", flame_file, "vhap"), ("b", known, "vhap"), ("b", known, "dualtalk")):
        capsys.readouterr()
        out = tmp_path / f"{name}.{'npz' if format == 'vhap' else 'npy'}"
        assert run("export", "--format", format, "--head", head, tmp_path / f"{name}.motion.npz", out) == 0
        said[name, format] = capsys.readouterr().out
    assert "on FLAME 2023, and so is this head, which does not say" in said["a", "vhap"]
    assert "FLAME 2020's coefficients are OTHER FACES" in said["b", "vhap"]
    assert "on FLAME 2020\n" in said["b", "dualtalk"]


@pytest.mark.parametrize("format", ["vhap", "dualtalk"])
def test_the_built_in_heads_numbers_are_never_sold_as_flames(saved, tmp_path, capsys, format):
    suffix = {"vhap": "npz", "dualtalk": "npy"}[format]
    assert run("export", "--format", format, saved[0], tmp_path / f"x.{suffix}") == 2
    assert "FLAME head" in capsys.readouterr().err and not (tmp_path / f"x.{suffix}").exists()


@pytest.mark.parametrize("format", ["livelink-csv", "lam-json"])
def test_flames_numbers_are_never_sold_as_arkits(flame_file, tmp_path, capsys, format):
    save_motion(tmp_path / "a.motion.npz", clip_of(load_head(flame_file)))
    suffix = {"livelink-csv": "csv", "lam-json": "json"}[format]
    assert run("export", "--format", format, "--head", flame_file, tmp_path / "a.motion.npz", tmp_path / f"x.{suffix}") == 2
    said = capsys.readouterr().err
    assert "ARKit's expressions" in said and "mango data import FILE DIR --source-head YOUR_HEAD" in said


def test_nothing_is_overwritten_unasked(saved, tmp_path, capsys):
    (tmp_path / "x.json").write_text("mine")
    assert run("export", "--format", "lam-json", saved[0], tmp_path / "x.json") == 2
    assert (tmp_path / "x.json").read_text() == "mine" and "--overwrite" in capsys.readouterr().err
    assert run("export", "--format", "lam-json", saved[0], tmp_path / "x.json", "--overwrite") == 0
    assert run("export", "--format", "lam-json", saved[0], tmp_path / "x.csv") == 2 and "ends in .json" in capsys.readouterr().err


# Round trips through our readers, whatever the numbers

numbers = {"allow_nan": False, "allow_infinity": False, "width": 32}
fast = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def array(width: int, low: float, high: float):
    return arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(width)), elements=st.floats(low, high, **numbers))


def cut(first: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    frames = min(len(part) for part in (first, *others))
    return [part[:frames] for part in (first, *others)]


def read(path):
    format, _ = recognised(path)
    return load(format.entries(path)[0]).people[0].motion


@fast
@given(array(100, -8, 8), array(3, -3, 3), array(3, -3, 3), array(6, -1, 1), array(3, -10, 10), array(3, -3, 3))
def test_vhap_round_trip_is_lossless(tmp_path, expr, head, jaw, eyes, place, turn):
    expr, head, jaw, eyes, place, turn = cut(expr, head, jaw, eyes, place, turn)
    parts = {"neck_pose": head, "jaw_pose": jaw, "eyes_pose": eyes, "translation": place, "rotation": turn}
    write_vhap(tmp_path / "x.npz", flame_motion(expr, np.arange(300.0), **parts), vertices=3)
    back = read(tmp_path / "x.npz")
    for name, part in {"expr": expr, **parts}.items():
        np.testing.assert_array_equal(getattr(back, name), part)
    np.testing.assert_array_equal(back.shape, np.arange(300.0))


@fast
@given(array(50, -8, 8), array(3, -3, 3), array(3, -3, 3))
def test_dualtalk_round_trip_is_lossless(tmp_path, expr, head, jaw):
    expr, head, jaw = cut(expr, head, jaw)
    write_dualtalk(tmp_path / "x.npy", flame_motion(expr, np.zeros(300), neck_pose=head, jaw_pose=jaw))
    back = read(tmp_path / "x.npy")
    for part, other in ((back.expr, expr), (back.neck_pose, head), (back.jaw_pose, jaw)):
        np.testing.assert_array_equal(part, other)


@fast
@given(array(52, 0, 1), array(3, -0.75, 0.75))
def test_live_link_round_trip(tmp_path, weights, head):
    """Nine digits are all of float32; the head goes through three angles."""
    weights, head = cut(weights, head)
    write_livelink(tmp_path / "x.csv", ArkitMotion(weights, frozenset(ARKIT_NAMES), head), 25.0)
    back = read(tmp_path / "x.csv")
    np.testing.assert_array_equal(back.weights, weights)
    np.testing.assert_allclose(back.head, head, atol=1e-6)


@fast
@given(array(52, -0.5, 1.5), array(3, -3, 3))
def test_lam_round_trip(tmp_path, weights, head):
    weights, head = cut(weights, head)
    (word,) = write_lam(tmp_path / "x.json", ArkitMotion(weights, frozenset(ARKIT_NAMES), head), 30.0)
    back = read(tmp_path / "x.json")
    np.testing.assert_allclose(back.weights, weights.clip(0, 1), atol=1e-6)
    np.testing.assert_allclose(np.zeros_like(head) if back.head is None else back.head, head, atol=1e-7)
    assert ("clipped" in str(word)) == bool(((weights < 0) | (weights > 1)).any())
