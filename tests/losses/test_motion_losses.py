"""Faults noticed: a loss logged under another name than its weight, a difference across a gap counted, context counted, NaN from padding
spreading, radians taken for degrees, neck movement counted as lip error, a mean over the padding.

Of closure, blink and parts of a batch, planted and seen red: lips compared with a label that is open, pressed lips punished, the mean
motion left out of the opening, closures counted in every frame, lids for lips, normalised eyes taken for millimetres, a part's own count
instead of the batch's.
"""

import math
from dataclasses import asdict

import pytest
import torch

from mango.head.layout import MotionLayout
from mango.losses.motion import FrameLoss, MotionLossWeights, added, frame_counts, motion_losses, total
from mango.losses.surface import condensed, lip_points, lip_surface, openings

LAYOUT = MotionLayout(4)
ALL = MotionLossWeights(**dict.fromkeys(asdict(MotionLossWeights()), 1.0))


class TwoPoints:
    """Two points, driven by the first two expressions, in millimetres; lips by the third, lids by the fourth."""

    def __call__(self, motion):
        return torch.stack([motion[..., :1].expand(*motion.shape[:-1], 3), motion[..., 1:2].expand(*motion.shape[:-1], 3)], dim=-2)

    def lip_opening(self, motion):
        return 10 * motion[..., 2]

    def eye_opening(self, motion):
        return 5 * motion[..., 3]


def example(time: int = 6):
    target = torch.zeros(1, 2, time, LAYOUT.width)
    return target.clone(), target, torch.ones(1, 2, time, dtype=torch.bool)


def losses(predicted, target, counted, keep=None, std=None, weights=ALL, mean=None, bilabial=None, whole=None):
    keep = counted if keep is None else keep
    std = torch.ones(LAYOUT.width) if std is None else std
    mean = torch.zeros(LAYOUT.width) if mean is None else mean
    bilabial = torch.zeros_like(keep) if bilabial is None else bilabial
    given = {"layout": LAYOUT, "std": std, "mean": mean, "bilabial": bilabial, "surface": TwoPoints(), "weights": weights}
    return motion_losses(predicted, target, counted, keep, **given, whole=whole)


def test_values_by_hand():
    predicted, target, keep = example()
    predicted[0, 0, 3, 0] = 4.0  # one expression of one frame: a spike
    found = losses(predicted, target, keep)
    assert found["parameters"].values[0, 0].tolist() == [0, 0, 0, 1.0, 0, 0]  # 16 / 16 channels
    assert found["velocity"].values[0, 0].tolist() == [0, 0, 0, 1.0, 1.0, 0]
    assert found["acceleration"].values[0, 0].tolist() == [0, 0, 0, 1.0, 4.0, 1.0]
    assert found["vertices"].values[0, 0].tolist() == [0, 0, 0, 24.0, 0, 0]  # 3 x 16 on one of two points
    assert float(found["vertices"].mean()) == 24.0 / 12
    assert found["neck_velocity"].values.abs().max() == 0


def test_neck_velocity_is_in_degrees_of_real_rotation():
    predicted, target, keep = example()
    std = torch.full((LAYOUT.width,), 0.5)
    predicted[0, 0, 3:, LAYOUT.where("neck_pose").start] = 2 * math.radians(3.0)
    found = losses(predicted, target, keep, std=std)["neck_velocity"]
    torch.testing.assert_close(found.values[0, 0], torch.tensor([0, 0, 0, 9.0, 0, 0]))


def test_closure_is_how_far_lips_stay_open_at_bilabials():
    """In mm^2; the label, which is open by 30 mm everywhere, has no say, and pressed lips are closed lips."""
    predicted, target, keep = example()
    mean, std = torch.zeros(LAYOUT.width), torch.full((LAYOUT.width,), 0.5)
    mean[2], target[..., 2] = 0.2, 5.6
    predicted[0, 0, :, 2] = torch.tensor([0.0, 0.2, -1.0, -0.4, 1.0, 0.0])
    bilabial = torch.zeros_like(keep)
    bilabial[0, 0, 1:4] = True
    counted = keep.clone()
    counted[0, 0, 1] = False
    found = losses(predicted, target, counted, keep, std=std, mean=mean, bilabial=bilabial)["closure"]
    torch.testing.assert_close(found.values[0, 0], torch.tensor([4.0, 9.0, 0.0, 0.0, 49.0, 4.0]))
    assert found.valid[0].int().tolist() == [[0, 0, 1, 1, 0, 0], [0] * 6]
    silent = losses(predicted.requires_grad_(), target, keep, std=std, mean=mean)["closure"].mean()
    silent.backward()
    assert float(silent.detach()) == 0.0 and not predicted.grad.any(), "nobody says anything"


