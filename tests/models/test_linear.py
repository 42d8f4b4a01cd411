"""Linear layers as convolutions are linear layers, whatever the processor."""

import pytest
import torch
from torch.nn import functional

from mango.models import linear as module
from mango.models.linear import LARGE, Linear, linear


@pytest.fixture(params=[True, False], ids=["convolution", "product"])
def as_convolution(request, monkeypatch):
    monkeypatch.setattr(module, "mkl_is_slow", lambda: request.param)
    return request.param


def example(*shape, outputs, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    made = [torch.randn(*size, generator=random, dtype=torch.float64) for size in (shape, (outputs, shape[-1]), (outputs,))]
    return [tensor.to(dtype).requires_grad_() for tensor in made]


def results(layer, inputs):
    """Output and gradients in float64."""
    output = layer(*inputs)
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = torch.autograd.grad((output * direction.to(output)).sum(), inputs)
    return [tensor.detach().double() for tensor in (output, *gradients)]


@pytest.mark.parametrize(
    ("shape", "outputs"),
    [((4, 2, 64, 128), 65), ((12, 64, 54), 128), ((8, 64, 128), 128), ((6, 2, 61, 128), 128), ((2, 8, 16), 32), ((0, 128), 9)],
)
def test_equal_to_torchs(as_convolution, shape, outputs):
    """Tokens that make sixteen pictures, tokens that do not, few and none. Planted and seen red: rows and columns of the weights
    exchanged, the pictures' tokens in another order, a bias left out.
    """
    exact = results(functional.linear, example(*shape, outputs=outputs))
    plain, ours = (results(layer, example(*shape, outputs=outputs, dtype=torch.float32)) for layer in (functional.linear, linear))
    for found, rounded, truth in zip(ours, plain, exact, strict=True):
        assert found.shape == truth.shape
        free = 16 * torch.finfo(torch.float32).eps * truth.norm()  # a handful of roundings: torch's own sum over tokens has almost none
        assert (found - truth).norm() <= 4 * ((rounded - truth).norm() + free)


def test_parts_of_tokens_and_weights(as_convolution):
    """What `SelfAttention` hands over: not contiguous."""
    x, weight, bias = example(8, 80, 128, outputs=384, dtype=torch.float32)
    part = linear(x[:, :64], weight[128:], bias[128:])
    torch.testing.assert_close(part, functional.linear(x[:, :64], weight[128:], bias[128:]))
    assert part.is_contiguous()


def test_only_large_float32_products_are_convolutions(monkeypatch):
    """bfloat16, autocast and small products are torch's."""
    monkeypatch.setattr(module, "mkl_is_slow", lambda: True)
    called = []
    monkeypatch.setattr(module, "conv2d", lambda *inputs: called.append(inputs) or functional.conv2d(*inputs))
    large = example(16, 32, 128, outputs=128, dtype=torch.float32)
    linear(*large)
    assert large[0].numel() * 128 > LARGE and len(called) == 1
    with torch.autocast("cpu", torch.bfloat16):
        linear(*large)
    linear(*(tensor.bfloat16() for tensor in large))
    linear(*(tensor.double() for tensor in large))
    linear(large[0][:8], *large[1:])
    assert len(called) == 1


def test_weights_are_torchs():
    assert {name: tensor.shape for name, tensor in Linear(3, 4).state_dict().items()} == {"weight": (4, 3), "bias": (4,)}
