import importlib.util
import sys

import numpy as np
import pytest

from mango.data.phones import VOWELS
from mango.data.synthetic import espeak
from mango.data.synthetic.conversation import Phrase, script
from mango.data.synthetic.lexicon import LEXICON
from mango.data.synthetic.phones import RECIPES
from mango.data.synthetic.speech import speak, voice
from mango.errors import InputError

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed (pip install 'mango-heads[speech]')"
)


@needs_espeak
def test_phones_have_their_times():
    """Closures are quiet and vowels loud where the events say so: notices a wrong clock."""
    phrase = Phrase(tuple(LEXICON[word] for word in ["maybe", "people", "stop", "at", "a", "happy", "party"]), "fall")
    for seed in range(4):
        utterance = espeak.Espeak().spoken(phrase, voice(seed), np.random.default_rng(0))
        assert {p.symbol for p in utterance.phones} <= set(RECIPES)
        assert all(a.end == b.start for a, b in zip(utterance.phones, utterance.phones[1:], strict=False))
        level = np.sqrt(np.square(utterance.audio[: len(utterance.audio) // 160 * 160]).reshape(-1, 160).mean(axis=1))

        def mean(kind, level=level, utterance=utterance):
            spans = [(int(100 * p.start), int(100 * p.end)) for p in utterance.phones if p.symbol in kind]
            return np.mean([level[first : max(last, first + 1)].min() for first, last in spans])

        assert mean(VOWELS) > 5 * mean(("P",))
        symbols = [p.symbol for p in utterance.phones if p.symbol in "PBM"]
        assert symbols == ["M", "B", "P", "P", "P", "P", "P"]
        assert " ".join(text for text, _, _ in utterance.words) == phrase.text


@needs_espeak
def test_a_dialogue_is_spoken_and_deterministic():
    first, again = (speak(script(0, 8.0), 0, "espeak") for _ in range(2))
    assert first["a"].phones == again["a"].phones
    assert np.array_equal(first["a"].audio, again["a"].audio)
    assert not np.array_equal(first["a"].audio, speak(script(0, 8.0), 1, "espeak")["a"].audio)
    for speech in first.values():
        assert speech.audio.shape == (8 * 16_000,)
        assert (speech.f0 > 0).any()
        assert speech.energy[speech.speaking == 1].mean() > 10 * speech.energy[speech.speaking == 0].mean()


def test_its_absence_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(InputError, match=r"pip install 'mango-heads\[speech\]'"):
        speak(script(0, 4.0), 0, "espeak")


def test_the_phoneme_table_is_sound():
    assert {symbol for symbols in espeak.ARPABET.values() for symbol in symbols.split()} <= set(RECIPES)
    assert [p.symbol for p in espeak._split("'A@", 0.0, 0.2)] == ["AA", "R"]
    assert espeak._split("'A@", 0.0, 0.2)[0].stress == 1
