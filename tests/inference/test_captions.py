"""Names below the chins: in letters that the font has, or not at all."""

import pytest
import torch
from PIL import ImageFont

from mango.errors import InputError
from mango.inference.captions import name_patch, write_names
from mango.inference.rendering import RenderConfig
from mango.inference.views import Shot, view_of
from renderer.cameras import portrait_camera


def test_letters_that_the_font_lacks_are_named(tmp_path):
    """Seen red: boxes in their places, in a finished film."""
    RenderConfig(names=("Anna B.", "x-1"))
    with pytest.raises(InputError, match=r"--names: expected plain letters, .* found also éÜ; give --font"):
        RenderConfig(names=("José é", "Ümit"))
    other = tmp_path / "font.ttf"
    other.write_bytes(ImageFont.load_default(20).path.getvalue())
    RenderConfig(names=("Anna", "Ben"), font=other)
    with pytest.raises(InputError, match=r"--names: expected letters that .*font.ttf has, found also 李"):
        RenderConfig(names=("李", "Ben"), font=other)
    mine, built_in = name_patch("Anna", 20, other), name_patch("Anna", 20)
    assert mine.shape == built_in.shape and (mine - built_in).abs().mean() < 0.02
    with pytest.raises(InputError, match=r"names of one line, found 'An.*na'"):  # seen red: a traceback of the font's
        RenderConfig(names=("An\nna", "Ben"))
    with pytest.raises(InputError, match=r"none.ttf: expected a font .* no such file"):
        RenderConfig(names=("Anna", "Ben"), font=tmp_path / "none.ttf")


@pytest.mark.parametrize(("name", "fits"), [("Maximiliane", True), ("Maximiliane von und zu Hohensteinhausen", False)])
def test_names_wider_than_the_picture_keep_their_beginning(name, fits):
    """Seen red: "...steinhausen"."""
    canvas = torch.zeros(64, 64, 4)
    write_names(canvas, [Shot("a", portrait_camera(64))], {"a": name}, {"a": True})
    written = canvas[..., 3].amax(0) > 0
    assert not written[:2].any() and written[2:6].any() and fits == (not written[-2:].any())


def test_names_stay_with_their_own_picture():
    """Seen red: long ones ran over the neighbour's, an empty one was a black spot."""
    view = view_of("side-by-side", 128, torch.zeros(2, 1), 25.0, {"a": 0.0, "b": 0.0})
    long = "Professor Alexandra Konstantinopoulou"
    for names, left, right in (({"a": long, "b": " "}, True, False), ({"a": "", "b": long}, False, True)):
        canvas = torch.zeros(view.height, view.width, 4)
        write_names(canvas, view.stretches[0].shots, names, {"a": True, "b": True})
        assert [bool(half.any()) for half in canvas[..., 3].chunk(2, dim=1)] == [left, right]
