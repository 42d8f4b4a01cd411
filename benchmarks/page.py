"""docs/results.md: every benchmark writes between its own two marks, and what else stands on the page stays."""

from dataclasses import MISSING, fields
from pathlib import Path

from mango.data.atomic import atomic_file
from mango.provenance import processor, provenance

RESULTS = ("out", "to", "sheet", "at_once")  # options that change no number


def write_between(path: Path, name: str, text: str) -> None:
    """Replaces what ``name`` wrote before; a new page or a new name gets its marks at the end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page = path.read_text("utf-8") if path.exists() else "# Results\n"
    if begin not in page:
        page = f"{page.rstrip()}\n\n{begin}\n{end}\n"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        partial.write_text(f"{before}{begin}\n{text.rstrip()}\n{end}{after}", "utf-8")


def typed(module: str, options: object) -> str:
    """The command that makes the same numbers: every option that is not as it is anyway, but for where results go."""
    said = []
    for field in fields(options):
        value = getattr(options, field.name)
        anyway = field.default if field.default_factory is MISSING else field.default_factory()
        if field.name not in RESULTS and value != anyway:
            said.append(f"--{field.name.replace('_', '-')} {' '.join(map(_word, value if isinstance(value, tuple) else (value,)))}")
    return " ".join([f"python -m {module}", *said])


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def commit_and_machine() -> str:
    facts = provenance()
    commit, _, changes = facts["commit"].partition("+")
    return f"commit {commit[:9]}{' with changes' if changes else ''}, {processor()}"
