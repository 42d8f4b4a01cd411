"""FLAME's files: 2020, 2023 and 2023 Open share a mesh of 5,023 vertices and differ in every axis, so which one a file is matters.

What is in the file decides, never its name. A file that nothing here knows stays of unknown generation until the user states it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from mango.errors import InputError
from mango.pickles import Note, Recipe

Generation = Literal["2020", "2023", "2023-open"]
GENERATIONS: tuple[str, ...] = get_args(Generation)
NUM_SHAPE = 300  # columns of shapedirs that are identity; the others are expression
NUM_JOINTS = 5
PARENTS = (-1, 0, 1, 1, 1)
NEEDED = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")
STATE_IT = "state it with --flame-version or, once and for all, with mango head convert FILE OUT.npz --format flame --generation {}".format(
    "|".join(GENERATIONS)
)

# sha256 of files as they are downloaded, published by several projects that check their downloads
PUBLISHED_FILES: dict[str, Generation] = {"efcd14cc4a69f3a3d9af8ded80146b5b6b50df3bd74cf69108213b144eba725b": "2020"}


@dataclass(frozen=True)
class Statistics:
    """Numbers of a model that hardly depend on how its arrays were stored. Lengths in metres."""

    extent: tuple[float, float, float]  # of the template along x, y, z
    identities: tuple[float, ...]  # root of the summed squares of the first identity directions
    regressor: tuple[float, ...]  # summed squares of each joint's weights

    def fits(self, arrays: Mapping[str, np.ndarray], tolerance: float = 1e-4) -> bool:
        """Float16 storage would change them by 5e-4, another generation by 1e-2 and more."""
        template, directions, regressor = (np.asarray(arrays[n], np.float64) for n in ("v_template", "shapedirs", "J_regressor"))
        found = [*np.ptp(template, axis=0), *identity_sizes(directions)[: len(self.identities)], *(regressor**2).sum(1)]
        expected = [*self.extent, *self.identities, *self.regressor]
        return len(found) == len(expected) and bool(np.allclose(found, expected, rtol=tolerance, atol=0))


# Measured on what is published of it under CC-BY-4.0.
KNOWN_STATISTICS: dict[Generation, Statistics] = {
    "2023-open": Statistics(
        extent=(0.2175506, 0.3193630, 0.2283209),
        identities=(0.2704137, 0.1493219, 0.1405509, 0.1141325, 0.0931068, 0.0749464),
        regressor=(0.2864223, 0.1320783, 0.2138077, 0.1666667, 0.1666667),
    )
}


def identity_sizes(directions: Float[np.ndarray, "verts 3 columns"]) -> Float[np.ndarray, "identities"]:
    """Root of the summed squares of each direction: its sign and the order of vertices do not count."""
    return np.sqrt((np.asarray(directions[..., :NUM_SHAPE], np.float64) ** 2).sum((0, 1)))


def generation_of(arrays: Mapping[str, np.ndarray], content: bytes, path: Path, stated: Generation | None = None) -> Generation | None:
    """By the file's own bytes, by its numbers, or as stated; None where nothing tells.

    Errors: InputError where what is stated contradicts what is seen.
    """
    seen = PUBLISHED_FILES.get(hashlib.sha256(content).hexdigest())
    seen = seen or next((generation for generation, known in KNOWN_STATISTICS.items() if known.fits(arrays)), None)
    if stated and seen and stated != seen:
        raise InputError(path, expected=f"FLAME {stated}, as stated", found=f"FLAME {seen}", remedy="state what the file is, or nothing")
    return seen or stated


class Chumpy(Note):
    """An array of chumpy's, as FLAME's own pickles hold them: a record whose ``x`` is the numbers."""

    def made(self, resolve) -> np.ndarray:
        if not isinstance(self.state, dict) or "x" not in self.state:
            raise ValueError("a chumpy object that is computed from others")
        return np.asarray(resolve(self.state["x"]))


CHUMPY = {("chumpy.ch", "Ch"): Recipe(Chumpy), ("__builtin__", "set"): Recipe(list), ("builtins", "set"): Recipe(list)}


def checked(arrays: Mapping[str, object], path: Path, *, without_expressions: bool) -> dict[str, np.ndarray]:
    """FLAME's arrays, dense and of the right shapes.

    Errors: InputError for anything missing or misshapen, and for a model without expressions unless the caller can do without.
    """
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        expected = "a head (.npz of this project, or FLAME .npz/.pkl)"
        raise InputError(path, expected=expected, found=f"no {', '.join(missing)} in it", remedy="download it again or name another file")
    dense = {name: np.asarray(arrays[name]) for name in NEEDED}
    vertices, columns = len(dense["v_template"]), dense["shapedirs"].shape[-1]
    parents = tuple(int(parent) for parent in dense["kintree_table"][0].astype(np.uint32).astype(np.int32))
    if (-1, *parents[1:]) != PARENTS:
        raise InputError(path, expected=f"FLAME's five joints, parents {PARENTS}", found=f"parents {parents}", remedy="name a FLAME head")
    wanted = {"v_template": (vertices, 3), "posedirs": (vertices, 3, 36), "J_regressor": (5, vertices), "weights": (vertices, 5)}
    for name, shape in wanted.items():
        if dense[name].shape != shape:
            raise InputError(path, expected=f"{name} of shape {shape}", found=f"{dense[name].shape}", remedy="name a FLAME head")
    if dense["shapedirs"].shape[:2] != (vertices, 3) or (columns <= NUM_SHAPE and not without_expressions):
        expected = f"shapedirs of shape ({vertices}, 3, {NUM_SHAPE} identities + expressions)"
        remedy = "use the full model file, not a partial copy: a face without expressions cannot be animated"
        raise InputError(path, expected=expected, found=f"{dense['shapedirs'].shape}", remedy=remedy)
    return dense
