"""`mango evaluate --adapter`: worn by the person that it is of, on whichever side they are, and by nobody else.

Faults planted, each seen red: worn by everybody, by the partner, by side a whoever sits there; two adapters exchanged; off for all.
"""

import json

import pytest
import torch
from talking_set import FRAMES, talking, tracked
from tiny_models import tiny_run

from mango.cli import main
from mango.data.dialogues import create_dialogue_set, write_dialogue
from mango.data.truth import TrueSide, write_truth
from mango.evaluation import dialogue_sets
from mango.evaluation.dialogue_sets import UNWORN
from mango.models.adapters import Adapter
from mango.training.adapter_files import save_adapter
from mango.training.stage1 import load_motion_model
from mango.types import Dialogue, Side

DONE = {}  # evaluations of people's adapters: each takes some seconds
SEATS = {"d0": ("anna", "ben"), "d1": ("ben", "anna"), "d2": ("carla", "ben")}  # a and b


@pytest.fixture(scope="module")
def talks(head, tmp_path_factory):
    """Three dialogues; anna sits on either side and is missing in one. Dora is of the set and in none of the test split."""
    root = tmp_path_factory.mktemp("talks") / "set"
    create_dialogue_set(root, head, ["anna", "ben", "carla", "dora"], {"train": ["t"], "test": list(SEATS), "share_people": True})
    for number, (id, people) in enumerate([*SEATS.items(), ("t", ("dora", "anna"))]):
        audio = torch.rand(2, FRAMES * 640, generator=torch.Generator().manual_seed(number)) - 0.5
        truth = {side: talking(head, rate) for side, rate in (("a", 1.0), ("b", 2.0))}
        speaking = torch.zeros(FRAMES)
        sides = {side: Side(people[k], audio[k], speaking, tracked(truth[side])) for k, side in enumerate("ab")}
        write_dialogue(root, Dialogue(id, FRAMES, sides), source="made up", licence="CC0-1.0", created_by="test")
        write_truth(root, id, {side: TrueSide(truth[side], (), speaking) for side in "ab"})
    return root


@pytest.fixture(scope="module")
def adapters(head, run_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    model, _, _ = load_motion_model(run_folder, head=head)
    for seed, person in enumerate(("anna", "ben", "dora")):
        adapter = Adapter(model, person, rank=2)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for weights in adapter.parameters():
                torch.nn.init.normal_(weights, std=0.3)
        save_adapter(folder / f"{person}.safetensors", adapter)
    return folder


@pytest.fixture
def motions(talks, run_folder, adapters, tmp_path, monkeypatch):
    """What every row moves: {row: {"d0.a": clip}}, and the written JSON."""
    real = dialogue_sets.compared

    def run(*people, files=()):
        if (people, *files) in DONE:
            return DONE[people, *files]
        seen = []
        spy = lambda name, id, motion, *more: seen.append((name, motion)) or real(name, id, motion, *more)  # noqa: E731
        monkeypatch.setattr(dialogue_sets, "compared", spy)
        given = [word for file in [*(adapters / f"{person}.safetensors" for person in people), *files] for word in ("--adapter", file)]
        words = ["evaluate", "--data", talks, "--checkpoint", run_folder, "--steps", "1", "--protocol", "dualtalk-corrected"]
        code = main([str(word) for word in [*words, "--json", tmp_path / "out.json", *given]])
        if code:
            return code
        written = json.loads((tmp_path / "out.json").read_text())
        rows, clips = list(written["rows"]), {}
        for number, (name, motion) in enumerate(seen):  # of each dialogue all systems in the order of the rows, two sides each
            clips.setdefault(rows[number // 2 % len(rows)], {})[name] = motion
        DONE[people, *files] = clips, written
        return DONE[people, *files]

    return run


def changed(worn, plain) -> set[str]:
    moving = ("expr", "jaw_pose", "neck_pose", "eyes_pose")
    return {name for name in plain if not all(torch.equal(getattr(worn[name], part), getattr(plain[name], part)) for part in moving)}


def test_an_adapter_is_worn_by_its_person_alone(motions, run_folder):
    rows, written = motions("anna")
    main_row, unworn = str(run_folder), f"{run_folder} {UNWORN}"
    assert changed(rows[main_row], rows[unworn]) == {"d0.a", "d1.b"}
    assert written["main"] == main_row and set(written["facts"]["adapters"]) == {"anna"}
    assert "adapters" not in written["facts"]["rows"][unworn]
    assert written["rows"][main_row]["metrics"]["MSE"]["jaw"] != written["rows"][unworn]["metrics"]["MSE"]["jaw"]
    plain, _ = motions()
    assert changed(rows[unworn], plain[main_row]) == set(), "without adapters it is what it is"


def test_two_people_wear_their_own(motions, run_folder):
    (both, written), (anna, _), (ben, _) = motions("ben", "anna"), motions("anna"), motions("ben")
    row = str(run_folder)
    assert list(written["facts"]["adapters"]) == ["ben", "anna"]
    for id, people in SEATS.items():
        for side, person in zip("ab", people, strict=True):
            alone = anna if person == "anna" else ben
            assert f"{id}.{side}" not in changed(both[row], alone[row]), f"{person} in {id}"


def test_what_cannot_be_worn_is_refused(motions, head, run_folder, adapters, talks, tmp_path, capsys):
    """Somebody of the set who is in no dialogue of the split; twice the same person; another model's; with nothing to wear it."""
    assert motions("dora") == 2
    assert "expected an adapter of anna, ben, carla, found dora's" in capsys.readouterr().err
    assert motions("anna", "anna") == 2
    assert "a second one of anna" in capsys.readouterr().err
    other = tiny_run(tmp_path / "other", head)
    model, _, _ = load_motion_model(other, head=head)
    model.out.bias.data[0] += 1
    save_adapter(tmp_path / "strange.safetensors", Adapter(model, "anna"))
    assert motions(files=[tmp_path / "strange.safetensors"]) == 2
    assert "an adapter of this model" in capsys.readouterr().err
    words = ["evaluate", "--data", talks, "--predictions", tmp_path, "--adapter", adapters / "anna.safetensors"]
    assert main([str(word) for word in words]) == 2
    assert "--adapter: expected a --checkpoint that wears it" in capsys.readouterr().err
