"""The benchmark of decoding runs from end to end, and no figure is printed of pictures that are not those of the films."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.decoding import Options, Reading, _chunks, check, main, make_sets

SMALL = Options(size=32, seconds=0.4, films=2, frames=16)


def test_it_measures_every_way_to_read(tmp_path, capsys):
    assert main(Options(**{**vars(SMALL), "out": tmp_path / "out.json"})) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert sum(name.startswith("colours") for name in found) == 6 and all(found[name] > 0 for name in found)
    assert "goal" not in capsys.readouterr().out  # which is for 256 x 256


def test_other_pictures_in_the_shards_are_noticed(tmp_path):
    """The films of both people exchanged after packing."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    plain, packed = make_sets(tmp_path / "one", SMALL)
    check(plain, packed)
    folder = plain / "dialogues" / "d0"
    shutil.move(folder / "a.mp4", folder / "x.mp4")
    shutil.move(folder / "b.mp4", folder / "a.mp4")
    shutil.move(folder / "x.mp4", folder / "b.mp4")
    with pytest.raises(AssertionError, match="packing changed the set"):
        check(plain, packed)


def test_frames_that_are_not_read_are_not_counted():
    """Seen red: of 15 frames asked for 8 were read and 15 credited."""
    plan = Reading(Path("x"), _chunks(Options(frames=15), 0))
    assert plan.frames == 8 == sum(len(frames) for *_, frames in plan.chunks)
