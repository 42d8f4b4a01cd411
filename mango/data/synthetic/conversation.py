"""A scripted dialogue: who says what, and when relative to the other. A pure function of its seed.

Times here are relative (gaps, lags, pauses), because how long a phrase lasts is the voice's and the engine's business;
``speech.speak`` lays everything out on one clock.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mango.data.synthetic.lexicon import (
    ANSWERS,
    BACKCHANNELS,
    CATEGORIES,
    CONTINUATIONS,
    LEXICON,
    QUESTIONS,
    STATEMENTS,
    Word,
    lines,
    word_from_arpabet,
)

Ending = Literal["fall", "rise", "continue"]
NOMINAL_PHONE_SECONDS = 0.085  # only to judge how much script fills the time


@dataclass(frozen=True)
class Phrase:
    """Words said in one breath."""

    words: tuple[Word, ...]
    ending: Ending  # of the intonation: statement, question, more to come
    pause: float = 0.0  # silence after it inside the turn, s

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def nominal_seconds(self) -> float:
        return NOMINAL_PHONE_SECONDS * sum(len(word.phones) for word in self.words)


@dataclass(frozen=True)
class Backchannel:
    """What the listener puts in without taking the turn ("mm-hm")."""

    after_phrase: int  # of the other's turn
    lag: float  # from the end of that phrase to the start of this, s; negative: before its end
    phrase: Phrase


@dataclass(frozen=True)
class Turn:
    person: Literal["a", "b"]
    gap: float  # from the end of the previous turn to the start of this, s; negative: overlap
    phrases: tuple[Phrase, ...]
    backchannels: tuple[Backchannel, ...] = ()  # said by the other person


@dataclass(frozen=True)
class Conversation:
    seed: int
    seconds: float
    turns: tuple[Turn, ...]


def script(seed: int, seconds: float | int) -> Conversation:
    """A dialogue of two that at least fills ``seconds``; the two talk about equally long."""
    rng = np.random.default_rng([seed, 0xC0])
    talked = {"a": 0.0, "b": 0.0}
    person = str(rng.choice(["a", "b"]))
    turns: list[Turn] = []
    asked, elapsed = False, 0.0
    while elapsed < 1.5 * seconds + 5.0:  # voices may be fast
        other = "b" if person == "a" else "a"
        behind = talked[other] - talked[person]  # who talked less gets the longer turn
        turn = _turn(rng, person, num_phrases=_num_phrases(rng, behind), answers=asked, first=not turns)
        turns.append(turn)
        length = sum(phrase.nominal_seconds + phrase.pause for phrase in turn.phrases)
        talked[person] += length
        elapsed += turn.gap + length
        asked, person = turn.phrases[-1].ending == "rise", other
    return Conversation(seed, float(seconds), tuple(turns))


def _num_phrases(rng: np.random.Generator, behind_seconds: float) -> int:
    mean = float(np.clip(2.2 + 0.5 * behind_seconds, 1.0, 4.0))
    return int(np.clip(round(rng.normal(mean, 0.8)), 1, 5))


def _turn(rng: np.random.Generator, person: str, *, num_phrases: int, answers: bool, first: bool) -> Turn:
    phrases = [_filled(rng, ANSWERS, "fall", pause=rng.uniform(0.1, 0.3))] if answers or rng.random() < 0.25 else []
    for index in range(num_phrases):
        last = index == num_phrases - 1
        phrases.append(_phrase(rng, last))
    backchannels = tuple(
        Backchannel(index, lag=float(rng.uniform(-0.15, 0.35)), phrase=_filled(rng, BACKCHANNELS, "fall"))
        for index, phrase in enumerate(phrases[:-1])
        if phrase.nominal_seconds > 0.8 and rng.random() < 0.45
    )
    return Turn(person, 0.3 if first else _gap(rng), tuple(phrases), backchannels)


def _gap(rng: np.random.Generator) -> float:
    """Gaps between turns: mostly a quarter of a second, one in five a short overlap, a few interruptions and long pauses."""
    kind = rng.random()
    if kind < 0.10:
        return float(rng.uniform(-0.9, -0.4))
    if kind < 0.25:
        return float(rng.uniform(-0.35, -0.05))
    if kind < 0.90:
        return float(np.clip(rng.lognormal(np.log(0.25), 0.6), 0.05, 1.2))
    return float(rng.uniform(1.0, 2.2))


def _phrase(rng: np.random.Generator, last: bool) -> Phrase:
    if last:
        return _filled(rng, QUESTIONS, "rise") if rng.random() < 0.35 else _filled(rng, STATEMENTS, "fall")
    if rng.random() < 0.5:
        return _filled(rng, CONTINUATIONS, "continue", pause=rng.uniform(0.15, 0.5))
    return _filled(rng, STATEMENTS, "fall", pause=rng.uniform(0.25, 0.7))


def _filled(rng: np.random.Generator, templates: str, ending: Ending, pause: float = 0.0) -> Phrase:
    choices = lines(templates)
    words = choices[rng.integers(len(choices))].split()
    return Phrase(tuple(_word(rng, word) for word in words), ending, float(pause))


def _word(rng: np.random.Generator, word: str) -> Word:
    if word == "{name}":
        return made_up_name(rng)
    if word.startswith("{"):
        category = CATEGORIES[word[1:-1]]
        word = category[rng.integers(len(category))]
    return LEXICON[word]


# Names of people and places are made up, so that phones also meet in orders that no lexicon of this size has.
ONSETS = lines("P|B|M|T|D|N|K|G|F|V|S|SH|Z|L|R|W|Y|HH|CH|JH|TH|P L|B R|S P|S M|K R|T W|F L|S T|P R|B L")
NUCLEI = lines("IY|IH|EH|AE|AA|AO|UH|UW|AH|ER|EY|AY|OY|AW|OW")
CODAS = ("", "", "", *lines("M|P|B|N|NG|L|R|S|T|K|V|F|M P|N D|ZH|CH|TH|SH"))
SPELLING = """
AA ah|AE a|AH u|AO aw|AW ow|AY ie|B b|CH ch|D d|DH th|EH e|ER er|EY ay|F f|G g|HH h|IH i|IY ee|JH j|K k|L l|M m|N n|NG ng|OW oe|OY oy
P p|R r|S s|SH sh|T t|TH th|UH oo|UW oo|V v|W w|Y y|Z z|ZH zh
"""
LETTERS = dict(pair.split() for pair in lines(SPELLING))


def made_up_name(rng: np.random.Generator) -> Word:
    """One to three syllables, one of them stressed; its spelling is what a text reader would pronounce alike."""
    num_syllables = int(rng.integers(1, 4))
    stressed = int(rng.integers(num_syllables))
    symbols: list[str] = []
    for syllable in range(num_syllables):
        vowel = NUCLEI[rng.integers(len(NUCLEI))] + ("1" if syllable == stressed else "0")
        coda = CODAS[rng.integers(len(CODAS))] if syllable == num_syllables - 1 or rng.random() < 0.3 else ""
        symbols += [*ONSETS[rng.integers(len(ONSETS))].split(), vowel, *coda.split()]
    text = "".join(LETTERS[symbol.rstrip("01")] for symbol in symbols)
    return word_from_arpabet(text, " ".join(symbols))
