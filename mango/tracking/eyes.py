"""Where eyes look: the middle of the iris in the picture, against the middle of the fitted eyeball.

Half-closed eyes show little of it and keep the gaze of the frames about them.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.head.conventions import axis_angle_to_matrix
from mango.head.model import Head, ShapedHead
from mango.tracking.face_filters import FaceFilters
from mango.tracking.face_models import LIDS, FaceModels, Picture
from mango.tracking.face_points import places_on
from mango.tracking.fitting import Fit
from mango.types import MotionClip

RIGHT_EYE, LEFT_EYE = (33, 133, 159, 145), (263, 362, 386, 374)  # outer and inner corner, upper and lower lid, of the 468 points
SMALLEST = 4.0  # pixels of an eye, below which nothing is looked for
LEAST_OPEN = 0.12  # height of the opening over its width, below which nothing is seen
FARTHEST = 0.6  # radians that an eye turns
SMOOTH = 5  # frames: gaze jumps, but not back and forth
EYES = ("left_eye", "right_eye")


def looked_at(
    models: FaceModels | FaceFilters, picture: Picture, points: Float[np.ndarray, "468 2"]
) -> tuple[Float[np.ndarray, "468 2"], Float[np.ndarray, "2 2"]]:
    """The points with lids as the eye network sees them, closer to closed than the face's network does; and the middles of the left and the
    right iris of the person, NaN where the eye is closed. Filters see no more of eyes than they did of the face.
    """
    if isinstance(models, FaceFilters):
        return points, np.full((2, 2), np.nan)
    better, irises = points.copy(), np.full((2, 2), np.nan)
    for eye, (side, (outer, inner, upper, lower)) in enumerate((("left", LEFT_EYE), ("right", RIGHT_EYE))):
        width = np.linalg.norm(points[outer] - points[inner])
        if width < SMALLEST:
            continue
        iris, lids = models.eye(picture, points[outer], points[inner], mirrored=side == "left")
        better[list(LIDS[side])] = lids
        if np.linalg.norm(better[upper] - better[lower]) > LEAST_OPEN * width:
            irises[eye] = iris
    return better, irises


def gaze(head: Head, fit: Fit, points: Float[Tensor, "time 468 2"], seen: Float[Tensor, "time 2 2"]) -> Float[Tensor, "time 6"]:
    """Turns of both eyeballs, axis-angle in the head's frame: those whose pupils are seen at ``seen`` (pixels; NaN: not seen).

    A pupil lies on the eyeball in front of its middle; its offset across the view, over the radius, is the sine of the angle to the line of
    sight, and how the head is turned is taken off. The offset is taken against the corners of the eye, seen and fitted, so that a head
    fitted a pixel off does not count as a look. Both eyes look in one direction: the mean is taken. Where straight ahead is cannot be told
    from pictures: the clip's median is.
    """
    clip, camera, focal, turns = fit.clip, fit.camera_from_world[0], fit.intrinsics[0, 0], []
    person, places = head.with_shape(clip.shape), places_on(head, points.shape[1])
    on_face = (person.template[head.faces[places.faces]] * places.barycentrics[..., None]).sum(1)
    axes = _head_turns(clip)
    for eye, (outer, inner, *_) in enumerate((LEFT_EYE, RIGHT_EYE)):
        ball = person.template[head.region(EYES[eye])]
        radius = ((ball.amax(0) - ball.amin(0)).max() / 2).clamp_min(0.008)
        middle, corners = (_in_camera(fit, person, axes, point) for point in (person.joints[3 + eye], on_face[[outer, inner]].mean(0)))
        expected = focal * (middle[:, :2] / middle[:, 2:] - corners[:, :2] / corners[:, 2:])
        off = (seen[:, eye] - points[:, [outer, inner]].mean(1) - expected) * middle[:, 2:] / focal  # metres, across the view
        share = (off / radius).clamp(-0.65, 0.65)
        looks = torch.cat([share, -(1 - share.square().sum(1, keepdim=True)).sqrt()], dim=1)  # towards the camera: pupils are seen
        right, up, ahead = (axes.mT @ (looks @ camera[:3, :3])[..., None])[..., 0].unbind(1)
        angle = ahead.clamp(-1, 1).acos()
        turns.append(torch.stack([-up, right], dim=1) / torch.sinc(angle / torch.pi)[:, None])  # pitch, yaw
    mean = torch.nanmean(torch.stack(turns), dim=0)
    usual = torch.nan_to_num(mean.nanmedian(0).values)
    return _eyes_pose(_filled((mean - usual).clamp(-FARTHEST, FARTHEST)))


def _in_camera(fit: Fit, person: ShapedHead, axes: Float[Tensor, "time 3 3"], point: Float[Tensor, "3"]) -> Float[Tensor, "time 3"]:
    """A point of the skull, over time, in the camera's frame."""
    neck, camera = person.joints[1], fit.camera_from_world[0]
    world = (point - neck) @ axes.mT + neck + fit.clip.translation
    return world @ camera[:3, :3].T + camera[:3, 3]


def _head_turns(clip: MotionClip) -> Float[Tensor, "time 3 3"]:
    return axis_angle_to_matrix(clip.neck_pose)


def _filled(angles: Float[Tensor, "time 2"]) -> Float[Tensor, "time 2"]:
    """Gaps bridged by straight lines, single frames that leap out dropped (a running median)."""
    found = angles.numpy().astype(np.float64)
    good = np.isfinite(found).all(1)
    if not good.any():
        return torch.zeros_like(angles)
    times = np.arange(len(found))
    bridged = np.stack([np.interp(times, times[good], found[good, k]) for k in range(2)], axis=1)
    padded = np.pad(bridged, ((SMOOTH // 2, SMOOTH // 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, SMOOTH, axis=0)
    return torch.from_numpy(np.median(windows, axis=-1)).float()


def _eyes_pose(angles: Float[Tensor, "time 2"]) -> Float[Tensor, "time 6"]:
    one = torch.cat([angles, torch.zeros(len(angles), 1)], dim=1)
    return torch.cat([one, one], dim=1)
