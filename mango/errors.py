"""The one error that means "your input", as opposed to "our bug"."""

import os


class InputError(ValueError):
    """Something a user gave cannot be used. The message says what was expected, what was found and what to do.

    The command line prints it on one line and leaves with code 2; everything else is a bug and keeps its traceback.
    """

    def __init__(self, where: object, *, expected: str, found: str, remedy: str):
        self.where, self.expected, self.found, self.remedy = str(where), expected, found, remedy
        super().__init__(f"{where}: expected {expected}, found {found}; {remedy}")

    def __reduce__(self):  # exceptions cross process borders (DataLoader workers, preparation pools)
        return _rebuild, (self.where, self.expected, self.found, self.remedy)


def _rebuild(where: str, expected: str, found: str, remedy: str) -> InputError:
    return InputError(where, expected=expected, found=found, remedy=remedy)


def check_utf8(name: str | os.PathLike) -> None:
    """Names of other bytes than UTF-8's can be opened, but neither written down nor given to the libraries that read sound."""
    try:
        os.fspath(name).encode()
    except UnicodeEncodeError as error:
        found, remedy = ascii(os.path.basename(name)), "rename it; `convmv -f latin1 -t utf-8 --notest -r FOLDER` renames all of a folder"
        raise InputError(ascii(os.fspath(name)), expected="a file name in UTF-8", found=found, remedy=remedy) from error
