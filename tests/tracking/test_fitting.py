"""A head fitted to points of a known head gives its motion back.

What may remain is measured by the detector's own noise: points of a face that miss by so many millimetres each say lips, turns and places
no better than that one by one; a fit over 468 of them, over time, must be better.
"""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from moving_head import FAR, FOCAL, SIZE, detected, lip_opening_mm, points_of, talking, turns_degrees

from mango.tracking.face_points import SeenPoints
from mango.tracking.fitting import Fit, FitConfig, Problem, Shared, conjugate_gradients, fit, relative_to_size

FRAMES = 60
QUICK = FitConfig(keyframes=16, rounds=8)  # the film is short, and its faces alike
NOISE = 0.004  # of the face's size; what MediaPipe's points tremble by
FACE_MM = 190.0  # the extent of the points of the built-in head, about
NOISE_MM = NOISE * FACE_MM
LOST = [range(6), range(30, 36), range(54, FRAMES)]


@pytest.fixture(scope="module")
def film(head):
    return talking(head, FRAMES)


def lost_frames(ranges):
    lost = torch.zeros(FRAMES, dtype=torch.bool)
    for some in ranges:
        lost[list(some)] = True
    return lost


CASES = {  # what is seen, points of a face
    "468 points": ({"noise": NOISE}, 468),
    "one point in twenty is somewhere else": ({"noise": NOISE, "wild": 0.05}, 468),
    "frames are lost, the first and the last too": ({"noise": NOISE, "lost": lost_frames(LOST)}, 468),
    "68 points": ({"noise": NOISE, "points": 68}, 68),
}


@pytest.fixture(scope="module")
def fits(head, film):
    """case -> (the fit, what was seen), once."""

    @cache
    def of(case: str) -> tuple[Fit, SeenPoints]:
        seen = detected(head, film, **CASES[case][0])
        return fit(head, seen, SIZE, QUICK), seen

    return of


@pytest.fixture(scope="module", params=CASES)
def fitted(request, fits):
    """(the fit, what was seen, frames that were)."""
    found, seen = fits(request.param)
    return found, seen, seen.confidence > 0.5


def in_camera(head, fitted: Fit, points: int):
    camera = fitted.camera_from_world[0]
    return points_of(head, fitted.clip, points) @ camera[:3, :3].T + camera[:3, 3]


def test_motion_comes_back(head, film, fitted):
    """Planted: the neck's derivatives with the wrong sign, weights without robustness (red where points are wild), lost frames trusted."""
    found, _, keep = fitted
    lips, true_lips = (lip_opening_mm(head, clip)[keep] for clip in (found.clip, film.clip))
    # an opening is the difference of two points
    assert (lips - true_lips).std() < math.sqrt(2) * NOISE_MM and (lips - true_lips).mean().abs() < math.sqrt(2) * NOISE_MM
    assert torch.corrcoef(torch.stack([lips, true_lips]))[0, 1] > 0.97
    # a point that far from the middle of the face moves so much with a turn
    assert turns_degrees(found.clip, film.clip, keep).square().mean().sqrt() < math.degrees(NOISE_MM / (FACE_MM / 2))


def test_places_come_back(head, film, fitted):
    """How large and how far a head is cannot be told from a picture: places are compared in units of the distance."""
    found, seen, keep = fitted
    points = seen.points.shape[1]
    place = in_camera(head, found, points)[keep].mean(1)
    true = (points_of(head, film.clip, points) @ film.camera_from_world[:3, :3].T + film.camera_from_world[:3, 3])[keep].mean(1)
    scale = place[:, 2] / true[:, 2]
    assert 0.85 < scale.mean() < 1.15  # faces differ by so much
    assert scale.std() / scale.mean() < NOISE  # a distance is read off a size, which is as wrong in shares
    across = found.intrinsics[0, 0] / film.intrinsics[0, 0] * place[:, :2] / place[:, 2:] - true[:, :2] / true[:, 2:]
    assert 1000 * FAR * across.square().mean().sqrt() < NOISE_MM


def test_lively_faces_are_not_taken_for_small_ones(head, film):
    """Seen red: what is known of expressions counted in metres made this face .79 of its size, and every opening of its mouth smaller."""
    lively = replace(film, clip=replace(film.clip, expr=(2 * film.clip.expr).clamp(max=1)))
    found = fit(head, detected(head, lively, noise=NOISE), SIZE, replace(QUICK, keyframes=48))
    problem = Problem(head, detected(head, film), SIZE, QUICK)
    assert problem.size(found.clip.shape) / problem.size(film.clip.shape) == pytest.approx(1, abs=0.06)


