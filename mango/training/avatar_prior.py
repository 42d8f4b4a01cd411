"""What the avatars of known people have in common: a new person's avatar is found among their mixtures first, and then by itself.

Avatars of one binding are points in one space of attributes (colours, opacities, sizes, places of all Gaussians). The known ones span a
flat part of it, mean + code . modes, as faces span one in a morphable model (Blanz and Vetter 1999). A few numbers, the code, change
everything at once, also what a short film never shows; so the first steps of descent find a similar person, in a few seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from renderer.head import HeadAvatar

UNITS = {
    "offsets": 1.0,
    "quats": 1.0,
    "log_scales": 1.0,
    "opacity_logits": 2.0,
    "albedo": 0.2,
    "tints": 0.2,
    "fades": 2.0,
    "light": 0.2,
}  # what counts as a large change
MOST_MODES = 64
CODE_RATE = 30.0  # learning rate of codes, whose unit is a standard deviation of the known people, relative to the avatar's


@dataclass(frozen=True)
class AvatarPrior:
    """Of some known people, by their avatars' attributes laid end to end in the order of ``UNITS``."""

    known: Mapping[str, HeadAvatar]  # by person
    like: HeadAvatar  # one of them: has the binding that the attributes belong to
    mean: Float[Tensor, "attributes"]
    modes: Float[Tensor, "modes attributes"]  # principal components, each of a standard deviation's length

    def begin(self, avatar: HeadAvatar) -> None:
        """``avatar`` becomes its person's known one, or of a stranger the mean of all; its shape stays."""
        take_binding(avatar, self.known.get(avatar.person, self.like))
        if avatar.person not in self.known:
            add(avatar, self.mean - attributes(avatar))

    def lead(self, avatar: HeadAvatar, optimizer: torch.optim.Optimizer) -> None:
        """From now on every step of a stranger's ``optimizer`` also goes along the modes, by the slope that attributes' gradients say.

        It does so until the avatar has other Gaussians than they (`renderer.density`).
        The code is zero between steps: what was gone along it is in the attributes, which are whole and the avatar's own at any time.
        """
        if avatar.person in self.known:
            return
        modes = self.modes.to(avatar.albedo)
        code = nn.Parameter(torch.zeros(len(modes), device=modes.device))
        optimizer.add_param_group({"params": [code], "lr_scale": CODE_RATE, "weight_decay": 0.0})

        def still_among_them() -> bool:
            return torch.equal(avatar.triangles, self.like.triangles.to(avatar.triangles))

        def project(*_) -> None:
            slopes = [parameter.grad for parameter in _in_order(avatar)]
            code.grad = None
            if still_among_them() and all(slope is not None for slope in slopes):
                code.grad = modes @ torch.cat([slope.flatten() for slope in slopes])

        @torch.no_grad()
        def go(*_) -> None:
            if code.any():
                add(avatar, code @ modes)
                code.zero_()

        optimizer.register_step_pre_hook(project)
        optimizer.register_step_post_hook(go)

    def hold(self, avatar: HeadAvatar, optimizer: torch.optim.Optimizer, weight: float) -> None:
        """From now on how looks change with the expression is held to what it is now, by a penalty: ``weight`` times the mean square of
        how far tints and fades have gone, in ``UNITS``.

        A film shows few expressions. Skin that it never stretches by more than a hundredth says next to nothing about its tints, and they
        wander, since Adam takes small slopes for large ones: the first real smile was a flash of white. Until there are other Gaussians.
        """
        held = {name: avatar.get_parameter(name) for name in ("tints", "fades")}
        begun = {name: parameter.detach().clone() for name, parameter in held.items()}

        def pull(*_) -> None:
            for name, parameter in held.items():
                if parameter.grad is not None and parameter.shape == begun[name].shape:
                    slope = 2 * weight / (UNITS[name] ** 2 * parameter.numel())
                    parameter.grad.add_(parameter.detach() - begun[name].to(parameter), alpha=slope)

        optimizer.register_step_pre_hook(pull)


def avatar_prior(known: Mapping[str, HeadAvatar]) -> AvatarPrior:
    """Of at least one person's avatar. Modes are of those that have the first one's binding."""
    like, *_ = known.values()
    mixed = torch.stack([attributes(avatar) for avatar in known.values() if torch.equal(avatar.triangles, like.triangles)])
    mean = mixed.mean(0)
    units = torch.cat([torch.full((parameter.numel(),), UNITS[name]) for name, parameter in zip(UNITS, _in_order(like), strict=True)])
    _, lengths, directions = torch.linalg.svd((mixed - mean) / units, full_matrices=False)
    count = min(len(mixed) - 1, MOST_MODES)
    return AvatarPrior(known, like, mean, directions[:count] * (lengths[:count, None] / len(mixed) ** 0.5) * units)


def attributes(avatar: HeadAvatar) -> Float[Tensor, "attributes"]:
    return torch.cat([parameter.detach().flatten() for parameter in _in_order(avatar)])


@torch.no_grad()
def add(avatar: HeadAvatar, change: Float[Tensor, "attributes"]) -> None:
    """To its attributes."""
    parameters = _in_order(avatar)
    for parameter, part in zip(parameters, change.split([parameter.numel() for parameter in parameters]), strict=True):
        parameter.add_(part.view_as(parameter))


@torch.no_grad()
def take_binding(avatar: HeadAvatar, other: HeadAvatar) -> None:
    """``avatar`` gets the Gaussians of ``other``, on the same triangles; its own shape stays."""
    for name in HeadAvatar.binding:
        setattr(avatar, name, getattr(other, name).clone())
    for name, parameter in avatar.named_parameters():
        parameter.data = other.get_parameter(name).detach().clone()


def _in_order(avatar: HeadAvatar) -> list[nn.Parameter]:
    return [avatar.get_parameter(name) for name in UNITS]
