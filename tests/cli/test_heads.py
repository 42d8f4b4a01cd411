"""`mango head convert` and `mango head inspect`."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mango.cli import main
from mango.head.assets import read_head

sys.path.insert(0, str(Path(__file__).parents[1] / "head"))  # tiny_flame, flame_parts


def run(*words) -> int:
    return main(["head", *(str(word) for word in words)])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_inspect_and_sheet(tmp_path, capsys):
    """Four pictures that differ. Seen red with the smile's weights left at zero."""
    assert run("inspect", "builtin", "--sheet", tmp_path / "sheet.png") == 0
    said = capsys.readouterr().out
    for words in (
        "a head with ARKit's expressions",
        "4,874 vertices",
        "64 identities",
        "41 expressions by ARKit name",
        "jaw (0, -23, -26)",
    ):
        assert words in said
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    pictures = [part[40:].astype(int) for part in np.split(sheet, 4, axis=1)]
    for k in (1, 2, 3):
        assert (np.abs(pictures[k] - pictures[0]) > 20).mean() > 0.003, k


def test_a_flame_file_of_unknown_generation_is_asked_for(tmp_path, capsys):
    from tiny_flame import tiny_flame

    np.savez(tmp_path / "flame2020.npz", **tiny_flame())
    assert run("inspect", tmp_path / "flame2020.npz") == 0
    said = capsys.readouterr().out
    assert "FLAME of unknown generation (state it with" in said and "regions none" in said
    assert run("convert", tmp_path / "flame2020.npz", tmp_path / "out.npz", "--format", "flame", "--generation", "2020") == 2
    assert "that the built-in head can be laid over" in capsys.readouterr().err


def test_a_flame_file_becomes_one_that_knows_what_it_is(tmp_path, samples, capsys):
    """On real geometry, with made-up expressions."""
    from flame_parts import flame_parts

    parts = flame_parts(samples)
    draw = np.random.default_rng(0)
    parts["shapedirs"] = draw.normal(0, 1e-4, (5023, 3, 302))
    np.savez(tmp_path / "flame.npz", **parts)
    assert run("convert", tmp_path / "flame.npz", tmp_path / "out.npz", "--format", "flame") == 2
    assert "to know which FLAME this is" in capsys.readouterr().err and not (tmp_path / "out.npz").exists()
    assert run("convert", tmp_path / "flame.npz", tmp_path / "out.npz", "--format", "flame", "--generation", "2023") == 0
    assert "FLAME 2023, digest" in capsys.readouterr().out
    head = read_head(tmp_path / "out.npz")
    assert head.generation == "2023" and len(head.regions["lips"]) > 100 and len(head.landmark_faces) == 68
    assert run("convert", tmp_path / "flame.npz", tmp_path / "out.npz", "--format", "flame", "--generation", "2023") == 2
    assert "--overwrite" in capsys.readouterr().err


def test_sources_that_are_nothing(tmp_path, capsys):
    (tmp_path / "x").mkdir()
    assert run("convert", tmp_path / "x", tmp_path / "out.npz", "--format", "ict") == 2
    assert "generic_neutral_mesh.obj" in capsys.readouterr().err
    assert run("convert", tmp_path / "x", tmp_path / "out.obj", "--format", "ict") == 2
    assert "ends in .npz" in capsys.readouterr().err
    assert run("inspect", tmp_path / "none.npz") == 2
    assert "no such file" in capsys.readouterr().err
