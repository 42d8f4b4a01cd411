"""Faults noticed: a learning rate that depends on history, no clipping, decay on biases, an average that copies or never moves, buffers
left behind in the average."""

import pytest
import torch

from mango.training.ema import MovingAverage
from mango.training.optim import OptimizerConfig, learning_rate, make_learner


def test_learning_rate_by_hand():
    config = OptimizerConfig(lr=1.0, warmup=10, final=0.1)
    assert [learning_rate(step, 110, config) for step in (1, 5, 10)] == [0.1, 0.5, 1.0]
    assert learning_rate(60, 110, config) == pytest.approx(0.55)
    assert learning_rate(110, 110, config) == pytest.approx(0.1) == learning_rate(500, 110, config)


def test_a_step_uses_the_schedule_clips_and_averages():
    model = torch.nn.Linear(2, 1)
    start = model.weight.detach().clone()
    learner = make_learner("motion", model, OptimizerConfig(lr=0.1, warmup=1, clip=1e-3, ema=0.9, weight_decay=0.0), steps=10)
    norm = learner.descend((model(torch.tensor([3.0, 4.0])) * 100).square().sum(), 1)
    assert norm > 1.0
    assert model.weight.grad.norm() <= 1e-3 + 1e-9
    assert learner.optimizer.param_groups[0]["lr"] == 0.1
    moved = model.weight.detach() - start
    torch.testing.assert_close(learner.averaged.weight - start, moved * (1 - 2 / 11))


def test_only_matrices_decay():
    learner = make_learner("x", torch.nn.Linear(2, 1), OptimizerConfig(weight_decay=0.3), steps=10)
    assert [(group["params"][0].ndim, group["weight_decay"]) for group in learner.optimizer.param_groups] == [(2, 0.3), (1, 0.0)]


def test_the_average_has_a_long_memory_later_and_copies_buffers():
    model = torch.nn.BatchNorm1d(2)
    average = MovingAverage(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(5.0)
    average.follow(model, updates=1000)
    torch.testing.assert_close(average.model.weight, torch.full((2,), 1.2))
    assert average.model.running_mean.tolist() == [5.0, 5.0]
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
