"""How every benchmark is started from the command line."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

import tyro

from benchmarks.code_digests import ROOT
from mango.errors import InputError

Options = TypeVar("Options")


def run(main: Callable[[Options], int], options: type[Options]) -> NoReturn:
    """``main`` with what the command line says; what is wrong with it or its input is one line and exit code 2."""
    try:
        sys.exit(main(tyro.cli(options)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def tests_pass(asked: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether the project's tests that pytest is ``asked`` for were run and passed, and what it said; its last line comes last."""
    done = subprocess.run([sys.executable, "-m", "pytest", *asked], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [*done.stderr.strip().splitlines(), *done.stdout.strip().splitlines()] or ["no word"]
    return done.returncode == 0 and " passed" in lines[-1], lines


def check_correct(*asked: str) -> None:
    """Before anything is timed. ``asked`` are the project's tests, as pytest is asked for them."""
    passed, lines = tests_pass(asked)
    print("correctness first:", lines[-1], flush=True)
    if not passed:
        remedy = f"see why: python -m pytest {' '.join(asked)}"
        raise InputError("correctness", expected="tests that pass, or no speed is worth printing", found=lines[-1], remedy=remedy)


def check_some(options: object, *names: str) -> None:
    """Lists that must hold something."""
    for name in names:
        if not getattr(options, name):
            raise InputError(f"--{name}", expected="at least one", found="none", remedy=f"name some, or leave out --{name}")
