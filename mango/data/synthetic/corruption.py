"""Labels as monocular trackers make them: the true motion, corrupted kind by kind.

    missed closures -> amplitude, eyelids -> smoothing -> static offset -> jitter, head pose

Each kind has a random stream of its own and a scale (0 switches it off, 1 is the default strength): changing one leaves what the
others do untouched. Sizes follow what face trackers are reported to get wrong and give labels with a lip error near 3 mm.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from mango.data.synthetic.lips import LipOpening
from mango.data.synthetic.seeding import stream
from mango.types import MotionClip

LOWER = ("mouth", "jaw", "cheek", "nose", "tongue")  # expression name prefixes of the lower face
BIAS_SEED = 20_260_101  # of the bias common to all clips of every set
CLOSED_M, OPEN_M = 0.0012, 0.0030  # lip gaps that count as closed, and as open beside a closure
CLOSURE_FRAMES = 9  # a longer closed stretch is silence


@dataclass(frozen=True)
class Corruption:
    """Scale of each kind (0 = off, 1 = as trackers err) and what each means at scale 1."""

    amplitude: float = 1.0  # scale of movements that are too small
    smoothing: float = 1.0  # scale of smoothing over time
    closures: float = 1.0  # scale of lips that stay open at p, b and m
    offset: float = 1.0  # scale of constant offsets
    jitter: float = 1.0  # scale of tremble
    pose: float = 1.0  # scale of errors of head pose and gaze
    eyelids: float = 1.0  # scale of lids that move too little
    identity: float = 1.0  # scale of errors of the face's shape

    amplitude_range: tuple[float, float] = (0.60, 0.80)  # gain of lips and jaw, one draw a clip
    upper_amplitude: float = 0.85  # gain of brows
    smoothing_frames: tuple[int, int] = (5, 9)  # odd window lengths, one draw a clip
    missed_closures: float = 0.65  # share of bilabial closures not reached
    clip_offset: float = 0.030  # static offset of expression weights, standard deviation over clips
    common_offset: float = 0.024  # bias common to all clips
    jaw_offset_rad: float = 0.008  # static, of the jaw, per clip; the common bias opens it by as much
    white_jitter: float = 0.009  # tremble of expression weights, independent in each frame; the jaw's is a third of it in radians
    coloured_jitter: float = 0.015  # tremble with a correlation time of colour_frames; the jaw's is a third of it
    colour_frames: float = 8.0  # correlation time of coloured jitter
    pose_degrees: float = 1.0  # head pose noise, standard deviation
    gaze_degrees: float = 2.0  # gaze noise, standard deviation
    eyelid_gain: float = 0.75  # gain of lids
    identity_noise: float = 0.35  # standard deviation of identity coefficients' errors

    def only(self, *kinds: str) -> "Corruption":
        """The same corruption with every other kind switched off."""
        return replace(self, **{kind: getattr(self, kind) if kind in kinds else 0.0 for kind in KINDS})


KINDS = ("amplitude", "smoothing", "closures", "offset", "jitter", "pose", "eyelids", "identity")


def corrupt(clip: MotionClip, head, corruption: Corruption, seed: int) -> MotionClip:
    """What a tracker would have labelled. ``seed`` is the clip's; the common bias is the same for every clip of every set."""
    names = np.array(head.expression_names)
    lower = np.array([name.startswith(LOWER) for name in names])
    lids = np.array([name.startswith("eyeBlink") for name in names])
    expr, jaw = clip.expr.double().numpy().copy(), clip.jaw_pose.double().numpy().copy()
    neck, eyes, shape = clip.neck_pose.double().numpy().copy(), clip.eyes_pose.double().numpy().copy(), clip.shape.double().numpy().copy()

    def rng(kind: str) -> np.random.Generator:
        return stream(seed, "corruption", kind)

    if corruption.closures > 0:
        share = corruption.missed_closures * corruption.closures
        for first, last in _missed(bilabial_closures(clip, head), rng("closures"), share).tolist():
            expr[:, lower], jaw = _bridged(expr[:, lower], first, last), _bridged(jaw, first, last)
    gain = 1 + corruption.amplitude * (rng("amplitude").uniform(*corruption.amplitude_range) - 1)
    upper_gain = 1 + corruption.amplitude * (corruption.upper_amplitude - 1)
    expr *= np.where(lower, gain, np.where(lids, 1 + corruption.eyelids * (corruption.eyelid_gain - 1), upper_gain))
    jaw *= gain
    if corruption.smoothing > 0:
        shortest, longest = corruption.smoothing_frames
        frames = int(rng("smoothing").choice(np.arange(shortest, longest + 1, 2)))
        expr, jaw, neck = (_smoothed(curve, frames, corruption.smoothing) for curve in (expr, jaw, neck))
    weight_offset, jaw_offset = _offsets(rng("offset"), names, lower, corruption)
    expr += corruption.offset * weight_offset
    jaw[:, 0] += corruption.offset * jaw_offset
    _jitter(rng("jitter"), expr, jaw, corruption)
    noise = rng("pose")
    neck += (
        corruption.pose * np.radians(corruption.pose_degrees) * (0.3 * noise.normal(size=neck.shape) + _coloured(noise, neck.shape, 12.0))
    )
    gaze = (
        corruption.pose * np.radians(corruption.gaze_degrees) * (0.5 * noise.normal(size=neck.shape) + _coloured(noise, neck.shape, 12.0))
    )
    gaze[:, 2] = 0  # gaze has no roll
    eyes += np.concatenate([gaze, gaze], -1)
    shape += corruption.identity * corruption.identity_noise * rng("identity").normal(size=shape.shape)
    if corruption.offset > 0 or corruption.jitter > 0:
        expr, jaw[:, 0] = np.clip(expr, -0.15, 1.2), np.maximum(jaw[:, 0], -0.03)
    return replace(clip, expr=_tensor(expr), jaw_pose=_tensor(jaw), neck_pose=_tensor(neck), eyes_pose=_tensor(eyes), shape=_tensor(shape))


