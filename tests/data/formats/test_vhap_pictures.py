"""VHAP / GaussianAvatars folders with pictures, masks and cameras: what the cameras of the import see lies where the pictures show it.

The folder is written here with numpy, json and cv2 from FLAME's and OpenGL's formulas alone: dots at the projections of some vertices.
"""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from foreign import matrices
from scipy import ndimage
from tiny_flame import tiny_flame

from mango.cli import main
from mango.data.dialogues import DialogueSet
from mango.data.formats.recordings import Options
from mango.data.formats.registry import load, recognised
from mango.data.validation import problems
from mango.data.video import VideoFrames
from mango.errors import InputError
from mango.head.assets import flame, write_head
from mango.head.model import Head, load_head

T, ROWS, COLS = 6, 161, 201  # odd: films are even
FOCAL, CENTRE = (300.0, 310.0), (97.3, 84.1)
DOTS = (0, 1, 2, 3)  # vertices
HALF_A_PIXEL = 0.5
LACKING = 3  # timestep that the frontal camera has no picture of
PATCH = slice(2, 14)  # rows and columns that are as bright as the frame's number says


@dataclass(frozen=True)
class World:
    """What is true: a head, its motion, and three cameras, of which the second is before the face."""

    arrays: dict[str, np.ndarray]
    parts: dict[str, np.ndarray]
    shape: np.ndarray
    world_from_camera: np.ndarray  # (3, 4, 4), OpenGL

    def vertices(self) -> np.ndarray:
        """FLAME as VHAP poses it: coefficients, joints, pose correctives, skinning down the tree, translation last."""
        a, out = self.arrays, []
        for t in range(T):
            part = {name: array[t] for name, array in self.parts.items()}
            shaped = a["v_template"] + a["shapedirs"] @ np.concatenate([self.shape, part["expr"]])
            joints = a["J_regressor"] @ shaped
            poses = [part["rotation"], part["neck_pose"], part["jaw_pose"], part["eyes_pose"][:3], part["eyes_pose"][3:]]
            turns = matrices(np.array(poses))
            posed = shaped + a["posedirs"] @ (turns[1:] - np.eye(3)).ravel()
            chain = []
            for joint, parent in enumerate((-1, 0, 1, 1, 1)):
                local = np.eye(4)
                local[:3, :3], local[:3, 3] = turns[joint], joints[joint] - (joints[parent] if parent >= 0 else 0)
                chain.append(local if parent < 0 else chain[parent] @ local)
            moved = [(posed - joints[j]) @ chain[j][:3, :3].T + chain[j][:3, 3] for j in range(5)]
            out.append((np.stack(moved, 2) * a["weights"][:, None]).sum(2) + part["translation"])
        return np.array(out)

    def pixels(self, camera: int) -> np.ndarray:
        """(T, vertices, 2): OpenGL's camera looks along -z, y is up; rows count downwards."""
        matrix = self.world_from_camera[camera]
        x, y, z = np.moveaxis((self.vertices() - matrix[:3, 3]) @ matrix[:3, :3], -1, 0)
        return np.stack([CENTRE[0] + FOCAL[0] * x / -z, CENTRE[1] - FOCAL[1] * y / -z], -1)


def looking_at(target: np.ndarray, place: np.ndarray) -> np.ndarray:
    back = (place - target) / np.linalg.norm(place - target)
    right = np.cross([0.1, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(back, right), back, place], 1)
    return matrix


