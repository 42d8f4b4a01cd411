"""JSON on disk, read strictly and written atomically."""

import json
from pathlib import Path
from typing import Any

from mango.data.atomic import atomic_file
from mango.errors import InputError
from mango.types import StoredFile

REMEDY = "repair the file or write it again"


def read_json(path: StoredFile) -> dict:
    content = _parsed(path)
    if not isinstance(content, dict):
        raise InputError(path, expected="a JSON object", found=type(content).__name__, remedy=REMEDY)
    return content


def read_json_list(path: StoredFile) -> list:
    content = _parsed(path)
    if not isinstance(content, list):
        raise InputError(path, expected="a JSON list", found=type(content).__name__, remedy=REMEDY)
    return content


def _parsed(path: StoredFile) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
    except FileNotFoundError:
        raise InputError(path, expected="a file", found="none", remedy="check the path; every description must be copied along") from None
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(path, expected="valid JSON", found=str(error) or type(error).__name__, remedy=REMEDY) from error


def write_json(path: Path, content: dict) -> None:
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
