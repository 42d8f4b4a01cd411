"""Three hundred damages of every format: only `InputError` may leave a reader. `python -m benchmarks.fuzzing` makes ten thousand."""

import pytest
from mutations import SOURCES, fuzzed

SLOWEST = 5.0  # seconds: no damage may make a reader think for ever


FOLDERS = ("dualtalk", "seamless", "vhap", "deca emoca", "metrical-tracker", "unils")  # in files of their own: they take longer


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in FOLDERS])
def test_only_input_errors_leave(tmp_path, name):
    """Notices a reader whose errors are not caught, one that believes a size, and mutations that reach nothing."""
    outcome = fuzzed(name, tmp_path, 300)
    assert outcome.escaped == []
    assert outcome.slowest < SLOWEST
    assert outcome.mutations == outcome.read + outcome.refused == 300 and min(outcome.read, outcome.refused) > 5
