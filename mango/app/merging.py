"""`mango data merge`."""

import shlex
from pathlib import Path
from typing import Annotated

import tyro

from mango.errors import InputError
from mango.progress import progress_bar


def main(
    out: tyro.conf.Positional[Path],
    sets: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="SET [SET ...]", help_behavior_hint="(required)")]],
    /,
    hold_out: float | None = None,
    overwrite: bool = False,
) -> None:
    """Several dialogue sets of one head as one set to train on. The same command again goes on.

    Args:
        out: the merged set, a new folder; it grows in OUT.merging
        sets: the sets, in folders or shards; people of one name are one person. They may be removed afterwards
        hold_out: share of the dialogues to learn from that goes to "val", e.g. 0.1, of those of people whom nothing connects with a "val"
            of the sets; people in no other dialogue go first
        overwrite: replace a set that is there by the merged one, when that is whole
    """
    from mango.data.holding_out import HELD_OUT, check_share
    from mango.data.merging import merge
    from mango.data.strays import left_behind

    if not sets:
        raise InputError("command line", expected="sets to merge", found="none", remedy="write: mango data merge OUT SET [SET ...]")
    check_share(hold_out)
    with progress_bar("merging", "dialogues") as progress:
        merged = merge(out, sets, hold_out=hold_out, overwrite=overwrite, progress=progress)
    print("".join(map(left_behind, sets)), end="")
    for person, number in merged.people.items():
        if number > 1:
            print(f"{person} is in {number} sets: one person")
    if merged.renamed:
        print(f"{merged.renamed} dialogues have their set's name in front: other sets have dialogues of the same names")
    if merged.shared_with_test:
        print(f"in train and in test: {', '.join(merged.shared_with_test)} (splits.share_people is true now: say so with every result)")
    if len(merged.sizes) > 1:
        told = ", ".join(f"{len(names)} of {cols}x{rows} ({names[0]})" for (rows, cols), names in sorted(merged.sizes.items()))
        least = min(min(size) for size in merged.sizes)
        print(f"warning: films of several sizes: {told}; stage two wants one: track the larger again with --size {least}")
    if merged.held_out.dialogues or hold_out is not None:
        print(merged.held_out)
    else:
        print(f"nothing is held out (split {HELD_OUT!r}): --hold-out 0.1 would hold out whole dialogues")
    print(f"wrote {out}: {merged.dialogues} dialogues, {len(merged.people)} people; next: mango data validate {shlex.quote(str(out))}")
