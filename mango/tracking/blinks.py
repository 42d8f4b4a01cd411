"""Blinks as deep as they are. Networks leave shut eyes half open, and what is fitted to their points is smooth."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.head.arkit import LIDS
from mango.head.model import Head
from mango.types import MotionClip

ABOUT = 12  # frames to each side, of which the median is how the lids are held; a blink takes four to ten
SEEN = 0.12  # weight of a film's deepest blink, from which it is one
ALIKE = 0.4  # of the deepest one's weight, from which another is one too
MOST = 3.0  # times as deep


def with_whole_blinks(head: Head, clip: MotionClip, keep: Bool[Tensor, "time"]) -> MotionClip:
    """Blinks enlarged, all by one factor, so that the deepest that the film is trusted with (``keep``) shuts the eyes.

    From however far they usually are open: narrow eyes have less far to go. No lid goes beyond shut eyes, where the two would part again.
    Slow movements of the lids, as when somebody looks down, stay, and small ones. So does a film in which nobody blinks; and heads without
    ARKit's lids.
    """
    if not set(LIDS) <= set(head.expression_names):
        return clip
    columns = [head.expression_names.index(name) for name in LIDS]
    lids = clip.expr[:, columns]
    beyond = (lids - held(lids)).clamp(min=0)
    closing = beyond.mean(1)
    deepest = float(closing[keep].max()) if keep.any() else 0.0
    if deepest < SEEN:
        return clip
    depths, end = of_runs(closing > 0, closing), shut(head)
    usual = lids[keep].median(0).values.mean()
    factors = ((end - usual) / depths.clamp(min=deepest)).clamp(1.0, MOST)  # deeper ones are not trusted
    whole = lids + ((factors - 1) * (depths >= ALIKE * deepest))[:, None] * beyond
    expr = clip.expr.clone()
    expr[:, columns] = torch.minimum(whole, lids.clamp_min(end))
    return replace(clip, expr=expr)


def held(lids: Float[Tensor, "time 2"]) -> Float[Tensor, "time 2"]:
    """Each frame's median over its neighbours."""
    ends = torch.cat([lids[:1].expand(ABOUT, -1), lids, lids[-1:].expand(ABOUT, -1)])
    return ends.unfold(0, 2 * ABOUT + 1, 1).median(-1).values


def of_runs(inside: Bool[Tensor, "time"], values: Float[Tensor, "time"]) -> Float[Tensor, "time"]:
    """The largest value of the run of frames ``inside`` that each frame is in; 0 outside."""
    run = torch.nn.functional.pad(inside.int(), (1, 0)).diff().clamp(min=0).cumsum(0)  # number of the newest run
    largest = values.new_zeros(int(run.max()) + 1).scatter_reduce(0, run, values, "amax")
    return torch.where(inside, largest[run], 0.0)


def shut(head: Head) -> float:
    """Weight of both lids at which they are nearest to each other."""
    weights = torch.linspace(0, 1, 21)
    expr = torch.zeros(len(weights), head.expressions)
    for name in LIDS:
        expr[:, head.expression_names.index(name)] = weights
    still = torch.zeros(len(weights), 3)
    vertices = head.with_shape(torch.zeros(head.identities)).vertices(expr, still, still, torch.zeros(len(weights), 6))
    return float(weights[head.eye_opening(vertices).argmin()])
