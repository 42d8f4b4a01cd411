"""What the benchmarks of new people compute besides training: which camera the end of a film has, and the pages' arithmetic."""

import math

import pytest
import torch

from benchmarks import adapters, new_avatars
from benchmarks.new_avatars import BEGINNINGS, END, camera_until_the_end, from_aside
from mango.data.dialogues import DialogueSet
from mango.data.json_files import write_json
from mango.data.pictures import Pictures
from mango.data.synthetic.people import TruePerson
from mango.data.synthetic.synthesize import SynthesisConfig, synthesize
from mango.data.truth import Truth
from mango.errors import InputError
from mango.evaluation.picture_metrics import psnr
from mango.head.model import load_head
from mango.training.camera_refinement import CameraRefinement
from renderer import Camera, draw


def test_the_end_of_a_film_is_seen_by_the_films_camera():
    """Planted and seen red: cameras of the two sides exchanged, the end's camera unrefined."""
    learnt = CameraRefinement(["x/a", "x/b"])
    with torch.no_grad():
        learnt.twists["x/a"].fill_(0.01)
        learnt.twists["x/b"].fill_(0.02)
    still = torch.eye(4).expand(2, 4, 4)
    torch.testing.assert_close(camera_until_the_end(learnt)([f"x{END}/a", f"x{END}/b"], still), learnt(["x/a", "x/b"], still))


def test_a_camera_goes_aside_of_what_it_filmed(tmp_path):
    """Planted and seen red: frames of the beginning, cameras that go the other way than their pictures, no turn, the filmed matte."""
    options = new_avatars.Options(out=tmp_path, size=64, strangers=1, film=(1.0,), work=(1.0,))
    films = DialogueSet.open(new_avatars.films_of_strangers(options, 1.0))
    grey, head = torch.full((3,), 0.5), load_head()
    (id,) = films.split("val")
    filmed = Pictures(films, [(id, "a")], grey).read([(id, "a", frame) for frame in (0, 90)])
    stayed, went = (from_aside(options, filmed, grey, degrees) for degrees in (0.0, 15.0))
    near = psnr(stayed.colors, filmed.colors)
    assert near.min() > 35, "the same person in the same frames, but for noise and compression; and no wall"
    assert (psnr(went.colors, filmed.colors) < near - 5).all()
    torch.testing.assert_close(
        went.camera_from_world[:, :3, :3].mT @ stayed.camera_from_world[:, :3, :3], turn_about_y(-15.0).expand(2, 3, 3)
    )
    truth = Truth.open(tmp_path / "strangers")
    person = TruePerson.load(truth.person_folder(filmed.persons[0].removeprefix("stranger-")) / "person.safetensors")
    motion = truth.motion(id.removesuffix(END), "a").frames(slice(25, 26))
    seen = draw(person.gaussians(person.vertices(head, motion)), Camera(went.camera_from_world[:1], went.intrinsics[:1], 64, 64))
    believed = seen.colors + (1 - seen.alphas) * grey
    assert psnr(believed, went.colors[:1]) > 25, "the tracker's camera, a little wrong, sees the same from there"
    assert (went.mattes[0] - seen.alphas[0]).abs().mean() < 0.02 < (filmed.mattes[0] - seen.alphas[0]).abs().mean()


def turn_about_y(degrees: float) -> torch.Tensor:
    turn = math.radians(degrees)
    return torch.tensor([[math.cos(turn), 0.0, math.sin(turn)], [0.0, 1.0, 0.0], [-math.sin(turn), 0.0, math.cos(turn)]])


def test_rows_of_another_measure_are_not_mixed_in(tmp_path, monkeypatch):
    """Planted and seen red: rows of before the pictures from aside were taken for today's, and the page found no such number."""
    before = {"known": 40, "size": 256, "gaussians": 10_000, "pictures": 450, "seed": 1}
    write_json(tmp_path / "results.json", {"options": before, "rows": []})
    monkeypatch.setattr(new_avatars, "known_people", None)
    with pytest.raises(InputError, match=r"results for .*aside.*choose another --out"):
        new_avatars.main(new_avatars.Options(out=tmp_path))


