"""Who imports whom, read from the source without running it. Imports inside functions count: an arrow is an arrow."""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = ("train_stage1", "train_stage2")


@dataclass(frozen=True)
class Import:
    target: str  # a module, as precisely as the source tells
    names: tuple[str, ...]
    line: int


def sources() -> dict[str, str]:
    """Every module of ours by dotted name; packages by the package's name."""
    files = [*(ROOT / "mango").rglob("*.py"), *(ROOT / "renderer").rglob("*.py"), *(ROOT / f"{name}.py" for name in SCRIPTS)]
    return {module_name(path): path.read_text(encoding="utf-8") for path in files if path.is_file()}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph(modules: Mapping[str, str], packages: Iterable[str] = ()) -> dict[str, list[Import]]:
    packages = set(packages) | {name.rpartition(".")[0] for name in modules}
    return {name: list(imports(name, source, modules, name in packages)) for name, source in modules.items()}


def imports(module: str, source: str, known: Mapping[str, str], is_package: bool) -> Iterable[Import]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join(parts[: len(parts) - node.level + 1] + ([base] if base else []))
            names = tuple(alias.name for alias in node.names)
            submodules = [f"{base}.{name}" for name in names if f"{base}.{name}" in known]
            for target in submodules or [base]:
                yield Import(target, names, node.lineno)
        elif isinstance(node, ast.Call) and _calls(node) in ("import_module", "__import__"):
            named = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
            yield from (Import(name, (), node.lineno) for name in named if isinstance(name, str))


def within(module: str, part: str) -> bool:
    """Whether a module is a package or module, or lies in it."""
    return module == part or module.startswith(part + ".")


def reached(start: str, arrows: Mapping[str, list[Import]]) -> dict[str, list[str]]:
    """Every module that an import of ``start`` can lead to, each with the shortest way there."""
    ways, waiting = {start: [start]}, [start]
    while waiting:
        module = waiting.pop(0)
        for arrow in arrows.get(module, ()):
            parents = [".".join(arrow.target.split(".")[: i + 1]) for i in range(arrow.target.count(".") + 1)]
            for target in parents:
                if target not in ways:
                    ways[target] = [*ways[module], target]
                    waiting.append(target)
    return ways


def strings(source: str) -> Iterable[tuple[str, int]]:
    """String constants that are not documentation."""
    tree = ast.parse(source)
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documentation = {
        id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, holders) and node.body and _is_text(node.body[0])
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value, node.lineno


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _calls(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))