@pytest.fixture(scope="module")
def world() -> World:
    draw = np.random.default_rng(5)
    arrays = tiny_flame(3, expressions=100)
    arrays["v_template"][list(DOTS)] = [[0.08, 0.09, 0.02], [-0.07, 0.06, 0.05], [0.06, -0.08, 0.04], [-0.08, -0.07, 0.0]]
    arrays["shapedirs"] *= 0.1
    arrays["posedirs"] *= 0.1
    steps = np.linspace(0, 1, T)[:, None]
    parts = {
        "rotation": np.array([0.1, 0.5, -0.2]) + steps * [0.1, 0.1, 0.1],
        "neck_pose": np.zeros((T, 3)),  # the case in which a tracker's rotation is the head's, but for the cameras
        "jaw_pose": steps * [0.2, 0.0, 0.0] + [0.05, 0.0, 0.0],
        "eyes_pose": np.tile(steps, 6) * 0.1,
        "translation": np.array([0.3, -0.2, 0.15]) + steps * [0.02, -0.01, 0.03],
        "expr": draw.normal(0, 0.7, (T, 100)),
    }
    here = parts["translation"].mean(0)
    cameras = [looking_at(here, here + 1.1 * np.array([np.sin(a), 0.1, np.cos(a)])) for a in (-0.6, 0.5, 1.5)]
    return World(arrays, parts, draw.normal(0, 0.7, 300), np.array(cameras))


@pytest.fixture(scope="module")
def head_file(world, tmp_path_factory) -> Path:
    """The same head with landmarks, which a file of made-up numbers cannot be given by likeness: one vertex each."""
    read = flame(dict(world.arrays), b"", Path("tiny"), generation="2023", without_expressions=False)
    path = tmp_path_factory.mktemp("head") / "tiny.npz"
    corners = np.tile(np.array([1, 0, 0], np.float32), (68, 1))
    write_head(path, replace(read, landmark_faces=np.arange(68) % len(read.faces), landmark_barycentrics=corners))
    return path


def level(timestep: int, camera: int) -> int:
    """How bright the patch is: of every picture another."""
    return 60 + 25 * timestep + 8 * camera


def picture(dots: np.ndarray, patch: int) -> np.ndarray:
    rows, cols = np.mgrid[:ROWS, :COLS] + 0.5
    lit = sum(np.exp(-((cols - u) ** 2 + (rows - v) ** 2) / (2 * 1.6**2)) for u, v in dots)
    grey = np.clip(np.rint(250 * lit), 0, 255).astype(np.uint8)
    grey[PATCH, PATCH] = patch
    return grey


def sequence(folder: Path, world: World, *, names=("transforms.json",), number_type="f4") -> Path:
    """As VHAP exports it. Of several ``names`` each gets a part of the frames."""
    for sub in ("images", "fg_masks", "flame_param"):
        (folder / sub).mkdir(parents=True)
    frames = []
    for t in range(T):
        row = {name: array[t : t + 1].astype(number_type) for name, array in world.parts.items()}
        np.savez(folder / "flame_param" / f"{t:05d}.npz", shape=world.shape, static_offset=np.zeros((1, 12, 3), "f4"), **row)
    for camera in range(3):
        pixels = world.pixels(camera)
        for t in range(T):
            if (camera, t) == (1, LACKING):
                continue
            name = f"{t:05d}_{camera:02d}.png"
            grey = picture(pixels[t, list(DOTS)], level(t, camera))
            cv2.imwrite(str(folder / "images" / name), cv2.merge([grey] * 3))
            cv2.imwrite(str(folder / "fg_masks" / name), np.full((ROWS, COLS), 255 - level(t, camera), np.uint8))
            frames.append({
                "timestep_index": t, "camera_index": camera, "camera_id": f"2222{camera}", "fl_x": FOCAL[0], "fl_y": FOCAL[1],
                "cx": CENTRE[0], "cy": CENTRE[1], "w": COLS, "h": ROWS, "camera_angle_x": 2 * float(np.arctan(COLS / 2 / FOCAL[0])),
                "transform_matrix": world.world_from_camera[camera].tolist(), "file_path": f"images/{name}",
                "fg_mask_path": f"fg_masks/{name}", "flame_param_path": f"flame_param/{t:05d}.npz",
            })  # fmt: skip
    for number, name in enumerate(names):
        (folder / name).write_text(json.dumps({"frames": frames[number :: len(names)]}))
    return folder


