"""LAM avatars: read as they are meant, moved as a head moves, written back bit for bit; hostile zips refused."""

import dataclasses
import json
import math
import struct
import zipfile

import numpy as np
import pytest
import roma
import torch
from gaussian_scenes import assert_no_worse_than
from hypothesis import given, settings
from hypothesis import strategies as st
from splat_files import (
    BLINKING,
    FACES,
    HEAD,
    JOINTS,
    NECK,
    OPENING,
    POINTS,
    WEIGHTS,
    container,
    covariance,
    lam_members,
    offset_ply,
    skin_glb,
    zipped,
)

import renderer
from renderer.cameras import portrait_camera
from renderer.glb import GlbWriter, glb_of_mesh, opened, skinned_mesh
from renderer.lam import LamHead, load_lam, save_lam


@pytest.fixture
def path(tmp_path):
    (tmp_path / "somebody.zip").write_bytes(zipped(lam_members()))
    return tmp_path / "somebody.zip"


def assert_same(left, right):
    """Every tensor bit for bit, and everything else equal."""
    for field in dataclasses.fields(left):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if dataclasses.is_dataclass(a):
            assert_same(a, b)
        elif isinstance(a, torch.Tensor):
            assert a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes(), field.name
        else:
            assert a == b, field.name


def double(lam: LamHead) -> LamHead:
    def converted(record):
        tensors = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
        return dataclasses.replace(
            record, **{k: v.double() for k, v in tensors.items() if isinstance(v, torch.Tensor) and v.is_floating_point()}
        )

    return dataclasses.replace(converted(lam), mesh=converted(lam.mesh))


def test_an_avatar_is_read_as_it_was_written_by_hand(path):
    """Interleaved vertices, a sparse morph without a base, matrices by column, Apple's litter. Faults planted: byteStride ignored, sparse
    rows ignored.
    """
    lam = load_lam(path)
    mesh, skeleton = lam.mesh, lam.mesh.skeleton
    assert torch.equal(mesh.vertices, torch.tensor(POINTS)) and torch.equal(mesh.faces, torch.tensor(FACES))
    assert torch.equal(mesh.joints, torch.tensor(JOINTS)) and torch.equal(mesh.weights, torch.tensor(WEIGHTS, dtype=torch.float32))
    assert mesh.morph_names == ("jawOpen", "eyeBlinkLeft")
    assert torch.equal(mesh.morphs[0], torch.tensor(OPENING, dtype=torch.float32))
    assert torch.equal(mesh.morphs[1], torch.tensor([BLINKING.get(i, (0.0, 0.0, 0.0)) for i in range(6)]))
    assert skeleton.names == ("Armature", "hip", "chestUpper", "neckLower", "head", "head_final", "lowerJaw")
    assert skeleton.parents == (-1, 0, 1, 2, 3, 0, 4) and skeleton.mesh_node == 5 and skeleton.joint_nodes == (1, 2, 3, 0, 4, 6)
    torch.testing.assert_close(skeleton.rest()[[3, 4], :3, 3].float(), torch.tensor([NECK, HEAD]))
    assert torch.equal(lam.colors[5], torch.tensor([5 / 8, 0.5, 1.0])) and torch.equal(lam.quats[2], torch.tensor([1.0, 0.2, 0.0, -0.25]))
    assert torch.equal(lam.offsets[3], torch.tensor([0.03, -0.006, 0.005])) and lam.opacity_logits.tolist() == [1, 0, -1, -2, -3, -4]
    assert lam.vertex_order.tolist() == [0, 1, 2, 4, 3, 5] and lam.kept == {"animation.glb": b"clips"}


