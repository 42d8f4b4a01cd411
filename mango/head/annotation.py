"""Regions and landmarks of a head whose file names none (FLAME's): the built-in head's, carried over by the likeness of the surfaces.

The built-in skin is laid over the other head's (`correspondence`); a vertex belongs to a region where it lies on it, a landmark goes to
the nearest place. Eyeballs are whatever the eye joints carry alone. Nothing of the other head is kept but numbers of vertices.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from mango.errors import InputError
from mango.head.assets import JOINTS, HeadArrays, read_head
from mango.head.correspondence import Matcher, Surface, fitted, unit
from mango.head.regions import REGIONS
from mango.user_cache import user_cache

VERSION = 1  # of what is cached
EYES = tuple(JOINTS.index(name) for name in ("left_eye", "right_eye"))
RIGID = 0.99  # weight of an eye joint on its eyeball
LARGEST_MISS = 0.004  # metres: median distance of the laid face to the other head; more is no head, or in no rest pose
SKIN = ("face", "upper_face", "lower_face", "lips", "inner_lips", "brows", "eyelids", "scalp", "neck")


@dataclass(frozen=True)
class Annotation:
    """What the losses, avatars and reports want to know of a surface."""

    regions: dict[str, Int[np.ndarray, "_"]]
    landmark_faces: Int[np.ndarray, "landmarks"]
    landmark_barycentrics: Float[np.ndarray, "landmarks 3"]


def annotation(
    name: str,
    digest: str,
    template: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    joint_regressor: Float[np.ndarray, "joints verts"],
    skin_weights: Float[np.ndarray, "verts joints"],
) -> Annotation:
    """From the user's cache folder by the head's digest, or computed (some seconds) and put there.

    Errors: InputError where the surface is not a head's in FLAME's axes and metres.
    """
    path = user_cache("heads") / f"{digest}.{VERSION}.npz"
    found = _cached(path)
    if found is None:
        found = derived(name, template.astype(np.float64), faces, joint_regressor @ template, skin_weights)
        _put(path, found)
    return found


def derived(
    name: str,
    template: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    joints: Float[np.ndarray, "joints 3"],
    weights: Float[np.ndarray, "verts joints"],
    parts: Mapping[str, Int[np.ndarray, "_"]] | None = None,
    laid: Surface | None = None,
) -> Annotation:
    """The same, computed. ``parts`` are vertices that the caller knows and that are no skin (teeth, tongue, mouth_cavity, others);
    ``laid`` is what `built_in_over` gave, where the caller has it already.
    """
    known = {part: np.zeros(0, np.int64) for part in ("upper_teeth", "lower_teeth", "teeth", "tongue", "mouth_cavity")} | dict(parts or {})
    for eye, joint in zip(("left_eye", "right_eye"), EYES, strict=True):
        known[eye] = np.flatnonzero(weights[:, joint] > RIGID)
    known["eyes"] = np.concatenate([known["left_eye"], known["right_eye"]])
    inside = np.concatenate(list(known.values()))
    skin = np.setdiff1d(np.arange(len(template)), inside)
    target, kept = Surface(template, faces).restricted(skin)
    ours = read_head("builtin")
    laid = built_in_over(name, target, joints[list(EYES)]) if laid is None else laid
    regions = {**_carried(ours, laid, target, skin), **known, "skin": skin}
    surface = Matcher(target)
    points = (laid.points[ours.faces[ours.landmark_faces]] * ours.landmark_barycentrics[:, :, None]).sum(1)
    normals = unit((laid.corner_normals()[ours.faces[ours.landmark_faces]] * ours.landmark_barycentrics[:, :, None]).sum(1))
    where, coordinates = surface.on_surface(points, normals)
    return Annotation({region: np.sort(regions[region]) for region in REGIONS}, kept[where], coordinates.astype(np.float32))


def built_in_over(name: str, skin: Surface, eyes: Float[np.ndarray, "eyes 3"]) -> Surface:
    """The built-in head's skin (all its vertices, faces of the skin alone) laid over another skin whose eye joints are known.

    Errors: InputError where it does not fit.
    """
    ours = read_head("builtin")
    source, _ = Surface(ours.template.astype(np.float64), ours.faces).restricted(ours.regions["skin"])
    if not len(skin.faces) or np.linalg.norm(eyes[0] - eyes[1]) < 1e-3:
        raise not_alike(name, "no skin, or both eyes in one place")
    laid = fitted(source, skin, ((ours.joint_regressor @ ours.template)[list(EYES)], eyes), ours.regions["face"])
    goals, normals = Matcher(skin).matched(laid.points[ours.regions["face"]], laid.corner_normals()[ours.regions["face"]])
    miss = np.where(normals.any(1), np.linalg.norm(goals - laid.points[ours.regions["face"]], axis=1), np.inf)
    if not np.median(miss) < LARGEST_MISS:
        raise not_alike(name, f"a surface {np.median(miss) * 1e3:.1f} mm off")
    return laid


def _carried(ours: HeadArrays, laid: Surface, target: Surface, skin: np.ndarray) -> dict[str, np.ndarray]:
    """Of each vertex of the target the place on the laid skin, and the regions that it is in: those of most of the triangle there."""
    face, coordinates = Matcher(laid).on_surface(target.points[skin], target.corner_normals()[skin])
    corners = laid.faces[face]
    found = {}
    for region in SKIN:
        member = np.zeros(len(laid.points))
        member[ours.regions[region]] = 1.0
        found[region] = skin[(member[corners] * coordinates).sum(1) >= 0.5]
    return found


def not_alike(name: str, found: str) -> InputError:
    remedy = "use a head in FLAME's axes and metres with a whole face, or put regions and landmarks into its file (docs/heads.md)"
    return InputError(f"head {name}", expected="a surface that the built-in head can be laid over", found=found, remedy=remedy)


def _cached(path: Path) -> Annotation | None:
    """What was put there, or nothing: a damaged file is computed anew."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            regions = {region: archive[f"region/{region}"] for region in REGIONS}
            return Annotation(regions, archive["landmark_faces"], archive["landmark_barycentrics"])
    except Exception:
        return None


def _put(path: Path, found: Annotation) -> None:
    """Whole or not at all; a folder that cannot be written costs the next process some seconds, nothing else."""
    arrays = {f"region/{region}": indices for region, indices in found.regions.items()}
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
            partial = Path(file.name)
            np.savez(file, landmark_faces=found.landmark_faces, landmark_barycentrics=found.landmark_barycentrics, **arrays)
        os.replace(partial, path)
    except OSError:
        if partial is not None:
            partial.unlink(missing_ok=True)
