"""Head files: ours (npz) and FLAME's (npz or pickle), told apart by what is in them, never by what they are called."""

import hashlib
import io
import os
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mango.errors import InputError
from mango.head.flame import CHUMPY, NUM_SHAPE, PARENTS, Generation, checked, generation_of
from mango.pickles import unpickled

BUILTIN = Path(__file__).parent / "assets" / "builtin.npz"
FORMAT = 1
JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")


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
    kind: str = "arkit"  # whose expressions: "arkit" by name, or "flame"
    generation: Generation | None = None  # of FLAME, where known
    licence: str = ""


def read_head(source: str | Path, *, generation: Generation | None = None, without_expressions: bool = False) -> HeadArrays:
    """The head in a file; ``builtin`` is the one that comes with the package.

    ``generation`` states which FLAME a file is that cannot tell itself. ``without_expressions`` admits a FLAME model that lacks them:
    good for surfaces and poses, not for motion.
    """
    path = BUILTIN if str(source) == "builtin" else Path(source)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise InputError(path, expected="a head file", found=found, remedy="name a .npz or FLAME .pkl, or use 'builtin'")
    content = path.read_bytes()
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        elif content[:1] in (b"\x80", b"(", b"c"):  # pickles of protocol 2 and later, and of 0
            arrays = unpickled(content, path, expected=NO_HEAD["expected"], source="use a file from FLAME's own site", more=CHUMPY)
            if not isinstance(arrays, dict):
                raise InputError(path, **NO_HEAD, found=f"a pickled {type(arrays).__name__}")
        else:
            raise InputError(path, **NO_HEAD, found=f"bytes that start with {content[:8]!r}")
        if "template" in arrays:
            return ours(arrays, path, generation)
        return flame(arrays, content, path, generation=generation, without_expressions=without_expressions)
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


def ours(arrays: dict[str, np.ndarray], path: Path, stated: Generation | None = None) -> HeadArrays:
    found = int(arrays.get("format", 0))
    if found != FORMAT:
        raise InputError(path, expected=f"head format {FORMAT}", found=f"format {found}", remedy="update the package or rebuild the head")
    recorded = str(arrays["generation"]) if "generation" in arrays else None
    if stated and recorded and stated != recorded:
        raise InputError(path, expected=f"FLAME {stated}, as stated", found=f"FLAME {recorded}", remedy="state what it is, or nothing")
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
        kind=str(arrays.get("kind", "arkit")),
        generation=recorded,
        licence=str(arrays.get("licence", "")),
        **{name: arrays[name].astype(np.float32) for name in plain},
        **{name: arrays[name].astype(np.int64) for name in indices},
    )


def flame(arrays: dict[str, object], content: bytes, path: Path, *, generation: Generation | None, without_expressions: bool) -> HeadArrays:
    """FLAME 2020, 2023 and 2023 Open (`mango.head.flame`)."""
    dense = checked(arrays, path, without_expressions=without_expressions)
    directions = dense["shapedirs"]
    float32 = lambda array: np.ascontiguousarray(array, dtype=np.float32)  # noqa: E731
    return HeadArrays(
        name=path.stem,
        digest=digest(dense),
        kind="flame",
        generation=generation_of(dense, content, path, generation),
        template=float32(dense["v_template"]),
        shape_directions=float32(directions[..., :NUM_SHAPE]),
        expression_directions=float32(directions[..., NUM_SHAPE:]),
        pose_correctives=float32(dense["posedirs"].reshape(-1, 36).T),
        joint_regressor=float32(dense["J_regressor"]),
        skin_weights=float32(dense["weights"]),
        faces=dense["f"].astype(np.int64),
        expression_names=tuple(f"expression{k:03d}" for k in range(directions.shape[-1] - NUM_SHAPE)),
    )


def write_head(path: Path, arrays: HeadArrays) -> None:
    """In our own format, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, **packed(arrays))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def with_digest(arrays: HeadArrays) -> HeadArrays:
    """With the digest that the head has once it is written and read."""
    return replace(arrays, digest=digest(packed(arrays)))


def packed(arrays: HeadArrays) -> dict[str, np.ndarray]:
    """What a head file of ours holds. Directions are kept as float16: a ten-thousandth of what they move."""
    half = ("shape_directions", "expression_directions", "pose_correctives")
    plain = ("template", "joint_regressor", "skin_weights", "uvs", "landmark_barycentrics")
    indices = ("faces", "uv_faces", "landmark_faces", "mirror")
    words = ("name", "kind", "licence", *(("generation",) if arrays.generation else ()))
    return {
        "format": np.array(FORMAT),
        "parents": np.array(PARENTS, np.int16),
        "expression_names": np.array(arrays.expression_names, dtype=np.str_),
        "joint_expression_names": np.array(list(arrays.joint_expressions), dtype=np.str_),
        "joint_expression_poses": np.array(list(arrays.joint_expressions.values()), np.float32).reshape(-1, 12),
        **{name: getattr(arrays, name).astype(np.float16) for name in half},
        **{name: getattr(arrays, name).astype(np.float32) for name in plain},
        **{name: getattr(arrays, name).astype(np.int32) for name in indices},
        **{name: np.array(getattr(arrays, name)) for name in words},
        **{f"region/{name}": vertices.astype(np.int32) for name, vertices in arrays.regions.items()},
    }