def edited(folder: Path, change) -> Path:
    """The sequence after ``change(frame)`` of every frame; frames of which it returns False are taken out."""
    content = json.loads((folder / "transforms.json").read_text())
    content["frames"] = [frame for frame in content["frames"] if change(frame) is not False]
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def read(folder: Path, **options):
    """The one recording."""
    format, _ = recognised(folder)
    (entry,) = format.entries(folder, Options(**options))
    return load(entry)


def imported(source: Path, out: Path, head_file: Path, *words):
    """Side a of the only dialogue, and the head."""
    command = ["data", "import", "--workers", "1", "--strict", "--head", head_file, *words, source, out]
    assert main([str(word) for word in command]) == 0
    head = load_head(head_file)
    assert problems(out, head=head) == []
    (id,) = DialogueSet.open(out).splits["train"]
    return DialogueSet.open(out).dialogue(id).side("a"), head


def seen(side, head: Head) -> np.ndarray:
    """(T, vertices, 2): where labels and camera of the set put the vertices."""
    points = head.vertices(side.motion) @ side.track.camera_from_world[:, :3, :3].mT + side.track.camera_from_world[:, None, :3, 3]
    pixels = points @ side.track.intrinsics.T
    return (pixels[..., :2] / pixels[..., 2:]).numpy()


def dots_in(film: torch.Tensor) -> np.ndarray:
    """Centres of the bright spots of a picture, pixels."""
    grey = film.float().mean(-1).numpy()
    grey[PATCH.start - 2 : PATCH.stop + 2, PATCH.start - 2 : PATCH.stop + 2] = 0
    labels, count = ndimage.label(grey > 50)
    centres = np.array(ndimage.center_of_mass(np.where(grey > 50, grey, 0), labels, range(1, count + 1)))
    return centres[:, ::-1] + 0.5


def furthest(side, head: Head) -> float:
    """Of all dots in all pictures of timesteps that are there, the distance to where the set says it is."""
    film, pixels, worst = VideoFrames(side.video), seen(side, head), 0.0
    for t in np.flatnonzero(side.track.keep.numpy()):
        dots = dots_in(film.frames([int(t)])[0])
        assert len(dots) == len(DOTS)
        worst = max(worst, *(np.linalg.norm(dots - pixels[t, vertex], axis=1).min() for vertex in DOTS))
    return worst


def patches(film: torch.Tensor) -> np.ndarray:
    return film.float().flatten(3).mean(-1)[:, PATCH, PATCH][:, 3:-3, 3:-3].mean((1, 2)).numpy()


def shown(side, camera: int, timesteps: list[int]) -> None:
    """The film shows this camera's pictures of these timesteps, the masks theirs."""
    film, mask = VideoFrames(side.video), VideoFrames(side.mask_video)
    assert len(film) == len(mask) == len(timesteps) and film.size == mask.size == (ROWS - 1, COLS - 1)
    levels = np.array([level(t, camera) for t in timesteps])
    np.testing.assert_allclose(patches(film.frames(range(len(film)))), levels, atol=3)
    np.testing.assert_allclose(mask.mattes(range(len(mask))).float().mean((1, 2)).numpy(), 255 - levels, atol=3)


def test_vertices_lie_on_the_dots(tmp_path, world, head_file, capsys):
    """Planted: OpenGL's axes kept, one axis negated, rotation made neck_pose, the translation left out, the picture's centre for cx and cy,
    masks and pictures of the wrong frames or camera, a repeated picture trusted: all red.
    """
    splits = tuple(f"transforms_{name}.json" for name in ("train", "val", "test"))
    side, head = imported(sequence(tmp_path / "seq", world, names=splits, number_type="f8"), tmp_path / "set", head_file)
    assert furthest(side, head) < HALF_A_PIXEL
    shown(side, 1, [t if t != LACKING else LACKING - 1 for t in range(T)])
    assert side.track.keep.tolist() == [t != LACKING for t in range(T)]
    corner = world.arrays["f"][np.arange(68) % 9, 0].astype(int)
    np.testing.assert_allclose(side.track.landmarks.numpy(), world.pixels(1)[:, corner], atol=HALF_A_PIXEL)
    np.testing.assert_allclose(side.motion.rotation.numpy(), world.parts["rotation"], atol=1e-6)
    said = capsys.readouterr().out
    assert "assumed: camera 22221 of 3, the most frontal" in said and "lacks 1 of 6 timesteps" in said and "silence" in said


