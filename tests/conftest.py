"""What every test has: shapes in signatures checked at run time, one thread, the built-in head, small stand-ins for trained things."""

import os
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

hook = install_import_hook(["mango", "renderer"], "beartype.beartype")
hook.__enter__()


@pytest.fixture(autouse=True)
def one_thread():
    """Tests are many and small: threads cost them five times what they bring."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def head():
    from mango.head.model import load_head

    return load_head()


@pytest.fixture(scope="session")
def avatars(head, tmp_path_factory) -> list[Path]:
    from tiny_models import tiny_avatar

    folder = tmp_path_factory.mktemp("avatars")
    return [tiny_avatar(folder / f"p{seed:02d}.safetensors", head, seed) for seed in (0, 1)]


@pytest.fixture(scope="session")
def run_folder(head, tmp_path_factory) -> Path:
    from tiny_models import tiny_run

    return tiny_run(tmp_path_factory.mktemp("runs") / "stage1", head)


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
