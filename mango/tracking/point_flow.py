"""Points steadied by optical flow: a detector says where a point is, roughly, in each picture; flow how it moved since the one before.

For each point the path p is sought that is least astonishing to both,

    sum over t of  w_t |p_t - found_t|^2 / off^2  +  |p_t - p_(t-1) - moved_t|^2 / (MOVED^2 + returned_t^2)

where ``returned`` is by how much flow forwards and then backwards misses the point it began at. What was found and lies far off the path
counts little (w: Cauchy's weight). Flow alone drifts, and misses part of what lips do that uncover teeth; networks tremble; filters
tremble more, and now and then take a closed mouth for an open one. Without light or detail flow stands still: it is not believed then.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from mango.tracking.detection import Seen
from mango.tracking.face_models import Picture
from mango.tracking.face_points import SeenPoints

NETWORKS_OFF, FILTERS_OFF = 0.005, 0.02  # standard deviations of what a detector finds, of the face's size
MOVED = 0.0015  # of flow between two pictures, the same
FACE_PX = 256  # height of the face where flow is computed
ROUND_IT = 1.25  # side of the part of the picture that is looked at, over the face's size
ROUNDS = 4  # of weighting
AT_ONCE = 32  # points whose paths are sought together
SURE = 0.5
LAG = 5  # pictures over which movements are compared: what trembles has averaged out
ABOUT = 25  # pictures, a second, in which they are
ALIKE = (0.5, 2.0)  # the detector's movements over flow's, within which flow is believed; over whole films of people they are 0.9 to 1.1


@dataclass(frozen=True)
class Steadied:
    seen: Seen  # with better points
    missed: float  # by how much flow misses the points when it goes back, as a share of the face's size (median)
    believed: float  # share of the pictures in which flow moves as the points do; in the others they are as they were


def steadied(pictures: Iterable[Picture], seen: Seen, off: float, told: Callable[[int], None] = lambda done: None) -> Steadied:
    """``off``: standard deviation of what the detector finds, of the face's size."""
    found = seen.points.points.numpy() - np.float32(0.5)
    sure = seen.points.confidence.numpy() > SURE
    size = float(np.median(np.ptp(found[sure], axis=1).max(1))) if sure.any() else 1.0
    moved, returned, joined = np.zeros_like(found), np.zeros_like(found[..., 0]), np.zeros(len(found), bool)
    before = None
    for number, picture in enumerate(pictures):
        joined[number] = number > 0 and sure[number] and sure[number - 1] and number not in seen.cuts
        if joined[number]:
            moved[number], returned[number] = movement(before, picture, found[number - 1], found[number], size)
        before = picture
        told(number + 1)
    missed = float(np.median(returned[joined])) / size if joined.any() else float("nan")
    believed = believable(found, moved, joined)
    path = np.empty_like(found)
    for first in range(0, found.shape[1], AT_ONCE):  # points know nothing of each other, and an hour of all would be gigabytes
        some = slice(first, first + AT_ONCE)
        shares = (values[:, some].astype(np.float64) / size for values in (found, moved, returned))
        path[:, some] = paths(*shares, sure, believed, off) * size + 0.5
    better = SeenPoints(torch.from_numpy(path), seen.points.confidence)
    return Steadied(replace(seen, points=better), missed, float(believed.sum() / max(1, joined.sum())))


def believable(found: Float[np.ndarray, "time points 2"], moved: Float[np.ndarray, "time points 2"], joined: np.ndarray) -> np.ndarray:
    """In which pictures flow moves as the detector's points do, in the second about them: the slope of the detector's movements over
    flow's, both over LAG pictures, is about 1 however much the detector trembles. Where flow stands still, or runs wild, it is not.
    """
    both, size = np.zeros(len(joined)), np.zeros(len(joined))
    for last in range(LAG, len(joined)):
        lately = slice(last - LAG + 1, last + 1)
        if joined[lately].all():
            detected, flowed = found[last] - found[last - LAG], moved[lately].sum(0)
            both[last], size[last] = (flowed * detected).sum(), (flowed**2).sum()
    near = np.ones(ABOUT)
    both, size = (np.convolve(each, near, "same") if len(each) >= ABOUT else np.full(len(each), each.sum()) for each in (both, size))
    return joined & (size > 0) & (ALIKE[0] * size <= both) & (both <= ALIKE[1] * size)


def movement(
    first: Picture, second: Picture, points: Float[np.ndarray, "points 2"], later: Float[np.ndarray, "points 2"], size: float
) -> tuple[Float[np.ndarray, "points 2"], Float[np.ndarray, "points"]]:
    """How far each of ``points`` moves from one picture to the next, and by how much the way back misses it: pixels.

    ``later``: about where the points are then; only their middle is used.
    """
    import cv2

    scale, middle = FACE_PX / size, (points.mean(0) + later.mean(0)) / 2
    px = round(ROUND_IT * FACE_PX)
    into = np.array([[1 / scale, 0, middle[0] - px / 2 / scale], [0, 1 / scale, middle[1] - px / 2 / scale]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    views = [cv2.warpAffine(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY), into, (px, px), flags=flags) for each in (first, second)]
    estimate = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forwards, backwards = estimate.calc(*views, None), estimate.calc(*views[::-1], None)
    inside = (points - into[:, 2]) * scale
    there = _at(forwards, inside)
    back = _at(backwards, inside + there)
    return there / scale, np.linalg.norm(there + back, axis=1) / scale


def paths(
    found: Float[np.ndarray, "time points 2"],
    moved: Float[np.ndarray, "time points 2"],
    returned: Float[np.ndarray, "time points"],
    sure: np.ndarray,
    joined: np.ndarray,
    off: float,
) -> Float[np.ndarray, "time points 2"]:
    """In shares of the face's size. ``sure`` (time): a face was found; ``joined`` (time): flow from the picture before is known."""
    from scipy.linalg import solveh_banded

    out = found.copy()
    links = np.where(joined[:, None], 1 / (MOVED**2 + returned**2), 0.0)
    for _ in range(ROUNDS):
        astray = ((out - found) ** 2).sum(-1) / off**2
        believed = np.where(sure[:, None], 1 / (1 + astray), 1e-3) / off**2  # frames without a face stay where they are
        for point in range(found.shape[1]):
            link, pulled = links[:, point], links[:, point, None] * moved[:, point]
            banded = np.zeros((2, len(found)))
            banded[1] = believed[:, point] + link
            banded[1, :-1] += link[1:]
            banded[0, 1:] = -link[1:]
            right = believed[:, point, None] * found[:, point] + pulled
            right[:-1] -= pulled[1:]
            out[:, point] = solveh_banded(banded, right)
    return out


def _at(flow: Float[np.ndarray, "rows cols 2"], points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
    import cv2

    across, down = points.astype(np.float32).T[:, :, None]
    return cv2.remap(flow, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0].astype(np.float64)
