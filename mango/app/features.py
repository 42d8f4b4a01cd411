"""`mango data features`: what training and generation compute from the voices of a set, made beforehand, a dialogue per task."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from mango.audio.detectors import Detector, check_detector
from mango.audio.encoders import Encoder, EncoderConfig, make_encoder
from mango.data.dialogues import DialogueSet
from mango.data.preparation import carried_out, engine_for
from mango.errors import InputError
from mango.progress import progress_bar
from mango.training.runtime import default_device
from mango.types import PERSONS

Progress = Callable[[int, int], None]
SHOWN = 10  # failures, by name


def main(
    data: Positional[Path],
    /,
    encoder_kind: Literal["log_mel", "wav2vec2", "hubert", "wavlm"] = "log_mel",
    encoder_path: str | None = None,
    encoder_layers: tuple[int, ...] = (-1,),
    encoder_mels: int = 40,
    detector: Detector | None = None,
    overwrite: bool = False,
    split: str | None = None,
    workers: int | None = None,
    ray: str | None = None,
    retries: int = 1,
) -> int:
    """Voice features of a dialogue set, and with --detector its speaking indicators. The same command again computes what is missing.

    Args:
        data: the folder with dataset.json
        encoder_kind: as encoder.kind of the training that is to use them
        encoder_path: as encoder.path
        encoder_layers: as encoder.layers; without numbers all of them
        encoder_mels: as encoder.mels
        detector: also write who speaks when, by this detector; what a source gave is kept
        overwrite: write it even over what a source gave
        split: one split (without, all)
        workers: processes, each of which holds the encoder (without, one for each core; one for a speech model on a GPU)
        ray: instead of processes: "auto" for the Ray cluster that is there, "local" to start one, or its address
        retries: how often a dialogue whose process was lost is tried again
    """
    encoder = EncoderConfig(kind=encoder_kind, path=encoder_path, layers=encoder_layers, mels=encoder_mels)
    with progress_bar("features", "dialogues") as progress:
        return make_features(
            data, encoder, detector=detector, overwrite=overwrite, split=split, workers=workers, ray=ray, retries=retries, progress=progress
        )


def make_features(
    data: Path, encoder: EncoderConfig, *, detector: Detector | None, overwrite: bool, split: str | None, workers: int | None,
    ray: str | None, retries: int, progress: Progress,
) -> int:  # fmt: skip
    """Exit code 1 when some dialogue failed, by name; the others are done."""
    opened = DialogueSet.open(data)
    if overwrite and detector is None:
        raise InputError("--overwrite", expected="a --detector to write with", found="none", remedy="features need no --overwrite")
    ids = opened.ids if split is None else opened.split(split)
    if detector is not None:
        check_detector(detector)
        if not all(isinstance(opened.folder(id), Path) for id in ids):
            remedy = "write speaking indicators before packing, or leave --detector away"
            raise InputError(data, expected="a set in folders to write into", found="a packed one", remedy=remedy)
    encoder_digest = make_encoder(encoder).digest  # an encoder that cannot be had is one error, not one for each dialogue
    if workers is None and encoder.kind != "log_mel" and default_device().type != "cpu":
        workers = 1
    tasks = [FeaturesOf(data.absolute(), id, encoder, detector, overwrite) for id in ids]
    done, failed, start = Counter(), [], time.monotonic()
    progress(0, len(tasks))
    with closing(carried_out(tasks, engine_for(len(tasks), workers, ray), retries=retries)) as outcomes:
        for number, outcome in enumerate(outcomes, start=1):
            if outcome.error is None:
                done.update(outcome.value)
            else:
                failed.append(f"{ids[outcome.number]}: {outcome.error}")
            progress(number, len(tasks))
    seconds = time.monotonic() - start
    print(f"{data}: features {encoder_digest[:12]} of {len(ids) - len(failed)} dialogues in {seconds:.1f} s, {_words(done)}")
    for line in failed[:SHOWN]:
        print(f"failed: {line}")
    if failed[SHOWN:]:
        print(f"failed: {len(failed) - SHOWN} more")
    return 1 if failed else 0


def _words(done: Counter) -> str:
    said = [f"{done['features computed']} voices computed, {done['features there already']} there already"]
    if any(name.startswith("speaking") for name in done):
        said.append(
            f"speaking: {done['speaking computed']} computed, {done['speaking there already']} there already, "
            f"{done['speaking given']} of a source kept"
        )
    return "; ".join(said)


@dataclass(frozen=True)
class FeaturesOf:
    """One dialogue's, both people."""

    data: Path
    id: str
    encoder: EncoderConfig
    detector: Detector | None
    overwrite: bool

    def __call__(self) -> dict[str, int]:
        """How many voices, by what was done."""
        from mango.data.features import make_voice_features
        from mango.data.side_files import read_voice
        from mango.data.speaking import write_detected

        folder, done = _opened(self.data).folder(self.id), Counter()
        for side in PERSONS:
            audio = read_voice(folder / f"{side}.wav")
            made = make_voice_features(self.data, self.id, side, audio, _encoder(self.encoder))
            done[f"features {'computed' if made else 'there already'}"] += 1
            if self.detector is not None:
                done[f"speaking {write_detected(folder, side, audio, self.detector, overwrite=self.overwrite)}"] += 1
        return dict(done)


@lru_cache(maxsize=1)
def _encoder(config: EncoderConfig) -> Encoder:
    """A process has one for all its dialogues."""
    return make_encoder(config).to(default_device())


@lru_cache(maxsize=1)
def _opened(data: Path) -> DialogueSet:
    return DialogueSet.open(data)
