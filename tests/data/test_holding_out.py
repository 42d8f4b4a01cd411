"""Dialogues held out of training: about as many as asked, always the same, strangers where that can be.

Faults planted, each seen red: people's groups not looked at; order of the call deciding; what was trained on moved when more is imported;
all dialogues of a small set held out.
"""

import pytest

from mango.data.holding_out import held_out, with_held_out
from mango.errors import InputError

PAIRS = {f"d{k:02d}": (f"p{k:02d}a", f"p{k:02d}b") for k in range(40)}


def test_about_as_many_as_asked_whatever_the_order():
    chosen = held_out(PAIRS, 0.1)
    assert len(chosen.dialogues) == 4 and chosen.shared_people == () and "4 of 40 dialogues, of nobody" in str(chosen)
    assert {*held_out(dict(reversed(PAIRS.items())), 0.1).dialogues} == {*chosen.dialogues}
    assert [*chosen.dialogues] != [*PAIRS][:4]


def test_who_is_held_out_is_in_no_other_dialogue():
    """Families of four dialogues, joined in a chain of people."""
    cast = {f"f{k // 4}-{k % 4}": (f"p{k}", f"p{k + (k % 4 < 3)}") for k in range(40)}
    chosen = held_out(cast, 0.2)
    assert len(chosen.dialogues) == 8 and chosen.shared_people == () and len({id[:2] for id in chosen.dialogues}) == 2


def test_where_everybody_met_one_person_dialogues_are_held_out_and_that_is_said():
    chosen = held_out({id: ("host", people[1]) for id, people in PAIRS.items()}, 0.1)
    assert len(chosen.dialogues) == 4 and chosen.shared_people == ("host",) and "in training too: host" in str(chosen)


def test_one_alone_is_a_person_too():
    chosen = held_out({f"d{k}": (f"p{k}", "") for k in range(10)}, 0.2)
    assert len(chosen.dialogues) == 2 and chosen.shared_people == ()


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_some_are_learnt_from_and_some_are_not(share):
    assert 0 < len(held_out(dict(list(PAIRS.items())[:2]), share).dialogues) < 2


def test_of_what_is_new_some_is_held_out_and_nothing_old_moves():
    first = dict(list(PAIRS.items())[:20])
    splits, _ = with_held_out({"train": [*first], "test": []}, first, 0.2, new=first)
    grown, found = with_held_out({**splits, "train": [*splits["train"], *list(PAIRS)[20:]]}, PAIRS, 0.2, new=PAIRS.keys() - first)
    assert len(splits["val"]) == 4 and len(grown["val"]) == 8 and found.of == 40 and grown["test"] == []
    assert {*splits["val"]} < {*grown["val"]} and {*splits["train"]} < {*grown["train"]}
    more, _ = with_held_out({**splits, "train": [*splits["train"], "d20", "d21"]}, PAIRS, 0.5, new={"d20", "d21"})
    assert {*splits["train"]} <= {*more["train"]}, "a larger share takes nothing that was trained on"
    known = splits["val"][0]
    joined = PAIRS | {"again": PAIRS[known]}
    grown, _ = with_held_out({**splits, "train": [*splits["train"], "again"]}, joined, 0.2, new={"again"})
    assert "again" in grown["val"], "of somebody who is held out"
    later, _ = with_held_out({"train": [*first]}, first, 0.2, new=())
    assert {*later["val"]} == {*splits["val"]}, "asked for later, it is what it would have been"


def test_what_cannot_be_held_out():
    with pytest.raises(InputError, match="a share between 0 and 1, found 10"):
        held_out(PAIRS, 10.0)
    with pytest.raises(InputError, match="at least 2 dialogues, one of them to learn from, found 1"):
        held_out({"d": ("p",)}, 0.1)
