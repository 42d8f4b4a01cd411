"""Every name that code looks up is defined somewhere: linters cannot tell, for shapes of tensors are written as names nobody defines."""

import builtins
import dis
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path.relative_to(ROOT)
    for top in ("mango", "renderer", "benchmarks", "tests", "train_stage1.py", "train_stage2.py", "bootstrap.py")
    for path in ([ROOT / top] if top.endswith(".py") else (ROOT / top).rglob("*.py"))
)
OF_MODULES = {"__file__", "__name__", "__doc__", "__path__", "__spec__", "__annotations__", "__module__", "__qualname__", "__debug__"}


def undefined(source: str, name: str = "source.py") -> set[str]:
    """Names that the code of a module looks up, and that neither it nor Python defines."""
    module = compile(source, name, "exec", dont_inherit=True)
    known = set(dir(builtins)) | OF_MODULES | _named(module, "STORE_NAME")
    for code in _within(module):
        known |= _named(code, "STORE_GLOBAL")
    return {wanted for code in _within(module) for wanted in _looked_up(code) - known}


def _looked_up(code: CodeType) -> set[str]:
    """Beyond what a class or a module defines as it goes."""
    return _named(code, "LOAD_GLOBAL") | (_named(code, "LOAD_NAME") - _named(code, "STORE_NAME"))


def _named(code: CodeType, operation: str) -> set[str]:
    return {instruction.argval for instruction in dis.get_instructions(code) if instruction.opname == operation}


def _within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _within(constant)


def test_names_are_defined():
    """Seen red: two errors that nobody had met were NameErrors."""
    assert {str(path): names for path in FILES if (names := undefined((ROOT / path).read_text(), str(path)))} == {}


def test_what_is_not_defined_is_found():
    sound = "import a\nclass B:\n    x = 1\n    y = x\ndef f(c):\n    global g\n    g = a\n    return [B(c, d) for d in c]\n"
    assert undefined(sound) == set()
    assert undefined("def f(c):\n    return [D(c, d, e) for d in c]\nclass B:\n    y = z\n") == {"D", "e", "z"}
