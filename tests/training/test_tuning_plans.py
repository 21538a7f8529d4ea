"""What fine-tuning is planned to take, against the same step on real tensors."""

import pytest
import torch
from torch import nn

from towers import models
from towers.models.counting import example, parameters
from towers.training import budget, tracing, tuning_plans

IMAGE = "scratch:map?image=32&patch=16&width=16&depth=2&heads=2"


def network(device="cpu"):
    """A pixel tower with a layer on it."""
    tower = models.dual(IMAGE, "scratch:pixels?image=32&patch=16&width=16&depth=2&heads=2", 8,
                        device=device).text  # fmt: skip
    return nn.Sequential(tower, nn.Linear(tower.width, 3, device=device)), example(tower, 1)


def test_a_plan_counts_what_a_real_step_takes():
    real, item = network()
    inputs = {name: each.expand(4, *each.shape[1:]).contiguous() for name, each in item.items()}
    step = tuning_plans._Step(real.train())
    taken = tracing.measured(step, dict(tracing.state(step)), inputs, "fp32")
    found = tuning_plans.plan(
        *network("meta"), 4, 10, name="toy", precision="fp32", overhead=0, utilisation=1.0
    )
    count = parameters(real)
    assert (found.parameters, found.steps, found.ranks) == (count, 10, 1)
    assert (found.inputs, found.activations, found.flops) == (
        taken.inputs, taken.peak, taken.flops
    )  # fmt: skip
    assert found.memory == 4 * count * (1 + 1 + 2) + taken.inputs + taken.peak
    peak = budget.ACCELERATORS["A100-80GB"].flops["fp32"]
    assert found.days * budget.DAY == pytest.approx(10 * taken.flops / peak)


def test_operations_are_those_of_the_matrices():
    plain = nn.Linear(6, 5, bias=False)
    found = tuning_plans.plan(plain, torch.empty(1, 6), 8, 1, name="toy", precision="fp32")
    # forward, and the weights' gradient; the inputs have none
    assert found.flops == 2 * (2 * 8 * 6 * 5)
    assert plain.weight.grad is None


def test_momentum_is_half_of_adams_moments():
    kept = [tuning_plans.plan(nn.Linear(4, 4), torch.empty(1, 4), 2, 1, name="toy", optimiser=each)
            for each in ("sgd", "adamw")]  # fmt: skip
    assert [each.moments for each in kept] == [4 * 20, 8 * 20]


def test_a_network_keeps_its_modes_and_weights():
    made, item = network()
    made.eval()
    made[1].train()
    before = [each.clone() for each in made.parameters()]
    tuning_plans.plan(made, item, 2, 1, name="toy")
    assert [each.training for each in made] == [False, True]
    assert all(torch.equal(*pair) for pair in zip(made.parameters(), before, strict=True))
    assert all(each.grad is None for each in made.parameters())


@pytest.mark.parametrize(
    "given",
    [
        {"optimiser": "adafactor"},
        {"precision": "fp8"},
        {"accelerator": budget.ACCELERATORS["V100-32GB"]},
        {"batch": 0},
        {"updates": 0},
    ],
)
def test_impossible_plans_are_refused(given):
    options = {"batch": 2, "updates": 1, "name": "toy"} | given
    with pytest.raises(ValueError, match="expected an optimiser of adamw, sgd, a precision of"):
        tuning_plans.plan(nn.Linear(4, 4), torch.empty(1, 4), **options)
