"""A head fitted to points in pictures: identity and camera once for a clip, expression and pose in every frame.

Gauss-Newton on reprojected points. With frames x_t and what all frames share s (identity, focal length) the normal equations are an
arrow: s is found by eliminating every frame (Schur's complement), on a few dozen frames. Then all frames are solved for, held together by
how fast faces move: a banded system, by conjugate gradients with each frame's own block as preconditioner, in pieces that overlap.

What is known of expressions is known in relation to the face's size. In metres it would make faces small: one of two thirds the size, and
nearer by as much, explains every picture with expressions of two thirds.

The picture's axes are OpenCV's, the world's FLAME's: x to the person's left, y up, z out of the face. While fitting, the camera stands at
the world's origin; at the end the world is laid so that the head's median pose in the clip is the rest pose.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from mango.head.conventions import axis_angle_to_matrix, matrix_to_axis_angle
from mango.head.model import Head
from mango.tracking.face_points import PointedHead, SeenPoints, places_on
from mango.types import FRAME_RATE, MotionClip

CAMERA_FROM_FLAME = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
AT_ONCE = 64  # frames whose derivatives are held in memory
PIECE, ABOUT = 4096, 128  # frames that are solved for together: 250 MB
SMALLER = 5.0  # times than the median face: a miss is not measured by less
ASTRAY, ANEW = 5.0, 4  # times the median miss of keyframes, beyond which one is distrusted; how often the others are fitted


@dataclass(frozen=True)
class Acceleration:
    """Standard deviations of second differences at 25 frames a second."""

    eyelids: float = 0.4  # of expression weights
    lower_face: float = 0.15
    upper_face: float = 0.05
    jaw_rad: float = 0.06
    neck_rad: float = 0.012
    metres: float = 0.0012


@dataclass(frozen=True)
class FitConfig:
    """What faces are like, as standard deviations, and how hard is worked."""

    focal: float = 1.3  # of the longer side of the picture: the likeliest focal length
    focal_spread: float = 0.5  # of its logarithm
    shape: float = 1.0  # of identity coefficients
    size: float = 0.04  # of the logarithm of a face's size, which pictures hardly tell: that of adults
    expression: float = 0.3  # of ARKit's weights, which are between 0 and 1; FLAME's coefficients are four times as large
    eyelids: float = 0.7  # of those that move eyelids, the same: blinks are whole
    negative: float = 0.03  # how far below zero such a weight may lie
    aside: float = 0.08  # difference of the left and the right one of a pair
    jaw_rad: tuple[float, float, float] = (0.2, 0.01, 0.03)
    acceleration: Acceleration = field(default_factory=Acceleration)
    alike: float = 2.0  # so many neighbouring points miss together: each counts for less
    keyframes: int = 48
    rounds: int = 12  # of Gauss-Newton on keyframes, and half as many on all frames
    solves: int = 40  # steps of conjugate gradients


@dataclass(frozen=True)
class Fit:
    """What was found. ``clip`` is in the world; a camera in front of the median head."""

    clip: MotionClip
    camera_from_world: Float[Tensor, "1 4 4"]
    intrinsics: Float[Tensor, "3 3"]
    residual: Float[Tensor, "time"]  # root mean square miss of the points, as a share of the face's size


@dataclass(frozen=True)
class Shared:
    """What all frames of a clip share."""

    shape: Float[Tensor, "identity"]
    log_focal: Float[Tensor, ""]  # of pixels


class Problem:
    """Points seen, a head that should explain them, and what is known of faces. Frames are rows (expr | jaw | neck | translation)."""

    def __init__(self, head: Head, seen: SeenPoints, size: tuple[int, int], config: FitConfig, cuts: Sequence[int] = ()):
        rows, cols = size
        places = places_on(head, seen.points.shape[1])
        self.head, self.config, self.pointed = head, config, PointedHead(head, places)
        self.seen, self.centre = seen.points, torch.tensor([cols / 2, rows / 2])
        extent, sure = (seen.points.amax(1) - seen.points.amin(1)).amax(1), seen.confidence > 0.5
        self.face_px = extent.clamp_min(float(extent[sure].median()) / SMALLER)
        self.trust = sure.float()
        shots = torch.searchsorted(torch.tensor(sorted(cuts)), torch.arange(len(seen)), right=True)
        self.joined = (shots[2:] == shots[:-2]).float()  # second differences that no cut is in
        self.precision = 1 / (config.alike * places.spread) ** 2
        self.usual_focal = math.log(config.focal * max(rows, cols))
        self.width = head.expressions + 9
        self.expr = slice(0, head.expressions)
        self.parts = {
            name: slice(head.expressions + 3 * k, head.expressions + 3 * k + 3) for k, name in enumerate(("jaw", "neck", "translation"))
        }
        self.prior, self.pairs = self._prior(), self._pairs()

    def residuals(self, shared: Shared, frames: Float[Tensor, "*rows width"], of: Tensor) -> Float[Tensor, "*rows points 2"]:
        """Reprojected minus seen, in shares of the face's size; ``of``: which frames of the film the last row axis is."""
        in_camera = self.in_camera(shared, frames)
        pixels = shared.log_focal.exp() * in_camera[..., :2] / in_camera[..., 2:] + self.centre
        return (pixels - self.seen[of]) / self.face_px[of, None, None]

    def in_camera(self, shared: Shared, frames: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows points 3"]:
        """Metres, OpenCV's axes; nothing is nearer than 5 cm."""
        points = self.pointed.points(shared.shape, frames[..., self.expr], *(frames[..., part] for part in self.parts.values()))
        across, up, towards = points.unbind(-1)
        return torch.stack([across, -up, (-towards).clamp_min(0.05)], dim=-1)

    def derivatives(
        self, shared: Shared, frames: Float[Tensor, "rows width"], of: Tensor, step: float = 1e-3
    ) -> Float[Tensor, "rows points 2 width"]:
        """Of the residuals of frames by their parameters: expressions by formula, the nine of pose by central differences."""
        jaw, neck, _ = (frames[:, part] for part in self.parts.values())
        moved = self.pointed.per_expression(jaw, neck) * frames.new_tensor([1.0, -1.0, -1.0])[:, None]
        place = self.in_camera(shared, frames)
        scale = (shared.log_focal.exp() / self.face_px[of])[:, None, None, None] / place[..., 2, None, None]
        by_expression = scale * (moved[:, :, :2] - (place[..., :2] / place[..., 2:])[..., None] * moved[:, :, 2:])
        each = step * torch.eye(self.width)[self.expr.stop :, None]
        by_pose = (self.residuals(shared, frames + each, of) - self.residuals(shared, frames - each, of)) / (2 * step)
        return torch.cat([by_expression, by_pose.movedim(0, -1)], dim=-1)

    def weights(self, residuals: Float[Tensor, "rows points 2"], of: Tensor) -> Float[Tensor, "rows points"]:
        """Robust: a point that misses by far more than usual counts little (Cauchy's weight)."""
        squared = residuals.square().sum(-1) * self.precision * self.config.alike**2
        return self.trust[of, None] * self.precision / (1 + squared / 9)

    def prior_terms(
        self, shared: Shared, frames: Float[Tensor, "rows width"]
    ) -> tuple[Float[Tensor, "rows width width"], Float[Tensor, "rows width"]]:
        """Normal matrix and gradient of what is known of one face, of expressions in relation to its size."""
        precision = self.prior.expand_as(frames).clone()
        if self.head.kind == "arkit":
            precision[:, self.expr] += (frames[:, self.expr] < 0) / self.config.negative**2
        normal = torch.diag_embed(precision)
        if len(self.pairs):
            normal = normal + self.pairs
        normal[:, self.expr, self.expr] /= self.size(shared.shape) ** 2
        return normal, (normal @ frames[..., None])[..., 0]

    def size(self, shape: Float[Tensor, "identity"]) -> Float[Tensor, ""]:
        """Of a face at rest: how far its points lie from their middle, as a share of the mean head's."""
        still = [shape.new_zeros(count) for count in (self.head.expressions, 3, 3, 3)]
        own, usual = (self.pointed.points(code, *still) for code in (shape, torch.zeros_like(shape)))
        return (own - own.mean(0)).norm() / (usual - usual.mean(0)).norm()

    def growth(self, shape: Float[Tensor, "identity"]) -> Float[Tensor, "identity"]:
        """Derivative of the size's logarithm."""
        return torch.func.grad(lambda code: self.size(code).log())(shape)

    def _prior(self) -> Float[Tensor, "width"]:
        config = self.config
        size = config.expression if self.head.kind == "arkit" else 4 * config.expression
        deviations = [
            torch.full((self.head.expressions,), size),
            torch.tensor(config.jaw_rad),
            torch.full((3,), 1.0),
            torch.full((3,), 10.0),
        ]
        return 1 / torch.cat(deviations) ** 2

    def _pairs(self) -> Float[Tensor, "width width"] | Tensor:
        """Left and right are mostly alike; sideways movements have no partner."""
        names = list(self.head.expression_names)
        found = [
            (names.index(name), names.index(name[:-4] + "Right"))
            for name in names
            if name.endswith("Left") and name not in ("mouthLeft", "jawLeft")
        ]
        matrix = torch.zeros(self.width, self.width)
        for left, right in found:
            matrix[left, left] += 1
            matrix[right, right] += 1
            matrix[left, right] -= 1
            matrix[right, left] -= 1
        return matrix / self.config.aside**2 if found else torch.zeros(0)

    def smoothness(self) -> Float[Tensor, "width"]:
        """Precision of second differences."""
        known, scale = self.config.acceleration, 1.0 if self.head.kind == "arkit" else 4.0
        lids, low = (self.head.expressions_of(region) for region in ("eyelids", "lower_face"))
        expr = scale * torch.where(lids, known.eyelids, torch.where(low, known.lower_face, known.upper_face))
        pose = [torch.full((3,), size) for size in (known.jaw_rad, known.neck_rad, known.metres)]
        return 1 / torch.cat([expr, *pose]) ** 2


def fit(
    head: Head,
    seen: SeenPoints,
    size: tuple[int, int],
    config: FitConfig | None = None,
    told: Callable[[str, float], None] = lambda what, share: None,
    *,
    cuts: Sequence[int] = (),
) -> Fit:
    """Motion, identity and camera of one person's points in pictures of ``size`` (rows, columns). ``told`` hears of progress.

    Frames without a face take the motion of their neighbours. ``cuts``: first frames of later shots; nothing is smooth across them.
    """
    problem = Problem(head, seen, size, config or FitConfig(), cuts)
    frames = first_guess(problem)
    shared, found, keys = agreed(problem, frames, told)
    frames = spread_out(problem, found, keys)
    frames = over_time(problem, shared, frames, told)
    return in_the_world(problem, shared, frames)


def first_guess(problem: Problem) -> Float[Tensor, "time width"]:
    """Faces that look into the camera, where and as large as the points are, turned by the line of the eyes."""
    seen, frames = problem.seen, torch.zeros(len(problem.seen), problem.width)
    rest = problem.pointed.points(*(torch.zeros(n) for n in (problem.head.identities, problem.head.expressions, 3, 3, 3)))
    tall = (rest.amax(0) - rest.amin(0))[1]
    middle, focal = seen.mean(1) - problem.centre, math.exp(problem.usual_focal)
    depth = focal * tall / (seen.amax(1) - seen.amin(1))[:, 1].clamp_min(4.0)
    place = torch.stack([middle[:, 0] * depth / focal, -middle[:, 1] * depth / focal, -depth], dim=-1)
    frames[:, problem.parts["translation"]] = place - rest.mean(0)
    return frames


def keyframes(problem: Problem) -> Tensor:
    """Trusted frames, spread over the clip, of different faces: every so many the one that differs most from those taken."""
    good = problem.trust.nonzero()[:, 0]
    step = max(1, len(good) // (8 * problem.config.keyframes))
    candidates = good[::step]
    centred = problem.seen[candidates] - problem.seen[candidates].mean(1, keepdim=True)
    described = (centred / problem.face_px[candidates, None, None]).flatten(1)
    taken, distance = [0], torch.full((len(candidates),), torch.inf)
    while len(taken) < min(problem.config.keyframes, len(candidates)):
        distance = torch.minimum(distance, (described - described[taken[-1]]).norm(dim=1))
        taken.append(int(distance.argmax()))
    return candidates[torch.tensor(sorted(set(taken)))]


def agreed(problem: Problem, frames: Float[Tensor, "time width"], told) -> tuple[Shared, Float[Tensor, "keys width"], Tensor]:
    """Identity, camera and keyframes that one head explains: what is no face is among the first to be chosen, so very different is it.

    Frames that miss by far more than the others are distrusted, and the rest is fitted anew, a few times.
    """
    for left in reversed(range(ANEW)):
        keys = keyframes(problem)
        shared = Shared(torch.zeros(problem.head.identities), torch.tensor(problem.usual_focal))
        shared, found = together(problem, shared, frames[keys], keys, told)
        missed = problem.residuals(shared, found, keys).square().sum(-1).mean(-1).sqrt()
        astray = missed > ASTRAY * missed.median()
        if not left or not astray.any():
            break
        problem.trust[keys[astray]] = 0.0
    return shared, found, keys


def together(
    problem: Problem, shared: Shared, frames: Float[Tensor, "keys width"], keys: Tensor, told
) -> tuple[Shared, Float[Tensor, "keys width"]]:
    """Identity, focal length and keyframes. Poses alone come first: a face must be where it is before its shape can be told."""
    config, pose = problem.config, torch.zeros(problem.width)
    pose[problem.parts["neck"]] = pose[problem.parts["translation"]] = 1
    for round in range(2 * config.rounds):
        alone = round < config.rounds
        residuals, own = problem.residuals(shared, frames, keys), problem.derivatives(shared, frames, keys)
        weights = problem.weights(residuals, keys)
        known, pulled = problem.prior_terms(shared, frames)
        normal = known + torch.einsum("fpxi,fp,fpxj->fij", own, weights, own)
        gradient = pulled + torch.einsum("fpxi,fp,fpx->fi", own, weights, residuals)
        if alone:
            normal = normal * pose[:, None] * pose + torch.diag(1 - pose)
            frames = frames - _limited(torch.linalg.solve(normal, gradient * pose), problem)
            continue
        coupled = _shared_derivatives(problem, shared, frames, keys)
        cross = torch.einsum("fpxi,fp,fpxj->fij", own, weights, coupled)
        both = torch.einsum("fpxi,fp,fpxj->ij", coupled, weights, coupled) + torch.diag(_shared_prior(problem))
        slope = torch.einsum("fpxi,fp,fpx->i", coupled, weights, residuals) + _shared_prior(problem) * _shared_offset(problem, shared)
        across, among, along = relative_to_size(problem, shared, frames, pulled)
        cross, both, slope = cross + across, both + among, slope + along
        solved = torch.linalg.solve(normal, torch.cat([cross, gradient[..., None]], dim=-1))
        step = torch.linalg.solve(
            both - torch.einsum("fij,fik->jk", cross, solved[..., :-1]), slope - torch.einsum("fij,fi->j", cross, solved[..., -1])
        )
        step[-1] = step[-1].clamp(-0.2, 0.2)
        frames = frames - _limited(solved[..., -1] - solved[..., :-1] @ step, problem)
        shared = Shared(shared.shape - step[:-1], shared.log_focal - step[-1])
        told("identity and camera", (round + 1 - config.rounds) / config.rounds)
    return shared, frames


def spread_out(problem: Problem, found: Float[Tensor, "keys width"], keys: Tensor) -> Float[Tensor, "time width"]:
    """Every frame begins as a mixture of the keyframes about it."""
    if len(keys) == 1:
        return found.expand(len(problem.seen), -1).clone()
    at = torch.arange(len(problem.seen))
    after = torch.searchsorted(keys, at).clamp(1, len(keys) - 1)
    first, last = keys[after - 1], keys[after]
    share = ((at - first).float() / (last - first).clamp_min(1)).clamp(0, 1)
    return torch.lerp(found[after - 1], found[after], share[:, None])


def over_time(problem: Problem, shared: Shared, frames: Float[Tensor, "time width"], told) -> Float[Tensor, "time width"]:
    """Each frame's points, and that faces accelerate only so much. Long films are solved in pieces, so that an hour fits into memory."""
    rounds = max(2, problem.config.rounds // 2)
    for round in range(rounds):
        held, steps = _bend_twice(frames, problem.joined), []
        for piece, around in overlapping(len(frames)):
            step = step_over_time(problem, shared, frames, held, around)
            steps.append(step[piece.start - around.start : piece.stop - around.start])
            told("expressions and poses", (round + piece.stop / len(frames)) / rounds)
        frames = frames - _limited(torch.cat(steps), problem)
    return frames


def overlapping(frames: int) -> list[tuple[slice, slice]]:
    """Pieces of a film, and each with the frames about it that are solved for with it: motion is bound to what is near in time."""
    firsts = range(0, frames, PIECE)
    pieces = [slice(first, min(first + PIECE, frames)) for first in firsts]
    return [(piece, slice(max(0, piece.start - ABOUT), min(frames, piece.stop + ABOUT))) for piece in pieces]


def step_over_time(
    problem: Problem, shared: Shared, frames: Float[Tensor, "time width"], held: Float[Tensor, "time width"], of: slice
) -> Float[Tensor, "rows width"]:
    """Gauss-Newton's step of some frames while all others stand still. ``held``: the gradient of second differences, without precision."""
    normals, gradients, smooth = [], [], problem.smoothness()
    for some in torch.arange(of.start, of.stop).split(AT_ONCE):
        residuals, own = problem.residuals(shared, frames[some], some), problem.derivatives(shared, frames[some], some)
        weights = problem.weights(residuals, some)
        normal, gradient = problem.prior_terms(shared, frames[some])
        normals.append(normal + torch.einsum("fpxi,fp,fpxj->fij", own, weights, own))
        gradients.append(gradient + torch.einsum("fpxi,fp,fpx->fi", own, weights, residuals))
    beyond = (min(2, of.start), min(2, len(frames) - of.stop))
    joined = problem.joined[of.start - beyond[0] : max(0, of.stop + beyond[1] - 2)]
    return conjugate_gradients(torch.cat(normals), smooth, torch.cat(gradients) + smooth * held[of], problem.config.solves, joined, beyond)


def conjugate_gradients(
    normal: Float[Tensor, "time width width"],
    smooth: Float[Tensor, "width"],
    wanted: Float[Tensor, "time width"],
    steps: int,
    joined: Float[Tensor, "_"],
    beyond: tuple[int, int] = (0, 0),
) -> Float[Tensor, "time width"]:
    """Solves (blocks of ``normal`` + ``smooth`` times second differences squared) x = ``wanted``.

    ``joined``: how much each second difference counts. ``beyond``: how many frames there are before and after these, at which x is zero.
    """
    inside = slice(beyond[0], beyond[0] + len(normal))
    diagonal = _bend_twice_diagonal(len(normal) + sum(beyond), joined)[inside, None] * smooth
    factor = torch.linalg.cholesky(normal + torch.diag_embed(diagonal))
    precondition = lambda r: torch.cholesky_solve(r[..., None], factor)[..., 0]  # noqa: E731
    bent = lambda x: _bend_twice(torch.nn.functional.pad(x, (0, 0, *beyond)), joined)[inside]  # noqa: E731
    applied = lambda x: (normal @ x[..., None])[..., 0] + smooth * bent(x)  # noqa: E731
    x = torch.zeros_like(wanted)
    residual = wanted.clone()
    direction = precondition(residual)
    known = (residual * direction).sum()
    for _ in range(steps):
        along = applied(direction)
        length = known / (direction * along).sum().clamp_min(1e-20)
        x, residual = x + length * direction, residual - length * along
        better = precondition(residual)
        now = (residual * better).sum()
        if now < 1e-12 * known.clamp_min(1e-20) or now == 0:
            break
        direction, known = better + now / known * direction, now
    return x


def in_the_world(problem: Problem, shared: Shared, frames: Float[Tensor, "time width"]) -> Fit:
    """The world laid so that the median head is at rest, and the camera where it stands then."""
    expr, jaw, neck, place = (frames[:, part] for part in (problem.expr, *problem.parts.values()))
    missed = [problem.residuals(shared, frames[of], of).square().sum(-1).mean(-1) for of in torch.arange(len(frames)).split(AT_ONCE)]
    turns = axis_angle_to_matrix(neck)
    good = problem.trust > 0
    median = _mean_rotation(turns[good])
    middle = place[good].median(0).values
    joint = problem.pointed.joints[1] + torch.einsum("s,sc->c", shared.shape, problem.pointed.joint_basis[:, 1])
    # a world point X is seen at median (X - joint) + joint + middle
    camera = torch.eye(4)
    camera[:3, :3] = CAMERA_FROM_FLAME @ median
    camera[:3, 3] = CAMERA_FROM_FLAME @ (joint + middle - median @ joint)
    intrinsics = torch.eye(3)
    intrinsics[0, 0] = intrinsics[1, 1] = shared.log_focal.exp()
    intrinsics[:2, 2] = problem.centre
    nothing = torch.zeros(len(frames), 3)
    clip = MotionClip(
        expr=expr,
        rotation=nothing,
        neck_pose=matrix_to_axis_angle(median.mT @ turns),
        jaw_pose=jaw,
        eyes_pose=torch.zeros(len(frames), 6),
        translation=(place - middle) @ median,
        shape=shared.shape,
        head=problem.head.digest,
        fps=float(FRAME_RATE),
    )
    return Fit(clip, camera[None], intrinsics, torch.cat(missed).sqrt())


def _mean_rotation(turns: Float[Tensor, "time 3 3"]) -> Float[Tensor, "3 3"]:
    """The rotation nearest to the entrywise median."""
    u, _, v = torch.linalg.svd(turns.median(0).values)
    return u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ v))])) @ v


