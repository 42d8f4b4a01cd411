"""Faults these tests notice, each planted once: own motion shown instead of the partner's; voices exchanged; a pathway not connected."""

import pytest
import torch

from mango.head.layout import MotionLayout
from mango.models.motion import MotionModelConfig
from mango.models.regressor import PartnerMotionRegressor
from mango.seeds import torch_generator

BATCH, TIME, VOICE = 2, 20, 6
LAYOUT = MotionLayout(4)


@pytest.fixture
def model() -> PartnerMotionRegressor:
    torch.manual_seed(0)
    model = PartnerMotionRegressor(MotionModelConfig(width=32, depth=2, heads=2), LAYOUT, VOICE).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def inputs() -> dict[str, torch.Tensor]:
    random = torch_generator("regressor")
    return {
        "voices": torch.randn(BATCH, 2, TIME, VOICE, generator=random, dtype=torch.float64),
        "motion": torch.randn(BATCH, 2, TIME, LAYOUT.width, generator=random, dtype=torch.float64),
        "inside": torch.ones(BATCH, 2, TIME, dtype=torch.bool),
    }


def test_exchanging_the_people_exchanges_the_output(model):
    x = inputs()
    x["inside"][0, 1, 15:] = False
    torch.testing.assert_close(model(**{name: value.flip(1) for name, value in x.items()}), model(**x).flip(1))


def test_it_sees_the_partner_and_never_what_it_should_predict(model):
    x = inputs()
    for name in ("voices", "motion"):
        x[name].requires_grad_()
    model(**x)[:, 0].square().sum().backward()
    assert (x["voices"].grad.abs().sum((2, 3)) > 0).all(), "both voices"
    assert (x["motion"].grad[:, 1].abs().sum((1, 2)) > 0).all(), "the partner's motion"
    assert x["motion"].grad[:, 0].abs().sum() == 0, "its own motion is the answer"


def test_what_is_outside_the_dialogue_does_not_matter(model):
    """Whatever stands in one person's padding: neither to that person nor to the partner, who goes on for longer."""
    x, y = inputs(), inputs()
    for each in (x, y):
        each["inside"][:, 1, 15:] = False
    y["voices"][:, 1, 15:] = 9.0
    y["motion"][:, 1, 15:] = 9.0
    torch.testing.assert_close(model(**x)[:, 0], model(**y)[:, 0])
    torch.testing.assert_close(model(**x)[:, 1, :15], model(**y)[:, 1, :15])