def test_blink_is_the_error_of_the_eyes_in_square_millimetres():
    predicted, target, keep = example()
    std = torch.full((LAYOUT.width,), 0.5)
    predicted[0, 1, 2, 3], target[0, 1, 2, 3] = -2.0, -1.2
    target[0, 0, 4, 3] = -1.2  # a blink that is missed
    found = losses(predicted, target, keep, std=std)["blink"]
    torch.testing.assert_close(found.values[0], torch.tensor([[0, 0, 0, 0, 9.0, 0], [0, 0, 4.0, 0, 0, 0]]))
    assert found.valid.all()


def test_parts_of_a_batch_add_up_to_its_means():
    """Parts with unlike numbers of valid frames, one of them with none for some losses."""
    random = torch.Generator().manual_seed(0)
    predicted, target = torch.randn(2, 4, 2, 6, LAYOUT.width, generator=random, dtype=torch.float64)
    keep = torch.rand(4, 2, 6, generator=random) < torch.tensor([0.9, 0.5, 0.2, 1.0])[:, None, None]
    counted, bilabial = keep & (torch.rand(4, 2, 6, generator=random) < 0.8), torch.rand(4, 2, 6, generator=random) < 0.3
    bilabial[0] = False
    std = torch.ones(LAYOUT.width, dtype=torch.float64)
    counts = frame_counts(ALL, counted, keep, bilabial)
    together = losses(predicted, target, counted, keep, std=std, mean=0 * std, bilabial=bilabial)
    assert counts == {name: int(loss.valid.sum()) for name, loss in together.items()} and len(set(counts.values())) > 3
    parts = []
    for rows in ([2], [0, 1], [3]):
        made = (predicted[rows], target[rows], counted[rows], keep[rows])
        part = losses(*made, std=std, mean=0 * std, bilabial=bilabial[rows], whole=counts)
        parts.append({name: loss.mean() for name, loss in part.items()})
    for name, value in added(parts).items():
        torch.testing.assert_close(value, together[name].mean())


def test_differences_need_all_their_frames_and_judge_the_continuation_of_context():
    predicted, target, keep = example()
    keep[0, 0, 2] = False
    counted = keep.clone()
    counted[0, 1, :2] = False  # context: kept, not counted
    found = losses(predicted, target, counted, keep)
    assert found["velocity"].valid[0].int().tolist() == [[0, 1, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1]]
    assert found["acceleration"].valid[0].int().tolist() == [[0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 1, 1]]
    assert found["parameters"].valid[0].int().tolist() == [[1, 1, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]]


def test_what_is_not_kept_cannot_spread():
    predicted, target, keep = example()
    keep[0, 1, 4:] = False
    predicted[0, 1, 4:] = float("nan")
    predicted = predicted.requires_grad_()
    found = losses(predicted, target, keep)
    whole = total(found, ALL)
    whole.backward()
    assert torch.isfinite(whole)
    assert torch.isfinite(predicted.grad[0, 1, :4]).all()


def test_the_mean_counts_valid_frames_only():
    values, valid = torch.tensor([[[1.0, 3.0, 100.0]]]), torch.tensor([[[True, True, False]]])
    assert float(FrameLoss(values, valid).mean()) == 2.0
    assert float(FrameLoss(values, valid & False).mean()) == 0.0
    values[0, 0, 2] = float("nan")
    assert float(FrameLoss(values, valid).mean()) == 2.0


def test_names_are_the_weights_names():
    predicted, target, keep = example()
    assert set(losses(predicted, target, keep)) == set(asdict(ALL))
    assert set(frame_counts(ALL, keep, keep, keep)) == set(asdict(ALL))
    some = MotionLossWeights(1.0, 0.0, 0.0, 0.0, 0.0, 2.0, blink=0.0)
    assert set(losses(predicted, target, keep, weights=some)) == {"parameters", "neck_velocity"}
    with pytest.raises(AssertionError, match="without a weight"):
        total({"velocty": FrameLoss(torch.zeros(1, 2, 3), keep[..., :3])}, ALL)


