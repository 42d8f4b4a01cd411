"""What a table of numbers has to say about itself to be cited: enough to make it again, and to see what is not comparable."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from mango.evaluation.catalogue import PARTS, PUBLISHED_SCALING
from mango.evaluation.intervals import FEWEST, LEVEL
from mango.evaluation.parameter_metrics import SID_CLUSTERS

Protocol = Literal[
    "native",  # our own: vertices, lips, eyes, synchrony and unscaled parameters
    "dualtalk-official",  # DualTalk's published script, its scaling and its exchanged arguments of SID
    "dualtalk-corrected",  # the same metrics as their names say, with pooled and per-dimension variants
]
DIFFERENCES = {
    "native": "parameters as in dualtalk-corrected, unscaled, on the head's own coefficients",
    "dualtalk-official": "per sequence, then mean; scipy.linalg.sqrtm; SID clusters fitted on the prediction (published argument order)",
    "dualtalk-corrected": "per sequence, then mean; symmetric root; SID clusters fitted on the truth; pooled and per-dimension variants",
}


def common_facts(protocol: Protocol, seed: int) -> dict[str, object]:
    from mango.provenance import commit

    scaled = protocol != "native"
    scaling = {f"{name}.{part}": factor for (name, part), factor in PUBLISHED_SCALING.items() if factor != 1} if scaled else {}
    return {
        "protocol": protocol,
        "protocol_means": DIFFERENCES[protocol],
        "scaling": scaling,
        "parts": {"exp": "expression coefficients", "jaw": "jaw rotation, rad", "pose": "head rotation, rad"},
        "sid_clusters": {part: SID_CLUSTERS[part] for part in PARTS},
        "partner": "the other person's true motion",
        "intervals": {"level": LEVEL, "method": "jackknife over dialogues, Student's t", "fewest_dialogues": FEWEST},
        "seed": seed,
        "commit": commit(),
        "versions": {name: _version(name) for name in ("mango-heads", "numpy", "scipy", "scikit-learn", "torch")},
    }


def checkpoint_facts(run_or_checkpoint: Path) -> Mapping[str, object]:
    """Which weights exactly; the run's newest checkpoint, averaged weights first, as they are loaded."""
    from mango.training.checkpoints import newest_checkpoint

    place = Path(run_or_checkpoint)
    checkpoint = place if (place / "state.json").exists() else newest_checkpoint(place / "checkpoints")
    assert checkpoint is not None, "its model was loaded before"
    averaged = checkpoint / "motion" / "ema.safetensors"
    weights = averaged if averaged.exists() else averaged.with_name("model.safetensors")
    return {"checkpoint": str(place), "weights": weights.name, "step": checkpoint.resolve().name, "digest": _digest(weights)}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
