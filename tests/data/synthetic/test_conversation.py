import itertools
from collections import Counter

import pytest

from mango.data.phones import BILABIALS, VOWELS
from mango.data.synthetic.conversation import made_up_name, script
from mango.data.synthetic.lexicon import ANSWERS, BACKCHANNELS, CATEGORIES, CONTINUATIONS, LEXICON, QUESTIONS, STATEMENTS, lines
from mango.data.synthetic.phones import RECIPES


def phrases(conversation):
    for turn in conversation.turns:
        yield from ((turn.person, phrase) for phrase in turn.phrases)


def test_a_script_is_a_function_of_its_seed():
    assert script(3, 30) == script(3, 30)
    assert script(3, 30).turns != script(4, 30).turns


def test_the_lexicon_is_complete():
    """Every word of every template has a pronunciation of known phones with one primary stress at least, if it is no function word."""
    templates = itertools.chain(*(lines(t) for t in (STATEMENTS, QUESTIONS, CONTINUATIONS, ANSWERS, BACKCHANNELS)))
    words = {word for template in templates for word in template.split()}
    slots = {word[1:-1] for word in words if word.startswith("{")}
    assert slots - {"name"} == set(CATEGORIES)
    words = {word for word in words if not word.startswith("{")} | set(itertools.chain(*CATEGORIES.values()))
    assert words <= set(LEXICON), words - set(LEXICON)
    assert len(LEXICON) > 250
    for text, word in LEXICON.items():
        assert set(word.phones) <= set(RECIPES), text
        assert len(word.phones) == len(word.stresses)
        assert all(stress == 0 or phone in VOWELS for phone, stress in zip(word.phones, word.stresses, strict=True)), text
    assert all(max(LEXICON[word].stresses) == 1 for word in CATEGORIES["noun"])


def test_every_phone_is_said_and_bilabials_often():
    said = Counter(p for seed in range(10) for _, phrase in phrases(script(seed, 60)) for word in phrase.words for p in word.phones)
    assert set(said) == set(RECIPES) - {"sil"}
    assert min(said.values()) > 5
    assert sum(said[p] for p in BILABIALS) > 0.08 * sum(said.values())


@pytest.mark.parametrize("seed", range(6))
def test_both_talk_about_equally(seed):
    talked = Counter()
    for person, phrase in phrases(script(seed, 120)):
        talked[person] += phrase.nominal_seconds
    assert 0.7 < talked["a"] / talked["b"] < 1.4


def test_turns_alternate_with_gaps_overlaps_and_backchannels():
    turns = [turn for seed in range(20) for turn in script(seed, 60).turns[1:]]
    overlaps = sum(turn.gap < 0 for turn in turns) / len(turns)
    assert 0.1 < overlaps < 0.4
    assert sum(len(turn.backchannels) for turn in turns) > 0.2 * len(turns)
    assert all(first.person != second.person for first, second in itertools.pairwise(script(0, 60).turns))
    assert {phrase.ending for turn in turns for phrase in turn.phrases} == {"fall", "rise", "continue"}


def test_made_up_names_vary():
    import numpy as np

    names = {made_up_name(np.random.default_rng(seed)).phones for seed in range(200)}
    assert len(names) > 150