def test_the_page_of_avatars_is_of_means_over_people():
    """Planted and seen red: the difference reversed, all works averaged, holes of every row told as those after the most work."""
    options = new_avatars.Options(film=(1.0,), work=(5.0, 9.0))
    rows = [
        {
            "film": 1.0,
            "work": work,
            "begun": begun,
            "steps": 10,
            "psnr": psnr + (work == 9.0),
            "psnr_aside": psnr - 5,
            "by": f"commit of {work:g}",
        }
        | ({"torn": 0.01, "least_alpha": 0.9} if work == 5.0 else {"torn": 0.0, "least_alpha": 0.97})
        for work in options.work
        for begun, psnrs in zip(BEGINNINGS, ((30.0, 32.0), (25.0, 29.0)), strict=True)
        for psnr in psnrs
    ]
    text = new_avatars.page(options, rows)
    assert "--film 1 --work 5 9`, commit of 5; commit of 9, one" in text, "the command that makes the page again, and what made it"
    assert "| 1 | 5 | 10 | 31.0 | 27.0 | +4.0 | 26.0 | 22.0 |" in text and "| 1 | 9 | 10 | 32.0 | 28.0 | +4.0 | 26.0 | 22.0 |" in text
    most, _, every = text.partition("after the most work on the most film")[2].partition("worst row")
    assert "0.000 % of the face's pixels have an alpha below 0.95 (the least is 0.970)" in most
    assert "1.000 % of the face's pixels have an alpha below 0.95 (the least is 0.900)" in every


def test_the_page_of_adapters_counts_who_gained(tmp_path):
    """Planted and seen red: who lost is counted, frames of others not added up."""

    def row(error: float) -> dict[str, float]:
        return dict.fromkeys(adapters.SHOWN, error)

    scores = {
        "p00": {
            "rows": {"general": row(3.0), "adapter": row(2.0)},
            "others_changed": 0,
            "by": "commit one",
            "more": [-1.2, -1.1, -1.0, -0.9, -0.8],
        },
        "p01": {"rows": {"general": row(3.0), "adapter": row(4.0)}, "others_changed": 2, "by": "commit two", "more": [1.0]},
        "p02": {"rows": {"general": row(3.0), "adapter": row(1.5)}, "others_changed": 1, "by": "commit one", "more": [-2.0, -1.0]},
    }
    text = adapters.page(adapters.Options(tmp_path, tmp_path, ("p00", "p01", "p02")), scores)
    assert "better for 2 of 3; it changed 3 frames" in text
    assert f"--general {tmp_path} --strangers {tmp_path} --people p00 p01 p02`, commit one; commit two." in text, "who made the numbers"
    assert "| mean | in the person's adapter | 2.50 |" in text
    assert "- p00: -1.00 (-1.20 to -0.80), 5 dialogues" in text, "Student's t: 2.776 x 0.158 / sqrt(5)"
    assert "- p01: +1.00 (too few for an interval), 1 dialogues" in text


def test_more_talk_goes_on_where_the_set_ended(tmp_path):
    """The same people and dialogues, further ones, no films. Planted and seen red: other people, conversations begun anew."""
    made = SynthesisConfig(people=2, train=1, val=0, test=1, seconds=(2.0, 2.0), seed=3, num_gaussians=200, video=False, workers=1)
    strangers = synthesize(tmp_path / "set", made, progress=False)
    talk = adapters.more_talk(strangers, 1, tmp_path / "talk")
    assert talk.split("test") == ("test000", "test001") and set(talk.people) == set(strangers.people)
    assert talk.dialogue("test001").side("a").video is None
    for id in strangers.split("test"):
        assert torch.equal(talk.dialogue(id).side("a").audio, strangers.dialogue(id).side("a").audio)
    learnt, _, further = (talk.dialogue(id).side("a").audio for id in ("train000", "test000", "test001"))
    assert not torch.equal(learnt, further)


def test_both_beginnings_have_the_same_number_of_steps(tmp_path, monkeypatch):
    """Seen red: stopped between the two, a step's time was measured again, and the second had another number of steps."""
    monkeypatch.setattr(new_avatars, "known_people", lambda options: tmp_path)
    monkeypatch.setattr(new_avatars, "films_of_strangers", lambda options, film: tmp_path)
    took = iter((1.0, 3.0, 1.0))
    monkeypatch.setattr(new_avatars, "seconds_of_a_step", lambda *_: next(took))
    learnt, asked = [], new_avatars.Options(strangers=1, film=(1.0,), work=(30.0,), out=tmp_path)

    def learn(options, data, known, person, beginning, steps):
        if learnt and beginning == "scratch" and len(learnt) == 1:
            learnt.append(None)
            raise KeyboardInterrupt
        learnt.append(steps)
        return {"steps": steps, "seconds": 1.0, "psnr": 1.0, "psnr_aside": 1.0, "pixels": 1, "torn": 0, "least": 1.0}

    monkeypatch.setattr(new_avatars, "learnt", learn)
    monkeypatch.setattr(new_avatars, "page", lambda options, rows: str([row["steps"] for row in rows]))
    with pytest.raises(KeyboardInterrupt):
        new_avatars.main(asked)
    assert new_avatars.main(asked) == 0 and learnt == [30, None, 30]