def test_an_avatar_comes_back_bit_for_bit(path, tmp_path):
    """With numbers that a careless writer loses. Same avatar, same bytes. Fault planted: minus zero taken for a row to leave out."""
    lam = load_lam(path)
    lam.mesh.morphs[1, :2] = torch.tensor([[-0.0, 0.0, -0.0], [0.0, 1e-40, 0.0]])
    save_lam(tmp_path / "new folder" / "again.zip", lam)
    assert_same(load_lam(tmp_path / "new folder" / "again.zip"), lam)
    save_lam(tmp_path / "again.zip", lam)
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "new folder" / "again.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "again.zip") as archive:
        assert sorted(archive.namelist()) == [f"again/{name}" for name in ("animation.glb", "offset.ply", "skin.glb", "vertex_order.json")]


@pytest.mark.parametrize("name", ["weights", "morphs", "vertices"])
def test_what_could_not_be_read_is_not_written(path, tmp_path, name):
    lam = load_lam(path)
    getattr(lam.mesh, name)[-1, -1] = math.nan
    with pytest.raises(ValueError, match="found NaN or infinity"):
        save_lam(tmp_path / "again.zip", lam)
    assert list(tmp_path.iterdir()) == [path]


def test_an_avatar_needs_only_mesh_and_gaussians(tmp_path):
    """Without a folder, without clips; vertices then get LAM's order, by height."""
    members = {name: lam_members()[name] for name in ("skin.glb", "offset.ply")}
    (tmp_path / "a.zip").write_bytes(zipped(members, folder=""))
    lam = load_lam(tmp_path / "a.zip")
    assert lam.kept == {} and lam.vertex_order.tolist() == [0, 1, 2, 3, 4, 5]
    save_lam(tmp_path / "b.zip", lam)
    assert_same(load_lam(tmp_path / "b.zip"), lam)


def test_weights_are_matched_by_name(path):
    """Fault planted: weights taken by position."""
    lam = load_lam(path)
    opening, blinking = torch.tensor([0.5, 0.0]), torch.tensor([0.0, 0.5])
    still = lam.gaussians(torch.zeros(2))
    for own, names, weights in (
        (opening, ["eyeBlinkLeft", "jawOpen"], [0.0, 0.5]),
        (blinking, ["tongueOut", "eyeBlinkLeft"], [0.9, 0.5]),
        (opening, ["jawOpen"], [0.5]),
    ):
        moved = lam.gaussians(torch.tensor(weights), names)
        assert torch.equal(moved.means, lam.gaussians(own).means) and not torch.equal(moved.means, still.means)
    torch.testing.assert_close(lam.gaussians(opening).means - still.means, 0.5 * torch.tensor(OPENING, dtype=torch.float32))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["jawopen"], "did you mean 'jawOpen'"),
        (["eyeBlinkRight"], "did you mean 'eyeBlinkLeft'"),
        (["volume"], "found 'volume'; leave it out"),
        (["jawOpen", "eyeBlinkLeft"], "found 1 for 2 names"),
        (["jawOpen", "jawOpen"], "1 different names"),
    ],
)
def test_names_that_do_not_fit_are_refused(path, names, message):
    weights = torch.zeros(1 if "found 1" in message else len(names))
    with pytest.raises(ValueError, match=message):
        load_lam(path).gaussians(weights, names)


def test_a_gaussian_starts_at_its_vertex_and_offset(path):
    lam = load_lam(path)
    gaussians = lam.gaussians(torch.zeros(2), origin="body")
    torch.testing.assert_close(gaussians.means, torch.tensor(POINTS) + lam.offsets)
    assert torch.equal(gaussians.colors, lam.colors) and torch.equal(gaussians.scales, lam.log_scales.exp())
    assert gaussians.opacities[1] == 0.5
    placed = lam.gaussians(torch.zeros(2))
    torch.testing.assert_close(gaussians.means - placed.means, (torch.tensor(HEAD) + torch.tensor([0.0, 0.0446, 0.0596])).expand(6, 3))


