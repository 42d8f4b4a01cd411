"""How much larger faces move than their tracker says, found from pictures before stage two begins.

Amplitude is the error that avatars hide best. Learnt from lips that open too little, Gaussians settle where they draw that motion well,
and from there every gradient says: stay. But avatars learnt from motion of the right size draw new frames best of all. So a few sizes are
tried, each with avatars of its own, and the best is where a parabola through their errors, over the logarithm of the size, is lowest: a
profile likelihood. It is one number for the mouth and one for the eyelids, for everybody: a habit of the tracker, not of a person.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mango.data.json_files import read_json, write_json
from mango.errors import InputError
from mango.head.model import Head, load_head
from mango.losses.surface import derivative_at_rest
from mango.training.alternation import Phase, Schedule
from mango.training.label_bank import LabelBank
from mango.training.picture_losses import PictureLossWeights, RegionWeights
from mango.training.run import Run
from mango.training.stage2 import compared, registered, rendered, teach_head
from mango.training.studio import Learners, Studio, picture_learners

FILE = "calibration.json"  # in the run's folder: {"errors": {gain: {part: L1}}, "gains": {part: gain}}
PARTS = {"mouth": "lower_face", "eyelids": "eyelids"}  # what has a gain -> the region of the head that shows it
PLAIN = PictureLossWeights(l1=1.0, ssim=0.0, silhouette=0.0)
WHERE = {
    "mouth": RegionWeights(background=0.0, head=0.0, mouth=1.0, eyes=0.0),
    "eyelids": RegionWeights(background=0.0, head=0.0, mouth=0.0, eyes=1.0),
}


def begin(run: Run, studio: Studio, learners: Learners) -> None:
    """Everything as it stood when the run was left; a new run begins with a calibrated bank."""
    gains = known_gains(studio.config.calibration.known) or measured_gains(run, studio, learners)
    learners.bank = amplified(studio, learners.bank, gains)
    learners.bank.restore(run.restore(learners.all).tensors.get("bank"))


def known_gains(run: Path | None) -> dict[str, float]:
    """The gains that a run began with; none without a run.

    Errors: InputError when the run has none.
    """
    if run is None:
        return {}
    if not (run / FILE).exists():
        remedy = "give a run of stage two, or leave calibration.known away to have them measured"
        raise InputError(run, expected=f"a run with a {FILE}", found="none", remedy=remedy)
    return dict(read_json(run / FILE)["gains"])


def measured_gains(run: Run, studio: Studio, learners: Learners) -> dict[str, float]:
    """Gain of each part. Trials that a killed run had finished are not made again."""
    config, path = studio.config.calibration, run.folder / FILE
    errors = dict(read_json(path)["errors"]) if path.exists() else {}
    for gain in config.gains:
        if str(gain) not in errors:
            run.say(f"calibration: avatars learn from movements {gain:g} times as large as the tracker's ({config.steps} steps)")
            errors[str(gain)] = drawing_errors(run, studio, learners, gain)
            write_json(path, {"errors": errors, "gains": {}})
    tried = {float(gain): errors[str(gain)] for gain in map(str, config.gains)}
    gains = {part: lowest({gain: error[part] for gain, error in tried.items()}) for part in PARTS}
    write_json(path, {"errors": errors, "gains": gains})
    if config.gains:
        run.say("calibration: " + ", ".join(f"{part} {gain:.2f}" for part, gain in gains.items()) + " times the tracker's movement")
    return gains


def drawing_errors(run: Run, studio: Studio, learners: Learners, gain: float) -> dict[str, float]:
    """Mean absolute error (of 255) that avatars draw further frames with, having learnt from movements so many times as large."""
    config = studio.config.calibration
    schedule = Schedule((Phase("head", config.steps),), studio.config.schedule.cycle)
    studio = replace(studio, config=replace(studio.config, schedule=schedule))
    heads, cameras = picture_learners(studio, studio.lessons.windows, config.steps)
    trial = replace(learners, heads=heads, cameras=cameras, bank=amplified(studio, learners.bank, dict.fromkeys(PARTS, gain)))
    errors = dict.fromkeys(PARTS, 0.0)
    for step in range(1, config.steps + config.lessons + 1):
        if run.stopping:
            run.say("calibration: stopped; the trials that are finished are kept")
            raise KeyboardInterrupt
        lesson = studio.lessons.at(step).to(studio.device)
        if step <= config.steps:
            teach_head(studio, trial, lesson, step)
            continue
        with torch.no_grad():
            recorded, speaking = lesson.recorded, lesson.windows.speaking[lesson.places]
            banked = learners.motion.model.denormalised(trial.bank.frames(recorded.shots))
            drawing = rendered(studio, trial, registered(studio, trial, banked, recorded), recorded)
            for part, regions in WHERE.items():  # lips in silence say nothing about how far they open
                counts = speaking if part == "mouth" else torch.ones_like(speaking)
                errors[part] += 255 * float(compared(drawing, recorded, PLAIN, regions, counts / counts.mean().clamp_min(1e-6))["l1"])
    return {part: error / config.lessons for part, error in errors.items()}


def lowest(errors: Mapping[float, float]) -> float:
    """The gain, among those tried and between them, at which the error is least; 1 when nothing was tried.

    A parabola over the logarithm of the gain; where it does not bend upwards, the best of those tried.
    """
    if not errors:
        return 1.0
    gains = sorted(errors)
    best = min(gains, key=lambda gain: errors[gain])
    if len(gains) < 3:
        return best
    bend, slope, _ = np.polyfit(np.log(gains), [errors[gain] for gain in gains], 2)
    return float(np.exp(-slope / (2 * bend)).clip(gains[0], gains[-1])) if bend > 0 else best


def amplified(studio: Studio, bank: LabelBank, gains: Mapping[str, float]) -> LabelBank:
    """A new bank in which every part moves that many times as much about each clip's rest."""
    head = load_head(studio.config.head)
    channels = torch.ones(head.layout.width)
    for part, belongs in parts(head).items():
        channels[belongs] = gains[part]
    return bank.amplified(channels.to(studio.device))


def parts(head: Head) -> dict[str, Bool[Tensor, "width"]]:
    """Channels that belong to each part: of what they move of the face, more than half lies there. Pose and gaze belong to none."""
    moves = derivative_at_rest(head, head.layout, torch.arange(len(head.template))).square().sum(-1)
    face = torch.zeros(len(head.template), dtype=torch.bool)
    face[head.region("face")] = True
    movable = torch.ones(head.layout.width, dtype=torch.bool)
    for fixed in ("neck_pose", "eyes_pose"):
        movable[head.layout.where(fixed)] = False

    def mostly(region: str) -> Bool[Tensor, "width"]:
        there = torch.zeros_like(face)
        there[head.region(region)] = True
        return movable & (moves[:, there & face].sum(1) > 0.5 * moves[:, face].sum(1))

    return {part: mostly(region) for part, region in PARTS.items()}
