"""The example of renderer/README.md runs as it is printed, and fits."""

import re
from pathlib import Path

import cv2
import numpy as np
import torch

README = Path(__file__).parents[2] / "renderer" / "README.md"


def test_the_example_fits_a_picture(tmp_path, monkeypatch):
    """Fault it notices: an example that no longer runs, or not for every shape, or whose Gaussians do not come to look like the picture."""
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    rows, cols = np.mgrid[0:40, 0:48]
    inside = (rows - 20) ** 2 + (cols - 26) ** 2 < 150
    picture = np.where(inside[..., None], (40, 120, 220), (200, 60, 30)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), picture)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    scope = {}
    exec(compile(code, str(README), "exec"), scope)
    assert float(scope["loss"].detach()) < 0.1 * float((scope["picture"] - scope["picture"].mean((0, 1))).abs().mean())
