"""A clip of one head as a clip of another (`mango.head.head_pairs`), and what was lost, in words."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from mango.data.formats.recordings import Assumption, converted
from mango.head.head_pairs import HeadPair, head_pair
from mango.head.model import Head
from mango.types import MotionClip


def retargeted_clip(clip: MotionClip, source: Head, target: Head) -> tuple[MotionClip, Assumption]:
    """The same movement of the target's average face; turns of head and eyes as they were."""
    pair = _pair(source, target)
    done = pair.carried(clip.shape, clip.expr, clip.jaw_pose, clip.eyes_pose)
    lost, moved = (float(np.sqrt(np.square(mm).mean())) for mm in (done.lost_mm, done.moved_mm))
    words = (
        f"motion of the head {source.name} to {target.name} by least squares on {pair.num_points} points of the face: {lost:.2f} of "
        f"{moved:.2f} mm are lost (rms over points and frames); the average face, with the turns of head and eyes as they were"
    )
    shape = clip.shape.new_zeros(target.identities)
    return replace(clip, expr=done.expr, jaw_pose=done.jaw_pose, shape=shape, head=target.digest), converted(words)


@lru_cache(maxsize=1)
def _pair(source: Head, target: Head) -> HeadPair:
    """A process has one for all its recordings."""
    return head_pair(source, target)
