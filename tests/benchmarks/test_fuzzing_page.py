"""The table of damaged files grows piece by piece.

Faults planted, each seen red: pieces of another size kept, a format that was done again counted as it was.
"""

import pytest

from benchmarks.fuzzing import Options, main, markdown, with_earlier
from mango.data.json_files import read_json, write_json


def row(name: str, refused: int) -> dict:
    numbers = {"mutations": 10, "refused": refused, "read": 10 - refused, "escaped": [], "slowest": 0.012, "seconds": 1.0, "causes": {}}
    return {"format": name, "commit": "0123456789", "peak_growth_mib": 3.4, **numbers}


def test_pieces_are_gathered(tmp_path):
    options = Options(mutations=10, out=tmp_path / "fuzzing.json")
    assert with_earlier(options, [row("vhap", 1)]) == [row("vhap", 1)]
    write_json(options.out, {"mutations": 10, "seed": 0, "rows": [row("vhap", 1), row("smirk", 2)]})
    assert with_earlier(options, [row("vhap", 5), row("emoca", 3)]) == [row("emoca", 3), row("smirk", 2), row("vhap", 5)]
    assert with_earlier(Options(mutations=20, out=options.out), [row("emoca", 3)]) == [row("emoca", 3)]
    table = markdown(options, with_earlier(options, []))
    assert "| vhap | 10 | 1 | 9 | 0 | 12 | 3 | 012345678 |" in table and "--mutations 10 --seed 0" in table


def test_finished_formats_survive_ctrl_c(tmp_path, monkeypatch):
    """Seen red: hours of finished formats were written when the last one had ended."""
    import mutations

    def fuzzed(name, folder, number, seed):
        if name == "b":
            raise KeyboardInterrupt
        return mutations.Outcome(number, read=1)

    monkeypatch.setattr(mutations, "all_names", lambda: ["a", "b"])
    monkeypatch.setattr(mutations, "fuzzed", fuzzed)
    with pytest.raises(KeyboardInterrupt):
        main(Options(mutations=10, out=tmp_path / "fuzzing.json"))
    (found,) = read_json(tmp_path / "fuzzing.json")["rows"]
    assert found["format"] == "a" and (found["peak_growth_mib"] is None or found["peak_growth_mib"] >= 0)
