#!/usr/bin/env python3
"""Set everything up, then run one command in it. Needs Python 3.11+ and a C++ compiler.

    python3 bootstrap.py demo     the whole path on synthetic people; ends with runs/demo/dialogue.mp4 and report.html
    python3 bootstrap.py test     the linter and the tests; further words go to pytest
    python3 bootstrap.py setup    only the environment, .venv

Run again, it installs only what changed.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
SIDE_BY_SIDE = ["-n", "logical", "--maxprocesses", "4", "--dist", "loadfile"]  # a file stays together: its tests share fixtures
STAMP = ENVIRONMENT / "installed.txt"
EXTRAS = {"demo": (), "test": ("dev",), "setup": ()}  # what each command needs beyond the core


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036  the one file that an older Python must be able to read
        return fail(f"expected Python 3.11 or newer, found {platform.python_version()}; run this file with a newer python3")
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command not in EXTRAS:
        print(__doc__)
        return 2
    try:
        set_up(EXTRAS[command])
        return run_in_environment(command, sys.argv[2:])
    except subprocess.CalledProcessError as error:
        step = " ".join(map(str, error.cmd))
        return fail(f"this step failed with code {error.returncode}: {step}\nIts own words stand above; run again once that is mended.")
    except KeyboardInterrupt:
        return 130


def run_in_environment(command: str, arguments: list[str]) -> int:
    if command == "demo":
        return subprocess.run([PYTHON, "-m", "mango.cli", "demo", *arguments], cwd=ROOT).returncode
    if command == "test":
        linted = subprocess.run([PYTHON, "-m", "ruff", "check", "--no-cache", ROOT]).returncode
        return subprocess.run([PYTHON, "-m", "pytest", *SIDE_BY_SIDE, *arguments], cwd=ROOT).returncode or linted
    print(f"ready: {PYTHON}")
    return 0


def set_up(extras: tuple[str, ...]) -> None:
    """Make the environment hold what pyproject.toml and constraints.txt say, plus ``extras`` and those installed before."""
    files = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt", "bootstrap.py"))
    wanted = hashlib.sha256(files).hexdigest()
    had = STAMP.read_text().split() if STAMP.exists() else []
    if had[:1] == [wanted] and set(extras) <= set(had[1:]):
        return
    extras = tuple(sorted({*extras, *had[1:]}))
    if not can_install():
        print(f"making {ENVIRONMENT}", flush=True)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)  # what lies there was interrupted, or made without Debian's python3-venv
    install_torch()
    project = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    print("installing the project and what it needs", flush=True)
    install("-c", str(ROOT / "constraints.txt"), "-e", project)
    STAMP.write_text(" ".join([wanted, *extras]))


def can_install() -> bool:
    """Whether there is an environment that something can be installed into."""
    has_pip = PYTHON.exists() and subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0
    return has_pip or (PYTHON.exists() and shutil.which("uv") is not None)


def install_torch() -> None:
    """torch first: asked for by another package, Linux would get the CUDA build, gigabytes that a machine without a GPU cannot use."""
    version = next(line.split("==")[1] for line in (ROOT / "constraints.txt").read_text().split() if line.startswith("torch=="))
    present = f"import torch; assert torch.__version__.split('+')[0] == '{version}'"
    if subprocess.run([PYTHON, "-c", present], capture_output=True).returncode == 0:
        return None
    if platform.system() != "Linux" or has_nvidia_gpu():
        print(f"installing torch {version}", flush=True)
        return install(f"torch=={version}")
    print(f"installing torch {version}, the CPU build", flush=True)
    sources = ([f"torch=={version}+cpu"], [f"torch=={version}", "--index-url", "https://download.pytorch.org/whl/cpu"])
    if any(succeeds(installer, source) for source in sources for installer in installers()):
        return None
    print("no CPU build could be had from the configured sources or from pytorch.org: taking the default build (large)", flush=True)
    return install(f"torch=={version}")


def has_nvidia_gpu() -> bool:
    return bool(shutil.which("nvidia-smi")) and subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode == 0


def installers() -> list[list[str]]:
    """uv when there is one, then pip: they read different settings, so what one cannot find the other may."""
    uv, pip = shutil.which("uv"), [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    return [[uv, "pip", "install", "-q", "--python", str(PYTHON)], pip] if uv else [pip]


def succeeds(installer: list[str], what: list[str]) -> bool:
    return subprocess.run([*installer, *what], capture_output=True).returncode == 0


def install(*what: str) -> None:
    *first, last = installers()
    if not any(succeeds(installer, list(what)) for installer in first):
        subprocess.run([*last, *what], check=True)


def fail(message: str) -> int:
    print(f"bootstrap: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
