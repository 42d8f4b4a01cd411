"""Dialogues held out of training: about as many as asked, always the same, strangers where that can be.

Faults planted, each seen red: people's groups not looked at; order of the call deciding; what was trained on moved when more is imported;
all dialogues of a small set held out; whoever is in the source's own split held out, to the last one; all that is new with whom
was held out before; a split that is large enough made larger.
"""

import random

import pytest

from mango.data.holding_out import HeldOut, held_out, strangers, to_hold_out, with_held_out
from mango.errors import InputError

PAIRS = {f"d{k:02d}": (f"p{k:02d}a", f"p{k:02d}b") for k in range(40)}
HOSTED = {id: ("host", guest) for id, (_, guest) in PAIRS.items()}


def held(cast, share, train=None, val=(), **more) -> tuple[dict[str, list[str]], HeldOut]:
    """The splits afterwards, and what is said of them."""
    train = [id for id in cast if id not in val] if train is None else train
    chosen = to_hold_out({id: cast[id] for id in (*train, *val)}, share, before=val, **more)
    splits = with_held_out({"train": train, "val": val, "test": []}, chosen)
    return splits, held_out(splits, cast, len(chosen))


def test_about_as_many_as_asked_whatever_the_order():
    splits, found = held(PAIRS, 0.1)
    assert len(splits["val"]) == 4 and found.shared_people == () and "held out (split 'val'): 4 of 40 dialogues, of nobody" in str(found)
    assert {*held(dict(reversed(PAIRS.items())), 0.1)[0]["val"]} == {*splits["val"]} and [*splits["val"]] != [*PAIRS][:4]
    assert sorted(splits["train"] + splits["val"]) == [*PAIRS] and splits["test"] == []


def test_who_is_held_out_is_in_no_other_dialogue():
    """Families of four dialogues, joined in a chain of people."""
    cast = {f"f{k // 4}-{k % 4}": (f"p{k}", f"p{k + (k % 4 < 3)}") for k in range(40)}
    splits, found = held(cast, 0.2)
    assert len(splits["val"]) == 8 and found.shared_people == () and len({id[:2] for id in splits["val"]}) == 2


def test_circles_of_people_stay_together_however_they_met():
    """Seen red: chains of three and more fell apart unless they came in order."""
    rng, cast = random.Random(0), {}
    for circle in range(20):
        people = [f"c{circle}-{k}" for k in range(rng.randint(4, 7))]
        met = [(people[k], people[rng.randrange(k)]) for k in range(1, len(people))]
        cast |= {f"d{circle}-{k}": pair[:: rng.choice((1, -1))] for k, pair in enumerate(met)}
    names = [*cast]
    rng.shuffle(names)
    for share in (0.1, 0.2, 0.3):
        splits, found = held({id: cast[id] for id in names}, share)
        assert (
            found.shared_people == ()
            and len({id.split("-")[0] for id in splits["val"]} & {id.split("-")[0] for id in splits["train"]}) == 0
        )


def test_where_everybody_met_one_person_dialogues_are_held_out_and_that_is_said():
    splits, found = held(HOSTED, 0.1)
    assert len(splits["val"]) == 4 and found.shared_people == ("host",) and "in training too: host" in str(found)


def test_one_alone_is_a_person_too():
    splits, found = held({f"d{k}": (f"p{k}", "") for k in range(10)}, 0.2)
    assert len(splits["val"]) == 2 and found.shared_people == ()


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_some_are_learnt_from_and_some_are_not(share):
    assert len(held(dict(list(PAIRS.items())[:2]), share)[0]["val"]) == 1
    for cast in (PAIRS, HOSTED):
        for brought in (1, 2, 20):
            val = [*cast][:brought]
            for ours in ([], val):
                splits, _ = held(cast, share, val=val, ours=ours)
                assert splits["train"] and {*val} <= {*splits["val"]}


def test_a_source_that_brings_its_own_split():
    """It counts, and whoever is in it draws nobody after it."""
    for cast, whose in ((PAIRS, "of nobody who is in training"), (HOSTED, "in training too: host")):
        val = [*cast][:4]
        splits, found = held(cast, 0.1, val=val)
        assert splits["val"] == val and f"nothing more was held out (split 'val'): 4 of 40 dialogues, {whose}" in str(found)
        splits, found = held(cast, 0.25, val=val)
        assert splits["val"][:4] == val and len(splits["val"]) == 10 and found.more == 6 and whose in str(found)
    splits, _ = held(PAIRS | {"again": PAIRS["d00"]}, 0.1, val=["d00", "d01", "d02", "d03"])
    assert "again" in splits["train"]


def test_of_what_is_new_some_is_held_out_and_nothing_old_moves():
    first = dict(list(PAIRS.items())[:20])
    splits, _ = held(first, 0.2)
    train, val = splits["train"], splits["val"]
    known = {"val": val, "ours": val, "learnt": train}
    grown, found = held(PAIRS, 0.2, **known)
    assert len(val) == 4 and len(grown["val"]) == 8 and found.of == 40
    assert {*val} < {*grown["val"]} and {*train} < {*grown["train"]}
    more, _ = held({id: PAIRS[id] for id in [*first, "d20", "d21"]}, 0.5, **known)
    assert {*train} <= {*more["train"]}, "a larger share takes nothing that was trained on"
    followed, found = held(first | {"again": PAIRS[val[0]]}, 0.2, **known)
    assert "again" in followed["val"] and found.shared_people == (), "of somebody who is held out"
    for many in (10, 100):
        crowd = first | {f"again{k}": (PAIRS[val[0]][0], f"q{k}") for k in range(many)}
        splits, _ = held(crowd, 0.2, **known)
        assert len(splits["val"]) <= 2 * 0.2 * len(crowd), "not whatever they are in"


def test_strangers_of_what_is_held_out():
    cast = {"film": ("x", "y"), "end": ("x", "y"), "guest": ("y", "z"), "far": ("z", ""), "other": ("v", "w"), "alone": ("u", "")}
    assert strangers({"train": ["film", "guest", "far", "other", "alone"], "val": ["end"]}, cast) == ["other", "alone"]
    assert strangers({"train": ["film"]}, cast) == ["film"] and strangers({"val": ["end"]}, cast) == []


def test_what_cannot_be_held_out():
    with pytest.raises(InputError, match="a share between 0 and 1, found 10"):
        to_hold_out(PAIRS, 10.0)
    splits, found = held({"d": ("p", "")}, 0.1)
    assert splits["train"] == ["d"] and "nothing is held out (split 'val'): that takes two dialogues" in str(found)
