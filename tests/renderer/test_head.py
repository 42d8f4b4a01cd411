"""The learnable avatar: coverage, light, files."""

import pytest
import torch

from renderer.head import AvatarConfig, HeadAvatar, blur_of, joined, new_avatar


def square(config=AvatarConfig(num_gaussians=400), density=(1.0, 1.0, 0.0)):
    """A unit square in the xy plane, normal +z, and a third triangle that wants no Gaussians."""
    template = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [5, 5, 5]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 1, 4]])
    identity = torch.arange(3.0)
    return template, new_avatar(template, faces, torch.tensor(density), config, identity=identity, head="h", person="p", seed=3)


def test_gaussians_go_where_they_are_wanted():
    template, avatar = square(density=(3.0, 1.0, 0.0))
    counts = [(avatar.triangles == torch.tensor(face)).all(-1).sum().item() for face in ([0, 1, 2], [0, 2, 3], [0, 1, 4])]
    assert counts[2] == 0 and abs(counts[0] - 300) <= 1 and abs(counts[1] - 100) <= 1
    means = avatar(template).means
    assert (means[:, 2].abs() < 1e-6).all() and (means[:, :2] > 0).all() and (means[:, :2] < 1).all()


def test_neighbours_overlap_at_the_start():
    template, avatar = square(AvatarConfig(num_gaussians=400, spread=0.7))
    gaussians = avatar(template)
    spacing = 1 / 400**0.5
    torch.testing.assert_close(gaussians.scales[:, 0], torch.full((400,), 0.7 * spacing), rtol=0.05, atol=0)
    assert (gaussians.scales[:, 1] < gaussians.scales[:, 0]).all(), "flat along the normal"


def test_light_follows_the_normal():
    template, avatar = square()
    with torch.no_grad():
        avatar.light[3] = torch.tensor([0.5, 0.0, 0.0])  # red from +z
    front = avatar(template).colors
    turned = avatar(template * torch.tensor([1.0, -1.0, -1.0])).colors  # half a turn about x: the normal points to -z
    torch.testing.assert_close(front[0], torch.tensor([0.75, 0.5, 0.5]))
    torch.testing.assert_close(turned[0], torch.tensor([0.25, 0.5, 0.5]))


def test_rest_and_turning_change_no_looks():
    """Planted: strains of the world's axes."""
    template, avatar = square()
    with torch.no_grad():
        avatar.tints.fill_(1.0)
        avatar.fades.fill_(4.0)
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.4, 0.9], [0.4, 0.0, 0.3], [-0.9, -0.3, 0.0]]))
    for vertices in (template, template @ turn.T + torch.tensor([3.0, -1.0, 2.0])):
        torch.testing.assert_close(avatar(vertices).colors, torch.full((400, 3), 0.5), atol=1e-5, rtol=0)
        torch.testing.assert_close(avatar(vertices).opacities, torch.full((400,), 0.7), atol=1e-5, rtol=0)


def test_looks_follow_the_strain_of_the_triangle():
    """By hand: of [0, 1, 2] the first side lies along x and the last along y; twice as long is a strain of tanh(log 2) = 0.6.

    Planted: strains of the sides in another order; tints that are another channel's; tints without the light.
    """
    template, avatar = square()
    with torch.no_grad():
        avatar.tints[:, 0, 0], avatar.fades[:, 0] = 0.3, 1.0  # red where the first side is longer
        avatar.tints[:, 2, 1] = 0.5  # green where the last one is
    on_first = (avatar.triangles == torch.tensor([0, 1, 2])).all(-1)
    wide = avatar(template * torch.tensor([2.0, 1.0, 1.0]))
    torch.testing.assert_close(wide.colors[on_first], torch.tensor([0.68, 0.5, 0.5]).expand(200, 3))
    torch.testing.assert_close(wide.opacities[on_first], (torch.logit(torch.tensor(0.7)) + 0.6).sigmoid().expand(200))
    high = avatar(template * torch.tensor([1.0, 2.0, 1.0]))
    torch.testing.assert_close(high.colors[on_first], torch.tensor([0.5, 0.8, 0.5]).expand(200, 3))
    torch.testing.assert_close(high.opacities[on_first], torch.full((200,), 0.7))
    with torch.no_grad():
        avatar.light[0] = -0.5
    torch.testing.assert_close(avatar(template * torch.tensor([2.0, 1.0, 1.0])).colors[on_first], wide.colors[on_first] / 2)


