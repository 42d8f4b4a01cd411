"""The amplitude that a tracker lost is found again where drawings fit best.

Faults planted, each seen red: the gain divided by, the parabola over the gain instead of its logarithm, a killed trial made twice.
"""

import math
from dataclasses import replace

import pytest
import torch
from tiny_dialogues import FRAMES, SPLITS, make_tiny_set
from tiny_films import tiny_stage2

from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.data.json_files import read_json, write_json
from mango.data.video import write_video
from mango.errors import InputError
from mango.training import calibration
from mango.training.avatars import save_avatars
from mango.training.label_bank import LabelBank
from mango.training.optim import OptimizerConfig
from mango.training.run import Run
from mango.training.runtime import Runtime
from mango.training.stage2_config import CalibrationConfig
from mango.training.studio import open_studio
from mango.types import Dialogue, PersonTrack
from renderer import draw
from renderer.cameras import portrait_camera
from renderer.head import AvatarConfig, new_avatar

SIZE, LOST = 64, 1.5  # pixels; how much more the mouths of the film move than their labels say


def sitter(head, person: str, shape):
    """Skin with a pattern, and a mouth that is dark inside."""
    config = AvatarConfig(num_gaussians=3000)
    avatar = new_avatar(head.template, head.faces, torch.ones(len(head.faces)), config, identity=shape, head=head.digest,
                        person=person, seed=0)  # fmt: skip
    places = (head.template[avatar.triangles] * avatar.barycentrics[..., None]).sum(1)
    inside = torch.isin(avatar.triangles, head.region("mouth_cavity")).any(-1)
    with torch.no_grad():
        skin = 0.6 + 0.2 * torch.sin(110 * places[:, :1]) * torch.sin(90 * places[:, 1:2])
        avatar.albedo.copy_(torch.where(inside[:, None], 0.05, skin).expand(-1, 3))
        avatar.opacity_logits.fill_(3.0)
    return avatar.requires_grad_(False)


@pytest.fixture(scope="module")
def scene(tmp_path_factory, head):
    """A folder, a film of mouths that move ``LOST`` times as much as their labels, and the very avatars that it was drawn with."""
    folder = tmp_path_factory.mktemp("calibration")
    silent, camera = DialogueSet.open(make_tiny_set(folder / "silent", head)), portrait_camera(SIZE)
    belongs = faces(head)
    avatars = {}
    create_dialogue_set(folder / "film", head, ["p0", "p1"], SPLITS)
    for id, frames in FRAMES.items():
        sides = {}
        for name, side in silent.dialogue(id).sides.items():
            avatar = avatars.setdefault(side.person, sitter(head, side.person, side.motion.shape))
            flat = head.layout.pack(side.motion)
            quiet = side.speaking < 0.5
            rest = flat[quiet if quiet.sum() >= 10 else slice(None)].median(0).values
            moved = torch.where(belongs, rest + LOST * (flat - rest), flat)
            parts = {part: values[None] for part, values in head.layout.unpack(moved).items()}
            vertices = head.with_shape(side.motion.shape[None]).vertices(**parts)[0]
            colors = [draw(avatar(frame[None]), camera, torch.full((3,), 0.5)).colors[0] for frame in vertices]
            video, mask = (folder / f"{id}.{name}.{kind}.mp4" for kind in ("colours", "matte"))
            write_video(video, iter([(255 * color.clamp(0, 1)).round().to(torch.uint8) for color in colors]))
            write_video(mask, iter([torch.full((SIZE, SIZE, 3), 255, dtype=torch.uint8)] * frames))
            seen = head.landmarks(vertices) @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
            pixels = seen @ camera.intrinsics.T
            track = PersonTrack(side.track.keep, camera.camera_from_world[None], camera.intrinsics, pixels[..., :2] / pixels[..., 2:],
                                side.track.confidence)  # fmt: skip
            sides[name] = replace(side, track=track, video=video, mask_video=mask)
        dialogue = Dialogue(id, frames, sides)
        write_dialogue(folder / "film", dialogue, source="test", licence="CC0", created_by="tests", move_videos=True)
    save_avatars(folder / "avatars", avatars)
    return folder


