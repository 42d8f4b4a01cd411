import pytest
from talking_set import write_talking_set


@pytest.fixture(scope="session")
def dialogues(head, tmp_path_factory):
    return write_talking_set(tmp_path_factory.mktemp("set") / "set", head)