def turned_by_hand(lam, neck, head, dtype):
    """Skinning with one 4x4 matrix per joint, down the chain."""

    def about(point, turn):
        matrix, point = torch.eye(4, dtype=dtype), torch.tensor(point, dtype=dtype)
        matrix[:3, :3] = roma.rotvec_to_rotmat(turn.to(dtype))
        matrix[:3, 3] = point - matrix[:3, :3] @ point
        return matrix

    still = torch.eye(4, dtype=dtype)
    on_neck = about(NECK, neck)
    on_head = on_neck @ about(HEAD, head)
    matrices = torch.stack([still, still, on_neck, still, on_head, on_head])  # hip, chest, neck, armature, head, jaw
    skin = (torch.tensor(WEIGHTS, dtype=dtype)[..., None, None] * matrices[torch.tensor(JOINTS)]).sum(1)
    points = torch.tensor(POINTS, dtype=dtype) + lam.offsets.to(dtype)
    u, _, v = torch.linalg.svd(skin[:, :3, :3])
    turn = u @ v  # the rotation nearest to the blend
    return {
        "means": ((skin[:, :3, :3] @ points[..., None])[..., 0] + skin[:, :3, 3]).double(),
        "covariances": (turn @ covariance(lam.quats.to(dtype), lam.log_scales.to(dtype).exp()) @ turn.mT).double(),
    }


NECK_TURN, HEAD_TURN = torch.tensor([0.1, -0.4, 0.05]), torch.tensor([-0.2, 0.5, 0.3])


def test_turns_are_those_of_the_skeleton(path):
    """Faults planted: offsets added after the turn, quaternions that stay, a head joint not carried by the neck, turns in the other
    order, a jaw that does not follow the head.
    """
    lam = load_lam(path)
    gaussians = lam.gaussians(torch.zeros(2), head=HEAD_TURN, neck=NECK_TURN, origin="body")
    found = {"means": gaussians.means.double(), "covariances": covariance(gaussians.quats, gaussians.scales).double()}
    truth, yardstick = (turned_by_hand(lam, NECK_TURN, HEAD_TURN, dtype) for dtype in (torch.float64, torch.float32))
    blended = [1, 3]  # there the blended quaternion is near the nearest rotation, elsewhere it is that of one joint
    difference = (found["covariances"] - truth["covariances"])[blended].norm() / truth["covariances"][blended].norm()
    assert float(difference) < 0.01
    for values in (found, truth, yardstick):
        values["covariances"] = values["covariances"][[0, 2, 4, 5]]
    assert_no_worse_than(found, truth=truth, yardstick=yardstick)


def test_a_turning_head_is_a_camera_that_orbits(path):
    """All joints turned alike about one point by a turn of the neck: Gaussians above it are those of a rigid body."""
    lam = load_lam(path)
    still = lam.gaussians(torch.zeros(2), origin="body")
    turned = lam.gaussians(torch.zeros(2), neck=NECK_TURN, origin="body")
    above, turn = [2, 3, 4, 5], roma.rotvec_to_rotmat(NECK_TURN)
    expected = (still.means[above] - torch.tensor(NECK)) @ turn.T + torch.tensor(NECK)
    torch.testing.assert_close(turned.means[above], expected)
    torch.testing.assert_close(
        covariance(turned.quats, turned.scales)[above], turn @ covariance(still.quats, still.scales)[above] @ turn.T, rtol=1e-4, atol=1e-9
    )
    assert torch.equal(turned.means[0], still.means[0])


def test_half_turns_and_more_blend_the_short_way(path):
    """A rotation vector beyond half a turn is the short one the other way. Fault planted: q and -q blended as they come."""
    lam = load_lam(path)
    short = torch.tensor([0.0, 0.3, 0.0])
    long = torch.tensor([0.0, 0.3 - 2 * math.pi, 0.0])
    a, b = (covariance(g.quats, g.scales) for g in (lam.gaussians(torch.zeros(2), head=turn) for turn in (short, long)))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-9)


