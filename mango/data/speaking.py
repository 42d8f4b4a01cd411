"""Speaking indicators in a set, and whose they are: given by a source, or computed from the sound and so free to be computed again.

A computed ``a.speaking.npy`` is named by ``a.speaking.json`` beside it: {format, detector, sound, speaking}, with the digests of the sound
and of the values. Where that does not fit, the values are a source's, unless they are exactly what the built-in detector says: importing
and synthesizing write that.
"""

import hashlib
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mango.audio.activity import speaking_indicator
from mango.audio.alignment import frame_count
from mango.audio.detectors import Detector, speech_activity
from mango.data.features import sound_digest
from mango.data.json_files import read_json, write_json
from mango.data.side_files import read_speaking, write_speaking

FORMAT = 1


def write_detected(
    folder: Path, side: str, audio: Float[Tensor, "samples"], detector: Detector, *, overwrite: bool = False
) -> Literal["computed", "there already", "given"]:
    """``a.speaking.npy`` by a detector, atomically. What a source gave is kept, unless ``overwrite``."""
    path, description = folder / f"{side}.speaking.npy", folder / f"{side}.speaking.json"
    wanted = {"format": FORMAT, "detector": detector, "sound": sound_digest(audio)}
    if path.exists():
        found = read_speaking(path, frame_count(len(audio)))
        named = read_json(description) if description.exists() else {}
        computed = named.get("speaking") == _digest(found)
        if computed and wanted.items() <= named.items():
            return "there already"
        if not computed and not overwrite and not torch.equal(found, speaking_indicator(audio)):
            return "given"
    speaking = speech_activity(audio, detector)
    path.unlink(missing_ok=True)  # first: values without their description would pass for a source's after a kill
    write_json(description, {**wanted, "speaking": _digest(speaking)})
    write_speaking(path, speaking)
    return "computed"


def _digest(speaking: Float[Tensor, "time"]) -> str:
    return hashlib.sha256(speaking.numpy().tobytes()).hexdigest()
