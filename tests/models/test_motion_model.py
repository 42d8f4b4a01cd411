"""Faults these tests notice, each planted once: weights per person slot instead of shared; the partner's voice not connected (flip left
out); a mask dropped in one attention; the convolution reading padding; the context flag ignored; a null condition that leaks; rotary
positions that depend on where a window starts; identity of the wrong person."""

from dataclasses import replace

import pytest
import torch

from mango.errors import InputError
from mango.head.layout import MotionLayout
from mango.models.motion import Conditions, MotionModel, MotionModelConfig, PathwayDrop
from mango.seeds import torch_generator

BATCH, TIME, VOICE, IDENTITY = 2, 24, 6, 5
LAYOUT = MotionLayout(4)
SMALL = MotionModelConfig(width=32, depth=2, heads=2, interaction_depth=2, heard_reach=4)


@pytest.fixture(params=["separate", "joint", "mixed"])
def model(request) -> MotionModel:
    return random_model(request.param)


def random_model(hearing: str) -> MotionModel:
    """Small, in double precision, and with random weights everywhere: a new model's gates and output are zero and would hide faults."""
    torch.manual_seed(0)
    model = MotionModel(replace(SMALL, hearing=hearing), LAYOUT, VOICE, IDENTITY).double()
    random = torch_generator("model test")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.3)
        model.motion_std.copy_(torch.rand(LAYOUT.width, generator=random) + 0.5)
        model.voice_mean.copy_(torch.randn(VOICE, generator=random))
    return model


