"""What --help says: something of every option, and of each what is meant for it.

Faults planted, each seen red: comments read by lines, as tyro does; a choice's comment lost; positional arguments called by their types.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

import pytest

from mango.cli import COMMANDS, main
from mango.config import parse_command_line
from mango.option_texts import field_texts
from mango.training.stage1 import Stage1Config
from mango.training.stage2_config import Stage2Config

DEFAULT = re.compile(r"\((default|required)\b.*\)$")


@dataclass(frozen=True)
class Inner:
    size: int = 1  # of the inner


@dataclass(frozen=True)
class Told:
    """In all the places where a comment can stand."""

    beside: int = 1  # on its line
    # above it,
    # on two lines
    above: int = 2
    silent: int = 3
    choice: Literal[
        "one",  # the first
        "two",
        "three",  # the last
    ] = "one"
    in_brackets: bool = (
        False  # where a formatter puts it
    )  # fmt: skip

    # of what follows after a line
    later: str = "#"
    inner: Inner = field(default_factory=Inner)  # of a group
    on: bool = True  # False: off

    def method(self) -> int:
        # not of a field
        return 1


def test_each_field_has_its_own_comments():
    assert field_texts(Told) == {
        "beside": "on its line", "above": "above it, on two lines", "choice": "one: the first; three: the last",
        "in_brackets": "where a formatter puts it", "later": "of what follows after a line", "inner": "of a group", "on": "False: off",
    }  # fmt: skip


@pytest.fixture
def told(capsys, monkeypatch):
    """What --help says of each option, positional arguments by the names they are shown under."""
    monkeypatch.setenv("COLUMNS", "100")

    def ask(run, *words) -> dict[str, str]:
        with pytest.raises(SystemExit) as left:
            run([*words, "--help"])
        assert left.value.code == 0
        return options(capsys.readouterr().out)

    return ask


def options(shown: str) -> dict[str, str]:
    """Rows of the groups, in boxes or not: a name after two blanks begins an option, what stands further in goes on with it."""
    rows, positional, current = {}, False, None
    for line in shown.replace("│", " ").splitlines():
        indented = len(line) - len(line.lstrip())
        if {*line.strip()} <= {*"-─"}:
            continue
        if line.startswith("╭") or indented == 1:
            positional = "positional" in line
        elif indented == 2 and (positional or line.lstrip().startswith("-")):
            invocation, _, text = line.strip().partition("  ")
            current = invocation.split(", ")[-1].split()[0]
            rows[current] = text.strip()
        elif indented > 2 and current and line.strip():
            rows[current] = f"{rows[current]} {line.strip()}".strip()
        else:
            current = None
    return {name: DEFAULT.sub("", text).strip() for name, text in rows.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_has_a_text(told, name):
    found = told(main, *name.split())
    assert "--help" in found and [option for option, text in found.items() if not text] == []


@pytest.mark.parametrize("config", [Stage1Config, Stage2Config])
def test_every_option_of_the_training_scripts_has_a_text(told, config):
    found = told(lambda words: parse_command_line(config, words))
    assert len(found) > 50 and [option for option, text in found.items() if not text] == []


def test_texts_belong_to_their_options(told):
    finetune = told(main, "finetune")
    assert finetune["--effort"].startswith("quick: an avatar alone") and "best: four times as long" in finetune["--effort"]
    assert "larger faces move" in finetune["--measure-gain"] and finetune["--person"] == "of the set: whom to learn"
    first = told(lambda words: parse_command_line(Stage1Config, words))
    assert "Hidden states" in first["--encoder.layers"] and first["--encoder.mels"] == "bands of log-mel"
    assert "regression: " in first["--model.kind"] and "own: " in first["--model.hearing"]
    second = told(lambda words: parse_command_line(Stage2Config, words))
    assert second["--windows"] == "of both people, per step" and "Hidden" not in " ".join(second.values())


def test_a_switch_that_is_on_says_what_it_switches_off(told):
    assert told(main, "data", "synthesize")["--no-video"] == "voices and labels only"


NAMES = {
    "data import": ["SOURCE", "OUT"], "data pack": ["DATA", "OUT"], "data merge": ["OUT", "SET"], "head convert": ["SOURCE", "OUT"],
    "export": ["MOTION", "OUT"], "track": ["FILM"], "assets get": ["{mediapipe}"], "data synthesize": ["DATA"],
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_positional_arguments_are_called_what_they_are(told, name):
    assert [option for option in told(main, *name.split()) if not option.startswith("-")] == NAMES[name]
