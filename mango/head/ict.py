"""ICT-FaceKit's light face model (github.com/ICT-VGL/ICT-FaceKit, MIT) as a head in our layout.

    folder of OBJ files, or the same packed in one npz        read_ict   -> IctModel
      -> head, eyes, teeth, tongue; no lashes, no tear film   KEPT
      -> joints from what jawOpen and the eyeballs show       rig
      -> jaw and gaze become joints, the rest correctives     rigging.joint_actions
      -> expressions by ARKit name, regions, landmarks        head_of_ict

The model has centimetres, and axes like ours (x to the person's left, y up, z out of the face).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from mango.errors import InputError
from mango.head.annotation import built_in_over, derived
from mango.head.arkit import ARKIT_NAMES
from mango.head.assets import HeadArrays, read_head, with_digest
from mango.head.correspondence import Surface, similar, similarity
from mango.head.rigging import (
    axis_rotation,
    best_angle,
    box_centre,
    jaw_pivot,
    joint_actions,
    joint_regressor,
    open_border,
    triangles,
    unturned,
)

METRES = 0.01
VERTICES = 26_719
# Vertices by part, as the model's own documentation numbers them.
FACE, BACK, MOUTH_SOCKET, EYE_SOCKETS = range(0, 9409), range(9409, 11248), range(11248, 13294), range(13294, 14062)
GUMS_AND_TONGUE, UPPER_TEETH, LOWER_TEETH = range(14062, 17039), range(17039, 19247), range(19247, 21451)
LEFT_EYE, RIGHT_EYE = range(21451, 23021), range(23021, 24591)
EYES = ("left_eye", "right_eye")
KEPT = 24_591  # after these: tear film, blends and shadows around the eyes, lashes, which are transparent sheets
SIDES = {"_L": "Left", "_R": "Right"}  # jawLeft and the like are whole names; PupilDilate and cheekRaiser are not ARKit's
BOTH_SIDES = ("browInnerUp", "cheekPuff")  # one shape of ARKit's, two of ICT's
GUM_REACH = 0.004  # metres from a tooth: gum; farther: tongue
STILL = 0.002  # metres: a vertex that the whole jaw would move by less says nothing of its weight
LICENCE = "ICT-FaceKit, MIT licence, Copyright (c) 2020 USC Institute for Creative Technologies"


@dataclass(frozen=True)
class IctModel:
    """As read: centimetres, polygons of three or four corners (-1 where there is no fourth)."""

    neutral: Float[np.ndarray, "verts 3"]
    polygons: Int[np.ndarray, "polygons 4"]
    uvs: Float[np.ndarray, "uvs 2"]
    uv_polygons: Int[np.ndarray, "polygons 4"]
    identities: Float[np.ndarray, "identities verts 3"]  # from the neutral
    expressions: dict[str, Float[np.ndarray, "verts 3"]]  # from the neutral
    landmarks: Int[np.ndarray, "landmarks"] | None  # vertices of iBUG's 68 points, where the source has them


def read_ict(source: Path) -> IctModel:
    """The folder FaceXModel (or the one above it), or one npz with the same arrays.

    Errors: InputError for anything else, for missing shapes and for another model than the light one.
    """
    model = _of_folder(source) if source.is_dir() else _of_npz(source)
    shapes = {len(model.neutral), *(len(shape) for shape in model.expressions.values()), model.identities.shape[1]}
    if shapes != {VERTICES}:
        remedy = "use ICT Face Model Light as it is in the repository ICT-VGL/ICT-FaceKit"
        raise InputError(source, expected=f"{VERTICES} vertices in every shape", found=f"{sorted(shapes)}", remedy=remedy)
    wanted = {ict for name in ARKIT_NAMES if name != "tongueOut" for ict in ict_names(name)}
    missing = sorted(wanted - set(model.expressions))
    if missing:
        found = f"none of {', '.join(missing[:5])}" + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise InputError(source, expected="ICT's expression shapes", found=found, remedy="copy the whole folder FaceXModel")
    return model


def ict_names(name: str) -> tuple[str, ...]:
    """ICT's shapes that make up one of ARKit's."""
    if name in BOTH_SIDES:
        return f"{name}_L", f"{name}_R"
    for short, long in SIDES.items():
        if name.endswith(long) and name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
            return (name.removesuffix(long) + short,)
    return (name,)


def _of_npz(path: Path) -> IctModel:
    expected = "ICT-FaceKit: its folder FaceXModel, or an npz of neutral, faces, faces_uv, uv, identity_ and expression_deltas"
    remedy = "give --format the name of what this is"
    if not path.is_file():
        raise InputError(path, expected=expected, found="no such file or folder", remedy="check the path")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive["expression_names"].tolist()
            deltas = archive["expression_deltas"].astype(np.float32)
            return IctModel(
                archive["neutral"].astype(np.float64),
                archive["faces"].astype(np.int64),
                archive["uv"].astype(np.float32),
                archive["faces_uv"].astype(np.int64),
                archive["identity_deltas"].astype(np.float32),
                dict(zip(names, deltas, strict=True)),
                _landmarks(path.parent),
            )
    except Exception as error:  # a damaged archive fails in many ways
        raise InputError(path, expected=expected, found=f"{type(error).__name__}: {error}", remedy=remedy) from error


def _of_folder(folder: Path) -> IctModel:
    folder = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    neutral = folder / "generic_neutral_mesh.obj"
    if not neutral.is_file():
        remedy = "give the folder FaceXModel of the repository ICT-VGL/ICT-FaceKit"
        raise InputError(folder, expected="generic_neutral_mesh.obj in it", found="none", remedy=remedy)
    points, polygons, uvs, uv_polygons = read_obj(neutral)
    shapes = {path.stem: read_obj(path, points_only=True)[0] for path in sorted(folder.glob("*.obj")) if path != neutral}
    for name, shape in shapes.items():
        if shape.shape != points.shape:
            found = f"{len(shape)} vertices"
            raise InputError(folder / f"{name}.obj", expected=f"{len(points)} vertices", found=found, remedy="copy the file again")
    identities = [shapes[name] - points for name in sorted(shapes) if name.startswith("identity")]
    expressions = {name: (shape - points).astype(np.float32) for name, shape in shapes.items() if not name.startswith("identity")}
    stacked = np.stack(identities).astype(np.float32) if identities else np.zeros((0, len(points), 3), np.float32)
    return IctModel(points, polygons, uvs, uv_polygons, stacked, expressions, _landmarks(folder))


def read_obj(path: Path, *, points_only: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, polygons, texture coordinates, polygons of those. Triangles and quads; a triangle's fourth corner is -1.

    Errors: InputError for lines that are none of an OBJ file's.
    """
    points, polygons, uvs, uv_polygons = [], [], [], []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if line.startswith("v "):
                points.append(line.split()[1:4])
            elif points_only:
                continue
            elif line.startswith("vt "):
                uvs.append(line.split()[1:3])
            elif line.startswith("f "):
                corners = [corner.split("/") for corner in line.split()[1:]]
                if not 3 <= len(corners) <= 4:
                    raise ValueError(f"a polygon of {len(corners)} corners in line {number}")
                fill = [-1] * (4 - len(corners))
                polygons.append([int(corner[0]) - 1 for corner in corners] + fill)
                uv_polygons.append([int(corner[1]) - 1 if len(corner) > 1 and corner[1] else -1 for corner in corners] + fill)
        found = np.array(points, np.float64).reshape(-1, 3)
        texture = np.array(uvs, np.float32).reshape(-1, 2)
    except (ValueError, IndexError) as error:
        raise InputError(path, expected="an OBJ file of triangles and quads", found=str(error), remedy="copy the file again") from error
    return found, np.array(polygons, np.int64).reshape(-1, 4), texture, np.array(uv_polygons, np.int64).reshape(-1, 4)