def test_frames_are_drawn_together_as_one_by_one(path):
    lam = load_lam(path)
    random = torch.Generator().manual_seed(0)
    weights, head = torch.rand(2, 3, 2, generator=random), torch.randn(2, 3, 3, generator=random) / 3
    together = lam.gaussians(weights, head=head, neck=NECK_TURN)
    assert together.means.shape == (2, 3, 6, 3) and together.quats.shape == (2, 3, 6, 4)
    assert together.colors.shape == (2, 3, 6, 3) and together.opacities.shape == (2, 3, 6) and together.scales.shape == (2, 3, 6, 3)
    for i in range(2):
        for j in range(3):
            alone = lam.gaussians(weights[i, j], head=head[i, j], neck=NECK_TURN)
            torch.testing.assert_close(together.means[i, j], alone.means)
            torch.testing.assert_close(together.quats[i, j], alone.quats)
    many = lam.gaussians(torch.zeros(2), head=head[0])  # one expression, many turns
    torch.testing.assert_close(many.means[1], lam.gaussians(torch.zeros(2), head=head[0, 1]).means)


def test_gradients_reach_weights_and_turns(path):
    """At rest too, where the axis of a rotation vector is undefined."""
    lam = double(load_lam(path))

    def moved(weights, head, neck):
        gaussians = lam.gaussians(weights, ["eyeBlinkLeft", "tongueOut", "jawOpen"], head=head, neck=neck)
        return gaussians.means, gaussians.quats

    for head, neck in ((HEAD_TURN, NECK_TURN), (torch.zeros(3), torch.zeros(3))):
        inputs = [torch.rand(2, 3).double(), head.double().expand(2, 3), neck.double().expand(2, 3)]
        inputs = [value.clone().requires_grad_() for value in inputs]
        for gradient in torch.autograd.grad(sum(part.square().sum() for part in moved(*inputs)), inputs):
            assert gradient.isfinite().all()
        if head.any():
            assert torch.autograd.gradcheck(moved, inputs)


def test_a_skeleton_without_a_head_says_so(path, tmp_path):
    def nameless(document, binary):
        for node in document["nodes"]:
            node["name"] = "bone"

    (tmp_path / "a.zip").write_bytes(zipped(lam_members() | {"skin.glb": skin_glb(nameless)}))
    lam = load_lam(tmp_path / "a.zip")
    lam.gaussians(torch.zeros(2), origin="body")
    with pytest.raises(ValueError, match="origin='body'"):
        lam.gaussians(torch.zeros(2))
    with pytest.raises(ValueError, match="head: expected a head joint"):
        lam.gaussians(torch.zeros(2), head=HEAD_TURN, origin="body")


# --- hostile and damaged zips -------------------------------------------------------------------------------------------------------


def understated() -> bytes:
    """A member that unpacks to more than the zip declares."""
    data = bytearray(zipped(lam_members()))
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"skin.glb"))
    data[at + 24 : at + 28] = struct.pack("<I", 16)
    return bytes(data)


def overstated() -> bytes:
    data = bytearray(zipped(lam_members()))
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"animation.glb"))
    data[at + 24 : at + 28] = struct.pack("<I", 6)
    return bytes(data)


def encrypted() -> bytes:
    data = bytearray(zipped(lam_members()))
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"skin.glb"))
    data[at + 8] |= 1
    return bytes(data)


def lacking(name: str) -> bytes:
    return zipped({other: content for other, content in lam_members().items() if other != name})


def beside(name: str) -> bytes:
    return zipped([*((f"somebody/{k}", v) for k, v in lam_members().items()), (name, b"evil")], folder="")


def swapped(**members: bytes) -> bytes:
    return zipped(lam_members() | {name.replace("_", "."): content for name, content in members.items()})


