"""Density control: more Gaussians where the pictures ask for them, none where they are of no use.

    control = DensityControl(config)
    for step in range(1, steps + 1):
        gaussians = avatar(vertices)                    # or Gaussians made of free tensors
        rendering = draw(gaussians, camera)
        rendering.means2d.retain_grad()
        optimizer.zero_grad()
        loss(rendering).backward()
        optimizer.step()
        control.observe(gaussians.scales, rendering.means2d.grad, rendering.radii, camera.width, camera.height)
        report = control.step(step, avatar, optimizer)  # changes both in place

The rules are those of 3D Gaussian Splatting (Kerbl et al. 2023, sec. 5.2), and of GaussianAvatars (Qian et al. 2024, sec. 3.3) for
Gaussians that ride on triangles: the new ones ride on the triangle of the old one, and no triangle loses its last.

What is controlled is a dict (or ``nn.ParameterDict``) of tensors with one row per Gaussian, or a module that names such tensors in
``per_gaussian`` as `renderer.head.HeadAvatar` does. Four of them have a meaning here, the others are copied along:

    means or offsets    where a Gaussian is; means metres in the world, offsets in the frame and scale of its triangle
    quats, log_scales   rotation wxyz and log of the standard deviations, in the same frame and unit
    opacity_logits      one axis
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from renderer.projection import quaternion_to_matrix

SHRINK = 1.6  # of the two halves of a split Gaussian (Kerbl et al., sec. 5.2)
RESET = 2.0  # opacities are reset to so many times the one that is pruned

PerGaussian = dict[str, Tensor]


@dataclass(frozen=True)
class DensityConfig:
    """When and where. The defaults are those of 3D Gaussian Splatting, whose lengths are for cameras about a metre from their centre."""

    start: int = 500  # first step that may add and remove
    stop: int = 15_000  # first step that may not any more
    every: int = 100  # steps
    reset_every: int = 3000  # steps between two resets of the opacities; 0: never
    grow_gradient: float = 2e-4  # mean gradient of the place in the picture, whose half sides are 1, above which a Gaussian becomes two
    split_scale: float = 0.01  # metres; growing Gaussians up to this standard deviation are cloned, larger ones split
    prune_opacity: float = 0.005  # least opacity that may stay
    prune_scale: float = 0.1  # metres; largest standard deviation that may stay, once opacities have been reset
    prune_radius: float = math.inf  # largest radius that may stay from then on, as a share of the picture's longer side
    # When one becomes two, both keep its opacity ("inherited", Kerbl et al.), or together they are as opaque as it was
    # where they overlap ("shared", Rota Bulo et al., "Revising densification in Gaussian splatting", 2024).
    new_opacity: Literal["inherited", "shared"] = "inherited"
    one_per_triangle: bool = True  # bound Gaussians only: the most opaque of a triangle stays whatever its size or opacity
    most: int = 1_000_000  # grows to no more Gaussians than this, those with the largest gradients first; removes none for it
    seed: int = 0  # the halves of a split Gaussian lie at random places, a function of seed and step

    def __post_init__(self):
        for name in ("start", "reset_every", "grow_gradient", "split_scale", "prune_scale", "prune_radius", "most"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected at least 0, found {getattr(self, name)!r}; see the comment beside the field")
        if self.every < 1 or self.stop < self.start:
            raise ValueError(f"every, start, stop: expected every >= 1 and start <= stop, found {self.every}, {self.start}, {self.stop}; "
                             "start = stop leaves all Gaussians alone")  # fmt: skip
        if not 0 < self.prune_opacity < 1 / RESET:
            raise ValueError(f"prune_opacity: expected between 0 and {1 / RESET}, found {self.prune_opacity}; "
                             f"opacities are reset to {RESET} times that")  # fmt: skip

    def refines(self, step: int) -> bool:
        return self.start <= step < self.stop and step % self.every == 0

    def resets(self, step: int) -> bool:
        return self.reset_every > 0 and 0 < step < self.stop and step % self.reset_every == 0


@dataclass(frozen=True)
class DensityReport:
    """What one call of `DensityControl.step` did."""

    cloned: int = 0
    split: int = 0
    pruned: int = 0
    reset: bool = False
    total: int = 0  # Gaussians afterwards
    # For whoever keeps something per Gaussian elsewhere, such as a moving average: the row each had before, -1 for new
    # ones. None where rows stayed what they were.
    origins: Int[Tensor, "gaussians"] | None = None


@dataclass(frozen=True)
class Observed:
    """What the pictures since the last refinement say of each Gaussian."""

    gradients: Float[Tensor, "gaussians"]  # sum over the pictures that show it, see `DensityConfig.grow_gradient`
    pictures: Float[Tensor, "gaussians"]  # how many those are
    radii: Float[Tensor, "gaussians"]  # the largest, as a share of the picture's longer side
    sizes: Float[Tensor, "gaussians"]  # metres; largest standard deviation when it was last drawn


class DensityControl:
    """Watches one set of Gaussians, adds and removes. What it does follows from its config and ``state_dict()``: a run can be resumed."""

    def __init__(self, config: DensityConfig):
        self.config = config
        self.observed: Observed | None = None

    @torch.no_grad()
    def observe(
        self,
        scales: Float[Tensor, "*batch gaussians 3"],
        gradients: Float[Tensor, "*pictures gaussians 2"] | None,
        radii: Int[Tensor, "*pictures gaussians 2"],
        width: int,
        height: int,
        *,
        mean_over: int | None = None,
    ) -> None:
        """Takes in the pictures of one backward pass.

        Args:
            scales: of the Gaussians as they were drawn, in the world, metres. (A bound Gaussian is as large as its triangle makes it.)
            gradients: of ``means2d``, in pixels, as ``retain_grad()`` keeps it.
            radii: pixels; a Gaussian counts only in the pictures where both of its radii are positive.
            width, height: of the pictures, pixels.
            mean_over: how many pictures the loss is a mean over, 1 if it is a sum. None: the number of pictures given here.
        """
        if gradients is None:
            raise ValueError("gradients: expected those of means2d, found None; call means2d.retain_grad() before backward()")
        count, pictures = scales.shape[-2], math.prod(radii.shape[:-2])
        if gradients.shape != radii.shape or radii.shape[-2] != count:
            raise ValueError(f"gradients and radii: expected [*pictures, {count}, 2] to go with {count} scales, "
                             f"found {list(gradients.shape)} and {list(radii.shape)}; give those of one set of Gaussians")  # fmt: skip
        radii = radii.reshape(pictures, count, 2)
        visible = (radii > 0).all(-1)
        unit = gradients.new_tensor([width / 2, height / 2]) * (pictures if mean_over is None else mean_over)
        norms = torch.linalg.vector_norm(gradients.reshape(pictures, count, 2) * unit, dim=-1)
        shares = torch.where(visible, radii.amax(-1) / max(width, height), 0)
        before = self.observed_of(count, gradients)
        self.observed = Observed(
            gradients=before.gradients + torch.where(visible, norms, 0).sum(0),
            pictures=before.pictures + visible.sum(0),
            radii=torch.cat([before.radii[None], shares]).amax(0),
            sizes=scales.reshape(math.prod(scales.shape[:-2]), count, 3).amax((0, 2)).to(before.sizes),
        )

    def observed_of(self, count: int, like: Tensor) -> Observed:
        """The same so far, or nothing yet."""
        if self.observed is None:
            return Observed(*(like.new_zeros(count) for _ in range(4)))
        found = len(self.observed.gradients)
        if found != count:
            raise ValueError(f"density control: expected the {found} Gaussians it has observed so far, found {count}; "
                             "one control watches one set, and is restored together with it")  # fmt: skip
        return Observed(*(value.to(like.device) for value in vars(self.observed).values()))

    @torch.no_grad()
    def step(self, step: int, gaussians: Mapping[str, Tensor] | nn.Module, *optimizers: torch.optim.Optimizer) -> DensityReport:
        """Adds, removes and resets if it is time to. Call it after the optimizer's step; steps are counted from 1.

        Rows of the tensors and of the optimizer's state change together. Parameters whose rows change are replaced by new ones, in
        ``gaussians`` and in their optimizer's groups: look them up again. New rows begin with zero moments.
        """
        tensors = per_gaussian(gaussians)
        report = DensityReport(total=len(tensors["opacity_logits"]))
        if self.config.refines(step):
            if self.observed is None:
                raise ValueError(f"density control: expected observations before step {step}, found none; call observe() after backward()")
            plan = planned(self.config, self.observed_of(report.total, tensors["opacity_logits"]), tensors, step)
            if plan.changes:
                noise = normal(self.config.seed, step, (2 * int(plan.split.sum()), 3)).to(tensors["quats"])
                replace_rows(gaussians, tensors, grown(tensors, plan, self.config.new_opacity, noise), plan, optimizers)
            self.observed = None
            report = plan.report()
        if self.config.resets(step):
            reset_opacities(per_gaussian(gaussians)["opacity_logits"], RESET * self.config.prune_opacity, optimizers)
            report = replace(report, reset=True)
        return report

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors only; empty right after a refinement. Goes into a checkpoint beside the Gaussians and their optimizer."""
        return {} if self.observed is None else dict(vars(self.observed))

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.observed = Observed(**state) if state else None