def _landmarks(folder: Path) -> np.ndarray | None:
    path = folder / "vertex_indices.json"
    if not path.is_file():
        return None
    try:
        return np.array(json.loads(path.read_text())["idx_to_landmark_verts"], np.int64).reshape(68)
    except (ValueError, KeyError, TypeError) as error:
        remedy = "copy the file again, or remove it: landmarks are found without it"
        raise InputError(path, expected="68 vertex numbers in idx_to_landmark_verts", found=str(error), remedy=remedy) from error


# ------------------------------------------------------------------------------------------------ the head


@dataclass(frozen=True)
class Rig:
    """Joints and weights, made from the shapes themselves. Metres."""

    joints: Float[np.ndarray, "joints 3"]
    weights: Float[np.ndarray, "verts joints"]
    jaw_open: float  # radians at weight one


def head_of_ict(model: IctModel, name: str = "ict") -> HeadArrays:
    """The head, in metres, with eyes' midpoint at the height of the built-in head's. Takes some seconds."""
    faces, uv_faces = _triangles(model)
    ours = read_head("builtin")
    raw = model.neutral[:KEPT] * METRES
    eyes = np.stack([box_centre(raw[list(eye)]) for eye in (LEFT_EYE, RIGHT_EYE)])
    template = raw + (ours.joint_regressor @ ours.template)[3:].mean(0) - eyes.mean(0)
    identities = model.identities[:, :KEPT].astype(np.float64) * METRES
    shapes = {shape: delta[:KEPT].astype(np.float64) * METRES for shape, delta in model.expressions.items()}
    inner = _mouth_parts(template, shapes["jawOpen"])
    skin, _ = Surface(template, faces).restricted(np.concatenate([FACE, BACK]))
    laid = built_in_over(name, skin, np.stack([box_centre(template[list(eye)]) for eye in (LEFT_EYE, RIGHT_EYE)]))
    rig = _rig(template, shapes["jawOpen"], laid)
    parts = {**inner, "left_eye": np.array(LEFT_EYE), "right_eye": np.array(RIGHT_EYE)}

    def action(name: str) -> np.ndarray:
        """An ARKit shape; eyeballs, which ICT's shapes leave alone, turn as far as the built-in head's."""
        moved = sum(shapes[ict] for ict in ict_names(name))
        if name.startswith("eyeLook"):
            side = "left_eye" if name.endswith("Left") else "right_eye"
            ball, pivot = parts[side], rig.joints[3 if side == "left_eye" else 4]
            pose = ours.joint_expressions[name].reshape(4, 3)[2 if side == "left_eye" else 3]
            axis = int(np.abs(pose).argmax())
            moved = moved.copy()
            moved[ball] = (template[ball] - pivot) @ axis_rotation(axis, float(pose[axis])).T + pivot - template[ball]
        return moved

    solid = {"upper_teeth": np.array(UPPER_TEETH), "lower_teeth": np.array(LOWER_TEETH)} | {eye: parts[eye] for eye in EYES}
    actions = joint_actions(template, action, rig.joints, rig.weights, solid, rigid=(*EYES, "upper_teeth"))
    names = tuple(arkit for arkit in ARKIT_NAMES if arkit not in actions.names and arkit != "tongueOut")
    expressions = np.stack([action(arkit) for arkit in names])
    closing = names.index("mouthClose")  # against the jaw joint: with jawOpen at one it closes the lips as ICT's own shapes do
    expressions[closing] = unturned(expressions[closing], axis_rotation(0, rig.jaw_open), rig.weights[:, 2])
    expressions[:, np.concatenate([parts["left_eye"], parts["right_eye"], solid["upper_teeth"]])] = 0
    found = derived(name, template, faces, rig.joints, rig.weights, parts, laid)
    landmark_faces, landmark_barycentrics = found.landmark_faces, found.landmark_barycentrics
    if model.landmarks is not None:
        landmark_faces, landmark_barycentrics = at_vertices(faces, model.landmarks)
    arrays = {
        "template": template.astype(np.float32),
        "shape_directions": identities.transpose(1, 2, 0).astype(np.float32),
        "expression_directions": expressions.transpose(1, 2, 0).astype(np.float32),
        "pose_correctives": actions.correctives.reshape(36, -1).astype(np.float32),
        "joint_regressor": _regressor(template, faces, identities, rig, parts).astype(np.float32),
        "skin_weights": rig.weights.astype(np.float32),
        "faces": faces,
    }
    head = HeadArrays(
        name=name,
        digest="",
        expression_names=names,
        uvs=model.uvs,
        uv_faces=uv_faces,
        landmark_faces=landmark_faces,
        landmark_barycentrics=landmark_barycentrics,
        regions=found.regions,
        joint_expressions=dict(zip(actions.names, actions.poses.astype(np.float32), strict=True)),
        licence=LICENCE,
        **arrays,
    )
    return with_digest(head)


