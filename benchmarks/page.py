"""docs/results.md: every benchmark writes between its own two marks, and what else stands on the page stays."""

from pathlib import Path

from mango.data.atomic import atomic_file
from mango.provenance import processor, provenance


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


def commit_and_machine() -> str:
    facts = provenance()
    commit, _, changes = facts["commit"].partition("+")
    return f"commit {commit[:9]}{' with changes' if changes else ''}, {processor()}"
