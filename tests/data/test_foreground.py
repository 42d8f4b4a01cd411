"""The wall's colour goes out of the rim of a person.

Faults planted, each seen red: the wall left in, one wall for the whole picture, rows and columns exchanged, cells counted from the
picture's first rows, more of the person than the matte says, the person's own colour taken for wall.
"""

import pytest
import torch

from mango.data.foreground import over_background

GREY = torch.tensor([0.5, 0.4, 0.6])


def filmed(rows: int, cols: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A round, soft-edged person of some pattern, before a wall that is red above, blue below, and green to the right."""
    row, col = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, cols), indexing="ij")
    person = torch.stack([0.5 + 0.3 * torch.sin(7 * row), 0.5 + 0.3 * torch.cos(9 * col), 0.3 + 0 * row], -1)[None]
    wall = torch.stack([0.9 - 0.4 * (row + 1), 0.45 * (col + 1), 0.1 + 0.4 * (row + 1)], -1)[None]
    matte = ((0.6 - (row**2 + col**2).sqrt()) / 0.1 + 0.5).clamp(0, 1)[None, ..., None]
    return person, wall, matte


@pytest.mark.parametrize("size", [(128, 128), (90, 150), (24, 24)])
def test_the_rim_holds_no_wall(size):
    person, wall, matte = filmed(*size)
    shown = over_background(torch.lerp(wall, person, matte), matte, GREY)
    true = torch.lerp(GREY.expand_as(person), person, matte)
    inside, outside, rim = matte == 1, matte == 0, (matte > 0.1) & (matte < 0.9)
    torch.testing.assert_close(shown[inside.expand_as(shown)], person[inside.expand_as(shown)])
    assert torch.equal(shown[outside.expand_as(shown)], GREY.expand_as(shown)[outside.expand_as(shown)])
    seam = torch.lerp(GREY.expand_as(person), torch.lerp(wall, person, matte), matte)
    left, before = ((picture - true).abs()[rim.expand_as(true)].mean() for picture in (shown, seam))
    assert left < 0.3 * before and left < 0.015


def test_a_person_without_wall_in_sight_stays_as_they_are():
    """A matte that is half sure everywhere, a face that fills the picture: no wall is known, none must be made up."""
    picture = torch.full((1, 64, 64, 3), 0.7)
    for matte in (0.5, 0.95, 1.0):
        shown = over_background(picture, torch.full((1, 64, 64, 1), matte), GREY)
        torch.testing.assert_close(shown, torch.lerp(GREY.expand_as(picture), picture, matte))


def test_no_more_of_a_person_than_their_matte():
    """Where the wall is darker than thought, or the matte wrong, what is left is at most a white person, at least a black one."""
    person, wall, matte = filmed(64, 64)
    for noise in (-1.0, 1.0):
        picture = (
            torch.lerp(wall, person, matte) + noise * (torch.rand(person.shape, generator=torch.Generator().manual_seed(1)) > 0.9)
        ).clamp(0, 1)
        shown = over_background(picture, matte, GREY)
        assert (shown >= (1 - matte) * GREY - 1e-6).all() and (shown <= (1 - matte) * GREY + matte + 1e-6).all()


def test_pictures_are_apart():
    few = [filmed(64, 64) for _ in range(2)]
    pictures = torch.cat([torch.lerp(wall.flip(1) if turned else wall, person, matte) for turned, (person, wall, matte) in enumerate(few)])
    mattes = torch.cat([matte for _, _, matte in few])
    together = over_background(pictures, mattes, GREY)
    assert torch.equal(together, torch.cat([over_background(pictures[i : i + 1], mattes[i : i + 1], GREY) for i in (0, 1)]))
