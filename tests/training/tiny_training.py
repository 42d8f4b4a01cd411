"""Training a very small model, in this process or another."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from mango.config import parse_command_line

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # the training scripts are not part of a package
TINY = """
steps: 6
batch: 4
frames: 20
context: 4
encoder: {mels: 8}
model: {width: 32, depth: 1, heads: 2, mlp_ratio: 2, interaction_depth: 1}
optimizer: {lr: 1e-3, warmup: 2, ema: 0.9}
every: {log: 1, validate: 3, save: 2}
runtime: {threads: 1}
"""


def run_training(config: Path, *arguments: str, start: bool = False):
    """train_stage1.py as a user runs it; ``start=True`` does not wait for it."""
    command = [sys.executable, str(ROOT / "train_stage1.py"), str(config), *arguments]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    if start:
        return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)


def tiny_yaml(folder: Path, data: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(f"data: {data}\nrun: {folder / 'run'}\n{TINY}")
    return path


def train_here(config: Path, *arguments: str) -> int:
    """The same in this process, which saves the seconds of starting one."""
    import train_stage1

    threads = torch.get_num_threads()
    try:
        return train_stage1.main(parse_command_line(train_stage1.Stage1Config, [str(config), *arguments]))
    finally:
        torch.set_num_threads(threads)
