"""The benchmark of rendered dialogues runs from end to end, and refuses to print figures of films that are not what was asked for."""

import json
from dataclasses import replace

import pytest

from benchmarks.dialogue_video import Options, check, filmed, made_up_talk, main
from mango.inference.rendering import RenderConfig
from mango.types import MOVING, PERSONS

SMALL = Options(seconds=1.0, size=64, gaussians=300, threads=1)
CONFIG = RenderConfig(size=SMALL.size)


def test_it_measures_drawing_and_encoding(tmp_path, capsys):
    assert main(replace(SMALL, out=tmp_path / "out.json", to=tmp_path / "page.md")) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert 0 < found["drawing"] < found["drawing_and_encoding"] and len(found["tries"]) == 3
    assert "| drawing, encoding, sound |" in capsys.readouterr().out and "2 x 64 x 64" in (tmp_path / "page.md").read_text()


def shortened(talk):
    return replace(talk, clips={person: clip.frames(slice(0, len(clip) - 1)) for person, clip in talk.clips.items()})


def delayed(talk):
    rolled = {person: {name: getattr(clip, name).roll(1, 0) for name in MOVING} for person, clip in talk.clips.items()}
    return replace(talk, clips={person: replace(clip, **rolled[person]) for person, clip in talk.clips.items()})


def exchanged(talk):
    return replace(talk, clips=dict(zip(PERSONS, reversed(talk.clips.values()), strict=True)))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (shortened, "24 frames of 25"),
        (delayed, "shows what was drawn for"),
        (exchanged, "shows what was drawn for"),
        (lambda talk: replace(talk, voices=talk.voices.flip(0)), "own channels"),
        (lambda talk: replace(talk, voices=talk.voices[:, :14_400]), "samples of sound for 16000"),
    ],
)
def test_other_films_are_noticed(head, tmp_path, fault, told):
    talk = made_up_talk(head, SMALL)
    filmed(talk, tmp_path / "right.mp4", CONFIG)
    check(tmp_path / "right.mp4", talk, CONFIG)
    filmed(fault(talk), tmp_path / "wrong.mp4", CONFIG)
    with pytest.raises(AssertionError, match=told):
        check(tmp_path / "wrong.mp4", talk, CONFIG)
