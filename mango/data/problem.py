"""One thing that is wrong with given data. Checks yield problems; loaders raise the first one, the validator lists them all."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mango.errors import InputError
from mango.types import StoredFile


@dataclass(frozen=True)
class Problem:
    file: StoredFile
    expected: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return str(self.error())

    def error(self) -> InputError:
        return InputError(self.file, expected=self.expected, found=self.found, remedy=self.remedy)


def raise_first(problems: Iterable[Problem]) -> None:
    for problem in problems:
        raise problem.error()


@contextmanager
def noted() -> Iterator[list[Problem]]:
    """Turns an ``InputError`` of the block into a problem in the list."""
    problems = []
    try:
        yield problems
    except InputError as error:
        problems.append(Problem(Path(error.where), error.expected, error.found, error.remedy))
