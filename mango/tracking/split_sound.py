"""Whose voice is whose on a split screen. Recorders of calls give each side a channel of its own; what is mixed cannot be told apart."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mango.audio.channels import SEPARATE, likeness
from mango.errors import InputError
from mango.tracking.films import FilmFacts, voice_of


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


def _refuse(film: FilmFacts, found: str) -> None:
    remedy = "give --voice FILE for each person, or --voices left-right or mixed"
    raise InputError(film.path, expected="sound with a channel for each person of the split screen", found=found, remedy=remedy)
