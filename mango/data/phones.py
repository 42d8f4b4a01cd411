"""What is spoken when, as a forced aligner says it: ``a.phones.json``, a list of {symbol, start, end, stress}. Read, write, check.

Symbols are the 39 of ARPAbet, or "sil" for what is no phone; a vowel may carry its stress as a digit instead ("AH1"). Times are seconds
from the start of the dialogue.
"""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from mango.data.atomic import atomic_file
from mango.data.json_files import read_json_list
from mango.data.problem import Problem, noted, raise_first
from mango.types import FRAME_RATE, Phone, StoredFile

VOWELS = ("IY", "IH", "EH", "AE", "AA", "AO", "UH", "UW", "AH", "ER", "EY", "AY", "OY", "AW", "OW")
CONSONANTS = ("W", "Y", "R", "L", "M", "N", "NG", "P", "B", "T", "D", "K", "G", "CH", "JH", "F", "V", "TH", "DH", "S", "Z",
              "SH", "ZH", "HH")  # fmt: skip
BILABIALS = ("P", "B", "M")  # spoken with closed lips
SILENCE = "sil"
ARPABET = (SILENCE, *VOWELS, *CONSONANTS)
STRESSES = {"0": 0.0, "1": 1.0, "2": 0.5}  # ARPAbet's digits
ROUNDING = 0.002  # seconds by which aligners' intervals may overlap


def closing_frames(phones: Iterable[Phone], frames: int) -> Bool[Tensor, "frames"]:
    """Frames in whose middle a bilabial is spoken; of one shorter than a frame, the frame that holds its middle.

    Not every frame that it touches: at its edges lips are on their way. In true motion of the synthetic set (117 bilabials) lips are
    0.16 mm open in the mean of these frames, 0.94 mm in those of all that are touched.
    """
    closing = torch.zeros(frames, dtype=torch.bool)
    for phone in phones:
        if phone.symbol in BILABIALS:
            first, end = (math.ceil(seconds * FRAME_RATE - 0.5) for seconds in (phone.start, phone.end))
            if first == end:
                first = int(0.5 * (phone.start + phone.end) * FRAME_RATE)
            closing[first : max(first + 1, end)] = True
    return closing


def write_phones(path: Path, phones: Iterable[Phone], frames: int | None = None) -> None:
    """``frames`` of the dialogue, where they are known."""
    rows = [{"symbol": p.symbol, "start": float(p.start), "end": float(p.end), "stress": float(p.stress)} for p in phones]
    raise_first(_phones_problems(path, rows, frames))
    with atomic_file(path) as partial:
        partial.write_text("[\n" + ",\n".join(json.dumps(row, allow_nan=False) for row in rows) + "\n]\n", encoding="utf-8")


def read_phones(path: StoredFile, frames: int | None = None) -> tuple[Phone, ...]:
    rows = read_json_list(path)
    raise_first(_phones_problems(path, rows, frames))
    return tuple(_phone(row) for row in rows)


def phones_problems(path: StoredFile, frames: int | None) -> Iterator[Problem]:
    with noted() as unreadable:
        yield from _phones_problems(path, read_json_list(path), frames)
    yield from unreadable


def _phone(row: dict) -> Phone:
    symbol, digit = _symbol_and_digit(row["symbol"])
    return Phone(symbol, float(row["start"]), float(row["end"]), float(row.get("stress", STRESSES.get(digit, 0.0))))


def _symbol_and_digit(written: str) -> tuple[str, str]:
    return (written[:-1], written[-1]) if written[:-1] in VOWELS and written[-1] in STRESSES else (written, "")


def _phones_problems(path: StoredFile, rows: list, frames: int | None) -> Iterator[Problem]:
    """At most one problem of a kind, about the first phone that has it."""
    number = _first(rows, lambda row: not (isinstance(row, dict) and {"symbol", "start", "end"} <= set(row) <= KEYS))
    if number is not None:
        yield Problem(path, f"phones {SHAPE}", f"{_shown(rows, number)}", "write one such object for each phone")
        return
    number = _first(rows, lambda row: not (isinstance(row["symbol"], str) and _symbol_and_digit(row["symbol"])[0] in ARPABET))
    if number is not None:
        expected = f"symbols of ARPAbet, {', '.join(ARPABET[:4])}, ..., or {SILENCE!r}"
        yield Problem(path, expected, _shown(rows, number), "convert the symbols (docs/data.md); what is no phone is 'sil'")
    number = _first(rows, lambda row: not all(_is_number(row.get(name, 0.0)) for name in ("start", "end", "stress")))
    if number is not None:
        yield Problem(path, "start and end in seconds, stress in [0, 1]", _shown(rows, number), "write plain numbers")
        return
    number = _first(rows, lambda row: not (0 <= row["start"] < row["end"] and 0 <= row.get("stress", 0.0) <= 1))
    if number is not None:
        yield Problem(path, "0 <= start < end and stress in [0, 1]", _shown(rows, number), "correct or remove this phone")
    begins_before = (number for number in range(1, len(rows)) if rows[number]["start"] < rows[number - 1]["end"] - ROUNDING)
    number = next(begins_before, None)
    if number is not None:
        found = f"{_shown(rows, number)}, after one that ends at {rows[number - 1]['end']:.6g} s"
        yield Problem(path, "phones in order that do not overlap", found, "sort them; one person says one thing at a time")
    seconds = math.inf if frames is None else (frames + 1) / FRAME_RATE  # a sound may end within the frame after its last
    number = _first(rows, lambda row: row["end"] > seconds)
    if number is not None:
        expected = f"phones within the dialogue's {frames} frames ({frames / FRAME_RATE:.2f} s)"
        yield Problem(path, expected, _shown(rows, number), "write times in seconds from the dialogue's start, and cut what lies beyond")


KEYS = {"symbol", "start", "end", "stress"}
SHAPE = '{"symbol": "AH", "start": 0.52, "end": 0.61}, maybe with "stress"'


def _first(rows: list, is_wrong) -> int | None:
    return next((number for number, row in enumerate(rows) if is_wrong(row)), None)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _shown(rows: list, number: int) -> str:
    return f"{json.dumps(rows[number], ensure_ascii=False)[:80]} as phone {number + 1}"