def inputs(seed: int = 0, time: int = TIME) -> dict[str, torch.Tensor]:
    random = torch_generator("inputs", seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    return {
        "voices": normal(BATCH, 2, time, VOICE),
        "speaking": (normal(BATCH, 2, time) > 0).double(),
        "inside": torch.ones(BATCH, 2, time, dtype=torch.bool),
        "keep": torch.ones(BATCH, 2, time, dtype=torch.bool),
        "noisy": normal(BATCH, 2, time, LAYOUT.width),
        "identity": normal(BATCH, 2, IDENTITY),
        "given": torch.arange(time).expand(BATCH, 2, time) < 3,
        "level": torch.tensor([700, 40]),
    }


def predicted(model: MotionModel, x: dict[str, torch.Tensor], drop: PathwayDrop | None = None) -> torch.Tensor:
    conditions = model.listen(x["voices"], x["speaking"], x["inside"], drop)
    return model(x["noisy"], x["level"], conditions, x["identity"], x["keep"], x["given"])


def test_exchanging_the_people_exchanges_the_output(model):
    x = inputs()
    x["inside"][0, 1, 20:] = x["keep"][0, 1, 15:] = False
    other = {name: value if name == "level" else value.flip(1) for name, value in x.items()}
    torch.testing.assert_close(predicted(model, other), predicted(model, x).flip(1))


def test_each_person_hears_the_other_and_sees_only_itself(model):
    x = inputs()
    for name in ("voices", "speaking", "noisy", "identity"):
        x[name].requires_grad_()
    predicted(model, x)[:, 0].square().sum().backward()
    for name in ("voices", "speaking"):
        assert (x[name].grad.abs().flatten(2).sum(-1) > 0).all(), f"{name} of both people move person 0"
    for name in ("noisy", "identity"):
        assert x[name].grad[:, 0].abs().sum() > 0
        assert x[name].grad[:, 1].abs().sum() == 0, f"{name} of the partner is not an input"


def test_padding_changes_nothing(model):
    """Two people of unequal length in one padded batch against each window alone; whatever stands in the padding."""
    short = 15
    long = inputs()
    long["inside"][:, :, short:] = long["keep"][:, :, short:] = False
    for name in ("voices", "noisy", "speaking"):
        long[name][:, :, short:] = 99.0
    alone = {name: value[:, :, :short] if value.ndim > 2 and name != "identity" else value for name, value in inputs().items()}
    torch.testing.assert_close(predicted(model, long)[:, :, :short], predicted(model, alone))


def test_a_partner_whose_face_nobody_tracked_is_heard(model):
    """As if it was tracked: own motion never looks at the partner's. What is outside the dialogue is not heard."""
    tracked, x, y = inputs(), inputs(), inputs()
    for each in (x, y):
        each["keep"][:, 1] = False
    y["voices"][:, 1] += 5.0
    y["speaking"][:, 1] = 1 - y["speaking"][:, 1]
    torch.testing.assert_close(predicted(model, x)[:, 0], predicted(model, tracked)[:, 0])
    assert not torch.allclose(predicted(model, x)[:, 0], predicted(model, y)[:, 0])
    for each in (x, y):
        each["inside"][:, 1] = False
    torch.testing.assert_close(predicted(model, x)[:, 0], predicted(model, y)[:, 0])


def test_voices_are_heard_where_the_own_face_was_lost(model):
    """In frames without a label the motion is unknown and not looked at; who speaks there still is."""
    tracked, x, y = inputs(), inputs(), inputs()
    lost, beside = slice(12, 16), slice(9, 12)
    for each in (x, y):
        each["keep"][:, 0, lost] = False
    y["noisy"][:, 0, lost] += 5.0
    torch.testing.assert_close(predicted(model, x)[:, 0, beside], predicted(model, y)[:, 0, beside])
    with torch.no_grad():
        for layer in model.layers:
            layer.watch.out.weight.zero_()  # of motion it now knows its own frame's only
    torch.testing.assert_close(predicted(model, x)[:, 0, beside], predicted(model, tracked)[:, 0, beside])


def test_the_single_speaker_model_is_deaf_to_the_other():
    """Whatever the other says, is told to say, or whether it is there at all; its own voice still moves it."""
    model, x, y = random_model("own"), inputs(), inputs()
    y["voices"][:, 1] += 5.0
    y["speaking"][:, 1] = 1 - y["speaking"][:, 1]
    y["inside"][:, 1, 9:] = y["keep"][:, 1, 9:] = False
    torch.testing.assert_close(predicted(model, x)[:, 0], predicted(model, y)[:, 0])
    y["voices"][:, 0] += 5.0
    assert not torch.allclose(predicted(model, x)[:, 0], predicted(model, y)[:, 0])


def test_ways_of_hearing_have_equally_many_weights():
    """At paper scale, to half a percent: a comparison of them is not one of sizes."""
    config = MotionModelConfig()
    with torch.device("meta"):
        models = [MotionModel(replace(config, hearing=hearing), LAYOUT, 160, 64) for hearing in ("separate", "joint", "mixed", "own")]
    weights = [sum(parameter.numel() for parameter in model.parameters()) for model in models]
    assert max(weights) < 1.005 * min(weights)


def test_only_the_joint_model_adds_the_own_voice_back():
    """With a transformer that says nothing, "joint" still hears the own voice and "mixed" nothing."""
    changed = {}
    for hearing in ("joint", "mixed"):
        model, x, y = random_model(hearing), inputs(), inputs()
        with torch.no_grad():
            model.interaction.norm.weight.zero_()
        y["voices"][:, 0] += 5.0
        changed[hearing] = not torch.allclose(predicted(model, x)[:, 0], predicted(model, y)[:, 0])
    assert changed == {"joint": True, "mixed": False}


@pytest.mark.parametrize(
    "pathway, change", [("own", ("voices", 0)), ("heard", ("voices", 1)), ("identity", ("identity", 0)), ("speaking", ("speaking", 0))]
)
def test_a_withheld_condition_has_no_influence(model, pathway, change):
    """On person 0; and without withholding it, it has. Person 1 still hears person 0's voice, so only 0 is compared."""
    name, person = change
    x, y = inputs(), inputs()
    y[name][:, person] = 1 - y[name][:, person]
    drop = PathwayDrop.everywhere(BATCH, pathway)
    torch.testing.assert_close(predicted(model, x, drop)[:, 0], predicted(model, y, drop)[:, 0])
    assert not torch.allclose(predicted(model, x)[:, 0], predicted(model, y)[:, 0])
    nothing = PathwayDrop.nothing(BATCH)
    torch.testing.assert_close(predicted(model, x, nothing), predicted(model, x))


def test_one_person_can_be_dropped_alone(model):
    x = inputs()
    drop = PathwayDrop.nothing(BATCH)
    drop.heard[0, 1] = True
    full, part = predicted(model, x), predicted(model, x, drop)
    torch.testing.assert_close(part[1], full[1])
    torch.testing.assert_close(part[0, 0], full[0, 0])
    assert not torch.allclose(part[0, 1], full[0, 1])


def test_the_context_flag_and_the_level_matter(model):
    x = inputs()
    for name, other in (("given", ~x["given"]), ("level", x["level"].flip(0))):
        assert not torch.allclose(predicted(model, x), predicted(model, {**x, name: other})), name


def test_own_voice_acts_near_its_frame():
    """On a pathway of its own, in a layer that cannot watch itself: as far as the stem reaches, no further."""
    torch.manual_seed(1)
    config = MotionModelConfig(width=32, depth=1, heads=2, interaction_depth=1, voice_kernel=3, hearing="separate")
    model = MotionModel(config, LAYOUT, VOICE, IDENTITY).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
        for silenced in (model.layers[0].watch.out, model.layers[0].listen.out):
            silenced.weight.zero_()
            silenced.bias.zero_()
    x, y = inputs(), inputs()
    y["voices"][:, 0, 12] += 1.0
    changed = (predicted(model, x) - predicted(model, y))[:, 0].abs().sum(-1) > 1e-12
    assert changed[:, 12].all() and changed[:, 10:15].all()
    assert not changed[:, :10].any() and not changed[:, 15:].any()


def test_branches_in_one_batch_equal_branches_alone(model):
    """What guidance relies on."""
    x = inputs()
    drops = [PathwayDrop.nothing(BATCH), PathwayDrop.everywhere(BATCH, "own"), PathwayDrop.everywhere(BATCH, "identity")]
    conditions = Conditions.concatenated([model.listen(x["voices"], x["speaking"], x["inside"], drop) for drop in drops])
    thrice = {name: torch.cat([value] * 3) for name, value in x.items()}
    together = model(thrice["noisy"], thrice["level"], conditions, thrice["identity"], thrice["keep"], thrice["given"])
    torch.testing.assert_close(together, torch.cat([predicted(model, x, drop) for drop in drops]))


def test_a_new_model_predicts_the_mean_and_every_weight_learns():
    torch.manual_seed(0)
    model = MotionModel(SMALL, LAYOUT, VOICE, IDENTITY).double()
    x = inputs()
    assert predicted(model, x).abs().max() == 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    drop = PathwayDrop(*(torch.tensor([[True, False], [False, False]]) for _ in range(4)))
    for _ in range(4):  # zero gates open one after the other
        optimizer.zero_grad()
        (predicted(model, x, drop) - 1.0).square().mean().backward()
        optimizer.step()
    idle = [name for name, parameter in model.named_parameters() if parameter.grad is None or parameter.grad.abs().max() == 0]
    assert not idle, idle


def test_normalisation_round_trip_and_state(model):
    motion = torch.randn(3, 2, 7, LAYOUT.width, dtype=torch.float64)
    torch.testing.assert_close(model.denormalised(model.normalised(motion)), motion)
    assert {"motion_mean", "motion_std", "voice_mean", "voice_std"} <= set(model.state_dict())


@pytest.mark.parametrize("wrong", [{"width": 100, "heads": 8}, {"voice_kernel": 4}, {"interaction_depth": 0}])
def test_sizes_that_cannot_work_are_refused(wrong):
    with pytest.raises(InputError, match=r"width|voice_kernel|interaction_depth"):
        MotionModelConfig(**wrong)
