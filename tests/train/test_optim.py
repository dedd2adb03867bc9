"""The schedule against closed forms, and SGD against the published settings."""

import math

import pytest
import torch

from pipeline.train.optim import STATES, Schedule, build_optimizer
from pipeline.train.recipe import OptimConfig


def schedule(global_batch=64, steps=100, epochs=150, **config):
    return Schedule(OptimConfig(**config), global_batch, steps, epochs)


def test_the_published_schedule_divides_by_ten_after_epochs_75_and_125():
    s = schedule()
    assert [s.lr(epoch * 100) for epoch in (0, 74, 75, 124, 125, 149)] == pytest.approx(
        [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]
    )
    assert (s.lr(7499), s.lr(7500)) == pytest.approx((0.01, 0.001))


@pytest.mark.parametrize(
    ("batch", "reference", "peak"), [(64, 64, 0.01), (512, 64, 0.08), (8, 64, 0.00125), (8, 0, 0.01)]
)
def test_the_rate_scales_with_the_global_batch(batch, reference, peak):
    assert schedule(global_batch=batch, reference_batch=reference).lr(0) == pytest.approx(peak)


def test_cosine_starts_at_the_peak_halves_in_the_middle_and_ends_at_zero():
    s = schedule(schedule="cosine", epochs=10)
    assert s.lr(0) == pytest.approx(0.01)
    assert s.lr(500) == pytest.approx(0.005)
    assert s.lr(250) == pytest.approx(0.005 * (1 + math.sqrt(0.5)))
    assert s.lr(1000) == pytest.approx(0.0, abs=1e-12)


def test_warm_up_is_linear_from_a_hundredth_and_meets_the_schedule():
    s = schedule(schedule="cosine", epochs=10, warmup_epochs=2.0)
    assert [s.lr(step) for step in (0, 100, 200)] == pytest.approx([0.0001, 0.01 * (0.01 + 0.99 / 2), 0.01])
    assert s.lr(600) == pytest.approx(0.005)  # the cosine spans what the warm-up leaves


def test_a_milestone_in_mid_epoch_is_exact():
    s = schedule(steps=3, milestones=(1 / 3,))
    assert [s.lr(0), s.lr(1)] == pytest.approx([0.01, 0.001])


def test_one_group_decays_every_parameter_and_uses_nesterov():
    module = torch.nn.BatchNorm3d(2)
    optimizer = build_optimizer(module.parameters(), OptimConfig())
    (group,) = optimizer.param_groups
    assert len(group["params"]) == 2
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)


def test_without_momentum_there_is_no_nesterov():
    optimizer = build_optimizer(torch.nn.Linear(1, 1).parameters(), OptimConfig(momentum=0.0))
    assert optimizer.param_groups[0]["nesterov"] is False


def test_adam_is_torchs_own_with_the_recipes_rate_and_decay():
    optimizer = build_optimizer(torch.nn.Linear(1, 1).parameters(), OptimConfig(name="adam", lr=3e-3, weight_decay=0.0))
    assert isinstance(optimizer, torch.optim.Adam)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (3e-3, (0.9, 0.999), 1e-8, 0.0)


def test_adamw_decays_the_weights_themselves():
    layer = torch.nn.Linear(1, 1, bias=False)
    before = layer.weight.item()
    optimizer = build_optimizer(layer.parameters(), OptimConfig(name="adamw", lr=0.1, weight_decay=0.5))
    layer.weight.grad = torch.zeros(1, 1)
    optimizer.step()
    assert layer.weight.item() == pytest.approx(before * (1 - 0.1 * 0.5))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_an_optimiser_keeps_as_many_values_a_weight_as_the_preflight_counts(name):
    layer = torch.nn.Linear(3, 2)
    optimizer = build_optimizer(layer.parameters(), OptimConfig(name=name))
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    kept = sum(v.numel() for state in optimizer.state.values() for v in state.values() if v.numel() > 1)
    assert kept == STATES[name] * 8
