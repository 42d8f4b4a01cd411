"""Stage two: alternate between drawing people better and moving them better, from pictures.

    python train_stage2.py configs/stage2_demo.yaml [--stage1 runs/x --steps 100 --motion-optimizer.lr 1e-4]

Starts from a run of stage one. The same command again goes on from the last checkpoint; Ctrl-C saves one.
"""

import sys

from mango.audio.encoders import make_encoder
from mango.config import parse_command_line, to_plain
from mango.data.dialogues import DialogueSet
from mango.data.pictures import Pictures
from mango.data.windows import Windows
from mango.diffusion.objective import schedule as make_schedule
from mango.errors import InputError
from mango.head.model import load_head
from mango.losses.surface import lip_surface
from mango.training.alternation import phase_at
from mango.training.avatars import save_avatars
from mango.training.run import Run
from mango.training.runtime import Runtime
from mango.training.stage1 import load_motion_model
from mango.training.stage2 import Stage2Config, Supply, assert_finite, make_learners, make_studio, teach_head, teach_motion, validation


def main(config: Stage2Config) -> int:
    runtime = Runtime(config.runtime)
    head = load_head(config.head)
    dialogues = DialogueSet.open(config.data)
    model, description, encoder_config = load_motion_model(config.stage1, head=head)
    encoder = make_encoder(encoder_config)
    windows, held_out = (
        Windows(dialogues, split, encoder, head.layout, description.frames, description.context)
        for split in (config.train_split, config.validation_split)
    )
    studio = make_studio(config, head, make_schedule(description.diffusion), dialogues, description.context, runtime.device)
    trainable = model.train().requires_grad_(True).to(runtime.device)
    learners = make_learners(studio, dialogues, windows, trainable, to_plain(description), runtime.device)
    lessons, examination = (
        Supply(supplied, Pictures(dialogues, dialogues.split(split), studio.background.cpu()), config)
        for supplied, split in ((windows, config.train_split), (held_out, config.validation_split))
    )
    surface = lip_surface(head, head.layout, lips=config.lip_weight).to(runtime.device)
    head.to(runtime.device)
    facts = {"stage": 2, "dataset": dialogues.digest, "head": head.digest, "encoder": encoder.digest, **runtime.describe()}

    with Run(config.run, config, facts=facts, keep=config.keep, writes=runtime.is_main) as run:
        learners.bank.restore(run.restore(learners.all).tensors.get("bank"))
        for step in run.steps(config.steps):
            active = phase_at(step - 1, config.schedule).learner
            lesson = lessons.at(step).to(runtime.device)
            if active == "head":
                losses = teach_head(studio, learners, lesson, step)
            else:
                losses = teach_motion(studio, learners, lesson, surface, step)
            assert_finite(losses, lesson, step)

            if run.due(step, config.every.log):
                run.show(f"{active} {float(losses['total']):.4f}")
                run.log(step, active, losses)
            if run.due(step, config.every.validate):
                held = validation(studio, learners, examination, runtime.device)
                run.log(step, "validation", held)
                run.say(f"step {step}: validation picture loss {held['total']:.4f}")
            if run.due(step, config.every.save) or run.stopping:
                run.save(step, learners.all, {"bank": learners.bank.state()}, active=active)
                save_avatars(config.run / "avatars", learners.avatars)
    return run.exit_code


if __name__ == "__main__":
    try:
        sys.exit(main(parse_command_line(Stage2Config)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
