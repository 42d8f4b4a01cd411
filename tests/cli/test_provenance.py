"""What is written beside a result makes it again."""

import shlex
import sys

from mango.provenance import provenance


def test_the_command_can_be_pasted(monkeypatch):
    """Fault planted: words joined by spaces, so that a path with one became two words."""
    words = ["train_stage1.py", "configs/stage1.yaml", "--run", "my runs/a & b"]
    monkeypatch.setattr(sys, "argv", words)
    assert shlex.split(provenance()["command"]) == words