def _triangles(model: IctModel) -> tuple[np.ndarray, np.ndarray]:
    """Of the kept vertices. Texture coordinates stay as they are (several tiles beside each other)."""
    kept = (model.polygons < KEPT).all(axis=1)
    polygons, textures = model.polygons[kept], model.uv_polygons[kept]
    quads = polygons[:, 3] >= 0
    faces, uv_faces = triangles(model.neutral, polygons[quads], textures[quads])
    return np.concatenate([faces, polygons[~quads, :3]]), np.concatenate([uv_faces, textures[~quads, :3]])


def _mouth_parts(template: np.ndarray, opening: np.ndarray) -> dict[str, np.ndarray]:
    """Teeth with gums, tongue, what lies behind the lips and the eyelids. Gums are near teeth, the upper ones stay when the jaw opens."""
    soft = np.array(GUMS_AND_TONGUE)
    lower, _ = cKDTree(template[list(LOWER_TEETH)]).query(template[soft])
    still = np.linalg.norm(opening[soft], axis=1) < 0.1 * np.linalg.norm(opening[list(LOWER_TEETH)], axis=1).mean()
    lower_gum = ~still & (lower < GUM_REACH)
    found = {"upper_teeth": np.concatenate([soft[still], UPPER_TEETH]), "lower_teeth": np.concatenate([soft[lower_gum], LOWER_TEETH])}
    return {
        **found,
        "teeth": np.concatenate(list(found.values())),
        "tongue": soft[~still & ~lower_gum],
        "mouth_cavity": np.array(MOUTH_SOCKET),
        "eye_sockets": np.array(EYE_SOCKETS),
    }


