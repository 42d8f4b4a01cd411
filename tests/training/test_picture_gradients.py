"""What pixels may tell the motion model: faces, not when somebody nods or blinks.

Faults planted, each seen red: the model's eyelids drawn, the model's head pose drawn.
"""

import filmed_people
from filmed_people import film_people

from mango.training.runtime import Runtime
from mango.training.stage2 import from_pixels
from mango.training.stage2_config import CalibrationConfig
from mango.training.studio import open_studio


def test_heads_and_eyelids_are_drawn_as_labelled(head, tmp_path):
    film_people(tmp_path, head, lambda flat, quiet: flat)
    config = filmed_people.config_of(tmp_path, head, run=tmp_path / "run", calibration=CalibrationConfig(gains=()))
    studio, learners = open_studio(config, Runtime(config.runtime))
    lesson = studio.lessons.at(1)
    motion = learners.motion.model.denormalised(learners.bank.frames(lesson.shots)).clone().requires_grad_(True)
    sum(from_pixels(studio, learners, lesson, motion).values()).backward()
    told = motion.grad.abs().amax(0) > 0
    layout, names = head.layout, list(head.expression_names)
    expr = layout.where("expr").start
    assert told[layout.where("jaw_pose")][0] and told[expr + names.index("mouthFunnel")] and told[layout.where("eyes_pose")][0]
    assert not told[layout.where("neck_pose")].any() and not told[expr + names.index("eyeBlinkLeft")]
    assert learners.bank.held.sum() == 3 + head.expressions_of("eyelids").sum()
