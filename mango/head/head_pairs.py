"""Two heads of different meshes: points of the face that both have, and motion of one as motion of the other.

    source motion --its own head--> moving points --size and turn--> the target's points --bounded least squares--> target motion

The points are the built-in head's face vertices, laid over either head (`mango.head.annotation`). Gaze is a rotation of the eyes in any
head and is carried over as it is; what it does to the lids of either head counts as their movement. Identity is not carried over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mango.head.annotation import EYES, RIGID, built_in_over
from mango.head.assets import read_head
from mango.head.correspondence import Matcher, Surface, similarity
from mango.head.model import Head, ShapedHead
from mango.head.retargeting import JAW_TURNS, Basis, Match, matches, motion_basis, retargeted

FARTHEST = 0.002  # metres from the laid point to the surface: beyond it the other head has no such place
ROUNDS = 4  # joints move points along arcs, least squares along lines: each round makes up for the bend that the last one left
PIECE = 500  # frames at a time: an hour of points would be gigabytes
JAW_SHAPES = ("jawOpen", "jawLeft", "jawRight")


@dataclass(frozen=True)
class FacePoints:
    """Places on the triangles of one mesh, in an order that all heads share."""

    corners: Int[Tensor, "points 3"]  # vertices
    barycentrics: Float[Tensor, "points 3"]
    found: Bool[np.ndarray, "points"]

    def chosen(self, those: Bool[np.ndarray, "points"]) -> "FacePoints":
        keep = torch.from_numpy(those)
        return FacePoints(self.corners[keep], self.barycentrics[keep], self.found[those])

    def of(self, vertices: Float[Tensor, "*batch verts 3"]) -> Float[np.ndarray, "*batch points 3"]:
        return (vertices[..., self.corners, :] * self.barycentrics[:, :, None]).sum(-2).numpy().astype(np.float64)


@dataclass(frozen=True)
class Carried:
    """Motion of the source in the target's terms, and what was lost on the way: millimetres rms over points, by frame."""

    expr: Float[Tensor, "time expressions"]
    jaw_pose: Float[Tensor, "time 3"]
    moved_mm: Float[np.ndarray, "time"]
    lost_mm: Float[np.ndarray, "time"]


@dataclass(frozen=True)
class HeadPair:
    """``turn`` brings displacements of the source's face to the size and direction of the target's."""

    source: Head
    target: Head
    source_points: FacePoints
    target_points: FacePoints
    turn: Float[np.ndarray, "3 3"]

    @property
    def num_points(self) -> int:
        return len(self.target_points.found)

    @cached_property
    def basis(self) -> Basis:
        return point_basis(self.target, self.target_points)

    def shapes(self) -> list[Match]:
        """Each shape of the source at weight one (turns of the jaw as far as they go), and what the target cannot do of it."""
        basis = point_basis(self.source, self.source_points)
        far = np.minimum(basis.highest, 1.0)
        names = tuple(f"{name}, {most:g} rad" if name in JAW_TURNS else name for name, most in zip(basis.names, far, strict=True))
        return matches(Basis(names, far[:, None, None] * basis.directions @ self.turn, basis.lowest, basis.highest), self.basis)[1]

    def carried(
        self, shape: Float[Tensor, "identity"], expr: Float[Tensor, "time source_expressions"], jaw_pose: Float[Tensor, "time 3"],
        eyes_pose: Float[Tensor, "time 6"],
    ) -> Carried:  # fmt: skip
        """Motion of the source's person ``shape``; the eyes turn in the target as they do in the source."""
        person = self.source.with_shape(shape)
        average = self.target.with_shape(shape.new_zeros(self.target.identities))
        rest, calm = self.source_points.of(person.template), self.target_points.of(average.template)
        pieces = []
        for frames in torch.arange(len(expr)).split(PIECE):
            moving = self.source_points.of(_posed(person, expr[frames], jaw_pose[frames], eyes_pose[frames]))
            pieces.append(self._fitted(average, calm, (moving - rest) @ self.turn, eyes_pose[frames]))
        return Carried(
            torch.cat([piece.expr for piece in pieces]), torch.cat([piece.jaw_pose for piece in pieces]),
            np.concatenate([piece.moved_mm for piece in pieces]), np.concatenate([piece.lost_mm for piece in pieces]),
        )  # fmt: skip

    def _fitted(self, average: ShapedHead, calm: np.ndarray, goals: np.ndarray, eyes_pose: Tensor) -> Carried:
        coefficients = np.zeros((len(goals), len(self.basis.names)))
        for round in range(ROUNDS + 1):
            expr, jaw = motion_of(self.target, self.basis.names, coefficients)
            moved = self.target_points.of(_posed(average, expr, jaw, eyes_pose)) - calm
            if round < ROUNDS:
                bend = moved - self.basis.displaced(coefficients)
                coefficients = retargeted(goals - bend, self.basis)
        return Carried(expr, jaw, _rms_mm(goals), _rms_mm(goals - moved))


