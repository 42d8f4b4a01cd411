"""GaussianAvatars' avatars: files written by hand are drawn as the paper's definition says, in the file's own face; what does not fit is
said. The formula is computed here one Gaussian after the other, and drawn by the reference with its own harmonics."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from scipy.spatial import ConvexHull

import renderer
from mango.cli import main
from mango.data.motion_files import save_motion
from mango.errors import InputError
from mango.head.assets import read_head
from mango.head.model import Head, load_head
from mango.inference import splat_avatars
from mango.inference.avatars import load_avatar
from mango.inference.rendering import RenderSpeed, person_layers
from mango.types import MotionClip
from renderer.cameras import portrait_camera

sys.path.insert(0, str(Path(__file__).parents[1] / "head"))
sys.path.insert(0, str(Path(__file__).parents[1] / "renderer"))
from flame_like import flame_like
from gaussian_scenes import assert_no_worse_than
from splat_files import inria_names, ply
from tiny_flame import tiny_flame

DEGREE = 2
GAUSSIANS = 120
VERTS = 40


def ball() -> dict[str, np.ndarray]:
    """FLAME's arrays of a ball of 10 cm: 76 triangles."""
    k = np.arange(VERTS) + 0.5
    height, turn = 1 - 2 * k / VERTS, np.pi * (1 + 5**0.5) * k
    points = 0.1 * np.stack([np.sqrt(1 - height**2) * np.cos(turn), height, np.sqrt(1 - height**2) * np.sin(turn)], axis=1)
    return tiny_flame(verts=VERTS) | {"v_template": points, "f": ConvexHull(points).simplices.astype(np.uint32)}


