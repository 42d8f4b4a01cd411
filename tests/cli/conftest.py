import pytest
import torch
from tiny_models import tiny_avatar, tiny_run

from mango.head.model import load_head


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small lose more by handing work to threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def head():
    return load_head()


@pytest.fixture(scope="session")
def avatars(head, tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatars")
    return [tiny_avatar(folder / f"p{seed:02d}.safetensors", head, seed) for seed in (0, 1)]


@pytest.fixture(scope="session")
def run_folder(head, tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("runs") / "stage1", head)