def faces(head):
    """Channels that a gain changes."""
    belongs = torch.zeros(head.layout.width, dtype=torch.bool)
    belongs[head.layout.where("expr")] = belongs[head.layout.where("jaw_pose")] = True
    return belongs


def config_of(scene, head, **changes):
    still = OptimizerConfig(lr=1e-9, warmup=0, weight_decay=0.0, clip=1e9, ema=0.0)  # the avatars are what was filmed already
    return tiny_stage2(
        scene,
        scene / "film",
        head,
        windows=3,
        pictures=6,
        avatars=scene / "avatars",
        head_optimizer=still,
        camera_optimizer=still,
        calibration=CalibrationConfig(steps=1, lessons=4),
        avatar=AvatarConfig(num_gaussians=3000),
        **changes,
    )


def test_the_lost_amplitude_is_found(scene, head, tmp_path):
    config = config_of(scene, head, run=tmp_path / "run", bank=replace(tiny_stage2(scene, scene / "film", head).bank, rest="tracked"))
    studio, learners = open_studio(config, Runtime(config.runtime))
    labels = dict(learners.bank.labels)
    with Run(config.run, config) as run:
        calibration.begin(run, studio, learners)
    gain, belongs = read_json(config.run / calibration.FILE)["gain"], faces(head)
    assert gain == pytest.approx(LOST, rel=0.1)
    for key, before in labels.items():
        after = learners.bank.bank[key]
        torch.testing.assert_close(after.std(0)[belongs], gain * before.std(0)[belongs], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(after[:, ~belongs], before[:, ~belongs])


def test_a_trial_is_judged_by_the_mean_over_its_lessons(scene, head, tmp_path):
    """Noticed: the last lesson's error over all lessons' frames."""
    errors = []
    for lessons in (1, 4):
        config = config_of(scene, head, run=tmp_path / str(lessons))
        studio, learners = open_studio(replace(config, calibration=CalibrationConfig(steps=1, lessons=lessons)), Runtime(config.runtime))
        with Run(config.run, config) as run:
            errors.append(calibration.drawing_error(run, studio, learners, 1.0))
    assert errors[1] == pytest.approx(errors[0], rel=0.4)


def test_finished_trials_are_not_made_again_and_a_gain_is_taken_over(scene, head, tmp_path, monkeypatch):
    config = config_of(scene, head, run=tmp_path / "run")
    studio, learners = open_studio(config, Runtime(config.runtime))
    write_json(config.run / calibration.FILE, {"errors": {"1.0": 3.0}, "gain": None})
    tried = []

    def error(run, studio, learners, gain):
        tried.append(gain)
        return 2.0 + (gain - 1.4) ** 2

    monkeypatch.setattr(calibration, "drawing_error", error)
    with Run(config.run, config) as run:
        gain = calibration.measured_gain(run, studio, learners)
    assert tried == [1.4, 2.0] and calibration.known_gain(config.run) == gain
    with pytest.raises(InputError, match="calibration"):
        calibration.known_gain(tmp_path)


def test_the_lowest_point():
    curve = {gain: 5 + (math.log(gain) - math.log(1.5)) ** 2 for gain in (1.0, 1.4, 2.0)}
    assert calibration.lowest(curve) == pytest.approx(1.5)
    assert calibration.lowest({1.0: 1.0, 1.4: 2.0, 2.0: 1.5}) == 1.0, "bent downwards: the best of those tried"
    assert calibration.lowest({1.0: 3.0, 1.4: 2.0, 2.0: 1.2}) == 2.0, "not beyond what was tried"
    assert calibration.lowest({}) == 1.0


def test_movements_grow_about_rest():
    """Noticed: growth about zero, about the mean of speech, of channels that shall stay."""
    motion = torch.tensor([[1.0, 1.0]] * 12 + [[3.0, 3.0]] * 4)
    silent = torch.arange(16) < 12
    bank = LabelBank({("d", "a"): motion}, {("d", "a"): silent}, slice(0, 0), {("d", "a"): torch.zeros(16, 3)})
    grown = bank.amplified(torch.tensor([2.0, 1.0]))
    assert grown.bank["d", "a"][0].tolist() == [1, 1] and grown.bank["d", "a"][-1].tolist() == [5, 3]
    assert torch.equal(grown.labels["d", "a"], grown.bank["d", "a"]) and torch.equal(bank.bank["d", "a"], motion)