def test_what_expressions_say_of_identity_is_the_derivative_of_what_they_cost(head, film):
    """Against float64. Planted: cross terms, the normal matrix or the gradient with another sign, a size without a prior."""
    problem, rng = Problem(head, detected(head, film), SIZE, QUICK), torch.Generator().manual_seed(0)
    frames = torch.cat([film.clip.expr, film.clip.jaw_pose, film.clip.neck_pose, film.clip.translation], dim=1)[:3]
    shape = torch.randn(head.identities, generator=rng)
    shared = Shared(shape, torch.tensor(6.0))
    known, pulled = problem.prior_terms(shared, frames)
    across, among, along = relative_to_size(problem, shared, frames, pulled)
    double, usual = in_double(problem), problem.size(shape)
    expressions = slice(0, head.expressions)
    of_mean, _ = problem.prior_terms(Shared(torch.zeros_like(shape), shared.log_focal), frames)
    torch.testing.assert_close(usual**2 * known[:, expressions, expressions], of_mean[:, expressions, expressions])
    assert usual != 1 and (frames[:, : head.expressions] != 0).any()

    def cost(code, rows):
        """Half of everything squared; which weights are below zero is held."""
        size = double.size(code)
        relative = torch.cat([rows[:, : head.expressions] * usual.double() / size, rows[:, head.expressions :]], dim=1)
        return ((relative[:, None] @ known.double() @ relative[..., None]).sum() + (size.log() / QUICK.size).square()) / 2

    by_shape, by_frames = torch.autograd.functional.jacobian(cost, (shape.double(), frames.double()))
    torch.testing.assert_close(along[:-1].double(), by_shape, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(pulled.double(), by_frames, rtol=1e-4, atol=1e-3)
    assert along[-1] == 0 and torch.linalg.eigvalsh(among).min() > -1e-3, "of squares alone"
    growth = torch.autograd.functional.jacobian(lambda code: double.size(code).log(), shape.double())
    squared = float((pulled * frames)[:, : head.expressions].sum())
    expected = (squared + QUICK.size**-2) * torch.outer(growth, growth)
    torch.testing.assert_close(among[:-1, :-1].double(), expected, rtol=1e-3, atol=1e-2)
    pull = torch.cat([pulled[:, : head.expressions], torch.zeros(3, 9)], dim=1).double()
    torch.testing.assert_close(across[..., :-1].double(), -pull[..., None] * growth, rtol=1e-3, atol=1e-2)


def test_the_camera_comes_back(film, fitted):
    """Perspective of a near face tells it: at least three quarters of the way from where the fit begins; three fifths by few points."""
    found, seen, _ = fitted
    begins, left = math.log(FitConfig().focal / FOCAL), math.log(float(found.intrinsics[0, 0] / film.intrinsics[0, 0]))
    assert abs(left) < abs(begins) * (1 / 4 if seen.points.shape[1] == 468 else 2 / 5)
    assert torch.equal(found.intrinsics[:2, 2], film.intrinsics[:2, 2]) and found.intrinsics[0, 0] == found.intrinsics[1, 1]


def test_the_fit_is_nearer_to_the_truth_than_what_was_seen(head, film, fitted):
    found, seen, keep = fitted
    points = seen.points.shape[1]
    exact = film.seen(points_of(head, film.clip, points))
    pixels = in_camera(head, found, points) @ found.intrinsics.T
    face = (exact.amax(1) - exact.amin(1)).amax(1)
    miss = (pixels[..., :2] / pixels[..., 2:] - exact).square().mean((1, 2)).sqrt() / face
    assert miss[keep].mean() < NOISE


def test_the_world_is_laid_so_that_the_picture_stays(head, fitted):
    """Camera, neck pose and translation reproject to what was fitted: residuals computed through the whole head and its clip.

    Planted: the camera turned by the median's inverse.
    """
    found, seen, keep = fitted
    pixels = in_camera(head, found, seen.points.shape[1]) @ found.intrinsics.T
    face = (seen.points.amax(1) - seen.points.amin(1)).amax(1)
    again = (pixels[..., :2] / pixels[..., 2:] - seen.points).square().sum(-1).mean(-1).sqrt() / face
    rounding = 8 * torch.finfo().eps * max(SIZE) / face[keep].min()
    assert (again - found.residual)[keep].abs().max() < rounding
    camera = found.camera_from_world[0, :3, :3]
    assert (camera @ camera.T - torch.eye(3)).abs().max() < 1e-5 and torch.det(camera) > 0
    assert found.clip.neck_pose[keep].median(0).values.norm() < 0.1  # the median head is at rest
    assert found.clip.head == head.digest and not found.clip.rotation.any()


def test_lost_frames_take_the_motion_of_their_neighbours(head, film):
    """Between what is seen they follow; before and after it heads stay within where they were, and faces go to rest."""
    lost = lost_frames([range(12), range(40, 45), range(48, FRAMES)])
    found = fit(head, detected(head, film, noise=NOISE, lost=lost), SIZE, QUICK)
    gap = torch.zeros_like(lost)
    gap[40:45] = True
    whole = ~lost | gap
    errors = turns_degrees(found.clip, film.clip, whole)
    assert errors.max() < 3 * math.degrees(NOISE_MM / (FACE_MM / 2))
    for name in ("neck_pose", "translation"):
        curve = getattr(found.clip, name)
        low, high = curve[~lost].amin(0), curve[~lost].amax(0)
        reach = 0.5 * (high - low)
        assert ((curve > low - reach) & (curve < high + reach)).all(), name
    assert found.clip.expr[lost].abs().max() <= found.clip.expr[~lost].abs().max()


def zeros(seen: SeenPoints) -> SeenPoints:
    points = seen.points.clone()
    points[[20, 41]] = 0.0
    return replace(seen, points=points)


def heaps(seen: SeenPoints) -> SeenPoints:
    points, random = seen.points.clone(), torch.Generator().manual_seed(0)
    points[10:50:8] = 300 + 80 * torch.randn(5, *points.shape[1:], generator=random)
    return replace(seen, points=points)


@pytest.mark.parametrize("spoil", [zeros, heaps])
def test_frames_that_are_no_face_spoil_no_other(head, fits, spoil):
    """Though they are said to be sure. Seen red: two of sixty cost forty frames, for they are the first keyframes to be chosen."""
    clean, seen = fits("468 points")
    found, spoilt = fit(head, spoil(seen), SIZE, QUICK), spoil(seen)
    whole = (spoilt.points == seen.points).all(-1).all(-1)
    assert found.residual[~whole].min() > 10 * found.residual[whole].median()
    assert found.residual[whole].max() < 1.3 * clean.residual.max()
    assert found.intrinsics[0, 0] == pytest.approx(float(clean.intrinsics[0, 0]), rel=0.1)


def test_nothing_is_smooth_across_a_cut(head, film, fits):
    """Seen red: trusted lips next to a cut were up to a millimetre off, those at it fifteen."""
    other, (whole, seen) = talking(head, FRAMES, seed=1, turn_degrees=5.0), fits("468 points")
    elsewhere = detected(head, replace(other, clip=replace(other.clip, shape=film.clip.shape)), noise=NOISE)
    middle = elsewhere.points.mean((0, 1))
    points = torch.cat([seen.points[:30], middle + torch.tensor([60.0, 30.0]) + 1.4 * (elsewhere.points[30:] - middle)])
    cut = fit(head, SeenPoints(points, seen.confidence), SIZE, QUICK, cuts=(30,))
    parted = fit(head, SeenPoints(points, seen.confidence), SIZE, QUICK)
    near = slice(27, 30)
    off, smooth = ((lip_opening_mm(head, each.clip) - lip_opening_mm(head, whole.clip))[near].abs().max() for each in (cut, parted))
    assert off < 0.5 * smooth and cut.residual[27:33].max() < 2 * cut.residual.median() < 0.5 * parted.residual[27:33].max()


def test_thirty_frames_are_enough(head):
    short = talking(head, 30, seed=3)
    found = fit(head, detected(head, short, noise=NOISE), SIZE, QUICK)
    every = torch.ones(30, dtype=torch.bool)
    assert turns_degrees(found.clip, short.clip, every).mean() < math.degrees(NOISE_MM / (FACE_MM / 2))
    assert torch.corrcoef(torch.stack([lip_opening_mm(head, found.clip), lip_opening_mm(head, short.clip)]))[0, 1] > 0.97


def test_weights_stay_between_zero_and_one(fitted):
    """Softly: a hundredth below, and blinks may be more than whole."""
    found, _, _ = fitted
    assert found.clip.expr.min() > -0.03 and found.clip.expr.max() < 1.3


def in_double(problem: Problem) -> Problem:
    """The same problem in float64."""
    double = object.__new__(Problem)
    pointed = object.__new__(type(problem.pointed))
    for new, old in ((pointed, problem.pointed), (double, problem)):
        for name, value in vars(old).items():
            if isinstance(value, dict):
                value = {key: each.double() if isinstance(each, torch.Tensor) else each for key, each in value.items()}
            setattr(new, name, value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value)
    double.pointed = pointed
    return double


def test_derivatives_are_those_of_autograd(head, film):
    """Against float64. What differences of float32 may lose: the rounding of a pixel over the step, and the square of the step.

    Planted: the derivative by expressions without perspective's second term.
    """
    problem = Problem(head, detected(head, film), SIZE, FitConfig())
    truth, of = in_double(problem), torch.tensor([3, 40])
    rng = torch.Generator().manual_seed(0)
    frames = torch.cat([film.clip.expr, film.clip.jaw_pose, film.clip.neck_pose, film.clip.translation], dim=1)[of]
    frames = frames + 0.03 * torch.randn(frames.shape, generator=rng)
    frames[:, -1] -= 0.55
    shape, log_focal = 0.5 * torch.randn(head.identities, generator=rng), torch.tensor(math.log(700.0))
    found = problem.derivatives(Shared(shape, log_focal), frames, of)
    rows = frames.double().requires_grad_()
    residuals = truth.residuals(Shared(shape.double(), log_focal.double()), rows, of)
    exact = torch.zeros(*found.shape, dtype=torch.float64)
    picked = torch.arange(0, residuals.shape[1], 39)
    for point in picked.tolist():
        for axis in range(2):
            (exact[:, point, axis],) = torch.autograd.grad(residuals[:, point, axis].sum(), rows, retain_graph=True)
    step, face = 1e-3, float(problem.face_px[of].min())
    allowed = 4 * torch.finfo().eps * max(SIZE) / (face * step) + step**2 * exact.abs().max()
    assert (found - exact)[:, picked].abs().max() < allowed
    assert exact[:, picked].abs().amax((0, 1, 2)).gt(10 * allowed)[-9:].all()  # all nine of the pose are far larger than that


def test_pieces_of_a_long_film_make_the_same_motion(head, fits, monkeypatch):
    """Noticed: pieces that nothing outside holds, pieces that do not overlap, a piece's neighbours taken for its own frames."""
    whole, seen = fits("frames are lost, the first and the last too")
    for name, frames in (("PIECE", 16), ("ABOUT", 8), ("AT_ONCE", 7)):
        monkeypatch.setattr(f"mango.tracking.fitting.{name}", frames)
    heard = []
    pieces = fit(head, seen, SIZE, QUICK, lambda what, share: heard.append(share) if what == "expressions and poses" else None)
    for part in ("expr", "neck_pose", "jaw_pose", "translation"):
        one, other = getattr(whole.clip, part), getattr(pieces.clip, part)
        assert (one - other).std() < 0.01 * one.std(), part
    torch.testing.assert_close(pieces.residual, whole.residual, rtol=0.01, atol=0)
    assert heard == sorted(heard) and len(heard) == 4 * QUICK.rounds // 2 and heard[-1] == 1


def test_conjugate_gradients_solve_the_banded_system():
    """Against the dense matrix."""
    rng = torch.Generator().manual_seed(0)
    frames, width = 12, 5
    root = torch.randn(frames, width, width, generator=rng)
    normal, smooth = root @ root.mT + torch.eye(width), torch.rand(width, generator=rng) * 20
    wanted = torch.randn(frames, width, generator=rng)
    bend = torch.zeros(frames - 2, frames)
    joined = torch.ones(frames - 2)
    joined[4:6] = 0.0  # a cut
    for row in joined.nonzero()[:, 0].tolist():
        bend[row, row : row + 3] = torch.tensor([1.0, -2.0, 1.0])
    dense = torch.block_diag(*normal) + torch.kron(bend.T @ bend, torch.diag(smooth))
    exact = torch.linalg.solve(dense.double(), wanted.flatten().double()).unflatten(0, (frames, width))
    plain = torch.linalg.solve(dense, wanted.flatten()).unflatten(0, (frames, width))
    found = conjugate_gradients(normal, smooth, wanted, 200, joined)
    assert (found - exact).norm() <= 16 * (plain - exact).norm() + 1e-5 * exact.norm()


def test_a_still_pose_without_a_face_is_no_problem_for_one_trusted_frame(head, film):
    """The least that `fit` is ever given: one keyframe."""
    seen = detected(head, film, lost=~(torch.arange(FRAMES) == 20))
    found = fit(head, SeenPoints(seen.points, seen.confidence), SIZE, QUICK)
    assert found.clip.expr.isfinite().all() and found.camera_from_world.isfinite().all()