def _limited(step: Float[Tensor, "rows width"], problem: Problem) -> Float[Tensor, "rows width"]:
    """Gauss-Newton's step, no farther than its linearization holds: half a radian, a quarter of a unit of expression."""
    limits = torch.cat([torch.full((problem.head.expressions,), 0.5), torch.full((3,), 0.2), torch.full((3,), 0.3), torch.full((3,), 0.3)])
    return torch.maximum(torch.minimum(step, limits), -limits)


def _shared_derivatives(
    problem: Problem, shared: Shared, frames: Float[Tensor, "rows width"], of: Tensor
) -> Float[Tensor, "rows points 2 shared"]:
    step = 1e-2
    found = []
    for coefficient in range(problem.head.identities):
        change = torch.zeros_like(shared.shape)
        change[coefficient] = step
        found.append(
            problem.residuals(replace(shared, shape=shared.shape + change), frames, of)
            - problem.residuals(replace(shared, shape=shared.shape - change), frames, of)
        )
    larger, smaller = (problem.residuals(replace(shared, log_focal=shared.log_focal + sign * step), frames, of) for sign in (1, -1))
    return torch.stack([*found, larger - smaller], dim=-1) / (2 * step)


def relative_to_size(
    problem: Problem, shared: Shared, frames: Float[Tensor, "rows width"], pulled: Float[Tensor, "rows width"]
) -> tuple[Float[Tensor, "rows width shared"], Float[Tensor, "shared shared"], Float[Tensor, "shared"]]:
    """What the priors of expressions, x / size, and of the size itself say of identity: cross terms, normal matrix and gradient.

    ``pulled``: gradient of the former by x.
    """
    growth, precision = torch.cat([problem.growth(shared.shape), torch.zeros(1)]), problem.config.size**-2
    of_expressions = torch.zeros_like(pulled)
    of_expressions[:, problem.expr] = pulled[:, problem.expr]
    squared = (of_expressions * frames).sum()
    along = (precision * problem.size(shared.shape).log() - squared) * growth
    return -of_expressions[..., None] * growth, (squared + precision) * torch.outer(growth, growth), along


