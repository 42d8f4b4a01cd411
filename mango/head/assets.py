"""Head files: ours (npz) and FLAME's (npz or pickle), told apart by what is in them, never by what they are called."""

import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mango.errors import InputError
from mango.pickles import unpickled

BUILTIN = Path(__file__).parent / "assets" / "builtin.npz"
FORMAT = 1
NUM_FLAME_SHAPE = 300  # columns of FLAME's shapedirs that are identity; the others are expression
JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")
PARENTS = (-1, 0, 1, 1, 1)


@dataclass(frozen=True)
class HeadArrays:
    """A parametric head in FLAME's layout, as read. V vertices, F triangles, S identities, E expressions."""

    name: str
    digest: str  # sha256 of the file's arrays
    template: np.ndarray  # (V, 3) metres
    shape_directions: np.ndarray  # (V, 3, S)
    expression_directions: np.ndarray  # (V, 3, E)
    pose_correctives: np.ndarray  # (36, 3 V): neck, jaw, left eye, right eye; rows of R - I
    joint_regressor: np.ndarray  # (5, V)
    skin_weights: np.ndarray  # (V, 5)
    faces: np.ndarray  # (F, 3)
    expression_names: tuple[str, ...]
    uvs: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    uv_faces: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    landmark_faces: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    landmark_barycentrics: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    mirror: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (V,) the vertex on the other side
    regions: dict[str, np.ndarray] = field(default_factory=dict)
    joint_expressions: dict[str, np.ndarray] = field(default_factory=dict)  # (12,) pose at weight one, of ARKit's shapes that are joints


def read_head(source: str | Path) -> HeadArrays:
    """The head in a file; ``builtin`` is the one that comes with the package."""
    path = BUILTIN if str(source) == "builtin" else Path(source)
    if not path.is_file():
        raise InputError(path, expected="a head file", found="no such file", remedy="name a .npz or FLAME .pkl, or use 'builtin'")
    content = path.read_bytes()
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        elif content[:1] in (b"\x80", b"(", b"c"):  # pickles of protocol 2 and later, and of 0
            arrays = unpickled(content, path, expected=NO_HEAD["expected"], source="use a file from FLAME's own site")
            if not isinstance(arrays, dict):
                raise InputError(path, **NO_HEAD, found=f"a pickled {type(arrays).__name__}")
        else:
            raise InputError(path, **NO_HEAD, found=f"bytes that start with {content[:8]!r}")
        return ours(arrays, path) if "template" in arrays else flame(arrays, path)
    except InputError:
        raise
    except Exception as error:  # a damaged file may fail in any of the readers
        raise InputError(path, **NO_HEAD, found=f"{type(error).__name__}: {error}") from error


NO_HEAD = {"expected": "a head (.npz of this project, or FLAME .npz/.pkl)", "remedy": "download the file again or name another one"}


def digest(arrays: dict[str, np.ndarray]) -> str:
    """sha256 over names, types, shapes and bytes: the same for the same arrays however they were packed."""
    state = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        state.update(f"{name} {array.dtype.str} {array.shape};".encode())
        state.update(array.tobytes())
    return state.hexdigest()


def ours(arrays: dict[str, np.ndarray], path: Path) -> HeadArrays:
    found = int(arrays.get("format", 0))
    if found != FORMAT:
        raise InputError(path, expected=f"head format {FORMAT}", found=f"format {found}", remedy="update the package or rebuild the head")
    plain = ("template", "shape_directions", "expression_directions", "pose_correctives", "joint_regressor", "skin_weights", "uvs")
    indices = ("faces", "uv_faces", "landmark_faces", "mirror")
    joint_expressions = zip(arrays["joint_expression_names"].tolist(), arrays["joint_expression_poses"], strict=True)
    return HeadArrays(
        name=str(arrays["name"]),
        digest=digest(arrays),
        expression_names=tuple(arrays["expression_names"].tolist()),
        landmark_barycentrics=arrays["landmark_barycentrics"],
        regions={name.removeprefix("region/"): array.astype(np.int64) for name, array in arrays.items() if name.startswith("region/")},
        joint_expressions=dict(joint_expressions),
        **{name: arrays[name].astype(np.float32) for name in plain},
        **{name: arrays[name].astype(np.int64) for name in indices},
    )


def flame(arrays: dict[str, object], path: Path) -> HeadArrays:
    """FLAME 2020, 2023 and 2023 Open. Bases of different versions differ: the digest tells them apart."""
    needed = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise InputError(path, **NO_HEAD, found=f"no {', '.join(missing)} in it")
    dense = {name: np.asarray(arrays[name]) for name in needed}
    template, directions, correctives = dense["v_template"], dense["shapedirs"], dense["posedirs"]
    vertices = len(template)
    parents = tuple(int(parent) for parent in dense["kintree_table"][0].astype(np.uint32).astype(np.int32))
    if (-1, *parents[1:]) != PARENTS:
        raise InputError(path, expected=f"FLAME's five joints, parents {PARENTS}", found=f"parents {parents}", remedy="name a FLAME head")
    wanted = {"v_template": (vertices, 3), "posedirs": (vertices, 3, 36), "J_regressor": (5, vertices), "weights": (vertices, 5)}
    for name, shape in wanted.items():
        if dense[name].shape != shape:
            raise InputError(path, expected=f"{name} of shape {shape}", found=f"{dense[name].shape}", remedy="name a FLAME head")
    num_expressions = directions.shape[-1] - NUM_FLAME_SHAPE
    if directions.shape[:2] != (vertices, 3) or num_expressions < 1:
        expected = f"shapedirs of shape ({vertices}, 3, {NUM_FLAME_SHAPE} identities + expressions)"
        raise InputError(path, expected=expected, found=f"{directions.shape}", remedy="use the full model file, not a partial copy")
    float32 = lambda array: np.ascontiguousarray(array, dtype=np.float32)  # noqa: E731
    return HeadArrays(
        name=path.stem,
        digest=digest(dense),
        template=float32(template),
        shape_directions=float32(directions[..., :NUM_FLAME_SHAPE]),
        expression_directions=float32(directions[..., NUM_FLAME_SHAPE:]),
        pose_correctives=float32(correctives.reshape(-1, 36).T),
        joint_regressor=float32(dense["J_regressor"]),
        skin_weights=float32(dense["weights"]),
        faces=dense["f"].astype(np.int64),
        expression_names=tuple(f"expression{k:03d}" for k in range(num_expressions)),
    )
