"""``traced_training.py CONFIG ...``: train_stage1.py with runtime.compile up to the kernels: everything is traced, in one graph for each
method, forward and backward, and what inductor would compile in a minute is called as it is."""

import sys
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

import train_stage1
from mango.config import parse_command_line
from mango.training.stage1 import Stage1Config

if __name__ == "__main__":
    torch.compile = partial(torch.compile, backend="aot_eager", fullgraph=True)
    sys.exit(train_stage1.main(parse_command_line(Stage1Config)))
