"""Other people's predictions in DualTalk's files: scored without a model and without a head.

PREDICTIONS/*.npy --+
DATA/*.npz ---------+--> compared motion --> parameter metrics per sequence --> one row per folder, and its controls
DATA/*.wav (if any) + speaking masks
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from mango.evaluation.compared import ComparedMotion, Parts, frames_of
from mango.evaluation.dualtalk_files import DualTalkFolder, read_compared
from mango.evaluation.facts import common_facts
from mango.evaluation.parameter_scores import add_compared
from mango.evaluation.scores import Evaluation, Row, Tally

SHIFT = 5  # frames


def evaluate_predictions(
    predictions: Sequence[Path],
    data: Path,
    split: str,
    protocol: Literal["dualtalk-official", "dualtalk-corrected"],
    *,
    seed: int = 0,
    complete: bool = False,
    controls: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """A row per folder of predictions; with ``controls`` also rows whose values are known or must be worse (of the first folder)."""
    folder = DualTalkFolder.open(data, split)
    found = {str(place): read_compared(place, folder, split, complete=complete) for place in predictions}
    main = str(predictions[0])
    rows = {name: one.compared for name, one in found.items()}
    if controls:
        rows |= controls_of(rows[main])
    done: dict[str, Row] = {}
    finished, sequences = 0, sum(map(len, rows.values()))

    def advance() -> None:
        nonlocal finished
        finished += 1
        if progress:
            progress(finished, sequences)

    for name, compared in rows.items():
        tally = Tally()
        add_compared(tally, compared, official=protocol == "dualtalk-official", seed=seed, scored=advance)
        done[name] = tally.row(frames_of(compared), scaled=True)
    where = {"data": str(folder.folder), "data_digest": folder.digest(), "split": split if folder.folder != data else None}
    others = {name: one.facts for name, one in found.items() if name != main}
    facts = common_facts(protocol, seed) | where | found[main].facts | {"truth": "the data's own tracked motion"}
    return Evaluation(main, done, scaled=True, facts=facts | ({"rows": others} if others else {}))


def controls_of(compared: Sequence[ComparedMotion]) -> dict[str, list[ComparedMotion]]:
    """The same people with other predictions: the truth (errors 0), its mean held, the prediction late by five frames, the partner's."""
    return {
        "control: truth": [replace(one, prediction=one.truth) for one in compared],
        "control: still face": [replace(one, prediction=_each(partial(_held, keep=one.trusted), one.truth)) for one in compared],
        f"control: {SHIFT} frames late": [replace(one, prediction=_each(_late, one.prediction)) for one in compared],
        "control: partner's motion": [replace(one, prediction=one.partner) for one in compared if one.partner is not None],
    }


def _each(change: Callable[[np.ndarray], np.ndarray], parts: Parts) -> Parts:
    return {part: change(motion) for part, motion in parts.items()}


def _held(motion: np.ndarray, keep: np.ndarray) -> np.ndarray:
    return np.broadcast_to(motion[keep].mean(0), motion.shape).copy()


def _late(motion: np.ndarray) -> np.ndarray:
    return np.concatenate([np.repeat(motion[:1], min(SHIFT, len(motion)), axis=0), motion[:-SHIFT]])
