"""The same for formats that are folders: one of their files is damaged. An LMDB's C library may crash at that, in a process of its own."""

import pytest
from mutations import DATABASES, fuzzed
from test_fuzzing import FOLDERS, SLOWEST


@pytest.mark.parametrize("name", FOLDERS)
def test_only_input_errors_leave(tmp_path, name):
    if name in DATABASES:
        pytest.importorskip("lmdb", reason="the lmdb extra is not installed")
    outcome = fuzzed(name, tmp_path, 300)
    assert outcome.escaped == [] and outcome.slowest < SLOWEST
    assert outcome.mutations == outcome.read + outcome.refused == 300 and min(outcome.read, outcome.refused) > 5
