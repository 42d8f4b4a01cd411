"""Whether a result that lies on the disk is still one of the code as it is.

What counts is every module of ours that the code behind a result imports, however indirectly (imports inside functions count), and what
lies beside those modules compiled or stored. Nobody has to keep a list of what matters.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

import mango

ROOT = Path(mango.__file__).parents[1]
OURS = ("mango", "renderer", "benchmarks", "train_stage1", "train_stage2")
BESIDE = {"renderer": "csrc/*", "mango/head": "assets/*.npz", "mango/tracking": "assets/*.npz"}  # folder -> what its modules load
MAKING_DATA = ("mango/data/synthetic",)  # what was made has a digest of its own


def code_digest(*starts: str, plain: tuple[str, ...] = (), without: tuple[str, ...] = MAKING_DATA) -> str:
    """Of the files ``starts``, of all that they lead to but by files and folders ``without``, and of the files ``plain`` alone."""
    files = {file for start in starts for file in imported_by(start, without)}
    beside = [str(path.relative_to(ROOT)) for folder, names in BESIDE.items() if any(file.startswith(f"{folder}/") for file in files)
              for path in (ROOT / folder).glob(names)]  # fmt: skip
    known = hashlib.sha256()
    for file in sorted({*files, *beside, *plain}):
        known.update(file.encode() + b"\0" + (ROOT / file).read_bytes())
    return known.hexdigest()[:16]


@cache
def imported_by(start: str, without: tuple[str, ...]) -> frozenset[str]:
    """``start`` and every file of ours that it reaches, as paths below the project."""
    reached, waiting = set(), [start]
    while waiting:
        file = waiting.pop()
        if file not in reached and not any(file == name or file.startswith(f"{name}/") for name in without):
            reached.add(file)
            waiting += [found for module in _imports(file) for found in _files_of(module)]
    return frozenset(reached)


def _imports(file: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / file).read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def _files_of(module: str) -> Iterator[str]:
    """The module's file and those of the packages it lies in."""
    parts = module.split(".")
    if parts[0] in OURS:
        places = [Path(*parts).with_suffix(".py"), *(Path(*parts[:depth]) / "__init__.py" for depth in range(1, len(parts) + 1))]
        yield from (str(place) for place in places if (ROOT / place).is_file())


def of_folder(folder: Path) -> str:
    """Of all that a folder holds."""
    known = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        known.update(str(file.relative_to(folder)).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return known.hexdigest()[:16]


def of(*parts: object) -> str:
    """One number of several."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=asdict).encode()).hexdigest()[:16]
