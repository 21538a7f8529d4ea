"""What the machine can do: counted right by a clock that we set."""

import itertools

import pytest
import torch

from towers.evaluation import machine


@pytest.fixture
def clock(monkeypatch):
    """A clock on which each turn takes one second more than the one before."""
    ticks = itertools.accumulate((tick for n in itertools.count(1) for tick in (0, n)), initial=0)
    next(ticks)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(ticks))


def test_a_product_counts_multiplications_and_additions(clock):
    # turns of 1, 2 and 3 seconds: the median is 2
    assert machine.gemm_flops(torch.float32, side=10, turns=3) == 2 * 10**3 / 2


def test_a_product_that_would_take_long_is_made_smaller(clock, monkeypatch):
    monkeypatch.setattr(machine, "LONG", 1000.0)
    sides = []
    product = torch.mm
    monkeypatch.setattr(torch, "mm", lambda *both, out: sides.append(len(out)) or product(
        *both, out=out))  # fmt: skip
    machine.gemm_flops(torch.float32, side=2048, turns=2)
    # the product of 128 took a second, so that one of 1,280 would take a thousand
    assert sides == [128] * 2 + [1279] * 3 or sides == [128] * 2 + [1280] * 3


def test_a_copy_counts_what_is_read_and_written(clock):
    assert machine.copy_bytes(size=4000, turns=3) == 2 * 4000 / 2


def test_limits_are_records_with_their_units():
    rows = machine.evaluate(side=64, size=1 << 16)
    assert [row.metric for row in rows] == [
        "matrix product, fp32 (GFLOP/s)", "matrix product, bf16 (GFLOP/s)",
        "copying memory (GB/s)", "threads",
    ]  # fmt: skip
    assert all(row.value > 0 for row in rows)
