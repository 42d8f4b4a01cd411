"""`mango data pack`."""

from pathlib import Path

import tyro

from mango.errors import InputError
from mango.progress import progress_bar


def main(
    data: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    /,
    shard_size_mb: int = 512,
    workers: int | None = None,
    strict: bool = False,
) -> None:
    """A dialogue set into WebDataset shards that training reads as they are (docs/data.md, Shards). The same command again goes on.

    Args:
        data: the set
        out: the packed set, a new folder
        shard_size_mb: size of a shard in millions of bytes, the last dialogue beyond it included
        workers: processes; as many as there are cores by default
        strict: stop at a dialogue that cannot be read, instead of leaving it out and naming it
    """
    import os

    from mango.data.packing import MEGABYTE, pack
    from mango.data.strays import left_behind

    workers = os.cpu_count() or 1 if workers is None else workers
    for name, value in (("--shard-size-mb", shard_size_mb), ("--workers", workers)):
        if value < 1:
            raise InputError(name, expected="a whole number above 0", found=str(value), remedy="correct it or leave it out")
    with progress_bar("packing", "dialogues") as progress:
        left_out = pack(data, out, shard_size=shard_size_mb * MEGABYTE, workers=workers, strict=strict, progress=progress)
    for id, why in left_out.items():
        print(f"left out: {id}: {why}")
    print(left_behind(data), end="")
    _say(out, len(left_out))


def _say(out: Path, left_out: int) -> None:
    from mango.data.shards import read_shards

    shards = read_shards(out)
    dialogues, size = sum(len(shard.dialogues) for shard in shards), sum(shard.size for shard in shards) / 1e6
    counted = f"{len(shards)} shards, {dialogues} dialogues, {size:.1f} MB"
    print(f"{out}: {counted}" + (f"; {left_out} of {dialogues + left_out} dialogues are left out" if left_out else ""))
