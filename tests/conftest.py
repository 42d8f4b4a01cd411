"""Shapes in signatures are checked at run time, in tests only."""

import os
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

hook = install_import_hook(["mango", "renderer"], "beartype.beartype")
hook.__enter__()
torch.set_num_threads(1)  # tests are many and small: threads cost them five times what they bring


@pytest.fixture
def samples() -> Path:
    """The folder of real sample data, or a skip with the reason."""
    folder = os.environ.get("MANGO_SAMPLE_DATA")
    if not folder:
        pytest.skip("MANGO_SAMPLE_DATA is not set: no real sample data to test with")
    if not Path(folder).is_dir():
        pytest.skip(f"MANGO_SAMPLE_DATA names {folder}, which is not a folder")
    return Path(folder)


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
