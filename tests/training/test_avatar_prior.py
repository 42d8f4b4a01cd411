"""Mixtures of known avatars: where new people begin, and what their first steps go along."""

import shutil

import pytest
import torch

from mango.errors import InputError
from mango.training.avatar_prior import add, attributes, avatar_prior, take_binding
from mango.training.avatars import new_avatars, parameter_groups, read_avatars, save_avatars
from renderer.head import AvatarConfig, HeadAvatar

COUNT = 40


@pytest.fixture(scope="module")
def people(head) -> dict[str, HeadAvatar]:
    """Six who differ along two directions, by as much as people do."""
    random = torch.Generator().manual_seed(3)
    names = [f"p{k}" for k in range(6)]
    avatars = new_avatars(head, {name: torch.zeros(head.identities) for name in names}, AvatarConfig(num_gaussians=COUNT), seed=0)
    directions = 0.1 * torch.randn(2, len(attributes(avatars["p0"])), generator=random)
    for avatar in avatars.values():
        add(avatar, torch.randn(2, generator=random) @ directions)
    return avatars


@pytest.fixture
def stranger(head) -> HeadAvatar:
    return new_avatars(head, {"carla": torch.ones(head.identities)}, AvatarConfig(num_gaussians=COUNT), seed=7)["carla"]


