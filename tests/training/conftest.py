from pathlib import Path

import pytest
from tiny_dialogues import make_tiny_set
from tiny_training import run_training, tiny_yaml, train_here

from mango.head.model import load_head


@pytest.fixture
def train():
    return run_training


@pytest.fixture(scope="session")
def head():
    return load_head("builtin")


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory, head) -> Path:
    return make_tiny_set(tmp_path_factory.mktemp("tiny") / "set", head)


@pytest.fixture
def tiny_config(tmp_path, tiny_set) -> Path:
    return tiny_yaml(tmp_path, tiny_set)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, tiny_set) -> Path:
    """The run folder of twelve steps in one go, made once; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("whole")
    assert train_here(tiny_yaml(folder, tiny_set), "--steps", "12") == 0
    return folder / "run"
