"""Picture files of strangers: what they claim is compared with their bytes before a library takes memory for it."""

import struct
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from mango.data.formats.guarded import AGAIN, content_of
from mango.errors import InputError

LARGEST = 2**26  # pixels, and bytes of a file
MOST_PIXELS_OF_A_BYTE = 8 * 1032  # of a PNG of one bit a pixel: deflate shrinks to a 1032nd at most
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"


def picture_of(path: Path) -> UInt8[np.ndarray, "rows cols 3"]:
    """A picture file in RGB, as its pixels lie (cameras know nothing of a tag that turns it); what is transparent is white.

    Errors: InputError when it is none.
    """
    import cv2

    if not path.is_file():
        raise InputError(path, expected="a picture", found="no such file", remedy="copy it along")
    content = content_of(path, LARGEST)
    pixels, missing = claimed(content)
    if missing or pixels > min(LARGEST, MOST_PIXELS_OF_A_BYTE * len(content)):
        found = f"{pixels} pixels, and parts longer by {missing} bytes, claimed by {len(content)} bytes"
        raise InputError(path, expected="a picture", found=found, remedy=AGAIN)
    try:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise InputError(path, expected="a picture", found=" ".join(str(error).split())[:120], remedy=AGAIN) from error
    if found is None or found.dtype not in (np.uint8, np.uint16):
        raise InputError(path, expected="a PNG or JPEG", found="something that cannot be read", remedy=AGAIN)
    if found.dtype == np.uint16:
        found = (found // 257).astype(np.uint8)
    if found.ndim == 2:
        return np.repeat(found[..., None], 3, axis=2)
    colours = found[..., 2::-1]
    if found.shape[2] == 4:
        alpha = found[..., 3:] / np.float32(255)
        colours = np.rint(colours * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(colours)


def claimed(content: bytes) -> tuple[int, int]:
    """Pixels that the header of a PNG or JPEG tells of, and by how many bytes its parts are longer than the file; zeros for others."""
    pixels = longest = 0
    if content.startswith(PNG):
        at = len(PNG)
        while at + 8 <= len(content):
            length, kind = struct.unpack_from(">I4s", content, at)
            if kind == b"IHDR" and at + 16 <= len(content):
                cols, rows = struct.unpack_from(">II", content, at + 8)
                pixels = max(pixels, rows * cols)
            at += 12 + length
            longest = max(longest, at)
    elif content.startswith(JPEG):
        at = len(JPEG)
        while at + 9 <= len(content) and content[at] == 0xFF:
            kind, length, rows, cols = struct.unpack_from(">xBHxHH", content, at)
            if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # a start of frame
                pixels = max(pixels, rows * cols)
            if kind == 0xDA:  # the start of the scan: what follows has no lengths
                break
            at += 2 + max(length, 2)
    return pixels, max(0, longest - len(content))
