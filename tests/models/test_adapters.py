"""An adapter changes one person's rows and nobody else's, and a model is what it was when it is taken off.

Faults planted, each seen red: rows of both people changed, branches of guidance after the first left out, the style left out, hooks that
stay, a new adapter that already does something.
"""

import pytest
import torch

from mango.head.layout import MotionLayout
from mango.models.adapters import NOBODY, Adapter, worn
from mango.models.motion import Conditions, MotionModel, MotionModelConfig

BATCH, TIME, VOICE, IDENTITY = 3, 12, 6, 4
ANNA, BEN = 0, 1


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = MotionModel(MotionModelConfig(width=16, depth=2, heads=2, mlp_ratio=2, interaction_depth=1), MotionLayout(5), VOICE, IDENTITY)
    for weights in made.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    return made.eval().requires_grad_(False)


def adapter(model, person: str, seed: int) -> Adapter:
    torch.manual_seed(seed)
    made = Adapter(model, person, rank=2)
    for weights in made.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return made.requires_grad_(False)


def inputs(model, batch: int = BATCH):
    random = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(batch, 2, *shape, generator=random)  # noqa: E731
    keep = torch.ones(batch, 2, TIME, dtype=torch.bool)
    return draw(TIME, VOICE), (draw(TIME) > 0).float(), keep, draw(TIME, model.layout.width), draw(IDENTITY)


def moved(model, times: int = 1):
    voices, speaking, keep, noisy, identity = inputs(model)
    heard = Conditions.concatenated([model.listen(voices, speaking, keep)] * times)
    repeated = [part.repeat(times, *[1] * (part.ndim - 1)) for part in (noisy, identity, keep)]
    return model(repeated[0], torch.full((BATCH * times,), 7), heard, repeated[1], repeated[2])


WHO = torch.tensor([[ANNA, NOBODY], [NOBODY, ANNA], [BEN, ANNA]])


def test_a_new_adapter_changes_nothing(model):
    before = moved(model)
    with worn(model, [Adapter(model, "anna")], torch.zeros(BATCH, 2, dtype=torch.long)):
        assert torch.equal(moved(model), before)


def test_a_weakened_adapter_changes_by_a_share(model):
    """Planted and seen red: the style left as it was, both factors scaled, the adapter itself weakened."""
    strong = adapter(model, "anna", 1)
    before = {name: value.clone() for name, value in strong.state_dict().items()}
    weak = strong.weakened(0.25)
    assert (weak.person, weak.rank, weak.base) == (strong.person, strong.rank, strong.base)
    x = torch.randn(5, model.out.in_features)
    torch.testing.assert_close(weak.change("out", x), 0.25 * strong.change("out", x))
    torch.testing.assert_close(weak.style, 0.25 * strong.style)
    assert all(torch.equal(value, strong.state_dict()[name]) for name, value in before.items())


def test_each_row_moves_as_its_own_adapter_alone(model):
    both = [adapter(model, "anna", 1), adapter(model, "ben", 2)]
    plain = moved(model)
    with worn(model, both, WHO):
        together = moved(model)
    for number, one in enumerate(both):
        with worn(model, [one], torch.zeros(BATCH, 2, dtype=torch.long)):
            alone = moved(model)
        assert (alone - plain).abs().amin(dim=(2, 3)).max() > 0
        torch.testing.assert_close(together[number == WHO], alone[number == WHO])
    assert torch.equal(together[WHO == NOBODY], plain[WHO == NOBODY])
    assert torch.equal(moved(model), plain), "taken off"


def test_branches_of_guidance_wear_it_too(model):
    both = [adapter(model, "anna", 1), adapter(model, "ben", 2)]
    with worn(model, both, WHO):
        torch.testing.assert_close(moved(model, times=3), moved(model).repeat(3, 1, 1, 1))


def test_the_style_alone_moves(model):
    plain, styled = moved(model), Adapter(model, "anna").requires_grad_(False)
    styled.style.fill_(0.5)
    with worn(model, [styled], torch.tensor([[ANNA, NOBODY]] * BATCH)):
        after = moved(model)
    assert (after - plain)[:, 0].abs().max() > 1e-3 and torch.equal(after[:, 1], plain[:, 1])


def test_gradients_reach_the_adapter_and_not_the_model(model):
    one = Adapter(model, "anna")
    with worn(model, [one], torch.zeros(BATCH, 2, dtype=torch.long)):
        moved(model).square().sum().backward()
    assert all(weights.grad is None for weights in model.parameters())
    assert one.style.grad.abs().max() > 0 and all(up.grad.abs().max() > 0 for up in one.up.values())
