"""Made-up arrays under FLAME's names."""

import numpy as np


def tiny_flame(seed: int = 0, verts: int = 12, expressions: int = 4) -> dict[str, np.ndarray]:
    """As small as FLAME's layout allows: 300 identity columns, then expressions."""
    draw = np.random.default_rng(seed)
    weights = draw.random((verts, 5))
    regressor = draw.random((5, verts))
    return {
        "v_template": draw.normal(0, 0.1, (verts, 3)),
        "shapedirs": draw.normal(0, 0.01, (verts, 3, 300 + expressions)),
        "posedirs": draw.normal(0, 0.01, (verts, 3, 36)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),  # FLAME's own way of writing -1
        "weights": weights / weights.sum(1, keepdims=True),
        "f": draw.integers(0, verts, (9, 3)).astype(np.uint32),
    }
