"""What a video shows of whom: cameras, rectangles, and when they change.

    side by side   a | b, each seen by a camera of their own         grid     the same above a strip for each one's sound
    single         one of them                                       two-shot both in one space, facing each other, cut on turns

Cameras stand as they would for a mean head, and look higher where hair reaches out of that: a head cut off is worse than less of a neck.
Where that would cost the chin, they stand farther away.

In the two-shot, x points to the right of the picture: a sits on the left and looks to the right, b the other way round. Cameras stay on
one side of the line between them, so that nobody changes sides when the picture changes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool1d

from mango.types import PERSONS
from renderer.cameras import look_at, pinhole, portrait_camera
from renderer.types import Camera

ViewName = Literal["side-by-side", "single", "two-shot", "grid"]
STRIP = 1 / 6  # height of a grid's sound strip, of a picture's
WIDE = 16 / 9
APART_M, FACING_DEGREES = 0.23, 48.0  # of each from the middle; turned from the camera towards the other
SHORTEST_S = 2.0  # of a shot
CLEAR_LEAD = 0.3  # of the share of time that somebody speaks, over the other's
REACH_S = 0.7  # half of the time over which is counted who speaks
EARLY_S = 0.5  # that time lies so much ahead: a cut comes a little before the turn
PAUSE_S = 1.2  # in which nobody has the turn, until both are shown
HEADROOM_M = 0.012  # above the hair
CHIN_M = -0.13  # of a mean head, as far down as it is seen: the chin is nearer than the hair
PORTRAIT_M, FAR_M, CLOSE_M = 0.9, 1.12, 0.85  # from which a portrait, both of a two-shot, and one of it alone are seen
PORTRAIT_DEGREES, FAR_DEGREES, CLOSE_DEGREES = 22.0, 25.0, 22.0  # of view, from top to bottom


@dataclass(frozen=True)
class Shot:
    """One person in one rectangle of the picture."""

    person: str
    camera: Camera  # of a head at the origin of FLAME's axes: where the person sits is in it
    left: int = 0  # pixels
    top: int = 0


@dataclass(frozen=True)
class Stretch:
    """Frames ``first`` to ``last - 1``, in which no camera changes. Later shots lie over earlier ones."""

    first: int
    last: int
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class View:
    """The picture's size in pixels and everything that is shown, in order."""

    width: int
    height: int
    stretches: tuple[Stretch, ...]


def view_of(
    name: ViewName, size: int, speaking: Float[Tensor, "person time"], fps: float, tops: Mapping[str, float], person: str = "a"
) -> View:
    """``size``: pixels a side of one person's picture, or the height of the two-shot. ``speaking`` (at ``fps``) decides its cuts.

    ``tops``: how high each person's hair reaches, metres above the origin of FLAME's axes.
    """
    frames = speaking.shape[1]
    if name == "single":
        return View(size, size, (Stretch(0, frames, (Shot(person, portrait(size, tops[person])),)),))
    if name == "two-shot":
        width = 2 * round(size * WIDE / 2)
        shots = two_shot(width, size, tops)
        return View(width, size, tuple(Stretch(first, last, shots[which]) for first, last, which in cuts(speaking, fps)))
    shots = tuple(Shot(who, portrait(size, tops[who]), left=size * k) for k, who in enumerate(PERSONS))
    strip = 2 * round(size * STRIP / 2) if name == "grid" else 0
    return View(2 * size, size + strip, (Stretch(0, frames, shots),))


def portrait(size: int, top: float) -> Camera:
    level, away = aimed(-0.02, top, PORTRAIT_M, PORTRAIT_DEGREES)
    return portrait_camera(size, target=(0.0, level, 0.0), distance=away, field_of_view_degrees=PORTRAIT_DEGREES)


def aimed(level: float, top: float, away: float, degrees: float) -> tuple[float, float]:
    """Metres: the height that a level camera looks at, and from how far, so that what reaches up to ``top`` is in the picture.

    ``level`` and ``away`` where that is so; or higher, and, when the chin would be lost, farther away.
    """
    slope, highest = math.tan(math.radians(degrees / 2)), top + HEADROOM_M
    away = max(away, (highest - CHIN_M) / 2 / slope)
    return max(level, highest - away * slope), away


# Two people in one space ------------------------------------------------------------------------------------------------------------------


def two_shot(width: int, height: int, tops: Mapping[str, float]) -> Mapping[str, tuple[Shot, ...]]:
    """The shots of both, and of each alone: seen from the other's side, a little off the line between them."""
    level, far = aimed(-0.05, max(tops.values()), FAR_M, FAR_DEGREES)
    both = _seen((0.0, level + 0.07, far), (0.0, level, 0.0), FAR_DEGREES, width, height, PERSONS)
    alone = {}
    for person, side in zip(PERSONS, (-1, 1), strict=True):
        away = math.radians(FACING_DEGREES - 20)  # from nearly where the other is
        (level, close), across = aimed(-0.03, tops[person], CLOSE_M, CLOSE_DEGREES), side * APART_M
        eye = (across - side * close * math.sin(away), level + 0.03, close * math.cos(away))
        aside = (across - side * 0.05, level, 0.0)  # room in front of the face
        alone[person] = _seen(eye, aside, CLOSE_DEGREES, width, height, (person,))
    return {"both": both, **alone}


def place(person: str) -> Float[Tensor, "4 4"]:
    """World from head, of who sits on the left (a) or on the right (b)."""
    side = -1 if person == PERSONS[0] else 1
    turn = math.radians(-side * FACING_DEGREES)
    matrix = torch.eye(4)
    matrix[0, 0], matrix[0, 2], matrix[2, 0], matrix[2, 2] = math.cos(turn), math.sin(turn), -math.sin(turn), math.cos(turn)
    matrix[0, 3] = side * APART_M
    return matrix


def _seen(eye, target, degrees: float, width: int, height: int, people: Sequence[str]) -> tuple[Shot, ...]:
    camera_from_world, intrinsics = look_at(eye, target), pinhole(width, height, degrees)
    return tuple(Shot(person, Camera(camera_from_world @ place(person), intrinsics, width, height)) for person in people)


def cuts(speaking: Float[Tensor, "person time"], fps: float) -> list[tuple[int, int, str]]:
    """First frame, one past the last, and who is shown (a, b, both): whoever has the turn; both where nobody does, and at first.

    Nothing is shown for less than two seconds, unless the video is shorter.
    """
    frames, reach, shortest = speaking.shape[1], round(REACH_S * fps), round(SHORTEST_S * fps)
    share = avg_pool1d(speaking[:, None].float(), 2 * reach + 1, 1, reach, count_include_pad=False)[:, 0]
    ahead = (share[0] - share[1])[(torch.arange(frames) + round(EARLY_S * fps)).clamp(max=frames - 1)]
    holder = torch.where(ahead.abs() < CLEAR_LEAD, 0, ahead.sign()).int().tolist()
    made, shown, since = [], "both", 0
    for frame, sign in enumerate(holder):
        soon = holder[frame : frame + round(PAUSE_S * fps)]
        wanted = {1: PERSONS[0], -1: PERSONS[1], 0: shown if any(soon) else "both"}[sign]
        if wanted != shown and shortest <= frame - since and shortest <= frames - frame:
            made.append((since, frame, shown))
            shown, since = wanted, frame
    return [*made, (since, frames, shown)]