def bilabial_closures(clip: MotionClip, head) -> Int[np.ndarray, "closures 2"]:
    """First and last frame (inclusive) of each short stretch of closed lips between open ones."""
    gap = LipOpening(head, clip.shape)(clip.expr.double().numpy(), clip.jaw_pose[:, 0].double().numpy())
    closed = gap < CLOSED_M
    edges = np.flatnonzero(np.diff(np.concatenate([[False], closed, [False]]).astype(int)))
    stretches = edges.reshape(-1, 2) - [0, 1]
    around = [(gap[max(a - 4, 0) : a].max(initial=0), gap[b + 1 : b + 5].max(initial=0)) for a, b in stretches]
    short = [b - a < CLOSURE_FRAMES and min(sides) > OPEN_M for (a, b), sides in zip(stretches, around, strict=True)]
    return stretches[np.array(short, dtype=bool)]


def _missed(found: Int[np.ndarray, "closures 2"], rng: np.random.Generator, share: float) -> Int[np.ndarray, "missed 2"]:
    return found[rng.random(len(found)) < share]


def _bridged(curves: Float[np.ndarray, "time columns"], first: int, last: int, margin: int = 2) -> Float[np.ndarray, "time columns"]:
    """The curves with a stretch replaced by the straight line between its sides."""
    a, b = max(first - margin, 0), min(last + margin, len(curves) - 1)
    along = np.linspace(0, 1, b - a + 1)[:, None]
    bridged = curves.copy()
    bridged[a : b + 1] = (1 - along) * curves[a] + along * curves[b]
    return bridged


def _smoothed(curves: Float[np.ndarray, "time columns"], frames: int, scale: float) -> Float[np.ndarray, "time columns"]:
    """Weighted means over a Hann window of so many frames, mixed with the original where scale is below 1."""
    kernel = np.hanning(frames + 2)[1:-1]
    half = frames // 2
    padded = np.pad(curves, ((half, half), (0, 0)), mode="edge")
    smooth = np.stack([np.convolve(column, kernel / kernel.sum(), "valid") for column in padded.T], -1)
    return curves + min(scale, 1.0) * (smooth - curves)


def _offsets(rng, names, lower, corruption: Corruption) -> tuple[Float[np.ndarray, "expressions"], float]:
    """Static offsets of a clip: its own and the one common to all clips. Eyelids and tongue stay where they are."""
    common = np.random.default_rng(BIAS_SEED)
    size = np.where([name.startswith(("eye", "tongue", "cheekPuff")) for name in names], 0.0, np.where(lower, 1.0, 0.7))
    weights = size * (corruption.clip_offset * rng.normal(size=len(names)) + corruption.common_offset * common.normal(size=len(names)))
    return weights, corruption.jaw_offset_rad * (1.0 + rng.normal())


def _jitter(rng: np.random.Generator, expr, jaw, corruption: Corruption) -> None:
    """White and coloured noise, in place."""
    for curves, unit in ((expr, 1.0), (jaw, 1 / 3)):
        white = corruption.white_jitter * rng.normal(size=curves.shape)
        coloured = corruption.coloured_jitter * _coloured(rng, curves.shape, corruption.colour_frames)
        curves += corruption.jitter * unit * (white + coloured)


def _coloured(rng: np.random.Generator, size: tuple[int, int], frames: float) -> Float[np.ndarray, "time columns"]:
    """Noise of unit variance whose correlation falls to 1/e over so many frames (a first-order autoregression)."""
    keep = np.exp(-1 / frames)
    noise = rng.normal(size=size)
    noise[1:] *= np.sqrt(1 - keep**2)
    for t in range(1, len(noise)):
        noise[t] += keep * noise[t - 1]
    return noise


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).float()
