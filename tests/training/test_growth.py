"""More Gaussians while an avatar learns.

Faults planted, each seen red: observations lost with a checkpoint, an avatar read back with as many Gaussians as it began with, a process
that sees its own pictures alone, calibration's trials that grow, pictures of the motion's steps watched, modes added to an avatar that
has other Gaussians than they.
"""

import signal
from dataclasses import replace

import pytest
import torch
from both_stages import press_ctrl_c
from safetensors.torch import load_file
from tiny_films import make_filmed_set, tiny_stage2

import train_stage2
from mango.errors import InputError
from mango.training.avatars import save_avatars
from mango.training.calibration import drawing_error
from mango.training.growth import Growth
from mango.training.run import INTERRUPTED, Run
from mango.training.runtime import Runtime
from mango.training.stage2 import teach_head, teach_motion
from mango.training.studio import open_studio
from renderer.density import DensityConfig, DensityControl
from renderer.head import HeadAvatar
from renderer.types import Rendering

SOON = DensityConfig(start=1, every=2, reset_every=0, grow_gradient=0.0, split_scale=0.001, most=230)  # from 200; at even steps


@pytest.fixture(scope="module")
def films(tmp_path_factory, head):
    return make_filmed_set(tmp_path_factory.mktemp("growth"), head)


def config_of(films, head, folder, **changes):
    return tiny_stage2(folder, films, head, **{"people": ("p0",), "density": SOON, "steps": 8, **changes})


def opened(config):
    return open_studio(config, Runtime(config.runtime))


def test_a_run_that_was_stopped_grows_as_one_that_was_not(films, head, tmp_path, monkeypatch):
    """Stopped after the third of its steps: the avatar has learnt in two, grown after the second of them and been watched in one more.

    Planted: avatars written after their checkpoint. A run that is killed in between is finished, and has none or old ones for ever.
    """
    whole, stopped = (config_of(films, head, tmp_path, run=tmp_path / name, steps=10) for name in ("whole", "stopped"))
    written = Run.save

    def save(run, *given, **named):
        assert (run.folder / "avatars" / "p0.safetensors").exists()
        written(run, *given, **named)

    monkeypatch.setattr(Run, "save", save)
    assert train_stage2.main(whole) == 0
    monkeypatch.setattr(Run, "due", Run.due)
    press_ctrl_c("stopped")
    handler = signal.getsignal(signal.SIGINT)
    assert train_stage2.main(stopped) == INTERRUPTED
    before = HeadAvatar.load(stopped.run / "avatars" / "p0.safetensors")
    assert train_stage2.main(stopped) == 0 and signal.getsignal(signal.SIGINT) is handler
    one, other = (load_file(config.run / "avatars" / "p0.safetensors") for config in (whole, stopped))
    assert 200 < len(before.offsets) <= len(one["offsets"]) <= SOON.most
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_only_one_persons_avatar_grows(films, head, tmp_path):
    with pytest.raises(InputError, match="density: expected one person's avatar to grow, found 2"):
        opened(config_of(films, head, tmp_path, people=()))


def test_an_avatar_of_many_gaussians_has_room_to_grow(films, head, tmp_path):
    """Begun from a model of finer avatars than fine-tuning allows, it could only lose Gaussians."""
    for most, allowed in ((230, 230), (200, 240), (100, 240)):
        _, learners = opened(config_of(films, head, tmp_path, density=replace(SOON, most=most)))
        assert learners.growth.control.config.most == allowed


def test_trials_and_the_motions_pictures_change_nothing(films, head, tmp_path):
    config = config_of(films, head, tmp_path)
    studio, learners = opened(config)
    teach_head(studio, learners, studio.lessons.at(1), 1)
    watched = {name: value.clone() for name, value in learners.growth.control.state_dict().items()}
    with Run(config.run, config) as run:
        drawing_error(
            run, replace(studio, config=replace(config, calibration=replace(config.calibration, steps=4, lessons=1))), learners, 1.5
        )
    teach_motion(studio, learners, studio.lessons.at(2), 2)
    after = learners.growth.control.state_dict()
    assert watched and all(torch.equal(value, after[name]) for name, value in watched.items()) and learners.growth.drawn is None


def test_every_process_sees_what_all_pictures_asked_for(films, head, tmp_path):
    studio, learners = opened(config_of(films, head, tmp_path))
    learner, pictures = learners.heads["p0"], 4
    avatar = learner.model
    generator = torch.Generator().manual_seed(0)
    gradients = torch.rand(pictures, 1, 200, 2, generator=generator)
    radii = torch.randint(0, 3, (pictures, 1, 200, 2), generator=generator)
    lesson = replace(studio.lessons.at(1), shots=(("d", "a", 0),) * pictures)

    def watched(places: list[int], runtime) -> DensityControl:
        growth = Growth(DensityControl(SOON))
        means2d = torch.zeros(len(places), 1, 200, 2, requires_grad=True)
        if places:
            growth.watch(Rendering(torch.zeros(1, 1, 3), torch.zeros(1, 1, 1), means2d * 1, radii[places]))
            (growth.drawn.means2d * gradients[places]).sum().backward()
        growth.grow(learner, head, replace(lesson, share_of_shots=places), runtime, step=1)
        return growth.control

    class OneOfTwo(Runtime):
        def __init__(self):
            self.parts = iter([gradients[:, 0], radii[:, 0].float()])

        def gathered(self, rows, places, of):
            whole = next(self.parts)
            assert torch.equal(rows, whole[places]) and of == pictures
            return whole

    one = watched([0, 1, 2, 3], studio.runtime).state_dict()
    assert one["gradients"].any() and len(avatar.offsets) == 200
    for own in ([0, 2], [3], []):
        other = watched(own, OneOfTwo()).state_dict()
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_known_people_lead_until_it_grows(films, head, tmp_path):
    """Modes have as many attributes as the known avatars: no longer the avatar's own."""
    _, learners = opened(config_of(films, head, tmp_path, people=(), density=None))
    known = dict(learners.avatars)
    for number, avatar in enumerate(known.values()):
        avatar.person = f"known{number}"
        with torch.no_grad():
            avatar.albedo.add_(0.1 * number)
    save_avatars(tmp_path / "known", {avatar.person: avatar for avatar in known.values()})
    studio, learners = opened(config_of(films, head, tmp_path, avatars=tmp_path / "known"))
    (code,) = learners.heads["p0"].optimizer.param_groups[-1]["params"]
    for step in (1, 2, 3, 4):
        teach_head(studio, learners, studio.lessons.at(step), 2 * step - 1)
        assert (code.grad is not None) == (step <= 2), "the second step's growth comes after its descent"
    assert len(learners.avatars["p0"].offsets) > 200 and not code.any()
