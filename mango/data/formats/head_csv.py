"""Head pose for other programs, a row a frame: the turn as BVH has it (degrees; yaw, pitch, roll about y, x, z) and the place in metres."""

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mango.data.atomic import atomic_file
from mango.data.formats.recordings import Assumption, FlameMotion, converted
from mango.data.formats.rotations import to_yaw_pitch_roll

COLUMNS = ("frame", "time_seconds", "x_metres", "y_metres", "z_metres", "y_rotation_degrees", "x_rotation_degrees", "z_rotation_degrees")


def write(path: Path, motion: FlameMotion, fps: float) -> list[Assumption]:
    """What is lost, in words."""
    turns = np.degrees(to_yaw_pitch_roll(_head_turn(motion)))
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for k, (place, turn) in enumerate(zip(motion.translation, turns, strict=True)):
            table.writerow([k, f"{k / fps:.6f}", *(f"{value:.9g}" for value in (*place, *turn))])
    return [converted("lost: expression, jaw, eyes and shape; the turn is rotation times neck_pose, the place is translation alone")]


def _head_turn(motion: FlameMotion) -> Float[np.ndarray, "time 3"]:
    """Of the head in the world: the neck turns within what rotation turns."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(motion.rotation.astype(np.float64)) * Rotation.from_rotvec(motion.neck_pose.astype(np.float64))
    return turn.as_rotvec().astype(np.float32)
