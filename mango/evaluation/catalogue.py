"""The columns of our tables: each number's unit, direction and meaning, said once.

`METRICS` are those of `mango evaluate`, under the exact names that its JSON and docs/evaluation.md use. `MEASURES` are the flat tables of
the demo and of benchmarks/lifting, which compare clips of one synthetic set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Direction = Literal[
    "lower",  # is better
    "higher",  # is better
    "one",  # nearest to 1 is better
    "zero",  # nearest to 0 is better, and the sign means something
    "truth",  # nearest to the truth's own number is better
    "none",  # no judgement
]
DIRECTION_MARKS: Mapping[Direction, str] = {"lower": "↓", "higher": "↑", "one": "→ 1", "zero": "→ 0", "truth": "→ truth", "none": ""}

PARTS = ("exp", "jaw", "pose")  # expression coefficients, jaw rotation, head rotation
FRAMES = ("all", "speaking", "listening")  # which frames count


@dataclass(frozen=True)
class Metric:
    """``unit`` may hold u: the parameters' own unit, which is 1 for expression coefficients and rad for rotations."""

    equation: str
    unit: str
    direction: Direction
    source: str
    needs: str = ""  # of a clip; others are skipped and counted
    digits: int = 2

    def unit_of(self, part: str) -> str:
        if part == "exp":
            return self.unit.replace("u²", "").replace("u", "")
        return self.unit.replace("u", "rad")


