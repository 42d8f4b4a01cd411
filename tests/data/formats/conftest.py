"""The built-in head for tests of formats (tests/data has a made-up one), and a FLAME head of made-up numbers."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "head"))  # tiny_flame
sys.path.insert(0, str(Path(__file__).parents[2] / "audio"))  # recorded_sounds
sys.path.insert(0, str(Path(__file__).parents[2] / "tracking"))  # coded_films


@pytest.fixture(scope="session")
def builtin():
    from mango.head.model import load_head

    return load_head()


@pytest.fixture(scope="session")
def flame_file(tmp_path_factory) -> Path:
    """FLAME's layout with its 300 + 100 columns and twelve vertices."""
    from tiny_flame import tiny_flame

    path = tmp_path_factory.mktemp("flame") / "generic_model.npz"
    np.savez(path, **tiny_flame(expressions=100))
    return path
