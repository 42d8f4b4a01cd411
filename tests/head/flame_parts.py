"""What is public of FLAME 2023 Open, under the names that FLAME's own files use. It has no expressions."""

from pathlib import Path

import numpy as np


def flame_parts(samples: Path) -> dict[str, np.ndarray]:
    with np.load(samples / "flame2023_open_parts" / "flame2023_open_partial.npz") as parts:
        return {
            "v_template": parts["v_template"],
            "shapedirs": parts["shapedirs60"],
            "posedirs": parts["posedirs"],
            "J_regressor": parts["J_regressor"],
            "kintree_table": np.stack([parts["parents"], np.arange(5)]),
            "weights": parts["weights"],
            "f": parts["faces"],
        }
