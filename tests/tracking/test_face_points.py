"""A head reduced to points of its face is that head there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from moving_head import points_of, talking

from mango.errors import InputError
from mango.tracking.face_models import twins
from mango.tracking.face_points import IBUG, MEASURED, MEDIAPIPE, PointedHead, places_on


@pytest.mark.parametrize("points", [MEDIAPIPE, IBUG])
def test_points_are_those_of_the_whole_head(head, points):
    """Of any identity, face and pose: to what float32 loses. Planted: the jaw turned about the neck's joint, correctives left out."""
    clip = talking(head, 20).clip
    rng = torch.Generator().manual_seed(1)
    jaw = clip.jaw_pose + 0.1 * torch.randn(20, 3, generator=rng)
    clip = replace(clip, expr=torch.rand(clip.expr.shape, generator=rng), jaw_pose=jaw, neck_pose=4 * clip.neck_pose)
    found = PointedHead(head, places_on(head, points)).points(clip.shape, clip.expr, clip.jaw_pose, clip.neck_pose, clip.translation)
    exact = points_of(head, clip, points)
    extent = float(exact.abs().max())
    assert (found - exact).abs().max() < 32 * torch.finfo().eps * extent


def test_expressions_move_the_points_as_said(head):
    """`per_expression` against differences, which are exact but for rounding: the points are linear in them."""
    clip = talking(head, 6).clip
    pointed = PointedHead(head, places_on(head, MEDIAPIPE))
    moves = pointed.per_expression(clip.jaw_pose, 3 * clip.neck_pose)
    at = lambda expr: pointed.points(clip.shape, expr, clip.jaw_pose, 3 * clip.neck_pose, clip.translation)  # noqa: E731
    for expression in (0, 7, head.expressions - 1):
        change = torch.zeros_like(clip.expr)
        change[:, expression] = 1.0
        assert (at(clip.expr + change) - at(clip.expr) - moves[..., expression]).abs().max() < 32 * torch.finfo().eps * 0.3


def test_measured_places_lie_on_the_face(head):
    """Left is left, mouths below eyes: MediaPipe's numbering against anatomy, and what is known of it."""
    places = places_on(head, MEDIAPIPE)
    assert len(places.faces) == len(places.spread) == MEDIAPIPE
    assert (places.barycentrics >= -1e-6).all() and torch.allclose(places.barycentrics.sum(1), torch.ones(MEDIAPIPE), atol=1e-5)
    assert places.spread.min() > 0 and places.spread.max() < 0.1
    where = (head.template[head.faces[places.faces]] * places.barycentrics[..., None]).sum(1)
    marks = head.landmarks(head.template)
    for ours, ibug in ((33, 36), (133, 39), (362, 42), (263, 45), (61, 48), (291, 54), (1, 30), (152, 8), (13, 62), (14, 66)):
        assert (where[ours] - marks[ibug]).norm() < 0.015, (ours, ibug)  # metres


def test_places_are_mirror_images_of_each_other(head):
    """Seen red: half a millimetre to one side, for the network does not do to mirrored faces what it does to faces."""
    places, other = places_on(head, MEDIAPIPE), torch.from_numpy(twins().astype(np.int64))
    where = (head.template[head.faces[places.faces]] * places.barycentrics[..., None]).sum(1)
    assert torch.equal(other[other], torch.arange(MEDIAPIPE)) and other[33] == 263 and other[1] == 1
    assert ((where + where[other])[:, 0] / 2).mean().abs() < 1e-4, "metres to one side"


def test_another_number_of_points_is_refused(head):
    with pytest.raises(InputError, match="expected 468 or 68 points a frame, found 106"):
        places_on(head, 106)


def test_another_head_is_refused_for_468_points_and_not_for_68(head):
    head = type(head)(_arrays_of_another())
    with pytest.raises(InputError, match=r"the built-in head.*found another head; give iBUG's 68 points"):
        places_on(head, MEDIAPIPE)
    assert len(places_on(head, IBUG).faces) == IBUG


def _arrays_of_another():
    from mango.head.assets import read_head

    return replace(read_head("builtin"), digest="1" * 64)


def test_the_file_is_of_the_head_that_comes_with_it(head):
    with np.load(MEASURED) as known:
        assert str(known["head"]) == head.digest