DUALTALK, TIMAR, UNILS, OURS = "DualTalk", "TIMAR", "UniLS", "ours"
METRICS: Mapping[str, Metric] = {
    # vertices, head pose removed, the truth's identity
    "LVE_max": Metric("mean_t max_lips |dv|", "mm", "lower", "one reading of “LVE”", needs="2 frames"),
    "LVE_rms": Metric("sqrt(mean_t max_lips |dv|²)", "mm", "lower", UNILS, needs="2 frames"),
    "LVE_sq": Metric("mean_t max_lips |dv|²", "mm²", "lower", "FaceFormer; CodeTalker, pooled", needs="2 frames"),
    "LVE_dynamic": Metric("LVE_max less each vertex's mean error over the frames", "mm", "lower", OURS, needs="2 frames"),
    "MVE": Metric("mean_t,v |dv|", "mm", "lower", "MANGO (form not given)", needs="2 frames"),
    "MHD": Metric("sqrt(mean_t,v |dv|²)", "mm", "lower", UNILS, needs="2 frames"),
    "FDD": Metric("100 · mean_upper |std_t(x+y+z)_P - std_t(x+y+z)_G|", "10⁻² mm", "lower", UNILS, needs="2 frames"),
    "FDD_motion": Metric("mean_upper (std_t |v-rest|_G - std_t |v-rest|_P)", "mm", "zero", "after CodeTalker", needs="2 frames", digits=3),
    "FDD_motion_sq": Metric("mean_upper (std_t |v-rest|²_G - std_t |v-rest|²_P)", "mm²", "zero", "CodeTalker", needs="2 frames", digits=3),
    "upper_face_error": Metric("mean_t,upper |dv|", "mm", "lower", OURS, needs="2 frames"),
    "lip_velocity_error": Metric("mean_t,lips |d(dv)/dt|", "mm/s", "lower", OURS, needs="3 frames", digits=1),
    # lips, lids, eyes
    "lip_opening_slope": Metric("regression of predicted on true lip opening, clips centred, pooled", "", "one", OURS),
    "closure_error": Metric("mean over p, b, m of max(0, min_t opening P - G)", "mm", "lower", OURS, needs="a bilabial"),
    "closure_rate": Metric("share of p, b, m at which P's lips come within 1 mm of rest, pooled", "", "truth", OURS, needs="a bilabial"),
    "closure_rate_truth": Metric("the same of G", "", "none", OURS, needs="a bilabial"),
    "blink_rate": Metric("blinks a minute, pooled", "1/min", "truth", OURS, digits=1),
    "blink_rate_truth": Metric("the same of G", "1/min", "none", OURS, digits=1),
    "blink_depth": Metric("mean over blinks of 1 - smallest / median lid distance, pooled", "", "truth", OURS),
    "blink_depth_truth": Metric("the same of G", "", "none", OURS),
    "gaze_angle": Metric("mean_t angle between mean directions of both eyes", "°", "lower", "after Talking Together", needs="gaze in G"),
    # sound and motion
    "mouth_sync": Metric("mouth_sync_own - mouth_sync_partner", "", "truth", OURS, needs="sound of both"),
    "mouth_sync_own": Metric("corr(lip opening, energy of the own voice)", "", "higher", OURS, needs="sound"),
    "mouth_sync_partner": Metric("corr(lip opening, energy of the partner's voice)", "", "truth", OURS, needs="sound of the partner"),
    "mouth_sync_partner_truth": Metric("the same of G", "", "none", OURS, needs="sound of the partner"),
    "mouth_sync_lag": Metric("|lag| in ±2 s at which mouth_sync_own is largest, mean over clips", "s", "lower", OURS, needs="4 s of sound"),
    "mouth_sync_truth": Metric("mouth_sync of G", "", "none", OURS, needs="sound of both"),
    "nod_sync": Metric("max over lags in ±2 s of corr(nod energy, energy of the partner's voice)", "", "truth", OURS, needs="4 s of sound"),
    "nod_sync_above_chance": Metric("nod_sync less its mean over rotated voices", "", "truth", OURS, needs="16 s of sound", digits=3),
    "nod_sync_above_chance_truth": Metric("the same of G", "", "none", OURS, needs="16 s of sound", digits=3),
    "nod_sync_lag": Metric("the lag of nod_sync; positive = after the voice", "s", "none", OURS, needs="4 s of sound"),
    "nod_sync_lag_truth": Metric("the same of G", "s", "none", OURS, needs="4 s of sound"),
    "nod_sync_truth": Metric("nod_sync of G", "", "none", OURS, needs="4 s of sound"),
    # parameters: P prediction, G truth, Q the partner's true motion
    "FD": Metric("|m_P-m_G|² + tr C_P + tr C_G - 2 tr (C_P C_G)^½ within a clip, mean over clips", "u²", "lower", DUALTALK),
    "P-FD": Metric("FD between [Q;G] and [Q;P]", "u²", "lower", DUALTALK),
    "MSE": Metric("mean over frames and dims of (P-G)²", "u²", "lower", DUALTALK),
    "SID": Metric(
        "entropy of frames over k-means clusters, K = 40/10/10; dualtalk-official: reverse_SID, else forward_SID",
        "bit",
        "higher",
        "DualTalk, after Learning2Listen",
        needs="K frames",
    ),
    "forward_SID": Metric("SID of P over clusters of G (TIMAR's sid)", "bit", "higher", TIMAR, needs="K frames"),
    "reverse_SID": Metric("SID of G over clusters of P (TIMAR's reverse_sid)", "bit", "higher", TIMAR, needs="K frames"),
    "STS": Metric("sqrt(Σ_t,d (ΔP-ΔG)² / 0.1)", "u", "lower", DUALTALK),
    "Diversity": Metric("mean L2 distance of 100 random pairs of frames of P", "u", "truth", DUALTALK, needs="> 100 frames (official)"),
    "Diversity_truth": Metric("the same of G", "u", "none", DUALTALK, needs="> 100 frames (official)"),
    "Variance": Metric("mean over dims of the variance of P over time (1/T)", "u²", "truth", DUALTALK, digits=3),
    "Variance_truth": Metric("the same of G", "u²", "none", DUALTALK, digits=3),
    "rPCC": Metric("|corr(G,Q) - corr(P,Q)|, all T·D values flattened", "", "lower", DUALTALK, needs="no constant motion"),
    "rPCC_per_dimension": Metric("mean over dims of |corr(G_d,Q_d) - corr(P_d,Q_d)|", "", "lower", OURS, needs="G and Q that move"),
    "FD_pooled": Metric("FD of the frames of all clips together", "u²", "lower", OURS),
    "P-FD_pooled": Metric("P-FD of the frames of all clips together", "u²", "lower", OURS),
    "SID_pooled": Metric("SID of all P over clusters of all G", "bit", "higher", OURS),
    "S_FD": Metric("FD of the frames in which the person speaks", "u²", "lower", "MANGO; within a clip", needs="2 D such frames"),
    "L_FD": Metric("FD of all other frames", "u²", "lower", "MANGO; within a clip", needs="2 D such frames"),
    "S_FD_pooled": Metric("FD of the speaking frames of all clips together", "u²", "lower", "MANGO; pooled"),
    "L_FD_pooled": Metric("FD of the other frames of all clips together", "u²", "lower", "MANGO; pooled"),
    "PDD": Metric("100 · mean over head rotations |std_t P - std_t G|", "10⁻² rad", "lower", UNILS, needs="2 frames"),
    "JDD": Metric("100 · |std_t P - std_t G| of the jaw's x rotation", "10⁻² rad", "lower", UNILS, needs="2 frames"),
}

# Factors of the published tables (TIMAR's formatter). Variants of a metric are scaled as it is.
_FACTORS = {
    ("FD", "P-FD", "FD_pooled", "P-FD_pooled", "S_FD", "L_FD", "S_FD_pooled", "L_FD_pooled"): (1.0, 1e3, 1e2),
    ("MSE",): (10.0, 1e3, 1e2),
    ("rPCC", "rPCC_per_dimension"): (1e2, 10.0, 10.0),
}
PUBLISHED_SCALING: Mapping[tuple[str, str], float] = {
    (name, part): factor for names, factors in _FACTORS.items() for name in names for part, factor in zip(PARTS, factors, strict=True)
}


def unit(name: str, part: str, *, scaled: bool) -> str:
    """As printed beside a value: "10⁻³ rad²" for a number that was multiplied by a thousand."""
    plain, factor = METRICS[name].unit_of(part), PUBLISHED_SCALING.get((name, part), 1.0) if scaled else 1.0
    power = {1.0: "", 10.0: "10⁻¹", 1e2: "10⁻²", 1e3: "10⁻³"}[factor]
    return f"{power} {plain}".strip()


@dataclass(frozen=True)
class Measure:
    name: str  # as printed
    unit: str
    direction: Direction  # which is better
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