@dataclass(frozen=True)
class Plan:
    """Which Gaussians do what in one refinement."""

    pruned: Bool[Tensor, "gaussians"]
    cloned: Bool[Tensor, "gaussians"]
    split: Bool[Tensor, "gaussians"]

    @property
    def changes(self) -> bool:
        return bool((self.pruned | self.cloned | self.split).any())

    @cached_property
    def kept(self) -> Int[Tensor, "kept"]:
        """Rows that stay; they come first, in their order."""
        return (~self.pruned & ~self.split).nonzero()[:, 0]

    @cached_property
    def added(self) -> Int[Tensor, "added"]:
        """Rows that the new ones come from: clones, then the first halves of all that split, then the second ones."""
        halves = self.split.nonzero()[:, 0]
        return torch.cat([self.cloned.nonzero()[:, 0], halves, halves])

    def report(self) -> DensityReport:
        kept, added = self.kept, self.added
        return DensityReport(
            cloned=int(self.cloned.sum()),
            split=int(self.split.sum()),
            pruned=int(self.pruned.sum()),
            total=len(kept) + len(added),
            origins=torch.cat([kept, torch.full_like(added, -1)]) if self.changes else None,
        )


def planned(config: DensityConfig, observed: Observed, tensors: PerGaussian, step: int) -> Plan:
    """The faint go first, which makes room; then those grow that may; what is too large and not about to be split goes too, once
    opacities have been reset (if they are at all): before, the large ones are all that there is to split.
    """
    opacities, triangles = tensors["opacity_logits"].sigmoid(), tensors.get("triangles")

    def spared(doomed: Bool[Tensor, "gaussians"]) -> Bool[Tensor, "gaussians"]:
        return doomed & ~last_of_triangle(doomed, triangles, opacities) if config.one_per_triangle and triangles is not None else doomed

    faint = spared(opacities < config.prune_opacity)
    large = observed.sizes > config.split_scale
    too_large = (observed.sizes > config.prune_scale) | (observed.radii > config.prune_radius)
    too_large &= step > config.reset_every
    gradients = observed.gradients / observed.pictures.clamp(min=1)
    room = max(0, config.most - int((~faint).sum()))
    grows = first(room, (gradients > config.grow_gradient) & ~faint & (large | ~too_large), gradients)
    return Plan(pruned=spared(faint | (too_large & ~grows)), cloned=grows & ~large, split=grows & large)