def _shared_prior(problem: Problem) -> Float[Tensor, "shared"]:
    return torch.cat([torch.full((problem.head.identities,), problem.config.shape**-2), torch.tensor([problem.config.focal_spread**-2])])


def _shared_offset(problem: Problem, shared: Shared) -> Float[Tensor, "shared"]:
    return torch.cat([shared.shape, (shared.log_focal - problem.usual_focal)[None]])


def _bend(x: Float[Tensor, "time width"]) -> Float[Tensor, "_ width"]:
    return x[2:] - 2 * x[1:-1] + x[:-2]


def _bend_twice(x: Float[Tensor, "time width"], joined: Float[Tensor, "_"]) -> Float[Tensor, "time width"]:
    """The gradient of half the summed squares of second differences, of those that are ``joined``."""
    out = torch.zeros_like(x)
    if len(x) > 2:
        bend = joined[:, None] * _bend(x)
        out[2:] += bend
        out[1:-1] -= 2 * bend
        out[:-2] += bend
    return out


def _bend_twice_diagonal(frames: int, joined: Float[Tensor, "_"]) -> Float[Tensor, "time"]:
    out = torch.zeros(frames)
    if frames > 2:
        out[2:] += joined
        out[1:-1] += 4 * joined
        out[:-2] += joined
    return out