@pytest.fixture(scope="module")
def flame(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("flame") / "flame.npz"
    np.savez(path, **ball())
    return path


def rows(triangles: int, seed: int = 0, count: int = GAUSSIANS) -> list[dict]:
    """Gaussians of all shapes, turned, off the centre of their triangles, shining differently to all sides."""
    random = np.random.default_rng(seed)
    names = [*inria_names(DEGREE), "binding_0"]
    made = [dict(zip(names, random.normal(0, 0.3, len(names)).astype(np.float32).tolist(), strict=True)) for _ in range(count)]
    for row in made:
        row |= {"scale_0": -2.5, "scale_1": -1.2 + 0.3 * row["scale_1"], "opacity": 1 + row["opacity"], "rot_3": 0.9, "rot_0": 0.5}
        row["binding_0"] = float(random.integers(triangles))
    return made


def written(folder: Path, made: list[dict], **params) -> Path:
    """As GaussianAvatars lays it out."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "point_cloud.ply"
    path.write_bytes(ply(made, [("float", name) for name in made[0]]))
    if params:
        moving = {"expr": 100, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
        motion = {name: np.full((2, width), 0.3, np.float32) for name, width in moving.items()}
        np.savez(folder / "flame_param.npz", **motion, **params)
    return path


def personal(head_verts: int = VERTS) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    shape = np.zeros(300, np.float32)
    shape[:4] = random.normal(size=4)
    return {"shape": shape, "static_offset": random.normal(0, 0.004, (1, head_verts, 3)).astype(np.float32)}


def clip(head: Head, frames: int = 2) -> MotionClip:
    """Everything moves, and the person stands somewhere else, in another shape."""
    random = torch.Generator().manual_seed(2)
    poses = {"rotation": 3, "neck_pose": 3, "jaw_pose": 3, "translation": 3, "eyes_pose": 6}
    parts = {name: 0.3 * torch.randn(frames, width, generator=random) for name, width in poses.items()}
    expr = torch.randn(frames, head.expressions, generator=random)
    return MotionClip(**parts, expr=expr, shape=torch.ones(head.identities), head=head.digest, fps=25.0)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.sqrt((vector * vector).sum())


def drawn_by_formula(made: list[dict], vertices: np.ndarray, faces: np.ndarray, camera, dtype) -> torch.Tensor:
    """Colours and alpha, rows x cols x 4, of one pose."""
    scene = {name: [] for name in ("means", "quats", "scales", "opacities", "colors")}
    for row in made:
        values = {name: dtype(value) for name, value in row.items()}
        v0, v1, v2 = vertices[faces[int(row["binding_0"])]].astype(dtype)
        a0 = unit(v1 - v0)
        a1 = unit(np.cross(a0, v2 - v0))
        a2 = -unit(np.cross(a1, a0))
        frame, size = np.stack([a0, a1, a2], axis=1), (np.sqrt(((v1 - v0) ** 2).sum()) + abs(a2 @ (v2 - v0))) / 2
        w, x, y, z = (values[f"rot_{k}"] for k in range(4))
        local = roma.unitquat_to_rotmat(torch.tensor(unit(np.array([x, y, z, w])))).numpy()
        scene["means"].append(size * frame @ np.array([values[c] for c in "xyz"]) + (v0 + v1 + v2) / 3)
        scene["quats"].append(roma.quat_xyzw_to_wxyz(roma.rotmat_to_unitquat(torch.from_numpy(frame @ local))).numpy())
        scene["scales"].append(size * np.exp(np.array([values[f"scale_{k}"] for k in range(3)])))
        scene["opacities"].append(1 / (1 + np.exp(-values["opacity"])))
        each = (DEGREE + 1) ** 2 - 1
        shine = [[values[f"f_rest_{channel * each + k}"] for channel in range(3)] for k in range(each)]
        scene["colors"].append(np.array([[values[f"f_dc_{channel}"] for channel in range(3)], *shine]))
    scene = {
        name: torch.tensor(np.array(values)).to(torch.float64 if dtype is np.float64 else torch.float32) for name, values in scene.items()
    }
    view = {"viewmats": camera.camera_from_world[None].to(scene["means"]), "Ks": camera.intrinsics[None].to(scene["means"])}
    colors, alphas, _ = renderer.rasterize(**scene, **view, width=camera.width, height=camera.height, sh_degree=DEGREE, backend="reference")
    return torch.cat([colors, alphas], dim=-1)[0].double()


def test_it_is_drawn_as_the_definition_says(flame, tmp_path):
    """Position, rotation, scale, opacity and colour by where one looks from, on the file's own face in motion.

    Faults planted: scales not multiplied by the triangle's; quaternions as xyzw; the axes of the triangle's frame in another order; local
    places not multiplied by its scale; mean colours; static offsets left out; offsets that do not carry the joints; the clip's shape.
    """
    head, person = load_head(flame), personal()
    made = rows(len(head.faces))
    avatar = load_avatar(written(tmp_path, made, **person), head)
    camera = portrait_camera(48, target=(0.0, 0.0, 0.0), distance=1.2, yaw_degrees=25, pitch_degrees=10)
    moving = clip(head)
    found = torch.stack(list(person_layers(moving, avatar, camera))).double()
    offset = Head(replace(read_head(flame), template=(ball()["v_template"] + person["static_offset"][0]).astype(np.float32)))
    own = offset.with_shape(torch.from_numpy(person["shape"]))
    vertices = own.vertices(moving.expr, moving.neck_pose, moving.jaw_pose, moving.eyes_pose).numpy()
    truth, yardstick = (
        torch.stack([drawn_by_formula(made, pose, head.faces.numpy(), camera, dtype) for pose in vertices])
        for dtype in (np.float64, np.float32)
    )
    assert 0.1 < float((truth[..., 3] > 0.5).double().mean()) < 0.9, "somebody, and not everywhere"
    assert_no_worse_than({"picture": found}, truth={"picture": truth}, yardstick={"picture": yardstick})
    assert torch.equal(avatar.identity, torch.from_numpy(person["shape"])) and avatar.remarks == ()


def test_without_parameters_it_has_the_average_face_and_says_so(flame, tmp_path):
    head = load_head(flame)
    made = rows(len(head.faces))
    alone = load_avatar(written(tmp_path / "alone", made), head)
    average = load_avatar(written(tmp_path / "average", made, shape=np.zeros((1, 300), np.float32)), head)
    assert torch.equal(alone.gaussians(clip(head)).means, average.gaussians(clip(head)).means)
    assert "average" in alone.remarks[0] and average.remarks == ()


def test_teeth_that_the_head_lacks_are_left_out_and_counted(flame, tmp_path, monkeypatch):
    """A head of exactly FLAME's triangles, splats on those that GaussianAvatars appends; offsets of its vertices too."""
    head = load_head(flame)
    faces = len(head.faces)
    for name, size in {"VERTICES": VERTS, "FACES": faces}.items():
        monkeypatch.setattr(splat_avatars, f"FLAME_{name}", size)
        monkeypatch.setattr(splat_avatars, f"TOOTHED_{name}", size + 10)
    made = rows(faces)
    for row in made[:7]:
        row["binding_0"] = float(faces + 3)
    whole, person = load_avatar(written(tmp_path / "whole", made[7:], **personal()), head), personal()
    toothed = person | {"static_offset": np.concatenate([person["static_offset"], np.ones((1, 10, 3), np.float32)], axis=1)}
    cut = load_avatar(written(tmp_path / "cut", made, **toothed), head)
    assert torch.equal(cut.gaussians(clip(head)).means, whole.gaussians(clip(head)).means)
    assert f"7 of {GAUSSIANS} Gaussians are left out" in cut.remarks[0] and "teeth" in cut.remarks[0]


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        (
            lambda made, person: made[0].update(binding_0=76.0),
            r"a head of more than 76 triangles, found one of 76, and 1 of 120 .*FLAME",
        ),
        (lambda made, person: made[0].update(binding_0=0.5), "expected face numbers"),
        (lambda made, person: [row.pop("binding_0") for row in made], "splats in the world; .*cannot move"),
        (lambda made, person: person.update(shape=np.zeros(301, np.float32)), "at most the 300 shape coefficients of flame, found 301"),
        (lambda made, person: person.update(static_offset=np.zeros((1, 39, 3))), "offsets of the 40 vertices of flame, found 39"),
        (lambda made, person: person.update(static_offset=np.full((1, 40, 3), np.nan)), "finite numbers in static_offset"),
        (lambda made, person: person.pop("shape"), "expected shape in it"),
    ],
)
def test_what_does_not_fit_is_refused(flame, tmp_path, spoilt, told):
    made, person = rows(76), personal()
    spoilt(made, person)
    with pytest.raises(InputError, match=told):
        load_avatar(written(tmp_path, made, **person), load_head(flame))


