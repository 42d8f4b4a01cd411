"""Motion of one head as motion of another that has the same vertices, by bounded least squares on how vertices move.

    ARKit weights  --deltas-->  vertices of FLAME's mesh  <--expressions, jaw--  FLAME coefficients

Everything is linear: displacement = weights @ source basis = coefficients @ target basis. Two identities move differently; what is
matched is the displacement from each one's own neutral face, so a static difference of faces never enters the coefficients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg
import scipy.optimize
import torch
from jaxtyping import Float

from mango.errors import InputError
from mango.head.arkit import ARKIT_NAMES
from mango.head.model import Head

MILLIMETRES = 1000.0
JAW_STEP = 0.05  # radians: half the step of the central difference that makes the jaw's turn a direction
JAW_TURNS = ("jaw open", "jaw sideways")  # radians about x and y
MOST_SIDEWAYS = 0.2  # radians
STILL = 1e-5  # metres rms: a shape that moves less has nothing to be matched


@dataclass(frozen=True)
class Basis:
    """Named directions of displacement on one mesh, and how far each may be used."""

    names: tuple[str, ...]
    directions: Float[np.ndarray, "directions verts 3"]  # metres per unit
    lowest: Float[np.ndarray, "directions"]
    highest: Float[np.ndarray, "directions"]

    def displaced(self, coefficients: Float[np.ndarray, "*batch directions"]) -> Float[np.ndarray, "*batch verts 3"]:
        return np.tensordot(coefficients, self.directions, axes=1)


@dataclass(frozen=True)
class Match:
    """One shape of the source in terms of the target."""

    name: str
    size_mm: float  # rms displacement over the vertices that were compared
    residual_mm: float  # what the target cannot do of it

    @property
    def explained(self) -> float:
        """Share of the squared displacement, 0 to 1."""
        return max(0.0, 1.0 - (self.residual_mm / self.size_mm) ** 2) if self.size_mm > STILL * MILLIMETRES else 1.0


def arkit_basis(names: Sequence[str], deltas: Float[np.ndarray, "directions verts 3"]) -> Basis:
    """ARKit's shapes on some mesh: weights from 0 to 1."""
    return Basis(tuple(names), np.asarray(deltas, np.float64), np.zeros(len(names)), np.ones(len(names)))


def read_arkit_basis(path: Path) -> Basis:
    """An npz with ``names`` (ARKit's) and ``deltas`` (names, vertices, 3) in metres.

    Errors: InputError for anything else.
    """
    expected = "an npz of names (ARKit's) and deltas (names, vertices, 3)"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, deltas = arrays["names"].tolist(), arrays["deltas"]
    except Exception as error:  # a damaged archive fails in many ways
        found = f"{type(error).__name__}: {error}"
        raise InputError(path, expected=expected, found=found, remedy="write it with numpy.savez") from error
    unknown = [name for name in names if name not in ARKIT_NAMES]
    if unknown or deltas.ndim != 3 or deltas.shape[::2] != (len(names), 3) or not np.isfinite(deltas).all():
        found = f"names {unknown[:3]}" if unknown else f"deltas of shape {deltas.shape}"
        raise InputError(path, expected=expected, found=found, remedy="write it with numpy.savez")
    return arkit_basis(names, deltas)


def motion_basis(head: Head, largest: float = 4.0) -> Basis:
    """A head's expressions and the turns of its jaw about x (opening) and y (sideways), as directions at rest. FLAME's coefficients are
    standard deviations, so ``largest`` of them bounds each; the jaw opens by half a radian at most and never shuts beyond rest.
    """
    person = head.with_shape(head.template.new_zeros(head.identities))
    jaw = head.template.new_zeros(4, 3)
    jaw[[0, 1, 2, 3], [0, 0, 1, 1]] = head.template.new_tensor([-JAW_STEP, JAW_STEP, -JAW_STEP, JAW_STEP])
    still = lambda width: head.template.new_zeros(4, width)  # noqa: E731
    with torch.no_grad():
        turned = person.vertices(still(head.expressions), still(3), jaw, still(6)).unflatten(0, (2, 2))
    turning = ((turned[:, 1] - turned[:, 0]) / (2 * JAW_STEP)).numpy().astype(np.float64)
    directions = np.concatenate([head.expression_directions.permute(2, 0, 1).numpy().astype(np.float64), turning])
    bound = np.full(head.expressions, largest)
    return Basis(
        (*head.expression_names, *JAW_TURNS), directions, np.append(-bound, (0.0, -MOST_SIDEWAYS)), np.append(bound, (0.5, MOST_SIDEWAYS))
    )