HOSTILE = {
    "no zip": (b"not a zip at all", "expected a zip"),
    "cut off": (zipped(lam_members())[:-30], "expected a zip"),
    "a way up": (beside("somebody/../../evil.txt"), "names inside one folder.*evil"),
    "a way up with backslashes": (beside("..\\evil.txt"), "names inside one folder"),
    "an absolute name": (beside("/etc/evil.txt"), "names inside one folder"),
    "a drive": (beside("C:evil.txt"), "names inside one folder"),
    "a bomb": (swapped(bsData_json=bytes(2**25)), "200 times the zip, found 335.* bytes unpacked"),
    "a member longer than declared": (understated(), "expected a zip"),
    "a member shorter than declared": (overstated(), "a shorter animation.glb"),
    "a password": (encrypted(), "without a password"),
    "no mesh": (lacking("skin.glb"), "found no skin.glb"),
    "no Gaussians": (lacking("offset.ply"), "found no offset.ply"),
    "two avatars": (beside("another/skin.glb"), "expected one skin.glb"),
    "a part elsewhere": (zipped([("a/skin.glb", skin_glb()), ("b/offset.ply", offset_ply())]), "all parts in one folder"),
    "fewer Gaussians than vertices": (zipped(lam_members() | {"offset.ply": offset_ply(5)}), "6 Gaussians.*found 5"),
    "no permutation": (zipped(lam_members() | {"vertex_order.json": b"[0, 1, 2, 3, 4, 4]"}), "each number from 0 to 5 once"),
    "no list": (zipped(lam_members() | {"vertex_order.json": b'{"0": 1}'}), "each number from 0 to 5 once"),
    "NaN in a Gaussian": (zipped(lam_members() | {"offset.ply": offset_ply(first_logit=math.nan)}), "offset.ply.*NaN.*first in row 0"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_zips_are_refused_in_words(tmp_path, kind):
    content, message = HOSTILE[kind]
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_lam(tmp_path / "bad.zip")
    assert "bad.zip" in str(caught.value) and "; " in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path):
    (tmp_path / "bad.zip").write_bytes(zipped([*lam_members().items(), ("skin.glb", skin_glb())]))
    with pytest.raises(ValueError, match=r"expected one skin\.glb"):
        load_lam(tmp_path / "bad.zip")


# --- glTF ---------------------------------------------------------------------------------------------------------------------------


def spoiled(section, index, **changes):
    def change(document, binary):
        document[section][index] |= changes

    return skin_glb(change)


def spoiled_primitive(**changes):
    def change(document, binary):
        document["meshes"][0]["primitives"][0] |= changes

    return skin_glb(change)


def spoiled_number(value, at):
    def change(document, binary):
        binary[at : at + 4] = struct.pack("<f", value)

    return skin_glb(change)


def spoiled_sparse(**changes):
    def change(document, binary):
        document["accessors"][5]["sparse"] |= changes

    return skin_glb(change)


# accessors: 0 positions, 1 weights, 2 joints, 3 indices, 4 jawOpen, 5 eyeBlinkLeft (sparse), 6 inverse binds
BROKEN = {
    "another file": (b"solid mesh", "does not begin with 'glTF'"),
    "version 1": (b"glTF" + struct.pack("<II", 1, 12), "version 2, found 1"),
    "cut off": (skin_glb()[:-1], "cut off or damaged"),
    "a chunk beyond the end": (skin_glb()[:12] + struct.pack("<I", 2**31) + skin_glb()[16:], "expected a chunk of 2147483648 bytes"),
    "no JSON": (container(b"{'a': 1}", b""), "expected a JSON document"),
    "nesting without end": (container(b"[" * 100000, b""), "expected a JSON document"),
    "a list": (container(b"[]", b""), "JSON object"),
    "nothing in it": (container(b"{}", b""), "one mesh with a skin, found 0"),
    "compression": (container(b'{"extensionsRequired": ["KHR_draco"]}', b""), "KHR_draco.*without compression"),
    "bytes in another file": (spoiled("buffers", 0, uri="other.bin"), "inside the file"),
    "a view beyond the bytes": (spoiled("bufferViews", 0, byteLength=10**9), "found a file that holds"),
    "a view before the bytes": (spoiled("bufferViews", 0, byteOffset=-4), "'byteOffset', found -4"),
    "a stride within an element": (spoiled("bufferViews", 0, byteStride=8), "a byteStride of at least 12"),
    "a stride beyond the view": (spoiled("bufferViews", 0, byteStride=252), "a buffer view of 168"),
    "an offset beyond the view": (spoiled("accessors", 1, byteOffset=16), "172 bytes for accessor 1, found a buffer view of 168"),
    "an absurd count": (spoiled("accessors", 0, count=10**15), "a buffer view of 168"),
    "a count that is no number": (spoiled("accessors", 0, count=True), "a whole number as 'count'"),
    "a count that differs": (spoiled("accessors", 4, count=5), "accessor 4 of 6 rows, found 5"),
    "positions without bytes": (skin_glb(lambda document, binary: document["accessors"][0].pop("bufferView")), "bytes behind accessor 0"),
    "another type": (spoiled("accessors", 0, type="VEC2"), "accessor 0 of type VEC3"),
    "another component": (spoiled("accessors", 0, componentType=5130), "componentType among"),
    "positions that are whole": (spoiled("accessors", 0, componentType=5125), "numbers with a fraction"),
    "joints with a fraction": (spoiled("accessors", 2, normalized=True), "whole numbers from 0 to 5"),
    "joints that are not": (spoiled("skins", 0, joints=[1, 2]), "accessor 6 of 2 rows"),
    "joints that are no nodes": (spoiled("skins", 0, joints=[1, 2, 3, 0, 99]), "entry 99 of nodes"),
    "corners beyond the vertices": (skin_glb(lambda document, binary: binary.__setitem__(192, 6)), "whole numbers from 0 to 5"),
    "rows out of order": (skin_glb(lambda document, binary: binary.__setitem__(284, 7)), "ascending rows below 6"),
    "sparse without values": (spoiled_sparse(values=None), "indices and values of the sparse accessor 5"),
    "sparse of absurd count": (spoiled_sparse(count=10**12), "a buffer view of 4"),
    "NaN in a position": (spoiled_number(math.nan, 28), "NaN or infinity in 1 rows, first in row 1"),
    "weights that do not sum to one": (spoiled_number(0.5, 12), "sum to one"),
    "a bone that moved": (spoiled("nodes", 4, translation=[0, 90, 2]), "rests where the mesh was bound"),
    "a matrix": (spoiled("nodes", 4, matrix=[1.0] * 16), "translation, rotation, scale"),
    "a translation of words": (spoiled("nodes", 4, translation=["up", 1, 2]), "3 finite numbers as translation"),
    "a node with two parents": (spoiled("nodes", 0, children=[1, 2, 5]), "two parents of node 2"),
    "a circle": (spoiled("nodes", 4, children=[0]), "a circle"),
    "lines": (spoiled_primitive(mode=1), "made of triangles"),
    "a morph without a name": (spoiled_primitive(targets=[{"POSITION": 4}] * 3), "2 morphs as targetNames says"),
    "morphs of the same name": (spoiled("meshes", 0, extras={"targetNames": ["a", "a"]}), "different names"),
    "eight joints for a vertex": (spoiled_primitive(attributes={"POSITION": 0, "JOINTS_0": 2, "JOINTS_1": 2}), "at most four joints"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_meshes_are_refused_in_words(kind):
    content, message = BROKEN[kind]
    with pytest.raises(ValueError, match=message) as caught:
        skinned_mesh(opened(content, "a.zip: skin.glb"))
    assert str(caught.value).startswith("a.zip: skin.glb: expected") and "; " in str(caught.value)


def test_morphs_without_end_are_refused(monkeypatch):
    """Each costs a file a few bytes and the reader a whole mesh: their number is checked before one is read."""
    monkeypatch.setattr("renderer.glb.LARGEST_MORPHS", 35)
    with pytest.raises(ValueError, match="at most 35 numbers in the morphs, found 2 morphs of 6 vertices"):
        skinned_mesh(opened(skin_glb(), "a.glb"))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_meshes_are_refused_or_harmless(data):
    """Any byte changed: a ValueError or a mesh, nothing else."""
    whole = bytearray(skin_glb())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(12, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        skinned_mesh(opened(bytes(whole), "a.glb"))
    except ValueError as error:
        assert str(error).startswith("a.glb: expected")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_documents_with_anything_in_them_are_refused_or_harmless(data):
    """Any value of the document replaced by any other kind of value."""
    strange = st.sampled_from([None, -1, 0, 1, 7, 2**31, 10**30, 1e300, math.nan, 0.5, True, "", "a", [], [0], [[1.0]], {}, {"a": 1}])

    def change(document, binary):
        inside = document
        while True:
            key = data.draw(st.sampled_from(sorted(inside) if isinstance(inside, dict) else range(len(inside))))
            if not isinstance(inside[key], dict | list) or not inside[key] or data.draw(st.integers(0, 3)) == 0:
                inside[key] = data.draw(strange)
                return
            inside = inside[key]

    try:
        skinned_mesh(opened(skin_glb(change), "a.glb"))
    except ValueError as error:
        assert str(error).startswith("a.glb: expected")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_zips_are_refused_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    whole = bytearray(zipped(lam_members()))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        load_lam(path)
    except ValueError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(
    ("component", "stored", "meant"),
    [(5121, [0, 51, 255], [0, 0.2, 1]), (5123, [0, 13107, 65535], [0, 0.2, 1]), (5120, [-128, -127, 127], [-1, -1, 1])],
)
def test_normalised_integers_are_fractions(component, stored, meant):
    """Fault planted: divided by one more than the largest."""
    kinds = {5121: "B", 5123: "H", 5120: "b"}
    binary = struct.pack(f"<3{kinds[component]}", *stored)
    document = {
        "accessors": [{"bufferView": 0, "componentType": component, "normalized": True, "count": 1, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": len(binary)}],
        "buffers": [{"byteLength": len(binary)}],
    }
    values = opened(container(json.dumps(document).encode(), binary), "a.glb").array(0, 3)
    assert values.dtype == np.float32 and values[0].tolist() == pytest.approx(meant)


def test_what_is_written_is_valid_gltf(path):
    """What the specification asks for and our reader does not need: aligned chunks and views, bounds of positions, no empty sparse part.
    Fault planted: JSON without its padding.
    """
    lam = load_lam(path)
    lam.mesh.morphs[0] = 0
    data = glb_of_mesh(lam.mesh)
    magic, version, length, size, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON") and size % 4 == 0
    document = json.loads(data[20 : 20 + size])
    binary_size, binary_kind = struct.unpack_from("<I4s", data, 20 + size)
    assert binary_kind == b"BIN\0" and binary_size % 4 == 0 and 28 + size + binary_size == length
    for odd in range(4):  # of whatever length
        padded = GlbWriter().encoded({"extras": "a" * odd})
        assert len(padded) % 4 == struct.unpack_from("<I", padded, 12)[0] % 4 == 0
    assert document["asset"]["version"] == "2.0" and document["buffers"] == [{"byteLength": binary_size}]
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0 and view["byteOffset"] + view["byteLength"] <= binary_size
    primitive = document["meshes"][0]["primitives"][0]
    for accessor in (primitive["attributes"]["POSITION"], *(target["POSITION"] for target in primitive["targets"])):
        assert len(document["accessors"][accessor]["min"]) == len(document["accessors"][accessor]["max"]) == 3
    assert document["accessors"][primitive["attributes"]["POSITION"]]["max"] == lam.mesh.vertices.max(0).values.tolist()
    assert "sparse" not in document["accessors"][primitive["targets"][0]["POSITION"]]
    assert document["accessors"][primitive["attributes"]["JOINTS_0"]]["componentType"] == 5121
    assert document["accessors"][primitive["indices"]]["type"] == "SCALAR"
    assert torch.equal(skinned_mesh(opened(data, "a.glb")).morphs, lam.mesh.morphs)


def test_many_vertices_and_joints_get_wider_integers():
    """Fault planted: indices of 70,000 vertices as 16 bits."""
    writer = GlbWriter()
    morph = np.zeros((70000, 3), np.float32)
    morph[69999, 1] = 1
    accessor = writer.add_sparse(morph)
    assert np.array_equal(opened(writer.encoded({}), "a.glb").array(accessor, 3, 70000), morph)


# --- real avatars -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["p2-1", "james"])
def real(request, samples):
    return samples / "lam_gaussian_heads" / f"{request.param}.zip"


def test_real_avatars_come_back_bit_for_bit(real, tmp_path):
    lam = load_lam(real)
    assert lam.mesh.vertices.shape == (20018, 3) and lam.mesh.faces.shape == (39904, 3) and lam.mesh.morphs.shape == (51, 20018, 3)
    assert "animation.glb" in lam.kept and 0 <= float(lam.colors.min()) <= float(lam.colors.max()) <= 1
    save_lam(tmp_path / "again.zip", lam)
    assert_same(load_lam(tmp_path / "again.zip"), lam)


def test_real_avatars_have_flames_place(real, samples):
    """FLAME's axes and origin, to a millimetre. Fault planted: the origin in the head joint."""
    flame = np.load(samples / "flame2023_open_parts" / "flame2023_open_partial.npz")["v_template"]
    order = np.load(samples / "lam_gaussian_heads" / "arkit51_on_flame5023.npz")["lam_index_of_flame_vertex"][: len(flame)]
    lam = load_lam(real)
    vertices = (lam.gaussians(torch.zeros(51)).means - lam.offsets)[torch.from_numpy(order).long()]
    assert float((vertices - torch.from_numpy(flame)).mean(0).norm()) < 1e-3


def test_real_sides_are_the_persons(real):
    """The person's left is +x, up is +y, the face looks along +z; a positive turn about y looks to the left."""
    lam = load_lam(real)
    names = lam.mesh.morph_names

    def middle(name):
        size = lam.mesh.morphs[names.index(name)].norm(dim=-1, keepdim=True)
        return (lam.mesh.vertices * size).sum(0) / size.sum()

    left, right, jaw = middle("eyeBlinkLeft"), middle("eyeBlinkRight"), middle("jawOpen")
    assert left[0] > 0.02 > -0.02 > right[0] and jaw[1] < left[1] - 0.03
    assert lam.mesh.morphs[names.index("jawOpen")][:, 1].min() < -0.03
    still, turned = (lam.gaussians(torch.zeros(51), head=torch.tensor([0.0, turn, 0.0])) for turn in (0.0, 0.4))
    nose = int(lam.mesh.vertices[:, 2].argmax())
    assert turned.means[nose, 0] > still.means[nose, 0] + 0.02


def test_real_faces_are_drawn_whole_in_their_colours(real):
    """Fault planted: f_dc taken for a harmonic, which washes colours out."""
    lam = load_lam(real)
    camera = portrait_camera(128, field_of_view_degrees=6, target=(0.0, 0.0, 0.0))  # brows to lips
    drawn = renderer.draw(lam.gaussians(torch.zeros(51)), camera)
    assert float(drawn.alphas.min()) > 0.95  # no hole through which the background would shine
    dark, bright = (float(drawn.colors.mean(-1).quantile(share)) for share in (0.05, 0.95))
    assert 0 < dark < 0.3 and float(drawn.colors.max()) <= 1 and bright > dark + 0.2