def head_pair(source: Head, target: Head) -> HeadPair:
    """Some seconds for a head that is not the built-in one.

    Errors: InputError where the built-in head cannot be laid over one of them.
    """
    ours = face_points(target)
    # heads of one mesh (FLAME's generations) have the same points, not two guesses of them
    theirs = ours if torch.equal(source.faces, target.faces) else face_points(source)
    both = ours.found & theirs.found
    ours, theirs = ours.chosen(both), theirs.chosen(both)
    scale, turn, _ = similarity(theirs.of(source.template), ours.of(target.template))
    return HeadPair(source, target, theirs, ours, scale * turn.T)


def face_points(head: Head) -> FacePoints:
    """Where the built-in head's face vertices lie on a head."""
    ours = read_head("builtin")
    face = ours.regions["face"]
    if head.digest == ours.digest:
        whole = np.tile(np.eye(3, dtype=np.float32)[0], (len(face), 1))
        return FacePoints(torch.from_numpy(np.stack([face] * 3, 1)), torch.from_numpy(whole), np.ones(len(face), bool))
    points, weights = head.template.double().numpy(), head.skin_weights.numpy()
    outside = np.flatnonzero((weights[:, EYES] <= RIGID).all(1))
    skin, _ = Surface(points, head.faces.numpy()).restricted(outside)
    laid = built_in_over(head.name, skin, (head.joint_regressor @ head.template).double().numpy()[list(EYES)])
    normals = laid.corner_normals()[face]
    where, coordinates = Matcher(skin).on_surface(laid.points[face], normals)
    corners = skin.faces[where]
    miss = np.linalg.norm(np.einsum("pc,pcx->px", coordinates, points[corners]) - laid.points[face], axis=1)
    facing = np.einsum("px,px->p", normals, skin.corner_normals()[corners].mean(1))
    return FacePoints(torch.from_numpy(corners), torch.from_numpy(coordinates.astype(np.float32)), (miss < FARTHEST) & (facing > 0))


def point_basis(head: Head, points: FacePoints) -> Basis:
    """What a head's face can do: ARKit's expressions and jaw shapes by name, or FLAME's coefficients and jaw angles. Gaze left out."""
    if head.joint_expressions:
        names = (*head.expression_names, *JAW_SHAPES)
        expr, jaw = motion_of(head, names, np.eye(len(names)))
        person = head.with_shape(head.template.new_zeros(head.identities))
        directions = points.of(_posed(person, expr, jaw, expr.new_zeros(len(names), 6))) - points.of(person.template)
        return Basis(names, directions, np.zeros(len(names)), np.ones(len(names)))
    whole = motion_basis(head)
    return Basis(whole.names, points.of(torch.from_numpy(whole.directions)), whole.lowest, whole.highest)


def motion_of(
    head: Head, names: Sequence[str], coefficients: Float[np.ndarray, "time directions"]
) -> tuple[Float[Tensor, "time expressions"], Float[Tensor, "time 3"]]:
    """``expr`` and ``jaw_pose`` of a head, of coefficients in the order of its `point_basis`."""
    found = torch.from_numpy(coefficients.astype(np.float32))
    expr, rest = found[:, : head.expressions], found[:, head.expressions :]
    if head.joint_expressions:
        return expr, rest @ torch.stack([head.joint_expressions[name][3:6] for name in names[head.expressions :]])
    return expr, torch.nn.functional.pad(rest, (0, 3 - rest.shape[1]))  # angles about x and y


def _posed(person: ShapedHead, expr: Tensor, jaw_pose: Tensor, eyes_pose: Tensor) -> Float[Tensor, "time verts 3"]:
    with torch.no_grad():
        return person.vertices(expr, jaw_pose.new_zeros(len(jaw_pose), 3), jaw_pose, eyes_pose)


def _rms_mm(offsets: Float[np.ndarray, "time points 3"]) -> Float[np.ndarray, "time"]:
    return 1000.0 * np.sqrt((offsets**2).sum(-1).mean(-1))
