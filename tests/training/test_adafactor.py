"""Adafactor: a float64 oracle, other libraries where they agree, and which weights decay."""

import math

import numpy as np
import pytest
import timm.optim
import torch
from torch import nn
from transformers.optimization import Adafactor as Transformers

from towers.training.adafactor import Adafactor, factored, held, kernel_groups

SHAPES = [(40, 64), (32, 40), (48, 48), (3, 40, 50), (31, 64), (64, 3, 16, 16), (37,), ()]


def gradients(shape, steps):
    generator = torch.Generator().manual_seed(math.prod(shape) + steps)
    scale = torch.rand(shape, generator=generator).mul(4).exp()
    return [torch.randn(shape, generator=generator) * scale for _ in range(steps)]


def oracle(weight, grads, rates, peak, decay, *, momentum=0.9, cap=0.999, least=32):
    """The update written down in float64, one weight at a time; the first moment is not rounded."""
    weight, first = np.float64(weight), np.zeros(np.shape(weight))
    row = column = whole = 0.0
    longest = second = None
    if weight.ndim > 1:
        *_, second, longest = np.argsort(weight.shape, kind="stable")
        if weight.shape[second] < least:
            longest = None
    for step, (grad, rate) in enumerate(zip(grads, rates, strict=True), 1):
        grad = np.float64(grad)
        squares, keep = grad**2 + 1e-30, min(cap, 1 - step**-0.8)
        if longest is None:
            whole = keep * whole + (1 - keep) * squares
            update = grad / np.sqrt(whole)
        else:
            row = keep * row + (1 - keep) * squares.mean(longest, keepdims=True)
            column = keep * column + (1 - keep) * squares.mean(second, keepdims=True)
            update = grad / np.sqrt(row * column / row.mean(second, keepdims=True))
        first = momentum * first + (1 - momentum) * update
        weight = weight - rate * first - (rate / peak) * decay * weight
    return weight


def run(make, shape, grads, rates, dtype=torch.float32):
    weight = nn.Parameter(torch.linspace(-1, 1, math.prod(shape), dtype=dtype).reshape(shape))
    optimiser = make([weight])
    for grad, rate in zip(grads, rates, strict=True):
        weight.grad = grad.to(dtype)
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
    return weight.detach(), optimiser.state[weight]