def first(room: int, wanted: Bool[Tensor, "gaussians"], urgency: Float[Tensor, "gaussians"]) -> Bool[Tensor, "gaussians"]:
    """The ``room`` most urgent of the wanted; of equals, those that come first."""
    order = torch.where(wanted, urgency, -math.inf).argsort(descending=True, stable=True)
    chosen = torch.zeros_like(wanted)
    chosen[order[:room]] = True
    return chosen & wanted


def last_of_triangle(
    doomed: Bool[Tensor, "gaussians"], triangles: Int[Tensor, "gaussians 3"], opacities: Float[Tensor, "gaussians"]
) -> Bool[Tensor, "gaussians"]:
    """Of every triangle all of whose Gaussians are doomed, the most opaque."""
    _, owner = triangles.unique(dim=0, return_inverse=True)
    survivors = torch.zeros_like(owner).index_add_(0, owner, (~doomed).to(owner.dtype))
    order = opacities.argsort(descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    best = torch.full_like(rank, len(rank)).scatter_reduce_(0, owner, rank, "amin")
    return doomed & (survivors[owner] == 0) & (rank == best[owner])


def grown(tensors: PerGaussian, plan: Plan, new_opacity: str, noise: Float[Tensor, "halves 3"]) -> PerGaussian:
    """All tensors with the rows that they will have."""
    rows = torch.cat([plan.kept, plan.added])
    new = {name: tensor.detach()[rows] for name, tensor in tensors.items()}
    halves = slice(len(rows) - len(noise), None)
    place = new["means" if "means" in new else "offsets"]
    # Drawn from the Gaussian itself, in the frame that it is given in: no posed mesh is needed for bound ones.
    deviations = new["log_scales"][halves].exp() * noise
    place[halves] += (quaternion_to_matrix(new["quats"][halves]) @ deviations[:, :, None])[:, :, 0]
    new["log_scales"][halves] -= math.log(SHRINK)
    if new_opacity == "shared":
        logits = new["opacity_logits"]
        new["opacity_logits"] = torch.where((plan.cloned | plan.split)[rows], shared_logit(logits), logits)
    return new


def shared_logit(logits: Float[Tensor, "gaussians"]) -> Float[Tensor, "gaussians"]:
    """Logit of the opacity of which two, one before the other, make the given one: 1 - sqrt(1 - opacity)."""
    half = 0.5 * nn.functional.softplus(logits)  # -log sqrt(1 - opacity)
    return half + torch.log(-torch.expm1(-half))


def normal(seed: int, step: int, shape: tuple[int, int]) -> Float[Tensor, "rows cols"]:
    """Standard normal numbers, the same for the same seed and step on every machine."""
    digest = hashlib.blake2b(f"density/{seed}/{step}".encode(), digest_size=4).digest()
    return torch.randn(shape, generator=torch.Generator().manual_seed(int.from_bytes(digest)))


def per_gaussian(gaussians: Mapping[str, Tensor] | nn.Module) -> PerGaussian:
    """The tensors with one row per Gaussian, by name."""
    if isinstance(gaussians, Mapping | nn.ParameterDict):
        tensors = dict(gaussians.items())
    elif hasattr(gaussians, "per_gaussian"):
        tensors = {name: getattr(gaussians, name) for name in gaussians.per_gaussian}
    else:
        raise ValueError(f"gaussians: expected a dict of tensors or a module with `per_gaussian`, found {type(gaussians).__name__}; "
                         "name its tensors that have one row per Gaussian in `per_gaussian`")  # fmt: skip
    missing = {"quats", "log_scales", "opacity_logits"} - tensors.keys()
    if missing or ("means" in tensors) == ("offsets" in tensors):
        raise ValueError("gaussians: expected means or offsets, quats, log_scales and opacity_logits, "
                         f"found {', '.join(sorted(tensors)) or 'nothing'}; rename the tensors")  # fmt: skip
    count = len(tensors["quats"])
    for name, shape in {"opacity_logits": (count,), "log_scales": (count, 3)}.items():
        if tensors[name].shape != shape:
            raise ValueError(f"{name}: expected shape {list(shape)}, found {list(tensors[name].shape)}; there are {count} quats")
    for name, tensor in tensors.items():
        if tensor.shape[:1] != (count,):
            raise ValueError(f"{name}: expected {count} rows like quats, found shape {list(tensor.shape)}; keep it elsewhere")
    return tensors


def replace_rows(
    gaussians: Mapping[str, Tensor] | nn.Module,
    old: PerGaussian,
    new: PerGaussian,
    plan: Plan,
    optimizers: tuple[torch.optim.Optimizer, ...],
) -> None:
    """Puts the new tensors where the old ones are: in ``gaussians`` and, with their rows of the state, in the optimizers."""
    held = {id(parameter) for optimizer in optimizers for group in optimizer.param_groups for parameter in group["params"]}
    for name, before in old.items():
        if before.requires_grad and id(before) not in held:
            raise ValueError(f"{name}: expected in an optimizer that is given, found in none; give all optimizers of these Gaussians, "
                             "or call requires_grad_(False) on it")  # fmt: skip
    # New parameters and not new `.data`: a graph of the last step that is still alive remembers the old shape.
    for name, before in old.items():
        after = new[name].requires_grad_(before.requires_grad)
        if isinstance(before, nn.Parameter):
            after = nn.Parameter(after, requires_grad=before.requires_grad)
        for optimizer in optimizers:
            hand_over(before, after, plan, optimizer)
        if isinstance(gaussians, nn.Module) and not isinstance(gaussians, nn.ParameterDict):
            setattr(gaussians, name, after)
        else:
            gaussians[name] = after


def hand_over(before: Tensor, after: Tensor, plan: Plan, optimizer: torch.optim.Optimizer) -> None:
    """``after`` takes the place of ``before`` in its parameter group, and its state."""
    for group in optimizer.param_groups:
        group["params"] = [after if parameter is before else parameter for parameter in group["params"]]
    if before in optimizer.state:
        kept, added = plan.kept, plan.added

        def carried(value: object) -> object:
            if not isinstance(value, Tensor) or value.shape[:1] != before.shape[:1]:
                return value  # a count of steps
            return torch.cat([value[kept], value.new_zeros(len(added), *value.shape[1:])])

        optimizer.state[after] = {key: carried(value) for key, value in optimizer.state.pop(before).items()}


def reset_opacities(logits: Tensor, opacity: float, optimizers: tuple[torch.optim.Optimizer, ...]) -> None:
    """At most ``opacity`` from now on, in place, and forgets where they were going."""
    logits.clamp_(max=math.log(opacity / (1 - opacity)))
    for optimizer in optimizers:
        for value in optimizer.state.get(logits, {}).values():
            if isinstance(value, Tensor) and value.shape[:1] == logits.shape:
                value.zero_()
