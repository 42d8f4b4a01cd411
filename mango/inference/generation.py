"""Two voices in, the motion of both people out, for recordings of any length.

    window 1 [generated                      ]
    window 2              [context][blend][generated           ]
                           given,   cross-
                           clean    faded

Each window is told the last clean frames of the one before (its context), so motion continues; over the ``blend`` frames after
them both windows have an opinion, and fading from one to the other leaves no seam. The new one knows what came before and follows it
closely at first; the old one, which does not know what comes next, fades fast and then slowly to nothing. Noise belongs to absolute
frames, so both opinions start from the same noise. One window is in memory at a time, and of the features what it hears; finished
motion grows with the recording, by a quarter of a kB a frame and person.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mango.diffusion.sampling import guided, sample
from mango.errors import InputError
from mango.models.motion import Conditions, PathwayDrop
from mango.seeds import torch_generator
from mango.types import PERSONS

LARGEST_SCALE = 100.0  # of guidance, either way: nothing sensible is near it
NOISE_BLOCK = 64  # frames whose noise is drawn together
Progress = Callable[[int, int], None]  # (frames finished, frames in all)
Hear = Callable[[int, int], Float[Tensor, "person some_time features"]]  # features of frames first to last - 1, asked for in order
Codes = Sequence[Float[Tensor, "identity"] | None]  # a's and b's shape, where something is known of it


@dataclass(frozen=True)
class GenerationConfig:
    """How to sample; what to sample with (window, context) comes from the training run."""

    seed: int = 0
    steps: int = 20  # evaluations of the model per window
    sampler: Literal[
        "ddim",  # deterministic given the noise
        "dpm++",  # second order, fewer steps
        "ddpm",  # draws noise at every step
    ] = "ddim"
    eta: float = 0.0  # DDIM's: share of fresh noise at every step, up to 1
    guidance: Mapping[str, float] = field(default_factory=dict)  # pathway ("own", "heard", "identity", "speaking") -> scale; 1 = none
    threshold: float | None = None  # quantile of |motion| in a window beyond which predictions are clipped; None = none are
    blend: int = 8  # frames over which two windows are cross-faded; fewer where windows are short

    def __post_init__(self):
        if self.steps < 1:
            raise InputError("steps", expected="at least 1", found=str(self.steps), remedy="give a positive number of steps")
        if not 0 <= self.eta <= 1 or (self.eta > 0 and self.sampler != "ddim"):
            expected, found = "0 to 1, and 0 with every sampler but ddim", f"{self.eta:g} with {self.sampler}"
            raise InputError("eta", expected=expected, found=found, remedy="give --sampler ddim, or leave eta out")
        if self.threshold is not None and not 0 < self.threshold <= 1:
            remedy = "0.995 clips the largest half percent"
            raise InputError("threshold", expected="a share above 0, at most 1", found=f"{self.threshold:g}", remedy=remedy)
        unknown = set(self.guidance) - {"own", "heard", "identity", "speaking"}
        if unknown:
            remedy = "the pathways are own, heard, identity and speaking"
            raise InputError("guidance", expected="a pathway", found=", ".join(sorted(unknown)), remedy=remedy)
        for name, scale in self.guidance.items():
            if not -LARGEST_SCALE <= scale <= LARGEST_SCALE:
                remedy = "1 changes nothing, 0 ignores the pathway, 2 exaggerates it"
                raise InputError(f"guidance {name}", expected=f"a scale up to {LARGEST_SCALE:g}", found=f"{scale:g}", remedy=remedy)


def generate(
    model: nn.Module,  # a MotionModel
    scheduler,
    voices: Float[Tensor, "person time features"] | Hear,
    speaking: Float[Tensor, "person time"],
    config: GenerationConfig,
    *,
    window: int,
    context: int,
    identity: Codes = (None, None),
    progress: Progress | None = None,
) -> Float[Tensor, "person time width"]:
    """Flat motion of both people, in the layout's units, from the encoder's features of both voices (or what gives them when asked).

    ``window`` frames are generated at a time, the first ``context`` of them given. Of whom ``identity`` says nothing the model is told as
    of nobody in particular. Everything is computed where ``speaking`` is and in its precision. The result is a function of the arguments
    (seed included), not of how often or where it is called.
    """
    hear = voices if callable(voices) else lambda first, last: voices[:, first:last]
    parts, done = [], 0
    for motion in finished_motion(model, scheduler, hear, speaking, config, window=window, context=context, identity=identity):
        parts.append(motion)
        done += motion.shape[1]
        if progress:
            progress(done, speaking.shape[1])
    return torch.cat(parts, dim=1)


def finished_motion(
    model: nn.Module,  # a MotionModel
    scheduler,
    hear: Hear,
    speaking: Float[Tensor, "person time"],
    config: GenerationConfig,
    *,
    window: int,
    context: int,
    identity: Codes = (None, None),
) -> Iterator[Float[Tensor, "person some_time width"]]:
    """`generate`, piece by piece: what no later window will change."""

    def one_window(first: int, last: int, before: Tensor) -> Tensor:
        voices = hear(first, last).to(speaking)
        return _one_window(model, scheduler, voices, speaking[:, first:last], before[:, :context], first, config, identity)

    total, overlap = speaking.shape[1], context + min(config.blend, window - 2 * context - 1)  # every window has a frame of its own
    nothing = speaking.new_zeros(2, 0, model.layout.width)
    return stitched(one_window, total, begin=window - context, window=window, overlap=overlap, nothing=nothing, context=context)


def stitched(
    one_window: Callable[[int, int, Tensor], Tensor],
    total: int,
    *,
    begin: int,
    window: int,
    overlap: int,
    nothing: Float[Tensor, "person none width"],
    context: int = 0,
) -> Iterator[Float[Tensor, "person some_time width"]]:
    """`windows` faded into each other, piece by piece: what no later one will change.

    ``one_window`` makes the motion of frames first to last - 1, knowing what the window before made of those it shares with this one
    (at the beginning ``nothing``); the first ``context`` of them stay as they were.
    """
    before = nothing
    for first, last in windows(total, begin, window, overlap):
        new = faded(before, one_window(first, last, before), context)
        keep = last - first - (0 if last == total else overlap)
        yield new[:, :keep]
        before = new[:, keep:]


def windows(total: int, begin: int, window: int, overlap: int) -> Iterator[tuple[int, int]]:
    """First and one-past-last frame of windows that cover ``total`` frames, each sharing ``overlap`` frames with the one before.

    The first is ``begin`` frames long: it has no context, as in training.
    """
    assert overlap < begin <= window, f"windows of {begin} and {window} frames cannot share {overlap}"
    first, length = 0, begin
    while True:
        last = min(first + length, total)
        yield first, last
        if last == total:
            return
        first, length = last - overlap, window


def faded(
    before: Float[Tensor, "person shared width"], after: Float[Tensor, "person time width"], context: int
) -> Float[Tensor, "person time width"]:
    """``after`` with its first frames faded in from ``before``, which covers the same frames: the context as it was, then a cubic.

    Without context ``after`` knows no more of the past than ``before`` of the future: the cubic is even.
    """
    shared = before.shape[1]
    blend = shared - context
    weight = torch.ones(after.shape[1], dtype=after.dtype, device=after.device)
    weight[: min(context, shared)] = 0
    if blend > 0:
        way = torch.arange(1, blend + 1).to(weight) / (blend + 1)
        weight[context:shared] = 1 - (1 - way) ** 3 if context else way**2 * (3 - 2 * way)
    before = torch.nn.functional.pad(before, (0, 0, 0, after.shape[1] - shared))
    return torch.lerp(before, after, weight[:, None].expand_as(after))


def start_noise(seed: int, first: int, last: int, width: int) -> Float[Tensor, "person time width"]:
    """Noise of frames first to last - 1: a function of seed, person and frame, whatever the windows."""
    blocks = range(first // NOISE_BLOCK, (last - 1) // NOISE_BLOCK + 1)
    people = []
    for person in PERSONS:
        noise = [torch.randn(NOISE_BLOCK, width, generator=torch_generator(seed, "generation", person, block)) for block in blocks]
        people.append(torch.cat(noise)[first - blocks[0] * NOISE_BLOCK :][: last - first])
    return torch.stack(people)


@torch.no_grad()
def _one_window(
    model: nn.Module,  # a MotionModel
    scheduler,
    voices: Float[Tensor, "person time features"],
    speaking: Float[Tensor, "person time"],
    known: Float[Tensor, "person given_time width"],
    first: int,
    config: GenerationConfig,
    identity: Codes,
) -> Float[Tensor, "person time width"]:
    """Motion of one window whose first frames are ``known``."""
    frames, num_known = voices.shape[1], known.shape[1]
    keep = torch.ones(1, 2, frames, dtype=torch.bool, device=voices.device)
    given = torch.zeros_like(keep)
    given[..., :num_known] = True
    codes = torch.stack([voices.new_zeros(model.identity_width) if code is None else code.to(voices) for code in identity])
    scales = {name: scale for name, scale in config.guidance.items() if scale != 1}
    nobody = torch.tensor([[code is None for code in identity]], device=voices.device)
    withheld = [_withheld(name, nobody) for name in (None, *scales)]
    predict = guided(_prediction(model, voices, speaking, keep, given, codes, withheld), tuple(scales.values()))
    noise = start_noise(config.seed, first, first + frames, model.layout.width).to(voices)[None]
    clean = torch.nn.functional.pad(model.normalised(known), (0, 0, 0, frames - num_known))[None]
    generator = torch_generator(config.seed, "generation steps", first)
    more = {"generator": generator, "eta": config.eta, "threshold": config.threshold}
    return model.denormalised(sample(predict, scheduler, noise, config.steps, known=clean, given=given, **more))[0]


def _prediction(model, voices, speaking, keep, given, identity, withheld: list[PathwayDrop]) -> Callable[[Tensor, Tensor], Tensor]:
    """The model on one window, once for each set of withheld conditions, all in one batch."""
    heard = [model.listen(voices[None], speaking[None], keep, drop) for drop in withheld]  # once per window, not per noise level
    conditions = Conditions.concatenated(heard) if len(heard) > 1 else heard[0]
    identity, keep, given = (torch.cat([each] * len(withheld)) for each in (identity[None], keep, given))
    return lambda noisy, level: model(noisy, level, conditions, identity, keep, given)


def _withheld(pathway: str | None, nobody: Bool[Tensor, "1 person"]) -> PathwayDrop:
    drop = PathwayDrop.everywhere(1, *({pathway} - {None}), device=nobody.device)
    return replace(drop, identity=drop.identity | nobody)