def learnt(avatar: HeadAvatar, wanted: HeadAvatar, steps: int, prior=None, *, optimizer_state=None):
    """Descends towards the colours of ``wanted``'s first Gaussians alone; the optimizer."""
    optimizer = torch.optim.AdamW(parameter_groups(avatar), lr=1e-2, weight_decay=0.0)
    if prior is not None:
        prior.lead(avatar, optimizer)
    if optimizer_state is not None:
        optimizer.load_state_dict(optimizer_state)
    for group in optimizer.param_groups:
        group["lr"] = 1e-2 * group["lr_scale"]
    for _ in range(steps):
        optimizer.zero_grad()
        seen = (avatar.albedo - wanted.albedo.detach())[: COUNT // 2]
        loss = seen.square().sum() + 0 * sum(parameter.sum() for parameter in avatar.parameters())  # every attribute is drawn
        loss.backward()
        optimizer.step()
    return optimizer


def test_a_stranger_begins_as_the_mean_on_the_known_peoples_triangles(people, stranger):
    avatar_prior(people).begin(stranger)
    torch.testing.assert_close(stranger.albedo.data, torch.stack([other.albedo.data for other in people.values()]).mean(0))
    for name in ("triangles", "barycentrics", "rest"):
        assert torch.equal(getattr(stranger, name), getattr(people["p0"], name)), "attributes mean something on their own binding only"
    assert sum(parameter.numel() for parameter in stranger.parameters()) == len(attributes(stranger)), "all that is learnt is mixed"
    assert (stranger.identity == 1).all(), "the shape stays the person's own"


def test_modes_are_as_long_as_people_differ(people):
    """Planted and seen red: lengths over all people instead of a standard deviation's, only the first mode."""
    known = torch.stack([attributes(avatar) for avatar in people.values()])
    torch.testing.assert_close(avatar_prior(people).modes.square().sum(0), known.var(0, unbiased=False), rtol=1e-3, atol=1e-6)


def test_a_known_person_begins_and_goes_on_as_themselves(head, people):
    again = new_avatars(head, {"p2": torch.ones(head.identities)}, AvatarConfig(num_gaussians=COUNT), seed=7)["p2"]
    prior = avatar_prior(people)
    prior.begin(again)
    assert torch.equal(attributes(again), attributes(people["p2"])) and (again.identity == 1).all()
    unseen = slice(COUNT // 2, None)
    learnt(again, people["p3"], 5, prior)
    assert torch.equal(again.albedo[unseen], people["p2"].albedo[unseen]), "what one learns of oneself is not about others"


def test_what_a_film_does_not_show_follows_what_it_shows(head, people, stranger):
    """Red for a code that moves nothing, for modes of another scale than attributes, and for steps against the slope."""
    wanted = people["p5"]
    prior = avatar_prior({name: avatar for name, avatar in people.items() if name != "p5"})
    prior.begin(stranger)
    before = (attributes(stranger) - attributes(wanted)).norm()
    unseen = slice(COUNT // 2, None)
    missed = (stranger.albedo - wanted.albedo)[unseen].norm()
    learnt(stranger, wanted, 40, prior)
    assert (stranger.albedo - wanted.albedo)[unseen].norm() < 0.7 * missed
    assert (attributes(stranger) - attributes(wanted)).norm() < 0.7 * before, "sizes and places follow colours"


@pytest.mark.parametrize("person", ["carla", "p2"])
def test_of_expressions_that_a_film_hardly_shows_people_keep_the_looks(head, people, person):
    """Those that it shows it teaches. Seen red: a cheek that flashed white at the first smile; held to nothing instead of what is known."""
    avatar, prior = (
        new_avatars(head, {person: torch.zeros(head.identities)}, AvatarConfig(num_gaussians=COUNT), seed=7)[person],
        avatar_prior(people),
    )
    prior.begin(avatar)
    begun, optimizer = {name: avatar.get_parameter(name).detach().clone() for name in ("tints", "fades")}, None
    optimizer = torch.optim.AdamW(parameter_groups(avatar), lr=1e-2, weight_decay=0.0)
    prior.hold(avatar, optimizer, 0.04)
    for group in optimizer.param_groups:
        group["lr"] = 1e-2 * group["lr_scale"]
    for _ in range(80):
        optimizer.zero_grad()
        (1e-6 * (avatar.tints[0] + avatar.fades[0]).sum() - 0.01 * (avatar.tints[1].sum() + avatar.fades[1].sum())).backward()
        optimizer.step()
    for name in begun:
        gone = (avatar.get_parameter(name) - begun[name]).abs()
        assert gone[0].max() < 0.1 and gone[1].min() > 0.5 and gone[2:].max() < 0.1, name


def test_what_no_mixture_has_is_learnt_too(people, stranger):
    """Red when only the code learns."""
    prior = avatar_prior(people)
    prior.begin(stranger)
    wanted = new_like(people["p0"])
    with torch.no_grad():
        wanted.albedo[0] += 1.0
    learnt(stranger, wanted, 150, prior)
    assert (stranger.albedo - wanted.albedo)[: COUNT // 2].abs().max() < 0.1


def test_descent_goes_on_as_if_it_had_not_stopped(people, stranger):
    """Red when the code holds anything between steps that a checkpoint does not."""
    prior = avatar_prior(people)
    prior.begin(stranger)
    stopped = new_like(stranger)
    learnt(stranger, people["p1"], 6, prior)
    state = learnt(stopped, people["p1"], 3, prior).state_dict()
    resumed = new_like(stopped)
    learnt(resumed, people["p1"], 3, prior, optimizer_state=state)
    assert torch.equal(attributes(resumed), attributes(stranger))


def test_one_known_person_is_a_beginning_without_modes(people, stranger):
    prior = avatar_prior({"p0": people["p0"]})
    prior.begin(stranger)
    learnt(stranger, people["p1"], 2, prior)
    assert torch.isfinite(attributes(stranger)).all() and prior.modes.shape[0] == 0


def test_only_avatars_of_one_binding_are_mixed(head, people, stranger):
    other = new_avatars(head, {"x": torch.zeros(head.identities)}, AvatarConfig(num_gaussians=COUNT), seed=99)["x"]
    add(other, torch.full_like(attributes(other), 50.0))
    assert torch.equal(avatar_prior({**people, "x": other}).mean, avatar_prior(people).mean)


def test_avatars_of_a_folder_are_known_by_name(head, people, tmp_path):
    save_avatars(tmp_path, people)
    assert torch.equal(attributes(read_avatars(tmp_path, head)["p3"]), attributes(people["p3"]))
    with pytest.raises(InputError, match="avatars"):
        read_avatars(tmp_path / "nowhere", head)
    shutil.copy(tmp_path / "p3.safetensors", tmp_path / "p3-old.safetensors")
    with pytest.raises(InputError, match=r"found two of p3; move one of p3-old\.safetensors and p3\.safetensors"):
        read_avatars(tmp_path, head)
    (tmp_path / "p3-old.safetensors").unlink()
    (tmp_path / "p3.safetensors").write_bytes(b"half an avatar")
    with pytest.raises(InputError, match=r"p3.safetensors: expected an avatar, found .*remove it"):
        read_avatars(tmp_path, head)


def new_like(avatar: HeadAvatar) -> HeadAvatar:
    copied = HeadAvatar(avatar.triangles, avatar.barycentrics, avatar.rest, avatar.identity, avatar.head, avatar.person)
    take_binding(copied, avatar)
    return copied