def _rig(template: np.ndarray, opening: np.ndarray, laid: Surface) -> Rig:
    """The jaw from jawOpen: how far of the whole turn each vertex goes. Root and neck as the built-in head has them at the same places."""
    teeth = np.array(LOWER_TEETH)
    pivot = jaw_pivot(template[teeth], template[teeth] + opening[teeth])
    angle = best_angle(template[teeth], template[teeth] + opening[teeth], pivot, axis=0)
    whole = (template - pivot) @ axis_rotation(0, angle).T + pivot - template
    jaw = np.clip((opening * whole).sum(1) / ((whole**2).sum(1) + STILL**2), 0, 1)
    ours = read_head("builtin")
    eyes = np.stack([box_centre(template[list(eye)]) for eye in (LEFT_EYE, RIGHT_EYE)])
    places = ours.joint_regressor @ ours.template
    outer = np.concatenate([FACE, BACK])
    face = ours.regions["face"]
    head = similarity(ours.template[face].astype(np.float64), laid.points[face])
    skin = ours.regions["skin"]
    distance, near = cKDTree(laid.points[skin]).query(template[outer], k=4)
    share = 1 / (distance + 1e-4)
    root = np.zeros(len(template))
    root[outer] = (ours.skin_weights[skin, 0][near] * share).sum(1) / share.sum(1)
    weights = np.zeros((len(template), 5))
    weights[:, 0], weights[:, 2] = root * (1 - jaw), jaw
    weights[:, 1] = 1 - weights[:, 0] - weights[:, 2]
    for vertices, joint in ((UPPER_TEETH, 1), (LOWER_TEETH, 2), (LEFT_EYE, 3), (RIGHT_EYE, 4)):  # rigid
        weights[list(vertices)] = np.eye(5)[joint]
    weights[weights < 1e-3] = 0
    joints = np.stack([*similar(places[:2], *head), pivot, *eyes])
    return Rig(joints, weights / weights.sum(1, keepdims=True), angle)


def _regressor(template: np.ndarray, faces: np.ndarray, identities: np.ndarray, rig: Rig, parts: dict[str, np.ndarray]) -> np.ndarray:
    """Joints of other people: eyes are the middles of their eyeballs, the others go with the skin around them."""
    outer = np.array(FACE)
    border = np.intersect1d(open_border(faces), np.concatenate([FACE, BACK]))
    skin = np.concatenate([FACE, BACK])
    near = lambda joint, count: skin[np.linalg.norm(template[skin] - rig.joints[joint], axis=1).argsort()[:count]]  # noqa: E731
    support = [border, near(1, 400), outer[np.linalg.norm(template[outer] - rig.joints[2], axis=1).argsort()[:400]]]
    moves = np.zeros((len(identities), 5, 3))
    for joint in range(3):
        moves[:, joint] = identities[:, support[joint]].mean(1)
    for joint, eye in ((3, "left_eye"), (4, "right_eye")):
        support.append(parts[eye][::3])
        moves[:, joint] = box_centre(template[parts[eye]] + identities[:, parts[eye]]) - rig.joints[joint]
    return joint_regressor(template, identities, rig.joints, moves, support, np.zeros(0, np.int64))


def at_vertices(faces: Int[np.ndarray, "faces 3"], vertices: Int[np.ndarray, "landmarks"]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices as places on the surface: a face that has them, all weight on that corner."""
    chosen, weights = np.zeros(len(vertices), np.int64), np.zeros((len(vertices), 3), np.float32)
    for row, vertex in enumerate(vertices):
        face, corner = np.argwhere(faces == vertex)[0]
        chosen[row], weights[row, corner] = face, 1
    return chosen, weights
