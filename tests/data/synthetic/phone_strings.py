"""Speech for tests: phones by hand, a hum where someone talks."""

from dataclasses import dataclass

import torch

from mango.types import Phone


@dataclass(frozen=True)
class Said:
    """As much of a ``Speech`` as motion looks at."""

    audio: torch.Tensor
    phones: tuple[Phone, ...]


def said(text: str, seconds: float, start: float = 0.5, phone_s: float = 0.09) -> Said:
    """Phones from ``start`` on; ``_`` is a pause of half a second."""
    phones, now = [Phone("sil", 0.0, start)], start
    for symbol in text.split():
        length = 0.5 if symbol == "_" else phone_s
        phones.append(Phone("sil" if symbol == "_" else symbol, now, now + length, 1.0 if symbol in ("AA", "IY") else 0.0))
        now += length
    phones.append(Phone("sil", now, seconds))
    time = torch.arange(int(seconds * 16000)) / 16000
    loud = torch.zeros_like(time)
    for phone in phones:
        if phone.symbol != "sil":
            loud[int(phone.start * 16000) : int(phone.end * 16000)] = 0.1
    return Said(loud * torch.sin(700 * time), tuple(phones))


TALK = "B AA P IY M UW F AE S AA M AA V IY _ P AH P IY SH UW B AA M"
ORDINARY = "DH AH K AE T W EH N T AA L AH L OW N T UH DH AH R EY L W EY S T EY SH AH N IH N M EY"
SILENT = ""
