"""`mango data synthesize`: its options are the fields of `SynthesisConfig`."""

from pathlib import Path
from typing import Annotated

import tyro

from mango.data.synthetic.synthesize import SynthesisConfig, synthesize
from mango.errors import InputError


def main(data: tyro.conf.Positional[Path], /, config: Annotated[SynthesisConfig, tyro.conf.arg(name="")] = SynthesisConfig()) -> None:
    """Make a synthetic set.

    Args:
        data: the set's folder; its truth goes to a sibling folder. The same command again continues.
        config: what it holds
    """
    if data.exists() and not data.is_dir():
        raise InputError(data, expected="a folder or nothing yet", found="a file", remedy="choose another name")
    made = synthesize(data, config)
    print(f"{data}: {len(made.ids)} dialogues, {len(made.people)} people")
