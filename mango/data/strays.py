"""What lies in a set's folder and is none of the set: dialogues of no split, and whatever somebody else put there."""

from collections.abc import Collection
from pathlib import Path

from mango.data.dialogues import DialogueSet
from mango.errors import InputError

OURS = ("dataset.json", "import.jsonl", "dialogues", "features", "shards.json")  # of a set, in folders or shards
SHOWN = 5


def unlisted(root: Path, ids: Collection[str]) -> tuple[str, ...]:
    """Folders of dialogues that no split names: who packs or merges the set leaves them behind."""
    folder = root / "dialogues"
    return tuple(sorted(item.name for item in folder.iterdir() if item.is_dir() and item.name not in ids)) if folder.is_dir() else ()


def left_behind(root: Path) -> str:
    """The same in words for the terminal; nothing where nothing is."""
    names = unlisted(root, DialogueSet.open(root).ids)
    shown = f"{', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''}"
    return f"warning: left behind in {root}, for no split lists them: {shown} ({len(names)} dialogues)\n" if names else ""


def check_replaceable(out: Path) -> None:
    """Errors: InputError where more would be lost with the set ``out`` than the set."""
    shards = {item for pattern in ("*.tar", "*.index.json") for item in out.glob(pattern)}
    others = sorted(item.name for item in out.iterdir() if not (item.name in OURS or item in shards or item.name.startswith(".")))
    if others:
        found = f"{', '.join(others[:SHOWN])}{' ...' if len(others) > SHOWN else ''} in it too"
        raise InputError(out, expected="nothing but a set to replace", found=found, remedy="move it away first, or choose another name")
