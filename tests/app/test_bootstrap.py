"""The README's first command, where it was interrupted."""

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

import pytest


@pytest.fixture
def bootstrap(tmp_path, monkeypatch):
    """Of an environment in a temporary folder, into which nothing is installed."""
    spec = importlib.util.spec_from_file_location("bootstrap", Path(__file__).parents[2] / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    place = tmp_path / ".venv"
    for name, value in {"ENVIRONMENT": place, "BIN": place / "bin", "PYTHON": place / "bin" / "python", "STAMP": place / "stamp"}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    monkeypatch.setattr(module, "install_torch", lambda: None)
    monkeypatch.setattr(module, "install", lambda *what: None)
    return module


def test_half_an_environment_is_made_again(bootstrap):
    """Seen red: Ctrl-C while it was made, or Debian without python3-venv, left one without pip, and no later run got further."""
    venv.create(bootstrap.ENVIRONMENT, with_pip=False)
    assert bootstrap.PYTHON.exists() and not bootstrap.can_install()
    bootstrap.set_up(())
    assert subprocess.run([bootstrap.PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0
    mine = bootstrap.ENVIRONMENT / "mine"
    mine.touch()
    bootstrap.STAMP.unlink()
    bootstrap.set_up(())
    assert mine.exists(), "a whole one is kept"


def test_ctrl_c_while_setting_up_has_no_traceback(bootstrap, monkeypatch):
    def interrupted(extras):
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "set_up", interrupted)
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "setup"])
    assert bootstrap.main() == 130
