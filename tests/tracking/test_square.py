"""The square that is written of a film: within the picture, about the head, where it holds most heads; and what it does not hold."""

import numpy as np
import pytest
import torch

from mango.tracking.square import HAIR, Square, about_the_head, heads

FRAMES = 50


def faces(middles, face: float) -> torch.Tensor:
    """Points of faces of that many pixels, about the middles."""
    rng = torch.Generator().manual_seed(0)
    points = torch.rand(FRAMES, 468, 2, generator=rng) - 0.5
    points[:, :4] = torch.tensor([[-0.375, -0.5], [0.375, -0.5], [-0.375, 0.5], [0.375, 0.5]])  # their whole extent, in every frame
    points[..., 0] = points[..., 0].clamp(-0.375, 0.375)
    return torch.as_tensor(middles, dtype=torch.float32).expand(FRAMES, 2)[:, None] + face * points


@pytest.mark.parametrize("middle", [(960, 540), (100, 540), (1900, 900), (960, 20)])
@pytest.mark.parametrize("face", [80, 300])
def test_it_stays_within_the_picture(middle, face):
    """Also of faces at the edge. Planted: centred on the face wherever that is."""
    points = faces(middle, face)
    square = about_the_head(points, (1080, 1920), 512)
    assert square.left >= 0 and square.top >= 0 and square.left + square.side <= 1920 and square.top + square.side <= 1080
    assert square.side % 2 == 0 and square.px == min(512, square.side) and square.holds(points, (1080, 1920)).all()
    assert square.left <= max(0, middle[0] - face / 2) and square.left + square.side >= min(1920, middle[0] + face / 2)


@pytest.mark.parametrize(("rows", "cols"), [(480, 640), (1920, 1080), (47, 61)])
@pytest.mark.parametrize("share", [0.4, 0.9, 1.2])
def test_a_face_that_fills_the_picture_gets_no_larger_square_than_was_filmed(rows, cols, share):
    """Seen red: of a selfie a quarter of the square had never been filmed. It was the edge's colours, streaks that were learnt."""
    points = faces((cols / 2, 0.4 * rows), share * min(rows, cols))
    square = about_the_head(points, (rows, cols), 512)
    assert min(share, 0.9) * min(rows, cols) < square.side <= min(rows, cols) and square.side % 2 == 0 and square.px % 2 == 0
    assert 0 <= square.left <= cols - square.side and 0 <= square.top <= rows - square.side
    assert square.holds(points, (rows, cols)).all()  # all that there is of it


@pytest.mark.parametrize("face", [250, 300, 400])
def test_of_two_places_it_takes_the_one_that_is_held_longer(face):
    """Seen red: it lay between them, and an avatar was faded away by pictures that showed neither."""
    middles = torch.tensor([[400.0, 540.0]] * 20 + [[1500.0, 540.0]] * 30)
    points = faces(middles, face)
    held = about_the_head(points, (1080, 1920), 512).holds(points, (1080, 1920))
    assert not held[:20].any() and held[20:].all()


def test_who_moves_within_it_is_held_everywhere():
    points = faces(torch.stack([torch.linspace(700, 1200, FRAMES), torch.full((FRAMES,), 540.0)], 1), 300)
    assert about_the_head(points, (1080, 1920), 512).holds(points, (1080, 1920)).all()


@pytest.mark.parametrize("face", [400, 500, 600])
def test_where_it_is_too_small_hair_comes_before_the_neck(face):
    """Selfies, upright. Seen red: hair that was filmed was cut off, and faded."""
    points = faces((540, 900), face)
    square = about_the_head(points, (1920, 1080), 512)
    assert square.side == 1080 or face == 400
    assert square.room_above(points) >= HAIR - 0.01 or square.top == 0
    assert square.holds(points, (1920, 1080)).all() and square.top > 0


def test_heads_are_larger_than_their_points_and_no_larger_than_the_square():
    points = faces((500, 500), 200)
    low, high = heads(points, 1000)
    assert torch.allclose(low[0], torch.tensor([385.0, 310.0])) and torch.allclose(high[0], torch.tensor([615.0, 620.0]))
    low, high = heads(points, 180)
    assert ((high - low) <= 180.001).all()


@pytest.mark.parametrize("square", [Square(37, 20, 100, 100), Square(37, 20, 120, 60), Square(0, 40, 120, 60), Square(140, 60, 100, 50)])
def test_intrinsics_say_where_pixels_come_from(square):
    """A picture whose colours are its columns and rows: what is seen at a pixel is where the camera says. Planted: half a pixel's shift,
    which OpenCV's whole pixel centres would ask for.
    """
    rows, cols = 160, 240
    picture = np.zeros((rows, cols, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.arange(cols), np.arange(rows)[:, None]
    whole = torch.tensor([[300.0, 0.0, cols / 2], [0.0, 300.0, rows / 2], [0.0, 0.0, 1.0]])
    part, moved = square.cut(picture), square.intrinsics(whole)
    assert part.shape == (square.px, square.px, 3)
    down, across = np.mgrid[: square.px, : square.px] + 0.5
    rays = torch.linalg.inv(moved) @ torch.from_numpy(np.stack([across, down, np.ones_like(down)])).float().flatten(1)
    place = (whole @ rays)[:2].unflatten(1, (square.px, square.px)).numpy()
    inside = (place[0] > 2) & (place[0] < cols - 2) & (place[1] > 2) & (place[1] < rows - 2)
    off = np.abs(part[..., :2].astype(float) + 0.5 - place.transpose(1, 2, 0))[inside]
    assert inside.sum() > 500 and off.max() <= 0.5 + 1e-3  # colours are whole numbers
