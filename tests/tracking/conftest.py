"""MediaPipe's networks, which are not everywhere; one thread from the first fixture on."""

import pytest
import torch

from mango.errors import InputError


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_fixtures_too():
    """What a module shares is computed before a function's fixtures are set up."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def networks():
    """MediaPipe's networks, or a skip with the reason."""
    from mango.tracking.face_models import FaceModels

    try:
        return FaceModels()
    except InputError as error:
        pytest.skip(f"no networks that find faces: {error}")
