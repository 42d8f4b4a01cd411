"""Visemes and coarticulation without a head."""

import numpy as np
import pytest

from mango.data.synthetic.phones import RECIPES
from mango.data.synthetic.visemes import GESTURES, JAW, VISEMES, closures, coarticulated, phone_name
from mango.types import Phone


def said(symbols: str, seconds: float = 0.09) -> list[Phone]:
    return [Phone(symbol, k * seconds, (k + 1) * seconds) for k, symbol in enumerate(symbols.split())]


def curve(phones, name, times):
    return coarticulated(phones, np.ones(len(phones)), times)[:, GESTURES.index(name)]


def test_every_phone_of_the_voice_has_a_viseme():
    assert {phone_name(symbol) for symbol in RECIPES} <= set(VISEMES)


def test_an_unknown_phone_is_a_bug():
    with pytest.raises(AssertionError, match="QX"):
        coarticulated(said("AA QX"), np.ones(2), np.zeros(1))


def test_vowels_open_in_the_order_of_their_height():
    times = np.array([0.30])
    widths = [
        curve([Phone("sil", 0.0, 0.2), Phone(vowel, 0.2, 0.4), Phone("sil", 0.4, 0.6)], JAW, times)[0] for vowel in ("IY", "IH", "EH", "AE")
    ]
    assert widths == sorted(widths)
    assert widths[-1] > 2 * widths[0]


def test_the_mouth_moves_before_the_sound_and_rounds_earlier_still():
    """A symmetric blend, or one width for all gestures, fails here."""
    phones = [Phone("sil", 0.0, 1.0), Phone("UW", 1.0, 1.3), Phone("sil", 1.3, 2.3)]
    times = np.arange(0, 2.3, 0.005)
    jaw, pucker = curve(phones, JAW, times), curve(phones, "mouthPucker", times)

    def first(curve):
        return times[np.argmax(curve > 0.25 * curve.max())]

    assert first(jaw) < 1.0
    assert first(pucker) < first(jaw) - 0.01
    after = times[len(times) - 1 - np.argmax(jaw[::-1] > 0.25 * jaw.max())] - 1.3
    assert after < 1.0 - first(jaw)


def test_rounding_spreads_over_a_consonant_that_does_not_care():
    times = np.array([0.135])  # centre of the consonant
    assert curve(said("T T UW"), "mouthPucker", times)[0] > 1.4 * curve(said("T T IY UW"), "mouthPucker", times)[0]


def test_closures_are_found_with_their_gaps():
    found = closures(said("AA P AA F AA"))
    assert [c.bilabial for c in found] == [True, False]
    assert found[0].gap == 0 and found[1].gap > 0
    assert found[0].start < found[0].centre < found[0].end
