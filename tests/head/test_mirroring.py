"""Left smiles are right smiles in the mirror, for heads with names and for heads without.

Faults planted, each seen red: the reflection left out, the mirrored vertex numbering left out.
"""

import torch

from mango.head.mirroring import mirrored_expressions, mirrored_vertices


def test_pairs_of_names_change_places(head):
    mirror, names = mirrored_expressions(head), list(head.expression_names)
    other = [names.index(name.replace("Left", "?").replace("Right", "Left").replace("?", "Right")) for name in names]
    torch.testing.assert_close(mirror, torch.eye(len(names))[other], rtol=0, atol=2e-3)


def test_a_head_that_does_not_say_is_asked_by_its_surface(head):
    known = head.mirror
    try:
        head.mirror = torch.zeros(0, dtype=torch.long)
        found = mirrored_vertices(head)
    finally:
        head.mirror = known
    apart = (head.template[found] - head.template[known]).norm(dim=-1)
    assert apart.max() < 1e-4, "vertices that lie on one another may be taken for each other"


def test_eyelids_have_their_expressions(head):
    named = [name for name, of in zip(head.expression_names, head.expressions_of("eyelids").tolist(), strict=True) if of]
    assert {name[:-4].removesuffix("R") for name in named if name.endswith("Left")} == {"eyeBlink", "eyeSquint", "eyeWide"}
