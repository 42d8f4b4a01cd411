"""Phones on disk and on frames. Faults planted, each seen red: every frame that a bilabial touches counted, a bilabial shorter than a
frame lost or put into the frame after, the digit of a stressed vowel kept in its symbol."""

import json

import pytest

from mango.data.phones import closing_frames, read_phones, write_phones
from mango.errors import InputError
from mango.types import Phone


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        (0.08, 0.16, [2, 3]),  # two frames, exactly
        (0.07, 0.17, [2, 3]),  # half of a frame more is not enough to either side
        (0.05, 0.19, [1, 2, 3, 4]),
        (0.081, 0.089, [2]),  # shorter than a frame
        (0.101, 0.119, [2]),  # between the middles of two frames
        (0.0, 0.01, [0]),
        (0.38, 9.0, [9]),
        (9.0, 9.1, []),
    ],
)
def test_lips_close_in_frames_whose_middle_is_spoken(start, end, frames):
    assert closing_frames([Phone("AA", 0.0, 0.4), Phone("M", start, end)], 10).nonzero()[:, 0].tolist() == frames


def test_only_bilabials_close_lips():
    phones = [Phone(symbol, 0.08 * k, 0.08 * k + 0.04) for k, symbol in enumerate(("P", "F", "B", "sil", "M", "W"))]
    assert closing_frames(phones, 12).nonzero()[:, 0].tolist() == [0, 4, 8]
    assert not closing_frames([], 3).any()


def test_an_aligners_digits_are_stress(tmp_path):
    rows = [("HH", 0.0, 0.1), ("AH0", 0.1, 0.2), ("L", 0.2, 0.3), ("OW1", 0.3, 0.5), ("IY2", 0.5, 0.6)]
    path = tmp_path / "a.phones.json"
    path.write_text(json.dumps([{"symbol": s, "start": a, "end": b} for s, a, b in rows]))
    read = read_phones(path, 15)
    assert [(p.symbol, p.stress) for p in read] == [("HH", 0.0), ("AH", 0.0), ("L", 0.0), ("OW", 1.0), ("IY", 0.5)]
    write_phones(path, read, 15)
    assert read_phones(path, 15) == read
    path.write_text(json.dumps([{"symbol": "T1", "start": 0.0, "end": 0.1}]))
    with pytest.raises(InputError, match=r"symbols of ARPAbet.*T1"):
        read_phones(path)


def test_what_is_wrong_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"within the dialogue's 5 frames \(0.20 s\)"):
        write_phones(tmp_path / "a.phones.json", [Phone("M", 0.1, 0.5)], 5)
    assert not list(tmp_path.iterdir())
