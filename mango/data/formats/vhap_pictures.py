"""Pictures, masks and cameras of VHAP and GaussianAvatars folders.

transforms.json, or transforms_{train,val,test}.json together where it is missing:
    {w h fl_x fl_y cx cy camera_angle_x,                     of all frames, where they do not say it themselves
     frames: [{timestep_index, camera_index, camera_id, file_path, fg_mask_path, flame_param_path, transform_matrix, w h ...}]}

transform_matrix leads from the camera to the world, its camera's axes are OpenGL's (x right, y up, z back). Pixel centres lie at +0.5.
Paths are relative to the folder; in sets of several takes they lead to the folders beside it (../TAKE/images/...).
"""

import math
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Float

from mango.data.formats.facing import degrees_off
from mango.data.formats.guarded import json_of, needed, numbers
from mango.data.formats.pictures import picture_of
from mango.data.formats.recordings import Assumption, Film, FilmCamera, FlameMotion, assumed, certain, converted
from mango.errors import InputError

WHOLE, SPLITS = "transforms.json", ("transforms_train.json", "transforms_val.json", "transforms_test.json")
MOST_TIMESTEPS = 1_000_000
ROUNDED = 1e-3  # of a rotation's entries: matrices are written with few decimals
SAME_SHAPE = 0.01  # of width over height: a smaller copy of a picture is rounded to whole pixels


@dataclass(frozen=True)
class View:
    """One picture."""

    timestep: int
    camera: str
    camera_index: str
    picture: Path
    mask: Path | None
    motion: Path | None  # the FLAME parameters of this timestep
    camera_from_world: Float[np.ndarray, "4 4"]  # OpenCV axes
    lens: tuple[float, float, float | None, float | None]  # fl_x, fl_y, cx, cy in pixels; fl_x NaN where it follows from the angle
    angle: float | None  # of view, horizontal, radians
    size: tuple[int, int] | None  # rows, columns as stated


@dataclass(frozen=True)
class Filmed:
    """What one camera saw, a picture for each frame of the motion."""

    film: Film
    mask_film: Film | None
    camera: FilmCamera
    valid: Bool[np.ndarray, "time"]  # False where the nearest picture stands in for one that is not there
    words: tuple[Assumption, ...]


def transforms_files(folder: Path) -> list[Path]:
    whole = folder / WHOLE
    return [whole] if whole.is_file() else [path for name in SPLITS if (path := folder / name).is_file()]


def views_of(folder: Path) -> list[View]:
    """Every picture that the folder's files name, once. Errors: InputError for frames that do not say what they must."""
    views: dict[tuple[int, str], View] = {}
    for path in transforms_files(folder):
        content = needed(path, json_of(path), "frames")
        if not isinstance(content["frames"], list):
            raise InputError(path, expected="a list of frames", found=type(content["frames"]).__name__, remedy="export it again")
        for number, frame in enumerate(content["frames"]):
            view = _view(f"{path}, frame {number}", folder, frame, content)
            views[view.timestep, view.camera] = view
    return sorted(views.values(), key=lambda view: (view.timestep, view.camera))


def _view(where: str, folder: Path, frame: object, shared: Mapping) -> View:
    needed(where, frame, "timestep_index", "file_path", "transform_matrix")
    held = {**shared, **frame}
    value = lambda name: float(numbers(where, name, held[name], ())) if held.get(name) is not None else None  # noqa: E731
    timestep = value("timestep_index")
    if not 0 <= timestep < MOST_TIMESTEPS or timestep != int(timestep):
        raise InputError(where, expected="timestep_index from 0 on", found=f"{timestep:g}", remedy="export it again")
    index = str(frame.get("camera_index", 0))
    paths = {name: _placed(where, folder, frame[name]) for name in ("fg_mask_path", "flame_param_path") if frame.get(name)}
    focal, rows, cols = value("fl_x"), value("h"), value("w")
    angle = value("camera_angle_x")
    if focal is None and not (angle is not None and 0 < angle < math.pi):
        raise InputError(where, expected="fl_x or camera_angle_x", found="neither", remedy="export the cameras too")
    if (focal is not None and focal <= 0) or (rows is not None and cols is not None and min(rows, cols) < 2):
        raise InputError(where, expected="a focal length and a picture size", found=f"{focal}, {cols}x{rows}", remedy="export it again")
    return View(
        int(timestep), str(frame.get("camera_id", index)), index, _placed(where, folder, frame["file_path"]), paths.get("fg_mask_path"),
        paths.get("flame_param_path"), _camera_from_world(where, frame["transform_matrix"]),
        (math.nan if focal is None else focal, value("fl_y") or math.nan, value("cx"), value("cy")), angle,
        None if rows is None or cols is None else (int(rows), int(cols)),
    )  # fmt: skip


