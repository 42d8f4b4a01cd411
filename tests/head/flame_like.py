"""The built-in head as somebody else's FLAME file: another size and place, another order of vertices, no teeth, expressions without names.

What ARKit's weights are in its coefficients is known, so retargeting has a truth.
"""

import numpy as np

from mango.head.assets import read_head

SIZE = 1.08
COEFFICIENTS = 50


def mixing(left_out: tuple[str, ...] = ()) -> np.ndarray:
    """(50, 41): coefficients of weights; shapes that are left out it cannot do."""
    names = read_head("builtin").expression_names
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(COEFFICIENTS, len(names))))[0]
    return matrix * [name not in left_out for name in names]


def flame_like(left_out: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    ours = read_head("builtin")
    kept = np.random.default_rng(1).permutation(np.union1d(ours.regions["skin"], ours.regions["eyes"]))
    number = np.full(len(ours.template), -1)
    number[kept] = np.arange(len(kept))
    faces = number[ours.faces]
    expressions = ours.expression_directions.astype(np.float64) @ mixing(left_out).T
    directions = np.concatenate([ours.shape_directions, np.zeros((len(ours.template), 3, 300 - ours.shape_directions.shape[-1]))], 2)
    still = np.flatnonzero(np.abs(ours.expression_directions[kept]).max((1, 2)) == 0)  # FLAME's expressions carry its joints, ours do not
    places = np.concatenate([ours.template[kept][still].T, np.ones((1, len(still)))]).astype(np.float64)
    joints = np.concatenate([(ours.joint_regressor @ ours.template).T, np.ones((1, 5))])
    regressor = np.zeros((5, len(kept)))
    regressor[:, still] = (np.linalg.pinv(places) @ joints).T
    return {
        "v_template": SIZE * ours.template[kept] + [0.0, 0.02, -0.01],
        "shapedirs": SIZE * np.concatenate([directions, expressions], 2)[kept],
        "posedirs": SIZE * ours.pose_correctives.reshape(36, -1, 3).transpose(1, 2, 0)[kept],
        "J_regressor": regressor,
        "kintree_table": np.array([[-1, 0, 1, 1, 1], range(5)]),
        "weights": ours.skin_weights[kept],
        "f": faces[(faces >= 0).all(1)],
    }