@pytest.mark.parametrize("name", ["22222", "2"])
def test_another_camera_by_name_or_number(tmp_path, world, head_file, name):
    """At another rate too: pictures by the nearest frame, and each with its own trust."""
    words = ("--camera", name) if name == "2" else ("--camera", name, "--fps", "12.5")
    side, head = imported(sequence(tmp_path / "seq", world), tmp_path / "set", head_file, *words)
    if name == "2":
        assert furthest(side, head) < HALF_A_PIXEL
    shown(side, 2, list(range(T)) if name == "2" else [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5])


def test_masks_may_be_missing_and_paths_lead_to_takes_beside(tmp_path, world, head_file):
    """GaussianAvatars' unions: ../TAKE/..., numbered on from take to take, one person. A take is a dialogue."""
    for take in ("take1", "take2"):
        sequence(tmp_path / take, world)
    frames = []
    for number, take in enumerate(("take1", "take2")):
        for frame in json.loads((tmp_path / take / "transforms.json").read_text())["frames"]:
            moved = {name: f"../{take}/{frame[name]}" for name in ("file_path", "flame_param_path")}
            if number == 1:
                moved = {name: str(tmp_path / path[3:]) for name, path in moved.items()}
            del frame["fg_mask_path"]
            frames.append({**frame, **moved, "timestep_index": frame["timestep_index"] + T * number})
    (tmp_path / "union").mkdir()
    (tmp_path / "union" / "transforms_train.json").write_text(json.dumps({"frames": frames}))
    (tmp_path / "union" / "transforms_val.json").write_text(json.dumps({"frames": []}))
    words = ["--strict", "--head", head_file, tmp_path / "union", tmp_path / "set"]
    assert main(["data", "import", "--workers", "1", *map(str, words)]) == 0
    made = DialogueSet.open(tmp_path / "set")
    assert made.splits["train"] == ("take1", "take2") and list(made.people) == ["union"]
    for id in ("take1", "take2"):
        side = made.dialogue(id).side("a")
        assert side.mask_video is None and furthest(side, load_head(head_file)) < HALF_A_PIXEL


def test_a_camera_that_moves_and_a_smaller_copy(tmp_path, world):
    """Each frame has its own place; intrinsics follow the pictures' size, and follow from the angle where there is no focal length."""
    folder = sequence(tmp_path / "seq", world)

    def change(frame):
        frame["transform_matrix"][0][3] += 0.01 * frame["timestep_index"]
        frame |= {"w": 2 * COLS, "h": 2 * ROWS, "cx": 2 * CENTRE[0], "cy": 2 * CENTRE[1]}
        del frame["fl_x"], frame["fl_y"]

    camera = read(edited(folder, change)).people[0].camera
    assert camera.camera_from_world.shape == (T, 4, 4)
    steps = np.diff(camera.centers, axis=0)[:, 0]
    np.testing.assert_allclose(steps, [0.01, 0.01, 0.0, 0.02, 0.01], atol=1e-9)
    np.testing.assert_allclose(camera.intrinsics[:2], [[FOCAL[0], 0, CENTRE[0]], [0, FOCAL[0], CENTRE[1]]], rtol=1e-5)


def turned_over(frame):
    """OpenCV's axes where OpenGL's belong."""
    frame["transform_matrix"] = (np.array(frame["transform_matrix"]) * [1, -1, -1, 1]).tolist()


def mirrored(frame):
    frame["transform_matrix"] = (np.array(frame["transform_matrix"]) * [-1, 1, 1, 1]).tolist()


