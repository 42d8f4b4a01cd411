"""Benchmarks write side by side on one page, and say how they were asked."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import command, compiling, decoding, new_avatars, new_identity, rasterizer, stone_head
from benchmarks.lifting import __main__ as lifting
from benchmarks.lifting import figures
from benchmarks.motion import __main__ as motion_command
from benchmarks.motion import running
from benchmarks.page import typed, write_between
from mango.data.json_files import write_json
from mango.errors import InputError


def test_each_replaces_its_own_part_alone(tmp_path):
    """Planted and seen red: the rest of the page lost, the other benchmark's part replaced."""
    page = tmp_path / "docs" / "results.md"
    write_between(page, "one", "first of one")
    page.write_text(page.read_text() + "\nMy own words.\n")
    write_between(page, "two", "first of two")
    write_between(page, "one", "second of one")
    text = page.read_text()
    assert "first of one" not in text and all(words in text for words in ("# Results", "second of one", "My own words.", "first of two"))
    assert text.index("second of one") < text.index("My own words.") < text.index("first of two")


@dataclass(frozen=True)
class Asked:
    data: Path
    work: tuple[float, ...] = (5.0,)
    draw_every: int = 2
    seed: int = 0
    out: Path = Path("runs")
    to: Path | None = None


def test_the_command_on_the_page_makes_the_same_numbers():
    """Seen red: commands left out options that had been given, or that must be."""
    assert typed("benchmarks.x", Asked(Path("d"), (5.0, 0.5), 3, out=Path("o"), to=Path("t"))) == (
        "python -m benchmarks.x --data d --work 5 0.5 --draw-every 3"
    )
    assert typed("benchmarks.x", Asked(Path("d"))) == "python -m benchmarks.x --data d"


@pytest.mark.parametrize(
    ("work", "options", "said"),
    [
        (lifting.main, lifting.Options(seed=-1), "seed: expected at least 0"),
        (lifting.main, lifting.Options(at_once=0), "at_once: expected at least 1"),
        (figures.main, figures.Options(Path("x"), seeds="1,b"), "numbers with commas"),
        (figures.main, figures.Options(Path("x"), seeds=","), "--seeds: expected at least one seed"),
        (motion_command.main, motion_command.Options(seeds=()), "--seeds: expected at least one"),
        (motion_command.main, motion_command.Options(at_once=0), "at_once: expected at least 1"),
        (new_identity.main, new_identity.Options(seeds=()), "--seeds: expected at least one"),
        (new_avatars.main, new_avatars.Options(film=()), "--film: expected at least one"),
        (stone_head.main, stone_head.Options(size=0), "size: expected at least 16"),
        (decoding.main, decoding.Options(frames=7), "frames: expected at least 8"),
        (rasterizer.main, rasterizer.Options(scenes=("10k@256", "mine")), "found mine; there are "),
    ],
)
def test_bad_options_are_told_before_any_work(work, options, said):
    """Seen red: tracebacks, endless work on nothing, and 300 times the yardstick's frames a second for reading none."""
    with pytest.raises(InputError, match=said):
        work(options)


def test_figures_of_all_scenes_are_not_replaced_by_those_of_one(tmp_path, monkeypatch):
    write_json(tmp_path / "all.json", {"rows": [{"scene": "10k@256"}, {"scene": "20k@512"}]})
    monkeypatch.setattr(rasterizer, "check_correct", lambda *_: pytest.fail("it began"))
    with pytest.raises(InputError, match="other scenes, too, which would be lost; give another --out"):
        rasterizer.main(rasterizer.Options(tmp_path / "all.json", ("10k@256",)))


@pytest.mark.parametrize(
    ("code", "said", "passed"), [(0, "3 passed in 1 s", True), (0, "3 skipped", False), (5, "", False), (1, "1 failed, 2 passed", False)]
)
def test_tests_that_were_not_run_have_not_passed(monkeypatch, code, said, passed):
    """Seen red: from another folder "no tests ran" was a failure of the rasterizer; an empty answer was a traceback."""
    asked = {}

    def run(words, **named):
        asked.update(named, words=words)
        return subprocess.CompletedProcess(words, code, stdout=said, stderr="")

    monkeypatch.setattr(command.subprocess, "run", run)
    assert command.tests_pass(["tests/x.py"])[0] == passed
    assert asked["cwd"] == Path(__file__).parents[2] and asked["words"][-1] == "tests/x.py"


@pytest.mark.parametrize(
    ("module", "measure"),
    [
        (rasterizer, lambda folder: rasterizer.main(rasterizer.Options(folder / "rasterizer.json"))),
        (compiling, lambda folder: compiling.main(compiling.Options(out=folder / "compiling.json"))),
        (running, lambda folder: running.measured_speed(folder / "speed.json")),
    ],
)
def test_no_speed_of_what_is_not_correct(tmp_path, monkeypatch, module, measure):
    """Seen red: compiled training and generation at paper scale were timed whatever their tests said."""
    failed = subprocess.CompletedProcess([], 1, stdout="1 failed, 20 passed", stderr="")
    monkeypatch.setattr(command.subprocess, "run", lambda *_, **__: failed)
    for name in ("sgemm_flops", "trained", "real_time_factors"):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it measured"), raising=False)
    with pytest.raises(InputError, match="found 1 failed, 20 passed; see why: python -m pytest tests/"):
        measure(tmp_path)
    assert not list(tmp_path.iterdir())
