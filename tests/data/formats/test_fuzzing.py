"""Three hundred damages of every format: only `InputError` may leave a reader. `python -m benchmarks.fuzzing` makes ten thousand."""

import json

import pytest
from mutations import DATABASES, SOURCES, fuzzed

from benchmarks.fuzzing import Options, main

SLOWEST = 5.0  # seconds: no damage may make a reader think for ever


FOLDERS = (  # in files of their own: they take longer
    "dualtalk", "dualtalk-arkit", "seamless", "vhap", "vhap filmed", "deca emoca", "metrical-tracker", *DATABASES,
)  # fmt: skip


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in FOLDERS])
def test_only_input_errors_leave(tmp_path, name):
    """Notices a reader whose errors are not caught, one that believes a size, and mutations that reach nothing."""
    outcome = fuzzed(name, tmp_path, 300)
    assert outcome.escaped == []
    assert outcome.slowest < SLOWEST
    assert outcome.mutations == outcome.read + outcome.refused == 300 and min(outcome.read, outcome.refused) > 5


def test_the_benchmark_writes_what_it_saw_and_what_earlier_pieces_saw(tmp_path, capsys):
    """Notices pieces that forget each other, and pieces of another size that are mixed in."""

    def rows_after(format: str, mutations: int) -> list[tuple[str, int]]:
        assert main(Options(mutations=mutations, formats=(format,), out=tmp_path / "x.json")) == 0
        return [(row["format"], row["mutations"]) for row in json.loads((tmp_path / "x.json").read_text())["rows"]]

    assert rows_after("lam-json", 20) == [("lam-json", 20)]
    assert rows_after("dualtalk prediction", 20) == [("dualtalk prediction", 20), ("lam-json", 20)]
    assert rows_after("lam-json", 10) == [("lam-json", 10)]
    assert "lam-json" in capsys.readouterr().out