def _placed(where: str, folder: Path, text: object) -> Path:
    """The file that a path means: in the folder, or in one beside it. Links are followed as they are: pictures may lie on another disk."""
    home = PurePosixPath(folder.absolute().as_posix())
    path = PurePosixPath(str(text).replace("\\", "/"))
    if path.is_absolute() and path.is_relative_to(home.parent):
        path = PurePosixPath("..") / path.relative_to(home.parent)
    parts = PurePosixPath(posixpath.normpath(path)).parts
    if path.is_absolute() or not parts or parts == ("..",) or parts[:2] == ("..", ".."):
        remedy = "write paths relative to the folder of transforms.json"
        raise InputError(where, expected=f"files in {folder} or in folders beside it", found=str(text)[:120], remedy=remedy)
    if parts[0] != "..":
        return folder.joinpath(*parts)
    return folder.joinpath(*parts[2:]) if parts[1] == home.name else Path(home.parent).joinpath(*parts[1:])


def _camera_from_world(where: str, matrix: object) -> Float[np.ndarray, "4 4"]:
    numbers(where, "transform_matrix", matrix, (4, 4))
    world_from_camera = np.array(matrix, np.float64)
    turn, place = world_from_camera[:3, :3], world_from_camera[:3, 3]
    expected = "a camera's rotation and place in transform_matrix"
    if np.abs(turn.T @ turn - np.eye(3)).max() > ROUNDED or np.abs(world_from_camera[3] - [0, 0, 0, 1]).max() > ROUNDED:
        raise InputError(where, expected=expected, found="a matrix that scales or shears", remedy="export the cameras again")
    if np.linalg.det(turn) < 0:
        raise InputError(where, expected=expected, found="a mirror image", remedy="negate two axes of a camera, never one")
    turn = turn * [1, -1, -1]  # OpenGL looks along -z with y up, OpenCV along z with y down
    inverse = np.eye(4)
    inverse[:3, :3], inverse[:3, 3] = turn.T, -turn.T @ place
    return inverse


def filmed(
    folder: Path, views: Sequence[View], timesteps: Sequence[int], motion: FlameMotion, rate: Fraction, wanted: str | None
) -> Filmed | None:
    """What the camera ``wanted`` saw, or without a word the most frontal one. ``timesteps`` are those of the motion's frames.

    None where not one picture is there. Errors: InputError for a camera that is not there, that zooms, or has lost some of its pictures.
    """
    if wanted is None and not any(view.picture.is_file() for view in views):
        return None
    row_of = {timestep: row for row, timestep in enumerate(timesteps)}
    taken: dict[str, list[View]] = {}
    for view in views:
        if view.timestep in row_of:
            taken.setdefault(view.camera, []).append(view)
    name, words = _chosen(folder, taken, row_of, motion, wanted)
    seen = taken[name]
    for view in seen:
        _there(view.picture, f"the picture of timestep {view.timestep} by camera {name}")
    size = picture_of(seen[0].picture).shape[:2]
    intrinsics, said = _intrinsics(folder, seen, size)
    rows = np.array([row_of[view.timestep] for view in seen])
    nearest = np.ceil(np.interp(np.arange(len(motion)), rows, np.arange(len(rows))) - 0.5).astype(int)  # of two alike the earlier
    places = np.stack([seen[k].camera_from_world for k in nearest])
    camera = FilmCamera(name, places[:1] if (places == places[0]).all() else places, intrinsics)
    _before(folder, motion, camera)
    words += said
    if any(extent % 2 for extent in size):
        words.append(converted(f"pictures of {size[1]}x{size[0]}: films have even sizes, the last row or column is cut"))
    valid = np.isin(np.arange(len(motion)), rows)
    if not valid.all():
        times = f"{(~valid).sum()} of {len(valid)} timesteps"
        words.append(converted(f"camera {name} lacks {times}: the nearest picture is repeated there, and keep is False"))

    def film(files: list[Path]) -> Film:
        return Film(folder, rate, len(motion), size, pictures=tuple(files[k] for k in nearest))

    masks = _masks(seen)
    words += [] if masks else [converted("no foreground masks: pictures without a mask film")]
    return Filmed(film([view.picture for view in seen]), film(masks) if masks else None, camera, valid, tuple(words))


