"""The head that comes with the package: what it promises to everything built on it."""

import time
from itertools import pairwise

import pytest
import torch

from mango.errors import InputError
from mango.head import closed_lips
from mango.head.arkit import ARKIT_NAMES, arkit_from_motion, motion_from_arkit
from mango.head.assets import BUILTIN, read_head
from mango.head.model import ShapedHead
from mango.head.regions import REGIONS
from mango.types import MotionClip

MM = 1e-3


def test_what_is_in_it(head):
    assert head.expressions == 41 and head.identities >= 50 and head.layout.width == 53
    joints = {"jawOpen", "jawLeft", "jawRight", *(name for name in ARKIT_NAMES if name.startswith("eyeLook"))}
    assert set(head.expression_names) == set(ARKIT_NAMES) - joints and set(head.joint_expressions) == joints
    assert BUILTIN.stat().st_size < 4e6 and head.faces.max() == len(head.template) - 1
    assert head.uvs.min() >= 0 and head.uvs.max() <= 1 and head.uv_faces.shape == head.faces.shape
    assert not head.state_dict(), "checkpoints would carry the head"


def test_placed_by_its_eyes(head):
    joints = head.with_shape(torch.zeros(head.identities)).joints
    assert torch.allclose(joints[3:].mean(0), torch.tensor([0, 0.03, 0.03]), atol=1e-5)
    assert joints[3, 0] > 0.02 and joints[4, 0] < -0.02, "the left eye lies at +x"
    nose = head.landmarks(head.template)[30]
    assert nose[2] > 0.06 and head.landmarks(head.template)[8, 1] < -0.05, "the face looks along +z, chin below"
    corners = head.template[head.faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    scalp = torch.isin(head.faces, head.region("scalp")).all(1)
    outwards = (normals[scalp] * (corners[scalp].mean(1) - torch.tensor([0, 0.05, -0.05]))).sum(-1)
    assert (outwards > 0).all(), "faces turn counter-clockwise seen from outside"


def test_jaw_opens_the_lips_steadily_and_leaves_the_skull(head, posed):
    openings, lower = [], head.region("lower_teeth")
    for angle in (0.0, 0.05, 0.1, 0.2, 0.3, 0.388):
        vertices = posed(jaw=(angle, 0, 0))
        openings.append(head.lip_opening(vertices).item())
        assert torch.equal(vertices[head.region("upper_teeth")], head.template[head.region("upper_teeth")])
        assert (vertices[head.region("scalp")] - head.template[head.region("scalp")]).norm(dim=-1).max() < 0.1 * MM
        shift = torch.pdist(vertices[lower]) - torch.pdist(head.template[lower])
        assert shift.abs().max() < 1e-3 * MM, "teeth are rigid"
    assert abs(openings[0]) < 0.1 * MM, "lips touch at rest"
    assert all(later > earlier + 2 * MM for earlier, later in pairwise(openings))
    assert openings[-1] > 25 * MM


def test_lip_opening_ignores_pose_and_placement(head, posed):
    open_mouth = {"jaw": (0.2, 0, 0), "mouthFunnel": 0.3}
    still = head.lip_opening(posed(**open_mouth))
    moved = head.lip_opening(posed(**open_mouth, neck=(0.3, -0.4, 0.2), rotation=(0.1, 2.0, 0.3), translation=(1.0, 2.0, 3.0)))
    assert abs(still - moved) < 0.2 * MM


@pytest.mark.parametrize("weight", [0.25, 0.5, 0.75, 1.0])
def test_mouth_close_closes_an_open_jaw(head, posed, weight):
    """p, b and m: along the whole lip the gap stays under 0.3 mm, and at the middle the lips overlap by at most 1.3 mm."""
    jaw = (weight * head.joint_expressions["jawOpen"][3]).item()
    vertices = posed(jaw=(jaw, 0, 0), mouthClose=weight)
    points = head.landmarks(vertices)
    middle = head.lip_opening(vertices)
    sides = points[[61, 63], 1] - points[[67, 65], 1]
    assert -1.3 * MM < middle < 0.3 * MM and sides.max() < 0.3 * MM
    assert head.lip_opening(posed(jaw=(jaw, 0, 0))) > 6 * MM * 4 * weight


def test_joint_shapes_reproduce_arkit_at_full_weight(head, posed):
    """A jaw at full weight reaches the shape that the artist drew: 34 mm at the chin, 31 mm at the lip, to the corrective's rounding."""
    opened = posed(jaw=tuple(head.joint_expressions["jawOpen"][3:6].tolist()))
    half = posed(jaw=tuple((head.joint_expressions["jawOpen"][3:6] / 2).tolist()))
    lips = head.region("lips")
    full_path, half_path = opened[lips] - head.template[lips], half[lips] - head.template[lips]
    assert (full_path / 2 - half_path).norm(dim=-1).max() < 0.05 * MM, "the straight path of a blend shape"
    assert 0.030 < full_path.norm(dim=-1).max() < 0.040


@pytest.mark.parametrize("name", ARKIT_NAMES)
def test_every_arkit_weight_comes_back(head, name):
    weights = torch.zeros(2, 52)
    weights[:, ARKIT_NAMES.index(name)] = torch.tensor([0.3, 1.0])
    assert torch.allclose(arkit_from_motion(head, **motion_from_arkit(head, weights)), weights, atol=1e-6)


def test_left_is_the_mirror_of_right(head, posed):
    """Blinks, smiles and gaze: the mirrored motion moves the mirrored vertices."""
    mirrored = lambda vertices: vertices[head.mirror] * torch.tensor([-1.0, 1, 1])  # noqa: E731
    assert (mirrored(head.template) - head.template).abs().max() < 0.05 * MM
    for name in ("eyeBlink", "mouthSmile", "browOuterUp", "noseSneer"):
        left, right = posed(**{f"{name}Left": 1.0}), posed(**{f"{name}Right": 1.0})
        moved_left, moved_right = left - head.template, right - head.template
        assert (mirrored(moved_left) - moved_right).norm(dim=-1).max() < 0.05 * MM, name
        assert (moved_left.norm(dim=-1) * (head.template[:, 0] > 0)).max() > 3 * MM, "left is +x"
    left, right = posed(eyes=(0.1, 0.2, 0, 0, 0, 0)), posed(eyes=(0, 0, 0, 0.1, -0.2, 0))
    assert (mirrored(left - head.template) - (right - head.template)).norm(dim=-1).max() < 0.05 * MM


def test_a_blink_covers_the_eye(head, posed):
    """Seen from the front, on a grid over each eye, closed skin lies before the eyeball; with open eyes it does not."""
    assert uncovered(head, posed()) > 0.2
    assert uncovered(head, posed(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)) < 0.01


def uncovered(head, vertices) -> float:
    seen = []
    for eye in ("left_eye", "right_eye"):
        centre = vertices[head.region(eye)].mean(0)
        grid = (
            torch.stack(torch.meshgrid(torch.linspace(-10, 10, 21), torch.linspace(-6, 6, 13), indexing="xy"), -1).view(-1, 2) * MM
            + centre[:2]
        )
        faces = head.faces[torch.isin(head.faces, torch.cat([head.region(eye), head.region("face")])).all(1)]
        ball = torch.isin(faces, head.region(eye)).all(1)
        skin_depth, ball_depth = front_depth(vertices[faces[~ball]], grid), front_depth(vertices[faces[ball]], grid)
        seen.append(((ball_depth > skin_depth) & ball_depth.isfinite()).float().mean())
    return torch.stack(seen).max().item()


def front_depth(corners, grid):
    """Largest z of the triangles over each (x, y); minus infinity where there is none."""
    origin, first, second = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    offset = grid[:, None] - origin[None, :, :2]
    v = (offset[..., 0] * second[:, 1] - offset[..., 1] * second[:, 0]) / area
    w = (first[:, 0] * offset[..., 1] - first[:, 1] * offset[..., 0]) / area
    inside = (v >= 0) & (w >= 0) & (v + w <= 1)
    return torch.where(inside, origin[:, 2] + v * first[:, 2] + w * second[:, 2], -torch.inf).amax(1)


def test_people_differ_and_stay_people(head):
    sizes = head.shape_directions.norm(dim=1).pow(2).mean(0).sqrt()
    assert (sizes[:-1] > sizes[1:] * 0.8).all() and sizes[0] < 10 * MM, "directions fall in size; a unit is millimetres"
    shapes = torch.randn(40, head.identities, generator=torch.Generator().manual_seed(0))
    people = head.with_shape(shapes)
    offset = (people.template - head.template).norm(dim=-1)
    assert 2 * MM < offset[:, head.region("face")].mean() < 12 * MM
    neck = (cut_vertices(head), slice(None))
    assert (people.template[:, neck[0]] - head.template[neck[0]]).abs().max() < 0.2 * MM, "the neck's cut stays"
    assert (people.joints[:, 3:].mean(1) - torch.tensor([0, 0.03, 0.03])).abs().max() < 0.3 * MM, "eyes stay"
    for eye, part in ((3, "left_eye"), (4, "right_eye")):
        centre = people.template[:, head.region(part)]
        box = (centre.amax(1) + centre.amin(1)) / 2
        assert (people.joints[:, eye] - box).norm(dim=-1).max() < 1.0 * MM, "each eye turns about its middle"
    jaw = people.joints[:, 2] - people.joints[:, 3:].mean(1)
    assert (jaw[:, 1] < -0.03).all() and (jaw[:, 2] < -0.02).all() and (jaw[:, 0].abs() < 0.003).all()
    assert head.lip_opening(people.template).abs().max() < 1.0 * MM, "lips touch at rest"


def cut_vertices(head):
    edges = torch.cat([head.faces[:, [0, 1]], head.faces[:, [1, 2]], head.faces[:, [2, 0]]]).sort(1).values
    unique, count = edges.unique(dim=0, return_counts=True)
    border = unique[count == 1].unique()
    return border[torch.isin(border, head.region("neck"))]


def test_regions(head):
    for name in REGIONS:
        assert len(head.region(name)) > 30, name
    assert not set(head.region("upper_face").tolist()) & set(head.region("lower_face").tolist())
    assert set(head.region("inner_lips").tolist()) <= set(head.region("lips").tolist())
    assert not set(head.region("mouth_cavity").tolist()) & set(head.region("lips").tolist())
    with pytest.raises(AssertionError, match="no region 'nose'"):
        head.region("nose")


def test_landmarks_lie_where_ibug_puts_them(head):
    points = head.landmarks(head.template)
    assert points.shape == (68, 3)
    assert (points[0:8, 0] < 0).all() and (points[9:17, 0] > 0).all(), "from the right ear to the left"
    right = [16 - k for k in range(17)] + [43 - k for k in range(17, 27)]
    assert (points[right] * torch.tensor([-1.0, 1, 1]) - points[:27]).norm(dim=-1).max() < 1 * MM
    assert points[27, 1] > points[28, 1] > points[29, 1] > points[30, 1] > points[33, 1] > points[51, 1] > points[57, 1] > points[8, 1]
    assert points[48, 0] < points[60, 0] < points[62, 0] < points[64, 0] < points[54, 0]
    assert (points[36:48, 2] > 0.02).all() and (points[[37, 38, 43, 44], 1] > points[[41, 40, 47, 46], 1]).all()


def test_digest_is_of_the_arrays(head, tmp_path):
    import numpy as np

    with np.load(BUILTIN) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(tmp_path / "loose.npz", **dict(reversed(arrays.items())))  # another packing, another order
    assert read_head(tmp_path / "loose.npz").digest == head.digest
    arrays["template"] = arrays["template"] + np.float32(1e-6)
    np.savez(tmp_path / "other.npz", **arrays)
    assert read_head(tmp_path / "other.npz").digest != head.digest


def test_a_clip_of_another_head_is_refused(head):
    clip = MotionClip(*(torch.zeros(2, n) for n in (41, 3, 3, 3, 6, 3)), shape=torch.zeros(head.identities), head=head.digest, fps=25.0)
    assert torch.allclose(head.vertices(clip), head.template.expand(2, -1, -1), atol=1e-7)
    with pytest.raises(InputError, match="load the head that the clip was made with"):
        head.vertices(MotionClip(**(vars(clip) | {"head": "f" * 64})))


def test_speed(head, one_thread):
    """48 frames forward and backward: some 25 ms of one core; the bound leaves room for the shape checks and a busy machine."""
    expr, jaw = torch.zeros(48, 41, requires_grad=True), torch.zeros(48, 3, requires_grad=True)
    person = head.with_shape(torch.zeros(head.identities))
    took = []
    for _ in range(5):
        start = time.thread_time()
        person.vertices(expr, torch.zeros(48, 3), jaw, torch.zeros(48, 6)).sum().backward()
        took.append(time.thread_time() - start)
    assert min(took) < 0.1


def test_landmarks_alone_are_those_of_the_whole_head(head):
    """Notices vertices of another order, correctives or joints that are left out."""
    draw = torch.Generator().manual_seed(0)
    expr, neck, jaw, eyes = (0.3 * torch.randn(5, width, generator=draw) for width in (head.expressions, 3, 3, 6))
    person = head.with_shape(torch.randn(head.identities, generator=draw))
    whole = head.landmarks(person.vertices(expr, neck, jaw, eyes))
    torch.testing.assert_close(person.landmarks(expr, neck, jaw, eyes), whole, atol=1e-6, rtol=0)


def test_a_film_of_hours_is_posed_block_by_block(head, monkeypatch):
    """What was 338 MB a minute of film at once, is the landmarks of some frames. Notices a block that is left out or taken twice."""
    motion = 0.2 * torch.randn(25, head.layout.width, generator=torch.Generator().manual_seed(1))
    nobody, posed = head.with_shape(torch.zeros(head.identities)), []
    monkeypatch.setattr(closed_lips, "BLOCK", 10)
    monkeypatch.setattr(ShapedHead, "landmarks", lambda *_, whole=ShapedHead.landmarks, **parts: posed.append(1) or whole(*_, **parts))
    found = closed_lips.lip_openings(head, motion)
    torch.testing.assert_close(found, head.lip_opening(nobody.vertices(**head.layout.unpack(motion))), atol=1e-6, rtol=0)
    assert len(posed) == 3
