"""Films of phones (HLG), of PQ and of BT.2020's colours look like standard ones: pictures put into them as broadcasters do come back."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from jaxtyping import Float

from mango.data.film_colours import in_colours
from mango.data.high_dynamic_range import standard_picture

TAGS = {"HLG": 18, "PQ": 16, "standard": 14}
CODEC_PX = 8  # of a patch
GREYS = np.repeat(np.arange(16, 184, 12)[:, None], 3, 1)
COLOURS = np.array([[224, 172, 150], [150, 60, 60], [90, 160, 90], [60, 80, 180], [180, 160, 40], [120, 20, 20], [20, 120, 110]]).clip(
    0, 180
)
PATCHES = np.concatenate([GREYS, COLOURS]) / 255  # as bright as skin, where nothing is rolled off


def primaries(red: tuple[float, float], green: tuple[float, float], blue: tuple[float, float]) -> Float[np.ndarray, "3 3"]:
    """Light of primaries to XYZ, by their chromaticities (white: D65)."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (red, green, blue)]).T
    return columns * np.linalg.solve(columns, [0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])


BT709 = primaries((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
BT2020 = primaries((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))


def signal_of(codes: Float[np.ndarray, "*any 3"], curve: str, *, wide: bool = True) -> Float[np.ndarray, "*any 3"]:
    """Standard code values as high dynamic range, white at 203 cd/m2 (BT.2408, direct mapping by display light)."""
    light = codes**2.4
    if wide:
        light = light @ np.linalg.solve(BT2020, BT709).T
    if curve == "standard":
        return light.clip(0) ** (1 / 2.4)
    if curve == "PQ":
        power = (light.clip(0) * 203 / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    display = light.clip(0) * 0.203
    scene = display * np.maximum(display @ BT2020[1], 1e-12)[..., None] ** (1 / 1.2 - 1)
    a, b = 0.17883277, 1 - 4 * 0.17883277
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + 0.5 - a * np.log(4 * a))


def film_of(path: Path, signal: Float[np.ndarray, "rows cols 3"], curve: str, codec: str = "libx265") -> Path:
    """As phones write it: 10 bits, limited range, tagged."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream(codec, rate=25, options={"crf": "4", "x265-params": "log-level=none"} if "26" in codec else {})
        stream.height, stream.width = signal.shape[:2]
        stream.pix_fmt = "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.color_primaries = TAGS[curve], 9
        stream.codec_context.colorspace, stream.codec_context.color_range = 9, 1
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.rint(signal * 65535).astype(np.uint16), format="rgb48le")
            frame = frame.reformat(format="yuv420p10le", src_colorspace=9, dst_colorspace=9, src_color_range=2, dst_color_range=1)
            frame.color_trc, frame.color_primaries, frame.pts, frame.time_base = TAGS[curve], 9, number, Fraction(1, 25)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path


def patches(codes: Float[np.ndarray, "patches 3"]) -> Float[np.ndarray, "rows cols 3"]:
    return np.kron(codes[None], np.ones((8 * CODEC_PX, CODEC_PX, 1)))


def middles(picture: np.ndarray) -> np.ndarray:
    return picture[picture.shape[0] // 2, CODEC_PX // 2 :: CODEC_PX]


@pytest.mark.parametrize("curve", TAGS)
@pytest.mark.parametrize("wide", [True, False])
def test_what_is_no_highlight_looks_as_in_a_standard_film(curve, wide):
    """Planted: primaries left out; HLG's system gamma left out, or put on colours instead of luminance."""
    signal = np.rint(signal_of(PATCHES, curve, wide=wide) * 65535).astype(np.uint16)
    found = standard_picture(signal[None], curve, wide=wide)[0]
    np.testing.assert_allclose(found, np.rint(PATCHES * 255), atol=1)


@pytest.mark.parametrize("curve", ["HLG", "PQ"])
def test_highlights_are_rolled_off(curve):
    """Grey stays grey and brighter stays brighter; white has room above, and 1000 cd/m2 is white."""
    ramp = signal_of(np.linspace(0, (1000 / 203) ** (1 / 2.4), 400)[:, None].repeat(3, 1), curve).clip(0, 1)
    found = standard_picture(np.rint(ramp * 65535).astype(np.uint16)[None], curve, wide=True)[0].astype(int)
    assert np.ptp(found, axis=1).max() <= 1 and (np.diff(found[:, 1]) >= 0).all()
    white = standard_picture(np.rint(signal_of(np.ones((1, 3)), curve) * 65535).astype(np.uint16)[None], curve, wide=True)[0, 0]
    assert (abs(white.astype(int) - 231) <= 2).all() and found[-1].min() == 255 and (np.diff(found[:, 1]) <= 2).all()


@pytest.mark.parametrize(("curve", "codec"), [("HLG", "libx265"), ("PQ", "libx265"), ("HLG", "libx264"), ("standard", "libx264")])
def test_films_by_their_tags(tmp_path, curve, codec):
    """Planted: tags not looked at, which makes greys of HLG too dark by up to 25 of 255 and colours pale."""
    with av.open(str(film_of(tmp_path / "film.mp4", signal_of(patches(PATCHES), curve), curve, codec))) as film:
        found = middles(in_colours(next(film.decode(video=0))))
    np.testing.assert_allclose(found, np.rint(PATCHES * 255), atol=5)  # a code of 10 bits, of colours at half the size


def test_import_and_track_bring_them_to_standard_colours_and_say_so(tmp_path, capsys):
    from mango.cli import main
    from mango.data.video import VideoFrames
    from mango.tracking.films import facts_of, pictures_of

    path = film_of(tmp_path / "film.mp4", signal_of(patches(PATCHES), "HLG"), "HLG")
    assert main(["data", "import", "--workers", "1", "--format", "plain", str(path), str(tmp_path / "out")]) == 0
    assert "high dynamic range (HLG): brought to standard colours" in capsys.readouterr().out
    imported = VideoFrames(next((tmp_path / "out").rglob("a.mp4"))).frames([3]).numpy()[0]
    tracked = facts_of(path)
    assert "high dynamic range (HLG)" in " ".join(tracked.changes)
    wanted = np.rint(PATCHES * 255)
    np.testing.assert_allclose(middles(next(pictures_of(tracked))), wanted, atol=5)
    assert np.abs(middles(imported) - wanted).mean() < 5  # another codec, of 8 bits