WRONG = {
    "camera axes": (turned_over, "behind camera"),
    "mirrored": (mirrored, "a mirror image"),
    "scaled": (lambda frame: frame.update(transform_matrix=(2 * np.eye(4)).tolist()), "scales or shears"),
    "no lens": (lambda frame: [frame.pop("fl_x"), frame.pop("camera_angle_x")], "fl_x or camera_angle_x"),
    "zoom": (lambda frame: frame.update(fl_x=300.0 + frame["timestep_index"]), "one focal length"),
    "cropped": (lambda frame: frame.update(w=400), "a smaller copy"),
    "far away": (lambda frame: frame.update(file_path="../../x.png"), "folders beside it"),
    "absolute": (lambda frame: frame.update(file_path="/elsewhere/x.png"), "folders beside it"),
    "no matrix": (lambda frame: frame.pop("transform_matrix"), "transform_matrix"),
    "a lost time": (lambda frame: frame.update(timestep_index=frame["timestep_index"] + 20 * (frame["timestep_index"] > 3)), "timestep"),
    "some masks": (lambda frame: frame.pop("fg_mask_path") if frame["timestep_index"] == 2 else None, "no fg_mask_path"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_said(tmp_path, world, fault):
    """Planted for the first two: without the checks, both imported."""
    change, words = WRONG[fault]
    folder = sequence(tmp_path / "seq", world)
    content = json.loads((folder / "transforms.json").read_text())
    for frame in content["frames"]:
        change(frame)
    (folder / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        read(folder)


def test_missing_pictures(tmp_path, world):
    """One that is missing is named; of a folder without any the motion is read, and that is said."""
    folder = sequence(tmp_path / "seq", world)
    (folder / "images" / "00004_01.png").unlink()
    with pytest.raises(InputError, match="timestep 4 by camera 22221") as refusal:
        read(folder)
    assert "00004_01.png" in str(refusal.value)
    with pytest.raises(InputError, match="22220, 22221, 22222"):
        read(folder, camera="7")
    shutil.rmtree(folder / "images")
    recording = read(folder)
    assert recording.people[0].film is None and any("motion alone" in str(word) for word in recording.assumptions)


def test_a_changed_picture_is_imported_again(tmp_path, world, head_file):
    folder = sequence(tmp_path / "seq", world)
    imported(folder, tmp_path / "set", head_file)
    cv2.imwrite(str(folder / "images" / "00000_01.png"), np.full((ROWS, COLS, 3), 200, np.uint8))
    side, _ = imported(folder, tmp_path / "set", head_file)
    assert VideoFrames(side.video).frames([0]).float().mean() > 190


def test_inspect_shows_the_pictures(tmp_path, world, head_file, capsys):
    folder = sequence(tmp_path / "seq", world)
    assert main(["data", "inspect", "--head", str(head_file), "--sheet", str(tmp_path / "sheet.png"), str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"pictures {T} frames of {COLS}x{ROWS}" in said and "camera 22221" in said and "place before the camera" in said
    assert (cv2.imread(str(tmp_path / "sheet.png")) > 0).any()


def test_camera_counts_or_is_refused(tmp_path, world, head_file, capsys):
    np.savez(tmp_path / "x.npz", shape=world.shape, **world.parts)
    command = [
        "data",
        "import",
        "--workers",
        "1",
        "--head",
        str(head_file),
        "--camera",
        "0",
        str(tmp_path / "x.npz"),
        str(tmp_path / "set"),
    ]
    assert main(command) == 2
    assert "leave --camera away" in capsys.readouterr().err


def test_pictures_stay_with_their_own_head(tmp_path, world, head_file, capsys):
    """Another head's face would not lie where the camera shows one. Seen red without the rule."""
    words = ["data", "import", "--workers", "1", "--source-head", head_file, sequence(tmp_path / "seq", world), tmp_path / "set"]
    assert main([str(word) for word in words]) == 2
    assert "give --head the head that the source was tracked with" in capsys.readouterr().err and not (tmp_path / "set").exists()
