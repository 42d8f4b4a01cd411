"""The one error that means "your input", as opposed to "our bug"."""


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