def _chosen(
    folder: Path, taken: Mapping[str, list[View]], row_of: Mapping[int, int], motion: FlameMotion, wanted: str | None
) -> tuple[str, list[Assumption]]:
    """The camera whose pictures are taken, and why. The most frontal: the largest sum of cosines over the pictures that it has."""
    if wanted is not None:
        indices = {view.camera_index: name for name, views in reversed(taken.items()) for view in views[:1]}
        name = wanted if wanted in taken else indices.get(wanted)
        if name is None:
            found = f"{wanted!r}, not among {', '.join(list(taken)[:40]) or 'none'}"
            raise InputError(folder, expected="--camera by its camera_id", found=found, remedy="name one of these")
        return name, [certain(f"camera {name} of {len(taken)}, as --camera says")]
    frontal, off = {}, {}
    for name, views in taken.items():
        centers = np.zeros((len(motion), 3))
        rows = [row_of[view.timestep] for view in views]
        centers[rows] = FilmCamera(name, np.stack([view.camera_from_world for view in views]), np.eye(3)).centers
        degrees = degrees_off(motion, centers)[rows]
        frontal[name], off[name] = float(np.cos(np.radians(degrees)).sum()), float(np.median(degrees))
    if not taken:
        raise InputError(folder, expected="pictures of the motion's timesteps", found="none", remedy="export motion and pictures together")
    name = max(frontal, key=frontal.get)
    if len(taken) == 1:
        return name, [certain(f"one camera, {name}")]
    return name, [assumed(f"camera {name} of {len(taken)}, the most frontal to the tracked head ({off[name]:.0f} degrees off in the "
                          "median); --camera names another")]  # fmt: skip


def _there(path: Path, what: str) -> None:
    if not path.is_file():
        remedy = "copy it along, or take its frame out of transforms*.json"
        raise InputError(path, expected=what, found="no such file", remedy=remedy)


def _masks(seen: Sequence[View]) -> list[Path]:
    """One a picture, or none at all."""
    masks = [view.mask for view in seen]
    if not any(mask is not None and mask.is_file() for mask in masks):
        return []
    for view in seen:
        what = f"the mask of timestep {view.timestep} by camera {view.camera}, as others have one"
        if view.mask is None:
            raise InputError(view.picture, expected=what, found="no fg_mask_path", remedy="add it, or leave all masks away")
        _there(view.mask, what)
    return masks


def _intrinsics(folder: Path, seen: Sequence[View], size: tuple[int, int]) -> tuple[Float[np.ndarray, "3 3"], list[Assumption]]:
    """Of pictures of this size, whatever size the cameras were calibrated at."""
    (rows, cols), stated = size, seen[0].size or size
    if abs(cols / stated[1] / (rows / stated[0]) - 1) > SAME_SHAPE:
        found, remedy = f"pictures of {cols}x{rows}", "cropped pictures need other intrinsics: export them together"
        raise InputError(seen[0].picture, expected=f"{stated[1]}x{stated[0]} as w and h say, or a smaller copy", found=found, remedy=remedy)
    each = []
    for view in seen:
        focal, across = view.lens[0], (view.size or size)[1]
        focal = across / (2 * math.tan(view.angle / 2)) if math.isnan(focal) else focal
        down = focal if math.isnan(view.lens[1]) else view.lens[1]
        middle = [extent / 2 if at is None else at for at, extent in zip(view.lens[2:], stated[::-1], strict=True)]
        each.append([focal, down, *middle])
    if any((view.size or size) != stated for view in seen) or np.ptp(np.array(each), axis=0).max() > ROUNDED * cols:
        remedy = "split the sequence where the camera changes"
        raise InputError(folder, expected=f"one focal length and size of camera {seen[0].camera}", found="several", remedy=remedy)
    along, down = cols / stated[1], rows / stated[0]
    focal_x, focal_y, x, y = each[0]
    intrinsics = np.array([[focal_x * along, 0, x * along], [0, focal_y * down, y * down], [0, 0, 1]])
    if stated == size:
        return intrinsics, []
    return intrinsics, [converted(f"intrinsics of {stated[1]}x{stated[0]} to the pictures' {cols}x{rows}")]


def _before(folder: Path, motion: FlameMotion, camera: FilmCamera) -> None:
    """A head behind its camera is a mistake of axes that a picture cannot show."""
    depth = float(np.median((camera.camera_from_world[:, 2, :3] * motion.translation).sum(1) + camera.camera_from_world[:, 2, 3]))
    if depth <= 0:
        found = f"one {-depth:.2f} m behind camera {camera.name}"
        remedy = "transform_matrix must be camera-to-world with OpenGL's axes (x right, y up, z back)"
        raise InputError(folder, expected="a head before the camera", found=found, remedy=remedy)
