"""Where a tracked face looks."""

import numpy as np
from jaxtyping import Float

from mango.data.formats.recordings import FlameMotion


def degrees_off(motion: FlameMotion, centers: Float[np.ndarray, "time_or_one 3"]) -> Float[np.ndarray, "time"]:
    """The angle at which the face looks past a camera that stands at ``centers``: 0 = into it. The head is taken to be where its
    translation is: FLAME's origin lies inside the head.
    """
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(motion.rotation.astype(np.float64)) * Rotation.from_rotvec(motion.neck_pose.astype(np.float64))
    ahead = turn.apply([0.0, 0.0, 1.0])
    towards = centers - motion.translation
    cosine = (ahead * towards).sum(1) / np.maximum(np.linalg.norm(towards, axis=1), 1e-9)
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
