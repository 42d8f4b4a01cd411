"""How much larger faces move than their tracker says, found from pictures before stage two begins.

Amplitude is the error that avatars hide best. Learnt from lips that open too little, Gaussians settle where they draw that motion well,
and from there every gradient says: stay. But avatars learnt from motion of the right size draw the mouths of new frames best of all. So a
few sizes are tried, each with avatars of its own, and the best is where a parabola through their errors, over the logarithm of the size,
is lowest: a profile likelihood. It is one number for everybody and all of the face, a habit of the tracker; mouths alone can tell it.
A few people do: their avatars are sharp sooner, and blurred ones are drawn best with mouths that hardly move.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mango.data.json_files import read_json
from mango.errors import InputError
from mango.training.alternation import Phase, Schedule
from mango.training.drawn_mouths import DrawingError, lowest
from mango.training.label_bank import LabelBank
from mango.training.run import Run
from mango.training.stage2 import teach_head
from mango.training.studio import Learners, Studio, picture_learners

FILE = "calibration.json"  # in the run's folder: {"errors": {gain tried: error}, "gain": the best, or the known one}


def begin(run: Run, studio: Studio, learners: Learners) -> None:
    """Everything as it stood when the run was left; a new run begins with a calibrated bank."""
    known = studio.config.calibration.known
    if known:
        gain = known_gain(known)
        run.note(FILE, {"errors": {}, "gain": gain})
        run.say(f"movements are taken {gain:.2f} times as large as labelled, as in {known}; for another tracker's labels have it measured")
    else:
        gain = measured_gain(run, studio, learners)
    learners.bank = amplified(studio, learners.bank, gain)
    learners.restore(run.restore(learners.all, check=learners.check).tensors)


def known_gain(run: Path) -> float:
    """The gain that a run began with.

    Errors: InputError when it has none.
    """
    gain = read_json(run / FILE)["gain"] if (run / FILE).exists() else None
    if gain is None:  # or it was stopped during its trials
        remedy = "give a run of stage two, or have the gain measured (finetune: --measure-gain; stage two: no calibration.known)"
        raise InputError(run, expected=f"a run with a {FILE} that says its gain", found="none", remedy=remedy)
    return float(gain)


def measured_gain(run: Run, studio: Studio, learners: Learners) -> float:
    """The best gain. Trials that a killed run had finished are not made again."""
    config = studio.config.calibration
    if config.gains and not any((held.speaking[held.keep] >= 0.5).any() for held in studio.trials.windows.dialogues):
        remedy = (
            "have the gain of a checkpoint (finetune: no --measure-gain; stage two: calibration.known), or none (calibration.gains: [])"
        )
        raise InputError("calibration", expected="people who are heard to speak", found="silence in all films", remedy=remedy)
    errors = dict(run.noted(FILE).get("errors", {}))
    for gain in config.gains:
        if str(gain) not in errors:
            run.say(f"calibration: avatars learn from movements {gain:g} times as large as the tracker's ({config.steps} steps)")
            errors[str(gain)] = drawing_error(run, studio, learners, gain)
            run.note(FILE, {"errors": errors, "gain": None})
    best = best_gain({gain: errors[str(gain)] for gain in config.gains})
    run.note(FILE, {"errors": errors, "gain": best})
    if config.gains:
        run.say(f"calibration: {best:.2f} times the tracker's movement")
    return best


def drawing_error(run: Run, studio: Studio, learners: Learners, gain: float) -> float:
    """Mean absolute error (of 255) with which avatars draw speaking mouths of further frames, having learnt from such a gain."""
    config = studio.config.calibration
    schedule = Schedule((Phase("head", config.steps),), studio.config.schedule.cycle)
    studio = replace(studio, config=replace(studio.config, schedule=schedule), lessons=studio.trials)
    heads, cameras = picture_learners(studio, studio.lessons.windows, config.steps)
    trial = replace(learners, heads=heads, cameras=cameras, bank=amplified(studio, learners.bank, gain), growth=None)
    error = DrawingError(studio, trial)
    for step in range(1, config.steps + config.lessons + 1):
        if run.stopping:
            run.say("calibration: stopped; the trials that are finished are kept")
            raise KeyboardInterrupt
        lesson = studio.lessons.at(step).to(studio.device)
        if step <= config.steps:
            teach_head(studio, trial, lesson, step)
        else:
            error.add(lesson)
    return error.mean()


def amplified(studio: Studio, bank: LabelBank, gain: float) -> LabelBank:
    """A new bank in which faces move that many times as much about each clip's rest; heads and eyeballs turn as they did."""
    layout = studio.head.layout
    channels = torch.ones(layout.width, device=studio.device)
    for part in ("expr", "jaw_pose"):
        channels[layout.where(part)] = gain
    return bank.amplified(channels)


def best_gain(errors: Mapping[float, float]) -> float:
    """The gain of least error, by a parabola over its logarithm; 1 when nothing was tried."""
    return lowest(errors, np.log, np.exp) if errors else 1.0
