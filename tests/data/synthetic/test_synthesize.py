"""Whole sets: valid, resumable, the same twice, and nothing true outside ROOT.truth."""

import hashlib
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mango.data.dialogues import DialogueSet
from mango.data.synthetic.pictures import Shooting
from mango.data.synthetic.synthesize import SynthesisConfig, motion_in, plans, synthesize, talk
from mango.data.truth import Truth
from mango.data.validation import problems
from mango.errors import InputError
from mango.head.model import load_head

TINY = SynthesisConfig(people=2, train=1, val=0, test=1, seconds=(2.0, 2.4), num_gaussians=1500, shooting=Shooting(size_px=32), workers=1)


def digests(root: Path) -> dict[str, str]:
    folders = (root, root.with_name(root.name + ".truth"))
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in (".npz", ".wav", ".json", ".npy", ".mp4")]
    return {str(path.relative_to(root.parent)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sets") / "tiny"
    synthesize(root, TINY, progress=False)
    return root


def test_the_set_is_valid(root):
    assert problems(root) == []
    made = DialogueSet.open(root)
    assert made.splits == {"train": ("train000",), "val": (), "test": ("test000",)} and made.share_people
    side = made.dialogue("train000").side("a")
    assert side.motion is not None and side.video is not None and side.mask_video is not None
    assert side.track.landmarks.shape == (len(side.motion), 68, 2)
    assert 0 < side.track.landmarks.mean() < 32


def test_the_truth_is_beside_the_set_and_differs_from_the_labels(root):
    truth, seen = Truth.open(root), DialogueSet.open(root).dialogue("train000").side("a")
    motion = truth.motion("train000", "a")
    assert len(motion) == len(seen.motion) == len(truth.speaking("train000", "a"))
    assert (motion.jaw_pose - seen.motion.jaw_pose).abs().max() > 1e-3
    camera = truth.camera("train000", "a")
    assert (camera.intrinsics - seen.track.intrinsics).abs().max() > 0
    assert (truth.person_folder(seen.person) / "person.safetensors").is_file()
    assert truth.phones("train000", "a")[-1].end == pytest.approx(len(motion) / 25)
    named = {path.name for path in root.rglob("*")}
    assert not {name for name in named if "phones" in name or "camera" in name or "person" in name or name.startswith(".")}


def test_what_somebody_would_have_done_had_the_other_said_nothing(root):
    """Notices a partner who is still heard, and one whose silence changes what the person says: speaking jaws move by the own phones."""
    head, longer = load_head(), replace(TINY, seconds=(12.0, 12.0))
    plan = plans(TINY)[0]
    stored, again = Truth.open(root).motion(plan.id, "b"), motion_in(root, TINY, plan, head, talk(TINY, plan), "b")
    assert torch.equal(stored.expr, again.expr) and torch.equal(stored.neck_pose, again.neck_pose)
    said = talk(longer, plan)
    heard, unheard = (motion_in(root, longer, plan, head, said, "b", partner=partner) for partner in (None, said.speech["a"].muted()))
    assert len(heard) == len(unheard) == 300
    own = said.speech["b"].speaking > 0.5
    jaw = heard.jaw_pose[own]
    assert (jaw - unheard.jaw_pose[own]).norm() < 0.1 * (jaw - jaw.mean(0)).norm() and not torch.equal(heard.neck_pose, unheard.neck_pose)


def test_an_interrupted_set_is_completed_with_the_same_bytes(root, tmp_path):
    """A dialogue lost, another whose folder was never finished, leftovers of a killed run: the rest is made, nothing else touched."""
    copy = tmp_path / "tiny"
    for folder in (root, root.with_name("tiny.truth")):
        shutil.copytree(folder, tmp_path / folder.name)
    kept = (copy / "dialogues" / "train000" / "a.wav").stat().st_mtime_ns
    shutil.rmtree(copy / "dialogues" / "test000")
    (copy / ".pictures-dead").mkdir()
    synthesize(copy, TINY, progress=False)
    assert (copy / "dialogues" / "train000" / "a.wav").stat().st_mtime_ns == kept
    assert digests(copy) == digests(root)
    assert not list(copy.glob(".*"))


def test_phones_are_in_the_set_only_if_asked_for_and_change_nothing_else(root, tmp_path):
    """Planted and seen red: phones among what decides a set's files though nobody asked for them (sets of before could not be resumed)."""
    without, asked = replace(TINY, video=False), replace(TINY, video=False, phones=True)
    assert "phones" not in without.content and asked.content == {**without.content, "phones": True}
    synthesize(tmp_path / "tiny", asked, progress=False)
    made, truth = DialogueSet.open(tmp_path / "tiny"), Truth.open(tmp_path / "tiny")
    said = {(id, side): made.dialogue(id).side(side).phones for id in made.ids for side in "ab"}
    assert said == {clip: truth.phones(*clip) for clip in said}
    assert any(phone.symbol != "sil" for phones in said.values() for phone in phones)
    assert problems(tmp_path / "tiny") == []
    now, before = digests(tmp_path / "tiny"), digests(root)
    added = {f"tiny/dialogues/{id}/{side}.phones.json" for id in ("train000", "test000") for side in "ab"}
    assert {name for name in now if before.get(name) != now[name]} == {*added, "tiny.truth/synthesis.json"}


def test_another_configuration_in_the_same_folder_is_refused(root):
    with pytest.raises(InputError, match="seconds"):
        synthesize(root, replace(TINY, seconds=(3.0, 3.0)), progress=False)


def test_more_workers_are_the_same_configuration(root):
    synthesize(root, replace(TINY, workers=2), progress=False)  # nothing is missing: nothing is made, nothing refused


def test_every_person_occurs_on_both_sides_and_with_several_partners():
    made = plans(SynthesisConfig())
    sides = Counter((side, person) for plan in made for side, person in plan.people.items())
    assert min(sides[side, person] for side in "ab" for person in range(6)) >= 3
    partners = {frozenset(plan.people.values()) for plan in made}
    assert all(len(pair) == 2 for pair in partners) and len(partners) >= 12
    train = {person for plan in made if plan.id.startswith("train") for person in plan.people.values()}
    assert train == set(range(6))


def test_one_person_is_not_a_dialogue():
    with pytest.raises(InputError, match="at least 2"):
        SynthesisConfig(people=1)


def test_labels_stay_near_the_truth_in_the_picture(root):
    """The tracker's landmarks lie where the face is: within a few pixels of the true ones."""
    from mango.data.landmarks import landmarks_in_picture
    from mango.head.model import load_head

    truth, seen = Truth.open(root), DialogueSet.open(root).dialogue("train000").side("a")
    camera = truth.camera("train000", "a")
    true = landmarks_in_picture(load_head(), truth.motion("train000", "a"), camera.camera_from_world, camera.intrinsics)
    assert (true - seen.track.landmarks).norm(dim=-1).mean() < 2.0
    assert torch.isfinite(seen.track.landmarks).all()
