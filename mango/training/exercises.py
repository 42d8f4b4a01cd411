"""What one step of stage one learns from: windows, everything random about them, and how many frames each loss will count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mango.data.windows import WindowBatch, Windows
from mango.diffusion.objective import Schedule
from mango.losses.motion import frame_counts
from mango.training.feed import Feed
from mango.training.muting import sometimes_muted
from mango.training.stage1 import Draws, Stage1Config, random_draws


@dataclass(frozen=True)
class Exercise:
    """This process's windows, in the parts they are done in one after the other."""

    parts: tuple[tuple[WindowBatch, Draws], ...]
    frames: Mapping[str, int]  # of each loss, over the whole batch: all parts of all processes


def exercises(config: Stage1Config, windows: Windows, schedule: Schedule, parts: Sequence[list[int]]) -> Feed[Exercise]:
    """By step. ``parts``: which windows of a batch are this process's (`Runtime.parts`). Windows and draws are made for the whole batch."""
    if config.losses.closure:
        windows.require_phones("losses.closure")

    silence = windows.silence()

    def exercise(step: int) -> Exercise:
        whole = sometimes_muted(windows.batch(config.seed, step, config.batch), silence, config.muted, (config.seed, step))
        position = (config.seed, step, 0)  # 0: as runs have drawn so far
        draws = random_draws(whole, schedule, config.conditions, config.context, position, config.high_levels)
        frames = frame_counts(config.losses, whole.taught & ~draws.given, whole.keep, whole.bilabial)
        return Exercise(tuple((whole.rows(part), draws.rows(part)) for part in parts), frames)

    return Feed(exercise)
