"""Whose voice is whose on a split screen. Recorders of calls give each side a channel of its own; what is mixed cannot be told apart."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mango.errors import InputError
from mango.tracking.films import FilmFacts, voice_of
from mango.types import FRAME_RATE, SAMPLE_RATE

SEPARATE = 0.5  # correlation of two channels' loudness over time, below which they are two people's; of one mix it is nearly 1
HUSHED = 40.0  # decibels below a channel's loudest, under which nothing is compared


def with_voices(films: Sequence[FilmFacts], voices: str | None, files: Sequence[Path], *, split: bool) -> tuple[list[FilmFacts], str]:
    """The films with the sound of each; and what was made of it, in words.

    ``voices``: "left-right", "mixed" or None: as the sound of a split screen says itself. Errors: InputError where it does not.
    """
    if files and (len(files) != len(films) or voices is not None):
        found = f"{len(files)}" if voices is None else f"--voices {voices} too"
        raise InputError(
            "--voice", expected=f"a file for each of {len(films)}, the first person's first", found=found, remedy="name them in order"
        )
    if files:
        given = [replace(film, voice=file) for film, file in zip(films, files, strict=True)]
        for film in given:
            voice_of(film)  # what is wrong with it is said before an hour of tracking
        return given, ""
    if not split or not films[0].sound:
        return list(films), ""
    if voices == "mixed":
        return list(films), "; both get the mixed sound, and count as speaking whenever one does"
    channels = films[0].channels
    if channels != 2:
        _refuse(films[0], f"{channels} channel{'s' * (channels != 1)}, in which both are mixed")
    sides = [replace(film, channel=channel) for channel, film in enumerate(films)]
    alike = likeness(*(voice_of(side) for side in sides)) if voices is None else 0.0
    if alike > SEPARATE:
        _refuse(films[0], f"two channels with the same sound (loudness correlates by {alike:.2f})")
    return sides, "; the left channel is the first person's voice, the right one the second's"


def likeness(first: Float[Tensor, "samples"], second: Float[Tensor, "samples"]) -> float:
    """Correlation of loudness over frames. A channel of silence is like nothing."""
    loud = []
    for voice in (first, second):
        frames = voice[: len(voice) // (SAMPLE_RATE // FRAME_RATE) * (SAMPLE_RATE // FRAME_RATE)].view(-1, SAMPLE_RATE // FRAME_RATE)
        decibels = 10 * frames.square().mean(1).clamp_min(1e-12).log10()
        loud.append(decibels.clamp_min(float(decibels.max()) - HUSHED))
    return float(torch.nan_to_num(torch.corrcoef(torch.stack(loud)))[0, 1])


def _refuse(film: FilmFacts, found: str) -> None:
    remedy = "give --voice FILE for each person, or --voices left-right or mixed"
    raise InputError(film.path, expected="sound with a channel for each person of the split screen", found=found, remedy=remedy)
