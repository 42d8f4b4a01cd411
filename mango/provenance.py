"""Where a result comes from: enough to make it again."""

import platform
import shlex
import subprocess
import sys
from pathlib import Path

import torch


def provenance() -> dict[str, str]:
    """Commit (marked when the checkout held changes), command, versions and machine, for run.json and benchmark files."""
    return {
        "commit": commit(),
        "command": shlex.join(sys.argv),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.platform(),
        "processor": processor(),
    }


def commit() -> str:
    """The checkout's commit, "+changes" when tracked files differ from it, "unknown" outside a checkout."""
    head = _git("rev-parse", "HEAD")
    return head + ("+changes" if head and _git("status", "--porcelain", "--untracked-files=no") else "") or "unknown"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    except OSError:  # no git
        return ""
    return done.stdout.strip()
