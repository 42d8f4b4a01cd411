"""DualTalk's files as other people write them: plain numpy, none of our code."""

from pathlib import Path

import numpy as np


def motion(seed: int, frames: int, dims: int, scale: float) -> np.ndarray:
    """Smooth noise with an offset in every dimension."""
    random = np.random.default_rng(seed)
    steps = random.standard_normal((frames + 6, dims))
    smooth = np.stack([np.convolve(column, np.ones(7) / 7, mode="valid") for column in steps.T], axis=1)
    return scale * (smooth + 0.5 * random.standard_normal(dims))


def truth_arrays(seed: int, frames: int) -> dict[str, np.ndarray]:
    """exp (T,50) and pose (T,6) = head, jaw, beside arrays that nobody compares."""
    exp, head, jaw = (motion(10 * seed + k, frames, dims, scale) for k, (dims, scale) in enumerate([(50, 1.1), (3, 0.08), (3, 0.04)]))
    others = {
        "shape": np.zeros((frames, 100)),
        "tex": np.zeros((frames, 50)),
        "cam": np.ones((frames, 3)),
        "light": np.zeros((frames, 9, 3)),
    }
    return {name: array.astype(np.float32) for name, array in {"exp": exp, "pose": np.hstack([head, jaw]), **others}.items()}


def as_prediction(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The published order: exp, jaw, head."""
    return np.hstack([arrays["exp"], arrays["pose"][:, 3:], arrays["pose"][:, :3]])


def write_set(folder: Path, dialogues: dict[str, int]) -> Path:
    """Two people per dialogue; a name such as "a_sub_video_1" and its number of frames."""
    folder.mkdir(parents=True)
    for number, (name, frames) in enumerate(dialogues.items()):
        for person in (1, 2):
            np.savez(folder / f"{name}_speaker{person}.npz", **truth_arrays(2 * number + person, frames))
    return folder


def write_predictions(folder: Path, data: Path, change=lambda array, name: array) -> Path:
    """``change`` of the truth, for everybody in the data."""
    folder.mkdir(parents=True)
    for path in sorted(data.glob("*.npz")):
        np.save(folder / f"{path.stem}.npy", change(as_prediction(dict(np.load(path))), path.stem).astype(np.float32))
    return folder


def noisy(array: np.ndarray, name: str) -> np.ndarray:
    """Late, damped and unsure."""
    random = np.random.default_rng(len(name) + ord(name[-1]))
    return 0.7 * np.roll(array, 2, axis=0) + 0.2 * array.std(0) * random.standard_normal(array.shape)
