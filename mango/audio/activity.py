"""Who speaks when, from the sound of each person's own track: energy with hysteresis and hangover."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.audio.alignment import SAMPLES_PER_FRAME, frame_count
from mango.audio.loudness import HOP, HOPS_PER_FRAME, QUIETEST_SPEECH_DB, background_level_db, decibels, speech_level_db

ONSET_BELOW_LEVEL_DB = 18.0  # speech starts when this close to the track's own loud speech
KEEP_BELOW_LEVEL_DB = 28.0  # and lasts while this close: quiet phones of a phrase
ABOVE_BACKGROUND_DB = 9.0  # neither may be mere noise
SHORTEST_FRAMES = 3  # clicks are not speech
BLOCK_SAMPLES = 1_000 * SAMPLES_PER_FRAME  # looked at together
HANGOVER_FRAMES = 4  # closures and breaths inside a phrase are bridged up to twice this


def speaking_indicator(audio: Float[Tensor, "samples"]) -> Float[Tensor, "time"]:
    """1 where the person of this track speaks, else 0, per frame. Independent of gain; a track without speech is all zeros.

    Levels are relative to the track's own loud speech, so cross-talk 20 dB or more below it counts as silence, and to its
    own background, so steady noise does too.
    """
    frames = frame_count(audio.shape[0])
    hops_db = hop_levels_db(audio)
    level, background = speech_level_db(hops_db), background_level_db(hops_db)
    if level <= QUIETEST_SPEECH_DB or level - background < ABOVE_BACKGROUND_DB:
        return torch.zeros(frames)
    frames_db = hops_db.reshape(frames, HOPS_PER_FRAME).sort(dim=1).values[:, 1:].mean(dim=1)
    floor = background + ABOVE_BACKGROUND_DB
    onset = frames_db > max(level - ONSET_BELOW_LEVEL_DB, floor)
    lasting = frames_db > max(level - KEEP_BELOW_LEVEL_DB, floor)
    return phrases(lasting, onset)


def phrases(lasting: Bool[Tensor, "time"], onset: Bool[Tensor, "time"]) -> Float[Tensor, "time"]:
    """1 in runs of ``lasting`` that hold an ``onset``, without clicks, over pauses as short as a closure: what every detector ends with."""
    return _closed(_opened(_runs_containing(lasting, onset), SHORTEST_FRAMES), HANGOVER_FRAMES).float()


def hop_levels_db(audio: Float[Tensor, "samples"]) -> Float[Tensor, "hops"]:
    """Level of each 10 ms hop in dB full scale, of the sound less its 8 ms moving average: without hum and rumble."""
    samples = frame_count(audio.shape[0]) * SAMPLES_PER_FRAME
    levels = [torch.zeros(0)]
    for first in range(0, samples, BLOCK_SAMPLES):  # in blocks: a recording of hours is held once, not four times
        last, before = min(first + BLOCK_SAMPLES, samples), min(first, 64)
        part = audio[first - before : min(last + 64, samples)].float()
        slow = torch.nn.functional.avg_pool1d(part[None, None], 129, 1, 64, count_include_pad=False)[0, 0]
        levels.append(decibels((part - slow)[before : before + last - first].reshape(-1, HOP).square().mean(dim=1)))
    return torch.cat(levels)


def _runs_containing(wide: Bool[Tensor, "time"], narrow: Bool[Tensor, "time"]) -> Bool[Tensor, "time"]:
    """The runs of ``wide`` in which ``narrow`` is True somewhere (hysteresis)."""
    starts = wide & ~torch.nn.functional.pad(wide, (1, 0))[:-1]
    run = starts.cumsum(0)
    hit = torch.zeros(int(run.max()) + 1 if run.numel() else 1, dtype=torch.bool)
    hit[run[wide & narrow]] = True
    return wide & hit[run]


def _grown(mask: Bool[Tensor, "time"], before: int, after: int) -> Bool[Tensor, "time"]:
    padded = torch.nn.functional.pad(mask.float(), (after, before))
    return padded.unfold(0, before + after + 1, 1).amax(dim=1) > 0 if mask.numel() else mask


def _opened(mask: Bool[Tensor, "time"], shortest: int) -> Bool[Tensor, "time"]:
    """Without runs shorter than ``shortest`` frames."""
    eroded = ~_grown(~mask, 0, shortest - 1)
    eroded[: shortest - 1] &= False
    return _grown(eroded, shortest - 1, 0) & mask


def _closed(mask: Bool[Tensor, "time"], reach: int) -> Bool[Tensor, "time"]:
    """With gaps up to twice ``reach`` bridged, and one frame of hangover at the end of each run."""
    bridged = ~_grown(~_grown(mask, reach, reach), reach, reach)
    return _grown(bridged | mask, 0, 1)
