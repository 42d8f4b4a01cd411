"""Whether motion goes with sound: lips with the own voice, nods with the partner's."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool1d, max_pool1d

from mango.audio.alignment import SAMPLES_PER_FRAME, frame_count
from mango.types import FRAME_RATE

LARGEST_LAG_SECONDS = 2.0
NOD_WINDOW_FRAMES = 9  # 0.36 s: a nod lasts a third of a second to a second

Signal = Float[Tensor, "time"]


@dataclass(frozen=True)
class Lagged:
    """The lag at which two signals agree best."""

    correlation: float
    lag: float  # seconds; positive: the motion follows the sound


def speech_energy(audio: Float[Tensor, "samples"]) -> Signal:
    """Root mean square of each frame's 640 samples. Correlations do not depend on gain, so it is not normalised."""
    frames = frame_count(len(audio))
    return audio[: frames * SAMPLES_PER_FRAME].double().reshape(frames, SAMPLES_PER_FRAME).square().mean(1).sqrt()


def nod_energy(neck_pose: Float[Tensor, "time 3"], fps: float | int = FRAME_RATE) -> Signal:
    """Squared pitch velocity, (rad/s)^2, averaged over 0.36 s around each frame: high while a head nods, whatever its phase."""
    pitch = neck_pose[:, 0].double()
    if len(pitch) < 2:
        return torch.zeros_like(pitch)
    velocity = torch.cat([pitch[1:2] - pitch[:1], pitch.diff()]) * fps
    half = NOD_WINDOW_FRAMES // 2
    return avg_pool1d(velocity.square()[None, None], NOD_WINDOW_FRAMES, 1, half, count_include_pad=False)[0, 0]


def surely_nodding(keep: Bool[Tensor, "time"]) -> Bool[Tensor, "time"]:
    """Where `nod_energy` looks at kept frames alone."""
    around = torch.cat([keep[:1], keep[1:] & keep[:-1]])  # both frames of a velocity
    half = NOD_WINDOW_FRAMES // 2
    return ~max_pool1d((~around).float()[None, None], NOD_WINDOW_FRAMES, 1, half)[0, 0].bool()


def correlation(a: Signal, b: Signal) -> float:
    """Pearson's r, no unit, 1 = they rise and fall together; symmetric. NaN where one of them is constant or below two frames."""
    if len(a) < 2 or float(a.max() - a.min()) == 0 or float(b.max() - b.min()) == 0:
        return float("nan")
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def own_minus_partner(motion: Signal, *, own: Signal, partner: Signal) -> float:
    """r(motion, own voice) - r(motion, partner's voice), no unit, between -2 and 2, higher is better for lips.

    About 0 for a mouth that moves with anybody's voice, negative when the voices are exchanged. A voice that never varies has
    correlation 0 (the partner may be silent throughout); NaN when the motion or the own voice is constant.
    """
    silent = float(partner.max() - partner.min()) == 0
    return correlation(motion, own) - (0.0 if silent else correlation(motion, partner))


def best_lag(
    motion: Signal,
    sound: Signal,
    keep: Bool[Tensor, "time"] | None = None,
    *,
    seconds: float = LARGEST_LAG_SECONDS,
    fps: float | int = FRAME_RATE,
) -> Lagged:
    """The largest r(motion at t + lag, sound at t) over lags within ``seconds`` either way, each over the frames that overlap.

    ``keep``: frames of the motion that count; None = all.

    A largest value of many is positive even of unrelated signals: compare with the truth's, or use `above_chance`. NaN for signals
    that are constant or of which less than twice ``seconds`` counts.
    """
    reach, frames = round(seconds * fps), len(motion)
    keep = torch.ones(frames, dtype=torch.bool) if keep is None else keep
    if keep.sum() < 2 * reach:
        return Lagged(float("nan"), float("nan"))
    found = {}
    for lag in sorted(range(-reach, reach + 1), key=abs):  # of equal correlations the smallest lag wins
        late, early = max(0, lag), max(0, -lag)
        counts = keep[late : frames - early]
        found[lag] = correlation(motion[late : frames - early][counts], sound[early : frames - late][counts])
    defined = [lag for lag, r in found.items() if not math.isnan(r)]
    if not defined:
        return Lagged(float("nan"), float("nan"))
    best = max(defined, key=lambda lag: found[lag])
    return Lagged(found[best], best / fps)


def above_chance(
    motion: Signal,
    sound: Signal,
    keep: Bool[Tensor, "time"] | None = None,
    *,
    seconds: float = LARGEST_LAG_SECONDS,
    fps: float | int = FRAME_RATE,
) -> float:
    """`best_lag`'s correlation less its mean over the sound rotated by a quarter, half and three quarters, no unit; 0 = unrelated.

    NaN for signals shorter than eight times ``seconds``: the lags of rotated sounds would overlap those that count.
    """
    if len(motion) < 8 * seconds * fps:
        return float("nan")
    turned = [sound.roll(len(sound) * quarter // 4) for quarter in (1, 2, 3)]
    by_chance = [best_lag(motion, other, keep, seconds=seconds, fps=fps).correlation for other in turned]
    return best_lag(motion, sound, keep, seconds=seconds, fps=fps).correlation - sum(by_chance) / len(by_chance)