class LinearHead:
    """Ten points; expression i moves point i along x by i mm, the jaw moves points 0-2, the neck moves all."""

    identities = 3

    def region(self, name):
        return {"lips": torch.tensor([0, 1, 2]), "face": torch.arange(10)}[name]

    def with_shape(self, shape):
        return self

    def vertices(self, expr, neck_pose, jaw_pose, eyes_pose):
        points = torch.zeros(len(expr), 10, 3)
        points[:, :4, 0] = expr * torch.arange(4) * 1e-3
        points[:, :3, 1] -= jaw_pose[:, :1] * 0.1
        return points + neck_pose[:, None] * 10


def test_lip_points_move_by_the_derivative_in_millimetres_without_the_neck():
    directions = lip_points(LinearHead(), LAYOUT, lips=4.0, every=7)  # lips 0, 1, 2 and the other point 3
    motion = torch.zeros(LAYOUT.width)
    motion[3], motion[2] = 1.0, 1.0
    motion[LAYOUT.where("jaw_pose").start] = 0.01
    motion[LAYOUT.where("neck_pose")] = 5.0
    points = (motion @ directions.flatten(1)).unflatten(-1, (-1, 3))
    lip, other = math.sqrt(4 / 3.25), math.sqrt(1 / 3.25)
    expected = torch.tensor([[0, -1, 0], [0, -1, 0], [2, -1, 0], [3, 0, 0]]) * torch.tensor([lip, lip, lip, other])[:, None]
    torch.testing.assert_close(points, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("width", "points"), [(53, 578), (53, 18), (7, 400), (16, 4), (5, 1)])
def test_condensed_points_are_as_far_apart(width, points):
    """Fault planted and seen red: the mean over fewer points without the correction for their number."""
    random = torch.Generator().manual_seed(width)
    directions = torch.randn(width, points, 3, generator=random, dtype=torch.float64)
    directions[1] = 0.0  # a channel that moves nothing: the neck
    fewer = condensed(directions)
    assert fewer.shape[1] == min(-(-width // 3), points)
    difference = torch.randn(9, width, generator=random, dtype=torch.float64)
    mean_square = [torch.einsum("bw,wpk->bpk", difference, each).square().sum(-1).mean(-1) for each in (directions, fewer)]
    torch.testing.assert_close(*mean_square)
    assert (fewer[1] == 0).all()


def test_lip_surface_has_the_distances_of_the_lip_points(head):
    directions, surface = lip_points(head, head.layout, lips=8.0, every=8), lip_surface(head, head.layout, lips=8.0)
    motion = 0.1 * torch.randn(6, head.layout.width, generator=torch.Generator().manual_seed(0))
    exact = (motion.double() @ directions.flatten(1).double()).square().sum(-1) / directions.shape[1]
    torch.testing.assert_close(surface(motion).square().sum(-1).mean(-1), exact.float())
    assert surface.directions.shape[1] == 54


def test_openings_are_the_heads_while_people_talk(head):
    """Each gesture alone, up to talking's size and until lids meet: the linear stand-in errs by a tenth at most; the neck opens nothing."""
    surface, layout = lip_surface(head, head.layout, lips=8.0), head.layout
    gestures = {
        "jaw": (layout.where("jaw_pose").start, 0.15, head.lip_opening, surface.lip_opening),
        "lips": (head.expression_names.index("mouthUpperUpLeft"), 0.5, head.lip_opening, surface.lip_opening),
        "left lid": (head.expression_names.index("eyeBlinkLeft"), 0.6, head.eye_opening, surface.eye_opening),
        "right lid": (head.expression_names.index("eyeWideRight"), 0.8, head.eye_opening, surface.eye_opening),
    }
    person = head.with_shape(torch.zeros(head.identities))
    for name, (channel, size, exact, linear) in gestures.items():
        motion = torch.zeros(2, layout.width)
        motion[1, channel] = size
        motion[:, layout.where("neck_pose")] = 0.2
        rest, moved = 1000 * exact(person.vertices(**layout.unpack(motion)))
        assert float((moved - rest).abs()) > 1, name
        torch.testing.assert_close(linear(motion), torch.stack([0 * rest, moved - rest]), rtol=0.1, atol=0.02)
    assert openings(head, layout)[layout.where("neck_pose")].abs().max() == 0
