"""What a machine has no room or no time for is refused before its data is read."""

import re
from dataclasses import replace

import pytest
import torch

from towers import training
from towers.training import plans, room

TINY = training.Recipe(
    image="scratch:vit?image=32&patch=16&width=16&depth=1&heads=1",
    text="scratch:bow?width=16&context=8&vocabulary=514", data=("nowhere",), steps=8, warmup=1,
    batch=8, embed=8,
)  # fmt: skip
CLIPPO = replace(
    TINY, image="scratch:map?image=224&patch=16&width=768&depth=12&heads=12", steps=250_000,
    text="shared:pixels", batch=10_240, embed=768, optimiser="adafactor",
    weight_decay=1e-4,
)  # fmt: skip
"""The paper's own run (its Section 4), in fp32."""
A100 = plans.ACCELERATORS["A100-80GB"]


def shapes(recipe):
    return training.pair(recipe, device="meta")


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many gigabytes."""

    def made(gigabytes, flops=1e30):
        device = plans.Accelerator("toy", gigabytes * 1e9, {"fp32": flops, "bf16": flops}, 0.0)
        monkeypatch.setattr(room, "here", lambda precision, ranks: device)

    return made


def test_the_papers_run_does_not_fit_one_device_and_is_told_which_chunk_would(monkeypatch):
    monkeypatch.setattr(room, "here", lambda precision, ranks: A100)
    with pytest.raises(training.TrainingError) as refused:
        room.check(CLIPPO, shapes(CLIPPO), 1)
    said = re.search(
        r"expected a run that fits 1 x A100-80GB with 80 GB, got a plan of ([\d,]+) GB on each for "
        r".*; chunk: (\d+) takes (\d+) GB$",
        str(refused.value),
    )
    planned, chunk, takes = (int(number.replace(",", "")) for number in said.groups())
    assert planned > 2_000
    assert takes <= 80
    room.check(replace(CLIPPO, chunk=chunk), shapes(CLIPPO), 1)
    with pytest.raises(training.TrainingError, match="got a plan of"):
        room.check(replace(CLIPPO, chunk=4 * chunk), shapes(CLIPPO), 1)


def test_where_no_chunk_helps_the_line_says_what_may(machine):
    machine(2.0)
    with pytest.raises(training.TrainingError, match=r"more ranks, \?checkpointing=true behind"):
        room.check(replace(CLIPPO, objective="captions", chunk=0), shapes(CLIPPO), 1)


def test_ranks_share_the_batch(machine):
    few = replace(CLIPPO, batch=64)
    machine(12.0)
    with pytest.raises(training.TrainingError, match="fits 1 x toy"):
        room.check(few, shapes(few), 1)
    room.check(few, shapes(few), 8)


def test_a_plan_longer_than_allowed_is_refused_with_its_hours(machine, monkeypatch):
    machine(80.0, flops=1e12)
    monkeypatch.setenv("TOWERS_MINUTES", "60")
    hours = 24 * plans.plan(
        shapes(TINY), 8, 80_000_000_000, precision="fp32", utilisation=1.0,
        accelerator=plans.Accelerator("toy", 80e9, {"fp32": 1e12}, 0.0),
    ).days  # fmt: skip
    assert hours > 1
    long = replace(TINY, steps=10_000_000_000)
    with pytest.raises(training.TrainingError, match=rf"at most 60 minutes, .* {hours:,.0f} hours"):
        room.check(long, shapes(TINY), 1)
    room.check(TINY, shapes(TINY), 1)


def test_what_is_small_or_cannot_be_planned_is_not_traced(monkeypatch):
    monkeypatch.setattr(room, "plan", lambda *_, **__: pytest.fail("it was traced"))
    room.check(TINY, shapes(TINY), 1)
    frozen = replace(CLIPPO, cache_features=True)
    room.check(frozen, shapes(TINY), 1)


def test_towers_that_pack_their_texts_pass(machine):
    machine(1e-3)
    packed = replace(CLIPPO, text="shared:pixels?packed=true")
    room.check(packed, shapes(packed), 1)


def test_a_run_that_does_not_fit_stops_before_its_data_is_read(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    machine(1e-3)
    for folder in (None, tmp_path / "run"):
        with pytest.raises(training.TrainingError, match="expected a run that fits 1 x toy"):
            training.train(TINY, folder)
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_this_machine(monkeypatch):
    whole, half = room.here("fp32"), room.here("fp32", 2)
    assert whole.memory == 2 * half.memory > 0
    assert whole.flops["fp32"] == 2 * half.flops["fp32"] > 0
    card = type("Card", (), {"name": "NVIDIA A100-SXM4-80GB", "total_memory": 85e9})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    assert room.here("bf16", 8).memory == 85e9
    assert room.here("bf16").flops == {"bf16": A100.flops["bf16"]}
    card.name = "another"
    assert room.here("bf16").flops == {"bf16": float("inf")}


def test_minutes_that_are_no_number_are_refused(monkeypatch):
    monkeypatch.setenv("TOWERS_MINUTES", "soon")
    with pytest.raises(training.TrainingError, match="number in TOWERS_MINUTES, got 'soon'"):
        room.check(TINY, shapes(TINY), 1)
