"""Faults noticed, each planted once: features mixed instead of layers, weights that do not sum to one, a mix that cannot learn."""

import torch

from mango.head.layout import MotionLayout
from mango.models.layers import LayerMix, VoiceStem
from mango.models.motion import MotionModel, MotionModelConfig
from mango.seeds import torch_generator


def test_by_hand():
    mix = LayerMix(2)
    side_by_side = torch.tensor([[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]])
    assert mix(side_by_side).tolist() == [[5.5, 11.0, 16.5]], "the plain mean at first"
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.0, 3.0]).log1p())  # 1 : 4
        mix.scale.fill_(10.0)
    torch.testing.assert_close(mix(side_by_side), torch.tensor([[82.0, 164.0, 246.0]]))


def test_equal_layers_are_like_one():
    """A stem of three copies of a layer is the stem of that layer, with the same random weights."""
    voice, keep = torch.randn(2, 9, 4, generator=torch_generator("voice")), torch.ones(2, 9, dtype=torch.bool)
    torch.manual_seed(0)
    one = VoiceStem(4, 8, 3)
    torch.manual_seed(0)
    three = VoiceStem(12, 8, 3, voice_layers=3)
    torch.testing.assert_close(three(voice.repeat(1, 1, 3), keep), one(voice, keep))


def test_the_mix_learns_which_layer_tells():
    """The target is a function of the second of three layers."""
    torch.manual_seed(0)
    mix, out = LayerMix(3), torch.nn.Linear(4, 1, bias=False)
    optimizer = torch.optim.Adam([*mix.parameters(), *out.parameters()], lr=0.05)
    layers = torch.randn(256, 12, generator=torch_generator("layers"))
    for _ in range(200):
        optimizer.zero_grad()
        (out(mix(layers))[:, 0] - layers[:, 4:8].sum(1)).square().mean().backward()
        optimizer.step()
    assert mix.weights.softmax(0)[1] > 0.9


def test_one_layer_has_no_mix():
    """What runs with one layer have saved still fits."""
    sizes = MotionModelConfig(width=16, depth=1, heads=2, interaction_depth=1)
    one, two = (MotionModel(sizes, MotionLayout(4), 6, 3, voice_layers) for voice_layers in (1, 2))
    assert {*two.state_dict()} - {*one.state_dict()} == {"stem.mix.weights", "stem.mix.scale"}
    assert one.stem.project.weight.shape == (16, 6) and two.stem.project.weight.shape == (16, 3)
