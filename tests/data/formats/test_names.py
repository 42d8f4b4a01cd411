"""Names of people, as folders can be called."""

import pytest

from mango.data.descriptions import NAME
from mango.data.formats.recordings import as_name


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("anna", "anna"),
        ("Anna B", "Anna_B"),
        ("José rede", "Jose_rede"),
        ("Ümit", "Umit"),
        ("..x", "x"),
        ("", "unnamed"),
        ("a.b-c", "a.b-c"),
    ],
)
def test_accents_go_and_letters_stay(told, name):
    """Seen red: Jos__rede, mit."""
    assert as_name(told) == name


def test_people_with_other_letters_stay_two():
    """Seen red: both were "unnamed", one person to a merge."""
    names = [as_name(name) for name in ("李", "王", "Анна", "Клип é 1", "Клоп é 1")]
    assert len(set(names)) == 5 and all(NAME.fullmatch(name) for name in names)
    assert names[0].startswith("unnamed-") and names[3].startswith("e_1-")
    assert as_name("Й") == as_name("Й"), "composed or not"
    assert as_name("李") == as_name("李"), "whenever it is asked"