def retargeted(
    displacements: Float[np.ndarray, "frames verts 3"], target: Basis, *, vertices: np.ndarray | None = None, damping: float = 1e-5
) -> Float[np.ndarray, "frames directions"]:
    """The coefficients within their bounds whose displacement is nearest, frame by frame.

    ``vertices`` are those that count (all by default). ``damping`` (metres per unit of coefficient) decides between directions that do
    the same; it costs less than that in the result.
    """
    if displacements.shape[1:] != target.directions.shape[1:]:
        found = f"{displacements.shape[1]} against {target.directions.shape[1]}"
        raise InputError("retargeting", expected="one mesh for both heads", found=found, remedy="give shapes on the target's own vertices")
    chosen = slice(None) if vertices is None else vertices
    columns = target.directions[:, chosen].reshape(len(target.names), -1).T
    count = columns.shape[0] // 3
    # |A c - d|^2 for every frame depends on the frame by A^T d alone: a triangular factor of A stands for all its rows
    factor, triangle = np.linalg.qr(np.concatenate([columns / np.sqrt(count), damping * np.eye(columns.shape[1])]))
    goals = displacements[:, chosen].reshape(len(displacements), -1) / np.sqrt(count) @ factor[: columns.shape[0]]
    found = scipy.linalg.solve_triangular(triangle, goals.T).T
    beyond = np.flatnonzero(((found < target.lowest) | (found > target.highest)).any(1))
    for frame in beyond:
        found[frame] = scipy.optimize.lsq_linear(triangle, goals[frame], (target.lowest, target.highest), method="bvls").x
    return found


def matches(source: Basis, target: Basis, *, vertices: np.ndarray | None = None) -> tuple[Float[np.ndarray, "source target"], list[Match]]:
    """Every shape of the source at weight one in the target's coefficients, and how much of it is lost."""
    coefficients = retargeted(source.directions, target, vertices=vertices)
    chosen = slice(None) if vertices is None else vertices
    lost = target.displaced(coefficients)[:, chosen] - source.directions[:, chosen]
    rms = lambda offsets: np.sqrt((offsets**2).sum(-1).mean(-1)) * MILLIMETRES  # noqa: E731
    sizes, residuals = rms(source.directions[:, chosen]), rms(lost)
    found = [Match(name, float(size), float(rest)) for name, size, rest in zip(source.names, sizes, residuals, strict=True)]
    return coefficients, found


def from_neutral(
    vertices: Float[np.ndarray, "frames verts 3"], neutral: Float[np.ndarray, "verts 3"], target_neutral: Float[np.ndarray, "verts 3"]
) -> Float[np.ndarray, "frames verts 3"]:
    """Displacements of one person for another: from the first one's own neutral face, scaled by the sizes of the two faces."""
    size = lambda points: np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean())  # noqa: E731
    return (vertices - neutral) * (size(target_neutral) / size(neutral))


def table(found: Sequence[Match]) -> str:
    """What is lost of each shape, worst first."""
    lines = [f"{'shape':<22} {'moves mm':>9} {'lost mm':>8} {'explained':>9}"]
    for match in sorted(found, key=lambda match: match.explained):
        lines.append(f"{match.name:<22} {match.size_mm:9.2f} {match.residual_mm:8.2f} {match.explained:9.0%}")
    return "\n".join(lines)
