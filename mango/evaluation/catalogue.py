"""The columns of our tables: each number's unit, direction and meaning, said once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Measure:
    name: str  # as printed
    unit: str
    direction: Literal["lower", "higher", "one"]  # which is better
    digits: int
    meaning: str


MEASURES: Mapping[str, Measure] = {
    "lve_max": Measure("LVE max", "mm", "lower", 2, "mean over frames of the largest lip-vertex distance, head pose removed"),
    "lve_dynamic": Measure("LVE dynamic", "mm", "lower", 2, "the same after each clip's mean error per vertex is removed: movement only"),
    "lve_max_speaking": Measure("LVE speaking", "mm", "lower", 2, "LVE max over frames in which the person really speaks"),
    "lve_max_listening": Measure("LVE listening", "mm", "lower", 2, "LVE max over all other frames"),
    "lve_rms": Measure("LVE rms", "mm", "lower", 2, "root of the mean over frames of the squared largest lip-vertex distance (UniLS)"),
    "lve_squared": Measure("LVE squared", "mm²", "lower", 2, "mean over frames of the squared largest lip-vertex distance (FaceFormer)"),
    "mve": Measure("MVE", "mm", "lower", 2, "mean distance over all vertices and frames, head pose removed"),
    "upper_face": Measure("Upper face", "mm", "lower", 2, "mean distance of upper-face vertices"),
    "lip_velocity": Measure("Lip velocity", "mm/s", "lower", 1, "mean difference of lip-vertex velocities"),
    "lip_opening_slope": Measure(
        "Opening slope", "", "one", 2, "regression of predicted on true lip opening, clips centred; below 1 the mouth moves too little"
    ),
    "closure": Measure("Closure", "mm", "lower", 2, "how much further the lips stay open at p, b and m than they truly do"),
    "psnr": Measure("PSNR", "dB", "higher", 2, "of rendered against recorded pictures, tracker's head pose and camera"),
    "ssim": Measure("SSIM", "", "higher", 3, "of the same pictures (11x11 Gaussian, sigma 1.5)"),
}
