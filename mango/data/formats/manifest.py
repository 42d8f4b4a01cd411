"""What an import has done: ``import.jsonl`` in the set. First a line of what holds for all, then a line for each recording as it is
finished, appended and flushed, so that a kill loses none; the last line of a recording counts, a line torn by a kill does not.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mango.data.atomic import atomic_file

NAME = "import.jsonl"
FORMAT = 1


@dataclass(frozen=True)
class Record:
    """One recording, imported or failed."""

    id: str
    people: tuple[str, ...]
    split: str
    look: str  # of its source files: nothing has to be read to see that nothing changed
    source: str = ""  # digest of what is in them
    result: str = ""  # digest of the dialogue's folder as it was written
    seconds: float = 0.0
    attempts: int = 0
    words: tuple[tuple[str, str], ...] = ()  # certainty and words of what was assumed and converted
    retargeted: bool = False  # its motion was another head's
    error: str | None = None  # why it failed
    trace: str = ""  # where, if it was no fault of the recording


@dataclass(frozen=True)
class Manifest:
    """``settings`` decide the files; ``source`` is where the recordings lay; ``retargeting`` is what each shape lost between the heads:
    ``shape``, ``moves_mm``, ``lost_mm``.
    """

    settings: Mapping[str, object]
    source: str
    records: Mapping[str, Record]
    retargeting: tuple[Mapping[str, object], ...] = ()

    @staticmethod
    def read(root: Path) -> "Manifest | None":
        """None where there is none that can be read."""
        path = root / NAME
        lines = [_parsed(line) for line in path.read_text("utf-8", "replace").splitlines()] if path.is_file() else []
        if not lines or lines[0] is None or lines[0].get("format") != FORMAT:
            return None
        records = (_record(line) for line in lines[1:] if line is not None)
        known = {record.id: record for record in records if record is not None}
        return Manifest(lines[0]["settings"], lines[0]["source"], known, tuple(lines[0].get("retargeting", ())))

    def write(self, root: Path, order: Iterable[str]) -> None:
        """Whole and tidy: a line for each recording, in this order."""
        head = {"format": FORMAT, "settings": dict(self.settings), "source": self.source}
        head |= {"retargeting": self.retargeting} if self.retargeting else {}
        with atomic_file(root / NAME) as partial:
            partial.write_text("".join(_line(line) for line in (head, *(asdict(self.records[id]) for id in order))), "utf-8")


def append(root: Path, record: Record) -> None:
    with (root / NAME).open("a", encoding="utf-8") as file:
        file.write(_line(asdict(record)))
        file.flush()
        os.fsync(file.fileno())


def _line(content: dict) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"


def _parsed(line: str) -> dict | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _record(content: dict) -> Record | None:
    try:
        words = tuple((certainty, text) for certainty, text in content["words"])
        return Record(**{**content, "people": tuple(content["people"]), "words": words})
    except (TypeError, KeyError, ValueError):
        return None
