"""Both training scripts, one after the other: ``train_both`` in this process; in several with ``torchrun ... both_stages.py FOLDER``.

FOLDER holds stage1.yaml and stage2.yaml.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the training scripts are not part of a package

from mango.config import parse_command_line
from mango.training.run import Run
from mango.training.stage1 import Stage1Config
from mango.training.stage2_config import Stage2Config

PRESSED_AT = 3  # a step after which nothing else is saved


def train_both(folder: Path) -> list[int]:
    """Their exit codes."""
    import train_stage1
    import train_stage2

    threads = torch.get_num_threads()
    try:
        return [
            train_stage1.main(parse_command_line(Stage1Config, [str(folder / "stage1.yaml")])),
            train_stage2.main(parse_command_line(Stage2Config, [str(folder / "stage2.yaml")])),
        ]
    finally:
        torch.set_num_threads(threads)


def press_ctrl_c(*runs: str) -> None:
    """In this process, once in each run, in the middle of a step."""
    due, left = Run.due, set(runs)

    def asked(self: Run, step: int, every: int) -> bool:
        if step == PRESSED_AT and self.folder.name in left:
            left.remove(self.folder.name)
            signal.raise_signal(signal.SIGINT)
        return due(self, step, every)

    Run.due = asked


if __name__ == "__main__":
    folder, rank = Path(sys.argv[1]), os.environ["RANK"]
    if rank == "1":
        press_ctrl_c("run", "stage2")
    codes = [train_both(folder), train_both(folder)]
    (folder / f"codes.{rank}.json").write_text(json.dumps(codes))
