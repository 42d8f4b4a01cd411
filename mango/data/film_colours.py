"""The colours of a decoded picture by its own tags. Needs no torch: processes that read films of strangers start with it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mango.data.high_dynamic_range import Curve, standard_picture

BT709, BT601, BT2020, UNSTATED = 1, 5, 9, 2  # numbers of ITU-T H.273, as FFmpeg has them
CURVES: dict[int, Curve] = {16: "PQ", 18: "HLG"}  # H.273's numbers too; all others are near to each other
LIMITED, FULL = 1, 2  # FFmpeg's colour ranges


def in_colours(frame: Any, pixels: str = "rgb24", convert: Callable[..., Any] | None = None) -> UInt8[np.ndarray, "rows cols *colours"]:
    """RGB of BT.709, or ``pixels`` ("gray": brightness as it is), by the film's own tags; players' guess where it has none.

    ``convert``: PyAV's reformat of a frame, where it should not be the frame's own.
    """
    convert, (curve, wide) = convert or type(frame).reformat, curve_and_width(frame)
    guessed = BT2020 if wide else BT709 if frame.height >= 720 else BT601
    space = guessed if frame.colorspace in (UNSTATED, 0) else frame.colorspace
    ranges = {"src_color_range": range_of(frame), "dst_color_range": FULL}
    options = {"src_colorspace": space, "dst_colorspace": space, "interpolation": exact_conversion(), **ranges}
    if pixels == "gray" or (curve == "standard" and not wide):
        return convert(frame, format=pixels, **options).to_ndarray()
    # by planes: from half-size colours swscale's exact path makes other colours in rgb48le (FFmpeg 8.1)
    return standard_picture(convert(frame, format="gbrp16le", **options).to_ndarray(), curve, wide=wide)


def range_of(frame: Any) -> int:
    return FULL if frame.color_range == FULL or frame.format.name.startswith("yuvj") else LIMITED


def curve_and_width(frame: Any) -> tuple[Curve, bool]:
    """What code values mean, and whether their primaries are BT.2020's, as those of high dynamic range are unless they say otherwise."""
    curve = CURVES.get(frame.color_trc, "standard")
    return curve, frame.color_primaries == BT2020 or (curve != "standard" and frame.color_primaries == UNSTATED)


def colours_changed(frame: Any) -> str | None:
    """In words, where `in_colours` makes other colours of those that are stored."""
    curve, wide = curve_and_width(frame)
    if curve != "standard":
        return f"high dynamic range ({curve}): brought to standard colours (BT.709), highlights rolled off"
    return "colours of BT.2020: brought to standard ones (BT.709)" if wide else None


def exact_conversion() -> int:
    """swscale's exact paths: its fast ones are off by two of 255 and cost 2.5 dB on smooth pictures."""
    from av.video.reformatter import Interpolation

    return int(Interpolation.BILINEAR) | 0x40000 | 0x2000  # SWS_ACCURATE_RND, SWS_FULL_CHR_H_INT
