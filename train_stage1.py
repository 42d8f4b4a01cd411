"""Stage one: train the motion model on two voices and a tracker's labels.

    python train_stage1.py configs/stage1_demo.yaml [--steps 100 --optimizer.lr 1e-4 --run runs/x --data data/y]
    torchrun --nproc-per-node 2 -- train_stage1.py configs/stage1.yaml       (two processes; without -- torchrun would take our --run)

The same command again goes on from the last checkpoint; Ctrl-C saves one.
"""

import sys
from functools import partial

from mango.audio.encoders import make_encoder
from mango.config import parse_command_line, to_plain
from mango.data.dialogues import DialogueSet
from mango.data.holding_out import nothing_held_out
from mango.data.windows import Windows
from mango.diffusion.objective import schedule as make_schedule
from mango.errors import InputError
from mango.head.layout import MotionLayout
from mango.head.model import load_head
from mango.losses.motion import added, total
from mango.losses.surface import lip_surface
from mango.progress import progress_bar
from mango.training.exercises import exercises
from mango.training.optim import make_learner
from mango.training.run import INTERRUPTED, Run
from mango.training.runtime import Runtime
from mango.training.stage1 import Stage1Config, check_finite, new_motion_model, stage1_losses, validation_losses


def main(config: Stage1Config) -> int:
    runtime = Runtime(config.runtime)
    parts = runtime.parts(config.batch, config.accumulate)
    head = load_head(config.head)
    layout = MotionLayout(head.expressions)
    dialogues = DialogueSet.open(config.data, strict=config.strict)
    dialogues.require_head(head)
    encoder = make_encoder(config.encoder).to(runtime.device)
    unvalidated = nothing_held_out(dialogues, config.validation_split)
    with progress_bar(f"reading {config.data}", "dialogues", shown=runtime.is_main) as told:
        windows = partial(Windows, dialogues, encoder=encoder, layout=layout, frames=config.frames, context=config.context, told=told)
        training, held_out = windows(config.train_split), None if unvalidated else windows(config.validation_split)
    model, description = new_motion_model(config, training, head)
    learner = make_learner("motion", model.to(runtime.device), config.optimizer, config.steps, description=to_plain(description))
    runtime.compile(learner.model)
    schedule = make_schedule(config.diffusion)
    surface = lip_surface(head, layout, lips=config.lip_weight).to(runtime.device)
    feed = exercises(config, training, schedule, parts)
    facts = {"stage": 1, **dialogues.facts, "head": head.digest, "encoder": encoder.digest, **runtime.describe()}

    with Run(config.run, config, facts=facts, keep=config.keep, runtime=runtime) as run:
        run.restore([learner])
        if unvalidated:
            run.say(unvalidated)
        for step in run.steps(config.steps):
            exercise, done = feed.at(step), []
            learner.optimizer.zero_grad(set_to_none=True)
            for part, draws in exercise.parts:
                batch = part.to(runtime.device)
                with runtime.autocast():
                    losses = stage1_losses(learner.model, batch, schedule, config, surface, draws, exercise.frames)
                check_finite(losses, batch, step)
                loss = total(losses, config.losses)
                loss.backward()
                done.append({**{name: frames.mean().detach() for name, frames in losses.items()}, "total": loss.detach()})
            runtime.add_gradients(learner.model.parameters())
            norm = learner.apply(step)
            feed.learnt(config.batch)

            if run.due(step, config.every.log):
                logged, speeds = runtime.summed(added(done)), feed.speeds()
                pace = f"{speeds['samples_per_second']:.3g} windows/s, {speeds['waiting_for_data']:.0%} waiting"
                run.show(f"loss {float(logged['total']):.4f}, {pace}")
                run.log(step, "train", {**logged, "gradient_norm": norm, **speeds})
            held = {}
            if held_out and run.due(step, config.every.validate):
                held = validation_losses(learner.averaged, held_out, schedule, config, surface, runtime)
                run.log(step, "validation", held)
                run.say(f"step {step}: validation loss {held['total']:.4f}")
            if run.due(step, config.every.save) or run.stopping:
                run.save(step, [learner], validation=held.get("total"), samples_seen=step * config.batch)
    return run.exit_code


if __name__ == "__main__":
    try:
        sys.exit(main(parse_command_line(Stage1Config)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