@pytest.mark.parametrize("shape", SHAPES)
def test_updates_are_the_oracles(shape):
    """In float64 to its rounding, when the first moment is kept whole too."""
    grads, rates = gradients(shape, 7), [0.1, 0.2, 0.2, 0.15, 0.1, 0.05, 0.01]
    start = torch.linspace(-1, 1, math.prod(shape), dtype=torch.float64).reshape(shape)
    expected = oracle(start.numpy(), [g.double().numpy() for g in grads], rates, 0.2, 0.01)
    got, _ = run(
        lambda w: Adafactor(w, 0.2, 0.01, momentum_dtype=torch.float64),
        shape, grads, rates, torch.float64,
    )  # fmt: skip
    torch.testing.assert_close(got, torch.from_numpy(np.asarray(expected)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_moment_is_kept_in_bfloat16_and_applied_in_full(shape):
    """Half of bfloat16's last digit, 2 ** -9, each step on what is carried over; none at step 1."""
    grads, rates = gradients(shape, 5), [0.1] * 5
    start = torch.linspace(-1, 1, math.prod(shape)).reshape(shape).numpy()
    for steps, tolerance in ((1, 1e-6), (5, 0.1 * 4 * 4 * 2**-9)):
        expected = oracle(start, [g.numpy() for g in grads[:steps]], rates[:steps], 0.1, 1e-4)
        got, state = run(lambda w: Adafactor(w, 0.1, 1e-4), shape, grads[:steps], rates[:steps])
        np.testing.assert_allclose(got.numpy(), expected, atol=tolerance)
        assert state["exp_avg"].dtype == torch.bfloat16


@pytest.mark.parametrize("shape", SHAPES)
def test_timms_version_of_big_visions_agrees_in_full_precision(shape):
    grads, rates = gradients(shape, 6), [0.1, 0.1, 0.05, 0.05, 0.02, 0.01]
    theirs, _ = run(
        lambda w: timm.optim.AdafactorBigVision(
            w, 0.1, min_dim_size_to_factor=32, weight_decay=0.01, unscaled_wd=True,
            corrected_weight_decay=True, momentum_dtype=torch.float32, eps=1e-30,
        ), shape, grads, rates,
    )  # fmt: skip
    ours, _ = run(
        lambda w: Adafactor(w, 0.1, 0.01, momentum_dtype=torch.float32), shape, grads, rates
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_transformers_agrees_where_its_rules_are_ours():
    """Two axes of 32 and more, one rate, no decay; before the decay of moments reaches its cap."""
    grads, rates = gradients((40, 64), 6), [0.1] * 6
    theirs, _ = run(
        lambda w: Transformers(
            w, 0.1, beta1=0.9, clip_threshold=math.inf, scale_parameter=False, relative_step=False
        ), (40, 64), grads, rates,
    )  # fmt: skip
    ours, _ = run(lambda w: Adafactor(w, 0.1, momentum_dtype=torch.float32), (40, 64), grads, rates)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_torchs_own_is_another_optimiser():
    grads, rates = gradients((40, 64), 6), [0.1] * 6
    theirs, _ = run(lambda w: torch.optim.Adafactor(w, 0.1), (40, 64), grads, rates)
    ours, _ = run(lambda w: Adafactor(w, 0.1), (40, 64), grads, rates)
    assert (ours - theirs).abs().max() > 0.1


def test_the_decay_of_the_second_moment_is_capped():
    """At step 10,000 it would be 1 - 10000 ** -0.8 = 0.99937."""
    weight = nn.Parameter(torch.ones(3))
    optimiser = Adafactor([weight], 0.1)
    weight.grad = torch.ones(3)
    optimiser.step()
    optimiser.state[weight]["step"].fill_(9_999)
    optimiser.state[weight]["exp_avg_sq"].fill_(1)
    weight.grad = torch.full((3,), 2.0)
    optimiser.step()
    torch.testing.assert_close(optimiser.state[weight]["exp_avg_sq"], torch.full((3,), 1.003))


def test_the_first_step_moves_by_a_tenth_of_the_rate_in_the_sign_of_the_gradient():
    """A zero of the plain mean is never corrected: (1 - 0.9) * lr * sign."""
    for value in (1e-12, 1.0, 1e12):
        weight = nn.Parameter(torch.zeros(2))
        weight.grad = torch.tensor([value, -value])
        Adafactor([weight], 0.5).step()
        torch.testing.assert_close(weight.detach(), torch.tensor([-0.05, 0.05]))


@pytest.mark.parametrize("shape", [(40, 64), (5,)])
def test_a_weight_without_gradients_stays_and_nothing_overflows(shape):
    weight = nn.Parameter(torch.ones(shape))
    optimiser = Adafactor([weight], 0.1)
    for _ in range(3):
        weight.grad = torch.zeros(shape)
        optimiser.step()
    assert torch.equal(weight.detach(), torch.ones(shape))


def test_decay_is_that_of_the_schedule_and_not_of_the_rate():
    for peak in (0.1, 1.0):
        weight = nn.Parameter(torch.ones(40, 40))
        optimiser = Adafactor([weight], peak, weight_decay=0.01)
        optimiser.param_groups[0]["lr"] = peak / 4
        weight.grad = torch.zeros(40, 40)
        optimiser.step()
        torch.testing.assert_close(weight.detach(), torch.full((40, 40), 1 - 0.01 / 4))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((40, 64), (0, 1)), ((64, 40), (1, 0)), ((32, 33), (0, 1)),
     ((48, 48), (0, 1)), ((768, 12, 64), (2, 0)),
     ((31, 4000), None), ((768, 3, 16, 16), None), ((1, 196, 768), (1, 2)), ((9000,), None),
     ((), None)],
)  # fmt: skip
def test_the_two_longest_axes_are_factored_from_32_on(shape, axes):
    assert factored(shape) == axes


def test_a_large_weight_keeps_rows_and_columns_only():
    _, state = run(lambda w: Adafactor(w, 0.1), (40, 64), gradients((40, 64), 1), [0.1])
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "step": (), "exp_avg": (40, 64), "row": (40,), "column": (64,),
    }  # fmt: skip


def test_moments_take_the_bytes_that_are_told():
    for shape in SHAPES:
        weight, state = run(lambda w: Adafactor(w, 0.1), shape, gradients(shape, 1), [0.1])
        assert held(weight) == sum(value.nbytes for value in state.values())


def test_kernels_decay_and_nothing_else_does():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv2d(3, 4, 2), nn.Linear(4, 4)
            self.attention, self.norm = nn.MultiheadAttention(4, 2), nn.LayerNorm(4)
            self.table, self.positions = nn.Embedding(5, 4), nn.Parameter(torch.ones(1, 5, 4))
            self.frozen = nn.Linear(4, 4).requires_grad_(False)
            self.again = self.linear

    model = Model()
    names = {id(weight): name for name, weight in model.named_parameters()}
    decaying, rest = kernel_groups(model, 0.5)
    assert {names[id(weight)] for weight in decaying["params"]} == {
        "conv.weight", "linear.weight", "attention.in_proj_weight", "attention.out_proj.weight",
    }  # fmt: skip
    assert (decaying["weight_decay"], rest["weight_decay"]) == (0.5, 0.0)
    assert len(decaying["params"]) + len(rest["params"]) == sum(
        weight.requires_grad for weight in model.parameters()
    )
