import pytest
import torch

from mango.audio.alignment import frame_count, framed, sample_count


def test_only_whole_frames_count():
    assert [frame_count(n) for n in (0, 639, 640, 1279, 16_000)] == [0, 0, 1, 1, 25]
    assert frame_count(sample_count(7)) == 7


@pytest.mark.parametrize(("first_centre", "stride"), [(200.0, 320.0), (80.0, 160.0), (512.0, 441.0)])
def test_features_of_any_rate_land_at_the_middle_of_their_frame(first_centre, stride):
    """Rows that say their own time must come out as the time of each frame's middle: notices a shift of half a row."""
    frames = 25
    count = int(sample_count(frames) / stride) + 4
    own_time = (first_centre + stride * torch.arange(count, dtype=torch.float64))[:, None]
    rows = framed(own_time, first_centre=first_centre, stride=stride, frames=frames)
    middle = (torch.arange(frames, dtype=torch.float64) + 0.5)[:, None] * 640
    torch.testing.assert_close(rows[2:], middle[2:])  # before the first row's centre the first row is held


def test_both_rows_of_a_frame_count_at_fifty_a_second():
    rows = torch.zeros(20, 1)
    rows[6] = 1.0  # either row alone must reach its frame
    first = framed(rows, first_centre=160, stride=320, frames=10)
    assert first[3, 0] == 0.5
    assert first.sum() == 0.5