def test_an_avatar_of_an_older_format_is_refused_in_words(tmp_path):
    from safetensors.torch import load_file, save_file

    _, avatar = square()
    avatar.save(tmp_path / "avatar.safetensors")
    tensors = {
        name: tensor for name, tensor in load_file(tmp_path / "avatar.safetensors").items() if name not in ("rest", "tints", "fades")
    }
    save_file(tensors, tmp_path / "old.safetensors", {"mango": '{"format": "1", "kind": "mango avatar", "head": "h", "person": "p"}'})
    with pytest.raises(ValueError, match=r"expected a mango avatar of format 2, found format 1.*; fit the avatar again"):
        HeadAvatar.load(tmp_path / "old.safetensors")


def test_colleagues_may_read_the_file(tmp_path):
    """Seen red: safetensors' own writer makes files that nobody but their owner can open."""
    square()[1].save(tmp_path / "avatar.safetensors")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "avatar.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_file_holds_everything(tmp_path):
    template, avatar = square()
    for parameter in avatar.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) * 0.1)
    avatar.save(tmp_path / "avatar.safetensors")
    again = HeadAvatar.load(tmp_path / "avatar.safetensors")
    assert (again.head, again.person) == ("h", "p") and torch.equal(again.identity, torch.arange(3.0))
    for ours, theirs in zip(vars(avatar(template)).values(), vars(again(template)).values(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_file_says_how_fine_its_pictures_were_where_that_is_known(tmp_path):
    """A coarse avatar drawn as if pictures had taught it every hair shows what was never compared."""
    _, avatar = square()
    for known in (None, 512.5):
        avatar.pixels_per_metre = known
        avatar.save(tmp_path / "avatar.safetensors")
        assert HeadAvatar.load(tmp_path / "avatar.safetensors").pixels_per_metre == known


@pytest.mark.parametrize("wrong", [0.0, -3.0, float("nan"), float("inf"), "much", [1.0]])
def test_a_fineness_that_none_can_have_is_refused(tmp_path, wrong):
    _, avatar = square()
    avatar.pixels_per_metre = wrong
    avatar.save(tmp_path / "avatar.safetensors")
    with pytest.raises(ValueError, match="expected a positive pixels_per_metre"):
        HeadAvatar.load(tmp_path / "avatar.safetensors")


@pytest.mark.parametrize(
    ("learnt", "shown", "blur"), [(None, 900.0, 0.3), (900.0, 900.0, 0.3), (900.0, 300.0, 0.3), (300.0, 900.0, 9 * 0.3 - 8 / 12)]
)
def test_only_what_is_shown_larger_than_it_was_learnt_is_blurred_more(learnt, shown, blur):
    """By as much larger, but for a pixel's own width, a square's variance of 1/12. By hand: 9 (0.3 - 1/12) + 1/12."""
    assert blur_of(learnt, shown) == pytest.approx(blur)


@pytest.mark.parametrize("content", [b"", b"not an avatar", b"\x08\0\0\0\0\0\0\0{}      "])
def test_other_files_are_refused_in_words(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="expected"):
        HeadAvatar.load(tmp_path / "x.safetensors")


def test_a_truncated_file_is_refused(tmp_path):
    _, avatar = square()
    avatar.save(tmp_path / "x.safetensors")
    whole = (tmp_path / "x.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="expected an avatar file"):
        HeadAvatar.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_avatar_with_no_numbers_is_refused(tmp_path, value):
    """Seen red: black squares in a film."""
    _, avatar = square()
    avatar.albedo.data[0, 1] = value
    avatar.save(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="expected finite numbers, found NaN or infinity in albedo; fit the avatar again"):
        HeadAvatar.load(tmp_path / "x.safetensors")


def test_joining_fills_up_with_nothing_visible():
    template, large = square()
    _, small = square(AvatarConfig(num_gaussians=100))
    both = joined([large(template[None]), small(template[None])])
    assert both.means.shape == (2, 400, 3)
    assert (both.opacities[1, 100:] == 0).all() and (both.opacities[1, :100] > 0).all()
