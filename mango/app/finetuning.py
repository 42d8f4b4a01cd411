"""`mango finetune`: its options are the fields of `FinetuneConfig`."""

from typing import Annotated

import tyro

from mango.training.finetune import FinetuneConfig, finetune


def main(config: Annotated[FinetuneConfig, tyro.conf.arg(name="")]) -> int | None:
    """Fit a new person.

    Args:
        config: whom, from what, and where to
    """
    return finetune(config)
