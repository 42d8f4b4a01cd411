import subprocess
from pathlib import Path

import pytest
from tiny_dialogues import make_tiny_set
from tiny_training import run_training, tiny_yaml, train_here


@pytest.fixture
def train():
    """``run_training``; what a failed test leaves running is ended."""
    started = []

    def go(*arguments, **options):
        result = run_training(*arguments, **options)
        started.append(result)
        return result

    yield go
    for process in started:
        if isinstance(process, subprocess.Popen) and process.poll() is None:
            process.kill()
            process.communicate()


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
