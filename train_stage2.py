"""Stage two: alternate between drawing people better and moving them better, from pictures.

    python train_stage2.py configs/stage2_demo.yaml [--stage1 runs/x --steps 100 --motion-optimizer.lr 1e-4]
    torchrun --nproc-per-node 2 -- train_stage2.py configs/stage2.yaml       (two processes; without -- torchrun would take our --run)

Starts from a run of stage one. The same command again goes on from the last checkpoint; Ctrl-C saves one.
"""

import sys

from mango.config import parse_command_line
from mango.errors import InputError
from mango.training.avatars import save_avatars
from mango.training.calibration import begin
from mango.training.run import INTERRUPTED, Run
from mango.training.runtime import Runtime
from mango.training.seen_closures import close_when_due
from mango.training.sharpening import sharpen_when_due
from mango.training.stage2 import alternate, examination
from mango.training.stage2_config import Stage2Config
from mango.training.studio import open_studio


def main(config: Stage2Config) -> int:
    runtime = Runtime(config.runtime)
    studio, learners = open_studio(config, runtime)

    with Run(config.run, config, facts=studio.facts, keep=config.keep, runtime=runtime) as run:
        for remark in studio.remarks:
            run.say(remark)
        begin(run, studio, learners)
        for step, active, losses in alternate(studio, learners, run.steps(config.steps)):
            close_when_due(run, studio, learners, step)
            sharpen_when_due(run, studio, learners, step)
            if run.due(step, config.every.log):
                run.show(f"{active} {float(losses['total']):.4f}")
                run.log(step, active, losses)
            if run.due(step, config.every.validate):
                held_out = examination(studio, learners)
                if held_out:
                    run.log(step, "validation", held_out.losses)
                    run.log_pictures(step, "recorded and drawn", held_out.pictures)
            if run.due(step, config.every.save) or run.stopping:
                if runtime.is_main:
                    save_avatars(config.run / "avatars", learners.avatars)  # first: a finished run has its avatars, whenever it is killed
                run.save(step, learners.all, learners.tensors, samples_seen=step * config.windows, phase=active)
    return run.exit_code


if __name__ == "__main__":
    try:
        sys.exit(main(parse_command_line(Stage2Config)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
