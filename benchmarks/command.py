"""How every benchmark is started from the command line."""

import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

import tyro

from mango.errors import InputError

Options = TypeVar("Options")


def run(main: Callable[[Options], int], options: type[Options]) -> NoReturn:
    """``main`` with what the command line says; what is wrong with it or its input is one line and exit code 2."""
    try:
        sys.exit(main(tyro.cli(options)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
