"""Trackers smooth: lips of their labels come short of their closures and peaks. How much, pictures say.

What a filter over several frames took away is mostly in what such a filter would take away again, x - smooth(x). So much of it is added to
the label bank, where people speak, as lets the avatars draw speaking mouths best: a parabola through the errors of a few amounts, as in
calibration. It is done some way into the run, a few times: raw labels tremble, and would tremble more; the bank, which follows the model,
does not. An avatar does not absorb what is lost in time as it absorbs amplitude, so the avatars of the moment serve.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mango.training.alternation import learned_before, phase_at
from mango.training.drawn_mouths import DrawingError, lowest
from mango.training.label_bank import LabelBank
from mango.training.run import Run
from mango.training.studio import Learners, Studio
from mango.types import PERSONS

FILE = "sharpening.json"  # in the run's folder: {motion step: {"errors": {amount: error}, "amount": the best}}
FADE = 11  # frames over which it comes and goes about speech


def sharpen_when_due(run: Run, studio: Studio, learners: Learners, step: int) -> None:
    """After some of the motion model's steps: measure, then sharpen the bank."""
    config, schedule = studio.config.sharpening, studio.config.schedule
    whole, done = (learned_before(steps, "motion", schedule) for steps in (studio.config.steps, step))
    if phase_at(step - 1, schedule).learner != "motion" or done not in {round(share * whole) for share in config.at}:
        return
    known = run.noted(FILE)
    if sum(int(before) < done for before in known) >= len(config.at):  # the run has got more steps since: its moments are others now
        return
    errors = drawing_errors(studio, learners, step)
    best = lowest(errors)
    run.note(FILE, {**known, str(done): {"errors": {str(amount): error for amount, error in errors.items()}, "amount": best}})
    run.say(f"labels of speech are sharpened by {best:.2f}")
    learners.bank.bank = sharpened(studio, learners.bank, best)


def drawing_errors(studio: Studio, learners: Learners, step: int) -> dict[float, float]:
    """By amount: the mean absolute error (of 255) with which avatars draw speaking mouths from the bank, sharpened by so much.

    Head pose is registered for the first amount and serves all: it is most of the work, and lips have no say in it.
    """
    config, bank, errors = studio.config.sharpening, learners.bank, {}
    tried = bank.on_trial()
    for amount in config.amounts:
        tried.bank = sharpened(studio, bank, amount)
        error = DrawingError(as_registered(studio) if errors else studio, replace(learners, bank=tried))
        for number in range(config.lessons):
            error.add(studio.lessons.at(studio.config.steps + step * config.lessons + number).to(studio.device))  # pictures of no step
        errors[amount] = error.mean()
    return errors


def as_registered(studio: Studio) -> Studio:
    """Where head poses are those that the bank remembers."""
    return replace(studio, config=replace(studio.config, registration=replace(studio.config.registration, iterations=0)))


def sharpened(studio: Studio, bank: LabelBank, amount: float) -> dict[tuple[str, str], Float[Tensor, "time width"]]:
    """The bank's faces, sharpened where people speak; heads, eyeballs and eyelids as they were."""
    layout, frames = studio.head.layout, studio.config.sharpening.frames
    face = torch.zeros(layout.width, device=studio.device)
    for part in ("expr", "jaw_pose"):
        face[layout.where(part)] = 1.0
    face[bank.held] = 0.0  # what does not follow the model trembles still
    found = {}
    for held in studio.lessons.windows.dialogues:
        for side, speaking in zip(PERSONS, held.speaking, strict=True):
            motion = bank.bank[held.id, side]
            where = amount * spread(speaking >= 0.5)[:, None].to(motion)
            found[held.id, side] = motion + where * face * (motion - smoothed(motion, frames))
    return found


def smoothed(motion: Float[Tensor, "time width"], frames: int) -> Float[Tensor, "time width"]:
    """Means over a Hann window; the ends are held."""
    window, half = _hann(frames).to(motion), frames // 2
    padded = torch.cat([motion[:1].expand(half, -1), motion, motion[-1:].expand(half, -1)])
    return sum(weight * padded[start : start + len(motion)] for start, weight in enumerate(window))


def spread(speaking: Bool[Tensor, "time"]) -> Float[Tensor, "time"]:
    """1 in speech, 0 in silence, fading between."""
    return smoothed(speaking.float()[:, None], FADE)[:, 0]


def _hann(frames: int) -> Float[Tensor, "frames"]:
    window = torch.hann_window(frames + 2, periodic=False)[1:-1]
    return window / window.sum()