def test_another_kind_of_head_is_refused_with_what_to_do(head, tmp_path):
    """The built-in head has enough triangles, but they are others."""
    with pytest.raises(InputError, match=r"a FLAME head, on whose triangles it rides, found .*mango head convert.*--source-head"):
        load_avatar(written(tmp_path, rows(76)), head)


def jaws(head: Head, opening: float) -> MotionClip:
    still = torch.zeros(1, 3)
    parts = {"rotation": still, "neck_pose": still, "translation": still, "jaw_pose": torch.tensor([[opening, 0, 0]])}
    parts |= {"eyes_pose": torch.zeros(1, 6), "expr": torch.zeros(1, head.expressions), "shape": torch.zeros(head.identities)}
    return MotionClip(**parts, head=head.digest, fps=25.0)


def test_motion_of_another_head_is_retargeted_when_it_is_named(head, tmp_path, capsys, monkeypatch):
    """Without the name it is refused, and the refusal says what to add; with it the jaw opens as the motion's does."""
    np.savez(tmp_path / "like.npz", **flame_like())
    like = load_head(tmp_path / "like.npz")
    avatar = written(tmp_path / "avatar", rows(len(like.faces), count=20))
    for person in "ab":
        save_motion(tmp_path / "motion" / f"{person}.motion.npz", jaws(head, 0.2))
    words = ["render", "--motion", tmp_path / "motion", "--avatar", avatar, "--avatar", avatar, "--out", tmp_path / "v.mp4", "--size", "32"]
    words = [*(str(word) for word in words), "--head", str(tmp_path / "like.npz")]
    assert main(words) == 2
    assert "give --source-head the head that the motion was made with" in capsys.readouterr().err
    drawn = []
    monkeypatch.setattr("mango.inference.rendering.render_dialogue", lambda clips, *_, **__: drawn.append(clips) or RenderSpeed(0.0, 0.0))
    assert main([*words, "--source-head", "builtin"]) == 0
    told = capsys.readouterr().out
    assert "average one" in told and "are lost" in told and told.count("average one") == 1
    made = drawn[0]["b"]
    assert made.head == like.digest
    opened = like.lip_opening(like.vertices(made)) - like.lip_opening(like.vertices(jaws(like, 0.0)))
    assert 0.9 < float(opened / head.lip_opening(head.vertices(jaws(head, 0.2)))) < 1.25, "FLAME-like is 8 % larger"
